"""Policy distributions against torch.distributions, and by Monte Carlo where there is no closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import distributions as td

from rl.distributions import (
    LOG_STD_HIGH,
    LOG_STD_LOW,
    SQUASH_EDGE,
    entropy,
    kl,
    log_prob,
    mode,
    parameter_count,
    sample,
)
from tests.rl.losses.policies import SPECS, Spec, random_mask, random_parameters

MASKABLE = [spec for spec in SPECS if "categorical" in spec.kind]
GAUSSIANS = [spec for spec in SPECS if "gaussian" in spec.kind]
each_kind = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)


def parameters_of(spec: Spec, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(random_parameters(spec, *shape, seed=seed))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def theirs(spec: Spec, parameters: torch.Tensor) -> list[td.Distribution]:
    """torch's own; of multi_categorical one for each entry."""
    if "categorical" in spec.kind:
        return [td.Categorical(logits=part) for part in parameters.split(spec.sizes, -1)]
    if spec.kind == "bernoulli":
        return [td.Independent(td.Bernoulli(logits=parameters), 1)]
    mean, log_std = parameters.chunk(2, -1)
    normal = td.Normal(mean, log_std.exp())
    if spec.kind == "gaussian":
        return [td.Independent(normal, 1)]
    return [td.Independent(td.TransformedDistribution(normal, [td.TanhTransform(cache_size=1)]), 1)]


def test_parameters_are_counted():
    assert [parameter_count(spec) for spec in SPECS] == [5, 9, 3, 6, 6]


@each_kind
def test_log_probs_are_those_of_torch(spec):
    parameters = parameters_of(spec, 4, 6)
    actions = sample(spec, parameters, generator())
    assert actions.shape == (4, 6, *{"categorical": (), "multi_categorical": (3,)}.get(spec.kind, spec.sizes))
    assert actions.dtype == (torch.float32 if spec in GAUSSIANS else torch.int64)
    entries = list(actions.unbind(-1)) if spec.kind == "multi_categorical" else [actions]
    if spec.kind == "bernoulli":
        entries = [actions.float()]
    expected = torch.stack([d.log_prob(a) for d, a in zip(theirs(spec, parameters), entries, strict=True)]).sum(0)
    found = log_prob(spec, parameters, actions)
    assert found.shape == (4, 6)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 if spec.kind == "squashed_gaussian" else 1e-5)


