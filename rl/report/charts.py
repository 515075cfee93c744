"""Curves of runs as the page's script reads them: plain JSON values, thinned to what a screen can show."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from rl.curves import Panel, Run, mean_curve, smooth
from rl.runtime.metrics import METRICS, metric

POINTS = 400  # of a noisy curve; evaluations are kept all
SMOOTHED_FROM = 40  # points, as in rl/plot.py
DIGITS = 5  # of a number, which screens cannot tell apart beyond
AXES = {
    "seconds": "wall time",
    "evaluations": "positions evaluated",
    "env_steps": "moves or steps",
    "learner_steps": "updates",
}


def groups_of(runs: Sequence[Run]) -> list[list[int]]:
    """Numbers of the runs that differ in nothing but their seed, together; runs without a configuration are alone."""
    found: dict[str, list[int]] = {}
    for number, run in enumerate(runs):
        kept = {name: value for name, value in run.config.items() if name not in ("seed", "wandb")}
        found.setdefault(json.dumps(kept, sort_keys=True) if kept else f"run {number}", []).append(number)
    return list(found.values())


def run_data(run: Run, panels: Sequence[Panel]) -> dict[str, Any]:
    """Clock and metrics of a run: of each metric the rows that have it, its values and, of a noisy one, a mean.

    {"clock": {axis: [R]}, "metrics": {name: {"rows": [P], "y": [P], "smooth": [P] or absent}}}
    """
    evaluated = {i for i, row in enumerate(run.rows) if any(name.startswith("eval/") for name in row)}
    others = [i for i in range(len(run.rows)) if i not in evaluated]
    step = max(1, -(-len(others) // POINTS))
    kept = sorted(evaluated | set(others[::step]) | set(others[-1:]))
    place = {row: number for number, row in enumerate(kept)}
    names: dict[str, bool] = {}
    for panel in panels:
        for curve in panel.curves:
            names |= {curve.metric: panel.noisy}
            names |= {name: False for name in (curve.low, curve.high) if name}
    metrics: dict[str, Any] = {}
    for name, noisy in names.items():
        index = [i for i, row in enumerate(run.rows) if np.isfinite(row.get(name, np.nan))]
        if not index:
            continue
        values = np.array([run.rows[i][name] for i in index])
        shown = [n for n, i in enumerate(index) if i in place]
        found = {"rows": [place[index[n]] for n in shown], "y": _numbers(values[shown])}
        if noisy and len(index) >= SMOOTHED_FROM:
            found["smooth"] = _numbers(smooth(values)[shown])
        metrics[name] = found
    return {"clock": {axis: _numbers([run.rows[i][axis] for i in kept]) for axis in AXES}, "metrics": metrics}


def group_data(runs: Sequence[Run], panels: Sequence[Panel]) -> dict[str, Any]:
    """Means over the seeds of one group: {axis: {metric: {"x", "mean", "low", "high"}}}, each a list."""
    found: dict[str, Any] = {axis: {} for axis in AXES}
    for panel in panels:
        for curve in panel.curves:
            if not all(run.has(curve.metric) for run in runs):
                continue
            for axis in AXES:
                series = [run.series(axis, curve.metric) for run in runs]
                if panel.noisy:
                    series = [(x, smooth(y) if len(y) >= SMOOTHED_FROM else y) for x, y in series]
                mean = mean_curve(series)
                low, high = (np.clip(mean.low, 0, 1), np.clip(mean.high, 0, 1)) if panel.share else mean[2:]
                keys = ("x", "mean", "low", "high")
                values = map(_numbers, (mean.x, mean.mean, low, high))
                found[axis][curve.metric] = dict(zip(keys, values))
    return found


def panel_data(panel: Panel) -> dict[str, Any]:
    """A panel with the units and meanings of its metrics."""
    return {
        "title": panel.title,
        "share": panel.share,
        "from_zero": panel.from_zero,
        "noisy": panel.noisy,
        "unit": metric(panel.curves[0].metric).unit,
        "meanings": [
            {"label": curve.label or panel.title, "name": curve.metric, "meaning": metric(curve.metric).meaning}
            for curve in panel.curves
        ],
        "curves": [curve._asdict() for curve in panel.curves],
    }


def axis_data() -> list[dict[str, str]]:
    return [{"name": name, "label": label, "meaning": METRICS[name].meaning} for name, label in AXES.items()]


def _numbers(values: Any) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in np.asarray(values, float)]
