"""Runs: the cycle in one process (``loop.py``, read first) and on a Ray cluster (``on_ray.py``)."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rl.config import Config, ConfigError, GameConfig
from rl.runtime.checkpoint import CheckpointError

if TYPE_CHECKING:
    from rl.runtime.session import Session

OBJECT_STORE_BYTES = 512 * 2**20  # of a cluster that we start: a few versions of weights and some games


def train(config: Config, run_dir: str | Path, *, resume: bool = False, serial: bool = False) -> Path:
    """Train until the budget in ``config.run`` is used, in a local folder or any fsspec URL.

    Returns the run folder; of a URL, the local copy of its small files (``RunFolder``).

    ``resume`` continues the run in ``run_dir`` from its newest checkpoint; ``serial`` runs the whole cycle in this
    process. Without it, the run joins the Ray cluster that RAY_ADDRESS names, or starts one on this machine.
    Ctrl-C (or SIGTERM) ends it with a checkpoint.
    Raises ConfigError when the folder does not fit what was asked for, CheckpointError when one cannot be saved,
    RunFailed when the environment fails or the training diverges.
    """
    import torch
    from rich.console import Console

    from envs.gym import WorldError
    from rl.runtime.faults import world_failed
    from rl.runtime.loop import LocalActors, run_lockstep
    from rl.runtime.metrics import read_metrics
    from rl.runtime.progress import summary
    from rl.runtime.session import Session

    if serial and isinstance(config, GameConfig) and config.inference.servers:
        raise ConfigError("inference.servers are processes of their own: leave --serial out, or set it to 0")
    torch.set_num_threads(1)  # of this process; two that compete for a core with a thread each lose tenfold
    lockstep = serial or config.run.mode == "sync"
    session = Session(config, run_dir, resume, whole=lockstep)  # else the learners read the checkpoint
    with session:
        try:
            if serial:
                # In sync mode a resumed run is to be the very one that it would have been.
                run_lockstep(session, LocalActors(config, 0 if config.run.mode == "sync" else session.clock.env_steps))
            else:
                _on_ray(session)
        except WorldError as error:  # before there was anything to save
            raise world_failed(session, str(error)) from error
    summary(Console(stderr=True), read_metrics(session.run_dir), session.run_dir, config.env, session.folder.address)
    return session.run_dir


def _on_ray(session: Session) -> None:
    from rl.runtime.loop import run_lockstep
    from rl.runtime.on_ray import run_async
    from rl.runtime.plan import asking, plan_now
    from rl.runtime.processes import RayActors

    joins = "RAY_ADDRESS" in os.environ
    session.progress.note(f"joining the Ray cluster at {os.environ['RAY_ADDRESS']}" if joins else "starting Ray")
    with cluster():
        if joins:
            from rl.runtime.gauges import Gauges

            session.metrics.also.append(Gauges(session.folder.address).set)
        if session.config.run.mode == "sync":
            run_lockstep(session, RayActors(session.config, plan_now(session.config)))
        else:
            with asking(session.config):
                run_async(session)


@contextmanager
def cluster() -> Iterator[None]:
    """The Ray cluster that RAY_ADDRESS names, or one of our own on this machine for as long as this lasts.

    Raises ConfigError where that cluster cannot be joined.
    """
    import ray

    own = "RAY_ADDRESS" not in os.environ
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(
            include_dashboard=False if own else None,
            object_store_memory=OBJECT_STORE_BYTES if own else None,
            log_to_driver=False,
            configure_logging=False,
        )
    except (ray.exceptions.AuthenticationError, ConnectionError) as error:
        if own:
            raise
        raise ConfigError(
            f"cannot join the Ray cluster at RAY_ADDRESS={os.environ['RAY_ADDRESS']}: {error}; it has to run on this "
            "machine too (ray start), with the same token (RAY_AUTH_MODE=token)"
        ) from error
    if threading.current_thread() is threading.main_thread():
        # Ray's library has put its own handler of SIGTERM below Python's, which ends the process on the spot.
        for number, handler in handlers.items():
            signal.signal(number, handler)
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        # An error that is meant for the user must not arrive as another process's traceback.
        if isinstance(error.cause, CheckpointError):
            raise error.cause from error
        raise
    finally:
        ray.shutdown()
