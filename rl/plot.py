"""Learning curves of one or several runs in one picture (matplotlib, the extra ``plot``).

PANELS declares what is drawn. With one run each curve of a panel has its own colour; with several, the colour is the
run and the line style the curve. Noisy curves are drawn twice, faint as measured and strong as a moving average.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import yaml

from rl.runtime.metrics import CLOCK, FILE, METRICS, metric, read_metrics
from rl.storage import Place, Unreachable, place

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart with any kind of colour vision; their yellow is too light for lines on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES: tuple[Any, ...] = ("-", "--", ":", "-.")
SMOOTHED_FROM = 40  # points; shorter curves are drawn as they are
FEW = 40  # points; up to here each has a marker


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


class Run(NamedTuple):
    name: str
    subtitle: str  # what it was and how far it came
    rows: list[dict[str, float]]

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
    style: dict[Any, Any] = {
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
    with rc_context(style):
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
        runs.append(Run(unique, ", ".join([*environment(folder), *facts]), rows))
    return runs


def environment(folder: Place) -> list[str]:
    """The run's environment as its config names it; nothing where that cannot be read (it is only for the title)."""
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text())
        return [str(config["env"])]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return []


def choose_panels(runs: Sequence[Run]) -> list[Panel]:
    """The panels that at least one run has data for, each with the curves that exist."""
    accuracy = Panel(
        "Best move played, by solver truth",
        (Curve("eval/accuracy_search", "with search"), Curve("eval/accuracy_network", "network alone")),
        share=True,
        noisy=False,
    )
    elo = Panel("Elo", (Curve("eval/elo", "", "eval/elo_low", "eval/elo_high"),), noisy=False)
    returned = Curve("eval/return_mean", "", "eval/return_low", "eval/return_high")
    episodes = Panel("Return of evaluation episodes", (returned,), noisy=False)
    wanted = (accuracy, episodes, *score_panels(runs), elo, *LEARNING, *SELF_PLAY, *SPEED)
    panels = []
    for panel in wanted:
        curves = tuple(c for c in panel.curves if any(run.has(c.metric) for run in runs))
        if curves:
            panels.append(Panel(panel.title, curves, panel.share, panel.from_zero, panel.noisy))
    if not panels:
        raise ValueError(f"the metrics of {', '.join(run.name for run in runs)} hold nothing to plot yet")
    return panels


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
        return [Panel("Score, with 95 % intervals", group, share=True, from_zero=True, noisy=False) for group in groups]
    return [Panel(f"Score {c.label}", (c._replace(label=""),), share=True, from_zero=True, noisy=False) for c in curves]


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
