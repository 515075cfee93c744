"""Search over many games at once, one network batch a step. Tests drive it with fake evaluators."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from envs.game import ONGOING, STATUS, Game
from rl.config import SearchConfig
from rl.records import UNPROVEN, Evaluation, SearchResult, Tensors
from rl.search import kernels
from rl.search.handles import handle_of, handle_of_rules
from rl.search.lane import STAY
from rl.search.tree import (
    DONE,
    GUMBEL,
    IDLE,
    PUCT,
    SEARCHING,
    Knobs,
    KnobsType,
    LanesType,
    TreeType,
    WorkspaceType,
    allocate,
)

Evaluate = Callable[[np.ndarray], Evaluation]  # planes [n, C, H, W] float32 -> Evaluation of n rows


class Search:
    """Trees of ``lanes`` games that advance independently of each other.

    Each step asks for one network evaluation a searching lane, or up to ``leaves``: ``select`` walks every lane to its
    next leaf (terminal and proven leaves cost no evaluation and are passed on the way), ``update`` takes the
    network's answers. Lanes may be at different simulations and have different budgets, so a self-play actor
    replaces finished searches at once and its batches stay full.
    """

    def __init__(
        self,
        game: Game,
        config: SearchConfig,
        lanes: int,
        seed: int,
        max_simulations: int | None = None,
        leaves: int = 1,
    ):
        """``max_simulations``: the largest budget that ``start`` will be given (default: the config's).

        ``leaves`` of a tree are evaluated at once: more speed where lanes are few (one game to play), for choices
        that know a little less.
        """
        self.game, self.config, self.lanes, self.leaves = game, config, lanes, leaves
        self.max_simulations = max_simulations or config.simulations
        self.stream = np.random.SeedSequence(seed).generate_state(1, np.uint64)  # of the root noise
        nodes = (2 if config.reuse_tree else 1) * (self.max_simulations + 1) + game.num_actions + 1
        self.tree, self.lane, self.workspace = allocate(game, lanes, nodes, self.max_simulations, leaves, config.cache)
        self.knobs = Knobs(
            kind=GUMBEL if config.kind == "gumbel" else PUCT,
            solver=int(config.solver),
            lookahead=int(config.lookahead),
            monotone=int(game.monotone),
            root_symmetries=int(config.root_symmetries),
            max_considered=config.max_considered,
            c_visit=config.c_visit,
            c_scale=config.c_scale,
            c_puct=config.c_puct,
            fpu_reduction=config.fpu_reduction,
            dirichlet_fraction=config.dirichlet_fraction,
            dirichlet_total=config.dirichlet_total,
        )
        self.handles = (
            handle_of_rules(game),
            handle_of(self.tree, TreeType),
            handle_of(self.lane, LanesType),
            handle_of(self.knobs, KnobsType),
            handle_of(self.workspace, WorkspaceType),
        )
        self.asked = np.zeros(lanes * leaves, np.int32)  # the first entries: rows of planes that wait for an answer

    def start(
        self, lanes: np.ndarray, states: np.ndarray, simulations: np.ndarray | int, explore: bool = False
    ) -> None:
        """Begin new searches of ongoing positions ``states`` [K, S] in ``lanes`` [K], forgetting what was there.

        ``explore`` adds the root noise of self-play: Gumbel draws, or Dirichlet noise for PUCT.
        """
        self._start(lanes, np.full(len(lanes), -1), states, simulations, explore)

    def continue_after(
        self, lanes: np.ndarray, actions: np.ndarray, states: np.ndarray, simulations: np.ndarray | int, explore: bool
    ) -> None:
        """Begin the next searches, keeping the subtree of the played ``actions`` [K] when the config says so.

        ``states`` [K, S] are the positions after the actions.
        """
        self._start(lanes, actions if self.config.reuse_tree else np.full(len(lanes), -1), states, simulations, explore)

    def resume(self, lanes: np.ndarray, simulations: int) -> None:
        """Search on in the trees of ``lanes`` [K] as they stand, by so many simulations more."""
        self._start(lanes, np.full(len(lanes), STAY), self.tree.state[lanes, 0], simulations, False)

    def _start(
        self, lanes: np.ndarray, actions: np.ndarray, states: np.ndarray, simulations: np.ndarray | int, explore: bool
    ) -> None:
        assert (states[:, STATUS] == ONGOING).all(), "an ended position has nothing to search"
        budgets = np.full(len(lanes), simulations, np.int32)
        assert budgets.max(initial=0) <= self.max_simulations, "raise Search(max_simulations)"
        kernels.start(
            *self.handles,
            np.ascontiguousarray(states, np.int64),
            np.ascontiguousarray(actions, np.int64),
            np.ascontiguousarray(lanes, np.int32),
            budgets,
            explore,
            self.stream,
        )

    def select(self) -> np.ndarray:
        """Planes [n, C, H, W] of the positions to evaluate next; they hold until the next call."""
        return self.waiting(kernels.select(*self.handles, self.asked))

    def waiting(self, count: int) -> np.ndarray:
        """Planes of the ``count`` rows that stand in ``asked``."""
        return self.lane.planes if count == len(self.asked) else self.lane.planes[self.asked[:count]]

    def update(self, evaluation: Evaluation) -> None:
        """Take the network's answers for the rows of the last ``select``."""
        logits = np.ascontiguousarray(evaluation.logits, np.float32)
        wdl = np.ascontiguousarray(evaluation.wdl, np.float32)
        answered = kernels.update(*self.handles[1:], logits, wdl)
        assert answered, "one answer for each selected row"

    def answered_by(self, version: int) -> None:
        """Answers come from the weights of this version from now on: those of others are forgotten."""
        if self.lane.era[1] != version:
            self.forget()
            self.lane.era[1] = version

    def forget(self) -> None:
        """Recall no answer that was given until now."""
        self.lane.era[0] += 1

    @property
    def recalled(self) -> int:
        """How many answers were recalled so far instead of being asked for."""
        return int(self.lane.recalled[0])

    def stop(self) -> None:
        """End the searches of all lanes with the simulations that they have.

        The last ``select`` must have been answered. A lane that has not seen its root's evaluation goes on until then.
        """
        searching = self.lane.phase == SEARCHING
        self.lane.budget[searching] = self.lane.done[searching]
        self.lane.phase[searching] = DONE

    def finished(self) -> np.ndarray:
        """Lanes [K] int32 whose search is over and whose result was not collected yet."""
        return np.flatnonzero(self.lane.phase == DONE).astype(np.int32)

    def collect(self, lanes: np.ndarray) -> SearchResult:
        """Results of finished lanes [K], which become idle."""
        found = self.peek(lanes)
        self.lane.phase[lanes] = IDLE
        return found

    def peek(self, lanes: np.ndarray) -> SearchResult:
        """What is known so far in lanes [K] whose root is evaluated and whose questions are answered."""
        chosen = np.ascontiguousarray(lanes, np.int32)
        shape = (len(chosen), self.game.num_actions)
        action = np.zeros(len(chosen), np.int64)
        policy, action_value = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        visits, wdl = np.zeros(shape, np.int32), np.zeros((len(chosen), 3), np.float32)
        kernels.collect(*self.handles[1:], chosen, action, policy, visits, action_value, wdl)
        return SearchResult(
            action=action,
            policy=policy,
            wdl=wdl,
            proven=self.tree.proven[chosen, 0].copy(),
            visits=visits,
            action_value=action_value,
            prior=self.tree.prior[chosen, 0].copy(),
        )

    def run(
        self,
        states: np.ndarray,
        evaluate: Evaluate,
        *,
        simulations: int | None = None,
        explore: bool = False,
        forget: bool = True,
    ) -> SearchResult:
        """Search ongoing positions ``states`` [N, S] to the end; N may exceed the number of lanes.

        ``simulations`` 0 means the network alone: its likeliest legal action and its own value. Without ``forget``,
        answers of earlier calls are recalled: for those whose evaluator stays the same.
        """
        if forget:
            self.forget()
        budget = self.config.simulations if simulations is None else simulations
        if budget == 0:
            return self._network_alone(states, evaluate)
        results: list[SearchResult | None] = [None] * len(states)
        owner = np.full(self.lanes, -1)
        waiting = 0
        remaining = len(states)
        self.lane.phase[:] = IDLE
        while remaining:
            idle = np.flatnonzero(self.lane.phase == IDLE)[: len(states) - waiting]
            if len(idle):
                rows = np.arange(waiting, waiting + len(idle))
                owner[idle] = rows
                self.start(idle, states[rows], budget, explore)
                waiting += len(idle)
            planes = self.select()
            if len(planes):
                self.update(evaluate(planes))
            done = self.finished()
            if len(done):
                found = self.collect(done)
                for i, lane in enumerate(done):
                    results[owner[lane]] = _row(found, i)
                remaining -= len(done)
        return _stack(results)

    def _network_alone(self, states: np.ndarray, evaluate: Evaluate) -> SearchResult:
        legal = np.stack([self.game.legal_mask(state) for state in states])
        logits, wdl = [], []
        for first in range(0, len(states), self.lanes):
            answer = evaluate(self.game.encode(states[first : first + self.lanes]))
            logits.append(answer.logits.copy())
            wdl.append(answer.wdl.copy())
        masked = np.where(legal, np.concatenate(logits), -np.inf)
        prior = np.exp(masked - masked.max(1, keepdims=True))
        prior = (prior / prior.sum(1, keepdims=True)).astype(np.float32)
        return SearchResult(
            action=prior.argmax(1),
            policy=prior,
            wdl=np.concatenate(wdl),
            proven=np.full(len(states), UNPROVEN, np.int8),
            visits=np.zeros(legal.shape, np.int32),
            action_value=np.full(legal.shape, np.nan, np.float32),
            prior=prior,
        )

    def arrays(self) -> Tensors:
        """Everything that the searches in flight depend on, by name; views, so that writing to them restores it."""
        tensors = {f"tree.{name}": array for name, array in self.tree._asdict().items()}
        tensors |= {f"lane.{name}": array for name, array in self.lane._asdict().items()}
        return tensors | {"stream": self.stream}


def _row(result: SearchResult, i: int) -> SearchResult:
    return SearchResult(**{name: value[i : i + 1] for name, value in vars(result).items()})


def _stack(results: list[SearchResult | None]) -> SearchResult:
    rows = [vars(r) for r in results if r is not None]
    return SearchResult(**{name: np.concatenate([row[name] for row in rows]) for name in rows[0]})
