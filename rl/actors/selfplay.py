"""Self-play: B games advanced at once by one search, one network batch a step.

Reads: the newest weights (through the evaluator). Writes: GameRecords of finished games.
A lane whose search has ended plays its move and starts the next search at once, whatever the others do, so
network batches are full even with playout-cap randomisation and games of different lengths.
"""

from __future__ import annotations

import time
from typing import Protocol

import numpy as np

from envs.game import Game, outcome
from rl.actors.archive import Archive
from rl.actors.games import Games, GamesType, Habits, HabitsType, advance, draw_games
from rl.config import GameConfig
from rl.records import Evaluation, GameRecord, SelfPlayReport, Tensors
from rl.search import Search
from rl.search.cache import FIELDS
from rl.search.handles import handle_of
from rl.search.tree import IDLE


class SelfPlayEvaluator(Protocol):
    """What self-play needs of rl.inference.Evaluator."""

    version: int

    def __call__(self, planes: np.ndarray) -> Evaluation: ...


class SelfPlay:
    """``games`` games in flight. ``play`` continues them for a while and returns those that ended."""

    def __init__(self, game: Game, config: GameConfig, games: int, seed: int, progress: float = 1.0):
        """``progress`` in [0, 1]: see ``schedule``."""
        self.game, self.config, self.games = game, config, games
        play, search = config.selfplay, config.search
        self.habits = Habits(
            **budgets(config, progress),
            full_search_fraction=play.full_search_fraction,
            sampled_plies=play.sampled_plies,
            random_move=play.random_move,
            reuse_tree=int(search.reuse_tree),
            random_opening_plies=play.random_opening_plies,
            random_openings=play.random_openings,
            decided_value=play.decided_value,
            decided_searches=play.decided_searches,
        )
        largest = max(search.simulations, play.fast_simulations)
        search_seed, own_seed, archive_seed = np.random.SeedSequence(seed).spawn(3)
        self.search = Search(game, search, games, search_seed.generate_state(1)[0], max_simulations=largest)
        self.stream = own_seed.generate_state(1, np.uint64)
        length, actions = game.max_moves, game.num_actions
        self.flight = Games(
            start=np.zeros((games, game.state_size), np.int64),
            state=np.zeros((games, game.state_size), np.int64),
            length=np.zeros(games, np.int64),
            actions=np.zeros((games, length), np.int16),
            policy=np.full((games, length, actions), np.nan, np.float32),
            wdl=np.full((games, length, 3), np.nan, np.float32),
            proven=np.zeros((games, length), np.int8),
            full=np.zeros((games, length), bool),
            off_policy=np.zeros((games, length), bool),
            version=np.zeros((games, length), np.int64),
            surprise=np.full((games, length), np.nan, np.float32),
            full_search=np.zeros(games, bool),
        )
        self.archive = Archive(game, archive_seed) if play.stored_starts > 0 else None
        self.variants = game.starts()
        self.handles = handle_of(self.flight, GamesType), handle_of(self.habits, HabitsType)
        self._open(np.arange(games))

    def schedule(self, progress: float) -> None:
        """Searches that begin from now on have the budgets of when ``progress`` of the run's budget is used."""
        self.habits = self.habits._replace(**budgets(self.config, progress))
        self.handles = self.handles[0], handle_of(self.habits, HabitsType)

    def play(self, evaluate: SelfPlayEvaluator, moves: int, seconds: float = float("inf")) -> SelfPlayReport:
        """Play at least ``moves`` moves over all games together, or for ``seconds``, whichever ends first."""
        started = time.perf_counter()
        ended: list[GameRecord] = []
        evaluations = 0
        inside = 0.0
        self.search.answered_by(evaluate.version)
        recalled = self.search.recalled
        deadline = started + seconds
        # Of games that wait for no answer: those just begun, when this is the first stretch.
        planes, played = self._advance(evaluate.version, ended, moves, deadline)
        begun = False
        while not begun or (played < moves and time.perf_counter() < deadline):
            begun = True
            if len(planes):
                before = time.perf_counter()
                answer = evaluate(planes)
                inside += time.perf_counter() - before
                self.search.update(answer)
                self.search.answered_by(evaluate.version)  # a server's may have changed meanwhile
                evaluations += len(planes)
            # Before this returns: the next stretch may be played with newer weights, which did not search these moves.
            planes, more = self._advance(evaluate.version, ended, moves - played, deadline)
            played += more
        return SelfPlayReport(
            games=ended,
            moves=played,
            evaluations=evaluations,
            recalled=self.search.recalled - recalled,
            seconds=time.perf_counter() - started,
            evaluator_seconds=inside,
            simulations=self.habits.full_simulations,
        )

    def _advance(self, version: int, ended: list[GameRecord], enough: int, deadline: float) -> tuple[np.ndarray, int]:
        """Planes of what every game asks next, and the moves played on the way; new games replace those that end.

        Where all answers are recalled, nothing is ever asked: well after ``enough`` moves, or past the deadline, it
        returns with what is asked by then.
        """
        search, played = self.search, 0
        while True:
            waiting, more = advance(
                *search.handles,
                *self.handles,
                self.stream,
                version,
                search.asked,
            )
            played += more
            if waiting == self.games:
                return search.lane.planes, played
            over = np.flatnonzero(search.lane.phase == IDLE)
            records = [self._record(int(lane)) for lane in over]
            if self.archive is not None:
                for record in records:
                    self.archive.add(record)
            ended += records
            self._open(over)
            if played >= enough + self.games or time.perf_counter() >= deadline:
                return search.waiting(waiting), played

    def _open(self, lanes: np.ndarray) -> None:
        """New games, a share of them up to ``random_opening_plies`` random moves away from the start of a variant.

        Another share begins at positions of earlier games (``stored_starts``).
        """
        openings = np.empty((len(lanes), self.game.state_size), np.int64)
        simulations = np.empty(len(lanes), np.int32)
        rules, habits = self.search.handles[0], self.handles[1]
        draw_games(rules, habits, openings, simulations, *self.variants, self.stream, self.game.num_actions)
        if self.archive is not None:
            self.archive.put(openings, self.config.selfplay.stored_starts)
        self.flight.state[lanes] = self.flight.start[lanes] = openings
        self.flight.length[lanes] = 0
        self.flight.full_search[lanes] = simulations == self.habits.full_simulations
        self.search.start(lanes, openings, simulations, explore=True)

    def _record(self, lane: int) -> GameRecord:
        flight = self.flight
        moves = slice(0, flight.length[lane])
        return GameRecord(
            start=flight.start[lane].copy(),
            actions=flight.actions[lane, moves].copy(),
            policy=flight.policy[lane, moves].copy(),
            wdl=flight.wdl[lane, moves].copy(),
            proven=flight.proven[lane, moves].copy(),
            full=flight.full[lane, moves].copy(),
            off_policy=flight.off_policy[lane, moves].copy(),
            weights_version=flight.version[lane, moves].copy(),
            surprise=flight.surprise[lane, moves].copy(),
            outcome=outcome(flight.state[lane]),
        )

    def state_dict(self) -> Tensors:
        """Games and searches in flight, and the states of the random streams; copies."""
        return {name: array.copy() for name, array in self._arrays().items()}

    def load_state_dict(self, tensors: Tensors) -> None:
        """Restore what ``state_dict`` gave; the next ``play`` continues exactly where that one stood.

        Raises ValueError where a shape differs; numpy would broadcast some.
        """
        if "full_search" not in tensors:  # saved before it and the surprise were noted, when budgets did not change
            full = tensors["search.lane.budget"] == self.habits.full_simulations
            tensors = tensors | {"full_search": full, "surprise": np.full_like(self.flight.surprise, np.nan)}
        if "search.tree.log_prior" in tensors:  # saved when every node had one
            tensors = tensors | {"search.lane.log_prior": tensors["search.tree.log_prior"][:, 0]}
        for name, array in self._arrays().items():
            if name not in tensors and name.removeprefix("search.lane.") in FIELDS:
                continue  # saved before answers were kept
            if tensors[name].shape != array.shape:
                raise ValueError(f"{name} has shape {tensors[name].shape}; these games need {array.shape}")
            array[...] = tensors[name]

    def _arrays(self) -> Tensors:
        own = self.flight._asdict() | {"stream": self.stream}
        if self.archive is not None:
            own |= {f"archive.{name}": array for name, array in self.archive.arrays().items()}
        return own | {f"search.{name}": array for name, array in self.search.arrays().items()}


def budgets(config: GameConfig, progress: float) -> dict[str, int]:
    """Simulations of full and of fast searches when ``progress`` in [0, 1] of the run's budget is used, as in Habits.

    They follow the budget as the learning rate does, and no plateau of the results: those come from few and noisy
    evaluations at times that the machine decides, so that a run could not be repeated, and they do not say whether it
    is the searches that hold it back, or the network's size, or its learning rate.
    """
    full, fast, first = config.search.simulations, config.selfplay.fast_simulations, config.selfplay.first_simulations
    if first is None:
        return {"full_simulations": full, "fast_simulations": fast}
    grown = min(1.0, progress / config.selfplay.simulations_grow_until)
    now = round(first * (full / first) ** grown)
    return {"full_simulations": now, "fast_simulations": max(1, round(fast * now / full))}
