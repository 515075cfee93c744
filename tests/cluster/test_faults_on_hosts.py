"""Hosts, links and processes of a cluster fail under a run that was sent there; nobody lifts a finger but to resume.

``pytest -m slow -s tests/cluster/test_faults_on_hosts.py`` prints what each fault cost. Throughput afterwards is held
against that of a run which nothing happens to, on the hosts that are left. While it is taken, each host has a share of
its own of the machine's cores, where control groups allow it, the network all but stands still (as one learns, its
games change), and a clock runs beside: the same training in one process, on a host that nothing happens to. Throughput
is told in what the clock does in the same seconds, since a machine that others use too is now faster, now slower. The
run's folder is on a disk that all hosts share, so that its rows are seen as they are written, every five seconds: what
is told in seconds is right to about as many.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import pytest

from rl.plot import read_runs
from rl.runtime.checkpoint import latest_checkpoint
from tests.cluster.clusters import RayCluster, cluster_with_bucket, wait_for
from tests.cluster.hosts import SHARED, Host
from tests.cluster.test_on_hosts import SHORT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
RUN = (
    "run={minutes: 120, actors: auto, checkpoint_minutes: 0.2}",  # as many as there are cores, whatever happens
    "evaluation.minutes=120",
    "learner.learning_rate=1.0e-12",
    # Actors limit it, each of which does the same work all the time: nothing recalled, one number format.
    "experience.reuse=1",
    "search.cache=0",
    "inference.format=float32-nchw",
)
CUT_SECONDS = 60
HEAD_CORES, WORKER_CORES, CLOCK_CORES = 0.7, 0.25, 0.5  # which leaves a part of two cores to this test
START_SECONDS = 40  # until all processes that begin beside the actors are Ray's own, under names of ours
CALM_SECONDS, RATE_SECONDS = 20, 60  # with these shares, until throughput is taken, and over which it is
UNDISTURBED = 3  # such stretches of a run that nothing happens to, to see how far they differ among themselves


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with cluster_with_bucket(returning=True) as made:
        yield made


class Rate(NamedTuple):
    """Evaluations a second of a run, and of the clock meanwhile."""

    run: float
    clock: float

    @property
    def share(self) -> float:
        return self.run / self.clock


class Folder:
    """A run seen from outside, by what lies in its folder."""

    def __init__(self, cluster: RayCluster, name: str) -> None:
        self.cluster, self.name = cluster, name
        self.folder: Path = cluster.desk.home.parent / "shared" / name

    def rows(self) -> list[dict[str, float]]:
        try:
            (run,) = read_runs([self.folder])
        except (OSError, ValueError):  # it has written nothing yet, or is just cutting its rows
            return []
        return run.rows

    def last(self, name: str) -> float:
        """The newest value of a metric; 0 before there is one."""
        return next((row[name] for row in reversed(self.rows()) if name in row), 0.0)

    def rate(self, since: float) -> float:
        """Evaluations a second from the first row after ``since``, in the run's seconds, to the last."""
        stretch = [row for row in self.rows() if row["seconds"] >= since]
        first, last = stretch[0], stretch[-1]
        return (last["evaluations"] - first["evaluations"]) / (last["seconds"] - first["seconds"])


class Clock(Folder):
    """The same training in one process on the desk; it stands still but for where ``going``."""

    def __init__(self, cluster: RayCluster) -> None:
        super().__init__(cluster, "clock")
        words = ("configs/connect_four.yaml", *SHORT, *RUN, "run.actors=1", "--serial", "--run-dir", SHARED / "clock")
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = cluster.desk.start("fuseki", "train", *words, **quiet)
        wait_for(lambda: self.last("learner_steps") > 0, 600, "the clock's start")
        os.killpg(self._process.pid, signal.SIGSTOP)

    @contextlib.contextmanager
    def going(self) -> Iterator[None]:
        os.killpg(self._process.pid, signal.SIGCONT)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGSTOP)


