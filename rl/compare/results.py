"""A comparison from beginning to end, and its outcome: compare.json, a table in compare.md, curves in compare.png."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rl.compare.measuring import Effort, measure_match, measure_run, pairings_of, rated, strength_kind
from rl.compare.plan import Contender, Plan, describe
from rl.compare.running import run
from rl.config import GameConfig, GymConfig
from rl.curves import student_interval
from rl.evaluation.ratings import Pairing, fit_ratings
from rl.records import MatchResult
from rl.runtime.metrics import CLOCK
from rl.storage import replacing

ANCHOR = "random"  # at 0 Elo
NAMES = {
    "accuracy": "best moves, network alone",
    "elo": "Elo",
    "return": "return",
    "accuracy_network": "best moves, network alone",
    "accuracy_search": "best moves, with search",
}


def compare(
    plan: Plan,
    out: Path,
    *,
    serial: bool = False,
    effort: Effort | None = None,
    step: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Train and measure what is not there yet; returns what compare.json holds.

    Runs go seed by seed, so that all contenders have come equally far whenever it is stopped; the files are written
    anew after each seed that is complete. ``step`` is told what is done next. Raises running.Interrupted, Wrong, and
    what training and measuring raise; the same call goes on from there.
    """
    effort = effort or Effort()
    result: dict[str, Any] = {}
    for done, seed in enumerate(plan.seeds, 1):
        for number, contender in enumerate(plan.contenders, 1):
            step(f"seed {done} of {len(plan.seeds)}, {number} of {len(plan.contenders)}: {contender.label}")
            run(plan, contender, seed, out, serial)
            measure_run(plan, contender, seed, out, effort, step)
        result = summarise(plan, plan.seeds[:done], out, effort, step)
        write(out, result)
    return result


def summarise(
    plan: Plan, seeds: Sequence[int], out: Path, effort: Effort, step: Callable[[str], None]
) -> dict[str, Any]:
    """Everything that was found with these seeds, as plain JSON values."""
    environments = []
    for name in plan.environments:
        contenders = [c for c in plan.contenders if c.environment == name]
        kind = strength_kind(contenders[0])
        measured = {(c.label, s): measure_run(plan, c, s, out, effort, step) for c in contenders for s in seeds}
        playing = [] if kind == "return" else pairs(contenders, plan)
        matches = _matches(playing, seeds, out, effort, step)
        if kind == "elo":
            _rate(contenders, seeds, measured, matches)
        rows = [_row(c, seeds, measured, kind) for c in contenders]
        for row in rows[1:]:
            row["change"] = _change(row, rows[0])
        environments.append({"environment": name, "strength": kind, "contenders": rows, "matches": matches})
    return describe(plan) | {"seeds": list(seeds), "effort": vars(effort), "environments": environments}


def pairs(contenders: Sequence[Contender], plan: Plan) -> list[tuple[Contender, Contender]]:
    """Who plays whom at the end."""
    if plan.matches == "none":
        return []
    every = itertools.combinations(contenders, 2)
    return [pair for pair in every if plan.matches == "all" or pair[0] is contenders[0]]


def _matches(
    pairs: Sequence[tuple[Contender, Contender]],
    seeds: Sequence[int],
    out: Path,
    effort: Effort,
    step: Callable[[str], None],
) -> list[dict[str, Any]]:
    """The two last agents of each pair, network against network, and as each plays with its search."""
    found = []
    for a, b in pairs:
        for searching in (False, True) if a.simulations or b.simulations else (False,):
            results = [measure_match(a, b, seed, searching, out, effort, step) for seed in seeds]
            mean, low, high = student_interval([r.score for r in results])
            found.append(
                {
                    "a": a.label,
                    "b": b.label,
                    "simulations": [a.simulations, b.simulations] if searching else [0, 0],
                    "games": sum(r.games for r in results),
                    "results": [[r.wins, r.draws, r.losses] for r in results],
                    "score": mean,
                    "score_low": max(0.0, low) if len(results) > 1 else None,
                    "score_high": min(1.0, high) if len(results) > 1 else None,
                }
            )
    return found


def _rate(
    contenders: Sequence[Contender],
    seeds: Sequence[int],
    measured: dict[tuple[str, int], dict[str, Any]],
    matches: Sequence[dict[str, Any]],
) -> None:
    """Give every point its Elo, by one fit over the games of all runs."""
    pairings = [p for (label, seed), found in measured.items() for p in pairings_of(label, seed, found)]
    searches = any(c.simulations for c in contenders)
    for match in matches:
        if searches == any(match["simulations"]):  # as the agents played the other games
            for seed, counts in zip(seeds, match["results"]):
                last_a, last_b = (
                    rated(match[side], seed, len(measured[match[side], seed]["points"]) - 1) for side in "ab"
                )
                pairings.append(Pairing(last_a, last_b, MatchResult(*counts)))
    elo = {rating.name: rating.elo for rating in fit_ratings(pairings, ANCHOR)}
    for (label, seed), found in measured.items():
        for number, point in enumerate(found["points"]):
            point["strength"] = elo[rated(label, seed, number)]


