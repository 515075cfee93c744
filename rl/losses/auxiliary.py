"""Losses of the auxiliary heads: what a position tells beside the best move and the winner.

They are trained together with policy and value and never asked in play; their gradients teach the encoder. Wu 2019
("Accelerating Self-Play Learning in Go") for ownership, score and the reply; the soft policy and the short-term value
are from KataGo's later notes on its methods ("Auxiliary Soft Policy Target", "Short-term Value and Score Targets").
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from rl.losses.alphazero import masked_log_softmax
from rl.records import MARGIN_SCALE

SOFTNESS = 0.25  # exponent of the soft policy target


def ownership_loss(logits: Tensor, ownership: Tensor) -> Tensor:
    """Cross-entropy, averaged over rows and points (Wu 2019, §4.1); points beside the board add a constant.

    Args:
        logits: [N, P], of "the side to move owns the point at the end".
        ownership: [N, P] in [-1, 1], 1 where it does; 0, nobody's, counts as half.
    """
    return F.binary_cross_entropy_with_logits(logits.float(), (ownership.float() + 1.0) / 2.0)


def score_loss(lead: Tensor, margin: Tensor) -> Tensor:
    """Huber loss of the final margin in points, of the side to move: ``lead`` [N] · MARGIN_SCALE for ``margin`` [N].

    The mean is what Wu 2019 (§4.1) calls the score; the absolute error beyond one unit keeps a few lost games, which
    end with all points on one side, from ruling the gradient.
    """
    return F.huber_loss(lead.float(), margin.float() / MARGIN_SCALE)


def reply_loss(logits: Tensor, reply: Tensor) -> Tensor:
    """Cross-entropy of the next move, by whoever makes it (Wu 2019, §4.1, with the move in place of its policy).

    ``logits`` [N, A] of all actions, ``reply`` [N] int64, -1 where the game ended; 0 when it ended in all rows.
    """
    total = F.cross_entropy(logits.float(), reply, ignore_index=-1, reduction="sum")
    return total / (reply >= 0).sum().clamp(min=1)


def soft_policy_loss(logits: Tensor, legal: Tensor, policy: Tensor) -> Tensor:
    """Cross-entropy to the policy target raised to ``SOFTNESS`` and normalised, so that lesser moves count too.

    ``logits`` [N, A], ``legal`` [N, A] bool, ``policy`` [N, A], rows of which sum to 1.
    """
    soft = policy.float().pow(SOFTNESS)
    soft = soft / soft.sum(1, keepdim=True)
    return -(soft * masked_log_softmax(logits, legal)).sum(1).mean()


def short_term_value_loss(logits: Tensor, value: Tensor) -> Tensor:
    """Cross-entropy of win, draw and loss, averaged over rows and horizons.

    ``logits`` [N, K·3], ``value`` [N, K, 3]: rows that sum to 1, or NaN where the target is not known (games of a run
    without this head), which are left out; 0 when all are.
    """
    known = ~value[:, 0, 0].isnan()
    log_wdl = logits.float().view(value.shape).log_softmax(2)
    rows = -(value.float().nan_to_num() * log_wdl).sum(2).mean(1)
    return rows.sum() / known.sum().clamp(min=1)


def auxiliary_losses(outputs: dict[str, Tensor], rows: dict[str, Tensor]) -> dict[str, Tensor]:
    """The loss of every head in ``outputs`` on the rows' targets, each a float32 scalar."""
    losses = {
        "ownership": lambda out: ownership_loss(out, rows["ownership"]),
        "score": lambda out: score_loss(out, rows["margin"]),
        "reply": lambda out: reply_loss(out, rows["reply"]),
        "short_term_value": lambda out: short_term_value_loss(out, rows["short_term_value"]),
        "soft_policy": lambda out: soft_policy_loss(out, rows["legal"], rows["policy"]),
    }
    return {name: losses[name](out) for name, out in outputs.items()}
