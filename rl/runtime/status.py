"""How a run, or a cluster and its runs, are doing, read from outside: from metrics.jsonl, and from Ray's dashboard."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any

from rl.runtime.metrics import CLOCK, FILE, declared
from rl.storage import Place, Unreachable, place, reaching

if TYPE_CHECKING:
    from rl.runtime.jobs import Cluster, Job

TAIL_BYTES = 2**20  # of metrics.jsonl: the last minutes even of a run on a hundred nodes
PER = {"actors": "<actor>", "nodes": "<node>"}
# What is shown of a run: key in the JSON object → metric; the first that the run has.
FIGURES: dict[str, tuple[str, ...]] = {
    "steps_per_second": ("rollout/steps_per_second", "selfplay/moves_per_second"),
    "evaluations_per_second": ("selfplay/evaluations_per_second",),
    "games_per_second": ("selfplay/games_per_second",),
    "rows_per_second": ("learner/rows_per_second",),
    "learner_wait_fraction": ("learner/wait_fraction",),
    "lag_mean": ("learner/lag_mean",),
    "lag_max": ("learner/lag_max",),
    "queue": ("experience/queue", "experience/waiting"),
    "actors_planned": ("selfplay/actors",),
    "restarts": ("selfplay/restarts",),
    "publish_seconds": ("weights/publish_seconds",),
    "weights_bytes": ("weights/bytes",),
}


class StatusError(ValueError):
    """There is no run where the user said; the message is one sentence."""


def run_status(address: str) -> dict[str, Any]:
    """The newest figures of the run in a folder or URL: the clock, FIGURES, and by name its ``nodes`` and ``actors``.

    ``silent_seconds`` is the age of its newest row. Raises StatusError.
    """
    try:
        with reaching(address, passing=StatusError):
            where = place(address)
            if not (where / FILE).exists():
                raise StatusError(f"there is no run in {address!r}: it holds no {FILE}")
            changed = (where / FILE).stat().st_mtime
            rows = _last_rows(where)
    except Unreachable as error:
        raise StatusError(str(error)) from error
    latest: dict[str, float] = {}
    for row in rows:
        if any(name.startswith("nodes/") for name in row):  # of these only the newest set counts: nodes come and go
            latest = {name: value for name, value in latest.items() if name.split("/")[0] not in PER}
        latest |= row
    if not latest:
        raise StatusError(f"the run in {address!r} has no metrics yet")
    status: dict[str, Any] = {"run": address, "silent_seconds": round(max(0.0, time.time() - changed), 1)}
    if missing := [name for name in CLOCK if name not in latest]:
        raise StatusError(f"the metrics of the run in {address!r} lack {', '.join(missing)}: it is none of fuseki's")
    status |= {name: latest[name] for name in CLOCK}
    for key, names in FIGURES.items():
        status[key] = next((latest[name] for name in names if name in latest), None)
    for group, template in PER.items():
        found: dict[str, dict[str, float]] = {}
        for name, value in latest.items():
            if name.startswith(f"{group}/"):
                declaration, of = declared(name)
                if declaration.endswith(template):
                    found.setdefault(of, {})[declaration.split("/")[1]] = value
        status[group] = found
    return status


def cluster_status(cluster: Cluster) -> dict[str, Any]:
    """Machines, Ray actors of ours on each, jobs, and of those that run (and whose folder is in reach) the figures."""
    actors = cluster.actors()
    nodes = []
    for node in cluster.nodes():
        here = [actor["class_name"] for actor in actors if actor["node_id"] == node["node_id"]]
        ours = {name: here.count(name) for name in ("ActorProcess", "LearnerProcess", "ExaminerProcess")}
        total = node["resources_total"] or {}
        nodes.append(
            {
                "node": node["node_ip"],
                "name": node["node_name"],
                "head": node["is_head_node"],
                "cores": total.get("CPU", 0),
                "gpus": total.get("GPU", 0),
                "actors": ours["ActorProcess"],
                "learners": ours["LearnerProcess"],
                "examiners": ours["ExaminerProcess"],
            }
        )
    return {"address": cluster.url, "nodes": nodes, "jobs": [_job_status(cluster, job) for job in cluster.jobs()]}


def _job_status(cluster: Cluster, job: Job) -> dict[str, Any]:
    from rl.runtime.jobs import ClusterError

    told: dict[str, Any] = {"job": job.name, "status": job.status, "run_dir": job.run_dir}
    told["seconds"] = round((job.ended or time.time()) - job.started, 1) if job.started else None
    if job.status == "RUNNING" and job.run_dir:
        try:
            told["run"] = run_status(job.run_dir)
        except (StatusError, ValueError, OSError):  # on the head's own disk, say: then what the job printed last
            try:
                said = cluster.log(job.name).splitlines()
            except ClusterError as error:  # one unreadable log hides no other job
                said = [str(error)]
            told["said"] = next((line for line in reversed(said) if line.strip()), "")
    return told


def _last_rows(run_dir: Place) -> list[dict[str, float]]:
    """The rows in the last TAIL_BYTES of a run's metrics; null is left out."""
    with (run_dir / FILE).open("rb") as file:
        end = file.seek(0, 2)
        start = file.seek(max(0, end - TAIL_BYTES))
        lines = file.read().split(b"\n")
    rows = []
    for number, line in enumerate(lines):
        try:
            row = json.loads(line)
        except ValueError:  # the first, cut by the seek; the last, being written; a damaged one is not ours to judge
            continue
        if isinstance(row, dict) and (number > 0 or start == 0):
            rows.append({name: v for name, v in row.items() if isinstance(v, int | float) and math.isfinite(v)})
    return rows
