"""Dead units and the gradients of the ends of a network, against loops over units and rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import envs
from rl.learner import GameLearner
from rl.learner.base import mean_measures
from rl.learner.diagnostics import MEASURED_EVERY, Diagnostics
from rl.runtime.metrics import metric
from tests.rl.small import MLP, RESNET, random_batch, small_config

GAME = envs.make("connect_four")
# An input so far out that the activation's slope is 0 there, up and down.
STUCK_AT: dict[str, tuple[Callable[[], nn.Module], list[float]]] = {
    "relu": (lambda: nn.ReLU(inplace=True), [-1.0]),
    "gelu": (nn.GELU, [-9.0]),
    "silu": (nn.SiLU, [-9.0]),
    "mish": (nn.Mish, [-9.0]),
    "tanh": (nn.Tanh, [-9.0, 9.0]),
    "sigmoid": (nn.Sigmoid, [-9.0, 9.0]),
}


def dead_units(activation: nn.Module, x: torch.Tensor) -> float | None:
    with Diagnostics(nn.Sequential(activation)).watching() as found:
        activation(x.clone())
    assert not activation._forward_hooks
    return float(found["dead_units"]) if found else None


@pytest.mark.parametrize("name", STUCK_AT)
@pytest.mark.parametrize("shape", [(6, 4), (3, 2, 4), (6, 4, 3, 2)], ids=["vectors", "tokens", "pictures"])
def test_a_unit_is_dead_when_it_is_stuck_in_every_row(name: str, shape: tuple[int, ...]) -> None:
    make, far = STUCK_AT[name]
    unit = 1 if len(shape) == 4 else -1
    x = torch.full(shape, 0.5).movedim(unit, 0).contiguous()
    for value in far:
        x[1], x[2] = value, value
        x[2].flatten()[-1] = 0.5  # of one row, or one point, it is not
        assert dead_units(make(), x.movedim(0, unit)) == 1 / 4
    x[1].flatten()[::2] = far[0]
    x[1].flatten()[1::2] = far[-1]
    assert dead_units(make(), x.movedim(0, unit)) == 1 / 4, "saturated at either end"


def test_no_unit_of_a_leaky_relu_is_dead() -> None:
    assert dead_units(nn.LeakyReLU(), torch.full((5, 3), -9.0)) is None


def learner(encoder: dict[str, Any], **fields: Any) -> GameLearner:
    return GameLearner(GAME, small_config("connect_four", encoder, learner={"precision": "float32"} | fields), "cpu")


@pytest.mark.parametrize("encoder", [MLP | {"residual": False}, RESNET], ids=["mlp", "resnet"])
def test_one_update_in_so_many_is_measured(encoder: dict[str, Any]) -> None:
    ours = learner(encoder)
    first = next(m for m in ours.net.encoder.modules() if isinstance(m, nn.Linear | nn.Conv2d))
    last = [m for m in ours.net.policy.modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    batch = random_batch(GAME, 8)
    names = {"dead_units", "gradient_norm_first", "gradient_norm_last"}
    for step in range(MEASURED_EVERY + 1):
        measured = ours.update(batch, 0.0)
        assert measured.keys() & names == (names if step % MEASURED_EVERY == 0 else set())
        if step:
            continue
        for name, layer in (("gradient_norm_first", first), ("gradient_norm_last", last)):
            assert layer.weight.grad is not None
            norm = math.sqrt(sum(float(g) ** 2 for g in layer.weight.grad.flatten()))  # behind clipping
            clipped = min(1.0, ours.config.clip_norm / measured["gradient_norm"])
            assert measured[name] == pytest.approx(norm / clipped, rel=1e-4)
        assert 0 <= measured["dead_units"] < 0.5
    for name in names:
        metric(f"learner/{name}")  # each is declared


def test_what_dies_in_training_is_seen() -> None:
    ours = learner(MLP | {"residual": False, "normalisation": "none", "width": 16, "depth": 1})
    before = ours.update(random_batch(GAME, 32), 0.0)["dead_units"]
    with torch.no_grad():
        ours.net.get_parameter("encoder.stem.bias")[:8] = -100.0
    ours.step = MEASURED_EVERY
    after = ours.update(random_batch(GAME, 32), 0.0)["dead_units"]
    assert before < 0.2
    assert after - before > 0.09  # 8 of 16 hidden units, and 64 of the value head


def test_the_first_layer_is_the_first_that_is_trained() -> None:
    ours = learner(RESNET, freeze=["encoder.stem.*"])
    [first] = ours.diagnostics.ends["gradient_norm_first"]
    assert first is ours.net.get_parameter("encoder.blocks.0.first.conv.weight")


def test_a_measure_that_only_some_updates_have_is_their_mean() -> None:
    assert mean_measures([{"a": 1.0}, {"a": 2.0, "b": 5.0}, {"a": 3.0, "b": 7.0}]) == {"a": 2.0, "b": 6.0}
