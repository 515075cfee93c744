"""The fit of strength against compute finds what made-up data were made with."""

from __future__ import annotations

import numpy as np
import pytest

from rl.compare.plan import Wrong
from rl.compare.scaling import Frontier, compute_of, fit, predict, sentences

TRUE = np.array([-250.0, 400.0, -1500.0, 150.0, 300.0])  # of a board: 750, 900 and 1,050 Elo at most


def frontier(board: int, noise: float, seed: int = 0) -> Frontier:
    flops = np.geomspace(1e6, 1e12, 14)
    exact = predict(TRUE, np.full(14, float(board)), flops)
    return Frontier(board, flops, exact + noise * np.random.default_rng(seed).normal(size=14), ("x",) * 14)


@pytest.mark.parametrize(("noise", "near"), [(0.0, 0.01), (20.0, 0.15)])
def test_it_finds_slope_and_plateau(noise: float, near: float) -> None:
    found = fit([frontier(board, noise, board) for board in (3, 4, 5)])
    names = ("elo_a_line", "elo_a_decade", "constant", "plateau_a_line", "plateau")
    parameters = np.array([found[name] for name in names])
    assert parameters[1] == pytest.approx(TRUE[1], rel=near)
    assert found["decades_a_line"] == pytest.approx(250 / 400, rel=near)
    for board in (3, 5):
        at = np.full(2, float(board))
        flops = np.array([1e9, 1e12])
        np.testing.assert_allclose(predict(parameters, at, flops), predict(TRUE, at, flops), atol=1 + 2 * noise)
    assert found["rms_error"] <= 1.5 * noise + 1 and found["explained"] > 0.95
    assert "factor of ten" in sentences(found)[0] and "one line more" in sentences(found)[1]


def test_one_board_has_no_size_to_depend_on() -> None:
    found = fit([frontier(4, 0.0)])
    assert found["decades_a_line"] is None and found["elo_a_line"] == 0.0 and len(sentences(found)) == 1
    assert found["elo_a_decade"] == pytest.approx(400, rel=0.01)


def test_too_few_points_are_refused() -> None:
    few = frontier(4, 0.0)
    with pytest.raises(Wrong, match="six points"):
        fit([Frontier(4, few.flops[:5], few.elo[:5], few.labels[:5])])


def test_compute_counts_actors_and_learner() -> None:
    assert compute_of({"evaluations": 1000, "learner_steps": 10}, flops=7, batch=32) == 7 * (1000 + 3 * 32 * 10)
