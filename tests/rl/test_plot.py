"""Curves of one and several runs: what is drawn, with which numbers, and what is refused."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.lines import Line2D

from rl.curves import axis, choose_panels, read_runs, short_number, smooth
from rl.plot import COLOURS, plot_runs


def write_run(folder: Path, rows: int = 60, every: float = 10.0, opponents: tuple[str, ...] = ("random",)) -> Path:
    """A run whose numbers follow from its clock, so that drawn curves can be checked."""
    folder.mkdir(parents=True)
    lines = []
    for i in range(1, rows + 1):
        row: dict[str, float | None] = {
            "env_steps": 100 * i,
            "games": 10 * i,
            "learner_steps": 5 * i,
            "evaluations": 1000 * i,
            "seconds": every * i,
        }
        row |= {
            "learner/policy_loss": 1 + 1 / i,
            "learner/value_loss": None if i == 3 else 1 / i,
            "learner/policy_entropy": 2 / i,
            "learner/policy_kl": 0.5 / i,
            "learner/lag_mean": 3.0,
            "learner/lag_max": 9.0,
            "experience/reuse": min(8.0, i),
            "selfplay/evaluations_per_second": 1000 / every,
            "selfplay/games_per_second": 10 / every,
            "selfplay/evaluator_share": 0.9,
        }
        if i % 10 == 0:
            row |= {"eval/accuracy_network": i / rows / 2, "eval/accuracy_search": i / rows}
            row |= {"eval/elo": 10.0 * i, "eval/elo_low": 10.0 * i - 50, "eval/elo_high": 10.0 * i + 50}
            for opponent in opponents:
                row |= {
                    f"eval/score/{opponent}": i / rows,
                    f"eval/score_low/{opponent}": 0.9 * i / rows,
                    f"eval/score_high/{opponent}": min(1.0, 1.1 * i / rows),
                }
        lines.append(json.dumps(row))
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved, to look into."""
    kept: list[Figure] = []
    save = Figure.savefig

    def keep(self: Figure, *args, **kwargs):
        kept.append(self)
        return save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return kept


def points(line: Line2D) -> tuple[list[float], list[float]]:
    return np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()


def titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


def test_one_run_is_drawn_with_its_own_numbers(tmp_path: Path, figures: list[Figure]) -> None:
    run = write_run(tmp_path / "run", opponents=("random", "mcts:100"))
    out = plot_runs([run], tmp_path / "curves.png")
    assert out == tmp_path / "curves.png"
    picture = imread(out)
    assert picture.shape[0] > 1000
    assert picture.shape[1] > 2000
    (figure,) = figures
    shown = dict(zip(titles(figure), figure.axes))
    assert {"Elo", "Policy loss", "Value loss", "Policy", "Policy lag", "Reuse", "Where time goes"} <= set(shown)
    truth = shown["Best move played, by solver truth"]
    search, network = truth.lines
    assert points(search)[0] == pytest.approx([100 / 60 * i for i in range(1, 7)])  # minutes
    assert points(search)[1] == pytest.approx([i / 6 for i in range(1, 7)])
    assert points(network)[1] == pytest.approx([i / 12 for i in range(1, 7)])
    scores = shown["Score, with 95 % intervals"]
    legend = scores.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["against random", "against mcts:100"]
    assert len(scores.collections) == 2  # a band each
    raw, smoothed = shown["Value loss"].lines
    assert len(points(raw)[0]) == 59  # the row in which it was null is left out
    assert len(points(smoothed)[0]) == 59
    assert shown["Policy loss"].get_ylabel() == "nats"
    assert shown["Positions evaluated"].get_ylabel() == "positions/s"
    assert {axes.get_xlabel() for axes in figure.axes} == {"", "wall time (minutes)"}


def test_several_runs_have_a_colour_each_everywhere(tmp_path: Path, figures: list[Figure]) -> None:
    runs = [write_run(tmp_path / f"run{i}", rows=20 * (i + 1)) for i in range(3)]
    plot_runs(runs, tmp_path / "curves.png", x="evaluations")
    (figure,) = figures
    shown = dict(zip(titles(figure), figure.axes))
    score = shown["Score against random"]
    assert [line.get_color() for line in score.lines] == list(COLOURS[:3])
    assert [points(line)[0][-1] for line in score.lines] == [20_000, 40_000, 60_000]
    lag = shown["Policy lag"]
    strong = [line for line in lag.lines if line.get_alpha() is None]
    assert [(line.get_color(), line.get_linestyle()) for line in strong] == [
        (colour, style) for colour in COLOURS[:3] for style in ("-", "--")
    ]
    (legend,) = figure.legends
    assert [text.get_text().split(" ")[0] for text in legend.get_texts()] == ["run0", "run1", "run2"]


