"""Convolutional encoders of pictures: plain (Mnih et al. 2015) and residual (Espeholt et al. 2018, figure 3)."""

from __future__ import annotations

import torch
from torch import nn

from rl.config import ConvConfig, ImpalaConfig
from rl.nets.layers import ConvNorm, activation, initialise, norm2d


class ConvEncoder(nn.Module):
    """Pictures [N, C, H, W] → features [N, width]. Raises ValueError when a kernel does not fit what is left."""

    def __init__(self, config: ConvConfig, shape: tuple[int, int, int]):
        super().__init__()
        self.width = config.width
        layers: list[nn.Module] = []
        channels, height, width = shape
        for outputs, kernel, stride in config.layers:
            if kernel > min(height, width):
                raise ValueError(
                    f"net.encoder.layers: a kernel of {kernel} does not fit the {height}×{width} points that are left "
                    f"of {shape[1]}×{shape[2]}; give smaller kernels or strides"
                )
            layers += [nn.Conv2d(channels, outputs, kernel, stride), norm2d(config.normalisation, outputs)]
            layers.append(activation(config.activation))
            channels, height, width = outputs, (height - kernel) // stride + 1, (width - kernel) // stride + 1
        self.convolutions = nn.Sequential(*layers)
        self.hidden = nn.Linear(channels * height * width, config.width)
        self.act, self.dropout = activation(config.activation), nn.Dropout(config.dropout)
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.act(self.hidden(self.convolutions(x).flatten(1))))


class Residual(nn.Module):
    """x + f(act(x)) on [N, C, H, W], f two 3×3 convolutions with the activation between."""

    def __init__(self, config: ImpalaConfig, channels: int):
        super().__init__()
        self.first = ConvNorm(channels, channels, 3, config.normalisation)
        self.second = ConvNorm(channels, channels, 3, config.normalisation)
        self.act = activation(config.activation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # A copy: an activation in place would overwrite the skip connection.
        return x + self.second(self.act(self.first(self.act(x.clone()))))


class ImpalaEncoder(nn.Module):
    """Pictures [N, C, H, W] → features [N, width]: stages of a convolution, a pooling that halves, residual blocks."""

    def __init__(self, config: ImpalaConfig, shape: tuple[int, int, int]):
        super().__init__()
        self.width = config.width
        stages: list[nn.Module] = []
        inputs, height, width = shape
        for channels in config.channels:
            stages += [ConvNorm(inputs, channels, 3, config.normalisation), nn.MaxPool2d(3, stride=2, padding=1)]
            stages += [Residual(config, channels) for _ in range(config.blocks)]
            inputs, height, width = channels, (height + 1) // 2, (width + 1) // 2
        self.stages = nn.Sequential(*stages)
        self.hidden = nn.Linear(inputs * height * width, config.width)
        self.act, self.dropout = activation(config.activation), nn.Dropout(config.dropout)
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.act(self.hidden(self.act(self.stages(x)).flatten(1))))
