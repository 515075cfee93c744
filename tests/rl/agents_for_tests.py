"""Small agents with random weights, saved as users' files are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import envs
from rl import nets
from rl.config import Config, GameConfig, GymConfig, parse_config
from rl.nets.actor_critic import acting_network
from rl.records import Weights
from rl.weights import save_agent
from rl.worlds import spec_of
from tests.rl.small import game_config


def small_config(env_id: str, **changes: Any) -> GameConfig:
    net = {"encoder": {"kind": "mlp", "width": 16, "depth": 1}}
    settings = {"env": env_id, "net": net, "search": {"simulations": 8}, "run": {"learner_steps": 1}}
    return game_config(settings | changes)


def save_random_agent(path: Path, env_id: str = "tic_tac_toe", seed: int = 0, config: Config | None = None) -> Path:
    """An agent file at ``path``; ``config`` lets the file claim to be another agent than its weights are."""
    own = small_config(env_id)
    torch.manual_seed(seed)
    net = nets.build(own.net, envs.make(env_id))
    tensors = {name: tensor.numpy().copy() for name, tensor in net.state_dict().items()}
    save_agent(path, Weights(version=7, tensors=tensors), config or own, {"games": 0})
    return path


def rollout_config(env_id: str, **sections: Any) -> GymConfig:
    """Of a Gymnasium environment, learned by PPO, with a network that remembers."""
    net = {"encoder": {"kind": "mlp", "width": 8, "depth": 1}, "core": {"kind": "gru", "width": 4}}
    settings = {"env": env_id, "algorithm": {"kind": "ppo"}, "net": net, "run": {"learner_steps": 1}}
    config = parse_config(settings | sections, "the test")
    assert isinstance(config, GymConfig)
    return config


def random_weights(config: GymConfig, seed: int = 0) -> Weights:
    torch.manual_seed(seed)
    net = acting_network(config.net, spec_of(config), "cpu")
    return Weights(7, {name: tensor.numpy().copy() for name, tensor in net.state_dict().items()})


def save_rollout_agent(path: Path, config: GymConfig, weights: Weights | None = None) -> Path:
    """An agent file at ``path``; ``weights`` where the environment cannot be made to tell its shapes."""
    save_agent(path, weights or random_weights(config), config, {})
    return path
