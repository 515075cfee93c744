"""The inference servers of a run (``rl.serving``), and how actors reach theirs.

Ray starts a server anew where it has died, and repeats what it was asked: actors notice nothing but the time. Only its
weights have to be given to it again, which is why the driver watches each of them by a call that never ends.
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import ray

import envs
from rl.config import Config, GameConfig
from rl.records import Evaluation, Weights
from rl.runtime.plan import Plan
from rl.serving import Answer, BatchingEvaluator, Load


class ServerProcess:
    """A batching evaluator in a process of its own."""

    def __init__(self, config: GameConfig):
        import torch

        torch.set_num_threads(1)
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


RayServer: Any = ray.remote(ServerProcess)


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


class Servers:
    """All servers of a run; empty where each actor evaluates for itself."""

    def __init__(self, config: Config, placed: Plan):
        options = {"num_cpus": placed.server_cpus, "num_gpus": placed.server_gpus}
        endless = {"max_restarts": -1, "max_task_retries": -1}
        self.processes = [RayServer.options(**options, **endless).remote(config) for _ in range(placed.servers)]

    def of(self, actor: int) -> Any:
        """The server that this actor asks; None where there are none."""
        return self.processes[actor % len(self.processes)] if self.processes else None

    def __len__(self) -> int:
        return len(self.processes)