@each_kind
def test_entropy_and_divergence_are_those_of_torch(spec):
    p, q = parameters_of(spec, 4, 6), parameters_of(spec, 4, 6, seed=1)
    plain = Spec("gaussian", spec.sizes) if spec in GAUSSIANS else spec
    ours, other = theirs(plain, p), theirs(plain, q)
    divergence = torch.stack([td.kl_divergence(a, b) for a, b in zip(ours, other, strict=True)]).sum(0)
    torch.testing.assert_close(kl(spec, p, q), divergence, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(kl(spec, p, p), torch.zeros(4, 6), rtol=0, atol=1e-6)
    if spec.kind != "squashed_gaussian":
        torch.testing.assert_close(entropy(spec, p), torch.stack([d.entropy() for d in ours]).sum(0))


@each_kind
def test_entropy_and_divergence_are_means_over_samples(spec):
    p, q = (parameters_of(spec, 4, seed=seed) for seed in (2, 3))
    many = p.expand(40000, *p.shape)
    actions = sample(spec, many, generator())
    ours, other = log_prob(spec, many, actions), log_prob(spec, q.expand_as(many), actions)
    if spec.kind == "squashed_gaussian":  # a few of q's densities at the edge are lost in rounding
        actions = actions.clamp(-0.99999, 0.99999)
        other = log_prob(spec, q.expand_as(many), actions)
        ours = log_prob(spec, many, actions)
    for terms, expected in ((-ours, entropy(spec, p)), (ours - other, kl(spec, p, q))):
        error = terms.std(0) / math.sqrt(len(many))
        assert ((terms.mean(0) - expected).abs() < 4.5 * error + 1e-3).all()


@pytest.mark.parametrize("mean", [0.0, 0.7, -3.0, 8.0])
@pytest.mark.parametrize(
    ("std", "tolerance"), [(1e-4, 1e-5), (0.1, 1e-5), (1.0, 1e-5), (4.0, 1e-5), (math.exp(2), 1e-3)]
)
def test_the_entropy_of_a_squashed_gaussian_is_its_integral(mean, std, tolerance):
    spec = Spec("squashed_gaussian", (1,))
    x = np.linspace(mean - 12 * std, mean + 12 * std, 400001)
    density = stats.norm.pdf(x, mean, std)
    log_slope = 2 * (np.log(2) - x - np.logaddexp(0, -2 * x))
    expected = stats.norm.entropy(mean, std) + np.trapezoid(density * log_slope, x)
    parameters = torch.tensor([mean, math.log(std)], dtype=torch.float64, requires_grad=True)
    found = entropy(spec, parameters)
    assert found.item() == pytest.approx(expected, abs=tolerance)
    assert float(entropy(spec, parameters.detach().float())) == pytest.approx(expected, abs=tolerance + 3e-6)
    if std < 7:
        assert torch.autograd.gradcheck(lambda p: entropy(spec, p), parameters)


@each_kind
def test_gradients_of_log_prob_entropy_and_divergence(spec):
    p, q = (parameters_of(spec, 3, seed=seed).double().requires_grad_() for seed in (0, 1))
    actions = sample(spec, p, generator())
    assert torch.autograd.gradcheck(lambda x: log_prob(spec, x, actions), p)
    assert torch.autograd.gradcheck(lambda x: entropy(spec, x), p)
    assert torch.autograd.gradcheck(lambda x, y: kl(spec, x, y), (p, q))


@each_kind
def test_samples_are_drawn_by_their_probabilities(spec):
    parameters = parameters_of(spec, seed=4)
    actions = sample(spec, parameters.expand(20000, -1), generator()).numpy()
    if spec in GAUSSIANS:
        mean, log_std = parameters.numpy().astype(np.float64).reshape(2, -1)
        x = np.arctanh(actions.astype(np.float64)) if spec.kind == "squashed_gaussian" else actions
        for i in range(3):
            assert stats.kstest(x[:, i], stats.norm(mean[i], np.exp(log_std[i])).cdf).pvalue > 1e-4
        return
    outcomes, counts = np.unique(actions.reshape(len(actions), -1), axis=0, return_counts=True)
    shaped = torch.from_numpy(outcomes).squeeze(-1) if spec.kind == "categorical" else torch.from_numpy(outcomes)
    expected = log_prob(spec, parameters.expand(len(outcomes), -1), shaped).exp().double().numpy() * len(actions)
    common = expected > 5
    observed = np.append(counts[common], len(actions) - counts[common].sum())
    wanted = np.append(expected[common], len(actions) - expected[common].sum())
    assert stats.chisquare(observed[wanted > 5], wanted[wanted > 5], sum_check=False).pvalue > 1e-4


@each_kind
def test_the_generator_decides_the_samples(spec):
    parameters = parameters_of(spec, 50)
    first, again, other = (sample(spec, parameters, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@each_kind
def test_the_mode_is_the_likeliest_of_many_actions(spec):
    parameters = parameters_of(spec, 6)
    best = mode(spec, parameters)
    plain = Spec("gaussian", spec.sizes) if spec in GAUSSIANS else spec
    squashed = spec.kind == "squashed_gaussian"
    actions = sample(plain, parameters.expand(2000, -1, -1), generator())
    at_best = log_prob(plain, parameters, best.atanh() if squashed else best)
    assert (log_prob(plain, parameters.expand(2000, -1, -1), actions) <= at_best + 1e-5).all()
    assert best.shape == actions.shape[1:] and best.dtype == actions.dtype
    assert best.data_ptr() != parameters.data_ptr()


@pytest.mark.parametrize("spec", MASKABLE, ids=lambda spec: spec.kind)
def test_illegal_actions_have_probability_0_and_their_logits_neither_influence_nor_gradient(spec):
    parameters = parameters_of(spec, 8).requires_grad_()
    legal = torch.from_numpy(random_mask(spec, 8))
    other = parameters_of(spec, 8, seed=1)
    actions = sample(spec, parameters.expand(3000, -1, -1), generator(), legal.expand(3000, -1, -1))
    assert log_prob(spec, parameters.expand(3000, -1, -1), actions, legal.expand(3000, -1, -1)).isfinite().all()
    chosen, best = actions[0], mode(spec, parameters, legal)
    total = log_prob(spec, parameters, chosen, legal) + entropy(spec, parameters, legal)
    (total + kl(spec, parameters, other, legal)).sum().backward()
    gradient = parameters.grad
    assert gradient is not None and gradient.isfinite().all()
    assert (gradient[~legal] == 0).all() and (gradient[legal] != 0).any()
    wild = parameters.detach().masked_fill(~legal, 1e30)
    assert torch.equal(mode(spec, wild, legal), best)
    for function in (entropy, lambda s, p, m: log_prob(s, p, chosen, m), lambda s, p, m: kl(s, p, other, m)):
        torch.testing.assert_close(function(spec, wild, legal), function(spec, parameters.detach(), legal))
    # The rest is the distribution over the legal actions alone.
    small = parameters.detach().masked_fill(~legal, -1e4)
    torch.testing.assert_close(entropy(spec, parameters, legal), entropy(spec, small))
    torch.testing.assert_close(kl(spec, parameters, other, legal), kl(spec, small, other.masked_fill(~legal, -1e4)))


def test_an_illegal_action_is_impossible():
    spec, mask = Spec("categorical", (3,)), torch.tensor([True, False, True])
    found = [float(log_prob(spec, torch.zeros(3), torch.tensor(a), mask).exp()) for a in range(3)]
    assert found == pytest.approx([0.5, 0.0, 0.5])


def test_only_categories_can_be_masked():
    for spec in (s for s in SPECS if s not in MASKABLE):
        parameters = parameters_of(spec, 2)
        with pytest.raises(ValueError, match="only categorical"):
            mode(spec, parameters, torch.ones_like(parameters, dtype=torch.bool))


def test_parameters_of_another_distribution_are_refused():
    with pytest.raises(ValueError, match="has 5 parameters"):
        entropy(SPECS[0], torch.zeros(2, 6))
    with pytest.raises(ValueError, match="no distribution of kind 'beta'"):
        parameter_count(Spec("beta", (2,)))


@pytest.mark.parametrize("spec", GAUSSIANS, ids=lambda spec: spec.kind)
def test_standard_deviations_are_clamped(spec):
    actions = torch.full((3,), 0.1)
    for beyond, limit in ((-50.0, LOG_STD_LOW), (30.0, LOG_STD_HIGH)):
        mean = torch.full((3,), 0.5)
        wild, tame = (torch.cat([mean, torch.full((3,), log_std)]).requires_grad_() for log_std in (beyond, limit))
        assert torch.equal(log_prob(spec, wild, actions), log_prob(spec, tame, actions))
        assert torch.equal(entropy(spec, wild), entropy(spec, tame))
        (log_prob(spec, wild, actions) + entropy(spec, wild)).backward()
        assert wild.grad is not None and (wild.grad[3:] == 0).all()


def test_squashed_actions_stay_within_the_edge_and_are_inverted_to_the_tolerance():
    spec = Spec("squashed_gaussian", (1,))
    far = torch.tensor([[50.0, 0.0], [-50.0, 0.0]])
    assert sample(spec, far, generator())[:, 0].tolist() == pytest.approx([SQUASH_EDGE, -SQUASH_EDGE], abs=1e-7)
    assert (mode(spec, far).abs() < 1).all()
    ones = torch.tensor([[1.0], [-1.0]])
    assert torch.equal(log_prob(spec, far, ones), log_prob(spec, far, mode(spec, far)))
    assert log_prob(spec, far, ones).isfinite().all()
    for x, tolerance in ((1.0, 1e-6), (3.6, 1e-5), (7.2, 0.01)):
        exact = stats.norm.logpdf(x) - 2 * (math.log(2) - x - math.log1p(math.exp(-2 * x)))
        found = log_prob(spec, torch.tensor([0.0, 0.0]), torch.tensor([x]).tanh())
        assert float(found) == pytest.approx(exact, abs=tolerance * (2 + x))


@each_kind
def test_sums_are_float32_under_autocast(spec):
    half = parameters_of(spec, 7).bfloat16()
    actions = sample(spec, half, generator())
    with torch.autocast("cpu", torch.bfloat16):
        found = log_prob(spec, half, actions), entropy(spec, half), kl(spec, half, half + 1)
    exact = half.float()
    expected = log_prob(spec, exact, actions), entropy(spec, exact), kl(spec, exact, (half + 1).float())
    for mine, other in zip(found, expected, strict=True):
        assert mine.dtype == torch.float32
        assert torch.equal(mine, other)
