"""Multi-layer perceptron over the flattened planes: for small boards, where it is the cheapest on a CPU."""

from __future__ import annotations

import torch
from torch import nn

from rl.config import MLPConfig
from rl.nets.layers import Mask, activation, initialise


class Block(nn.Module):
    """One hidden layer, [N, width] → [N, width]: pre-norm with a skip connection, or norm and activation after."""

    def __init__(self, config: MLPConfig):
        super().__init__()
        self.residual = config.residual
        self.linear = nn.Linear(config.width, config.width)
        self.norm = _norm(config)
        self.act = activation(config.activation)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.residual:
            return self.dropout(self.act(self.norm(self.linear(x))))
        # norm "none" hands x itself on, and an activation in place would overwrite the skip connection
        branch = self.norm(x) if isinstance(self.norm, nn.LayerNorm) else x.clone()
        return x + self.dropout(self.linear(self.act(branch)))


class MLPEncoder(nn.Module):
    """Planes [N, C, H, W] → features [N, width], after an input layer and ``depth`` hidden layers."""

    def __init__(self, config: MLPConfig, inputs: int):
        super().__init__()
        self.width = config.width
        self.stem = nn.Linear(inputs, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        # Blocks without a skip connection end in norm and activation themselves.
        self.norm = _norm(config) if config.residual else nn.Identity()
        self.act = activation(config.activation) if config.residual else nn.Identity()
        initialise(self)
        for block in self.blocks:
            if config.residual:
                nn.init.zeros_(block.linear.weight)  # type: ignore[union-attr, arg-type]

    def forward(self, planes: torch.Tensor, mask: Mask = None) -> torch.Tensor:
        x = self.stem(planes.flatten(1))
        for block in self.blocks:
            x = block(x)
        return self.act(self.norm(x))


def _norm(config: MLPConfig) -> nn.Module:
    return nn.LayerNorm(config.width) if config.normalisation == "layer" else nn.Identity()