def _row(
    contender: Contender, seeds: Sequence[int], measured: dict[tuple[str, int], dict[str, Any]], kind: str
) -> dict[str, Any]:
    """One contender: means over the seeds with their intervals, and the points of each run."""
    runs = [measured[contender.label, seed] for seed in seeds]
    finals: dict[str, list[float]] = {name: [r["final"][name] for r in runs] for name in runs[0]["final"]}
    if kind == "elo":
        finals["elo"] = [r["points"][-1]["strength"] for r in runs]
    row: dict[str, Any] = {
        "label": contender.label,
        "simulations": contender.simulations,
        "parameters": parameters(contender),
        "compute": {name: sum(r["points"][-1][name] for r in runs) / len(runs) for name in CLOCK},
        "final": {name: _interval(values, name.startswith("accuracy")) for name, values in finals.items()},
        "runs": [{"seed": s, "points": [_plain(p) for p in r["points"]]} for s, r in zip(seeds, runs)],
    }
    return row


def _change(row: dict[str, Any], first: dict[str, Any]) -> dict[str, Any]:
    """What each final measure differs from the first contender's, seed by seed: its mean, with an interval.

    The interval of the differences says whether one is better; those of the two means may overlap all the same.
    """
    found = {}
    for name, interval in row["final"].items():
        both = zip(interval["values"], first["final"][name]["values"], strict=True)
        found[name] = _interval([mine - other for mine, other in both], share=False)
    return found


def parameters(contender: Contender) -> int:
    """Numbers that the contender's network learns."""
    config = contender.config
    if isinstance(config, GameConfig):
        import envs
        from rl import nets

        return nets.count_parameters(nets.build(config.net, envs.make(config.env, **config.env_options)))
    from rl.nets.actor_critic import build_actor_critic
    from rl.worlds import spec_of

    assert isinstance(config, GymConfig), "there are two kinds"
    return sum(p.numel() for p in build_actor_critic(config.net, spec_of(config)).parameters())


def _plain(point: dict[str, Any]) -> dict[str, float]:
    return {name: point[name] for name in (*CLOCK, "strength")}


def _interval(values: Sequence[float], share: bool) -> dict[str, Any]:
    mean, low, high = student_interval(values)
    if share and len(values) > 1:
        low, high = max(0.0, low), min(1.0, high)
    return {"values": list(values), "mean": mean, "low": _finite(low), "high": _finite(high)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def write(out: Path, result: dict[str, Any]) -> None:
    """compare.json, compare.md and, where matplotlib is there, compare.png."""
    from rl.compare.picture import draw

    _put(out / "compare.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    _put(out / "compare.md", table(result))
    draw(result, out / "compare.png")


def _put(path: Path, text: str) -> None:
    with replacing(path) as file:
        file.write(text.encode())


def table(result: dict[str, Any]) -> str:
    """The comparison as Markdown."""
    [(budget, amount)] = result["budget"].items()
    seeds = len(result["seeds"])
    lines = [
        f"Budget of each run: {amount:,g} {budget.replace('_', ' ')}. {seeds} seed{'s' if seeds > 1 else ''}"
        + (", means with 95 % intervals by Student's t." if seeds > 1 else ", and so no intervals."),
        "",
    ]
    for found in result["environments"]:
        names = list(dict.fromkeys(name for row in found["contenders"] for name in row["final"]))
        changes = [n for n in names if any(n in row.get("change", {}) for row in found["contenders"])]
        heads = [part for n in names for part in ([NAMES[n], "change"] if n in changes else [NAMES[n]])]
        head = ["", *heads, "parameters", "evaluations", "moves or steps", "updates", "wall time"]
        lines += [f"**{found['environment']}**", "", _line(head), _line(["---", *["---:"] * (len(head) - 1)])]
        for row in found["contenders"]:
            clock = row["compute"]
            cells = [row["label"]]
            for name in names:
                cells.append(cell(name, row["final"].get(name)))
                if name in changes:
                    cells.append(cell(name, row.get("change", {}).get(name), signed=True))
            cells += [f"{row['parameters']:,}", *(f"{clock[n]:,.0f}" for n in ("evaluations", "env_steps"))]
            lines.append(_line([*cells, f"{clock['learner_steps']:,.0f}", f"{clock['seconds']:,.0f} s"]))
        lines.append("")
        if found["matches"]:
            lines += [
                _line(["match", "simulations", "games", "score of the first"]),
                _line(["---", "---", "---:", "---:"]),
            ]
            for match in found["matches"]:
                budgets = "network alone" if not any(match["simulations"]) else "{}, {}".format(*match["simulations"])
                score = {"mean": match["score"], "low": match["score_low"], "high": match["score_high"]}
                cells = [f"{match['a']} – {match['b']}", budgets, str(match["games"]), cell("accuracy", score)]
                lines.append(_line(cells))
            lines.append("")
    if "scaling" in result:
        from rl.compare.scaling import sentences

        lines += [*sentences(result["scaling"]), ""]
    return "\n".join(lines)


def cell(name: str, found: dict[str, Any] | None, signed: bool = False) -> str:
    """A mean with its interval, in per cent where it is a share; ``signed`` for differences."""
    if found is None:
        return ""
    factor, digits, unit = (100, 1, " %") if name.startswith("accuracy") else (1, 0 if name == "elo" else 1, "")

    def show(value: float) -> str:
        return f"{factor * value:{'+' if signed else ''},.{digits}f}"

    mean = f"{show(found['mean'])}{'' if signed else unit}"
    return mean if found["low"] is None else f"{mean} ({show(found['low'])} to {show(found['high'])})"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
