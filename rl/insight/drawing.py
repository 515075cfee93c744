"""Pictures of what ``rl.insight`` finds (matplotlib, which captum brings along)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.game import Game
from rl.insight.attention import AttentionMaps
from rl.insight.questions import stones

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, told apart with any kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
FIRST, SECOND = "#1a1a1a", "#ffffff"  # stones, with a grey edge


def _colours(count: int) -> list[Any]:
    """As many colours; beyond those of COLOURS from dark to light."""
    from matplotlib import colormaps

    return list(COLOURS[:count]) if count <= len(COLOURS) else [colormaps["viridis"](i / count) for i in range(count)]


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure  # without pyplot, and so without a global state or a display

    return Figure((width, height), dpi=130, layout="constrained")


def draw_board(
    axes: Axes,
    game: Game,
    state: np.ndarray,
    heat: np.ndarray | None = None,
    *,
    signed: bool = False,
    marks: Sequence[int] = (),
    values: bool = False,
) -> Any:
    """The position with ``heat`` [H, W] under its stones; ``marks`` are points with a cross. Returns the image.

    Signed heat is blue where it speaks for, red where it speaks against; other heat is darker where it is more.
    ``values`` writes the largest into the points.
    """
    height, width = game.board_shape
    heat = np.zeros((height, width)) if heat is None else heat
    largest = float(np.abs(heat).max()) or 1.0
    options: dict[str, Any] = (
        {"cmap": "RdBu", "vmin": -largest, "vmax": largest}
        if signed
        else {"cmap": "Oranges", "vmin": 0, "vmax": largest}
    )
    image = axes.imshow(heat, **options)
    axes.set_xticks(np.arange(-0.5, width), minor=True)
    axes.set_yticks(np.arange(-0.5, height), minor=True)
    axes.grid(which="minor", color="0.8", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    axes.set_xticks(range(width), [str(c) for c in range(width)], fontsize=6)
    axes.set_yticks([])
    from matplotlib.patches import Circle

    for row, column in np.argwhere(stones(game, state)):
        first = stones(game, state)[row, column] == 1
        axes.add_patch(Circle((column, row), 0.3, facecolor=FIRST if first else SECOND, edgecolor="0.4", linewidth=0.8))
    for point in marks:
        axes.plot(point % width, point // width, "x", color="#009E73", markersize=9, markeredgewidth=2.5)
    if values:
        for row, column in np.argwhere(np.abs(heat) > 0.25 * largest):
            dark = stones(game, state)[row, column] == 1
            axes.text(
                column,
                row,
                f"{heat[row, column]:.2g}",
                ha="center",
                va="center",
                fontsize=6,
                color="white" if dark else "black",
            )
    return image


def saliency_picture(
    out: Path,
    game: Game,
    state: np.ndarray,
    heat: np.ndarray,
    title: str,
    *,
    signed: bool,
    mark: int | None,
    faithfulness: dict[str, Any] | None = None,
) -> None:
    """One board with its saliency, and beside it the deletion curve of many positions (``Deletion.summary``)."""
    both = faithfulness is not None
    figure = _figure(9.4 if both else 4.6, 0.6 + 4.2 * game.board_shape[0] / game.board_shape[1])
    axes, *beside = figure.subplots(1, 2 if both else 1, squeeze=False)[0]
    image = draw_board(axes, game, state, heat, signed=signed, marks=[] if mark is None else [mark], values=True)
    axes.set_title(title, fontsize=8, wrap=True)
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.ax.tick_params(labelsize=7)
    bar.set_label("share: blue speaks for it, red against" if signed else "magnitude of the slope", fontsize=7)
    if faithfulness is not None:
        _deletion(beside[0], faithfulness, "points")
    figure.savefig(out)


def _deletion(axes: Axes, summary: dict[str, Any], what: str) -> None:
    for name, label, colour, style in (
        ("ranked", "ranked highest", COLOURS[1], "o-"),
        ("random", "at random", "0.4", "o--"),
    ):
        axes.plot(summary["hidden"], summary[name], style, color=colour, label=label, markersize=4)
        axes.fill_between(
            summary["hidden"], summary[f"{name}_low"], summary[f"{name}_high"], color=colour, alpha=0.2, linewidth=0
        )
    axes.tick_params(labelsize=7)
    axes.set_xticks(summary["hidden"])
    axes.set_xlabel(f"{what} hidden", fontsize=8)
    of_policy = "ranked_changed" in summary
    axes.set_ylabel("total variation of the policy" if of_policy else "change of the explained number", fontsize=8)
    axes.set_ylim(bottom=0)
    axes.set_title(f"hiding in {summary['positions']} others, with 95 % intervals", fontsize=8)
    axes.legend(fontsize=8, frameon=False)


def inputs_picture(
    out: Path,
    shown: Sequence[tuple[str, np.ndarray, np.ndarray]],
    title: str,
    *,
    signed: bool,
    faithfulness: dict[str, Any] | None = None,
) -> None:
    """What a Gymnasium agent saw beside what mattered: (name, what was seen, its shares) a part.

    Pictures [H, W] beside each other; vectors as bars. Below, the deletion curve of many moments, where it is given.
    """
    lines = len(shown) + (faithfulness is not None)
    figure = _figure(7.5, 0.4 + 3.4 * lines)
    grid = figure.subplots(lines, 2, squeeze=False)
    if faithfulness is not None:
        _deletion(grid[-1, 0], faithfulness, "entries or patches")
        grid[-1, 1].set_axis_off()
    for (left, right), (name, seen, shares) in zip(grid, shown):
        largest = float(np.abs(shares).max()) or 1.0
        if shares.ndim == 2:
            left.imshow(seen, cmap="gray" if seen.ndim == 2 else None)
            options: dict[str, Any] = (
                {"cmap": "RdBu", "vmin": -largest, "vmax": largest} if signed else {"cmap": "Oranges", "vmin": 0}
            )
            figure.colorbar(right.imshow(shares, **options), ax=right, shrink=0.8)
            left.set_axis_off()
            right.set_axis_off()
        else:
            names = [str(i) for i in range(len(shares))]
            left.barh(names, seen, color="0.6")
            right.barh(names, shares, color=[COLOURS[0] if v >= 0 else COLOURS[1] for v in shares])
            for axes in (left, right):
                axes.invert_yaxis()
                axes.tick_params(labelsize=8)
                axes.axvline(0, color="0.3", linewidth=0.8)
        left.set_title(f"{name} as seen", fontsize=9)
        right.set_title("share in the decision", fontsize=9)
    figure.suptitle(title, fontsize=10)
    figure.savefig(out)


def attention_picture(
    out: Path, game: Game, state: np.ndarray, maps: AttentionMaps, point: int | None, title: str
) -> None:
    """Where ``point`` looks (None: all points on average), each head of each layer, and through all layers."""
    layers, heads = maps.weights.shape[1:3]
    shape = maps.grid
    figure = _figure(1.7 * (heads + 1), 0.5 + 1.65 * layers * shape[0] / shape[1])
    grid = figure.subplots(layers, heads + 1, squeeze=False)
    mark = [] if point is None else [point]

    def row(weights: np.ndarray) -> np.ndarray:
        return (weights.mean(0) if point is None else weights[point]).reshape(shape)

    for layer in range(layers):
        for head in range(heads):
            draw_board(grid[layer, head], game, state, row(maps.weights[0, layer, head]), marks=mark)
            grid[layer, head].set_title(f"layer {layer + 1}, head {head + 1}", fontsize=7)
        upto = AttentionMaps(maps.weights[:1, : layer + 1], shape)
        draw_board(grid[layer, heads], game, state, row(upto.rollout[0]), marks=mark)
        grid[layer, heads].set_title(f"rollout to layer {layer + 1}", fontsize=7, fontweight="bold")
    for axes in grid.flat:
        axes.set_xticks([])
    figure.suptitle(title, fontsize=9)
    figure.savefig(out)


def patches_picture(out: Path, seen: np.ndarray, maps: AttentionMaps, title: str) -> None:
    """Where the patches of a picture look on average, each head of each layer, and through all layers."""
    layers, heads = maps.weights.shape[1:3]
    figure = _figure(1.7 * (heads + 2), 0.5 + 1.8 * layers)
    grid = figure.subplots(layers, heads + 2, squeeze=False)
    for layer in range(layers):
        grid[layer, 0].imshow(seen, cmap="gray")
        for head in range(heads):
            grid[layer, head + 1].imshow(maps.weights[0, layer, head].mean(0).reshape(maps.grid), cmap="Oranges")
            grid[layer, head + 1].set_title(f"layer {layer + 1}, head {head + 1}", fontsize=7)
        upto = AttentionMaps(maps.weights[:1, : layer + 1], maps.grid)
        grid[layer, heads + 1].imshow(upto.rollout[0].mean(0).reshape(maps.grid), cmap="Oranges")
        grid[layer, heads + 1].set_title(f"rollout to layer {layer + 1}", fontsize=7, fontweight="bold")
    for axes in grid.flat:
        axes.set_axis_off()
    figure.suptitle(title, fontsize=9)
    figure.savefig(out)


def probes_picture(out: Path, rows: Sequence[dict[str, Any]], title: str) -> None:
    """Balanced accuracy by depth, a panel a concept and a line a version; the last version's control is dashed."""
    names = list(dict.fromkeys(row["concept"] for row in rows))
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    versions = sorted({row["version"] for row in rows})
    columns = min(4, len(names))
    lines = -(-len(names) // columns)
    figure = _figure(3.4 * columns, 0.7 + 2.9 * lines)
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    from matplotlib import colormaps

    shades = [colormaps["viridis_r"](0.15 + 0.8 * i / max(1, len(versions) - 1)) for i in range(len(versions))]
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    for axes, name in zip(grid.flat, names):
        for version, shade in zip(versions, shades, strict=True):
            found = {r["layer"]: r for r in rows if r["concept"] == name and r["version"] == version}
            at = [i for i, layer in enumerate(layers) if layer in found]
            y = np.array([[found[layers[i]][key] for key in ("accuracy", "low", "high")] for i in at])
            label = "new weights" if version < 0 else f"{version:,} updates"
            axes.plot(at, y[:, 0], "o-", color=shade, label=label, markersize=3.5, linewidth=1.6)
            axes.fill_between(at, y[:, 1], y[:, 2], color=shade, alpha=0.15, linewidth=0)
            if version == versions[-1]:
                control = np.array(
                    [[found[layers[i]][k] for k in ("control", "control_low", "control_high")] for i in at]
                )
                axes.plot(at, control[:, 0], "--", color="#D55E00", label="control task", linewidth=1.4)
                axes.fill_between(at, control[:, 1], control[:, 2], color="#D55E00", alpha=0.15, linewidth=0)
        axes.set_xticks(range(len(layers)), layers, rotation=40, ha="right", fontsize=7)
        axes.set_title(name, fontsize=9)
        axes.set_ylim(0.45, 1.01)
        axes.grid(axis="y", color="0.9")
    for line in grid:
        line[0].set_ylabel("balanced accuracy", fontsize=8)
        line[0].tick_params(axis="y", labelsize=7)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)), fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=10)
    figure.savefig(out)


