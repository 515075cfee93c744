"""Pictures of what may be missing or many. SVG says in comments what is written in it."""

from pathlib import Path
from typing import Any

import pytest

from rl.insight.drawing import budgets_picture, exploiter_picture


def scored(budget: int, evaluations: int, share: float | None) -> dict[str, Any]:
    return {
        "victim_simulations": budget,
        "evaluations": evaluations,
        "compute_share": share,
        "score": 0.5,
        "score_low": 0.4,
        "score_high": 0.6,
    }


@pytest.mark.parametrize(("share", "axis"), [(None, "evaluated positions"), (0.1, "% of the victim's evaluations")])
def test_an_exploiter_is_drawn_whether_or_not_its_victims_compute_is_known(
    share: float | None, axis: str, tmp_path: Path
) -> None:
    out = tmp_path / "p.svg"
    exploiter_picture(out, [scored(b, e, share) for b in range(7) for e in (1000, 2000)], "title")
    drawn = out.read_text()
    assert f"exploiter's training, {axis}" in drawn
    assert all(f"<!-- victim: {b} simulations -->" in drawn for b in range(1, 7)), "every budget has its line"


def test_every_agent_has_its_line(tmp_path: Path) -> None:
    row = {"attack": "pgd", "epsilon": 0.5, "return_mean": 1.0, "return_low": 0.5, "return_high": 1.5}
    names = [f"agent {i}" for i in range(8)]
    budgets_picture(tmp_path / "p.svg", {name: [row] for name in names}, "title")
    drawn = (tmp_path / "p.svg").read_text()
    assert all(f"<!-- {name} -->" in drawn for name in names)
