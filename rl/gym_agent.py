"""An agent of a Gymnasium environment: weights with their configuration, ready to act."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rl.config import GymConfig
from rl.records import Weights
from rl.weights import AgentError

if TYPE_CHECKING:
    from envs.gym import WorldSpec
    from rl.nets.actor_critic import ActorCritic


class GymAgent:
    """Weights with their environment. The network is built when it is first asked for."""

    def __init__(
        self, name: str, weights: Weights, config: GymConfig, info: dict[str, Any], device: str = "auto"
    ) -> None:
        self.name, self.weights, self.config, self.info, self.device = name, weights, config, info, device
        self._spec: WorldSpec | None = None
        self._net: ActorCritic | None = None
        self._memory: Any = None

    def spec(self) -> WorldSpec:
        """The environment's observations and actions. Raises AgentError when it cannot be made here."""
        if self._spec is None:
            from envs.gym import UnknownWorld, describe

            try:
                self._spec = describe(self.config.env, self.config.env_options, self.config.rollout.wrappers)
            except UnknownWorld as error:
                raise AgentError(f"agent {self.name!r}: {error}") from error
        return self._spec

    def network(self) -> ActorCritic:
        """The network with these weights, in evaluation mode. Raises AgentError when they do not fit it."""
        if self._net is None:
            import torch

            from rl.learner.base import device_of
            from rl.nets.actor_critic import build_actor_critic

            try:
                with torch.random.fork_rng(devices=[]):
                    net = build_actor_critic(self.config.net, self.spec())
                net.load_state_dict({name: torch.from_numpy(np.array(t)) for name, t in self.weights.tensors.items()})
            except (ValueError, RuntimeError) as error:
                raise AgentError(f"agent {self.name!r} ({self.config.env}): {' '.join(str(error).split())}") from error
            self._net = net.to(device_of(self.device)).eval().requires_grad_(False)
        return self._net
