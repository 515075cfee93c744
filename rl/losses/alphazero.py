"""The loss of self-play learning (Silver et al. 2018, equation 1), with win/draw/loss values.

The policy target is the search's improved policy π; the value target a distribution over win, draw and loss:

    loss = -Σ_a π(a) log p(a)  -  value_weight · Σ_o z(o) log v(o)

averaged over rows. Weight decay belongs to the optimiser.
"""

from __future__ import annotations

import torch
from torch import Tensor


def alphazero_loss(
    policy_logits: Tensor,
    wdl_logits: Tensor,
    legal: Tensor,
    policy: Tensor,
    wdl: Tensor,
    value_weight: float = 1.0,
) -> dict[str, Tensor]:
    """Loss and measures of N rows, each a float32 scalar; differentiate ``loss``, the others are detached.

    Args:
        policy_logits: [N, A], unmasked; any float type (all sums are made in float32, autocast or not).
        wdl_logits: [N, 3], win, draw, loss of the side to move.
        legal: [N, A] bool, at least one action a row. Illegal logits have no influence and get no gradient.
        policy: [N, A], the improved policy; 0 where illegal, rows sum to 1.
        wdl: [N, 3], rows sum to 1.
        value_weight: weight of the value loss against the policy loss.

    Returns:
        loss, policy_loss and value_loss (cross-entropies, nats), policy_entropy (of the network, nats), policy_kl
        (target from network, nats: the policy loss less the target's own entropy), value_accuracy (share of rows
        whose likeliest outcome is the target's).
    """
    log_policy = masked_log_softmax(policy_logits, legal)
    log_wdl = wdl_logits.float().log_softmax(1)
    policy, wdl = policy.float(), wdl.float()
    policy_loss = -(policy * log_policy).sum(1).mean()
    value_loss = -(wdl * log_wdl).sum(1).mean()
    loss = policy_loss + value_weight * value_loss
    with torch.no_grad():
        entropy = -(log_policy.exp() * log_policy * legal).sum(1).mean()
        target_entropy = -torch.special.xlogy(policy, policy).sum(1).mean()
        accuracy = (log_wdl.argmax(1) == wdl.argmax(1)).float().mean()
    return {
        "loss": loss,
        "policy_loss": policy_loss.detach(),
        "value_loss": value_loss.detach(),
        "policy_entropy": entropy,
        "policy_kl": policy_loss.detach() - target_entropy,
        "value_accuracy": accuracy,
    }


def masked_log_softmax(logits: Tensor, legal: Tensor) -> Tensor:
    """Log-probabilities [N, A] float32 over the legal actions; 0 (not -inf) where illegal, so that 0 · it is 0."""
    masked = logits.float().masked_fill(~legal, -torch.inf)
    return masked.log_softmax(1).masked_fill(~legal, 0.0)
