"""Runs: the cycle in one process (``loop.py``, read first) and on a Ray cluster (``on_ray.py``)."""

from __future__ import annotations

from pathlib import Path

from rl.config import Config

OBJECT_STORE_BYTES = 512 * 2**20  # of a cluster that we start: a few versions of weights and some games


def train(config: Config, run_dir: str | Path, *, resume: bool = False, serial: bool = False) -> Path:
    """Train until the budget in ``config.run`` is used; returns the run folder.

    ``resume`` continues the run in ``run_dir`` from its newest checkpoint; ``serial`` runs the whole cycle in this
    process. Without it, the run joins the Ray cluster that RAY_ADDRESS names, or starts one on this machine.
    Ctrl-C (or SIGTERM) ends it with a checkpoint.
    Raises ConfigError when the folder does not fit what was asked for, CheckpointError when one cannot be saved.
    """
    from rl.runtime.loop import LocalActors, run_lockstep
    from rl.runtime.progress import summary
    from rl.runtime.session import Session

    session = Session(config, Path(run_dir), resume)
    with session:
        if serial:
            run_lockstep(session, LocalActors(config))
        else:
            _on_ray(session)
    summary(session)
    return Path(run_dir)


def _on_ray(session) -> None:
    import ray

    from rl.runtime.loop import run_lockstep
    from rl.runtime.on_ray import RayActors, plan, run_async

    session.progress.note("starting Ray")
    ray.init(
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        object_store_memory=None if _joins_a_cluster() else OBJECT_STORE_BYTES,
    )
    try:
        if session.config.run.mode == "sync":
            run_lockstep(session, RayActors(session.config, plan(session.config, ray.cluster_resources())))
        else:
            run_async(session)
    finally:
        ray.shutdown()


def _joins_a_cluster() -> bool:
    import os

    return bool(os.environ.get("RAY_ADDRESS"))
