"""Actor-critic networks for Gymnasium environments: any observation and action space, with memory or without.

``build_actor_critic(config, spec)`` gives an :class:`ActorCritic`. Each part of the observation has an encoder, what
they give is joined, a core may remember earlier steps, and linear heads give the parameters of the policy's
distribution (``rl.distributions``) and the value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from envs.gym import Part, WorldSpec
from rl.acting import parameter_count
from rl.config import (
    ActorCriticConfig,
    ConvConfig,
    ImpalaConfig,
    MLPConfig,
    RecurrentConfig,
    ResNetConfig,
    TransformerConfig,
)
from rl.config.nets import Activation
from rl.nets import collective
from rl.nets.conv import ConvEncoder, ImpalaEncoder
from rl.nets.layers import activation, initialise, renormalise
from rl.nets.loading import device_of
from rl.nets.mlp import MLPEncoder
from rl.nets.recurrent import RecurrentCore, State
from rl.nets.resnet import ResNetEncoder
from rl.nets.transformer import TransformerEncoder
from rl.nets.window import WindowCore
from rl.records import Tensors

POINT_FEATURES = 256  # of the layer behind an encoder over points (resnet, transformer)
CLIP = 10.0  # normalised observations beyond this many deviations are clipped
Observations = dict[str, torch.Tensor]  # part → [N, *shape]


class Normaliser(nn.Module):
    """Running mean and deviation of one vector part, which travel with the weights (Welford; Chan et al. 1979)."""

    def __init__(self, size: int):
        super().__init__()
        self.mean: torch.Tensor
        self.variance: torch.Tensor
        self.count: torch.Tensor
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance", torch.ones(size))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ((x - self.mean) * torch.rsqrt(self.variance + 1e-8)).clamp(-CLIP, CLIP)

    @torch.no_grad()
    def observe(self, x: torch.Tensor) -> None:
        """Take the rows of x [N, size] (and all other learners' rows) into the statistics.

        In evaluation mode (frozen) these stay as they are.
        """
        if not self.training:
            return
        count, mean, variance = collective.moments(x, [0])
        if not count:
            return
        total = self.count + count
        delta = mean - self.mean
        share = (count / total).to(x.dtype)
        spread = (self.variance * (1 - share)) + variance * share + delta.square() * share * (1 - share)
        self.variance.copy_(spread)
        self.mean.add_(delta * share)
        self.count.copy_(total)


class PartEncoder(nn.Module):
    """One part of the observation [N, *shape] → features [N, width]."""

    def __init__(self, part: Part, config: Any, normalise: bool):
        super().__init__()
        self.part = part
        size = sum(part.sizes) if part.kind == "categories" else math.prod(part.shape)
        self.normaliser = Normaliser(size) if normalise and part.kind == "vector" else None
        # Bytes to [0, 1]; what is at most 1 (planes, bits) is there already.
        self.scale = 1 / part.high if part.dtype == "uint8" and 1 < part.high < math.inf else 1.0
        self.flat = isinstance(config, MLPConfig)
        self.after: nn.Module = nn.Identity()
        if isinstance(config, MLPConfig):
            self.encoder: nn.Module = MLPEncoder(config, size)
            self.width = config.width
            return
        if part.kind != "image":
            raise ValueError(
                f"observation part {part.name!r} is no picture ({part.kind} of shape {part.shape}), which an encoder "
                f"of kind {config.kind} needs: set net.parts.{part.name}.kind, or net.encoder.kind, to mlp"
            )
        channels, height, width = picture = _picture_shape(part)
        match config:
            case ConvConfig():
                self.encoder, self.width = ConvEncoder(config, picture), config.width
            case ImpalaConfig():
                self.encoder, self.width = ImpalaEncoder(config, picture), config.width
            case ResNetConfig():
                self.encoder = ResNetEncoder(config, channels)
                self._flatten(config.channels * height * width, config.activation)
            case TransformerConfig():
                self.encoder = TransformerEncoder(config, channels, (height, width))
                tokens = (height // config.patch) * (width // config.patch)
                self._flatten(config.width * tokens, config.activation)

    def _flatten(self, features: int, function: Activation) -> None:
        """Behind an encoder over points, a layer that sees all of them."""
        self.width = POINT_FEATURES
        self.after = nn.Sequential(nn.Flatten(), nn.Linear(features, POINT_FEATURES), activation(function))

    def inputs(self, x: torch.Tensor) -> torch.Tensor:
        """What the encoder reads: vectors [N, F], or pictures [N, C, H, W], float32."""
        if self.part.kind == "categories":
            entries = x.reshape(len(x), -1).long()
            pieces = [nn.functional.one_hot(entries[:, i], n) for i, n in enumerate(self.part.sizes)]
            return torch.cat(pieces, 1).float()
        x = x.float() * self.scale if self.scale != 1.0 else x.float()
        if self.flat:
            x = x.flatten(1)
            return x if self.normaliser is None else self.normaliser(x)
        if len(self.part.shape) == 2:
            return x[:, None]
        return x.permute(0, 3, 1, 2) if self.part.channels_last else x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.encoder(self.inputs(x)))

    def observe(self, x: torch.Tensor) -> None:
        """Take observations [N, *shape] into the running statistics, where there are some."""
        if self.normaliser is not None:
            self.normaliser.observe(x.float().flatten(1))


class Trunk(nn.Module):
    """Observations → features [T, B, width], by the parts' encoders and the core."""

    def __init__(self, config: ActorCriticConfig, parts: tuple[Part, ...]):
        super().__init__()
        self.names = [part.name for part in parts]
        normalise = config.normalise_observations
        # A list, since parts may have names that a module cannot have ("inner/position").
        encoders = [PartEncoder(p, config.parts.get(p.name, config.encoder), normalise) for p in parts]
        self.encoders = nn.ModuleList(encoders)
        joined = sum(encoder.width for encoder in encoders)
        self.core: RecurrentCore | WindowCore | None = None
        if config.core is not None:
            self.core = (
                RecurrentCore(config.core, joined)
                if isinstance(config.core, RecurrentConfig)
                else WindowCore(config.core, joined)
            )
        self.width: int = joined if self.core is None else self.core.width

    def forward(self, observations: Observations, state: State, first: torch.Tensor) -> tuple[torch.Tensor, State]:
        steps, lanes = first.shape
        flat = [e(observations[name].flatten(0, 1)) for name, e in zip(self.names, self.encoders)]
        x = (flat[0] if len(flat) == 1 else torch.cat(flat, 1)).view(steps, lanes, -1)
        return (x, state) if self.core is None else self.core(x, state, first)


class ActorCritic(nn.Module):
    """Policy and value of T steps of B environments, one step when acting.

    The state is what memory there is before the first of the steps: named arrays [B, ...], empty without a core.
    """

    def __init__(self, config: ActorCriticConfig, spec: WorldSpec):
        super().__init__()
        unknown = set(config.parts) - {part.name for part in spec.observation}
        if unknown:
            known = ", ".join(part.name for part in spec.observation)
            raise ValueError(f"net.parts: {spec.env_id} has no part {sorted(unknown)[0]!r}; it has {known}")
        self.actor = Trunk(config, spec.observation)
        self.critic = Trunk(config, spec.observation) if config.separate_value else None
        initialise(self, config.initialisation)
        renormalise(self)
        squash = config.squash and spec.action.kind == "gaussian"
        self.spec = Policy("squashed_gaussian" if squash else spec.action.kind, spec.action.sizes)
        gaussian = "gaussian" in self.spec.kind
        outputs = sum(self.spec.sizes) if gaussian else parameter_count(self.spec)
        self.policy = nn.Linear(self.actor.width, outputs)
        self.value = nn.Linear((self.critic or self.actor).width, 1)
        for head, gain in ((self.policy, 0.01), (self.value, 1.0)):
            nn.init.orthogonal_(head.weight, gain)
            nn.init.zeros_(head.bias)
        self.log_std = nn.Parameter(torch.full((outputs,), config.log_std)) if gaussian else None
        # Rewards are divided by this where algorithm.normalise_rewards is on: the deviation of the discounted return.
        self.returns = Normaliser(1)

    def initial_state(self, batch: int) -> State:
        """The state before the first step of ``batch`` episodes."""
        state: State = {}
        for prefix, trunk in self._trunks():
            if trunk.core is not None:
                state |= {prefix + name: tensor for name, tensor in trunk.core.initial_state(batch).items()}
        return state

    def forward(
        self, observations: Observations, state: State, first: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, State]:
        """Observations, part → [T, B, *shape], the state before them, and [T, B] bool: which steps begin an episode.

        Returns the policy's parameters [T, B, P] (``rl.distributions``), values [T, B] and the state after.
        """
        after: State = {}
        features = []
        for prefix, trunk in self._trunks():
            own = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
            x, own = trunk(observations, own, first)
            features.append(x)
            after |= {prefix + name: tensor for name, tensor in own.items()}
        parameters = self.policy(features[0])
        if self.log_std is not None:
            parameters = torch.cat((parameters, self.log_std.expand_as(parameters)), -1)
        return parameters, self.value(features[-1]).squeeze(-1), after

    @torch.inference_mode()
    def act(self, observations: Tensors, state: State, first: np.ndarray) -> tuple[np.ndarray, np.ndarray, State]:
        """One step of B environments, from NumPy to NumPy: ``forward`` without the axis of time.

        Returns parameters [B, P] and values [B], float32, and the state after the step.
        """
        device = self.value.weight.device
        inputs = {name: torch.from_numpy(array)[None].to(device) for name, array in observations.items()}
        parameters, values, state = self(inputs, state, torch.from_numpy(first)[None].to(device))
        return parameters[0].cpu().numpy(), values[0].cpu().numpy(), state

    def observe(self, observations: Observations) -> None:
        """Take observations, part → [N, *shape], into the running statistics, where there are some."""
        for _, trunk in self._trunks():
            for name, encoder in zip(trunk.names, trunk.encoders):
                encoder.observe(observations[name])  # type: ignore[operator]

    def _trunks(self) -> list[tuple[str, Trunk]]:
        return [("actor.", self.actor)] + ([("critic.", self.critic)] if self.critic is not None else [])


@dataclass(frozen=True)
class Policy:
    """The distribution of the policy, as ``rl.distributions`` describes it."""

    kind: str
    sizes: tuple[int, ...]


def build_actor_critic(config: ActorCriticConfig, spec: WorldSpec) -> ActorCritic:
    """A network with new weights, drawn from torch's global generator, in training mode, float32, on the CPU.

    Raises ValueError when the configuration cannot serve the environment's observations.
    """
    return ActorCritic(config, spec)


def acting_network(config: ActorCriticConfig, spec: WorldSpec, device: str) -> ActorCritic:
    """A network that acts, in evaluation mode, on ``device``; it is of no use before it is given weights."""
    with torch.random.fork_rng(devices=[]):  # nobody else's stream moves
        net = ActorCritic(config, spec)
    return net.to(device_of(device)).eval().requires_grad_(False)


def _picture_shape(part: Part) -> tuple[int, int, int]:
    """Channels, height, width."""
    if len(part.shape) == 2:
        return 1, part.shape[0], part.shape[1]
    a, b, c = part.shape
    return (c, a, b) if part.channels_last else (a, b, c)
