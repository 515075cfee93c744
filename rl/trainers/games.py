"""The learner's side of the cycle, whole: experience and learner together, where they share memory.

Reads: finished games. Writes: updates, metrics and new weights. Reuse is enforced here.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

import envs
from rl.config import GameConfig
from rl.experience import Comebacks, ReplayWindow
from rl.learner import GameLearner, mean_measures
from rl.records import GameRecord, Tensors, Weights

Parts = dict[str, Tensors]


class GameTrainer:
    def __init__(self, config: GameConfig, device: str = "auto"):
        self.config = config
        self.game = envs.make(config.env, **config.env_options)
        self.learner = GameLearner(self.game, config, device)
        seed = int(np.random.SeedSequence(config.seed, spawn_key=(0,)).generate_state(1)[0])
        self.comebacks = Comebacks(self.game)
        self.busy_seconds = 0.0  # spent in updates so far
        short_term = config.net.auxiliary.short_term_value > 0
        self.window = ReplayWindow(self.game, config.experience, seed, config.learner.symmetries, short_term)

    def add(self, games: list[GameRecord]) -> None:
        """Take finished games into the window."""
        self.window.add(games)
        for game in games:
            self.comebacks.add(game)

    def steps_allowed(self) -> int:
        """Updates that the reuse rule and the run's budget of learner steps permit now."""
        allowed = self.window.trainable_rows // self.config.learner.batch_size
        limit = self.config.run.learner_steps
        if limit is not None:
            allowed = min(allowed, limit - self.learner.step)
        return max(0, int(allowed))  # below 0 after a resume with less reuse or a smaller budget

    def train(self, steps: int, progress: float) -> dict[str, float]:
        """Up to ``steps`` updates, as many as are allowed; their mean measures under the catalogue's names.

        ``progress`` in [0, 1] is the share of the run's budget used, for the schedule; a budget of learner steps
        is followed from step to step.
        """
        started = time.perf_counter()
        measures: list[dict[str, float]] = []
        for _ in range(min(steps, self.steps_allowed())):
            batch = self.window.sample(self.config.learner.batch_size)
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
        """Everything to continue from: named parts of arrays, and a JSON-able rest."""
        learner, learner_state = self.learner.state_dict()
        window, window_state = self.window.state_dict()
        comebacks = {"lows": list(self.comebacks.lows), "resign_below": self.comebacks.resign_below}
        rest = {"learner": learner_state, "experience": window_state, "comebacks": comebacks}
        return {"learner": learner, "experience": window}, rest

    def begin_with(self, weights: Weights | None, window: tuple[Tensors, dict] | None) -> None:
        """Begin a new run with another agent's weights, or another run's window as ``state`` gave it, or both."""
        if weights is not None:
            self.learner.begin_with(weights)
        if window is not None:
            self.window.begin_with(*window)

    def restore(self, parts: Parts, state: dict) -> None:
        """Restore what ``state`` gave."""
        self.learner.load_state_dict(parts["learner"], state["learner"])
        self.window.load_state_dict(parts["experience"], state["experience"])
        self.comebacks.lows.extend(state.get("comebacks", {"lows": []})["lows"])
