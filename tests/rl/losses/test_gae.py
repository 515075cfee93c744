"""Advantages against their definition as a double sum, and the ways in which an episode can end."""

from __future__ import annotations

import numpy as np
import pytest

from rl.losses import gae
from tests.rl.losses.unrolls import GAE, Unroll, goes_on, random_unroll, resets_in_the_next_step, successor_value


def run(unroll: Unroll, discount: float = 0.9, lam: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    return gae(**{name: unroll[name] for name in GAE}, discount=discount, lam=lam)


def slow(unroll: Unroll, discount: float, lam: float) -> np.ndarray:
    """A_t = Σ_l (γλ)^l δ_{t+l}, as far as the episode goes on (Schulman et al. 2016, equation 16)."""
    steps, lanes = unroll["rewards"].shape
    advantages = np.zeros((steps, lanes))
    for b in range(lanes):
        for t in range(steps):
            l = 0  # noqa: E741
            while unroll["valid"][t, b]:
                value = float(unroll["values"][t + l, b])
                delta = float(unroll["rewards"][t + l, b]) + discount * successor_value(unroll, t + l, b) - value
                advantages[t, b] += (discount * lam) ** l * delta
                if not goes_on(unroll, t + l, b):
                    break
                l += 1  # noqa: E741
    return advantages


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("discount", "lam"), [(0.9, 0.8), (1.0, 1.0), (0.99, 0.0), (0.0, 0.9)])
def test_equals_the_definition(discount, lam, seed):
    unroll = random_unroll(seed=seed)
    advantages, returns = run(unroll, discount, lam)
    expected = slow(unroll, discount, lam)
    assert advantages.dtype == returns.dtype == np.float32
    np.testing.assert_allclose(advantages, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(returns, expected + unroll["values"][:-1], rtol=1e-5, atol=1e-5)


def test_the_unrolls_of_these_tests_hold_every_case():
    unroll = random_unroll()
    terminated, truncated, valid = (unroll[k] for k in ("terminated", "truncated", "valid"))
    assert (terminated & truncated).any() and (terminated & ~truncated).any() and (~terminated & truncated).any()
    assert (~valid).any() and (~valid[0]).any()
    assert (truncated & np.isnan(unroll["final_values"])).any() and np.isfinite(unroll["final_values"]).any()


def test_an_episode_written_out():
    """Rewards 1, λ = 1, discount ½: terminated after the second step, truncated after the fourth."""
    ones = np.ones((5, 1), np.float32)
    values = np.array([[0], [0], [100], [0], [8], [16]], np.float32)
    terminated, truncated = (np.arange(5)[:, None] == t for t in (1, 3))
    valid = np.ones((5, 1), bool)
    _, returns = gae(ones, values, terminated, truncated, valid, 0.5, 1.0)
    assert returns[:, 0].tolist() == [1.5, 1.0, 1 + 0.5 * (1 + 4), 1 + 0.5 * 8, 1 + 0.5 * 16]
    final_values = np.where(truncated, 2, np.nan).astype(np.float32)
    _, returns = gae(ones, values, terminated, truncated, valid, 0.5, 1.0, final_values)
    assert returns[:, 0].tolist() == [1.5, 1.0, 1 + 0.5 * (1 + 1), 1 + 0.5 * 2, 1 + 0.5 * 16]


def test_lambda_1_gives_the_discounted_return_and_lambda_0_the_error_of_one_step():
    unroll = random_unroll(steps=6, lanes=2) | {name: np.zeros((6, 2), bool) for name in ("terminated", "truncated")}
    unroll |= {"valid": np.ones((6, 2), bool)}
    _, returns = run(unroll, 0.9, 1.0)
    expected = unroll["values"][6].copy()
    for t in range(5, -1, -1):
        expected = unroll["rewards"][t] + 0.9 * expected
    np.testing.assert_allclose(returns[0], expected, rtol=1e-5)
    advantages, _ = run(unroll, 0.9, 0.0)
    errors = unroll["rewards"] + 0.9 * unroll["values"][1:] - unroll["values"][:-1]
    np.testing.assert_allclose(advantages, errors, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_invalid_steps_spliced_in_move_no_advantage(seed):
    unroll = {name: array[:, :1] for name, array in random_unroll(seed=seed).items()}  # a lane without invalid steps
    spliced, where = resets_in_the_next_step(unroll)
    (before, returns_before), (after, returns_after) = run(unroll), run(spliced)
    assert len(after) >= len(before) + 4
    for old, new in where:
        assert before[old] == after[new]
        assert returns_before[old] == returns_after[new]
    invalid = ~spliced["valid"]
    assert (after[invalid] == 0).all()
    assert (returns_after[invalid] == spliced["values"][:-1][invalid]).all()


def test_a_trace_does_not_pass_through_an_invalid_step_even_within_an_episode():
    unroll = random_unroll(lanes=1) | {name: np.zeros((12, 1), bool) for name in ("terminated", "truncated")}
    unroll["valid"] = np.arange(12)[:, None] != 5
    before, _ = run(unroll)
    unroll["rewards"][6:] += 7
    after, _ = run(unroll)
    assert (before[:6] == after[:6]).all()
    assert (before[6:] != after[6:]).all()


def test_lanes_are_independent():
    unroll = random_unroll()
    together = run(unroll)
    for b in range(6):
        alone = run({name: array[:, b : b + 1] for name, array in unroll.items()})
        for mine, ours in zip(alone, together, strict=True):
            assert (mine[:, 0] == ours[:, b]).all()


def test_inputs_may_be_read_only_and_need_not_be_contiguous():
    unroll = random_unroll()
    expected = run(unroll)
    transposed = {name: np.asfortranarray(array) for name, array in unroll.items()}
    for array in unroll.values():
        array.flags.writeable = False
    for version in (unroll, transposed):
        assert all((mine == ours).all() for mine, ours in zip(run(version), expected, strict=True))
