"""Many askers, one evaluator: everyone gets the answer to what he asked, in batches that are as large as may be."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

import envs
from rl.config import InferenceConfig, NetConfig, ResNetConfig
from rl.inference import Evaluator, random_positions, smallest_good
from rl.nets import build
from rl.nets.formats import EXACT
from rl.records import Weights
from rl.serving import Answer, BatchingEvaluator

GAME = envs.make("tic_tac_toe")
NET = NetConfig(encoder=ResNetConfig(kind="resnet", channels=8, blocks=1))
PINNED = InferenceConfig(format=EXACT.name)


FIRST = Weights(3, {name: tensor.numpy() for name, tensor in build(NET, GAME).state_dict().items()})
SECOND = replace(FIRST, version=4, tensors={name: (t * 1.5).astype(t.dtype) for name, t in FIRST.tensors.items()})


def alone(planes: np.ndarray, of: Weights) -> np.ndarray:
    evaluator = Evaluator(NET, GAME, PINNED, 512)
    evaluator.load(of)
    return evaluator(planes).logits


async def served() -> BatchingEvaluator:
    server = BatchingEvaluator(NET, GAME, PINNED, "cpu")
    await server.use(FIRST)
    return server


def test_everyone_gets_his_own_answer_from_few_batches() -> None:
    planes, _ = random_positions(GAME, 60)
    parts = np.split(planes, [7, 8, 30])

    async def ask() -> tuple[list[Answer], int]:
        server = await served()
        answers = await asyncio.gather(*(server.ask(part) for part in parts))
        return answers, server.load().batches

    answers, batches = asyncio.run(ask())
    assert batches == 1, "all had asked before the first batch began"
    assert {answer.version for answer in answers} == {3}
    for part, answer in zip(parts, answers, strict=True):
        np.testing.assert_allclose(answer.evaluation.logits, alone(part, FIRST), atol=1e-5)
        assert answer.evaluation.wdl.shape == (len(part), 3)


def test_batches_have_a_limit_and_keep_the_order() -> None:
    planes, _ = random_positions(GAME, 64)

    async def ask() -> tuple[list[Answer], int, int]:
        server = await served()
        rows = server.rows
        many = [planes[[i % 64] * (rows // 2)] for i in range(5)]
        answers = await asyncio.gather(*(server.ask(part) for part in many))
        return answers, server.load().batches, rows

    answers, batches, rows = asyncio.run(ask())
    assert batches == 3
    for i, answer in enumerate(answers):
        np.testing.assert_allclose(answer.evaluation.logits[:1], alone(planes[i : i + 1], FIRST), atol=1e-5)
        assert len(answer.evaluation.logits) == rows // 2


def test_who_asks_before_there_are_weights_waits_and_versions_are_told() -> None:
    planes, _ = random_positions(GAME, 4)

    async def ask() -> list[Answer]:
        server = BatchingEvaluator(NET, GAME, PINNED, "cpu")
        early = asyncio.create_task(server.ask(planes))
        await asyncio.sleep(0.1)
        assert not early.done() and server.rows == 0
        await server.use(FIRST)
        found = [await early]
        await server.use(SECOND)
        return [*found, await server.ask(planes)]

    first, second = asyncio.run(ask())
    assert (first.version, second.version) == (3, 4)
    np.testing.assert_allclose(first.evaluation.logits, alone(planes, FIRST), atol=1e-5)
    np.testing.assert_allclose(second.evaluation.logits, alone(planes, SECOND), atol=1e-4)


def test_what_the_network_refuses_goes_to_those_who_asked_and_nobody_else() -> None:
    planes, _ = random_positions(GAME, 4)

    async def ask() -> Answer:
        server = await served()
        with pytest.raises(ValueError, match="planes must be"):
            await server.ask(planes[:, :1])
        with pytest.raises(ValueError, match="not finite"):
            await server.use(replace(SECOND, tensors={n: t * np.nan for n, t in SECOND.tensors.items()}))
        return await server.ask(planes)

    assert asyncio.run(ask()).version == 3


def test_the_smallest_size_that_is_nearly_the_fastest() -> None:
    speeds = {1: 10.0, 2: 60.0, 4: 96.0, 8: 100.0, 16: 80.0, 32: 70.0, 64: 1000.0}
    tried: list[int] = []

    def speed(size: int) -> float:
        tried.append(size)
        return speeds[size]

    assert smallest_good(tuple(speeds), speed)[0] == 4
    assert tried == [1, 2, 4, 8, 16, 32], "past the peak by two sizes nothing more is tried"
