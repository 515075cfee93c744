"""Search over many games at once, one network batch a step. Tests drive it with fake evaluators."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from envs.game import ONGOING, STATUS, Game
from rl.config import SearchConfig
from rl.records import UNPROVEN, Evaluation, SearchResult, Tensors
from rl.search import kernels
from rl.search.policies import visit_schedule
from rl.search.tree import DONE, GUMBEL, IDLE, PUCT, Knobs, allocate

Evaluate = Callable[[np.ndarray], Evaluation]  # planes [n, C, H, W] float32 -> Evaluation of n rows

_schedule = lru_cache(maxsize=4096)(visit_schedule)


class Search:
    """Trees of ``lanes`` games that advance independently of each other.

    Each step asks for exactly one network evaluation a searching lane: ``select`` walks every lane to its next
    leaf (terminal and proven leaves cost no evaluation and are passed on the way), ``update`` takes the
    network's answers. Lanes may be at different simulations and have different budgets, so a self-play actor
    replaces finished searches at once and its batches stay full.
    """

    def __init__(self, game: Game, config: SearchConfig, lanes: int, seed: int, max_simulations: int | None = None):
        """``max_simulations``: the largest budget that ``start`` will be given (default: the config's)."""
        self.game, self.config, self.lanes = game, config, lanes
        self.max_simulations = max_simulations or config.simulations
        self.rng = np.random.default_rng(seed)
        nodes = (2 if config.reuse_tree else 1) * (self.max_simulations + 1) + game.num_actions + 1
        self.tree, self.lane = allocate(lanes, nodes, game.num_actions, game.state_size)
        self.schedule = np.zeros((lanes, self.max_simulations), np.int32)
        self.knobs = Knobs(
            kind=GUMBEL if config.kind == "gumbel" else PUCT,
            solver=int(config.solver),
            lookahead=int(config.lookahead),
            root_symmetries=int(config.root_symmetries),
            c_visit=config.c_visit,
            c_scale=config.c_scale,
            c_puct=config.c_puct,
            fpu_reduction=config.fpu_reduction,
            dirichlet_fraction=config.dirichlet_fraction,
        )
        assert game.point_symmetries is not None and game.action_symmetries is not None
        self.points = np.ascontiguousarray(game.point_symmetries, np.int64)
        self.actions = np.ascontiguousarray(game.action_symmetries, np.int64)
        self._planes = np.zeros((lanes, *game.plane_shape), np.float32)
        self._asked = np.zeros(lanes, np.int32)  # lanes that the next update answers
        self._count = 0

    def start(
        self, lanes: np.ndarray, states: np.ndarray, simulations: np.ndarray | int, explore: bool = False
    ) -> None:
        """Begin new searches of ongoing positions ``states`` [K, S] in ``lanes`` [K], forgetting what was there.

        ``explore`` adds the root noise of self-play: Gumbel draws, or Dirichlet noise for PUCT.
        """
        chosen = np.ascontiguousarray(lanes, np.int32)
        assert (states[:, STATUS] == ONGOING).all(), "an ended position has nothing to search"
        considered = np.zeros(len(chosen), np.int32)
        states = np.ascontiguousarray(states, np.int64)
        kernels.plant(self.tree, self.lane, self.knobs, states, chosen, self.game.play, self.game.legal, considered)
        self._budget(chosen, simulations, considered, explore)

    def continue_after(
        self, lanes: np.ndarray, actions: np.ndarray, states: np.ndarray, simulations: np.ndarray | int, explore: bool
    ) -> None:
        """Begin the next searches, keeping the subtree of the played ``actions`` [K] when the config says so.

        ``states`` [K, S] are the positions after the actions.
        """
        chosen = np.ascontiguousarray(lanes, np.int32)
        if not self.config.reuse_tree:
            return self.start(chosen, states, simulations, explore)
        kept = np.zeros(len(chosen), np.uint8)
        kernels.advance_root(self.tree, self.lane, chosen, np.ascontiguousarray(actions, np.int64), kept)
        fresh, reused = np.flatnonzero(kept == 0), np.flatnonzero(kept == 1)
        budgets = np.broadcast_to(np.asarray(simulations, np.int32), chosen.shape)
        if len(fresh):
            self.start(chosen[fresh], states[fresh], budgets[fresh], explore)
        if len(reused):
            considered = (self.tree.prior[chosen[reused], 0] > 0).sum(1).astype(np.int32)
            self._budget(chosen[reused], budgets[reused], considered, explore)
        return None

    def _budget(self, chosen: np.ndarray, simulations: np.ndarray | int, considered: np.ndarray, explore: bool) -> None:
        budgets = np.broadcast_to(np.asarray(simulations, np.int32), chosen.shape)
        assert budgets.max(initial=0) <= self.max_simulations, "raise Search(max_simulations)"
        self.lane.budget[chosen] = budgets
        self.lane.explore[chosen] = explore
        shape = (len(chosen), self.game.num_actions)
        if self.knobs.kind == GUMBEL:
            self.lane.noise[chosen] = self.rng.gumbel(size=shape) if explore else 0.0
            for lane, budget, legal in zip(chosen, budgets, considered):
                self.schedule[lane, :budget] = _schedule(min(int(legal), self.config.max_considered), int(budget))
        elif explore:
            legal_mask = self.tree.prior[chosen, 0] > 0
            alpha = self.config.dirichlet_total / considered[:, None]
            draws = self.rng.standard_gamma(np.broadcast_to(alpha, shape)) * legal_mask + 1e-30 * legal_mask
            self.lane.noise[chosen] = draws / draws.sum(1, keepdims=True)

    def select(self) -> np.ndarray:
        """Planes [n, C, H, W] of the positions to evaluate next; they hold until the next call."""
        self._count = kernels.select(
            self.tree,
            self.lane,
            self.knobs,
            self.schedule,
            self.points,
            self.game.play,
            self.game.legal,
            self.game.planes,
            self._planes,
            self._asked,
        )
        if self._count == self.lanes:
            return self._planes
        return self._planes[self._asked[: self._count]]

    def update(self, evaluation: Evaluation) -> None:
        """Take the network's answers for the rows of the last ``select``."""
        asked = self._asked[: self._count]
        assert len(evaluation.logits) == len(asked), "one answer for each selected row"
        logits = np.ascontiguousarray(evaluation.logits, np.float32)
        wdl = np.ascontiguousarray(evaluation.wdl, np.float32)
        kernels.update(self.tree, self.lane, self.knobs, self.actions, logits, wdl, asked)

    def finished(self) -> np.ndarray:
        """Lanes [K] int32 whose search is over and whose result was not collected yet."""
        return np.flatnonzero(self.lane.phase == DONE).astype(np.int32)

    def collect(self, lanes: np.ndarray) -> SearchResult:
        """Results of finished lanes [K], which become idle."""
        chosen = np.ascontiguousarray(lanes, np.int32)
        shape = (len(chosen), self.game.num_actions)
        action = np.zeros(len(chosen), np.int64)
        policy, action_value = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        visits, wdl = np.zeros(shape, np.int32), np.zeros((len(chosen), 3), np.float32)
        kernels.decide(self.tree, self.lane, self.knobs, chosen, action, policy, visits, action_value, wdl)
        self.lane.phase[chosen] = IDLE
        return SearchResult(
            action=action,
            policy=policy,
            wdl=wdl / wdl.sum(1, keepdims=True),
            proven=self.tree.proven[chosen, 0].copy(),
            visits=visits,
            action_value=action_value,
            prior=self.tree.prior[chosen, 0].copy(),
        )

    def run(
        self, states: np.ndarray, evaluate: Evaluate, *, simulations: int | None = None, explore: bool = False
    ) -> SearchResult:
        """Search ongoing positions ``states`` [N, S] to the end; N may exceed the number of lanes.

        ``simulations`` 0 means the network alone: its likeliest legal action and its own value.
        """
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

    def state_dict(self) -> Tensors:
        """Everything that the searches in flight depend on, apart from the random stream (``rng``)."""
        tensors = {f"tree.{name}": array for name, array in self.tree._asdict().items()}
        tensors |= {f"lane.{name}": array for name, array in self.lane._asdict().items()}
        return tensors | {"schedule": self.schedule, "planes": self._planes}

    def load_state_dict(self, tensors: Tensors) -> None:
        """Restore what ``state_dict`` gave. Raises ValueError where a shape differs; numpy would broadcast some."""
        for name, array in self.state_dict().items():
            if tensors[name].shape != array.shape:
                raise ValueError(f"{name} has shape {tensors[name].shape}; this search needs {array.shape}")
            array[...] = tensors[name]


def _row(result: SearchResult, i: int) -> SearchResult:
    return SearchResult(**{name: value[i : i + 1] for name, value in vars(result).items()})


def _stack(results: list[SearchResult | None]) -> SearchResult:
    rows = [vars(r) for r in results if r is not None]
    return SearchResult(**{name: np.concatenate([row[name] for row in rows]) for name in rows[0]})
