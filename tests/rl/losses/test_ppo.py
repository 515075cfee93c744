"""The loss of PPO against its definition, with ratios and values on both sides of every clip."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from rl.losses import gae, normalise_advantages, ppo_loss
from tests.rl.losses.unrolls import GAE, random_unroll, resets_in_the_next_step

CLIP, VALUE_CLIP = 0.2, 0.5
TRAINED = ("log_probs_new", "values_new", "entropy")
SETTINGS: dict[str, Any] = {"clip": CLIP, "value_clip": VALUE_CLIP, "value_weight": 0.7, "entropy_weight": 0.02}


def rows(shape: tuple[int, ...] = (9, 7), seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    old, values = -rng.exponential(size=shape), rng.normal(size=shape)
    arrays = {
        "log_probs_new": old + rng.normal(size=shape) * 0.4,
        "log_probs_old": old,
        "advantages": rng.normal(size=shape),
        "values_new": values + rng.normal(size=shape),
        "values_old": values,
        "returns": values + rng.normal(size=shape),
        "entropy": rng.random(shape),
    }
    tensors = {name: torch.tensor(array, dtype=torch.float32) for name, array in arrays.items()}
    return tensors | {"mask": torch.tensor(rng.random(shape) < 0.8)}


def slow(r: dict[str, Any], clip: float, value_clip: float | None, **weights: float) -> dict[str, float]:
    """The definitions, one step at a time."""
    names = ("policy_loss", "value_loss", "policy_entropy", "policy_kl", "clip_fraction", "rho_mean")
    sums, n = dict.fromkeys(names, 0.0), int(r["mask"].sum())
    for new, old, advantage, value, value_old, target, entropy, counts in zip(*(r[k].flatten().tolist() for k in r)):
        if not counts:
            continue
        ratio = math.exp(new - old)
        sums["policy_loss"] -= min(ratio * advantage, min(max(ratio, 1 - clip), 1 + clip) * advantage) / n
        square = (value - target) ** 2
        if value_clip is not None:
            near = value_old + min(max(value - value_old, -value_clip), value_clip)
            square = max(square, (near - target) ** 2)
        sums["value_loss"] += 0.5 * square / n
        sums["policy_entropy"] += entropy / n
        sums["policy_kl"] += (ratio - 1 - math.log(ratio)) / n
        sums["clip_fraction"] += (abs(ratio - 1) > clip) / n
        sums["rho_mean"] += ratio / n
    loss = sums["policy_loss"] + weights["value_weight"] * sums["value_loss"]
    targets, values = (r[k].double()[r["mask"]].numpy() for k in ("returns", "values_old"))
    explained = 1 - np.var(targets - values) / np.var(targets)
    return sums | {"loss": loss - weights["entropy_weight"] * sums["policy_entropy"], "explained_variance": explained}


@pytest.mark.parametrize("shape", [(9, 7), (63,)])
@pytest.mark.parametrize("value_clip", [None, VALUE_CLIP])
@pytest.mark.parametrize("clip", [CLIP, 0.05, 1.5])
def test_equals_the_definition(clip, value_clip, shape):
    r, settings = rows(shape), SETTINGS | {"clip": clip, "value_clip": value_clip}
    measured, expected = ppo_loss(**r, **settings), slow(r, **settings)
    assert measured.keys() == expected.keys()
    for name, value in expected.items():
        assert measured[name].shape == () and measured[name].dtype == torch.float32
        assert float(measured[name]) == pytest.approx(value, rel=1e-5, abs=1e-6), name


def test_the_rows_of_these_tests_lie_on_both_sides_of_every_clip():
    r = rows()
    ratio, moved = (r["log_probs_new"] - r["log_probs_old"]).exp(), r["values_new"] - r["values_old"]
    for positive in (r["advantages"] > 0, r["advantages"] < 0):
        for side in (ratio < 1 - CLIP, (ratio - 1).abs() < CLIP, ratio > 1 + CLIP):
            assert (positive & side & r["mask"]).any()
    for side in (moved < -VALUE_CLIP, moved.abs() < VALUE_CLIP, moved > VALUE_CLIP):
        assert (side & r["mask"]).any()


def test_the_gradient_is_that_of_the_definition():
    """By central differences of the definition."""
    r = rows()
    for name in TRAINED:
        r[name].requires_grad_()
    measured = ppo_loss(**r, **SETTINGS)
    assert {name for name, value in measured.items() if value.requires_grad} == {"loss"}
    measured["loss"].backward()
    plain = {k: v.detach().double() if v.is_floating_point() else v for k, v in r.items()}
    for name in TRAINED:
        gradient = r[name].grad
        assert gradient is not None
        for index in [(0, 0), (3, 3), (8, 6), (5, 1), (2, 4), (7, 0)]:
            ends = []
            for step in (1e-5, -1e-5):
                moved = plain[name].clone()
                moved[index] += step
                ends.append(slow(plain | {name: moved}, **SETTINGS)["loss"])
            assert float(gradient[index]) == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-6), (name, index)


def test_beyond_the_clip_only_what_leads_back_has_a_gradient():
    old, mask = torch.zeros(4), torch.ones(4, dtype=torch.bool)
    new = torch.tensor([0.5, 0.5, -0.5, -0.5], requires_grad=True)
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0])
    ppo_loss(new, old, advantages, old, old, old, old, mask, **SETTINGS)["loss"].backward()
    assert new.grad is not None
    assert (new.grad == 0).tolist() == [True, False, False, True]


def test_an_infinite_ratio_gives_no_gradient_that_is_not_a_number():
    new, zero = torch.tensor([200.0, -200.0], requires_grad=True), torch.zeros(2)
    advantages, mask = torch.tensor([1.0, -1.0]), torch.ones(2, dtype=torch.bool)
    measured = ppo_loss(new, zero, advantages, zero, zero, zero, zero, mask, **SETTINGS)
    measured["loss"].backward()
    assert new.grad is not None and (new.grad == 0).all()
    assert float(measured["policy_loss"]) == pytest.approx(-(1.2 - 0.8) / 2)


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("poisoned_rows", [tuple(rows()), *((name,) for name in rows())], ids=str)
def test_masked_steps_have_no_influence_and_get_no_gradient_whatever_they_hold(poisoned_rows, poison):
    r = rows()
    without = {name: tensor[r["mask"]] for name, tensor in r.items()}
    poisoned = {name: t.clone() for name, t in r.items()}
    for name in set(poisoned_rows) - {"mask"}:
        poisoned[name][~r["mask"]] = poison
    for name in TRAINED:
        poisoned[name].requires_grad_()
    expected, measured = ppo_loss(**without, **SETTINGS), ppo_loss(**poisoned, **SETTINGS)
    for name, value in expected.items():
        assert float(measured[name].detach()) == pytest.approx(float(value), rel=1e-5, abs=1e-7), name
    measured["loss"].backward()
    for name in TRAINED:
        gradient = poisoned[name].grad
        assert gradient is not None
        assert (gradient[~r["mask"]] == 0).all()
        assert gradient.isfinite().all() and (gradient != 0).any()


def test_where_nothing_is_valid_all_is_0():
    r = rows()
    r["mask"] = torch.zeros_like(r["mask"])
    assert {name: float(value) for name, value in ppo_loss(**r, **SETTINGS).items() if value != 0} == {}
    assert (normalise_advantages(r["advantages"], r["mask"]) == 0).all()


@pytest.mark.parametrize("normalise", [False, True])
def test_invalid_steps_spliced_into_an_unroll_move_no_measure(normalise):
    found = []
    unroll = {name: array[:, :1] for name, array in random_unroll().items()}
    for version in (unroll, resets_in_the_next_step(unroll)[0]):
        estimated = gae(**{name: version[name] for name in GAE}, discount=0.9, lam=0.8)
        advantages, returns = map(torch.from_numpy, estimated)
        t = {name: torch.from_numpy(array) for name, array in version.items()}
        if normalise:
            advantages = normalise_advantages(advantages, t["valid"])
        entropy = -t["log_probs_target"]
        values = t["values"][:-1]
        new, old = t["log_probs_target"], t["log_probs_behaviour"]
        found.append(ppo_loss(new, old, advantages, values * 1.1, values, returns, entropy, t["valid"], **SETTINGS))
    for name, value in found[0].items():
        assert float(found[1][name]) == pytest.approx(float(value), rel=1e-5, abs=1e-7), name


@pytest.mark.parametrize("value_clip", [None, 0.3])
def test_no_mask_is_one_that_leaves_nothing_out(value_clip: float | None) -> None:
    found = []
    for mask in (None, torch.ones(9, 7, dtype=torch.bool)):
        r = rows() | {"mask": mask}
        r["values_new"].requires_grad_()
        r["advantages"] = normalise_advantages(r["advantages"], mask)
        measures = ppo_loss(**r, **(SETTINGS | {"value_clip": value_clip}))
        measures["loss"].backward()
        found.append([*(m.detach() for m in measures.values()), r["advantages"], r["values_new"].grad])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_returns_that_do_not_vary_have_no_explained_variance():
    r = rows()
    r["returns"] = torch.full_like(r["returns"], 0.1)
    assert ppo_loss(**r, **SETTINGS)["explained_variance"] == 0
    r["returns"] = r["values_old"]
    assert ppo_loss(**r, **SETTINGS)["explained_variance"] == 1


def test_normalised_advantages_have_mean_0_and_deviation_1_over_the_valid_steps():
    r = rows()
    advantages = torch.where(r["mask"], r["advantages"] * 50 - 7, torch.nan)
    normal = normalise_advantages(advantages, r["mask"])
    expected = advantages[r["mask"]].double()
    expected = (expected - expected.mean()) / expected.std(correction=0)
    torch.testing.assert_close(normal[r["mask"]], expected.float(), rtol=1e-5, atol=1e-6)
    assert (normal[~r["mask"]] == 0).all()
