"""Multi-layer perceptron over the flattened planes: for small boards, where it is the cheapest on a CPU."""

from __future__ import annotations

import torch
from torch import nn

from rl.config import MLPConfig
from rl.nets.layers import Mask, activation, initialise, norm1d


class Block(nn.Module):
    """One hidden layer, [N, width] → [N, width]: pre-norm with a skip connection, or norm and activation after."""

    def __init__(self, config: MLPConfig):
        super().__init__()
        self.residual = config.residual
        self.linear = nn.Linear(config.width, config.width)
        self.norm = norm1d(config.normalisation, config.width)
        self.act = activation(config.activation)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.residual:
            return self.dropout(self.act(self.norm(self.linear(x))))
        # norm "none" hands x itself on, and an activation in place would overwrite the skip connection
        branch = x.clone() if isinstance(self.norm, nn.Identity) else self.norm(x)
        return x + self.dropout(self.linear(self.act(branch)))


class MLPEncoder(nn.Module):
    """Planes [N, C, H, W], or vectors [N, F], → features [N, width] after ``depth`` hidden layers.

    Those of a residual network stand between a linear input layer and the last norm and activation.
    """

    def __init__(self, config: MLPConfig, inputs: int):
        super().__init__()
        self.width = config.width
        self.stem = nn.Linear(inputs, config.width)
        # Without skip connections the input layer is the first hidden one, and each ends in norm and activation.
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth if config.residual else config.depth - 1))
        self.residual = config.residual
        self.norm = norm1d(config.normalisation, config.width)
        self.act = activation(config.activation)
        initialise(self)
        for block in self.blocks:
            if config.residual:
                nn.init.zeros_(block.linear.weight)  # type: ignore[union-attr, arg-type]

    def forward(self, planes: torch.Tensor, mask: Mask = None) -> torch.Tensor:
        x = self.stem(planes.flatten(1))
        if not self.residual:
            x = self.act(self.norm(x))
        for block in self.blocks:
            x = block(x)
        return self.act(self.norm(x)) if self.residual else x
