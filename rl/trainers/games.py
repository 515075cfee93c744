"""The learner's side of the cycle, whole: experience and learner together, where they share memory.

Reads: finished games. Writes: updates, metrics and new weights. Reuse is enforced here.

Where several learners train together, each has such a trainer: its window is one shard, an equal part of the whole, and
gives that part of every batch. The rule of reuse holds in each shard, and an update is made when all of them allow it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

import envs
from rl.config import GameConfig
from rl.experience import Comebacks, ReplayWindow, deal, shard_config, shards
from rl.learner import GameLearner, mean_measures
from rl.nets import collective
from rl.records import GameRecord, Tensors, Weights

Parts = dict[str, Tensors]


class GameTrainer:
    def __init__(self, config: GameConfig, device: str = "auto"):
        self.config = config
        self.game = envs.make(config.env, **config.env_options)
        self.learner = GameLearner(self.game, config, device)
        self.learners, self.rank = collective.members(), collective.rank()
        self.batch_size = config.learner.batch_size // self.learners  # of this learner's share of a batch
        key = (0, self.rank) if self.rank else (0,)
        seed = int(np.random.SeedSequence(config.seed, spawn_key=key).generate_state(1)[0])
        self.comebacks = Comebacks(self.game)
        self.busy_seconds = 0.0  # spent in updates so far
        short_term = config.net.auxiliary.short_term_value > 0
        shard = shard_config(config.experience, self.learners)
        self.window = ReplayWindow(self.game, shard, seed, config.learner.symmetries, short_term)

    def add(self, games: list[GameRecord]) -> None:
        """Take finished games into the window."""
        self.window.add(games)
        for game in games:
            self.comebacks.add(game)

    def steps_allowed(self) -> int:
        """Updates that the reuse rule and the run's budget of learner steps permit now."""
        allowed = self.window.trainable_rows // self.batch_size
        limit = self.config.run.learner_steps
        if limit is not None:
            allowed = min(allowed, limit - self.learner.step)
        return max(0, int(allowed))  # below 0 after a resume with less reuse or a smaller budget

    def train(self, steps: int, progress: float) -> dict[str, float]:
        """Up to ``steps`` updates, as many as are allowed; their mean measures under the catalogue's names.

        Several learners are to be called together; lags are those of this one's rows.
        ``progress`` in [0, 1] is the share of the run's budget used, for the schedule; a budget of learner steps
        is followed from step to step.
        """
        started = time.perf_counter()
        measures: list[dict[str, float]] = []
        for _ in range(collective.least(min(steps, self.steps_allowed()))):
            batch = self.window.sample(self.batch_size)
            measures.append(self.learner.update(batch, self._used(progress)))
        if not measures:
            return {}
        means = {f"learner/{name}": value for name, value in mean_measures(measures).items()}
        means["learner/lag_max"] = max(m["lag_max"] for m in measures)
        seconds = time.perf_counter() - started
        self.busy_seconds += seconds
        return means | {"learner/rows_per_second": len(measures) * self.config.learner.batch_size / seconds}

    def _used(self, progress: float) -> float:
        """Share of the run's budget that is used now, by steps or by ``progress`` of the clock."""
        limit = self.config.run.learner_steps
        by_steps = self.learner.step / limit if limit else 0.0
        by_others = progress if self.config.run.budgets().keys() - {"learner_steps"} else 0.0
        return max(by_steps, by_others)

    def status(self) -> dict[str, float]:
        """Counters of the window under the catalogue's names."""
        window = self.window
        return {
            "experience/rows": window.size,
            "experience/rows_total": window.total,
            "experience/window": window.window,
            "experience/reuse": window.sampled / max(1, window.total),
        }

    def weights(self, progress: float) -> Weights:
        """What actors are to use now; ``progress`` as in ``train``."""
        return replace(self.learner.weights(), progress=self._used(progress))

    def state(self) -> tuple[Parts, dict]:
        """Everything to continue from: named parts of arrays, and a JSON-able rest. Of one learner, all there is."""
        learner, learner_state = self.learner.state_dict()
        window, window_state = self.window.state_dict()
        comebacks = {"lows": list(self.comebacks.lows), "resign_below": self.comebacks.resign_below}
        rest = {"learner": learner_state, "experience": window_state, "comebacks": comebacks}
        return {"learner": learner, "experience": window}, rest

    def shard(self) -> tuple[Tensors, dict]:
        """What only this one of several learners has: its shard of the experience."""
        return self.window.state_dict()

    def begin_with(self, weights: Weights | None, window: Sequence[tuple[Tensors, dict]] = ()) -> None:
        """Begin a new run with another agent's weights, or the shards of another run's window, or both."""
        if weights is not None:
            self.learner.begin_with(weights)
        if window:
            self.window.begin_with(*self._own(window))

    def restore(self, parts: Parts, state: dict) -> None:
        """Restore what ``state`` gave, and the shards of others beside it (``experience.shards``)."""
        self.learner.load_state_dict(parts["learner"], state["learner"])
        self.window.load_state_dict(*self._own(shards(parts, state)))
        self.comebacks.lows.extend(state.get("comebacks", {"lows": []})["lows"])

    def _own(self, saved: Sequence[tuple[Tensors, dict]]) -> tuple[Tensors, dict]:
        """This learner's shard of what was saved in so many shards."""
        return deal(saved, self.rank, self.learners, self.window.rng)
