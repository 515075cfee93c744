"""Small agents with random weights, saved as users' files are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import envs
from rl import nets
from rl.config import Config, GameConfig
from rl.records import Weights
from rl.weights import save_agent
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
