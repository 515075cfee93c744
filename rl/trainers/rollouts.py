"""The learner's side of rollouts: a queue of unrolls and the learner, where they share memory.

Reads: Unrolls. Writes: updates, metrics and new weights. PPO waits until there is a stretch of every environment, goes
through it in minibatches, several times, and forgets it; IMPALA takes each stretch once, as it comes.

Where several learners train together, each has such a trainer. PPO's waits for its part of the environments and deals
it out to its parts of the minibatches; with IMPALA a batch is one stretch a learner, so many times what one learner
would take (Espeholt et al. 2018, §3: synchronised learners).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from rl.config import GymConfig, PPOConfig
from rl.learner import RolloutLearner, mean_measures
from rl.learner.base import Rows
from rl.losses import gae, normalise_advantages
from rl.nets import collective
from rl.records import Tensors, Unroll, Weights
from rl.worlds import spec_of

Parts = dict[str, Tensors]
PER_STEP = ("actions", "log_probs", "rewards", "terminated", "truncated", "valid", "final_values")


class RolloutTrainer:
    def __init__(self, config: GymConfig, device: str = "auto"):
        self.config, self.algorithm = config, config.algorithm
        self.learner = RolloutLearner(spec_of(config), config, device)
        self.recurrent = config.net.core is not None
        self.rng = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=self._key()))
        self.queue: deque[Unroll] = deque()
        self.busy_seconds = 0.0  # spent in updates so far
        self.rows_total = 0

    def _key(self, *more: int) -> tuple[int, ...]:
        """Of this learner's random stream among those of the run's seed."""
        return (0, collective.rank(), *more) if collective.rank() else (0,)

    def add(self, unrolls: Sequence[Unroll]) -> None:
        """Take stretches into the queue."""
        self.queue.extend(unrolls)

    def _ready(self) -> int:
        """Unrolls at the queue's head that make the next batch; 0 when some are missing."""
        if not isinstance(self.algorithm, PPOConfig):
            return min(1, len(self.queue))
        lanes = 0
        for count, unroll in enumerate(self.queue, 1):
            lanes += unroll.rewards.shape[1]
            if lanes >= self.config.rollout.environments // collective.members():
                return count
        return 0

    def steps_allowed(self) -> int:
        """Updates that what lies in the queue and the run's budget of learner steps permit now."""
        if not self._ready():
            return 0
        limit = self.config.run.learner_steps
        left = max(0, limit - self.learner.step) if limit is not None else 2**31
        batch = self._minibatches() * self.algorithm.epochs if isinstance(self.algorithm, PPOConfig) else 1
        return min(left, batch)

    def _minibatches(self) -> int:
        rows = self.config.rollout.environments * self.config.rollout.steps
        return max(1, rows // self.config.learner.batch_size)

    def train(self, steps: int, progress: float) -> dict[str, float]:
        """Train on the next batch, all of its epochs, if there is one; the mean measures by the catalogue's names.

        ``progress`` in [0, 1] is the share of the run's budget used, for the schedules. Nothing happens when ``steps``
        is 0. Raises FloatingPointError when the loss is not finite; the weights stay as they were.
        """
        count = self._ready() if steps else 0
        if not collective.least(count):
            return {}
        started = time.perf_counter()
        unrolls = [self.queue.popleft() for _ in range(count)]
        lag = self.learner.step - np.array([u.weights_version for u in unrolls])
        self.learner.set_progress(progress)
        measures = []
        rows = 0
        limit = self.config.run.learner_steps or 2**31
        for batch in self.batches(unrolls):
            if self.learner.step >= limit:
                break
            measures.append(self.learner.step_on(batch, progress))
            rows += batch["first"].numel()
            kl_stop = getattr(self.algorithm, "kl_stop", None)
            if kl_stop is not None and measures[-1]["policy_kl"] > kl_stop:
                break
        seconds = time.perf_counter() - started
        self.busy_seconds += seconds
        self.rows_total += sum(u.rewards.size for u in unrolls)
        means = {f"learner/{name}": value for name, value in mean_measures(measures).items()}
        lags = {"learner/lag_mean": float(lag.mean()), "learner/lag_max": float(lag.max())}
        return means | lags | {"learner/rows_per_second": rows / seconds}

    def batches(self, unrolls: list[Unroll]) -> Iterator[Rows]:
        """The rows of each update, time-major."""
        joined = _join(unrolls)
        self._observe(joined)
        if self.algorithm.normalise_rewards:
            deviation = float(torch.sqrt(self.learner.net.returns.variance + 1e-8))
            joined["rewards"] = np.clip(joined["rewards"] / deviation, -10.0, 10.0).astype(np.float32)
        if not isinstance(self.algorithm, PPOConfig):
            yield self._rows(joined)
            return
        advantages, returns = gae(
            joined["rewards"],
            joined["values"],
            joined["terminated"],
            joined["truncated"],
            joined["valid"],
            self.algorithm.discount,
            self.algorithm.gae_lambda,
            joined["final_values"],
        )
        steps = {
            name: value[:-1] if name.startswith("observation/") or name in ("first", "values") else value
            for name, value in joined.items()
            if not name.startswith("state/")
            and name not in ("rewards", "terminated", "truncated", "final_values", "discounted")
        }
        steps |= {"advantages": advantages, "returns": returns}
        # With memory, lanes stay whole; without, every step is a row of its own.
        if self.recurrent:
            steps |= {name: value for name, value in joined.items() if name.startswith("state/")}
        else:
            keep = np.flatnonzero(steps.pop("valid").reshape(-1))
            steps = {n: v.reshape(1, -1, *v.shape[2:])[:, keep] for n, v in steps.items()}
        tensors = self._rows(steps)
        columns = tensors["first"].shape[1]
        parts = collective.least(min(columns, self._minibatches()))
        for _ in range(self.algorithm.epochs):
            for chosen in np.array_split(self.rng.permutation(columns), parts):
                index = torch.from_numpy(chosen).to(self.learner.device)
                rows = {n: t.index_select(0 if n.startswith("state/") else 1, index) for n, t in tensors.items()}
                if self.algorithm.normalise_advantages:
                    rows["advantages"] = normalise_advantages(
                        rows["advantages"], rows.get("valid"), total=collective.total
                    )
                yield rows

    def _observe(self, joined: Tensors) -> None:
        """Take the batch into the running statistics, before any update sees it."""
        net, valid = self.learner.net, torch.from_numpy(joined["valid"].reshape(-1))
        if self.config.net.normalise_observations:
            net.observe(
                {
                    name.removeprefix("observation/"): torch.from_numpy(value[:-1])
                    .flatten(0, 1)[valid]
                    .to(self.learner.device)
                    for name, value in joined.items()
                    if name.startswith("observation/")
                }
            )
        if self.algorithm.normalise_rewards:
            discounted = torch.from_numpy(joined["discounted"]).flatten()[valid]
            net.returns.observe(discounted[:, None].to(self.learner.device))

    def _rows(self, arrays: Tensors) -> Rows:
        return {name: self.learner.to_device(np.ascontiguousarray(value)) for name, value in arrays.items()}

    def status(self) -> dict[str, float]:
        """Counters of the queue under the catalogue's names."""
        return {"experience/rows_total": self.rows_total, "experience/queue": len(self.queue)}

    def weights(self, progress: float) -> Weights:
        """What actors are to use now."""
        return replace(self.learner.weights(), progress=progress)

    def state(self) -> tuple[Parts, dict]:
        """Everything to continue from. What lies in the queue is left out: it would be old by then."""
        learner, learner_state = self.learner.state_dict()
        rest: dict[str, Any] = {"learner": learner_state, "rng": self.rng.bit_generator.state}
        return {"learner": learner}, rest | {"rows_total": self.rows_total}

    def shard(self) -> tuple[Tensors, dict]:
        """What only this one of several learners has and is kept: nothing."""
        return {}, {}

    def restore(self, parts: Parts, state: dict) -> None:
        """Restore what ``state`` gave, which is the first learner's; the others go on with streams of their own."""
        self.learner.load_state_dict(parts["learner"], state["learner"])
        if collective.rank():
            self.rng = np.random.default_rng(
                np.random.SeedSequence(self.config.seed, spawn_key=self._key(self.learner.step))
            )
            return
        self.rng.bit_generator.state = state["rng"]
        self.rows_total = state["rows_total"]


def _join(unrolls: list[Unroll]) -> Tensors:
    """The unrolls side by side, [T, B, ...] by name, "observation/<part>" and "state/<name>" among them."""
    first = unrolls[0]
    joined = {
        name: np.concatenate([getattr(u, name) for u in unrolls], 1)
        for name in (*PER_STEP, "values", "first", "discounted")
    }
    joined |= {f"observation/{n}": np.concatenate([u.observations[n] for u in unrolls], 1) for n in first.observations}
    return joined | {f"state/{n}": np.concatenate([u.state[n] for u in unrolls]) for n in first.state}
