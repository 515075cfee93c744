"""Small runs for the runtime's tests, in this process or as a user would start them."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import psutil
import yaml

from rl.runtime.checkpoint import latest_checkpoint
from rl.runtime.metrics import read_metrics
from rl.weights import load_agent

SMALL: dict[str, object] = {
    "env": "tic_tac_toe",
    "net": {"encoder": {"kind": "mlp", "width": 32, "depth": 1}},
    "search": {"simulations": 8, "lookahead": True},
    "selfplay": {"games": 16, "full_search_fraction": 0.5, "fast_simulations": 4, "random_opening_plies": 3},
    "experience": {"min_rows": 100, "window": 2000, "reuse": 4},
    "learner": {"batch_size": 32, "publish_every": 5, "warmup_steps": 5},
    "evaluation": {"positions": 50, "simulations": 4, "games": 2, "opponents": ["random"]},
    "wandb": {"enabled": False},
}


SMALL_ROLLOUTS: dict[str, object] = {
    "env": "CartPole-v1",
    "net": {"encoder": {"kind": "mlp", "width": 16, "depth": 1}},
    "rollout": {"environments": 4, "steps": 16, "vectorization": "sync"},
    "learner": {"batch_size": 32},
    "evaluation": {"episodes": 2},
    "wandb": {"enabled": False},
}
KINDS: dict[str, dict[str, object]] = {
    "games": SMALL,
    "ppo": SMALL_ROLLOUTS | {"algorithm": {"kind": "ppo"}},
    "impala": SMALL_ROLLOUTS | {"algorithm": {"kind": "impala"}},
}


def write_config(path: Path, kind: str = "games", **run: object) -> Path:
    path.write_text(yaml.safe_dump(KINDS[kind] | {"run": run}))
    return path


def start(
    config: Path, run_dir: str | Path, *arguments: str, output: IO[str] | int = subprocess.PIPE
) -> subprocess.Popen[str]:
    """``fuseki train`` as a process of its own, in a process group of its own; what it says goes to ``output``."""
    fuseki = Path(sys.executable).parent / "fuseki"
    command = [str(fuseki), "train", str(config), "--run-dir", str(run_dir), *arguments]
    return subprocess.Popen(
        command, stdout=output, stderr=subprocess.STDOUT, text=True, start_new_session=True, env=os.environ
    )


def finish(process: subprocess.Popen[str], seconds: float = 120) -> str:
    """Wait for a run that should end well; returns what it printed."""
    output, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0, output
    return output


def workers(process: subprocess.Popen[str], name: str) -> list[psutil.Process]:
    """The run's Ray worker processes of this class, as ``ps`` shows them."""
    for _ in range(20):  # a process that is just changing its title seems to have none
        children = psutil.Process(process.pid).children(recursive=True)
        found = [c for c in children if c.is_running() and any(f"ray::{name}" in part for part in c.cmdline())]
        if found:
            break
        time.sleep(0.05)
    return found


def rows(run_dir: Path) -> list[dict[str, float]]:
    return read_metrics(run_dir) if (run_dir / "metrics.jsonl").exists() else []


def steps(run_dir: Path) -> int:
    return int(rows(run_dir)[-1]["learner_steps"]) if rows(run_dir) else 0


def kill_everything(process: subprocess.Popen[str]) -> None:
    """SIGKILL for the run and all of its Ray processes."""
    family = psutil.Process(process.pid).children(recursive=True)
    kill_group(process)
    for child in family:
        if child.is_running():
            child.kill()


def kill_group(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def wait_until(condition: Callable[[], object], process: subprocess.Popen[str], seconds: float = 150) -> None:
    """Wait for the condition while the process lives."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        if time.monotonic() > deadline:
            kill_group(process)
            raise AssertionError("it did not happen in time")
        time.sleep(0.05)


def saved_step(run_dir: Path) -> int:
    """The learner step of the newest checkpoint; 0 where there is none."""
    newest = latest_checkpoint(run_dir / "checkpoints")
    return int(newest.rpartition("-")[2]) if newest else 0


def kill_on_the_way(config: Path, run_dir: Path, last: int, *overrides: str) -> None:
    """Start a run of ``last`` learner steps in one process; SIGKILL at any moment after a checkpoint with a step."""
    process = start(config, run_dir, "--serial", *overrides)
    wait_until(lambda: saved_step(run_dir) > 0, process)
    time.sleep(random.Random().uniform(0, 0.3))
    kill_group(process)
    assert 0 < saved_step(run_dir) < last, "the run had ended before it was killed"


def final_weights(run_dir: Path) -> dict[str, np.ndarray]:
    newest = latest_checkpoint(run_dir / "checkpoints")
    assert newest is not None
    return load_agent(Path(newest) / "weights.safetensors").weights.tensors