class Run(Folder):
    """A run sent to the cluster."""

    def __init__(self, cluster: RayCluster, name: str, clock: Clock) -> None:
        super().__init__(cluster, name)
        self.clock, self.job = clock, ""

    def send(self, *more: str) -> None:
        where = ("--run-dir", str(SHARED / self.name), "--address", self.cluster.address)
        words = ("configs/connect_four.yaml", *SHORT, *RUN, *where)
        self.job = self.cluster.fuseki("submit", *words, "--no-wait", *more).stdout.strip()

    def trains_on(self, hosts: list[Host]) -> bool:
        """Whether actors play on all of them. A run that has failed is not waited for."""
        job = self.cluster.ask(f"/api/jobs/{self.job}") or {}
        assert job.get("status") != "FAILED", job["message"]
        return all(map(self.plays_on, hosts))

    def told(self, option: str) -> str:
        answer: str = self.cluster.fuseki("submit", option, self.job, "--address", self.cluster.address).stdout
        return answer

    def saved(self) -> int:
        """Updates in the newest checkpoint."""
        newest = latest_checkpoint(self.folder / "checkpoints")
        return int(newest.rsplit("-", 1)[1]) if newest else 0

    def plays_on(self, host: Host) -> bool:
        return self.last_set().get(f"nodes/actors/{host.ip}", 0) > 0

    def last_set(self) -> dict[str, float]:
        """The newest row that tells of nodes, which one in ten seconds does."""
        told = [row for row in self.rows() if any(name.startswith("nodes/actors/") for name in row)]
        return told[-1] if told else {}

    def rates(self, number: int = 1) -> list[Rate]:
        """Throughput of all actors, each host with a machine's worth of its own meanwhile."""
        time.sleep(START_SECONDS)
        wait_for(lambda: not examiner_works(self.cluster), 600, "the examiner's being ready")
        with self.clock.going():
            limit(self.cluster, HEAD_CORES, WORKER_CORES, CLOCK_CORES)
            time.sleep(CALM_SECONDS)
            found = [self._rate() for _ in range(number)]
            limit(self.cluster, None, None, None)
        return found

    def _rate(self) -> Rate:
        begun, there = self.last("seconds"), self.clock.last("seconds")
        wait_for(lambda: self.last("seconds") >= begun + RATE_SECONDS, 600, "the run's going on")
        return Rate(self.rate(begun), self.clock.rate(there))


def limit(cluster: RayCluster, head: float | None, worker: float | None, clock: float | None) -> None:
    """At most so many cores for what runs now on each host that is up."""
    workers = [(host, worker) for host in cluster.workers if host.up]
    up = [(cluster.head, head), *workers, (cluster.desk, clock)]
    able = [host.limit(cores) for host, cores in up]
    if not all(able):
        print("control groups cannot be used: throughput is what the hosts happen to share", flush=True)


def examiner_works(cluster: RayCluster) -> bool:
    """Whether it is starting, which takes minutes of a small share of a core, or examining."""
    up = [host for host in (cluster.head, *cluster.workers) if host.up]
    return any(host.run("pgrep", "-f", "ray::ExaminerProcess[.]", check=False).returncode == 0 for host in up)


def kill_by_name(cluster: RayCluster, name: str) -> None:
    for host in (cluster.head, *cluster.workers):
        host.run("pkill", "-KILL", "-f", name, check=False)


def undisturbed(cluster: RayCluster, name: str, playing: list[Host], clock: Clock) -> list[Rate]:
    """Throughput, again and again, of a run that nothing happens to, on these hosts, which are all that there are."""
    run = Run(cluster, name, clock)
    run.send()
    wait_for(lambda: run.trains_on(playing), 900, "training on all hosts")
    found = run.rates(UNDISTURBED)
    run.told("--stop")
    return found


