"""Learning curves of one or several runs in one picture (matplotlib, the extra ``plot``).

``rl/curves.py`` says what is drawn. With one run each curve of a panel has its own colour; with several, the colour is
the run and the line style the curve. Noisy curves are drawn twice, faint as measured and strong as a moving average.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rl.curves import Panel, Run, axis, choose_panels, read_runs, short_number, smooth
from rl.runtime.metrics import CLOCK, metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart with any kind of colour vision; their yellow is too light for lines on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES: tuple[Any, ...] = ("-", "--", ":", "-.")
SMOOTHED_FROM = 40  # points; shorter curves are drawn as they are
FEW = 40  # points; up to here each has a marker
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "svg.fonttype": "none",
}


def plot_runs(run_dirs: Sequence[str | Path], out: Path, x: str = "seconds") -> Path:
    """Draw the curves of one or several runs into the picture ``out``; returns its path (".png" added if it has none).

    ``x`` is the part of the clock on the horizontal axis: seconds (shown as minutes or hours where there are many),
    env_steps, games, learner_steps or evaluations. Raises ValueError for another one, for a folder without metrics and
    for a kind of picture that matplotlib cannot write; ImportError where matplotlib is missing; OSError when ``out``
    cannot be written.
    """
    if x not in CLOCK:
        raise ValueError(f"the horizontal axis cannot be {x!r}; choose one of {', '.join(CLOCK)}")
    if not run_dirs:
        raise ValueError("give at least one run folder to plot")
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plotting needs matplotlib: pip install 'fuseki[plot]'") from error
    runs = read_runs(run_dirs)
    panels = choose_panels(runs)
    scale, label = axis(x, max(row[x] for run in runs for row in run.rows))
    out = Path(out) if Path(out).suffix else Path(out).with_suffix(".png")
    with rc_context(STYLE):
        columns = min(3, len(panels))
        lines = math.ceil(len(panels) / columns)
        head = 0.8 if len(runs) == 1 else 0.6 + 0.22 * len(runs)  # inches for the title and the legend of runs
        figure = Figure(figsize=(5.0 * columns, 3.0 * lines + head), dpi=150)
        FigureCanvasAgg(figure)  # no window, no global state of pyplot
        figure.set_layout_engine(
            "constrained", rect=(0, 0, 1, 1 - head / (3.0 * lines + head)), hspace=0.06, wspace=0.04
        )
        grid = figure.subplots(lines, columns, squeeze=False).flatten()
        for axes, panel in zip(grid, panels):
            draw(axes, panel, runs, x, scale)
        for axes in grid[len(panels) :]:
            axes.remove()
        for column in range(columns):  # the lowest panel of each column carries the axis' name
            lowest = max(i for i in range(len(panels)) if i % columns == column)
            grid[lowest].set_xlabel(label)
        write_head(figure, runs)
        figure.savefig(out, dpi="figure")
    return out


def draw(axes: Axes, panel: Panel, runs: Sequence[Run], x: str, scale: float) -> None:
    """Draw one panel; ``scale`` turns the clock's unit into the axis' one."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    several = len(runs) > 1
    lowest = math.inf
    for r, run in enumerate(runs):
        for c, curve in enumerate(panel.curves):
            at, values = run.series(x, curve.metric)
            if not len(at):
                continue
            at = at / scale
            colour, style = (run_colour(r, len(runs)), STYLES[c % len(STYLES)]) if several else (COLOURS[c], "-")
            marker = "o" if len(at) <= FEW and not (panel.noisy and len(at) > 10) else None
            strong: dict[str, Any] = {
                "color": colour,
                "linestyle": style,
                "linewidth": 1.8,
                "marker": marker,
                "markersize": 3.5,
            }
            shown = values
            if panel.noisy and len(at) >= SMOOTHED_FROM:
                axes.plot(at, values, color=colour, linewidth=0.7, alpha=0.15 if several else 0.25)
                shown = smooth(values)
            axes.plot(at, shown, **strong, clip_on=False, zorder=3)
            lowest = min(lowest, float(values.min()))
            if curve.low:
                low, high = run.series(x, curve.low)[1], run.series(x, curve.high)[1]
                if len(low) == len(high) == len(at):
                    axes.fill_between(at, low, high, color=colour, alpha=0.13, linewidth=0)
                    lowest = min(lowest, float(low.min()))
    axes.set_title(panel.title, pad=22)
    first = metric(panel.curves[0].metric)
    if panel.share:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_ylim(0.0 if panel.from_zero else min(0.9, max(0.0, math.floor(lowest * 10) / 10)), 1.0)
    else:
        axes.yaxis.set_major_formatter(short_number)
        axes.set_ylabel(first.unit)
        if panel.from_zero:
            axes.set_ylim(bottom=0)
    # The same range in all panels, also in those whose metric was measured last a while ago.
    end = max((float(at[-1]) for at, _ in (run.series(x, "games") for run in runs) if len(at)), default=0.0)
    axes.set_xlim(0, end / scale or None)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 3, 5, 10]))
    axes.xaxis.set_major_formatter(short_number)
    # Between title and curves, so that it never lies over data: the legend, or what the only curve means.
    if len(panel.curves) == 1:
        axes.annotate(
            first.meaning, (0, 1), (0, 9), "axes fraction", "offset points", fontsize=8.5, color="0.4", in_layout=False
        )
        return
    handles = [
        Line2D([], [], color="0.3" if several else COLOURS[c], linestyle=STYLES[c % len(STYLES)] if several else "-")
        for c in range(len(panel.curves))
    ]
    legend = axes.legend(
        handles,
        [curve.label for curve in panel.curves],
        loc="lower left",
        bbox_to_anchor=(0, 1.035),
        ncols=len(handles),
        frameon=False,
        fontsize=9,
        handlelength=1.8,
        columnspacing=1.2,
        borderpad=0,
        borderaxespad=0,
    )
    legend.set_in_layout(False)


def write_head(figure: Figure, runs: Sequence[Run]) -> None:
    """The title: the run and its facts, or the legend of several runs."""
    from matplotlib.lines import Line2D

    height = figure.get_size_inches()[1]
    if len(runs) == 1:
        figure.text(0.01, 1 - 0.12 / height, runs[0].name, fontsize=15, fontweight="bold", va="top")
        figure.text(0.01, 1 - 0.42 / height, runs[0].subtitle, fontsize=10, color="0.35", va="top")
        return
    figure.text(0.01, 1 - 0.12 / height, f"{len(runs)} runs", fontsize=15, fontweight="bold", va="top")
    handles = [
        Line2D([], [], color=run_colour(i, len(runs)), linewidth=3, label=f"{run.name} ({run.subtitle})")
        for i, run in enumerate(runs)
    ]
    legend = figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.005, 1 - 0.40 / height), frameon=False)
    legend.set_in_layout(False)


def run_colour(number: int, runs: int) -> Any:
    """Colours told apart by everyone; where they run out, steps of a map that is even in lightness."""
    if runs <= len(COLOURS):
        return COLOURS[number]
    from matplotlib import colormaps

    return colormaps["cividis"](number / (runs - 1))
