"""95 % intervals of what is counted over positions: those of one game are alike, so whole games are resampled.

The bootstrap of clusters (Davison and Hinkley 1997, §3.8): games are drawn with replacement, each with all its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rl.records import MatchResult

RESAMPLES = 200


@dataclass(frozen=True)
class Estimate:
    """A number and what it is in each of the resamples."""

    value: float
    samples: np.ndarray  # [RESAMPLES] float64

    @property
    def low(self) -> float:
        return float(np.quantile(self.samples, 0.025))

    @property
    def high(self) -> float:
        return float(np.quantile(self.samples, 0.975))

    def __sub__(self, other: Estimate) -> Estimate:
        """Of two that were made of the same games, which are the same in each resample: a paired difference."""
        return Estimate(self.value - other.value, self.samples - other.samples)


def over_games(games: np.ndarray, columns: Sequence[np.ndarray], score: Callable[[np.ndarray], np.ndarray]) -> Estimate:
    """``score`` of the sums of K ``columns`` [R]; it takes [..., K] to [...]. ``games`` [R]: which rows are alike."""
    _, owner = np.unique(games, return_inverse=True)
    counts = np.zeros((owner.max() + 1, len(columns)))
    for k, column in enumerate(columns):
        np.add.at(counts[:, k], owner, column)
    rng = np.random.default_rng(0)
    weights = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), RESAMPLES)
    return Estimate(float(score(counts.sum(0))), score(weights @ counts))


def mean(values: np.ndarray, games: np.ndarray) -> tuple[float, float, float]:
    """The mean of ``values`` [R] and its interval."""
    found = over_games(games, (np.ones(len(values)), values), lambda total: total[..., 1] / total[..., 0])
    return found.value, found.low, found.high


def share(yes: np.ndarray, games: np.ndarray) -> tuple[float, float, float]:
    """The share of ``yes`` [R] bool and its interval: Wilson's of the games where each has one row or all rows agree.

    No resample of answers that are all the same differs from them, which would be an interval without width.
    """
    count = len(np.unique(games))
    if count < len(yes) and 0 < yes.mean() < 1:
        return mean(yes, games)
    told = round(float(yes.mean()) * count)
    return float(yes.mean()), *MatchResult(told, 0, count - told).interval()