def test_no_legend_and_no_text_lies_over_curves(tmp_path: Path, figures: list[Figure]) -> None:
    runs = [write_run(tmp_path / f"run{i}", opponents=("random", "mcts:100")) for i in range(4)]
    plot_runs(runs, tmp_path / "several.png")
    plot_runs(runs[:1], tmp_path / "one.png")
    for figure in figures:
        inside = [axes.get_window_extent() for axes in figure.axes]
        words = [*figure.legends, *figure.texts]
        words += [legend for axes in figure.axes if (legend := axes.get_legend())]
        words += [text for axes in figure.axes for text in axes.texts]
        boxes = [word.get_window_extent() for word in words]
        assert len(boxes) > 10
        for word, box in zip(words, boxes):
            assert not any(box.overlaps(area) for area in inside), word
            assert box.x1 <= figure.bbox.x1, word  # nothing is cut off at the right
        heads = [w.get_window_extent() for w in [*figure.legends, *figure.texts]]
        for axes in figure.axes:
            title = axes.title if axes.get_title() else axes._left_title  # type: ignore[attr-defined]
            assert not any(title.get_window_extent().overlaps(head) for head in heads), axes.get_title(loc="left")


def test_a_run_of_two_rows_is_drawn_with_markers(tmp_path: Path, figures: list[Figure]) -> None:
    plot_runs([write_run(tmp_path / "run", rows=2)], tmp_path / "curves.png")
    (figure,) = figures
    assert "Elo" not in titles(figure)  # never evaluated
    for axes in figure.axes:
        assert all(line.get_marker() == "o" for line in axes.lines)


@pytest.mark.parametrize("suffix", [".svg", ".pdf"])
def test_other_kinds_of_pictures(tmp_path: Path, suffix: str) -> None:
    out = plot_runs([write_run(tmp_path / "run", rows=2)], tmp_path / f"curves{suffix}")
    assert out.stat().st_size > 5000
    assert out.read_bytes()[:5] == (b"%PDF-" if suffix == ".pdf" else b"<?xml")


def test_a_picture_without_ending_becomes_a_png(tmp_path: Path) -> None:
    out = plot_runs([write_run(tmp_path / "run", rows=2)], tmp_path / "curves")
    assert out == tmp_path / "curves.png"
    assert out.is_file()


def test_what_cannot_be_drawn_is_refused_in_a_sentence(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", rows=2)
    out = tmp_path / "curves.png"
    with pytest.raises(ValueError, match="cannot be 'steps'; choose one of env_steps"):
        plot_runs([run], out, x="steps")
    with pytest.raises(ValueError, match=r"is no run folder: it holds no metrics\.jsonl"):
        plot_runs([run, tmp_path], out)
    with pytest.raises(ValueError, match="at least one run"):
        plot_runs([], out)
    with pytest.raises(ValueError, match="'xyz' is not supported"):
        plot_runs([run], tmp_path / "curves.xyz")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "metrics.jsonl").write_text('{"env_steps": 1, "ga')  # killed in its first line
    with pytest.raises(ValueError, match="has no metrics yet"):
        plot_runs([empty], out)
    clock = {"env_steps": 1, "games": 0, "learner_steps": 0, "evaluations": 0, "seconds": 1}
    (empty / "metrics.jsonl").write_text(json.dumps(clock) + "\n")
    with pytest.raises(ValueError, match="nothing to plot yet"):
        plot_runs([empty], out)
    assert not out.exists()


def test_without_matplotlib_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "run", rows=2)
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"] + ["matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install 'fuseki\[plot\]'"):
        plot_runs([run], tmp_path / "curves.png")


def test_many_opponents_and_many_runs_find_room(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", rows=10, opponents=tuple(f"mcts:{n}" for n in range(9)))
    panels = [panel for panel in choose_panels(read_runs([one])) if panel.title.startswith("Score")]
    assert sum(len(panel.curves) for panel in panels) == 9
    assert all(len(panel.curves) <= 3 for panel in panels)  # as many as their legend has room for
    runs = [write_run(tmp_path / f"{i}" / "same_name", rows=10) for i in range(9)]
    assert [run.name for run in read_runs(runs)] == [f"{i}/same_name" for i in range(9)]
    assert plot_runs(runs, tmp_path / "curves.png").is_file()


def test_smoothing_keeps_constants_and_straight_lines_and_calms_noise() -> None:
    np.testing.assert_allclose(smooth(np.full(50, 3.0)), 3.0)
    line = np.arange(200.0)
    np.testing.assert_allclose(smooth(line)[10:-10], line[10:-10])
    steep = 10.0 * np.exp(-np.arange(5000) / 20)  # most is learnt in the first hundredth
    assert np.abs(smooth(steep) - steep).max() < 1.0
    noise = np.random.default_rng(0).normal(size=1000)
    assert smooth(noise).std() < 0.3 * noise.std()


def test_the_axis_shows_time_in_the_unit_that_fits() -> None:
    assert axis("seconds", 100) == (1.0, "wall time (seconds)")
    assert axis("seconds", 1800) == (60.0, "wall time (minutes)")
    assert axis("seconds", 36_000) == (3600.0, "wall time (hours)")
    assert axis("learner_steps", 1e6) == (1.0, "updates of the network")
    assert [short_number(v) for v in (0, 0.25, 1200, 15_000, 2.5e6, -3e9)] == [
        "0",
        "0.25",
        "1,200",
        "15k",
        "2.5M",
        "-3G",
    ]
    assert math.isclose(axis("env_steps", 1)[0], 1)
