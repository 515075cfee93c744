"""Curves of runs, whoever draws them: what is read, which panels there are, and how numbers are written.

PANELS are declared here once; ``fuseki plot`` draws them with matplotlib, ``fuseki report`` in a page, and Weights &
Biases as a workspace.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from rl.runtime.metrics import CLOCK, FILE, METRICS, read_metrics
from rl.storage import Place, Unreachable, place


class Curve(NamedTuple):
    metric: str
    label: str = ""  # within its panel; "" where the panel's title says it all
    low: str = ""  # metrics of an interval around it
    high: str = ""


@dataclass(frozen=True)
class Panel:
    title: str
    curves: tuple[Curve, ...]
    share: bool = False  # fractions in [0, 1], shown in per cent
    from_zero: bool = False  # the axis begins at 0
    noisy: bool = True  # measured all the time and smoothed; few and exact ones (evaluations) have markers instead


@dataclass(frozen=True)
class Run:
    name: str
    subtitle: str  # what it was and how far it came
    rows: list[dict[str, float]]
    folder: Place = Path()
    config: dict[str, Any] = field(default_factory=dict)  # as it was saved; empty where that cannot be read

    def series(self, x: str, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Finite values of a metric over the clock's part ``x``."""
        pairs = [(row[x], row[name]) for row in self.rows if math.isfinite(row.get(name, math.nan))]
        array = np.asarray(pairs, dtype=float).reshape(-1, 2)
        return array[:, 0], array[:, 1]

    def has(self, name: str) -> bool:
        return any(math.isfinite(row.get(name, math.nan)) for row in self.rows)


LEARNING = (
    Panel("Policy loss", (Curve("learner/policy_loss"),)),
    Panel("Value loss", (Curve("learner/value_loss"),)),
    Panel(
        "Policy",
        (Curve("learner/policy_entropy", "entropy"), Curve("learner/policy_kl", "KL to target")),
        from_zero=True,
    ),
    Panel(
        "Norm of the gradient",
        (
            Curve("learner/gradient_norm", "whole"),
            Curve("learner/gradient_norm_first", "first layer"),
            Curve("learner/gradient_norm_last", "policy's last layer"),
        ),
        from_zero=True,
    ),
    Panel("Dead units", (Curve("learner/dead_units"),), share=True),
    Panel("Value accuracy", (Curve("learner/value_accuracy"),), share=True),
    Panel("Explained variance", (Curve("learner/explained_variance"),)),
)
SELF_PLAY = (
    Panel(
        "Self-play games",
        (
            Curve("selfplay/first_player_score", "first player's score"),
            Curve("selfplay/draw_share", "draws"),
            Curve("selfplay/proven_share", "proven moves"),
        ),
        share=True,
    ),
    Panel("Length of games", (Curve("selfplay/game_length"),)),
    Panel("Return of training episodes", (Curve("rollout/return"),)),
    Panel("Length of training episodes", (Curve("rollout/length"),), from_zero=True),
)
SPEED = (
    Panel("Positions evaluated", (Curve("selfplay/evaluations_per_second"),), from_zero=True),
    Panel("Steps of the environments", (Curve("rollout/steps_per_second"),), from_zero=True),
    Panel("Games finished", (Curve("selfplay/games_per_second"),), from_zero=True),
    Panel("Policy lag", (Curve("learner/lag_mean", "mean"), Curve("learner/lag_max", "max")), from_zero=True),
    Panel("Reuse", (Curve("experience/reuse"),), from_zero=True, noisy=False),
    Panel(
        "Where time goes",
        (
            Curve("selfplay/evaluator_share", "actors in the network"),
            Curve("rollout/evaluator_share", "actors in the network"),
            Curve("rollout/environment_share", "actors in the environments"),
            Curve("learner/wait_fraction", "learner waiting"),
        ),
        share=True,
    ),
)


def read_runs(run_dirs: Sequence[str | Path]) -> list[Run]:
    """Rows and names of runs, local or by URL. Raises ValueError, in one sentence, for a folder without metrics."""
    try:
        folders = [place(folder).resolve() for folder in run_dirs]
        return _read_runs(run_dirs, folders)
    except Unreachable as error:
        raise ValueError(str(error)) from error


def _read_runs(run_dirs: Sequence[str | Path], folders: Sequence[Place]) -> list[Run]:
    names = [folder.name for folder in folders]
    runs = []
    for given, folder, name in zip(run_dirs, folders, names):
        if not (folder / FILE).is_file():
            raise ValueError(f"{str(given)!r} is no run folder: it holds no {FILE}")
        rows = [row for row in read_metrics(folder) if all(part in row for part in CLOCK)]
        if not rows:
            raise ValueError(f"the run in {str(given)!r} has no metrics yet")
        unique = name if names.count(name) == 1 else f"{folder.parent.name}/{name}"
        last = rows[-1]
        facts = [
            duration(last["seconds"]),
            f"{last['games']:,.0f} games",
            f"{last['learner_steps']:,.0f} updates",
            f"{last['evaluations']:,.0f} evaluated positions",
        ]
        config = saved_config(folder)
        environment = [str(config["env"])] if "env" in config else []
        runs.append(Run(unique, ", ".join([*environment, *facts]), rows, folder, config))
    return runs