class Faults:
    """What each fault has cost ``run``."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.figures: dict[str, dict[str, float]] = {}

    def cost(self, strike: Callable[[], object], over: Callable[[], bool] | None = None) -> dict[str, float]:
        """Strike, and wait until the run is over it: beyond the update at which it was hit, and what ``over`` says."""
        run = self.run
        at, saved, since = run.last("learner_steps"), run.saved(), time.monotonic()
        kept = max(row["learner_steps"] for row in run.rows() if row["learner_steps"] <= saved)
        strike()
        lowest = at

        def recovered() -> bool:
            nonlocal lowest
            now = run.last("learner_steps")
            lowest = min(lowest, now) if now else lowest
            return now > at and (over is None or over())

        wait_for(recovered, 600, "the run's going on")
        # A run that goes back keeps the rows until its checkpoint, so the last of them tells how far it went.
        assert lowest >= kept, "no update is lost beyond the last checkpoint"
        return {
            "seconds": round(time.monotonic() - since, 1),
            "updates_lost": at - max(lowest, saved) if lowest < at else 0,
            "since_checkpoint": max(0, at - saved),
            "at_update": at,
        }

    def note(self, what: str, hosts: int, costs: dict[str, float]) -> None:
        """Throughput as it is now, and what the fault cost."""
        (rate,) = self.run.rates()
        speed = {"evaluations_per_second": round(rate.run, 1), "of_the_clock": round(rate.clock, 1)}
        self.figures[what] = costs | {"hosts": hosts} | speed | {"share": rate.share}
        print(json.dumps({"fault": what} | self.figures[what]), flush=True)


def test_faults(cluster: RayCluster) -> None:
    clock = Clock(cluster)
    run = Run(cluster, "faults", clock)
    run.send()
    everywhere = [cluster.head, *cluster.workers]
    wait_for(lambda: run.trains_on(everywhere) and run.saved() > 100, 900, "training on all hosts")
    faults = Faults(run)

    def returns(host: Host) -> None:
        wait_for(lambda: host.ip in cluster.nodes() and run.plays_on(host), 600, "the host's return")

    def without(host: Host) -> Callable[[], bool]:
        """Whether it is known that this host's actors are no more."""
        left = run.last("selfplay/actors") - run.last_set()[f"nodes/actors/{host.ip}"]
        return lambda: run.last("selfplay/actors") == left

    # A worker host dies with everything on it.
    victim = cluster.workers[0]
    costs = faults.cost(victim.kill, without(victim))
    assert costs["updates_lost"] == 0
    faults.note("a host dies", 2, costs)
    victim.boot(victim.home.parent)
    cluster.join(victim)
    returns(victim)

    # A network link is cut for a minute. Its host comes back by itself.
    victim, since = cluster.workers[1], time.monotonic()
    costs = faults.cost(victim.cut, without(victim))  # the others go on before it is mended
    assert costs["updates_lost"] == 0
    time.sleep(max(0.0, since + CUT_SECONDS - time.monotonic()))
    victim.mend()
    returns(victim)
    faults.note("a link is cut for a minute or more", 3, costs)

    # The learner is killed.
    faults.note("the learner dies", 3, faults.cost(lambda: kill_by_name(cluster, "ray::LearnerProcess")))

    # The driver is killed, and the run resumed.
    def resume_when_failed() -> None:
        kill_by_name(cluster, "rl[.]cli train")
        wait_for(lambda: "failed" in run.told("--status"), 300, "the job's failing")
        run.send("--resume")

    costs = faults.cost(resume_when_failed)
    wait_for(lambda: run.trains_on(everywhere), 600, "training on all hosts")
    faults.note("the driver dies, and is resumed", 3, costs)

    # The head dies, with driver, learner and all that Ray knew; booted again, and the run resumed.
    def boot_and_resume() -> None:
        cluster.head.kill()
        cluster.head.boot(cluster.head.home.parent)
        cluster.join(cluster.head)
        wait_for(lambda: cluster.started(cluster.head), 600, "the head's start")
        wait_for(lambda: set(cluster.nodes()) == {host.ip for host in everywhere}, 600, "all machines' joining again")
        run.send("--resume")

    costs = faults.cost(boot_and_resume)
    wait_for(lambda: run.trains_on(everywhere), 600, "training on all hosts")
    faults.note("the head dies, is booted, and the run resumed", 3, costs)
    run.told("--stop")
    counts = [row["learner_steps"] for row in run.rows()]
    assert counts == sorted(counts), "what is written repeats nothing"

    # What remained possible.
    possible = {3: undisturbed(cluster, "three", everywhere, clock)}
    cluster.workers[0].kill()
    wait_for(lambda: cluster.workers[0].ip not in cluster.nodes(), 300, "the host's being given up")
    possible[2] = undisturbed(cluster, "two", [cluster.head, cluster.workers[1]], clock)
    print(json.dumps({"undisturbed": {hosts: [rate._asdict() for rate in rates] for hosts, rates in possible.items()}}))
    for what, figure in faults.figures.items():
        shares = [rate.share for rate in possible[int(figure["hosts"])]]
        left = figure["share"] / mean(shares)
        spread = (max(shares) - min(shares)) / mean(shares)
        print(f"{what}: {left:.3f} of the throughput of a run undisturbed, which varies by {spread:.3f}", flush=True)
        assert left > 0.9, (what, figure, possible)
