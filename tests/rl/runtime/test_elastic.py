"""Nodes join and leave while a run goes on; an actor that stands still holds nobody up."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from ray.cluster_utils import Cluster

from rl import runtime
from rl.config import load_config
from tests.rl.runtime.runs import rows, write_config


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A Ray cluster of one node with one core, which our runs join."""
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    monkeypatch.setenv("RAY_ADDRESS", found.address)
    yield found
    found.shutdown()


def last(run_dir: Path, name: str) -> float:
    return rows(run_dir)[-1].get(name, -1) if rows(run_dir) else -1


def actor_processes() -> list[psutil.Process]:
    """Ours, of this test: descendants of its process."""
    children = psutil.Process().children(recursive=True)
    return [c for c in children if c.is_running() and any("ray::ActorProcess" in part for part in c.cmdline())]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("wanted", ["auto", pytest.param(2, marks=pytest.mark.slow)])
def test_actors_come_with_nodes_and_go_with_them(wanted: object, cluster: Cluster, tmp_path: Path) -> None:
    """As many as there is room for, or up to a number, of which as many begin as there is room for."""
    run_dir = tmp_path / "run"
    path = write_config(tmp_path / "small.yaml", learner_steps=10**7, checkpoint_minutes=100, actors=wanted)
    config = load_config(path)
    told: list[str] = []

    def until(condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 240
        while not condition():
            assert time.monotonic() < deadline, what
            time.sleep(0.1)

    def further(updates: int) -> None:
        at = last(run_dir, "learner_steps")
        until(lambda: last(run_dir, "learner_steps") >= at + updates, "the run goes on")

    def events() -> None:
        try:
            until(lambda: last(run_dir, "learner_steps") > 5, "the run begins")
            assert last(run_dir, "selfplay/actors") == 1
            for _ in range(2):  # a node joins, and leaves by SIGKILL to all that is on it
                node = cluster.add_node(num_cpus=1)
                until(lambda: last(run_dir, "selfplay/actors") == 2 and len(actor_processes()) == 2, "an actor joins")
                further(10)
                cluster.remove_node(node, allow_graceful=False)
                until(lambda: last(run_dir, "selfplay/actors") == 1, "the actor is let go")
                further(10)
            assert last(run_dir, "selfplay/restarts") == 0
            # An actor that stands still, the other one going on.
            node = cluster.add_node(num_cpus=1)
            until(lambda: last(run_dir, "selfplay/actors") == 2 and len(actor_processes()) == 2, "an actor joins again")
            further(10)
            [still, _] = actor_processes()
            still.send_signal(signal.SIGSTOP)
            further(20)
            still.send_signal(signal.SIGCONT)
        except AssertionError as error:
            told.append(str(error))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=events)
    thread.start()
    runtime.train(config, run_dir)
    thread.join()
    assert not told
    counts = [int(row["learner_steps"]) for row in rows(run_dir)]
    assert counts == sorted(counts)
