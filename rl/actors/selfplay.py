"""Self-play: B games advanced at once by one search, one network batch a step.

Reads: the newest weights (through the evaluator). Writes: GameRecords of finished games.
A lane whose search has ended plays its move and starts the next search at once, whatever the others do, so
network batches are full even with playout-cap randomisation and games of different lengths. (A search that ends
without needing the network, such as one whose root is won at once, leaves its row of one batch empty.)
"""

from __future__ import annotations

import time
from typing import Protocol

import numpy as np
from numba import int32, int64, njit, void

from envs.game import ONGOING, STATUS, Game, PlayFn, outcome
from envs.playout import random_openings
from rl.config import Config
from rl.records import Evaluation, GameRecord, SelfPlayReport, Tensors
from rl.search import Search


class SelfPlayEvaluator(Protocol):
    """What self-play needs of rl.inference.Evaluator."""

    version: int

    def __call__(self, planes: np.ndarray) -> Evaluation: ...


@njit(void(int64[:, ::1], int32[::1], int64[::1], PlayFn), cache=True)
def play_moves(states, lanes, actions, play):
    """Play ``actions[i]`` in the position of lane ``lanes[i]``, in place."""
    for i in range(lanes.shape[0]):
        play(states[lanes[i]], actions[i])


class SelfPlay:
    """``games`` games in flight. ``play`` continues them for a while and returns those that ended."""

    def __init__(self, game: Game, config: Config, games: int, seed: int):
        self.game, self.config, self.games = game, config, games
        play, search = config.selfplay, config.search
        self.full_simulations = search.simulations
        budget = max(search.simulations, play.fast_simulations)
        search_seed, own_seed = np.random.SeedSequence(seed).spawn(2)
        self.search = Search(game, search, games, search_seed.generate_state(1)[0], max_simulations=budget)
        self.rng = np.random.default_rng(own_seed)
        self.stream = self.rng.integers(2**64, size=1, dtype=np.uint64)  # of compiled code: openings
        length, actions = game.max_moves, game.num_actions
        # One row a game in flight; the first ``length[b]`` entries of the move axis are filled.
        self.start = np.zeros((games, game.state_size), np.int64)
        self.state = np.zeros((games, game.state_size), np.int64)
        self.length = np.zeros(games, np.int64)
        self.actions = np.zeros((games, length), np.int16)
        self.policy = np.full((games, length, actions), np.nan, np.float32)
        self.wdl = np.full((games, length, 3), np.nan, np.float32)
        self.proven = np.zeros((games, length), np.int8)
        self.full = np.zeros((games, length), bool)
        self.off_policy = np.zeros((games, length), bool)
        self.version = np.zeros((games, length), np.int64)
        every = np.arange(games)
        self._open(every)
        self.search.start(every, self.state, self._budgets(games), explore=True)

    def play(self, evaluate: SelfPlayEvaluator, moves: int, seconds: float = float("inf")) -> SelfPlayReport:
        """Play at least ``moves`` moves over all games together, or for ``seconds``, whichever ends first."""
        started = time.perf_counter()
        finished: list[GameRecord] = []
        played = evaluations = 0
        inside = 0.0
        while played < moves and time.perf_counter() - started < seconds:
            planes = self.search.select()
            if len(planes):
                before = time.perf_counter()
                answer = evaluate(planes)
                inside += time.perf_counter() - before
                self.search.update(answer)
                evaluations += len(planes)
            # Before this returns: the next stretch may be played with newer weights, which did not search these moves.
            done = self.search.finished()
            if len(done):
                finished += self._move(done, evaluate.version)
                played += len(done)
        return SelfPlayReport(finished, played, evaluations, time.perf_counter() - started, inside)

    def _move(self, lanes: np.ndarray, version: int) -> list[GameRecord]:
        """Play the searched moves of ``lanes``, start their next searches, return the games that ended."""
        found = self.search.collect(lanes)
        play = self.config.selfplay
        ply = self.length[lanes]
        action = found.action.copy()
        sampled = np.flatnonzero(ply < play.sampled_plies)
        if len(sampled):
            action[sampled] = _draw(self.rng, found.policy[sampled])
        random = self.rng.random(len(lanes)) < play.random_move
        if random.any():
            legal = found.prior[random] > 0
            action[random] = _draw(self.rng, legal / legal.sum(1, keepdims=True))
        self.actions[lanes, ply] = action
        self.policy[lanes, ply] = found.policy
        self.wdl[lanes, ply] = found.wdl
        self.proven[lanes, ply] = found.proven
        self.full[lanes, ply] = self.search.lane.budget[lanes] == self.full_simulations
        self.off_policy[lanes, ply] = random
        self.version[lanes, ply] = version
        self.length[lanes] += 1
        play_moves(self.state, lanes, action, self.game.play)
        ended = self.state[lanes, STATUS] != ONGOING
        records = [self._record(lane) for lane in lanes[ended]]
        if ended.any():
            self._open(lanes[ended])
        budgets = self._budgets(len(lanes))
        # One call for new games and old ones where it can be one: handing the rules to compiled code costs as much
        # as several evaluations.
        fresh = ended if self.config.search.reuse_tree else np.ones(len(lanes), bool)
        if fresh.any():
            self.search.start(lanes[fresh], self.state[lanes[fresh]], budgets[fresh], explore=True)
        if not fresh.all():
            kept = lanes[~fresh]
            self.search.continue_after(kept, action[~fresh], self.state[kept], budgets[~fresh], explore=True)
        return records

    def _open(self, lanes: np.ndarray) -> None:
        """New games, a share of them up to ``random_opening_plies`` random moves away from the initial position."""
        play, root = self.config.selfplay, self.game.initial_state()
        openings = np.empty((len(lanes), self.game.state_size), np.int64)
        actions, rules = self.game.num_actions, (self.game.legal, self.game.play)
        random_openings(openings, play.random_opening_plies, root, self.stream, actions, *rules)
        openings[self.rng.random(len(lanes)) >= play.random_openings] = root
        self.state[lanes] = self.start[lanes] = openings
        self.length[lanes] = 0

    def _budgets(self, count: int) -> np.ndarray:
        play = self.config.selfplay
        full = self.rng.random(count) < play.full_search_fraction
        return np.where(full, self.full_simulations, play.fast_simulations)

    def _record(self, lane: int) -> GameRecord:
        moves = slice(0, self.length[lane])
        return GameRecord(
            start=self.start[lane].copy(),
            actions=self.actions[lane, moves].copy(),
            policy=self.policy[lane, moves].copy(),
            wdl=self.wdl[lane, moves].copy(),
            proven=self.proven[lane, moves].copy(),
            full=self.full[lane, moves].copy(),
            off_policy=self.off_policy[lane, moves].copy(),
            weights_version=self.version[lane, moves].copy(),
            outcome=outcome(self.state[lane]),
        )

    _ARRAYS = (
        "start",
        "state",
        "length",
        "actions",
        "policy",
        "wdl",
        "proven",
        "full",
        "off_policy",
        "version",
        "stream",
    )

    def state_dict(self) -> tuple[Tensors, dict]:
        """Games and searches in flight, and the states of the random streams (JSON-able)."""
        tensors = {name: getattr(self, name).copy() for name in self._ARRAYS}
        tensors |= {f"search.{name}": array.copy() for name, array in self.search.state_dict().items()}
        return tensors, {"rng": self.rng.bit_generator.state, "search_rng": self.search.rng.bit_generator.state}

    def load_state_dict(self, tensors: Tensors, streams: dict) -> None:
        """Restore what ``state_dict`` gave; the next ``play`` continues exactly where that one stood."""
        for name in self._ARRAYS:
            getattr(self, name)[...] = tensors[name]
        self.search.load_state_dict({k.removeprefix("search."): v for k, v in tensors.items() if "search." in k})
        self.rng.bit_generator.state = streams["rng"]
        self.search.rng.bit_generator.state = streams["search_rng"]


def _draw(rng: np.random.Generator, probabilities: np.ndarray) -> np.ndarray:
    """One index a row, drawn by the row's probabilities [K, A]."""
    cumulative = probabilities.cumsum(1)
    points = rng.random(len(probabilities)) * cumulative[:, -1]
    return (cumulative > points[:, None]).argmax(1)
