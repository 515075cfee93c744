"""Nodes join and leave while a run goes on; an actor that stands still holds nobody up."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.rl.runtime.runs import finish, rows, saved_step, start, steps, wait_until, write_config

RAY = Path(sys.executable).parent / "ray"
SECONDS = 240  # for anything to happen


class Nodes:
    """A Ray cluster on this machine: a head with one core, and nodes of one core that come and go."""

    def __init__(self, folder: str):
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.processes: list[subprocess.Popen[bytes]] = []
        common = ["--node-ip-address=127.0.0.1", "--include-dashboard=false", f"--temp-dir={folder}"]
        self._start("--head", f"--port={self.port}", *common)

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (Path(self.folder) / f"node-{len(self.processes)}.log").open("wb") as log:
            node = subprocess.Popen(
                [str(RAY), "start", "--block", "--num-cpus=1", "--object-store-memory=150000000", *arguments],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(node)
        return node

    def join(self) -> subprocess.Popen[bytes]:
        return self._start(f"--address={self.address}", "--node-ip-address=127.0.0.1")

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """SIGKILL for everything that is on it."""
        family = [psutil.Process(node.pid), *psutil.Process(node.pid).children(recursive=True)]
        for process in family:
            if process.is_running():
                process.kill()
        node.wait()

    def close(self) -> None:
        for node in self.processes:
            if node.poll() is None:
                self.kill(node)


def actors(node: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Processes of actors on a node."""
    children = psutil.Process(node.pid).children(recursive=True)
    return [c for c in children if c.is_running() and any("ray::ActorProcess" in part for part in c.cmdline())]


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """A cluster that our runs join."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True))
        found = Nodes(folder)
        stack.callback(found.close)
        monkeypatch.setenv("RAY_ADDRESS", found.address)
        log = Path(folder) / "node-0.log"
        deadline = time.monotonic() + SECONDS
        while "block forever" not in log.read_text():
            assert found.processes[0].poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield found


@pytest.mark.timeout(600)
@pytest.mark.slow
def test_a_run_that_waits_for_room_says_so_and_can_be_stopped(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, run_dir = write_config(tmp_path / "small.yaml", learner_steps=10**7, actors=1), tmp_path / "run"
    first = start(config, tmp_path / "first")  # which has the only core
    wait_until(lambda: steps(tmp_path / "first") > 5, first, SECONDS)
    waiting = start(config, run_dir)
    wait_until((run_dir / "checkpoints").exists, waiting, SECONDS)
    time.sleep(70)  # it speaks after a minute
    assert waiting.poll() is None and not (run_dir / "metrics.jsonl").exists()
    os.kill(waiting.pid, signal.SIGTERM)
    output = finish(waiting, 60)
    assert "Traceback" not in output
    assert output.count("still waiting for processes to start; free in the cluster: 0 of 1 cores") == 1
    assert saved_step(run_dir) == 0
    os.kill(first.pid, signal.SIGINT)
    finish(first)


@pytest.mark.timeout(1200)
@pytest.mark.slow
@pytest.mark.parametrize("wanted", ["auto", 2])
def test_actors_come_with_nodes_and_go_with_them(wanted: object, nodes: Nodes, tmp_path: Path) -> None:
    """As many as there is room for, or up to a number, of which as many begin as there is room for."""
    run_dir = tmp_path / "run"
    config = write_config(
        tmp_path / "small.yaml", learner_steps=10**7, checkpoint_minutes=100, actors=wanted
    )  # so that a learner that fell back would be seen: there is one checkpoint, the first
    run = start(config, run_dir)

    def number() -> float:
        return rows(run_dir)[-1].get("selfplay/actors", -1)

    def further(updates: int) -> None:
        at = steps(run_dir)
        wait_until(lambda: steps(run_dir) >= at + updates, run, SECONDS)

    wait_until(lambda: steps(run_dir) > 5, run, SECONDS)
    assert number() == 1

    def joined() -> subprocess.Popen[bytes]:
        """A node that has joined, and has an actor that has begun."""
        node = nodes.join()
        wait_until(lambda: number() == 2 and actors(node), run, SECONDS)
        further(10)
        return node

    for _ in range(2):
        node = joined()
        nodes.kill(node)
        wait_until(lambda: number() == 1, run, SECONDS)
        further(10)
    assert rows(run_dir)[-1]["selfplay/restarts"] == 0
    # An actor that stands still, the other one going on.
    [still] = actors(joined())
    still.send_signal(signal.SIGSTOP)
    further(20)
    still.send_signal(signal.SIGCONT)
    os.kill(run.pid, signal.SIGINT)
    assert "Traceback" not in finish(run)
    counts = [int(row["learner_steps"]) for row in rows(run_dir)]
    assert counts == sorted(counts)
