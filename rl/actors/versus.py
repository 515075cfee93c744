"""Games against a frozen agent, by a learner that knows it: an adversary that is trained to exploit its victim.

Reads: the newest weights. Writes: GameRecords in which the learner's own moves alone may be trained on. In half of the
games it has the first seat.

The learner's searches do not take the victim for a perfect player: at its nodes they follow the move that its network
prefers, as in the A-MCTS of Wang et al. 2023 (adversarial policies beat superhuman Go AIs, §4.1). So they find what
works against this victim, sound or not. Proofs and lookahead, which count on the best reply, are off.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

import envs
from envs.game import ONGOING, STATUS, TO_MOVE, Game, outcome
from envs.playout import random_openings
from rl.config import GameConfig, SearchConfig
from rl.inference import Evaluator
from rl.records import UNPROVEN, Evaluation, GameRecord, SearchResult, SelfPlayReport, Tensors, Weights
from rl.search import Search

GAMES = 64  # at once, where selfplay.games is auto
# Times the victim's logits: its likeliest move is all but certain then, whatever the search thinks of its worth.
SURE = 1000.0
Evaluate = Callable[[np.ndarray], Evaluation]


class Victim(Protocol):
    """Who is played against."""

    def actions(self, states: np.ndarray) -> np.ndarray: ...


class VictimNetwork(Protocol):
    """The victim's network, and what all who ask it have cost so far (as ``rl.inference.Evaluator`` counts it)."""

    @property
    def evaluations(self) -> int: ...

    @property
    def seconds(self) -> float: ...

    def __call__(self, planes: np.ndarray) -> Evaluation: ...


class ModelledSearch:
    """Searches for one ``side`` in which the other side plays as a known network does."""

    def __init__(
        self, game: Game, config: SearchConfig, lanes: int, seed: int, opponent: Evaluate, side: int, most: int
    ) -> None:
        """``most``: the largest budget of a search."""
        own = config.model_copy(update={"solver": False, "lookahead": False, "root_symmetries": False})
        self.search = Search(game, own, lanes, seed, max_simulations=most)
        self.side, self.opponent = side, opponent

    def run(
        self, states: np.ndarray, evaluate: Evaluate, version: int, simulations: int, explore: bool = False
    ) -> SearchResult:
        """Search positions [N, S] with this side to move. ``version`` is that of the weights that evaluate."""
        self.search.answered_by(version)

        def answer(planes: np.ndarray) -> Evaluation:
            found = evaluate(planes)
            theirs = np.flatnonzero(self._movers(len(planes)) != self.side)
            if not len(theirs):
                return found
            logits = found.logits.copy()
            logits[theirs] = SURE * self.opponent(planes[theirs]).logits
            return Evaluation(logits, found.wdl)

        return self.search.run(states, answer, simulations=simulations, explore=explore, forget=False)

    def _movers(self, count: int) -> np.ndarray:
        """Who is to move in the positions that the search asks about now: [count], 0 or 1."""
        search = self.search
        rows = search.asked[:count]
        lanes = rows // search.leaves
        return search.tree.state[lanes, search.lane.leaf.reshape(-1)[rows], TO_MOVE]


@dataclass
class _Line:
    """One game in flight."""

    start: np.ndarray
    state: np.ndarray
    seat: int
    actions: list[int] = field(default_factory=list)
    policy: list[np.ndarray] = field(default_factory=list)
    wdl: list[np.ndarray] = field(default_factory=list)  # of the side to move
    full: list[bool] = field(default_factory=list)
    off_policy: list[bool] = field(default_factory=list)
    version: list[int] = field(default_factory=list)
    surprise: list[float] = field(default_factory=list)

    @property
    def mine(self) -> bool:
        return int(self.state[TO_MOVE]) == self.seat


