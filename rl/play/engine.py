"""One game in progress and an agent that thinks about it: what every door (terminal, GTP, web) plays through.

The search tree stays from move to move. A search evaluates several of its leaves in one batch, as many as pay on this
machine, and may be ended by the clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.game import ONGOING, STATUS, TO_MOVE
from rl.agent import Agent, Analysis, analysis
from rl.play.scores import Scores, TreeScores
from rl.search import Search

if TYPE_CHECKING:
    from rl.inference import Evaluator

RESIGN = -1
Line = list[tuple[int, bool]]  # moves, and which of them only gave the other side the turn
TREE_BYTES = 512 * 2**20  # of memory for one search tree, at most
MOST_SIMULATIONS = 100_000
LEAVES = (1, 2, 4, 8, 16, 32)  # leaves in a batch that are tried
LEAF_SHARE = 24  # simulations of a search for each leaf in a batch, at least: fewer would choose too blindly
AVERAGED_ROOT = 100  # simulations from which on the root's evaluation is averaged over the board's symmetries
GAIN = 1.15  # more leaves must bring this factor of speed
MARGIN = 0.05  # of a time limit, left for what comes after the search
SCORE_UTILITY = 0.1  # share of the score in the value: enough to prefer the larger win among sure ones
SETTLED = 0.9  # ownership from which on a point counts as decided


@dataclass(frozen=True)
class Choice:
    """What the agent would do now."""

    action: int  # RESIGN when it resigns
    analysis: Analysis | None  # of the search behind it; None where none was needed


@dataclass(frozen=True)
class Report:
    """What a search has found so far."""

    analysis: Analysis
    scores: Scores | None  # of a network with a score head; ``analysis`` then has utilities for values


@dataclass(frozen=True)
class Watch:
    """Who is told of a search, and how often."""

    tell: Callable[[Report], None]
    interval: float  # seconds


@dataclass(frozen=True)
class Strength:
    """A limit on strength: ``simulations`` a move, and moves drawn from policy^(1 / ``temperature``)."""

    simulations: int
    temperature: float


# Level 10 is unlimited. Each level below halves the search and plays a little more by chance; level 1 is the network
# alone, and its lesser moves about as often as it thinks them good.
LEVELS = {level: Strength(2 ** (level + 1) if level > 1 else 0, 0.1 * (10 - level)) for level in range(1, 10)}


class Engine:
    """One game in progress, and an agent that thinks about it."""

    def __init__(
        self,
        agent: Agent,
        *,
        simulations: int | None = None,
        seconds: float | None = None,
        level: int | None = None,
        friendly: bool = False,
        seed: int = 0,
    ):
        """Limits of a move: ``simulations`` (None: as in training, 0: the network alone) or ``seconds``.

        ``level`` 1 to 9 limits the strength (10 or None: unlimited). ``friendly``: where the opponent has passed and
        every point is decided, the agent passes too instead of taking dead stones off, as people expect; needs a
        network with an ownership head. Raises ValueError for limits that make no sense.
        """
        if simulations is not None and seconds is not None:
            raise ValueError("give a number of simulations or seconds, not both")
        if simulations is not None and simulations < 0:
            raise ValueError(f"simulations must be 0 (the network alone) or more, not {simulations}")
        if seconds is not None and not 0 < seconds < float("inf"):
            raise ValueError(f"seconds must be above 0 and finite, not {seconds}")
        if level is not None and not 1 <= level <= 10:
            raise ValueError(f"level must be from 1 to 10, not {level}")
        self.simulations, self.seconds = simulations, seconds
        self.strength = LEVELS.get(level) if level is not None else None
        self.friendly = friendly
        self._random = np.random.default_rng(seed)
        self.use(agent)

    def use(self, agent: Agent) -> None:
        """Begin anew with this agent."""
        self.agent, self.game = agent, agent.game
        self.moves: list[int] = []
        self._skipped: list[bool] = []  # which of them only gave the other side the turn
        self.set_up = 0  # the first of them, which put handicap stones or a problem's on the board
        self._states = [self.game.initial_state()]
        self._search: Search | None = None
        self._scores: TreeScores | None = None  # beside the search, of a network with a score head
        self._root: Line = []  # to the search's root

    @property
    def state(self) -> np.ndarray:
        """The position [S] of now."""
        return self._states[-1]

    @property
    def limits(self) -> str:
        """What limits the agent's moves, for people."""
        level = None if self.strength is None else self.strength.simulations
        budgets = [budget for budget in (self.simulations, level) if budget is not None]
        if not budgets and self.seconds is not None:
            return f"{self.seconds:g} seconds a move"
        if self.simulations is None and self.seconds is None:
            budgets.append(self.agent.config.search.simulations)
        budget = min(budgets)
        most = "" if self.seconds is None else f", {self.seconds:g} seconds at most"
        return f"{budget} simulations a move{most}" if budget else "the network alone"

    @property
    def over(self) -> bool:
        return bool(self.state[STATUS] != ONGOING)

    def warm_up(self) -> None:
        """Do now what the first move would wait for: compile, and measure the network's speed on this machine."""
        self._measured()
        for simulations in (0, 2 * LEAF_SHARE):  # 0: what is left of a clock that has run down
            self.choose(simulations=simulations)

    def new_game(self, **options: Any) -> None:
        """Begin anew; ``options`` are those of the environment: size (another board), komi ...

        Raises ValueError, in one sentence, for options that there are not; the game in progress then stays.
        """
        self.use(self.agent.on(**options) if options else self.agent)

    def play(self, action: int) -> None:
        """Play a move for the side to move. Raises ValueError when it is illegal or the game is over."""
        self._states.append(self.game.after(self.state, action))
        self.moves.append(action)
        self._skipped.append(False)

    def skip(self, passing: int) -> None:
        """Give the other side the turn, by a pass that does not count towards the end of the game.

        Raises ValueError when it is illegal or the game is over.
        """
        from rl.sgf import after_turn  # loads the rules of all games that have SGF

        self._states.append(after_turn(self.game, self.state, passing, given=True))
        self.moves.append(passing)
        self._skipped.append(True)
        self._search = None  # it knows a real pass at most

    def undo(self) -> None:
        """Take the last move back. Raises ValueError when there is none."""
        if not self.moves:
            raise ValueError("there is no move to take back")
        self.moves.pop()
        self._skipped.pop()
        self._states.pop()
        self.set_up = min(self.set_up, len(self.moves))

    def go_to(self, moves: Sequence[int]) -> None:
        """From the position of now to the one after ``moves``. Raises ValueError when one of them is illegal."""
        self.restore([(move, False) for move in moves])

    def line(self) -> Line:
        """How the position of now was reached, for ``restore``."""
        return list(zip(self.moves, self._skipped, strict=True))

    def restore(self, line: Line) -> None:
        """From the position of now to the one reached by ``line``. Raises ValueError when a move of it is illegal."""
        while self.line() != line[: len(self.moves)]:
            self.undo()
        for move, skipped in line[len(self.moves) :]:
            (self.skip if skipped else self.play)(move)

    def choose(
        self,
        *,
        simulations: int | None = None,
        seconds: float | None = None,
        cleanup: bool = False,
        watch: Watch | None = None,
        stop: threading.Event | None = None,
    ) -> Choice:
        """What to do now, within these limits or else the engine's own; nothing is played.

        ``cleanup``: play the game to its end, without resigning, or passing before the opponent's dead stones are
        taken off. ``watch`` is told while the search goes on and at its end, if there is one. ``stop`` ends it early
        once it is set. Raises ValueError when the game is over.
        """
        if self.over:
            raise ValueError(f"the game is over after {len(self.moves)} moves; there is no move to choose")
        if self.friendly and not cleanup and self._agreed():
            return Choice(self.game.num_actions - 1, None)
        found = self._think(simulations, seconds, watch, stop)
        action = found.action
        if self.strength is not None and self.strength.temperature > 0 and found.proven is None:
            weights = found.policy.astype(np.float64) ** (1 / self.strength.temperature)
            action = int(self._random.choice(len(weights), p=weights / weights.sum()))
        if cleanup and self._is_pass(action):
            action = self._taking_off(action)
        if not cleanup and self._hopeless(found):
            return Choice(RESIGN, found)
        return Choice(action, found)

    def analyse(self, watch: Watch, stop: threading.Event, simulations: int | None = None) -> None:
        """Search until ``stop`` is set, or by so many ``simulations`` more than were made here before.

        ``watch`` is told meanwhile, and once more where nothing is left to search. Raises ValueError when the game is
        over.
        """
        if self.over:
            raise ValueError(f"the game is over after {len(self.moves)} moves; there is nothing to analyse")
        # PUCT: its visits tell at any moment what it thinks, where sequential halving first visits all alike.
        most = self._most()
        search = self._rooted(min(simulations or most, most), "puct", unlimited=simulations is None)
        self._run(search, stop.is_set, watch)
        if not stop.is_set():
            watch.tell(self._report(search))
            if simulations is None:
                stop.wait()

    def ownership(self) -> np.ndarray | None:
        """Who will own each point, [H·W] float32 in [-1, 1] for the first player; None without such a head."""
        return self.agent.ownership(self.state)

    # Thinking

    def _think(
        self, simulations: int | None, seconds: float | None, watch: Watch | None, stop: threading.Event | None
    ) -> Analysis:
        if simulations is None and seconds is None:
            simulations, seconds = self.simulations, self.seconds
        if simulations is None and seconds is None:
            simulations = self.agent.config.search.simulations
        if self.strength is not None:  # of this limit and the others, the tightest holds
            level = self.strength.simulations
            simulations = level if simulations is None else min(level, simulations)
        if simulations == 0:
            alone = self.agent.analyse_state(self.state, 0)
            if watch is not None:
                watch.tell(Report(alone, None))
            return alone
        if simulations is None:
            assert seconds is not None
            simulations = max(1, int(self._measured()[1] * seconds))
        deadline = None if seconds is None else time.monotonic() + seconds * (1 - MARGIN)
        kind = self.agent.config.search.kind
        search = self._rooted(min(simulations, self._most()), kind, unlimited=deadline is not None)

        def enough() -> bool:
            late = deadline is not None and time.monotonic() >= deadline
            return late or (stop is not None and stop.is_set())

        self._run(search, enough, watch)
        if watch is not None:
            watch.tell(self._report(search))
        return self._peek(search)

    def _run(self, search: Search, enough: Callable[[], bool], watch: Watch | None) -> None:
        """Simulate until it is ``enough`` or the search is over; ``watch`` is told every so often, not at the end."""
        told = time.monotonic()
        while self._step(search):
            if not search.tree.visits[0, 0]:  # the root's evaluation takes several steps where it is averaged
                continue
            if enough():
                break
            if watch is not None and time.monotonic() - told >= watch.interval:
                watch.tell(self._report(search))
                told = time.monotonic()
        search.stop()

    def _rooted(self, simulations: int, kind: str, unlimited: bool) -> Search:
        """A search of the position of now, begun: on in the old tree where it contains the position."""
        averaged = simulations >= AVERAGED_ROOT
        knobs = {"reuse_tree": True, "kind": kind, "root_symmetries": averaged, "cache": 0}
        config = self.agent.config.search.model_copy(update=knobs)
        leaves = (
            1 if simulations < 2 * LEAF_SHARE else min(self._measured()[0], _power_of_two(simulations // LEAF_SHARE))
        )
        search = self._search
        fits = search is not None and search.max_simulations >= simulations and search.leaves == leaves
        if search is None or not fits or search.config != config:
            room = self._most() if unlimited else simulations
            search = self._search = Search(self.game, config, 1, 0, max_simulations=room, leaves=leaves)
            self._scores = TreeScores(search) if self.agent.config.net.auxiliary.score else None
            search.start(np.zeros(1, np.int64), self.state[None], simulations)
        else:
            self._walk(search, simulations)
        self._root = self.line()
        return search

    def _walk(self, search: Search, simulations: int) -> None:
        """Move the root of the tree to the position of now, if that lies below it; else plant a new one."""
        lane = np.zeros(1, np.int64)
        new = self.moves[len(self._root) :]
        if self.line()[: len(self._root)] != self._root:
            if self._scores is not None:
                self._scores.clear()
            search.start(lane, self.state[None], simulations)
            return
        if not new:
            self._follow(None, partial(search.resume, lane, simulations))
            return
        for i, action in enumerate(new):
            last = i + 1 == len(new)
            state = self._states[len(self._root) + i + 1]
            budget = simulations if last else 0
            on = partial(search.continue_after, lane, np.array([action]), state[None], budget, explore=False)
            self._follow(action, on)

    def _follow(self, action: int | None, advance: Callable[[], None]) -> None:
        """Let the search begin anew after ``action``, or (None) at the same root, and what lies beside its tree too."""
        if self._scores is None:
            advance()
        else:
            self._scores.follow(action, advance)

    def _step(self, search: Search) -> bool:
        """One batch of evaluations; False when the search is over."""
        planes = search.select()
        if not len(planes):
            return False
        evaluation = self._evaluator(search.leaves)(planes)
        if self._scores is not None:
            self._scores.note(evaluation)
        search.update(evaluation)
        return True

    def _evaluator(self, leaves: int) -> Evaluator:
        return self.agent.evaluator(leaves, SCORE_UTILITY if self.agent.config.net.auxiliary.score else 0.0)

    def _peek(self, search: Search) -> Analysis:
        done = int(search.lane.done[0])
        return analysis(search.tree, search.peek(np.zeros(1, np.int32)), max(done, 1))

    def _report(self, search: Search) -> Report:
        found = self._peek(search)
        return Report(found, None if self._scores is None else self._scores.of(found.policy))

    def _most(self) -> int:
        """Simulations of the largest tree that memory is given to."""
        node = 8 * self.game.state_size + 17 * self.game.num_actions + 32  # bytes, see rl.search.tree.Tree
        return min(MOST_SIMULATIONS, TREE_BYTES // (2 * node))

    def _measured(self) -> tuple[int, float]:
        """How many leaves at once are best on this machine, and evaluations/s with them."""
        with self.agent.lock:
            if self.agent.speed is None:
                best, best_speed = 1, 0.0
                for leaves in LEAVES:
                    evaluate = self._evaluator(leaves)
                    planes = np.repeat(self.game.encode(self.state[None]), leaves, 0)
                    evaluate(planes)
                    calls, started = 0, time.perf_counter()
                    while (spent := time.perf_counter() - started) < 0.03:
                        evaluate(planes)
                        calls += 1
                    speed = calls * leaves / spent
                    if speed > GAIN * best_speed:
                        best, best_speed = leaves, speed
                self.agent.speed = best, best_speed
            return self.agent.speed

    # Ending a game

    def _hopeless(self, found: Analysis) -> bool:
        """Whether to resign: as seldom wrong as the run that trained the agent measured, and after its first moves."""
        calibrated = self.agent.info.get("resign_below")
        played = self._skipped[self.set_up :].count(False)
        return calibrated is not None and played >= self.game.board_shape[0] and found.value < calibrated

    def _is_pass(self, action: int) -> bool:
        """Of a game in which passing is a choice."""
        return self.game.territory is not None and action == self.game.num_actions - 1

    def _taking_off(self, otherwise: int) -> int:
        """The move beside dead stones of the opponent that the network likes best; ``otherwise`` where there is none.

        A search would not find it: where the agent is ahead with those stones on the board, passing wins too.
        """
        from rl.play.scoring import dead_chains, liberties, stones

        board = stones(self.game, self.state)
        theirs = -1 if self.state[TO_MOVE] == 0 else 1
        dead = [chain for chain in dead_chains(board, self.ownership()) if board[chain[0]] == theirs]
        beside = np.zeros(self.game.num_actions, bool)
        for chain in dead:
            for row, column in liberties(board, chain):
                beside[row * board.shape[1] + column] = True
        able = beside & self.game.legal_mask(self.state)
        if not able.any():
            return otherwise
        policy = self.agent.analyse_state(self.state, 0).policy
        return int(np.where(able, policy, -1.0).argmax())

    def _agreed(self) -> bool:
        """Whether the opponent has just passed and nothing is left to decide."""
        if not self.moves or self._skipped[-1] or not self._is_pass(self.moves[-1]):
            return False
        owners = self.ownership()
        return owners is not None and bool((np.abs(owners) > SETTLED).all())


def _power_of_two(number: int) -> int:
    """The largest one up to ``number``."""
    return 1 << (number.bit_length() - 1)
