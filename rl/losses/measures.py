"""What the on-policy losses share: means over the steps that count, and the measures that all of them report.

A ``mask`` None says that all steps count, which saves half of the operations; with small networks on a CPU, these were
a quarter of an update's time.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def kept(x: Tensor, mask: Tensor | None) -> Tensor:
    """``x`` where ``mask``, both of one shape, and 0 elsewhere."""
    return x if mask is None else torch.where(mask, x, 0.0)


def masked_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of ``x`` where ``mask``, both of one shape; 0 where nothing is. What is masked may be anything, NaN too."""
    return x.mean() if mask is None else kept(x, mask).sum() / mask.sum().clamp(min=1)


def normalise_advantages(
    advantages: Tensor, mask: Tensor | None, epsilon: float = 1e-8, total: Callable[[Tensor], Tensor] = lambda own: own
) -> Tensor:
    """Advantages with mean 0 and standard deviation 1 over the steps where ``mask``, and 0 elsewhere.

    Both are of one shape, any. Where others have the rest of the minibatch, ``total`` gives the sum over all of a
    tensor of sums here. Not in the papers; a detail of the implementations of PPO (Huang et al. 2022, "The 37
    Implementation Details of Proximal Policy Optimization", number 7).
    """
    count = total(advantages.new_tensor(float(advantages.numel())) if mask is None else mask.sum()).clamp(min=1)
    centred = kept(advantages - total(kept(advantages, mask).sum()) / count, mask)
    return centred / ((total(centred.square().sum()) / count).sqrt() + epsilon)


def combined(
    policy_loss: Tensor,
    value_loss: Tensor,
    entropy: Tensor,
    mask: Tensor | None,
    value_weight: float,
    entropy_weight: float,
) -> dict[str, Tensor]:
    """The loss to differentiate, policy_loss + value_weight · value_loss - entropy_weight · mean entropy; its terms."""
    mean_entropy = masked_mean(entropy, mask)
    return {
        "loss": policy_loss + value_weight * value_loss - entropy_weight * mean_entropy,
        "policy_loss": policy_loss.detach(),
        "value_loss": value_loss.detach(),
        "policy_entropy": mean_entropy.detach(),
    }


@torch.no_grad()
def ratio_measures(log_ratio: Tensor, clipped: Callable[[Tensor], Tensor], mask: Tensor | None) -> dict[str, Tensor]:
    """How far the policy has moved: ``log_ratio`` is log(new / old) of each action, 0 where masked.

    ``clipped`` tells of ρ - 1, the ratio less one, where it is clipped (bool).
    """
    excess = log_ratio.expm1()
    return {
        # KL(old policy ‖ new) in nats by the old one's actions: k3 of Schulman's note "Approximating KL Divergence"
        # (2020), which is unbiased, and no term of it negative.
        "policy_kl": masked_mean(excess - log_ratio, mask),
        "clip_fraction": masked_mean(clipped(excess).float(), mask),
        "rho_mean": masked_mean(excess + 1.0, mask),
    }


@torch.no_grad()
def explained_variance(targets: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """1 - Var(targets - values) / Var(targets) over the steps where ``mask``; 0 where the targets do not vary."""

    def variance(x: Tensor) -> Tensor:
        if mask is None:
            return x.var(correction=0)
        return masked_mean((x - masked_mean(x, mask)).square(), mask)

    total = variance(targets)
    varies = total > 1e-12 * masked_mean(targets.square(), mask)  # more than the rounding of their mean
    return torch.where(varies, 1.0 - variance(targets - values) / total, 0.0)
