"""A long run, watched: memory and open files of every process, and Ray's object store, sampled to a table.

    python -m tests.rl.runtime.soak CONFIG.yaml RUN_DIR MINUTES [key.sub=value ...]

writes RUN_DIR-soak.csv (one line a process and sample) and RUN_DIR-soak.log (what the run said), and prints, of each
process, what it had in the second quarter of the run and in the last: the first one holds imports, compilation and a
replay window that fills.
"""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import psutil

from tests.rl.runtime.runs import start

SECONDS = 10.0  # between two samples
STORE_EVERY = 6  # samples, of the object store, since asking Ray takes it seconds
WATCHED = re.compile(r"ray::(\w+)|/(raylet|gcs_server)/|(fuseki) train")
USED = re.compile(r"Plasma memory usage (\d+) MiB, (\d+) objects")
SPILLED = re.compile(r"Spilled (\d+) MiB")


def soak(config: Path, run_dir: Path, minutes: float, overrides: list[str]) -> list[dict[str, Any]]:
    """Samples of a run of so many minutes: seconds, process (and its id), rss_mb, files; or store_mb and objects."""
    # What it says goes to a file: nobody reads along, and when a pipe is full, after an hour, the run stands still.
    log = Path(f"{run_dir}-soak.log")
    with log.open("w") as output:
        process = start(config, run_dir, f"run.minutes={minutes}", "run.learner_steps=null", *overrides, output=output)
    begun, samples = time.monotonic(), list[dict[str, Any]]()
    number = 0
    while process.poll() is None:
        now = {"seconds": round(time.monotonic() - begun)}
        samples += [now | sample for sample in _processes(process.pid)]
        if number % STORE_EVERY == STORE_EVERY - 1:
            samples += [now | sample for sample in _store(process.pid)]
        number += 1
        time.sleep(SECONDS)
    assert process.returncode == 0, log.read_text()[-2000:]
    return samples


def _processes(pid: int) -> Iterator[dict[str, Any]]:
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        try:
            name = WATCHED.search(" ".join(process.cmdline()))
            if name is None:
                continue
            title = next(group for group in name.groups() if group)
            rss, files = process.memory_info().rss / 1e6, process.num_fds()
        except psutil.Error:  # it ended just now
            continue
        yield {"process": title, "pid": process.pid, "rss_mb": round(rss, 1), "files": files}


def _store(pid: int) -> Iterator[dict[str, Any]]:
    """Of the run's own Ray cluster, whose address the raylet's command line tells."""
    lines = [" ".join(child.cmdline()) for child in psutil.Process(pid).children(recursive=True)]
    address = next((m[1] for line in lines if (m := re.search(r"--gcs-address=(\S+)", line))), None)
    if address is None:
        return
    ray = Path(sys.executable).parent / "ray"
    command = [str(ray), "memory", "--stats-only", "--address", address]
    with_token = os.environ | {"RAY_AUTH_MODE": "token"}  # which every run's own cluster asks for
    told = subprocess.run(command, check=False, capture_output=True, text=True, env=with_token).stdout
    if used := USED.search(told):
        spilled = SPILLED.search(told)
        yield {
            "process": "object store",
            "rss_mb": float(used[1]),
            "files": int(used[2]),
            "spilled_mb": float(spilled[1]) if spilled else 0.0,
        }


def summary(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each process: means over the run's second quarter and its last."""
    whole = max(sample["seconds"] for sample in samples)
    found: dict[tuple[str, Any], dict[int, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        found[sample["process"], sample.get("pid")][min(3, int(4 * sample["seconds"] / whole))].append(sample)
    rows = []
    for (process, pid), quarters in sorted(found.items(), key=str):
        if quarters[1] and quarters[3]:  # those that lived on
            row: dict[str, Any] = {"process": process, "pid": pid}
            for name in ("rss_mb", "files"):
                for when, quarter in (("then", 1), ("last", 3)):
                    row[f"{name}_{when}"] = round(mean(sample[name] for sample in quarters[quarter]), 1)
            rows.append(row | {"spilled_mb": max(s.get("spilled_mb", 0.0) for s in quarters[3])})
    return rows


if __name__ == "__main__":
    arguments = sys.argv[1:]
    found = soak(Path(arguments[0]), Path(arguments[1]), float(arguments[2]), arguments[3:])
    with Path(f"{arguments[1]}-soak.csv").open("w", newline="") as file:
        fields = ["seconds", "process", "pid", "rss_mb", "files", "spilled_mb"]
        table = csv.DictWriter(file, fields, restval="")
        table.writeheader()
        table.writerows(found)
    for line in summary(found):
        print(line)
