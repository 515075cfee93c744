"""What ``rl.insight`` finds as lines to read: numbers with their units and, in brackets, their 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from envs.game import Game

Row = dict[str, Any]


def between(row: Row, key: str, digits: int = 2, low: str | None = None, high: str | None = None) -> str:
    """``row[key]`` and its interval, which stands in ``key``_low and ``key``_high, or in ``low`` and ``high``."""
    told = row[key], row[low or f"{key}_low"], row[high or f"{key}_high"]
    return "{} ({} to {})".format(*(f"{value:.{digits}f}" for value in told))


def share_of(row: Row, key: str) -> str:
    """The same of a share, in percent."""
    value, low, high = (100 * row[f"{key}{end}"] for end in ("", "_low", "_high"))
    return f"{value:.1f} % ({low:.1f} to {high:.1f})"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines whose columns begin below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def budget(simulations: int) -> str:
    return "network alone" if simulations == 0 else f"{simulations} simulations"


def symmetry_lines(report: Row) -> list[str]:
    """Of ``symmetry.symmetry_report``."""
    if not report["pairs"]:
        return [f"symmetry: none of the {report['positions']} positions has an image that differs from it"]
    rows: list[Sequence[str]] = [("", "same move", "policies differ by", "values differ by")]
    for name, what in (("network", 0), ("search", report["simulations"])):
        if f"{name}_same_move" in report:
            differ = (between(report, f"{name}_{measure}", 3) for measure in ("policy_distance", "value_difference"))
            rows.append((budget(what), share_of(report, f"{name}_same_move"), *differ))
    return [
        f"symmetry: {report['pairs']} pairs of a position and its mirror image or rotation, of {report['positions']} "
        "positions of its own games",
        *table(rows),
        "policies: total variation, 0 to 1; values: of -1 to 1; in brackets 95 % intervals",
    ]


def blunder_lines(report: Row, worst: Sequence[Row]) -> list[str]:
    """Of ``blunders.blunders``; ``worst`` is their list, the worst first."""
    rows = [("", "blunders", "share", "its value is off by, of -1 to 1")]
    for name, where in (("truth", "solved positions"), ("own", "its own games")):
        if f"{name}_positions" in report:
            count = f"{report[f'{name}_blunders']:,} of {report[f'{name}_positions']:,}"
            rows.append((where, count, share_of(report, f"{name}_share"), f"{report[f'{name}_value_error']:.2f}"))
    how = budget(report["simulations"])
    lines = [f"blunders ({how}): moves that give away what the solver says can be had", *table(rows)]
    if worst:
        row, results = worst[0], {1: "a win", 0: "a draw", -1: "a loss"}
        moves = ",".join(map(str, row["moves"])) or "no move"
        lines.append(
            f"the worst: move {row['played_name']} after {moves} makes {results[row['truth_of_move']]} of "
            f"{results[row['truth_of_position']]}, and it sees {row['searched_value']:+.2f}; --set FILE has more"
        )
    return lines


def exploiter_lines(report: Row) -> list[str]:
    """Of ``exploiter.exploiter_report``."""
    total = report["victim_evaluations"]
    rows = [("exploiter", "positions evaluated in training", "victim", "score of the exploiter", "won, drawn, lost")]
    for row in report["curve"]:
        spent = f"{row['evaluations']:,}"
        if row["compute_share"] is not None:
            spent += f", {100 * row['compute_share']:.1f} % of the victim's"
        rows.append((f"after {row['version']:,} updates", spent, *_against(row)))
    for row in report["control"]:
        rows.append(("the victim's own network", "no more", *_against(row)))
    own = budget(report["curve"][0]["simulations"])
    return [
        f"exploiter: trained against: {budget(report['trained_against_simulations'])}; its moves: {own}; "
        f"the victim's training evaluated {f'{total:,}' if total else 'an unknown number of'} positions",
        *table(rows),
        "a win counts 1, a draw ½; in brackets 95 % intervals",
    ]


def _against(row: Row) -> tuple[str, str, str]:
    won = f"{row['wins']}, {row['draws']}, {row['losses']}"
    return budget(row["victim_simulations"]), between(row, "score", 3), won


def curve_lines(curves: dict[str, list[Row]], units: dict[str, list[float]]) -> list[str]:
    """Returns by attack and strength (``perturbation.budget_curve``), the agents side by side."""
    rows = [("attack", "strength", *curves)]
    for beside in zip(*curves.values(), strict=True):
        returns = (between(row, "return_mean", 1, "return_low", "return_high") for row in beside)
        rows.append((beside[0]["attack"], f"{beside[0]['epsilon']:g}", *returns))
    few = "; ".join(f"{name} {' '.join(f'{u:.3g}' for u in unit)}" for name, unit in units.items() if len(unit) < 20)
    return [
        *table(rows),
        f"mean return of {next(iter(curves.values()))[0]['episodes']} episodes, in brackets its 95 % interval",
        *([f"strength 1 moves by: {few}"] if few else []),
    ]


def faithfulness_lines(summary: Row) -> list[str]:
    """Of ``faithfulness.Deletion.summary``."""
    moves = "ranked_changed" in summary
    changes = ("", "") if not moves else ("another choice: ranked highest", "at random")
    rows = [("hidden", "ranked highest", "at random", *changes[: 2 * moves])]
    for i, hidden in enumerate(summary["hidden"]):
        cells = [
            between({key: value[i] for key, value in summary.items() if isinstance(value, list)}, name)
            for name in ("ranked", "random")
        ]
        for name in ("ranked_changed", "random_changed") if moves else ():
            value, half = summary[name][i], summary[f"{name}_half"][i]
            cells.append(f"{100 * value:.0f} % ({100 * max(0, value - half):.0f} to {100 * min(1, value + half):.0f})")
        rows.append((str(hidden), *cells))
    unit = "total variation of the policy, 0 to 1" if moves else "the explained number's change"
    return [
        f"faithfulness: how far {summary['positions']} decisions move when as much is hidden ({unit}; 95 % intervals)",
        *table(rows),
        f"ranked highest above random, on average: {between(summary, 'gap')}",
    ]


def explained(result: Row, action: str) -> str:
    """What ``result`` explains: the value, or why the network is so likely to choose ``action``."""
    told = result["explained"]
    if result["target"] == "value":
        return f"the value, {told:+.3g}"
    if isinstance(result["action"], int):
        return f"{action}, probability {100 * math.exp(told):.1f} % (its logarithm {told:.2g})"
    return f"{action}, log-likelihood {told:.3g}"


def explained_lines(
    result: Row, action: str, shares: dict[str, list[Any]], name: Callable[[int], str] | None = None
) -> list[str]:
    """Of ``fuseki insight saliency``; ``shares`` of each part of the input, ``name`` calls a flat index by its name."""
    unit = {"gradients": "slopes", "occlusion": "what hiding takes off"}.get(result["method"], "terms that add up")
    lines = [f"explained: {explained(result, action)}"]
    lines += [
        f"largest shares of {part} ({unit}): {largest(np.array(values), name)}" for part, values in shares.items()
    ]
    return lines + (["", *faithfulness_lines(result["faithfulness"])] if "faithfulness" in result else [])


def largest(shares: np.ndarray, name: Callable[[int], str] | None = None, most: int = 5) -> str:
    """The entries of the largest magnitude and their shares; ``name`` takes a flat index, None shows the indices."""
    flat = shares.reshape(-1)
    name = name or (lambda i: str([int(k) for k in np.unravel_index(i, shares.shape)]))
    order = [
        int(i) for i in np.argsort(-np.abs(flat), kind="stable")[:most] if abs(flat[i]) > 0.01 * np.abs(flat).max()
    ]
    return ", ".join(f"{name(i)} {flat[i]:.3g}" for i in order) or "none"


def point_name(game: Game, point: int) -> str:
    """How people call a point of the board, row-major from the top left."""
    if game.action_layout == "points":
        return game.action_names[point]
    row, column = divmod(point, game.board_shape[1])
    return f"column {column} row {game.board_shape[0] - row}"


def probe_lines(rows: Sequence[Row], left_out: dict[str, str], meanings: dict[str, str]) -> list[str]:
    """Of ``probes.probe`` of one or more versions: for each concept a table of its layers, the last version's beside
    that of new weights."""
    lines: list[str] = []
    last = max(row["version"] for row in rows)
    for concept in dict.fromkeys(row["concept"] for row in rows):
        mine = {(row["version"], row["layer"]): row for row in rows if row["concept"] == concept}
        cells = [("layer", "new weights", f"{last:,} updates", "its control task", "selectivity")]
        for version, layer in mine:
            if version == last:
                row = mine[last, layer]
                cells.append(
                    (
                        layer,
                        between(mine[-1, layer], "accuracy", 2, "low", "high") if (-1, layer) in mine else "",
                        between(row, "accuracy", 2, "low", "high"),
                        between(row, "control"),
                        between(row, "selectivity"),
                    )
                )
        found = f"{100 * row['share']:.1f} % of those asked; {row['rows']:,} scored"
        lines += [f"{concept}: {meanings[concept]} ({found})", *table(cells), ""]
    lines.append(
        "balanced accuracy of a linear probe, 0.5 is guessing; 95 % intervals; selectivity: above the control task"
    )
    return lines + [f"left out: {concept}, since {why}" for concept, why in left_out.items()]
