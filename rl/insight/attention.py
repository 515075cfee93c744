"""Where a transformer encoder looks: the weights of each head in each layer, and what comes through all layers.

Raw weights tell of one layer. Attention rollout (Abnar and Zuidema 2020, §3) follows the information through the
layers: the heads' mean, mixed half and half with the identity for the skip connection, multiplied from the first layer
to the last. It leaves out what the perceptrons between do, so it says where information can come from, not what for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from envs.game import Game
from rl.agent import Agent
from rl.insight.questions import InsightError
from rl.nets.transformer import Attention, TransformerEncoder


@dataclass(frozen=True)
class AttentionMaps:
    """Of N inputs whose tokens are the points of a grid."""

    weights: np.ndarray  # [N, layers, heads, T, T] float32: from each token (row) to each; rows sum to 1
    grid: tuple[int, int]  # tokens by rows and columns: T of them, row-major

    @property
    def rollout(self) -> np.ndarray:
        """[N, T, T] float64: how much of each token's final features (row) can come from each input token."""
        mean = self.weights.mean(2, dtype=np.float64)  # [N, L, T, T]
        mixed = 0.5 * mean + 0.5 * np.eye(mean.shape[-1])
        total = mixed[:, 0]
        for layer in range(1, mixed.shape[1]):
            total = mixed[:, layer] @ total
        return total


def attention_maps(net: nn.Module, *inputs: object) -> AttentionMaps:
    """The maps of the network's transformer encoder while it evaluates ``inputs`` (arguments of its forward).

    Raises InsightError when it has no such encoder.
    """
    encoders = [module for module in net.modules() if isinstance(module, TransformerEncoder)]
    if not encoders:
        raise InsightError("only transformer encoders have attention maps, and this network has another encoder")
    layers = [module for module in encoders[0].modules() if isinstance(module, Attention)]
    found: list[torch.Tensor] = []
    shapes: list[tuple[int, int]] = []

    def look(module: Attention, given: tuple) -> None:
        found.append(module.weights(*given))

    def measure(module: nn.Module, given: tuple, output: torch.Tensor) -> None:
        shapes.append((output.shape[2], output.shape[3]))

    handles = [layer.register_forward_pre_hook(look) for layer in layers]
    handles.append(encoders[0].register_forward_hook(measure))
    try:
        with torch.no_grad():
            net(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return AttentionMaps(torch.stack(found, 1).float().cpu().numpy(), shapes[0])


def of_positions(agent: Agent, states: np.ndarray) -> AttentionMaps:
    """The maps while the agent's network looks at positions [N, S]."""
    return attention_maps(agent.network(), torch.from_numpy(agent.game.encode(states)))


def looked_at(agent: Agent, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """[N, points] float64: what the point on which each of ``actions`` [N] plays looks at, through all layers.

    Rows sum to 1. Of an action that plays on no point, or on several, the mean over all points.
    """
    rollout = of_positions(agent, states).rollout
    points = [point_of(agent.game, state, int(action)) for state, action in zip(states, actions, strict=True)]
    return np.stack([mine.mean(0) if point is None else mine[point] for mine, point in zip(rollout, points)])


def point_of(game: Game, state: np.ndarray, action: int) -> int | None:
    """The board point that an action plays on; None where it plays on none, or on several (a pass, a swap)."""
    if game.action_layout == "points":
        return action if action < game.board_shape[0] * game.board_shape[1] else None
    from rl.insight.questions import stones

    changed = np.flatnonzero(stones(game, state) != stones(game, game.after(state, action)))
    return int(changed[0]) if len(changed) == 1 else None
