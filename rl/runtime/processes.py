"""The parts of the cycle as Ray actors: thin wrappers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray
from ray.exceptions import (
    ActorUnschedulableError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayTaskError,
    WorkerCrashedError,
)

import envs
from envs.gym import UnknownWorld, WorldError
from rl.actors.seeds import actor_seed
from rl.config import Config, ConfigError, GameConfig
from rl.evaluation.examination import Examination
from rl.experience import file_shards
from rl.records import Evaluation, Tensors, Weights
from rl.runtime.checkpoint import load_checkpoint
from rl.runtime.group import Address, hold, join
from rl.runtime.kinds import Report, Trainer, Worker, make_examiner, make_trainer, make_worker, parts_of, summarise
from rl.runtime.loop import ActorsLost
from rl.runtime.plan import Plan
from rl.runtime.session import write_checkpoint
from rl.serving import Answer, BatchingEvaluator, Load

# What Ray raises where a process, its machine, or what it had made is gone; OutOfMemoryError of one that Ray's own
# memory monitor has killed.
PROCESS_LOST = (
    RayActorError,
    ObjectLostError,
    OutOfMemoryError,
    NodeDiedError,
    WorkerCrashedError,
    ActorUnschedulableError,
)


class ActorProcess:
    """A worker (rl.actors) in a process of its own, one of ``actors``."""

    def __init__(self, config: Config, seed: int, actors: int, server: Any = None):
        """``server``: a ServerProcess that evaluates for it."""
        _threads(1)
        self._worker: Worker | None = None
        try:
            served = RemoteEvaluator(server) if server is not None else None
            self._worker = make_worker(config, seed, actors, served)
        except (WorldError, UnknownWorld) as error:
            self._fault = error  # of what a constructor raises, the driver would only get a traceback's text

    @property
    def worker(self) -> Worker:
        if self._worker is None:
            raise self._fault
        return self._worker

    def node(self) -> str:
        """Ray's id of the machine that this process is on."""
        return str(ray.get_runtime_context().get_node_id())

    def use(self, weights: Weights) -> int:
        self.worker.use(weights)
        return weights.version

    @ray.method(num_returns=2)
    def play(
        self, weights: Weights | None, moves: int | None, seconds: float
    ) -> tuple[tuple[Report, dict[str, float]], list[Any]]:
        """(The report without its experience, its summary) and, apart, what only the learner fetches."""
        if weights is not None:
            self.worker.use(weights)
        report = self.worker.play(moves, seconds)
        summary = summarise(report)
        experience = report.take()
        return (report, summary), experience

    def play_in_step(self, moves: int) -> Report:
        return self.worker.play(moves)

    def resumable(self) -> bool:
        return self.worker.resumable()

    def state(self) -> tuple[Tensors, dict]:
        return self.worker.state()

    def restore(self, weights: Weights, tensors: Tensors, state: dict) -> None:
        self.worker.restore(weights, tensors, state)


class LearnerProcess:
    """A trainer (rl.trainers) in a process of its own; the first of them also writes the checkpoints.

    Of several, each is to ``join`` the others before anything else; then every ``train`` is to be asked of all.
    """

    def __init__(self, config: Config, threads: int, checkpoint: str | None, rank: int = 0, learners: int = 1):
        _threads(threads)
        self.config, self.checkpoint_read, self.rank, self.learners = config, checkpoint, rank, learners
        if learners == 1:
            self.trainer = self._trainer()

    def _trainer(self) -> Trainer:
        trainer = make_trainer(self.config, new=self.checkpoint_read is None)
        if self.checkpoint_read is not None:
            saved = load_checkpoint(self.checkpoint_read, lambda parts: parts_of(parts, self.rank, self.learners))
            trainer.restore(saved.parts, saved.state)
        return trainer

    def hold(self) -> Address:
        """Where the others find this one, the first."""
        self.store, address = hold(self.learners)
        return address

    def join(self, address: Address) -> None:
        join(address, self.rank, self.learners)
        self.trainer = self._trainer()

    def add(self, experience: list[Any]) -> tuple[int, dict[str, float]]:
        """Take games or unrolls in; returns the updates allowed now and the trainer's status."""
        self.trainer.add(experience)
        return self.trainer.steps_allowed(), self.trainer.status()

    @ray.method(num_returns=2)
    def train(self, steps: int, progress: float) -> tuple[dict[str, Any], Weights | None]:
        """Up to ``steps`` updates. Returns measures, status, version and steps allowed; and, apart, the weights.

        Of several learners, only the first gives weights.
        """
        measures = self.trainer.train(steps, progress)
        reply = {"measures": measures, "busy": self.trainer.busy_seconds, "allowed": self.trainer.steps_allowed()}
        if self.rank:
            return reply | {"status": self.trainer.status()}, None
        started = time.perf_counter()
        weights = self.trainer.weights(progress)
        status = self.trainer.status() | {
            "weights/version": weights.version,
            "weights/bytes": sum(t.nbytes for t in weights.tensors.values()),
            "weights/publish_seconds": time.perf_counter() - started,
        }
        return reply | {"status": status, "version": weights.version}, weights

    @ray.method(num_returns=2)
    def shard(self) -> tuple[dict, Tensors]:
        """What only this one of several learners has, for the first one's checkpoint."""
        tensors, state = self.trainer.shard()
        return state, tensors

    def checkpoint(self, root: str, book: dict, others: Sequence[tuple[Any, Any]] = ()) -> str:
        """``others``: references to what the other learners' ``shard`` gave."""
        parts, state = self.trainer.state()
        # By way of this node's object store: its arrays are not copied into this process.
        file_shards(parts, state, [(ray.get(tensors), ray.get(rest)) for rest, tensors in others])
        return write_checkpoint(self.config, root, parts, state, self.trainer.weights(1.0), book)


