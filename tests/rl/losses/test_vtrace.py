"""V-trace and the loss of IMPALA against their definitions, with ratios on both sides of every clip."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from rl.losses import gae, impala_loss, vtrace
from tests.rl.losses.unrolls import GAE, Unroll, goes_on, random_unroll, resets_in_the_next_step, successor_value

CLIPS: dict[str, Any] = {"rho_clip": 1.1, "c_clip": 0.9, "pg_rho_clip": 1.3}


def tensors(unroll: Unroll) -> dict[str, Any]:
    return {name: torch.from_numpy(array) for name, array in unroll.items()}


def run(unroll: Unroll, discount: float = 0.9, **settings: float) -> tuple[np.ndarray, np.ndarray]:
    vs, advantages = vtrace(**tensors(unroll), discount=discount, **(CLIPS | settings))
    return vs.numpy(), advantages.numpy()


def slow(unroll: Unroll, discount: float, rho_clip: float, c_clip: float, pg_rho_clip: float, lam: float) -> Any:
    """Equation 1 and section 4.2 of Espeholt et al. 2018, as far as the episode goes on."""
    steps, lanes = unroll["rewards"].shape
    vs, advantages = unroll["values"][:-1].astype(np.float64), np.zeros((steps, lanes))

    def ratio(t: int, b: int) -> float:
        return math.exp(float(unroll["log_probs_target"][t, b]) - float(unroll["log_probs_behaviour"][t, b]))

    for b in range(lanes):
        for s in range(steps):
            t, product = s, 1.0
            while unroll["valid"][s, b]:
                error = float(unroll["rewards"][t, b]) + discount * successor_value(unroll, t, b)
                delta = min(rho_clip, ratio(t, b)) * (error - float(unroll["values"][t, b]))
                vs[s, b] += discount ** (t - s) * product * delta
                if not goes_on(unroll, t, b):
                    break
                product *= lam * min(c_clip, ratio(t, b))
                t += 1
        for s in range(steps):
            if unroll["valid"][s, b]:
                q = vs[s + 1, b] if goes_on(unroll, s, b) else successor_value(unroll, s, b)
                error = float(unroll["rewards"][s, b]) + discount * q - float(unroll["values"][s, b])
                advantages[s, b] = min(pg_rho_clip, ratio(s, b)) * error
    return vs, advantages


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("lam", [1.0, 0.7, 0.0])
@pytest.mark.parametrize("clips", [(1.0, 1.0, 1.0), (1.1, 0.9, 1.3), (2.0, 1.0, 0.5), (math.inf, math.inf, math.inf)])
def test_equals_the_definition(clips, lam, seed):
    unroll = random_unroll(seed=seed)
    ratios = np.exp(unroll["log_probs_target"] - unroll["log_probs_behaviour"])
    assert all((ratios < clip).any() and (ratios > min(clip, 2.0)).any() for clip in clips)
    settings = dict(zip(("rho_clip", "c_clip", "pg_rho_clip"), clips, strict=True)) | {"lam": lam}
    for found, expected in zip(run(unroll, 0.9, **settings), slow(unroll, 0.9, **settings), strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


def test_on_policy_it_is_the_n_step_return():
    """Equation 2: the discounted rewards up to the episode's or the unroll's end, and the value there."""
    unroll = random_unroll()
    unroll["log_probs_target"] = unroll["log_probs_behaviour"]
    vs, advantages = run(unroll, rho_clip=1.0, c_clip=1.0, pg_rho_clip=1.0)
    for b in range(6):
        for s in range(12):
            if unroll["valid"][s, b]:
                t, total = s, float(unroll["rewards"][s, b])
                while goes_on(unroll, t, b):
                    t += 1
                    total += 0.9 ** (t - s) * float(unroll["rewards"][t, b])
                total += 0.9 ** (t + 1 - s) * successor_value(unroll, t, b)
                assert vs[s, b] == pytest.approx(total, abs=1e-5)
    np.testing.assert_allclose(advantages, np.where(unroll["valid"], vs - unroll["values"][:-1], 0), atol=1e-5)


@pytest.mark.parametrize("lam", [1.0, 0.6])
def test_on_policy_its_targets_are_those_of_gae(lam):
    unroll = random_unroll()
    unroll["log_probs_target"] = unroll["log_probs_behaviour"]
    vs, _ = run(unroll, rho_clip=1.0, c_clip=1.0, lam=lam)
    _, returns = gae(**{name: unroll[name] for name in GAE}, discount=0.9, lam=lam)
    np.testing.assert_allclose(vs, returns, rtol=1e-5, atol=1e-5)


def test_a_policy_that_would_never_act_so_learns_nothing_from_it():
    unroll = random_unroll()
    unroll["log_probs_target"] = unroll["log_probs_behaviour"] - 200
    vs, advantages = run(unroll)
    assert (vs == unroll["values"][:-1]).all()
    assert (advantages == 0).all()
    unroll["log_probs_target"] = unroll["log_probs_behaviour"] + 200  # a ratio of infinity
    assert all(np.isfinite(array).all() for array in run(unroll))


def test_final_values_may_be_left_out():
    unroll = random_unroll()
    unknown = run(unroll | {"final_values": np.full((12, 6), np.nan, np.float32)})
    del unroll["final_values"]
    for mine, other in zip(run(unroll), unknown, strict=True):
        assert (mine == other).all()


@pytest.mark.parametrize("seed", range(5))
def test_invalid_steps_spliced_in_move_nothing(seed):
    unroll = {name: array[:, :1] for name, array in random_unroll(seed=seed).items()}  # a lane without invalid steps
    spliced, where = resets_in_the_next_step(unroll)
    old, new = (list(index) for index in zip(*where, strict=True))
    for before, after in zip(run(unroll), run(spliced), strict=True):
        assert (before[old] == after[new]).all()
    vs, advantages = run(spliced)
    invalid = ~spliced["valid"]
    assert (vs[invalid] == spliced["values"][:-1][invalid]).all()
    assert (advantages[invalid] == 0).all()
    plain, poisoned = (measures(u, np.float32(-1.2)) for u in (unroll, spliced))
    for name, value in plain.items():
        assert float(poisoned[name]) == pytest.approx(float(value), rel=1e-5, abs=1e-6), name


def test_lanes_are_independent():
    unroll = random_unroll()
    together = run(unroll)
    for b in range(6):
        alone = run({name: array[:, b : b + 1] for name, array in unroll.items()})
        for mine, ours in zip(alone, together, strict=True):
            np.testing.assert_array_equal(mine[:, 0], ours[:, b])


def test_no_gradient_goes_through_the_targets():
    rows = tensors(random_unroll())
    for name in ("log_probs_target", "values"):
        rows[name].requires_grad_()
    assert not any(x.requires_grad for x in vtrace(**rows, discount=0.9, **CLIPS))


def measures(unroll: Unroll, entropy: Any, **settings: float) -> dict[str, torch.Tensor]:
    rows = tensors(unroll)
    vs, advantages = (torch.from_numpy(array) for array in run(unroll))
    target, behaviour = rows["log_probs_target"], rows["log_probs_behaviour"]
    bonus = torch.from_numpy(np.where(unroll["valid"], entropy, np.nan).astype(np.float32))
    weights: dict[str, Any] = {"value_weight": 0.5, "entropy_weight": 0.01} | settings
    return impala_loss(target, behaviour, vs, advantages, rows["values"][:-1], bonus, rows["valid"], **weights)


@pytest.mark.parametrize("rho_clip", [1.0, 2.5])
def test_the_loss_equals_its_definition(rho_clip):
    unroll = random_unroll()
    entropy = np.random.default_rng(1).random((12, 6))
    measured = measures(unroll, entropy, rho_clip=rho_clip)
    vs, advantages = run(unroll)
    names = ("policy_loss", "value_loss", "policy_entropy", "policy_kl", "clip_fraction", "rho_mean")
    sums, n = dict.fromkeys(names, 0.0), unroll["valid"].sum()
    for t, b in np.argwhere(unroll["valid"]):
        log_pi = float(unroll["log_probs_target"][t, b])
        ratio = math.exp(log_pi - float(unroll["log_probs_behaviour"][t, b]))
        sums["policy_loss"] -= advantages[t, b] * log_pi / n
        sums["value_loss"] += 0.5 * (vs[t, b] - unroll["values"][t, b]) ** 2 / n
        sums["policy_entropy"] += entropy[t, b] / n
        sums["policy_kl"] += (ratio - 1 - math.log(ratio)) / n
        sums["clip_fraction"] += (ratio > rho_clip) / n
        sums["rho_mean"] += ratio / n
    loss = sums["policy_loss"] + 0.5 * sums["value_loss"] - 0.01 * sums["policy_entropy"]
    targets, values = vs[unroll["valid"]], unroll["values"][:-1][unroll["valid"]]
    expected = sums | {"loss": loss, "explained_variance": 1 - np.var(targets - values) / np.var(targets)}
    assert measured.keys() == expected.keys()
    for name, value in expected.items():
        assert measured[name].shape == () and measured[name].dtype == torch.float32
        assert float(measured[name]) == pytest.approx(value, rel=1e-5, abs=1e-5), name


def test_the_gradients_are_those_of_the_definition():
    unroll = random_unroll()
    rows, (vs, advantages) = tensors(unroll), (torch.from_numpy(array) for array in run(unroll))
    target, values = rows["log_probs_target"].requires_grad_(), rows["values"][:-1].clone().requires_grad_()
    entropy = torch.ones(12, 6, requires_grad=True)
    bad_vs, bad_advantages = (torch.where(rows["valid"], x, torch.nan) for x in (vs, advantages))
    behaviour = rows["log_probs_behaviour"]
    measured = impala_loss(target, behaviour, bad_vs, bad_advantages, values, entropy, rows["valid"], 0.5, 0.01)
    assert {name for name, value in measured.items() if value.requires_grad} == {"loss"}
    measured["loss"].backward()
    share = rows["valid"] / rows["valid"].sum()
    torch.testing.assert_close(target.grad, -advantages * share)
    torch.testing.assert_close(values.grad, 0.5 * (values.detach() - vs) * share)
    torch.testing.assert_close(entropy.grad, -0.01 * share)