class VersusWorker:
    """Plays against the victim with the newest weights that it was given. Games in flight are not saved."""

    def __init__(
        self, config: GameConfig, seed: int, victim: Victim, model: VictimNetwork, device: str = "auto"
    ) -> None:
        """``model``: the network that the victim plays by, which the learner's searches ask how it will move.

        It is one and the same for both, so that its own counts tell what the victim's moves have cost too.
        """
        self.config, self.device, self.victim, self.model = config, device, victim, model
        self.game = envs.make(config.env, **config.env_options)
        self.games = GAMES if config.selfplay.games == "auto" else config.selfplay.games
        own, search, stream = np.random.SeedSequence(seed).spawn(3)
        self.rng = np.random.default_rng(own)
        self.stream = stream.generate_state(1, np.uint64)
        most = max(config.search.simulations, config.selfplay.fast_simulations)
        self.lanes = max(1, self.games // 2)
        seeds = search.generate_state(2)
        self.searches = [
            ModelledSearch(self.game, config.search, self.lanes, int(seeds[side]), model, side, most) for side in (0, 1)
        ]
        self.evaluator: Evaluator | None = None
        self.lines = self._open(np.arange(2 * self.lanes) % 2)

    def use(self, weights: Weights) -> None:
        """Play with these weights from now on."""
        if self.evaluator is None:
            config = self.config
            self.evaluator = Evaluator(config.net, self.game, config.inference, self.lanes, device=self.device)
        self.evaluator.load(weights)

    def play(self, moves: int | None = None, seconds: float = float("inf")) -> SelfPlayReport:
        """Continue all games for ``moves`` moves a game on average, or for ``seconds``; at least a move in each."""
        assert self.evaluator is not None, "use(weights) first"
        started, networks = time.perf_counter(), (self.evaluator, self.model)
        evaluations, inside = (sum(n.evaluations for n in networks), sum(n.seconds for n in networks))
        recalled = sum(s.search.recalled for s in self.searches)
        wanted = 2**62 if moves is None else moves * len(self.lines)
        ended: list[GameRecord] = []
        played = 0
        while True:
            played += self._round(self.evaluator)
            for i, line in enumerate(self.lines):
                if line.state[STATUS] != ONGOING:
                    ended.append(_record(self.game, line))
                    self.lines[i] = self._open(np.array([line.seat]))[0]
            if played >= wanted or time.perf_counter() >= started + seconds:
                break
        return SelfPlayReport(
            games=ended,
            moves=played,
            evaluations=sum(n.evaluations for n in networks) - evaluations,
            recalled=sum(s.search.recalled for s in self.searches) - recalled,
            seconds=time.perf_counter() - started,
            evaluator_seconds=sum(n.seconds for n in networks) - inside,
            simulations=self.config.search.simulations,
            format=self.evaluator.format,
        )

    def _round(self, evaluator: Evaluator) -> int:
        """The learner's move in every game, and the victim's wherever it is to move then; how many moves that were."""
        settings, played = self.config.selfplay, 0
        for side in (0, 1):
            mine = [line for line in self.lines if line.seat == side and line.mine]
            full = self.rng.random(len(mine)) < settings.full_search_fraction
            for budget, chosen in ((self.config.search.simulations, full), (settings.fast_simulations, ~full)):
                lines = [line for line, take in zip(mine, chosen, strict=True) if take]
                if not lines:
                    continue
                states = np.stack([line.state for line in lines])
                found = self.searches[side].run(states, evaluator, evaluator.version, budget, explore=True)
                trained = budget == self.config.search.simulations
                for row, line in enumerate(lines):
                    self._move(line, found, row, trained, evaluator.version)
                for line in lines:
                    self._play(line, line.actions[-1])
                played += len(lines)
        theirs = [line for line in self.lines if line.state[STATUS] == ONGOING and not line.mine]
        if theirs:
            answers = self.victim.actions(np.stack([line.state for line in theirs]))
            for line, action in zip(theirs, answers, strict=True):
                self._watch(line, int(action), evaluator.version)
                self._play(line, int(action))
        return played + len(theirs)

    def _move(self, line: _Line, found: SearchResult, row: int, full: bool, version: int) -> None:
        settings = self.config.selfplay
        action, prior, policy = int(found.action[row]), found.prior[row], found.policy[row]
        if len(line.actions) < settings.sampled_plies:
            action = int(self.rng.choice(len(policy), p=policy / policy.sum(dtype=np.float64)))
        off_policy = bool(self.rng.random() < settings.random_move)
        if off_policy:
            action = int(self.rng.choice(np.flatnonzero(self.game.legal_mask(line.state))))
        both = (policy > 0) & (prior > 0)
        surprise = float((policy[both] * np.log(policy[both] / prior[both])).sum())
        line.actions.append(action)
        line.policy.append(policy)
        line.wdl.append(found.wdl[row])
        line.full.append(full)
        line.off_policy.append(off_policy)
        line.version.append(version)
        line.surprise.append(max(0.0, surprise))

    def _watch(self, line: _Line, action: int, version: int) -> None:
        """Note the victim's move, which is nothing to be learned; its value is what the learner's last search saw."""
        line.actions.append(action)
        line.policy.append(np.full(self.game.num_actions, np.nan, np.float32))
        line.wdl.append(line.wdl[-1][::-1] if line.wdl else np.full(3, 1 / 3, np.float32))
        line.full.append(False)
        line.off_policy.append(False)
        line.version.append(version)
        line.surprise.append(np.nan)

    def _play(self, line: _Line, action: int) -> None:
        line.state = line.state.copy()
        self.game.play(line.state, action)

    def _open(self, seats: np.ndarray) -> list[_Line]:
        """New games with the learner in these seats, a share of them after random moves."""
        settings = self.config.selfplay
        variants, shares = self.game.starts()
        starts = variants[self.rng.choice(len(variants), len(seats), p=shares / shares.sum())]
        states = starts.copy()
        if settings.random_opening_plies:
            opened = np.empty_like(starts)
            limit, actions = settings.random_opening_plies, self.game.num_actions
            random_openings(opened, limit, starts, self.stream, actions, self.game.legal, self.game.play)
            take = self.rng.random(len(seats)) < settings.random_openings
            states[take] = opened[take]
        return [_Line(state.copy(), state.copy(), int(seat)) for state, seat in zip(states, seats, strict=True)]

    def resumable(self) -> bool:
        """Always: what is in flight is left behind."""
        return True

    def state(self) -> tuple[Tensors, dict]:
        return {}, {}

    def restore(self, weights: Weights, tensors: Tensors, state: dict) -> None:
        """New games, with these weights."""
        self.use(weights)


def _record(game: Game, line: _Line) -> GameRecord:
    return GameRecord(
        start=line.start,
        actions=np.array(line.actions, np.int16),
        policy=np.array(line.policy, np.float32),
        wdl=np.array(line.wdl, np.float32),
        proven=np.full(len(line.actions), UNPROVEN, np.int8),
        full=np.array(line.full, bool),
        off_policy=np.array(line.off_policy, bool),
        weights_version=np.array(line.version, np.int64),
        surprise=np.array(line.surprise, np.float32),
        outcome=outcome(line.state),
    )
