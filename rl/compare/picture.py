"""Strength against evaluations and against wall time, a line of two panels for each environment (matplotlib)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rl.curves import axis, mean_curve, short_number
from rl.plot import STYLE, run_colour

TITLES = {
    "accuracy": "Best moves by the network alone, by solver truth",
    "elo": "Elo, where the random player has 0",
    "return": "Return of evaluation episodes",
}


def draw(result: dict[str, Any], out: Path) -> None:
    """Write the picture. Raises ImportError where matplotlib is missing, OSError when ``out`` cannot be written."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import PercentFormatter

    environments = result["environments"]
    seeds = len(result["seeds"])
    labels = list(dict.fromkeys(row["label"] for found in environments for row in found["contenders"]))
    colours = {label: run_colour(i, len(labels)) for i, label in enumerate(labels)}
    height = 3.2 * len(environments) + 0.5 + 0.22 * len(labels)
    with rc_context(STYLE):
        figure = Figure(figsize=(10.0, height), dpi=150)
        FigureCanvasAgg(figure)
        head = (0.4 + 0.22 * len(labels)) / height
        figure.set_layout_engine("constrained", rect=(0, 0, 1, 1 - head), hspace=0.08)
        grid = figure.subplots(len(environments), 2, squeeze=False, sharey="row")
        for line, found in zip(grid, environments):
            for axes, x in zip(line, ("evaluations", "seconds")):
                rows = found["contenders"]
                largest = max(p[x] for row in rows for r in row["runs"] for p in r["points"])
                scale, name = axis(x, largest)
                for row in rows:
                    colour = colours[row["label"]]
                    curves = [
                        (np.array([p[x] for p in r["points"]]), np.array([p["strength"] for p in r["points"]]))
                        for r in row["runs"]
                    ]
                    mean = mean_curve(curves)
                    for at, values in curves if len(curves) > 1 else []:
                        axes.plot(at / scale, values, color=colour, alpha=0.3, linewidth=0.8)
                    axes.plot(mean.x / scale, mean.mean, color=colour, linewidth=2)
                    low, high = mean.low, mean.high
                    if found["strength"] == "accuracy":
                        low, high = np.clip(low, 0, 1), np.clip(high, 0, 1)
                    axes.fill_between(mean.x / scale, low, high, color=colour, alpha=0.15, linewidth=0)
                reached = [p["strength"] for row in rows for r in row["runs"] for p in r["points"]]
                margin = 0.08 * (max(reached) - min(reached)) or 1.0
                # By the runs themselves: the band of a few seeds that differ may be wider than all that happened.
                axes.set_ylim(min(reached) - margin, max(reached) + margin)
                axes.set_xlim(left=0)
                axes.set_xlabel(name)
                axes.xaxis.set_major_formatter(short_number)
                if found["strength"] == "accuracy":
                    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
            line[0].set_title(f"{found['environment']}: {TITLES[found['strength']]}")
        handles = [Line2D([], [], color=colours[label], linewidth=3, label=label) for label in labels]
        said = f"Mean of {seeds} seeds, 95 % interval by Student's t" if seeds > 1 else "One seed"
        figure.text(0.01, 1 - 0.1 / height, said, fontsize=10, color="0.35", va="top")
        place = (0.003, 1 - 0.28 / height)
        legend = figure.legend(handles=handles, loc="upper left", bbox_to_anchor=place, frameon=False)
        legend.set_in_layout(False)
        figure.savefig(out, dpi="figure")
