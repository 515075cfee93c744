"""Layers shared by the encoders and heads.

The rule that inference relies on: a convolution followed by a normalisation is always one :class:`ConvNorm`,
and nothing else may stand between the two. So folding batch norm into the convolution is exact and needs no
knowledge of the architecture.
"""

from __future__ import annotations

import copy
import math
from typing import TypeVar

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rl.config import Activation, Initialisation, Normalisation, VectorNormalisation
from rl.nets import collective

M = TypeVar("M", bound=nn.Module)

HEAD_STD = 0.01  # of the last layer's weights in each head: the first policy is near uniform, the first value near even
BESIDE = 1e4  # more than any feature: what is taken off beside the board never is the maximum
GROUP_SIZE = 8  # channels in one group of group norm, at least


def activation(name: Activation) -> nn.Module:
    """The activation of that name; in place where autograd allows it, which saves a pass through memory."""
    match name:
        case "relu":
            return nn.ReLU(inplace=True)
        case "leaky_relu":
            return nn.LeakyReLU(0.01, inplace=True)
        case "sigmoid":
            return nn.Sigmoid()
        case "gelu":
            return nn.GELU()
        case "silu":
            return nn.SiLU()
        case "mish":
            return nn.Mish()
        case "tanh":
            return nn.Tanh()


