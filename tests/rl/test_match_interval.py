"""MatchResult.interval against simulated matches and against a bootstrap."""

import numpy as np
import pytest

from rl.records import MatchResult


@pytest.mark.parametrize("win", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("draw", [0.0, 0.4, 0.9])
def test_interval_covers_the_true_score_about_95_times_in_100(win: float, draw: float) -> None:
    """``win`` is the chance among decisive games."""
    chances = [(1 - draw) * win, draw, (1 - draw) * (1 - win)]
    true_score = chances[0] + 0.5 * draw
    matches = np.random.default_rng(0).multinomial(100, chances, size=2000)
    intervals = [MatchResult(*map(int, counts)).interval() for counts in matches]
    covered = np.mean([low <= true_score <= high for low, high in intervals])
    # 2,000 matches place the coverage within ±1 %; no discrete interval keeps 95 % exactly near the borders.
    assert 0.9 <= covered <= 0.99


def test_interval_agrees_with_the_bootstrap_where_games_abound() -> None:
    result = MatchResult(wins=210, draws=90, losses=100)
    points = np.repeat([1.0, 0.5, 0.0], [result.wins, result.draws, result.losses])
    means = np.random.default_rng(1).choice(points, (4000, len(points))).mean(1)
    assert result.interval() == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.006)


@pytest.mark.parametrize("result", [MatchResult(20, 0, 0), MatchResult(0, 20, 0), MatchResult(0, 0, 20)])
def test_interval_of_a_clean_sheet_has_width_and_holds_the_score(result: MatchResult) -> None:
    low, high = result.interval()
    assert 0.0 <= low <= result.score <= high <= 1.0
    assert high - low > 0.05


def test_more_games_narrow_the_interval() -> None:
    widths = [high - low for low, high in (MatchResult(6 * k, 2 * k, 2 * k).interval() for k in (1, 4, 16))]
    assert widths[0] > widths[1] > widths[2]
