"""Each auxiliary loss against its definition, written out with numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rl.losses.auxiliary import (
    auxiliary_losses,
    ownership_loss,
    reply_loss,
    score_loss,
    short_term_value_loss,
    soft_policy_loss,
)

RNG = np.random.default_rng(0)


def tensor(*shape: int) -> torch.Tensor:
    return torch.from_numpy(RNG.normal(size=shape).astype(np.float32))


def test_ownership_is_a_cross_entropy_in_which_nobody_is_half() -> None:
    logits, owner = tensor(6, 9), torch.from_numpy(RNG.integers(-1, 2, (6, 9)).astype(np.int8))
    total = 0.0
    for x, o in zip(logits.flatten().tolist(), owner.flatten().tolist(), strict=True):
        p, target = 1 / (1 + math.exp(-x)), {1: 1.0, 0: 0.5, -1: 0.0}[o]
        total -= target * math.log(p) + (1 - target) * math.log(1 - p)
    assert float(ownership_loss(logits, owner)) == pytest.approx(total / 54, rel=1e-5)


def test_score_is_quadratic_within_ten_points_and_linear_beyond() -> None:
    lead, margin = torch.tensor([0.0, 0.0, 1.0, 0.0]), torch.tensor([5.0, 10.0, 10.0, -40.0])
    assert float(score_loss(lead, margin)) == pytest.approx((0.5 * 0.25 + 0.5 + 0.0 + (4.0 - 0.5)) / 4)


def test_reply_leaves_out_rows_at_the_end_of_a_game() -> None:
    logits, reply = tensor(5, 7), torch.tensor([3, -1, 0, 6, -1])
    expected = [-math.log(math.exp(logits[n, a]) / float(logits[n].exp().sum())) for n, a in ((0, 3), (2, 0), (3, 6))]
    assert float(reply_loss(logits, reply)) == pytest.approx(sum(expected) / 3, rel=1e-5)
    assert float(reply_loss(logits, torch.full((5,), -1))) == 0.0


def test_soft_policy_raises_the_target_to_a_quarter() -> None:
    logits = tensor(4, 6)
    legal = torch.tensor([[True] * 5 + [False]] * 4)
    policy = torch.tensor([[0.9, 0.1, 0.0, 0.0, 0.0, 0.0], [0.2] * 5 + [0.0]] * 2)  # 4 rows
    total = 0.0
    for x, p in zip(logits.tolist(), policy.tolist(), strict=True):
        soft = [q**0.25 for q in p]
        partition = sum(math.exp(v) for v in x[:5])
        total -= sum(s / sum(soft) * math.log(math.exp(v) / partition) for s, v in zip(soft[:5], x[:5], strict=True))
    assert float(soft_policy_loss(logits, legal, policy)) == pytest.approx(total / 4, rel=1e-5)


def test_short_term_value_is_a_cross_entropy_a_horizon_and_leaves_out_rows_without_a_target() -> None:
    logits = tensor(5, 6).requires_grad_()
    value = torch.from_numpy(RNG.dirichlet(np.ones(3), (5, 2)).astype(np.float32))
    value[[1, 4]] = torch.nan
    total = 0.0
    for n in (0, 2, 3):
        for k in range(2):
            x, z = logits[n, 3 * k : 3 * k + 3].tolist(), value[n, k].tolist()
            partition = sum(math.exp(v) for v in x)
            total -= sum(p * math.log(math.exp(v) / partition) for v, p in zip(x, z, strict=True))
    loss = short_term_value_loss(logits, value)
    assert float(loss.detach()) == pytest.approx(total / 6, rel=1e-5)
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad[[1, 4]] == 0).all()
    assert (logits.grad[[0, 2, 3]] != 0).all()
    assert float(short_term_value_loss(logits.detach(), torch.full_like(value, torch.nan))) == 0.0


def test_only_heads_that_are_there_have_a_loss() -> None:
    assert auxiliary_losses({}, {}) == {}
    rows = {"margin": torch.zeros(3)}
    assert {k: float(v) for k, v in auxiliary_losses({"score": torch.zeros(3)}, rows).items()} == {"score": 0.0}
