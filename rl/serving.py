"""One evaluator for many actors: what they ask is gathered into batches, best on a GPU that all of them share.

Reads: Weights, planes from actors. Writes: Evaluations, each with the version of the weights that gave it.

Nobody waits for a batch to fill: what came in while one batch was evaluated is the next. So a server with little to do
answers at once, and the more there is to do, the larger its batches are.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from envs.game import Game
from rl.config import InferenceConfig, NetConfig
from rl.inference import Evaluator, smallest_good
from rl.records import Evaluation, Weights

log = logging.getLogger(__name__)

ROWS = (64, 128, 256, 512, 1024, 2048, 4096)  # of a batch at most: the number is measured
FIRST_ROWS = 256  # with which the number format is chosen
TRIAL_SECONDS = 0.3


class Answer(NamedTuple):
    version: int  # of the weights
    evaluation: Evaluation


class Load(NamedTuple):
    """What a server has done since it was last asked."""

    rows: int
    batches: int
    busy: float  # share of the time that it spent in the network


class BatchingEvaluator:
    """Answers many askers, in one event loop, with one network, which a thread of its own evaluates.

    The first weights settle the number format and the size of batches, by measurement. Until they come, askers wait.
    """

    def __init__(self, net: NetConfig, game: Game, config: InferenceConfig, device: str = "auto"):
        self._net, self._game, self._config, self._device = net, game, config, device
        self._evaluator: Evaluator | None = None
        self._thread = ThreadPoolExecutor(1, "evaluator")  # one after the other: weights and batches
        self._waiting: deque[tuple[np.ndarray, asyncio.Future[Answer]]] = deque()
        self._serving: asyncio.Task[None] | None = None
        self._rows = self._batches = 0
        self._since, self._busy = time.perf_counter(), 0.0

    @property
    def rows(self) -> int:
        """The largest batch; 0 before the first weights."""
        return self._evaluator.batch_size if self._evaluator is not None else 0

    async def use(self, weights: Weights) -> Load:
        """Answer with these weights from now on. Raises ValueError as ``Evaluator.load`` does."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._load, weights)
        self._serve()  # those who have waited for the first ones
        return self.load()

    async def ask(self, planes: np.ndarray) -> Answer:
        """Evaluate planes [n, C, H, W] float32, together with what others ask. Raises what the network raises."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((planes, future))
        self._serve()
        return await future

    def load(self) -> Load:
        now = time.perf_counter()
        found = Load(self._rows, self._batches, self._busy / max(now - self._since, 1e-9))
        self._rows = self._batches = 0
        self._since, self._busy = now, 0.0
        return found

    def _serve(self) -> None:
        if self._evaluator is not None and self._waiting and (self._serving is None or self._serving.done()):
            self._serving = asyncio.get_running_loop().create_task(self._answer_all())

    async def _answer_all(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft()]
            rows = len(batch[0][0])
            while self._waiting and rows + len(self._waiting[0][0]) <= self.rows:
                rows += len(self._waiting[0][0])
                batch.append(self._waiting.popleft())
            asked = [planes for planes, _ in batch]
            try:
                answers = await asyncio.get_running_loop().run_in_executor(self._thread, self._evaluate, asked)
            except Exception as error:  # it is the askers', not the server's: planes of another shape, say
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():  # whoever asked may be gone
                    future.set_result(answer)

    def _evaluate(self, asked: Sequence[np.ndarray]) -> list[Answer]:
        assert self._evaluator is not None, "nobody is served before"
        started = time.perf_counter()
        whole = asked[0] if len(asked) == 1 else np.concatenate(asked)
        logits, wdl, *_ = self._evaluator(whole)
        self._busy += time.perf_counter() - started
        self._rows += len(whole)
        self._batches += 1
        ends = np.cumsum([len(planes) for planes in asked])[:-1]
        parts = zip(np.split(logits, ends), np.split(wdl, ends), strict=True)
        return [Answer(self._evaluator.version, Evaluation(*part)) for part in parts]

    def _load(self, weights: Weights) -> None:
        if self._evaluator is not None:
            self._evaluator.load(weights)
            return
        first = self._sized(FIRST_ROWS, weights, None)
        eager = first.format.removesuffix("-compiled")
        chosen, speeds = smallest_good(
            ROWS, lambda rows: self._sized(rows, weights, eager).bare_throughput(TRIAL_SECONDS)
        )
        log.info("batches of up to %d: evaluations/s by size %s", chosen, {k: round(v) for k, v in speeds.items()})
        self._evaluator = first if chosen == FIRST_ROWS else self._sized(chosen, weights, first.format)

    def _sized(self, rows: int, weights: Weights, format: str | None) -> Evaluator:
        evaluator = Evaluator(self._net, self._game, self._config, rows, self._device, format=format)
        evaluator.load(weights)
        return evaluator
