"""Policy and values of a plain perceptron with NumPy, for acting: twin of ``ActorCritic`` on a CPU.

An actor evaluates a few observations at a time, for which a torch operation costs several times its arithmetic. The
values of a whole stretch are a matter of arithmetic, of which torch does the products, since NumPy's would take several
threads, and NumPy the hyperbolic tangent, in a seventh of torch's time. The arrays here are views of the network's
tensors, so new weights, copied into those in place, are used at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from rl.nets.actor_critic import CLIP, ActorCritic, Normaliser, PartEncoder, Trunk
from rl.nets.mlp import MLPEncoder
from rl.records import Tensors

WIDEST = 256  # beyond this the arithmetic is what costs, and torch's is as good
ACTIVATIONS: dict[type[nn.Module], Callable[[np.ndarray], object]] = {
    nn.Tanh: lambda x: np.tanh(x, out=x),
    nn.ReLU: lambda x: np.maximum(x, 0, out=x),
}


@dataclass(frozen=True)
class _Layer:
    weight: np.ndarray  # [inputs, outputs]
    bias: np.ndarray
    activation: Callable[[np.ndarray], object] | None


@dataclass(frozen=True)
class _Encoder:
    name: str
    scale: float
    normaliser: Normaliser | None
    layers: list[_Layer]


class NumpyPolicy:
    """What ``ActorCritic.act`` answers, the policy's parameters and the values apart."""

    def __init__(self, net: ActorCritic):
        """Raises ValueError where ``serves`` says no."""
        if not serves(net):
            raise ValueError("this network is no plain perceptron on a CPU")
        self._actor = _encoders(net.actor)
        self._critic = self._actor if net.critic is None else _encoders(net.critic)
        self._policy, self._value = _layer(net.policy, None), _layer(net.value, None)
        self._log_std = None if net.log_std is None else _array(net.log_std)

    def __call__(self, observations: Tensors) -> np.ndarray:
        """Observations, part → [B, *shape], → the policy's parameters [B, P] float32."""
        parameters = _few(_features(self._actor, observations, _few), self._policy)
        if self._log_std is None:
            return parameters
        return np.concatenate((parameters, np.broadcast_to(self._log_std, parameters.shape)), 1)

    def values(self, observations: Tensors) -> np.ndarray:
        """Values [T, B] float32 of observations, part → [T, B, *shape]."""
        steps, lanes = next(iter(observations.values())).shape[:2]
        rows = {name: array.reshape(steps * lanes, *array.shape[2:]) for name, array in observations.items()}
        return _many(_features(self._critic, rows, _many), self._value).reshape(steps, lanes)


def _few(x: np.ndarray, layer: _Layer) -> np.ndarray:
    x = x @ layer.weight
    x += layer.bias
    return x


def _many(x: np.ndarray, layer: _Layer) -> np.ndarray:
    weight, bias, rows = torch.from_numpy(layer.weight), torch.from_numpy(layer.bias), torch.from_numpy(x)
    return torch.addmm(bias, rows, weight).numpy()


def _features(
    encoders: list[_Encoder], observations: Tensors, linear: Callable[[np.ndarray, _Layer], np.ndarray]
) -> np.ndarray:
    found = [_encode(encoder, observations[encoder.name], linear) for encoder in encoders]
    return found[0] if len(found) == 1 else np.concatenate(found, 1)


def _encode(
    encoder: _Encoder, observation: np.ndarray, linear: Callable[[np.ndarray, _Layer], np.ndarray]
) -> np.ndarray:
    x = observation.reshape(len(observation), -1).astype(np.float32, copy=False)
    if encoder.scale != 1.0:
        x = x * np.float32(encoder.scale)
    if encoder.normaliser is not None:
        mean, variance = _array(encoder.normaliser.mean), _array(encoder.normaliser.variance)
        x = np.clip((x - mean) / np.sqrt(variance + np.float32(1e-8)), -CLIP, CLIP)
    for layer in encoder.layers:
        x = linear(x, layer)
        if layer.activation is not None:
            layer.activation(x)
    return x


def serves(net: ActorCritic) -> bool:
    """Whether the network is one that ``NumpyPolicy`` computes: no memory, perceptrons alone, plain and small."""
    encoders = [encoder for encoder in net.actor.encoders if isinstance(encoder, PartEncoder)]
    plain = all(
        isinstance(encoder.encoder, MLPEncoder)
        and encoder.part.kind == "vector"
        and not encoder.encoder.residual
        and isinstance(encoder.encoder.norm, nn.Identity)
        and type(encoder.encoder.act) in ACTIVATIONS
        and encoder.encoder.width <= WIDEST
        for encoder in encoders
    )
    return plain and net.actor.core is None and net.policy.weight.device.type == "cpu"


def _encoders(trunk: Trunk) -> list[_Encoder]:
    return [
        _Encoder(name, encoder.scale, encoder.normaliser, _layers(encoder.encoder))
        for name, encoder in zip(trunk.names, trunk.encoders, strict=True)
        if isinstance(encoder, PartEncoder)
    ]


def _layers(encoder: nn.Module) -> list[_Layer]:
    assert isinstance(encoder, MLPEncoder), "serves() looked"
    linears = [encoder.stem, *(block.linear for block in encoder.blocks)]
    return [_layer(linear, ACTIVATIONS[type(encoder.act)]) for linear in linears]  # type: ignore[arg-type]


def _layer(linear: nn.Linear, activation: Callable[[np.ndarray], object] | None) -> _Layer:
    return _Layer(_array(linear.weight).T, _array(linear.bias), activation)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy()
