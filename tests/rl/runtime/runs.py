"""Small runs for the runtime's tests, in this process or as a user would start them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml

from rl.runtime.checkpoint import latest_checkpoint
from rl.weights import load_agent

SMALL = {
    "env": "tic_tac_toe",
    "net": {"encoder": {"kind": "mlp", "width": 32, "depth": 1}},
    "search": {"simulations": 8, "lookahead": True},
    "selfplay": {"games": 16, "full_search_fraction": 0.5, "fast_simulations": 4, "random_opening_plies": 3},
    "experience": {"min_rows": 100, "window": 2000, "reuse": 4},
    "learner": {"batch_size": 32, "publish_every": 5, "warmup_steps": 5},
    "evaluation": {"positions": 50, "simulations": 4, "games": 2, "opponents": ["random"]},
    "wandb": {"enabled": False},
}


def write_config(path: Path, **run: object) -> Path:
    path.write_text(yaml.safe_dump(SMALL | {"run": run}))
    return path


def start(config: Path, run_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    """``fuseki train`` as a process of its own, in a process group of its own."""
    fuseki = Path(sys.executable).parent / "fuseki"
    command = [str(fuseki), "train", str(config), "--run-dir", str(run_dir), *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, env=os.environ
    )


def finish(process: subprocess.Popen[str], seconds: float = 120) -> str:
    """Wait for a run that should end well; returns what it printed."""
    output, _ = process.communicate(timeout=seconds)
    assert process.returncode == 0, output
    return output


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


def final_weights(run_dir: Path) -> dict[str, np.ndarray]:
    newest = latest_checkpoint(run_dir / "checkpoints")
    assert newest is not None
    return load_agent(Path(newest) / "weights.safetensors").weights.tensors
