"""Residual convolutional encoder, for any board size (He et al. 2016; pooling after KataGo, Wu 2019, §3.3).

The blocks are post-activation, so that every batch norm directly follows a convolution and folds into it. With a
``mask``, features beside the board are 0 before every convolution, as its padding is; batch norm counts those zeros in
its statistics, which only shifts what it learns to undo.
"""

from __future__ import annotations

import torch
from torch import nn

from rl.config import ResNetConfig
from rl.nets.layers import ConvNorm, Mask, PooledBias, activation, initialise, on_board


class Block(nn.Module):
    """act(x + f(x)) on [N, channels, H, W], f two 3×3 convolutions; with ``pooled``, f also sees the whole board."""

    def __init__(self, config: ResNetConfig, pooled: bool):
        super().__init__()
        self.first = ConvNorm(config.channels, config.channels, 3, config.normalisation)
        self.second = ConvNorm(config.channels, config.channels, 3, config.normalisation)
        self.bias = PooledBias(config.channels, config.channels) if pooled else None
        self.act = activation(config.activation)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: torch.Tensor, mask: Mask = None) -> torch.Tensor:
        hidden = self.first(x, mask)
        if self.bias is not None:
            hidden = hidden + self.bias(x, mask)
        hidden = on_board(self.act(hidden), mask)
        return on_board(self.act(self.dropout(self.second(hidden, mask)) + x), mask)


class ResNetEncoder(nn.Module):
    """Planes [N, C, H, W] → features [N, channels, H, W]."""

    def __init__(self, config: ResNetConfig, inputs: int):
        super().__init__()
        self.width = config.channels
        self.stem = ConvNorm(inputs, config.channels, 3, config.normalisation)
        self.act = activation(config.activation)
        pooled = [config.global_pooling and i % 2 == 1 for i in range(config.blocks)]
        self.blocks = nn.ModuleList(Block(config, p) for p in pooled)
        initialise(self)
        for block in self.blocks:
            block.second.zero()  # type: ignore[union-attr, operator]

    def forward(self, planes: torch.Tensor, mask: Mask = None) -> torch.Tensor:
        x = on_board(self.act(self.stem(planes, mask)), mask)
        for block in self.blocks:
            x = block(x, mask)
        return x
