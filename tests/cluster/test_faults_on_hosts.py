"""Hosts, links and processes of a cluster fail under a run that was sent there; nobody lifts a finger but to resume.

``pytest -m slow -s tests/cluster/test_faults_on_hosts.py`` prints what each fault cost. Throughput afterwards is held
against that of a run which nothing happens to, on the hosts that are left. For that, each host has a share of its own of
the machine's cores, where control groups allow it, and the network all but stands still: as one learns, games change.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from rl.plot import read_runs
from tests.cluster.clusters import RayCluster, cluster_with_bucket, wait_for
from tests.cluster.hosts import Host
from tests.cluster.test_on_hosts import SHORT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
RUN = (
    "run={minutes: 120, actors: 3, checkpoint_minutes: 0.2}",
    "evaluation.minutes=120",
    "learner.learning_rate=1.0e-12",
)
CUT_SECONDS = 60
HEAD_CORES, WORKER_CORES = 1.0, 0.3  # which leaves a part of two cores to the store and to this test
CALM_SECONDS, RATE_SECONDS = 40, 90  # after a fault, until throughput is taken, and over which it is


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with cluster_with_bucket(returning=True) as made:
        yield made


class Run:
    """A run sent to the cluster, seen from outside by what lies in its folder."""

    def __init__(self, cluster: RayCluster, name: str) -> None:
        self.cluster, self.url = cluster, f"s3://runs/{name}"
        self.job = ""

    def send(self, *more: str) -> None:
        words = ("configs/connect_four.yaml", *SHORT, *RUN, "--run-dir", self.url, "--address", self.cluster.address)
        self.job = self.cluster.fuseki("submit", *words, "--no-wait", *more).stdout.strip()

    def told(self, option: str) -> str:
        answer: str = self.cluster.fuseki("submit", option, self.job, "--address", self.cluster.address).stdout
        return answer

    def rows(self) -> list[dict[str, float]]:
        try:
            (run,) = read_runs([self.url])
        except (OSError, ValueError):  # it has written nothing yet
            return []
        return run.rows

    def steps(self) -> float:
        found = self.rows()
        return found[-1]["learner_steps"] if found else 0.0

    def plays_on(self, host: Host) -> bool:
        rows = self.rows()
        last = [row for row in rows if any(name.startswith("nodes/actors/") for name in row)]  # every ten seconds
        return bool(last) and last[-1].get(f"nodes/actors/{host.ip}", 0) > 0

    def rate(self) -> float:
        """Evaluations a second of all actors, of a stretch of time that begins now."""
        begun = self.rows()[-1]["seconds"]
        wait_for(lambda: self.rows()[-1]["seconds"] >= begun + RATE_SECONDS, 600, "the run's going on")
        stretch = [row for row in self.rows() if row["seconds"] >= begun]
        first, last = stretch[0], stretch[-1]
        return (last["evaluations"] - first["evaluations"]) / (last["seconds"] - first["seconds"])


def limit(cluster: RayCluster) -> None:
    """Each host has a machine's worth of its own from now on; the caller repeats it for what booted since."""
    able = [cluster.head.limit(HEAD_CORES), *(host.limit(WORKER_CORES) for host in cluster.workers)]
    if not all(able):
        print("control groups cannot be used: throughput is what the hosts happen to share", flush=True)


def kill_by_name(cluster: RayCluster, name: str) -> None:
    for host in (cluster.head, *cluster.workers):
        host.run("pkill", "-KILL", "-f", name, check=False)


def goes_on(run: Run, at: float, since: float) -> dict[str, float]:
    """Wait until the run has gone beyond update ``at`` of when it was hit; what that cost."""
    lowest = at

    def beyond() -> bool:
        nonlocal lowest
        now = run.steps()
        lowest = min(lowest, now)
        return now > at

    wait_for(beyond, 600, "the run's going on")
    return {"seconds": round(time.monotonic() - since, 1), "updates_lost": at - lowest, "updates_at_fault": at}


def undisturbed(cluster: RayCluster, name: str, playing: list[Host]) -> float:
    """Throughput of a run that nothing happens to, on these hosts, which are all that there are."""
    run = Run(cluster, name)
    run.send()
    wait_for(lambda: all(map(run.plays_on, playing)), 900, "training on all hosts")
    time.sleep(CALM_SECONDS)
    rate = run.rate()
    run.told("--stop")
    return rate


def test_faults(cluster: RayCluster) -> None:
    run = Run(cluster, "faults")
    run.send()
    everywhere = [cluster.head, *cluster.workers]
    wait_for(lambda: all(map(run.plays_on, everywhere)), 900, "training on all hosts")
    limit(cluster)
    figures: dict[str, dict[str, float]] = {}

    def note(what: str, hosts: int, costs: dict[str, float]) -> None:
        time.sleep(CALM_SECONDS)
        figures[what] = costs | {"hosts": hosts, "evaluations_per_second": round(run.rate(), 1)}
        print(json.dumps({"fault": what} | figures[what]), flush=True)

    def returns(host: Host) -> None:
        wait_for(lambda: host.ip in cluster.nodes() and run.plays_on(host), 600, "the host's return")
        limit(cluster)

    # A worker host dies with everything on it.
    victim = cluster.workers[0]
    at, since = run.steps(), time.monotonic()
    victim.kill()
    note("a host dies", 2, goes_on(run, at, since))
    victim.boot(victim.home.parent)
    cluster.join(victim)
    returns(victim)

    # A network link is cut for a minute. Its host comes back by itself.
    victim = cluster.workers[1]
    at, since = run.steps(), time.monotonic()
    victim.cut()
    costs = goes_on(run, at, since)  # the others go on before it is mended
    time.sleep(max(0.0, since + CUT_SECONDS - time.monotonic()))
    victim.mend()
    returns(victim)
    note("a link is cut for a minute or more", 3, costs)

    # The learner is killed.
    at, since = run.steps(), time.monotonic()
    kill_by_name(cluster, "ray::LearnerProcess")
    note("the learner dies", 3, goes_on(run, at, since))

    # The driver is killed, and the run resumed.
    at = run.steps()
    kill_by_name(cluster, "rl[.]cli train")
    wait_for(lambda: "failed" in run.told("--status"), 300, "the job's failing")
    since = time.monotonic()
    run.send("--resume")
    costs = goes_on(run, at, since)
    wait_for(lambda: all(map(run.plays_on, everywhere)), 600, "training on all hosts")
    note("the driver dies, and is resumed", 3, costs)
    run.told("--stop")

    # What is written repeats nothing, and no more is lost than since a checkpoint.
    counts = [row["learner_steps"] for row in run.rows()]
    assert counts == sorted(counts)

    # What remained possible.
    possible = {3: undisturbed(cluster, "three", everywhere)}
    cluster.workers[0].kill()
    wait_for(lambda: cluster.workers[0].ip not in cluster.nodes(), 300, "the host's being given up")
    possible[2] = undisturbed(cluster, "two", [cluster.head, cluster.workers[1]])
    print(json.dumps({"undisturbed": possible}), flush=True)
    for what, figure in figures.items():
        share = figure["evaluations_per_second"] / possible[int(figure["hosts"])]
        print(f"{what}: {share:.3f} of the throughput of a run undisturbed", flush=True)
        assert share > 0.7, (what, figure, possible)
