"""Intervals over games are as wide as so many games allow, however many alike rows each of them has."""

import numpy as np
import pytest

from rl.insight.intervals import Estimate, mean, over_games, share


def width(found: tuple[float, float, float]) -> float:
    assert found[1] <= found[0] <= found[2]
    return found[2] - found[1]


def test_rows_that_repeat_each_other_say_no_more() -> None:
    rng = np.random.default_rng(0)
    yes = rng.random(60) < 0.7
    alike, games = np.repeat(yes, 9), np.repeat(np.arange(60), 9)
    # Wilson's of 60, and the bootstrap of 60 games: not that of 540, which would be a third as wide.
    assert width(share(alike, games)) == pytest.approx(width(share(yes, np.arange(60))), rel=0.15)
    assert width(share(alike, np.arange(540))) < 0.4 * width(share(alike, games))
    values = rng.normal(size=60)
    assert width(mean(np.repeat(values, 9), games)) == pytest.approx(2 * 1.96 * values.std() / 60**0.5, rel=0.2)


@pytest.mark.parametrize("answer", [True, False])
def test_answers_that_are_all_the_same_are_no_certainty(answer: bool) -> None:
    found = share(np.full(80, answer), np.repeat(np.arange(20), 4))
    assert found[0] == float(answer) and width(found) == pytest.approx(0.161, abs=0.001), "Wilson's of 20"


def test_differences_are_paired() -> None:
    rng = np.random.default_rng(0)
    games, values = np.arange(50), rng.normal(size=50)

    def estimate(values: np.ndarray) -> Estimate:
        return over_games(games, (values,), lambda total: total[..., 0] / 50)

    gap = estimate(values + 1) - estimate(values)
    assert (gap.value, gap.low, gap.high) == pytest.approx((1, 1, 1)), "what both share cancels out in every resample"
