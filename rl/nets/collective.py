"""What several learners of one run agree on (data parallelism): each has its share of a batch, and counts for it.

They are the processes of torch.distributed's default group. A process that has joined none is alone, and every
function here then gives its own numbers back, without any cost. Each call must be made by all of them, in one order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import distributed
from torch.nn import functional as F


def members() -> int:
    """How many learners there are."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this process is, from 0 on."""
    return distributed.get_rank() if members() > 1 else 0


def total(x: torch.Tensor) -> torch.Tensor:
    """The sum over all learners of a tensor, without gradient."""
    if members() == 1:
        return x
    x = x.detach().clone()
    distributed.all_reduce(x)
    return x


def least(number: int) -> int:
    """The smallest of the learners' numbers."""
    if members() == 1:
        return number
    found = torch.tensor(number, device=_device())
    distributed.all_reduce(found, distributed.ReduceOp.MIN)
    return int(found)


def _device() -> torch.device:
    """Where tensors must lie that the group is to exchange."""
    return torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")


@torch.no_grad()
def moments(x: torch.Tensor, dims: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Count [], mean [C] and variance [C] (biased) over ``dims`` of all learners' rows, float32; C is what is left.

    Those of each are combined (Chan et al. 1979), since sums of squares would lose what is small beside the mean.
    """
    kept = [size for d, size in enumerate(x.shape) if d not in dims]
    count = torch.tensor(x.numel() / max(1, math.prod(kept)), device=x.device)
    if x.numel():
        variance, mean = torch.var_mean(x.float(), list(dims), correction=0)
    else:
        variance, mean = torch.zeros(2, *kept, device=x.device)
    if members() == 1:
        return count, mean, variance
    own = torch.cat((count[None], mean, variance))
    found = [torch.empty_like(own) for _ in range(members())]
    distributed.all_gather(found, own)
    counts, means, variances = torch.stack(found).tensor_split([1, 1 + mean.numel()], 1)
    count = counts.sum()
    shares = counts / count.clamp(min=1)
    mean = (shares * means).sum(0)
    return count, mean, (shares * (variances + (means - mean).square())).sum(0)


def batch_norm(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor, eps: float
) -> torch.Tensor:
    """Batch norm of this learner's rows [N, C, ...] by the ``moments`` of all learners' rows, differentiable.

    What torch.nn.SyncBatchNorm does on CUDA alone: the statistics depend on all rows, and so the gradient of each row
    has two sums over all of them (Ioffe and Szegedy 2015, §3). It is that of the sum of all learners' losses.
    """
    return _BatchNorm.apply(x, weight, bias, mean, variance, eps)


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, mean, variance, eps):
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.eps = eps
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx, gradient):
        x, weight, mean, variance = ctx.saved_tensors
        dims = [d for d in range(x.ndim) if d != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        inverse = (variance + ctx.eps).rsqrt()
        normal = (x.float() - mean.view(shape)) * inverse.view(shape)
        upstream = gradient.float()
        sums = torch.stack((upstream.sum(dims), (upstream * normal).sum(dims)))
        count = sums.new_full((1,), x.numel() / x.shape[1])
        everyone = total(torch.cat((sums.flatten(), count)))
        means = (everyone[:-1] / everyone[-1]).view_as(sums)
        centred = upstream - means[0].view(shape) - normal * means[1].view(shape)
        into = centred * (weight.float() * inverse).view(shape)
        return into.to(x.dtype), sums[1].to(weight.dtype), sums[0].to(weight.dtype), None, None, None
