"""``fuseki status``: how a run, or a cluster and its runs, are doing."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from rl.cli.agents import Json
from rl.console import WrongInput, user_input


def status(
    run_dir: Annotated[str | None, typer.Argument(metavar="[RUN_DIR]", help="Folder or URL of a run.")] = None,
    address: Annotated[
        str | None, typer.Option(help="A cluster's dashboard: http://HEAD:8265, or a tunnel to it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Throughput of each node and actor, queues, lag and restarts of a run; or a cluster's machines and jobs."""
    if (run_dir is None) == (address is None):
        raise WrongInput("give the folder of a run, or a cluster by --address")
    with user_input():
        from rl.runtime.status import cluster_status, run_status

        if run_dir is not None:
            found = run_status(run_dir)
        else:
            from rl.runtime.jobs import Cluster

            found = cluster_status(Cluster(address or ""))
    if as_json:
        print(json.dumps(found, allow_nan=False))
        return
    from rich.console import Console

    console = Console()
    if run_dir is not None:
        show_run(console, found)
    else:
        show_cluster(console, found)


def table(title: str, columns: list[str], rows: list[list[Any]]) -> Any:
    """A rich table; the first column to the left, numbers to the right."""
    from rich import box
    from rich.table import Table

    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        made.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    for row in rows:
        made.add_row(*[_text(cell) for cell in row])
    return made


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, int | float):
        return f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else f"{value:,.2f}"
    return str(value)


def show_run(console: Any, found: dict[str, Any]) -> None:
    from rl.runtime.progress import clock

    head = f"{found['run']}: {clock(found['seconds'])} of training, {found['games']:,.0f} games, "
    head += f"{found['learner_steps']:,.0f} updates, {found['evaluations']:,.0f} evaluations; "
    console.print(head + f"newest figures {clock(found['silent_seconds'])} ago", highlight=False, soft_wrap=True)
    names = {
        "steps/s": "steps_per_second",
        "evaluations/s": "evaluations_per_second",
        "rows/s trained": "rows_per_second",
        "learner waits": "learner_wait_fraction",
        "lag": "lag_mean",
        "oldest": "lag_max",
        "queue": "queue",
        "actors": "actors_planned",
        "restarts": "restarts",
    }
    known = {title: found[key] for title, key in names.items() if found[key] is not None}
    console.print(table("whole run", ["", *known], [["", *known.values()]]))
    nodes, actors = found["nodes"], found["actors"]
    if nodes:
        rows = [
            [n, f.get("actors"), f.get("steps_per_second"), f.get("evaluations_per_second")] for n, f in nodes.items()
        ]
        console.print(table("nodes", ["node", "actors", "steps/s", "evaluations/s"], rows))
    if actors:
        ordered = sorted(actors.items(), key=lambda item: int(item[0].split("@")[0]))
        rows = [[name, f.get("steps_per_second"), f.get("lag"), f.get("restarts")] for name, f in ordered]
        console.print(table("actors", ["actor@node", "steps/s", "lag", "restarts"], rows))
    if not nodes:
        console.print("Nothing by node: the run is no older than ten seconds, or runs in one process.", style="dim")


def show_cluster(console: Any, found: dict[str, Any]) -> None:
    from rl.runtime.progress import clock

    columns = ["node", "name", "head", "cores", "gpus", "actors", "learners", "examiners"]
    console.print(table(f"machines of {found['address']}", columns, [[n[c] for c in columns] for n in found["nodes"]]))
    jobs = [
        [j["job"], j["status"].lower(), clock(j["seconds"]) if j["seconds"] is not None else None, j["run_dir"]]
        for j in found["jobs"]
    ]
    if not jobs:
        console.print("no jobs yet", style="dim")
        return
    console.print(table("jobs", ["job", "status", "time", "run folder"], jobs))
    for job in found["jobs"]:
        if "run" in job:
            show_run(console, job["run"])
        elif job.get("said"):
            console.print(f"{job['job']}: {job['said']}", highlight=False, soft_wrap=True)
