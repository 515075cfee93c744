"""``fuseki submit``: a run as a job of a Ray cluster, from any machine that reaches its dashboard."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rl.cli.agents import Overrides, Resume
from rl.console import WrongInput, fail, user_input

if TYPE_CHECKING:
    from rl.runtime.jobs import Cluster, Job

Address = Annotated[
    str, typer.Option(help="The cluster's dashboard: http://HEAD:8265, or a tunnel to it.", show_default=False)
]


def submit(
    address: Address,
    config: Annotated[Path | None, typer.Argument(metavar="CONFIG.yaml", help="Configuration file.")] = None,
    overrides: Overrides = None,
    run_dir: Annotated[
        str | None,
        typer.Option(
            help="URL of the run's folder, or an absolute path that all machines share; default: ~/fuseki-runs/JOB of "
            "the machine that drives the run.",
            show_default=False,
        ),
    ] = None,
    resume: Resume = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Send the job, and leave it.")] = False,
    status: Annotated[str | None, typer.Option(metavar="JOB", help="Say how a job is doing.")] = None,
    follow: Annotated[str | None, typer.Option(metavar="JOB", help="Follow a job's log until it is over.")] = None,
    stop: Annotated[
        str | None, typer.Option(metavar="JOB", help="End a job, with a checkpoint: --resume goes on from there.")
    ] = None,
) -> None:
    """Train on a Ray cluster: send a run there and follow it, or ask for one that is there. Prints the job's name."""
    asked = [name for name, job in (("--status", status), ("--follow", follow), ("--stop", stop)) if job]
    if len(asked) + (config is not None) != 1:
        raise WrongInput("give either a CONFIG.yaml to send or one of --status, --follow and --stop with a JOB")
    if asked and (overrides or run_dir or resume or no_wait):
        raise WrongInput(f"{asked[0]} takes a JOB and --address alone")
    if resume and run_dir is None:
        raise WrongInput("--resume needs --run-dir, the folder of the run to go on with")
    from rl.config import load_config

    with user_input():
        resolved = load_config(config, overrides or []) if config is not None else None
        from rl.runtime.jobs import Cluster, new_name

        cluster = Cluster(address)
        if resolved is not None and config is not None:
            job = cluster.submit(resolved, new_name(config), run_dir, resume)
            print(job.name, flush=True)
            print(f"sent to {cluster.url}; its run folder: {job.run_dir}", file=sys.stderr)
            if no_wait:
                return
        else:
            job = cluster.job(status or follow or stop or "")
            if status:
                print(describe(job))
                return
            if stop:
                job = cluster.stop(stop)
                print(describe(job))
                if not job.over:
                    fail(f"job {job.name} has not ended yet: it still saves its checkpoint, or hangs", 1)
                return
    end(cluster, job, address)


def end(cluster: Cluster, job: Job, address: str) -> None:
    """Follow a job to its end and leave with its exit status."""
    from rl.runtime.jobs import ClusterLost

    def say(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()

    try:
        job = cluster.follow(job.name, say)
    except ClusterLost as error:
        fail(error, 1)
    except KeyboardInterrupt:
        print(
            f"\njob {job.name} goes on; to see more: fuseki submit --follow {job.name} --address {address}; to end it: "
            f"fuseki submit --stop {job.name} --address {address}",
            file=sys.stderr,
        )
        raise
    if job.status == "FAILED":
        fail(describe(job), 2 if job.exit_code == 2 else 1)
    if job.status == "STOPPED":
        fail(f"job {job.name} was stopped before its end; --resume --run-dir {job.run_dir} goes on", 1)
    print(describe(job), file=sys.stderr)


def describe(job: Job) -> str:
    """A job in one line."""
    parts = [f"{job.name}: {job.status.lower()}"]
    if job.started is not None and job.ended is not None:
        parts.append(f"after {job.ended - job.started:,.0f} s")
    if job.run_dir:
        parts.append(f"run folder {job.run_dir}")
    if job.status == "FAILED":  # Ray's message is the log's end; where there was no process yet, it is the only reason
        parts.append(job.message if job.exit_code is None else f"exit status {job.exit_code}, for which see its log")
    return ", ".join(parts)
