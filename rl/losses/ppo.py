"""The loss of proximal policy optimisation (Schulman et al. 2017)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rl.losses.measures import combined, explained_variance, kept, masked_mean, ratio_measures


def ppo_loss(
    log_probs_new: Tensor,
    log_probs_old: Tensor,
    advantages: Tensor,
    values_new: Tensor,
    values_old: Tensor,
    returns: Tensor,
    entropy: Tensor,
    mask: Tensor | None,
    clip: float,
    value_clip: float | None,
    value_weight: float,
    entropy_weight: float,
) -> dict[str, Tensor]:
    """Loss and measures of a minibatch, each a float32 scalar; differentiate ``loss``, the others are detached.

        loss = -mean min(ρ A, clip(ρ, 1 - clip, 1 + clip) A) + value_weight · value_loss - entropy_weight · mean entropy

    with ρ = exp(log_probs_new - log_probs_old): equations 7 and 9. The value loss is mean ½ (v - R)². With
    ``value_clip``, it is the mean of the larger of that and the same of v kept within ``value_clip`` of the old value,
    in units of the value (not in the paper; Huang et al. 2022, detail 9).

    Args (all of one shape: [T, B], or [N] of a minibatch):
        log_probs_new, entropy, values_new: of the network in training, nats; these three get gradients.
        log_probs_old, values_old: of the network that acted.
        advantages, returns: from ``gae``; the former perhaps from ``normalise_advantages``.
        mask: bool, False at invalid steps, which have no influence and get no gradient; None when all are valid.

    Returns:
        loss, policy_loss, value_loss (½ squared error), policy_entropy (nats), policy_kl (old ‖ new, estimated, nats),
        clip_fraction (share of ρ beyond the clip), rho_mean (of ρ; 1 in expectation), explained_variance (of the
        returns, by the old values).
    """
    shapes = {x.shape for x in (log_probs_new, log_probs_old, advantages, values_new, values_old, returns, entropy)}
    assert shapes == {advantages.shape if mask is None else mask.shape}, shapes
    log_ratio = kept(log_probs_new - log_probs_old, mask)
    # Clipped before exp and not behind it, which is the same, but never multiplies an infinite ρ by a gradient of 0.
    low, high = math.log1p(-clip) if clip < 1 else -math.inf, math.log1p(clip)
    clipped = torch.where(advantages >= 0, log_ratio.clamp(max=high), log_ratio.clamp(min=low))
    policy_loss = -masked_mean(clipped.exp() * advantages, mask)
    squares = kept(values_new - returns, mask).square()
    if value_clip is not None:
        near = values_old + (values_new - values_old).clamp(-value_clip, value_clip)
        squares = torch.maximum(squares, kept(near - returns, mask).square())
    value_loss = 0.5 * masked_mean(squares, mask)
    measures = combined(policy_loss, value_loss, entropy, mask, value_weight, entropy_weight)
    measures |= ratio_measures(log_ratio.detach(), lambda excess: excess.abs() > clip, mask)
    return measures | {"explained_variance": explained_variance(returns, values_old, mask)}