def budgets_picture(out: Path, curves: dict[str, list[dict[str, Any]]], title: str) -> None:
    """Return against strength: a panel an attack, a line an agent."""
    attacks = list(dict.fromkeys(row["attack"] for rows in curves.values() for row in rows))
    figure = _figure(3.8 * len(attacks), 3.6)
    grid = figure.subplots(1, len(attacks), squeeze=False, sharey=True)[0]
    for axes, attack in zip(grid, attacks, strict=True):
        for (name, rows), colour in zip(curves.items(), _colours(len(curves)), strict=True):
            line = [row for row in rows if row["attack"] == attack]
            x, low, high = ([row[key] for row in line] for key in ("epsilon", "return_low", "return_high"))
            axes.plot(x, [row["return_mean"] for row in line], "o-", color=colour, label=name, markersize=4)
            axes.fill_between(x, low, high, color=colour, alpha=0.2)
        axes.set_title({"noise": "noise", "fgsm": "FGSM", "pgd": "PGD"}[attack], fontsize=10)
        axes.set_xlabel("strength ε")
        axes.grid(color="0.92")
    grid[0].set_ylabel("return")
    grid[0].legend(fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=10)
    figure.savefig(out)


def exploiter_picture(out: Path, rows: Sequence[dict[str, Any]], title: str) -> None:
    """The exploiter's score by the compute of its training, a line for each budget of the victim.

    As a share of the victim's compute, or, where that is not known, in evaluated positions.
    """
    from matplotlib.ticker import EngFormatter

    figure = _figure(5.4, 3.8)
    axes = figure.add_subplot()
    known = all(row["compute_share"] is not None for row in rows)
    budgets = list(dict.fromkeys(row["victim_simulations"] for row in rows))
    for budget, colour in zip(budgets, _colours(len(budgets)), strict=True):
        line = [row for row in rows if row["victim_simulations"] == budget]
        x = [100 * row["compute_share"] if known else row["evaluations"] for row in line]
        name = "network alone" if budget == 0 else f"{budget} simulations"
        axes.plot(x, [row["score"] for row in line], "o-", color=colour, label=f"victim: {name}", markersize=4)
        axes.fill_between(
            x, [row["score_low"] for row in line], [row["score_high"] for row in line], color=colour, alpha=0.2
        )
    axes.axhline(0.5, color="0.6", linewidth=0.8)
    axes.set_ylim(0, 1)
    axes.set_xlabel("exploiter's training, " + ("% of the victim's evaluations" if known else "evaluated positions"))
    if not known:
        axes.xaxis.set_major_formatter(EngFormatter())
    axes.set_ylabel("exploiter's score")
    axes.legend(fontsize=8, frameon=False)
    axes.set_title(title, fontsize=9)
    figure.savefig(out)
