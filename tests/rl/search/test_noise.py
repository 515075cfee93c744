"""Random draws of compiled code against numpy's, by the two-sample test of Kolmogorov and Smirnov."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numba import njit

from rl.search.noise import draw_gamma, draw_gumbel, draw_normal

N = 40_000
ONE_IN_10_000 = 2.23  # critical value of the statistic times √(N/2)


@njit
def gumbels(stream, out):
    for i in range(out.shape[0]):
        out[i] = draw_gumbel(stream)


@njit
def normals(stream, out):
    for i in range(out.shape[0]):
        out[i] = draw_normal(stream)


@njit
def gammas(stream, shape, out):
    for i in range(out.shape[0]):
        out[i] = draw_gamma(stream, shape)


def distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference of the two empirical distribution functions, in units of its own spread."""
    points = np.concatenate((ours, theirs))
    below = [np.searchsorted(np.sort(sample), points, side="right") / len(sample) for sample in (ours, theirs)]
    return float(np.abs(below[0] - below[1]).max() * np.sqrt(N / 2))


@pytest.mark.parametrize(("fill", "theirs"), [(gumbels, "gumbel"), (normals, "standard_normal")])
def test_draws_have_the_distribution_of_numpys(fill: Callable[..., None], theirs: str) -> None:
    ours = np.empty(N)
    fill(np.array([5], np.uint64), ours)
    assert distance(ours, getattr(np.random.default_rng(5), theirs)(size=N)) < ONE_IN_10_000


@pytest.mark.parametrize("shape", [0.03, 0.4, 1.0, 1.43, 10.0])
def test_gamma_draws_have_the_distribution_of_numpys(shape: float) -> None:
    ours = np.empty(N)
    gammas(np.array([6], np.uint64), shape, ours)
    assert (ours >= 0).all()
    assert distance(ours, np.random.default_rng(6).standard_gamma(shape, N)) < ONE_IN_10_000


def test_another_distribution_would_be_noticed() -> None:
    rng = np.random.default_rng(7)
    assert distance(rng.standard_gamma(1.05, N), rng.standard_gamma(1.0, N)) > ONE_IN_10_000
