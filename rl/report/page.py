"""The report of runs as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from rl.curves import Run, choose_sections, duration, read_runs
from rl.report.charts import axis_data, group_data, groups_of, panel_data, run_data
from rl.report.games import samples
from rl.report.ladder import ratings_of, rows_of
from rl.report.settings import chosen, differences, whole
from rl.runtime.metrics import METRICS
from rl.runtime.progress import strength
from rl.storage import reaching, replacing

VIDEOS = 2  # the newest, of a run
VIDEO_BYTES = 4_000_000  # larger ones are left out of the page
RATES = (
    "selfplay/evaluations_per_second",
    "selfplay/moves_per_second",
    "selfplay/games_per_second",
    "rollout/steps_per_second",
    "learner/rows_per_second",
)


def write_report(run_dirs: Sequence[str | Path], out: Path) -> Path:
    """Write the page; returns its path (".html" added if it has none).

    Raises ValueError, in one sentence, for a folder or URL without metrics and for runs of both kinds together;
    ImportError where jinja2 is missing; OSError when ``out`` cannot be written.
    """
    if not run_dirs:
        raise ValueError("give at least one run folder to report on")
    try:
        import jinja2
    except ImportError as error:
        raise ImportError("a report needs jinja2: pip install 'fuseki[plot]'") from error
    runs = read_runs(run_dirs)
    check_kinds(runs)
    out = out if out.suffix else out.with_suffix(".html")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["number"] = number
    page = environment.from_string(static("page.html")).render(
        **content(runs),
        style=static("uplot.min.css") + static("page.css"),
        uplot=static("uplot.min.js"),
        script=static("page.js"),
    )
    with replacing(out) as file:
        file.write(page.encode())
    return out


def check_kinds(runs: Sequence[Run]) -> None:
    """Raises ValueError where games and Gymnasium episodes would stand side by side: they have no number in common."""
    episodes = [run.name for run in runs if is_rollout(run)]
    if episodes and len(episodes) < len(runs):
        others = [run.name for run in runs if run.name not in episodes]
        raise ValueError(
            f"{', '.join(episodes)} and {', '.join(others)} are runs of different kinds (Gymnasium episodes and board "
            "games), which have no measure of strength in common: report on them apart"
        )


def is_rollout(run: Run) -> bool:
    """Whether the run steps Gymnasium environments, by what it measures."""
    return run.has("rollout/steps_per_second") or run.has("eval/return_mean") or "algorithm" in run.config


def content(runs: Sequence[Run]) -> dict[str, Any]:
    """What the template shows. Raises ValueError where there is nothing."""
    sections = choose_sections(runs)
    panels = [panel for found in sections.values() for panel in found]
    groups = groups_of(runs)
    several = [members for members in groups if len(members) > 1]
    data: dict[str, Any] = {
        "axes": axis_data(),
        "sections": [
            {"title": title, "panels": [panel_data(panel) for panel in found]} for title, found in sections.items()
        ],
        "runs": [{"name": run.name} | run_data(run, panels) for run in runs],
        "groups": [
            {
                "name": _group_name(runs, members),
                "runs": members,
                "means": group_data([runs[m] for m in members], panels) if len(members) > 1 else None,
            }
            for members in groups
        ],
        "games": [],
    }
    shown = []
    for number_, run in enumerate(runs):
        try:
            games = samples(run)
            videos = newest_videos(run)
        except OSError:  # of a store that is away by now: the curves are here all the same
            games, videos = [], []
        data["games"] += [{"run": number_} | asdict(game) for game in games]
        shown.append(
            {
                "name": run.name,
                "subtitle": run.subtitle,
                "strength": strength(latest(run)),
                "ladder": rows_of(ratings_of(run)),
                "time": time_shares(run),
                "rates": rates(run),
                "videos": videos,
                "chosen": chosen(run),
                "whole": whole(run),
            }
        )
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    return {
        "title": title,
        "made": time.strftime("%Y-%m-%d %H:%M"),
        "runs": shown,
        "games": len(data["games"]),
        "seeds": bool(several),
        "sections": list(sections),
        "differences": differences(runs) if len(runs) > 1 else [],
        "catalogue": catalogue(runs),
        # "<" could end the element that holds it.
        "data": json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
    }


def _group_name(runs: Sequence[Run], members: Sequence[int]) -> str:
    """A single run's name, or what the names of a group's runs begin with, or the first one's folder."""
    names = [runs[m].name for m in members]
    if len(names) == 1:
        return names[0]
    start = names[0]
    while start and not all(name.startswith(start) for name in names):
        start = start[:-1]
    start = start.rstrip("-_/ 0123456789").removesuffix("seed").rstrip("-_/ ")
    return f"{start or runs[members[0]].folder.parent.name or names[0]} ({len(names)} seeds)"


