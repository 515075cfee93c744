"""The acting side's distributions are the learner's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from rl import acting, distributions
from rl.acting import mode_numpy, sample_numpy
from rl.distributions import log_prob, mode, sample
from tests.rl.losses.policies import SPECS, Spec, random_mask, random_parameters

DISCRETE = [spec for spec in SPECS if "gaussian" not in spec.kind]
each_kind = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_limits_are_the_same():
    for name in ("LOG_STD_LOW", "LOG_STD_HIGH", "SQUASH_EDGE"):
        assert getattr(acting, name) == getattr(distributions, name)


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
@each_kind
def test_log_probs_are_those_that_the_learner_finds_for_the_actions(spec, scale):
    parameters = random_parameters(spec, 500, scale=scale)
    actions, log_probs = sample_numpy(spec, parameters, rng())
    tensor = torch.from_numpy(parameters)
    theirs = sample(spec, tensor, None)
    assert actions.shape == theirs.shape and torch.from_numpy(actions).dtype == theirs.dtype
    assert log_probs.shape == (500,) and log_probs.dtype == np.float32
    expected = log_prob(spec, tensor, torch.from_numpy(actions)).numpy()
    np.testing.assert_allclose(log_probs, expected, rtol=1e-5, atol=1e-5)


@each_kind
def test_modes_are_those_of_torch(spec):
    parameters = random_parameters(spec, 100)
    parameters[:10] = 0.0  # of equals, the first
    found = mode_numpy(spec, parameters)
    expected = mode(spec, torch.from_numpy(parameters)).numpy()
    assert found.shape == expected.shape and found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert not np.shares_memory(found, parameters)


@pytest.mark.parametrize("spec", [*DISCRETE, Spec("categorical", (2,)), Spec("categorical", (1,))], ids=str)
def test_frequencies_are_the_probabilities(spec):
    parameters = random_parameters(spec, 1, seed=5)
    actions, log_probs = sample_numpy(spec, parameters.repeat(40000, 0), rng())
    _, first, counts = np.unique(actions.reshape(40000, -1), axis=0, return_index=True, return_counts=True)
    expected = np.exp(log_probs[first].astype(np.float64)) * 40000
    assert expected.sum() == pytest.approx(40000, rel=0.01)
    common = expected > 5
    if common.sum() > 1:  # nothing is left to chance in a distribution over one action
        assert stats.chisquare(counts[common], expected[common], sum_check=False).pvalue > 1e-4
    assert common.sum() > 1 or spec.sizes == (1,)


@pytest.mark.parametrize("kind", ["gaussian", "squashed_gaussian"])
def test_gaussians_are_gaussian(kind):
    spec = Spec(kind, (2,))
    parameters = np.array([[0.3, -1.0, -0.5, 0.2]], np.float32).repeat(20000, 0)
    actions, _ = sample_numpy(spec, parameters, rng())
    x = np.arctanh(actions.astype(np.float64)) if kind == "squashed_gaussian" else actions
    for i in range(2):
        assert stats.kstest(x[:, i], stats.norm(parameters[0, i], np.exp(parameters[0, 2 + i])).cdf).pvalue > 1e-4
    assert abs(np.corrcoef(x.T)[0, 1]) < 0.04


@pytest.mark.parametrize("spec", [s for s in SPECS if "categorical" in s.kind], ids=lambda spec: spec.kind)
def test_illegal_actions_are_never_taken(spec):
    parameters, legal = random_parameters(spec, 3000), random_mask(spec, 3000)
    parameters[~legal] += 20
    actions, log_probs = sample_numpy(spec, parameters, rng(), legal)
    tensors = torch.from_numpy(parameters), torch.from_numpy(actions), torch.from_numpy(legal)
    expected = log_prob(spec, *tensors)
    assert expected.isfinite().all()
    np.testing.assert_allclose(log_probs, expected, rtol=1e-5, atol=1e-5)
    best = mode_numpy(spec, parameters, legal)
    np.testing.assert_array_equal(best, mode(spec, tensors[0], tensors[2]))


def test_what_is_all_but_impossible_is_never_drawn_by_rounding():
    class Last(np.random.Generator):
        def random(self, *args, **kwargs):
            return np.full(args[0], 1.0)  # further than any is

    generator = Last(np.random.PCG64(0))
    logits = np.array([[0.1, 0.7, -0.3, -np.inf], [5.0, -np.inf, -np.inf, -np.inf]], np.float32)
    actions, log_probs = sample_numpy(Spec("categorical", (4,)), logits, generator)
    assert actions.tolist() == [2, 0]
    assert np.isfinite(log_probs).all()


@pytest.mark.parametrize("log_std", [-50.0, -14.0, 30.0])
@pytest.mark.parametrize("kind", ["gaussian", "squashed_gaussian"])
def test_the_log_prob_is_that_of_the_rounded_action_and_of_the_clamped_deviation(kind, log_std):
    """Rounding 1 to float32 moves it by up to 0.07 deviations of e^-14."""
    spec = Spec(kind, (1,))
    mean = 1.0 if kind == "gaussian" else 0.0
    parameters = np.array([[mean, log_std]], np.float32).repeat(50, 0)
    actions, log_probs = sample_numpy(spec, parameters, rng())
    assert np.abs(actions).max() < 30
    expected = log_prob(spec, torch.from_numpy(parameters), torch.from_numpy(actions))
    np.testing.assert_allclose(log_probs, expected, rtol=1e-5, atol=1e-5)


def test_actions_at_the_edge_are_within_it():
    spec = Spec("squashed_gaussian", (1,))
    far = np.array([[50.0, 0.0], [-50.0, 0.0]], np.float32)
    for actions in (sample_numpy(spec, far, rng())[0], mode_numpy(spec, far)):
        assert (np.abs(actions) < 1).all()
        assert actions[:, 0] == pytest.approx([acting.SQUASH_EDGE, -acting.SQUASH_EDGE], abs=1e-7)
    actions, log_probs = sample_numpy(spec, far, rng())
    expected = log_prob(spec, torch.from_numpy(far), torch.from_numpy(actions))
    np.testing.assert_allclose(log_probs, expected, rtol=1e-5)


@each_kind
def test_the_generator_decides_and_moves_on_alike_for_all_parameters(spec):
    streams = [rng(7) for _ in range(3)]
    for stream, seed in zip(streams, (0, 0, 1), strict=True):
        sample_numpy(spec, random_parameters(spec, 9, seed=seed), stream)
    assert len({str(stream.bit_generator.state) for stream in streams}) == 1
    first, again = (sample_numpy(spec, random_parameters(spec, 9), rng(7)) for _ in range(2))
    assert all((mine == other).all() for mine, other in zip(first, again, strict=True))


@each_kind
def test_parameters_may_be_read_only_other_floats_or_strided(spec):
    parameters = random_parameters(spec, 20)
    expected = sample_numpy(spec, parameters, rng())
    frozen = parameters.copy()
    frozen.flags.writeable = False
    for version in (frozen, parameters.astype(np.float64), np.asfortranarray(parameters)):
        found = sample_numpy(spec, version, rng())
        assert all((mine == other).all() for mine, other in zip(found, expected, strict=True))


def test_parameters_of_another_distribution_are_refused():
    for spec in SPECS:
        with pytest.raises(ValueError, match="needs parameters"):
            sample_numpy(spec, np.zeros((2, 11), np.float32), rng())
    with pytest.raises(ValueError, match="only categorical"):
        mode_numpy(SPECS[2], np.zeros((2, 3), np.float32), np.ones((2, 3), bool))
    with pytest.raises(ValueError, match="no distribution"):
        sample_numpy(Spec("beta", (3,)), np.zeros((2, 3), np.float32), rng())