def saved_config(folder: Place) -> dict[str, Any]:
    """The run's configuration; empty where it cannot be read, since it only says what the curves are of."""
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text())
    except (OSError, yaml.YAMLError):
        return {}
    return config if isinstance(config, dict) else {}


def choose_panels(runs: Sequence[Run]) -> list[Panel]:
    """The panels that at least one run has data for, each with the curves that exist. Raises ValueError without any."""
    return [panel for panels in choose_sections(runs).values() for panel in panels]


def choose_sections(runs: Sequence[Run]) -> dict[str, list[Panel]]:
    """The same in sections, by their titles."""
    accuracy = Panel(
        "Best move played, by solver truth",
        (Curve("eval/accuracy_search", "with search"), Curve("eval/accuracy_network", "network alone")),
        share=True,
        noisy=False,
    )
    elo = Panel("Elo", (Curve("eval/elo", "", "eval/elo_low", "eval/elo_high"),), noisy=False)
    returned = Curve("eval/return_mean", "", "eval/return_low", "eval/return_high")
    episodes = Panel("Return of evaluation episodes", (returned,), noisy=False)
    sections = {
        "Strength": (accuracy, episodes, *score_panels(runs), elo),
        "Learning": LEARNING,
        "Play": SELF_PLAY,
        "Speed": SPEED,
    }
    found: dict[str, list[Panel]] = {}
    for title, wanted in sections.items():
        panels = []
        for panel in wanted:
            curves = tuple(c for c in panel.curves if any(run.has(c.metric) for run in runs))
            if curves:
                panels.append(replace(panel, curves=curves))
        if panels:
            found[title] = panels
    if not found:
        raise ValueError(f"the metrics of {', '.join(run.name for run in runs)} hold nothing to plot yet")
    return found


def score_panels(runs: Sequence[Run]) -> list[Panel]:
    """One run: all opponents in one panel. Several: a panel an opponent, where bands of three runs stay readable."""
    prefix = "eval/score/"
    names = {name: None for run in runs for row in run.rows for name in row if name.startswith(prefix)}
    curves = []
    for name in names:
        opponent = name.removeprefix(prefix)
        curves.append(Curve(name, f"against {opponent}", f"eval/score_low/{opponent}", f"eval/score_high/{opponent}"))
    if len(runs) == 1:
        groups = [tuple(curves[i : i + 3]) for i in range(0, len(curves), 3)]  # what a legend has room for
        title = "Score, with 95 % intervals"
        if len(curves) == 1:  # then there is no legend
            title = f"Score {curves[0].label}"
        return [Panel(title, group, share=True, from_zero=True, noisy=False) for group in groups]
    return [Panel(f"Score {c.label}", (c._replace(label=""),), share=True, from_zero=True, noisy=False) for c in curves]


def smooth(values: np.ndarray) -> np.ndarray:
    """Centred moving average over up to 1/25 of the curve, at least 5 points.

    It is narrower at the ends, and in the beginning, where learning curves are steep, it widens only gradually.
    """
    index = np.arange(len(values))
    half = np.clip(index // 4, 2, max(2, len(values) // 50))
    total = np.concatenate([[0.0], np.cumsum(values)])
    first, last = np.maximum(index - half, 0), np.minimum(index + half, len(values) - 1)
    return (total[last + 1] - total[first]) / (last + 1 - first)


def axis(x: str, largest: float) -> tuple[float, str]:
    """What to divide by, and the label, for the horizontal axis."""
    if x == "seconds":
        if largest >= 2 * 3600:
            return 3600.0, "wall time (hours)"
        return (60.0, "wall time (minutes)") if largest >= 120 else (1.0, "wall time (seconds)")
    return 1.0, METRICS[x].meaning


def short_number(value: float, position: float | None = None) -> str:
    """A tick's label: 0.25, 1,200, 15k, 2.5M. Matplotlib calls it as a formatter, with the tick's position."""
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if letter == 'k' else limit):g}{letter}"
    return f"{value:,.6g}"


def duration(seconds: float) -> str:
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"


def student_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean of one number a seed, and its 95 % interval by Student's t; of a single seed the interval is infinite."""
    from scipy.stats import t

    array = np.asarray(values, float)
    mean, n = float(array.mean()), len(array)
    if n < 2:
        return mean, -math.inf, math.inf
    half = float(t.ppf(0.975, n - 1)) * float(array.std(ddof=1)) / math.sqrt(n)
    return mean, mean - half, mean + half


class MeanCurve(NamedTuple):
    """The mean of several seeds' curves, with its 95 % interval where there are several."""

    x: np.ndarray  # [P]
    mean: np.ndarray  # [P]
    low: np.ndarray  # [P]
    high: np.ndarray  # [P]


def mean_curve(curves: Sequence[tuple[np.ndarray, np.ndarray]], points: int = 60) -> MeanCurve:
    """Curves (x, y) of several seeds, brought to common x by linear interpolation, where all of them have values.

    A single curve stays as it is, its interval empty. Raises ValueError without a curve.
    """
    if not curves:
        raise ValueError("there is no curve to take the mean of")
    if len(curves) == 1:
        x, y = curves[0]
        return MeanCurve(x, y, y, y)
    first, last = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    grid = np.linspace(first, last, points) if last > first else np.array([first])
    rows = np.stack([np.interp(grid, x, y) for x, y in curves])
    intervals = np.array([student_interval(column) for column in rows.T])
    return MeanCurve(grid, *intervals.T)
