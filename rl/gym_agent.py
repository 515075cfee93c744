"""An agent of a Gymnasium environment: weights with their configuration, ready to act."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rl.config import GymConfig
from rl.records import Weights
from rl.weights import AgentError

if TYPE_CHECKING:
    from rl.nets.actor_critic import ActorCritic


class GymAgent:
    """Weights with their environment. The network is built when it is first asked for."""

    def __init__(
        self, name: str, weights: Weights, config: GymConfig, info: dict[str, Any], device: str = "auto"
    ) -> None:
        self.name, self.weights, self.config, self.info, self.device = name, weights, config, info, device
        self._net: ActorCritic | None = None

    def network(self) -> ActorCritic:
        """The network with these weights, in evaluation mode.

        Raises AgentError when they do not fit it, or when the environment cannot be made here.
        """
        if self._net is None:
            from envs.gym import UnknownWorld
            from rl.nets.actor_critic import acting_network
            from rl.nets.loading import copy_weights
            from rl.worlds import spec_of

            try:
                net = acting_network(self.config.net, spec_of(self.config), self.device)
                copy_weights(self.weights, net.state_dict())
            except UnknownWorld as error:  # which names the environment itself
                raise AgentError(f"agent {self.name!r}: {error}") from error
            except ValueError as error:
                raise AgentError(f"agent {self.name!r} ({self.config.env}): {error}") from error
            self._net = net
        return self._net
