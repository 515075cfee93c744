"""Means of several seeds and their intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rl.curves import mean_curve, student_interval


def test_the_interval_is_students() -> None:
    # Three values: t of 2 degrees of freedom at 97.5 % is 4.3027 (any table).
    mean, low, high = student_interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert high - 2.0 == pytest.approx(4.3027 / math.sqrt(3), rel=1e-4) and 2.0 - low == pytest.approx(high - 2.0)
    assert student_interval([5.0]) == (5.0, -math.inf, math.inf)
    assert student_interval([5.0, 5.0]) == (5.0, 5.0, 5.0)


def test_curves_are_brought_to_where_all_have_values() -> None:
    first = np.array([0.0, 10.0]), np.array([0.0, 10.0])
    second = np.array([2.0, 4.0, 12.0]), np.array([4.0, 6.0, 14.0])  # y = x + 2
    mean = mean_curve([first, second], points=5)
    np.testing.assert_allclose(mean.x, [2, 4, 6, 8, 10])
    np.testing.assert_allclose(mean.mean, mean.x + 1)
    half = 12.7062 * math.sqrt(2) / math.sqrt(2)  # t of 1 degree of freedom; the deviation is √2 everywhere
    np.testing.assert_allclose(mean.high - mean.mean, half, rtol=1e-4)
    np.testing.assert_allclose(mean.mean - mean.low, half, rtol=1e-4)


def test_a_single_curve_stays_as_it_is() -> None:
    x, y = np.array([1.0, 3.0]), np.array([5.0, 4.0])
    mean = mean_curve([(x, y)])
    for part, expected in zip(mean, (x, y, y, y)):
        np.testing.assert_array_equal(part, expected)
    with pytest.raises(ValueError, match="no curve"):
        mean_curve([])
