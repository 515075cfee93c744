"""What a death costs: each kind of process of a running run is killed, and what follows is timed.

    python -m tests.rl.runtime.recovery CONFIG.yaml RUN_DIR [key.sub=value ...]

prints a line for each victim: seconds until the learner has gone beyond the update at which it was hit, updates and
games that were lost, and the share of the earlier throughput that there is afterwards.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tests.rl.runtime.runs import kill_everything, kill_group, rows, start, steps, wait_until, workers

STEADY_SECONDS = 20.0  # over which throughput is taken, before and after


def rate(run_dir: Path) -> float:
    """Steps of the environments a second now."""
    wait = rows(run_dir)[-1]["seconds"] + STEADY_SECONDS
    first = rows(run_dir)[-1]
    while rows(run_dir)[-1]["seconds"] < wait:
        time.sleep(0.2)
    last = rows(run_dir)[-1]
    return (last["env_steps"] - first["env_steps"]) / (last["seconds"] - first["seconds"])


def processes(run: subprocess.Popen[str], *words: str) -> list[psutil.Process]:
    children = psutil.Process(run.pid).children(recursive=True)
    return [c for c in children if any(word in " ".join(c.cmdline()) for word in words)]


def kill_worker(name: str) -> Callable[[subprocess.Popen[str]], None]:
    return lambda run: workers(run, name)[-1].send_signal(signal.SIGKILL)


def kill_driver(run: subprocess.Popen[str]) -> None:
    """The driver alone: what it had started sees that and ends."""
    run.send_signal(signal.SIGKILL)
    run.communicate()


def kill_head(run: subprocess.Popen[str]) -> None:
    """The head's store of the cluster's state; nothing that needs it outlives it."""
    for process in processes(run, "gcs_server"):
        process.send_signal(signal.SIGKILL)


VICTIMS: dict[str, tuple[Callable[[subprocess.Popen[str]], None], bool]] = {  # and whether --resume is needed
    "actor": (kill_worker("ActorProcess"), False),
    "examiner": (kill_worker("ExaminerProcess"), False),
    "learner": (kill_worker("LearnerProcess"), False),
    "driver": (kill_driver, True),
    "head": (kill_head, True),
}


def measure(config: Path, run_dir: Path, victim: str, overrides: list[str]) -> dict[str, Any]:
    """Kill one victim of a run that is going."""
    kill, resume = VICTIMS[victim]
    arguments = ["run.learner_steps=10000000", "run.minutes=null", *overrides]
    run = start(config, run_dir, *arguments)
    wait_until(lambda: steps(run_dir) > 50, run, 600)
    before = rate(run_dir)
    hit = rows(run_dir)[-1]
    begun = time.monotonic()
    kill(run)
    lost = 0.0
    if resume:
        try:
            run.communicate(timeout=120)  # it ends by itself, or is ended
        except subprocess.TimeoutExpired:
            kill_everything(run)
        begun = time.monotonic()
        run = start(config, run_dir, "--resume", *arguments)

    def beyond() -> bool:
        nonlocal lost
        now = rows(run_dir)[-1]
        lost = max(lost, hit["learner_steps"] - now["learner_steps"])
        return now["learner_steps"] > hit["learner_steps"] and now["env_steps"] > hit["env_steps"]

    wait_until(beyond, run, 600)
    recovered = time.monotonic() - begun
    after = rate(run_dir)
    run.send_signal(signal.SIGINT)
    try:
        run.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        kill_group(run)
    return {
        "victim": victim,
        "seconds": round(recovered, 1),
        "updates_lost": int(lost),
        "updates_at_hit": int(hit["learner_steps"]),
        "throughput_after": round(after / before, 3),
        "restarts": rows(run_dir)[-1].get("selfplay/restarts", 0),
    }


if __name__ == "__main__":
    for name in VICTIMS:
        folder = Path(f"{sys.argv[2]}-{name}")
        shutil.rmtree(folder, ignore_errors=True)
        print(json.dumps(measure(Path(sys.argv[1]), folder, name, sys.argv[3:])), flush=True)