def latest(run: Run) -> dict[str, float]:
    """The newest finite value of every metric."""
    found: dict[str, float] = {}
    for row in run.rows:
        found |= {name: value for name, value in row.items() if math.isfinite(value)}
    return found


def mean_share(run: Run, name: str) -> float | None:
    """The mean of a share over the run's wall time; None where it has none."""
    at, values = run.series("seconds", name)
    if not len(at):
        return None
    lengths = np.diff(at, prepend=0.0)
    return float((values * lengths).sum() / max(lengths.sum(), 1e-9))


def time_shares(run: Run) -> list[dict[str, Any]]:
    """Where time went, of actors and learner: parts of a bar, in per cent."""
    bars = []
    network = mean_share(run, "selfplay/evaluator_share")
    if network is not None:
        parts = [("in the network", network), ("in search and rules", 1 - network)]
        bars.append({"who": "Actors", "parts": parts})
    network, worlds = mean_share(run, "rollout/evaluator_share"), mean_share(run, "rollout/environment_share")
    if network is not None and worlds is not None:
        rest = max(0.0, 1 - network - worlds)
        bars.append(
            {
                "who": "Actors",
                "parts": [("in the network", network), ("in the environments", worlds), ("between them", rest)],
            }
        )
    waiting = mean_share(run, "learner/wait_fraction")
    if waiting is not None:
        bars.append({"who": "Learner", "parts": [("training", 1 - waiting), ("waiting or others' turn", waiting)]})
    examined = sum(row.get("eval/seconds", 0.0) for row in run.rows if math.isfinite(row.get("eval/seconds", 0.0)))
    if examined:
        bars.append(
            {
                "who": "Evaluations",
                "parts": [],
                "text": f"{duration(examined)} in all, of {duration(run.rows[-1]['seconds'])}",
            }
        )
    return bars


def rates(run: Run) -> list[dict[str, Any]]:
    """Throughput: mean over the run and its 95th percentile, since the maximum is of rows that came in a burst."""
    found = []
    for name in RATES:
        mean = mean_share(run, name)
        if mean is not None:
            _, values = run.series("seconds", name)
            about = METRICS[name]
            high = float(np.nanquantile(values, 0.95))
            found.append({"meaning": about.meaning, "unit": about.unit, "mean": mean, "high": high})
    return found


def newest_videos(run: Run) -> list[dict[str, str]]:
    """The last videos of episodes, as data URLs."""
    folder = run.folder / "videos"
    if not folder.is_dir():
        return []
    with reaching(folder):
        names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".mp4"))[-VIDEOS:]
        contents = {name: (folder / name).read_bytes() for name in names}
    found = []
    for name, content in contents.items():
        if len(content) <= VIDEO_BYTES:
            found.append({"name": name, "url": f"data:video/mp4;base64,{base64.b64encode(content).decode()}"})
    return found


def catalogue(runs: Sequence[Run]) -> list[dict[str, str]]:
    """Every metric that the runs have, with its unit and meaning."""
    names = dict.fromkeys(name for run in runs for row in run.rows for name in row)
    known = [name for name in METRICS if name in names]
    return [{"name": name, "unit": METRICS[name].unit, "meaning": METRICS[name].meaning} for name in known]


def number(value: float) -> str:
    """For people: 12,345 or 0.123."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def static(name: str) -> str:
    return (files("rl.report") / "static" / name).read_text(encoding="utf-8")
