"""The parts of the cycle as Ray actors: thin wrappers, and who gets what of the cluster."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from rl.actors.worker import SelfPlayWorker, actor_seed
from rl.config import Config
from rl.evaluation.examiner import Examination, Examiner
from rl.records import GameRecord, SelfPlayReport, Tensors, Weights
from rl.runtime.checkpoint import load_checkpoint
from rl.runtime.session import starting_weights, starting_window, summarise, write_checkpoint
from rl.trainer import Trainer


@dataclass(frozen=True)
class Plan:
    """Who gets what of the cluster."""

    actors: int
    actor_gpus: float
    learner_threads: int
    learner_gpus: float


def plan(config: Config, resources: dict[str, float]) -> Plan:
    """Divide the cluster's resources.

    On up to two cores everything shares them. Beyond that a learner without a GPU gets a quarter of the cores (an
    update costs about as much as three to four evaluations a row, times the reuse), and each actor gets one core.
    One GPU is shared, the learner's share being a quarter; of several, the learner has one for itself.
    """
    cores, gpus = int(resources.get("CPU", 1)), resources.get("GPU", 0.0)
    threads = max(1, cores // 4) if gpus == 0 else 1
    actors = cores if cores <= 2 else cores - threads
    if config.run.actors != "auto":
        actors = config.run.actors
    learner_gpus = 0.0 if gpus == 0 else (0.25 if gpus < 2 else 1.0)
    # Fractions are rounded down: a share of 0.333 for three must fit into what is left.
    share = math.floor(1000 * (gpus - learner_gpus) / max(1, actors)) / 1000
    return Plan(max(1, actors), share, threads, learner_gpus)


class ActorProcess:
    """rl.actors.SelfPlayWorker in a process of its own."""

    def __init__(self, config: Config, seed: int):
        _threads(1)
        self.worker = SelfPlayWorker(config, seed)

    def use(self, weights: Weights) -> int:
        self.worker.use(weights)
        return weights.version

    @ray.method(num_returns=2)
    def play(
        self, weights: Weights | None, moves: int | None, seconds: float
    ) -> tuple[tuple[SelfPlayReport, dict[str, float]], list[GameRecord]]:
        """(The report without its games, their summary) and, apart, the games: only the learner fetches those."""
        if weights is not None:
            self.worker.use(weights)
        report = self.worker.play(moves, seconds)
        games = list(report.games)
        report.games.clear()
        return (report, summarise(games)), games

    def play_in_step(self, moves: int) -> SelfPlayReport:
        return self.worker.play(moves)

    def state(self) -> tuple[Tensors, dict]:
        return self.worker.state()

    def restore(self, weights: Weights, tensors: Tensors, state: dict) -> None:
        self.worker.restore(weights, tensors, state)


class LearnerProcess:
    """rl.trainer.Trainer in a process of its own, which also writes the checkpoints."""

    def __init__(self, config: Config, threads: int, checkpoint: str | None):
        _threads(threads)
        self.config = config
        self.trainer = Trainer(config)
        if checkpoint is not None:
            saved = load_checkpoint(checkpoint)
            self.trainer.restore(saved.parts, saved.state)
        else:
            self.trainer.begin_with(starting_weights(config), starting_window(config))

    def add(self, games: list[GameRecord]) -> tuple[int, dict[str, float]]:
        """Take games in; returns the updates allowed now and the window's status."""
        self.trainer.add(games)
        return self.trainer.steps_allowed(), self.trainer.status()

    @ray.method(num_returns=2)
    def train(self, steps: int, progress: float) -> tuple[dict[str, Any], Weights]:
        """Up to ``steps`` updates. Returns measures, status, version and steps allowed; and, apart, the weights."""
        measures = self.trainer.train(steps, progress)
        started = time.perf_counter()
        weights = self.trainer.weights(progress)
        status = self.trainer.status() | {
            "weights/version": weights.version,
            "weights/bytes": sum(t.nbytes for t in weights.tensors.values()),
            "weights/publish_seconds": time.perf_counter() - started,
        }
        reply = {"measures": measures, "status": status, "version": weights.version, "busy": self.trainer.busy_seconds}
        return reply | {"allowed": self.trainer.steps_allowed()}, weights

    def checkpoint(self, root: str, book: dict) -> str:
        parts, state = self.trainer.state()
        return write_checkpoint(self.config, Path(root), parts, state, self.trainer.learner.weights(), book)


class ExaminerProcess:
    """rl.evaluation.Examiner in a process of its own."""

    def __init__(self, config: Config):
        _threads(1)
        self.examiner = Examiner(config)

    def examine(self, weights: Weights) -> Examination:
        return self.examiner.examine(weights)


def _threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


# Any: what ray.remote returns has the class's methods, but no type that says so.
RayActor: Any = ray.remote(ActorProcess)
RayLearner: Any = ray.remote(LearnerProcess)
RayExaminer: Any = ray.remote(ExaminerProcess)


class RayActors:
    """Several actors in lock step, for ``loop.run_lockstep``."""

    def __init__(self, config: Config, placed: Plan):
        self.actors = [
            RayActor.options(num_gpus=placed.actor_gpus).remote(config, actor_seed(config.seed, i))
            for i in range(placed.actors)
        ]

    def use(self, weights: Weights) -> None:
        stored = ray.put(weights)
        ray.get([a.use.remote(stored) for a in self.actors])

    def play(self, moves: int) -> list[SelfPlayReport]:
        return ray.get([a.play_in_step.remote(moves) for a in self.actors])

    def state(self) -> list[tuple[Tensors, dict]]:
        return ray.get([a.state.remote() for a in self.actors])

    def restore(self, weights: Weights, states: list[tuple[Tensors, dict]]) -> None:
        stored = ray.put(weights)
        ray.get([a.restore.remote(stored, *s) for a, s in zip(self.actors, states, strict=True)])

    def __len__(self) -> int:
        return len(self.actors)
