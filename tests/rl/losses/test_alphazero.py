"""The self-play loss against its definition, row by row."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import envs
from rl.config import NetConfig
from rl.inference import random_positions
from rl.losses import alphazero_loss
from rl.nets import build


def rows(n: int = 40, actions: int = 7, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    legal = rng.random((n, actions)) < 0.6
    legal[np.arange(n), rng.integers(actions, size=n)] = True
    policy = np.where(legal, rng.random((n, actions)) * (rng.random((n, actions)) < 0.7), 0)
    policy[policy.sum(1) == 0] = legal[policy.sum(1) == 0]
    policy /= policy.sum(1, keepdims=True)
    wdl = rng.dirichlet(np.ones(3) * 0.5, n)
    wdl[:3] = np.eye(3)
    arrays = {
        "policy_logits": rng.normal(size=(n, actions)) * 3,
        "wdl_logits": rng.normal(size=(n, 3)) * 2,
        "legal": legal,
        "policy": policy,
        "wdl": wdl,
    }
    return {k: torch.tensor(v, dtype=torch.bool if k == "legal" else torch.float32) for k, v in arrays.items()}


def slow(r: dict[str, Any], value_weight: float) -> dict[str, float]:
    """The definitions, one row and one action at a time."""
    sums = dict.fromkeys(("policy_loss", "value_loss", "policy_entropy", "policy_kl", "value_accuracy"), 0.0)
    n = len(r["legal"])
    for logits, wdl_logits, legal, policy, wdl in zip(*(r[k].tolist() for k in r), strict=True):
        total = sum(math.exp(x) for x, ok in zip(logits, legal, strict=True) if ok)
        for x, ok, target in zip(logits, legal, policy, strict=True):
            if ok:
                p = math.exp(x) / total
                sums["policy_loss"] -= target * math.log(p) / n
                sums["policy_entropy"] -= p * math.log(p) / n
                if target > 0:
                    sums["policy_kl"] += target * math.log(target / p) / n
        total = sum(math.exp(x) for x in wdl_logits)
        sums["value_loss"] -= sum(z * math.log(math.exp(x) / total) for x, z in zip(wdl_logits, wdl, strict=True)) / n
        sums["value_accuracy"] += (np.argmax(wdl_logits) == np.argmax(wdl)) / n
    return sums | {"loss": sums["policy_loss"] + value_weight * sums["value_loss"]}


@pytest.mark.parametrize("value_weight", [0.0, 1.0, 2.5])
def test_equals_the_definition(value_weight):
    r = rows()
    measured = alphazero_loss(**r, value_weight=value_weight)
    expected = slow(r, value_weight)
    assert measured.keys() == expected.keys()
    for name, value in expected.items():
        assert measured[name].shape == ()
        assert float(measured[name]) == pytest.approx(value, abs=1e-5), name


def test_illegal_logits_have_no_influence_and_no_gradient():
    r = rows()
    r["policy_logits"].requires_grad_()
    loss = alphazero_loss(**r)["loss"]
    loss.backward()
    gradient = r["policy_logits"].grad
    assert gradient is not None
    assert torch.isfinite(gradient).all()
    assert (gradient[~r["legal"]] == 0).all()
    assert (gradient[r["legal"]] != 0).any()
    wild = r["policy_logits"].detach().masked_fill(~r["legal"], 1e30)
    assert alphazero_loss(**(r | {"policy_logits": wild}))["loss"] == loss


def test_a_forced_move_costs_nothing():
    r = rows(n=4)
    only = torch.eye(7, dtype=torch.bool)[:4]
    logits = r["policy_logits"].requires_grad_()
    measured = alphazero_loss(logits, r["wdl_logits"], only, only.float(), r["wdl"])
    measured["loss"].backward()
    assert measured["policy_loss"] == measured["policy_entropy"] == measured["policy_kl"] == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_the_network_that_meets_its_target_has_no_divergence():
    r = rows()
    r["policy"] = r["policy_logits"].masked_fill(~r["legal"], -torch.inf).softmax(1)
    r["wdl"] = r["wdl_logits"].softmax(1)
    measured = alphazero_loss(**r)
    assert float(measured["policy_kl"]) == pytest.approx(0, abs=1e-6)
    assert float(measured["policy_loss"]) == pytest.approx(float(measured["policy_entropy"]), abs=1e-6)
    assert measured["value_accuracy"] == 1


def test_only_the_loss_carries_gradients():
    r = rows()
    r["policy_logits"].requires_grad_()
    assert {k for k, v in alphazero_loss(**r).items() if v.requires_grad} == {"loss"}


def test_sums_are_float32_under_autocast():
    r = rows()
    half = r | {"policy_logits": r["policy_logits"].bfloat16(), "wdl_logits": r["wdl_logits"].bfloat16()}
    exact = {k: v.float() if v.is_floating_point() else v for k, v in half.items()}
    with torch.autocast("cpu", torch.bfloat16):
        measured = alphazero_loss(**half)
    expected = alphazero_loss(**exact)
    assert all(v.dtype == torch.float32 for v in measured.values())
    assert all(measured[k] == expected[k] for k in expected)


@pytest.mark.parametrize("kind", ["mlp", "resnet", "transformer"])
def test_a_net_can_learn_a_small_batch_by_heart(kind):
    torch.manual_seed(0)
    game = envs.make("connect_four")
    size = {"mlp": {"width": 64}, "resnet": {"channels": 16, "blocks": 2}, "transformer": {"width": 32, "depth": 2}}
    net = build(NetConfig.model_validate({"encoder": {"kind": kind} | size[kind]}), game)
    planes, legal = (torch.from_numpy(a) for a in random_positions(game, 16))
    rng = np.random.default_rng(0)
    best = [rng.choice(np.flatnonzero(mask)) for mask in legal.numpy()]
    policy, wdl = torch.eye(7)[best], torch.eye(3)[rng.integers(3, size=16)]
    distinct = {p.numpy().tobytes() for p in planes}
    assert len(distinct) == 16
    optimiser = torch.optim.AdamW(net.parameters(), lr=5e-3)
    for _ in range(150):
        policy_logits, wdl_logits = net(planes)
        measured = alphazero_loss(policy_logits, wdl_logits, legal, policy, wdl)
        optimiser.zero_grad()
        measured["loss"].backward()
        optimiser.step()
    assert measured["loss"] < 0.03
    assert measured["value_accuracy"] == 1