def groups(channels: int) -> int:
    """The largest number of groups that divides ``channels`` into groups of GROUP_SIZE or more."""
    return max((g for g in range(1, channels // GROUP_SIZE + 1) if channels % g == 0), default=1)


def norm2d(kind: Normalisation, channels: int) -> nn.Module:
    """Normalisation of [N, channels, H, W]. "layer" is over one row's channels and points together."""
    match kind:
        case "batch":
            return nn.BatchNorm2d(channels)
        case "layer":
            return nn.GroupNorm(1, channels)
        case "group":
            return nn.GroupNorm(groups(channels), channels)
        case "none":
            return nn.Identity()


def norm1d(kind: VectorNormalisation, width: int) -> nn.Module:
    """Normalisation of [N, width]; "layer" and "rms" (Zhang and Sennrich 2019) also of [..., width]."""
    match kind:
        case "batch":
            return nn.BatchNorm1d(width)
        case "layer":
            return nn.LayerNorm(width)
        case "rms":
            return nn.RMSNorm(width)
        case "none":
            return nn.Identity()


SHARE = 0.01  # of a batch in the running statistics of batch renormalisation (Ioffe 2017, §4); of the first ones, 1/n
R_MAX, D_MAX = 3.0, 5.0  # its corrections are kept within [1/R_MAX, R_MAX] and [-D_MAX, D_MAX]


def batch_renorm(norm: nn.BatchNorm1d | nn.BatchNorm2d, x: torch.Tensor) -> torch.Tensor:
    """Batch renormalisation (Ioffe 2017, algorithm 1) of [N, C, ...] in training; moves the running statistics.

    The output is x normalised by the *running* statistics, as in evaluation mode, and the gradient that of batch norm:
    the correction from one to the other, r and d, counts as constant. Only where it is beyond its bounds, in the first
    batches or after a jump of the inputs, does the output depend on the other rows of the batch.
    """
    assert norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None
    _, mean, variance = collective.moments(x, [d for d in range(x.ndim) if d != 1])
    with torch.no_grad():
        deviation = (norm.running_var + norm.eps).sqrt()
        r = ((variance + norm.eps).sqrt() / deviation).clamp(1 / R_MAX, R_MAX)
        d = ((mean - norm.running_mean) / deviation).clamp(-D_MAX, D_MAX)
        norm.num_batches_tracked.add_(1)
        share = (1.0 / norm.num_batches_tracked).clamp(min=SHARE)
        norm.running_mean.lerp_(mean, share)
        norm.running_var.lerp_(variance, share)
    weight, bias = norm.weight * r, norm.bias + norm.weight * d
    if collective.members() > 1:
        return collective.batch_norm(x, weight, bias, mean, variance, norm.eps)
    return F.batch_norm(x, None, None, weight, bias, training=True, eps=norm.eps)


class BatchRenorm1d(nn.BatchNorm1d):
    """Batch norm whose training and evaluation modes give the same: see ``batch_renorm``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return batch_renorm(self, x) if self.training else super().forward(x)


class BatchRenorm2d(nn.BatchNorm2d):
    """The same of pictures."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return batch_renorm(self, x) if self.training else super().forward(x)


class SharedBatchNorm1d(nn.BatchNorm1d):
    """Batch norm by the rows of all learners of a run."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return shared_batch_norm(self, x) if self.training else super().forward(x)


class SharedBatchNorm2d(nn.BatchNorm2d):
    """The same of pictures."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return shared_batch_norm(self, x) if self.training else super().forward(x)


def shared_batch_norm(norm: nn.BatchNorm1d | nn.BatchNorm2d, x: torch.Tensor) -> torch.Tensor:
    """Batch norm of [N, C, ...] in training, as one learner with all learners' rows would do it; statistics too."""
    assert norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None
    assert norm.momentum is not None, "as torch makes it"
    count, mean, variance = collective.moments(x, [d for d in range(x.ndim) if d != 1])
    with torch.no_grad():
        norm.num_batches_tracked.add_(1)
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * (count / (count - 1).clamp(min=1)), norm.momentum)
    return collective.batch_norm(x, norm.weight, norm.bias, mean, variance, norm.eps)


def renormalise(net: nn.Module) -> None:
    """Put batch renormalisation in the place of every batch norm in ``net``; names and values stay."""
    _replace_norms(net, BatchRenorm1d, BatchRenorm2d)


def share_batch_norms(net: nn.Module) -> None:
    """Have every batch norm in ``net`` count the rows of all learners (renormalisation does so by itself)."""
    _replace_norms(net, SharedBatchNorm1d, SharedBatchNorm2d)


def _replace_norms(net: nn.Module, of_vectors: type[nn.BatchNorm1d], of_pictures: type[nn.BatchNorm2d]) -> None:
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            twin: nn.BatchNorm1d | nn.BatchNorm2d
            if type(child) is nn.BatchNorm1d:
                twin = of_vectors(child.num_features)
            elif type(child) is nn.BatchNorm2d:
                twin = of_pictures(child.num_features)
            else:
                continue
            twin.load_state_dict(child.state_dict())
            setattr(module, name, twin)


Mask = torch.Tensor | None  # [N, 1, H, W], 1 on the board and 0 beside it; None where the board is the whole array


def on_board(x: torch.Tensor, mask: Mask) -> torch.Tensor:
    """Features with 0 beside the board, as a convolution's padding would be there."""
    return x if mask is None else x * mask.to(x.dtype)  # else bfloat16 features would leave as float32


def group_norm(norm: nn.GroupNorm, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Group norm of [N, C, H, W] with the statistics of the points on the board alone."""
    grouped = x.view(len(x), norm.num_groups, -1, *x.shape[2:]).float()
    inside = mask[:, None].float()
    count = inside.sum((2, 3, 4), keepdim=True) * grouped.shape[2]
    mean = (grouped * inside).sum((2, 3, 4), keepdim=True) / count
    variance = ((grouped - mean) * inside).square().sum((2, 3, 4), keepdim=True) / count
    scaled = ((grouped - mean) * (variance + norm.eps).rsqrt()).view_as(x).to(x.dtype)
    return scaled * norm.weight[:, None, None] + norm.bias[:, None, None]


class ConvNorm(nn.Module):
    """Convolution with zero padding, then normalisation: [N, inputs, H, W] → [N, outputs, H, W]."""

    def __init__(self, inputs: int, outputs: int, kernel: int, normalisation: Normalisation):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=normalisation == "none")
        self.norm = norm2d(normalisation, outputs)

    def forward(self, x: torch.Tensor, mask: Mask = None) -> torch.Tensor:
        x = self.conv(x)
        if mask is not None and isinstance(self.norm, nn.GroupNorm):
            return group_norm(self.norm, x, mask)
        return self.norm(x)

    def zero(self) -> None:
        """Make the output 0 for every input: a residual branch that ends so starts as the identity."""
        last = self.conv if isinstance(self.norm, nn.Identity) else self.norm
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]


def pool(x: torch.Tensor, mask: Mask = None) -> torch.Tensor:
    """Board-wide summary [N, 3·C] of features [N, C, H, W] (0 beside it): mean, mean scaled by its size, maximum.

    KataGo (Wu 2019, §3.3): the scaled mean lets one net serve several board sizes, as sums over the board grow with it.
    """
    side: torch.Tensor | float
    if mask is None:
        mean = x.mean((2, 3))
        side = math.sqrt(x.shape[2] * x.shape[3])
    else:
        points = mask.sum((2, 3))
        mean = x.sum((2, 3), dtype=points.dtype) / points
        side = points.sqrt()
        x = x + (BESIDE * (mask - 1.0)).to(x.dtype)
    if x.device.type == "cpu" and x.dtype == torch.bfloat16:  # amax is up to ten times slower there (torch 2.13)
        maximum = F.adaptive_max_pool2d(x, 1).flatten(1)
    else:
        maximum = x.amax((2, 3))
    return torch.cat((mean, mean * ((side - 14.0) / 10.0), maximum), 1)


class PooledBias(nn.Module):
    """A bias for each output channel, computed from the whole board: [N, inputs, H, W] → [N, outputs, 1, 1]."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.linear = nn.Linear(3 * inputs, outputs)

    def forward(self, x: torch.Tensor, mask: Mask = None) -> torch.Tensor:
        return self.linear(pool(x, mask))[:, :, None, None]


def initialise(module: nn.Module, kind: Initialisation = "he") -> None:
    """Draw every convolution and linear layer inside anew, biases 0.

    he: He et al. 2015, §2.2; xavier: Glorot and Bengio 2010, §4.2.1; orthogonal: Saxe et al. 2014, with gain √2.
    Layers that begin at 0 (the ends of residual branches) stay so.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and bool(layer.weight.any()):
            match kind:
                case "he":
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                case "xavier":
                    nn.init.xavier_uniform_(layer.weight)
                case "orthogonal":
                    nn.init.orthogonal_(layer.weight, math.sqrt(2))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def shrink(layer: nn.Conv2d | nn.Linear) -> None:
    """Initialise the last layer of a head near 0."""
    nn.init.normal_(layer.weight, std=HEAD_STD)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def foldable(net: nn.Module) -> bool:
    """Whether there is a batch norm that :func:`fold` would take away."""
    return any(isinstance(m, ConvNorm) and isinstance(m.norm, nn.BatchNorm2d) for m in net.modules())


def fold(net: M) -> M:
    """A copy of ``net`` in evaluation mode with every batch norm folded into its convolution. Exact up to rounding."""
    net = copy.deepcopy(net).eval()
    for module in net.modules():
        if isinstance(module, ConvNorm) and isinstance(module.norm, nn.BatchNorm2d):
            module.conv = fuse_conv_bn_eval(module.conv, module.norm)
            module.norm = nn.Identity()
    return net


def count_parameters(net: nn.Module) -> int:
    """Trainable numbers in the network."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)