class ExaminerProcess:
    """An examiner (rl.evaluation) in a process of its own."""

    def __init__(self, config: Config):
        _threads(1)
        self.examiner = make_examiner(config)

    def examine(self, weights: Weights) -> Examination:
        return self.examiner.examine(weights)


class ServerProcess:
    """A batching evaluator in a process of its own."""

    def __init__(self, config: GameConfig):
        _threads(1)
        game = envs.make(config.env, **config.env_options)
        self._evaluator = BatchingEvaluator(config.net, game, config.inference)

    async def ask(self, planes: np.ndarray) -> Answer:
        return await self._evaluator.ask(planes)

    async def use(self, weights: Weights) -> Load:
        return await self._evaluator.use(weights)

    @ray.method(max_task_retries=0)
    async def live(self) -> None:
        """Ends with the process."""
        await asyncio.Event().wait()


class RemoteEvaluator:
    """What self-play asks instead of an evaluator of its own."""

    format = "of its server"

    def __init__(self, server: Any):
        self._server = server
        self.version = -1

    def load(self, weights: Weights) -> None:
        """The driver gives the server its weights, which may be older or newer than these."""

    def __call__(self, planes: np.ndarray) -> Evaluation:
        self.version, (logits, wdl, *_) = ray.get(self._server.ask.remote(planes))
        # What comes from Ray's store cannot be written to, and compiled code takes only what can.
        return Evaluation(np.array(logits), np.array(wdl))


def _threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


# Any: what ray.remote returns has the class's methods, but no type that says so.
RayActor: Any = ray.remote(ActorProcess)
RayLearner: Any = ray.remote(LearnerProcess)
RayExaminer: Any = ray.remote(ExaminerProcess)
RayServer: Any = ray.remote(ServerProcess)


class RayActors:
    """Several actors in lock step, for ``loop.run_lockstep``."""

    def __init__(self, config: Config, placed: Plan):
        self.config, self.placed = config, placed
        self.actors: list[Any] = []
        self.replace()

    def replace(self) -> None:
        """New processes for all: those that live are somewhere in the middle of a game."""
        for actor in self.actors:
            ray.kill(actor)
        self.actors = [
            RayActor.options(num_gpus=self.placed.actor_gpus).remote(
                self.config, actor_seed(self.config.seed, i), self.placed.actors
            )
            for i in range(self.placed.actors)
        ]

    def use(self, weights: Weights) -> None:
        stored = ray.put(weights)
        self._all([a.use.remote(stored) for a in self.actors])

    def play(self, moves: int) -> list[Report]:
        return self._all([a.play_in_step.remote(moves) for a in self.actors])

    def resumable(self) -> bool:
        return self._all([a.resumable.remote() for a in self.actors])[0]

    def state(self) -> list[tuple[Tensors, dict]]:
        return self._all([a.state.remote() for a in self.actors])

    def restore(self, weights: Weights, states: list[tuple[Tensors, dict]]) -> None:
        stored = ray.put(weights)
        self._all([a.restore.remote(stored, *s) for a, s in zip(self.actors, states, strict=True)])

    def __len__(self) -> int:
        return len(self.actors)

    @staticmethod
    def _all(references: list[Any]) -> list[Any]:
        """What all actors answer, in their order. Raises ActorsLost, or what an actor raised, naming it."""
        answers = []
        for index, reference in enumerate(references):
            try:
                answers.append(ray.get(reference))
            except PROCESS_LOST as error:
                raise ActorsLost(f"actor {index} died") from error
            except RayTaskError as error:
                raise named(error, f"actor {index}") from error
        return answers


def named(error: RayTaskError, who: str) -> Exception:
    """What was raised in another process, with who raised it, where it ends the run by a sentence (``faults``)."""
    match error.cause:
        case WorldError() | UnknownWorld():
            return WorldError(f"{who}: {error.cause}")
        case FloatingPointError():
            return FloatingPointError(f"{who}: {error.cause}")
        case ConfigError():  # what only the machine that it runs on can tell
            return ConfigError(f"{who}: {error.cause}")
    return error
