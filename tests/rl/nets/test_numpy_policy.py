"""The policy in NumPy is the network's, whatever it is given, and follows its weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from envs.gym import Part, WorldSpec, describe
from rl.config import ActorCriticConfig
from rl.nets.actor_critic import ActorCritic, PartEncoder, acting_network
from rl.nets.loading import copy_weights
from rl.nets.numpy_policy import NumpyPolicy, serves
from rl.records import Weights

PLAIN = {"kind": "mlp", "width": 24, "depth": 2, "residual": False, "normalisation": "none"}


def network(env: str | WorldSpec, encoder: dict[str, Any], **settings: Any) -> ActorCritic:
    config = ActorCriticConfig.model_validate({"encoder": encoder, **settings})
    net = acting_network(config, describe(env) if isinstance(env, str) else env, "cpu")
    with torch.no_grad():  # heads begin near nothing
        for tensor in net.parameters():
            tensor.normal_(0, 0.5)
    return net


def observations(net: ActorCritic, lanes: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    parts = [encoder.part for encoder in net.actor.encoders if isinstance(encoder, PartEncoder)]
    return {
        part.name: rng.integers(0, 256, (lanes, *part.shape)).astype(part.dtype)
        if part.dtype == "uint8"
        else rng.normal(0, 3, (lanes, *part.shape)).astype(part.dtype)
        for part in parts
    }


def same(net: ActorCritic, policy: NumpyPolicy, seed: int = 0) -> None:
    for lanes in (1, 7):
        seen = observations(net, lanes, seed)
        before = {name: array.copy() for name, array in seen.items()}
        expected, _, _ = net.act(seen, {}, np.zeros(lanes, bool))
        found = policy(seen)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        stretch = {name: np.stack((array, array[::-1], array)) for name, array in seen.items()}
        each = [
            net.act({name: array[t] for name, array in stretch.items()}, {}, np.zeros(lanes, bool))[1] for t in range(3)
        ]
        values = policy.values(stretch)
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, np.stack(each), rtol=1e-4, atol=1e-5)
        for name, array in before.items():  # the caller's own
            np.testing.assert_array_equal(seen[name], array)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_it_answers_as_the_network_and_follows_its_weights(env: str, activation: str, normalise: bool) -> None:
    net = network(env, PLAIN | {"activation": activation}, normalise_observations=normalise, separate_value=True)
    net.observe({name: torch.from_numpy(x) for name, x in observations(net, 50, seed=9).items()})
    policy = NumpyPolicy(net)
    same(net, policy)
    rng = np.random.default_rng(1)
    tensors = {name: rng.uniform(0.1, 1, tensor.shape) for name, tensor in net.state_dict().items()}
    copy_weights(Weights(3, {name: np.asarray(x, np.float32) for name, x in tensors.items()}), net.state_dict())
    same(net, policy, seed=2)


def test_it_serves_bytes_and_several_parts() -> None:
    bytes_part = Part(name="b", kind="vector", shape=(5, 2), dtype="uint8", low=0, high=255)
    floats = Part(name="a", kind="vector", shape=(3,), dtype="float32")
    spec = replace(describe("CartPole-v1"), observation=(bytes_part, floats))
    net = network(spec, PLAIN)
    same(net, NumpyPolicy(net))


@pytest.mark.parametrize(
    ("encoder", "settings"),
    [
        (PLAIN | {"residual": True}, {}),
        (PLAIN | {"normalisation": "layer"}, {}),
        (PLAIN | {"activation": "gelu"}, {}),
        (PLAIN | {"width": 512}, {}),
        (PLAIN, {"core": {"kind": "gru", "width": 8}}),
    ],
)
def test_other_networks_act_by_themselves(encoder: dict[str, Any], settings: dict[str, Any]) -> None:
    net = network("CartPole-v1", encoder, **settings)
    assert not serves(net)
    with pytest.raises(ValueError, match="no plain perceptron"):
        NumpyPolicy(net)
