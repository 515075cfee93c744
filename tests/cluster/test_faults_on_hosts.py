"""Hosts, links and processes of a cluster fail under a run that was sent there; nobody lifts a finger but to resume.

``pytest -m slow -s tests/cluster/test_faults_on_hosts.py`` prints what each fault cost.
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

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]
URL = "s3://runs/faults"
RUN = ("run={minutes: 120, actors: 3, checkpoint_minutes: 0.2}", "evaluation.minutes=120")
CUT_SECONDS = 60
RATE_ROWS = 6  # of metrics, over which throughput is taken


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with cluster_with_bucket(returning=True) as made:
        yield made


def rows() -> list[dict[str, float]]:
    try:
        (run,) = read_runs([URL])
    except (OSError, ValueError):  # it has written nothing yet
        return []
    return run.rows


def steps() -> float:
    found = rows()
    return found[-1]["learner_steps"] if found else 0.0


def rate() -> float:
    """Evaluations a second of all actors, over the newest rows."""
    first, *_, last = rows()[-RATE_ROWS:]
    return (last["evaluations"] - first["evaluations"]) / (last["seconds"] - first["seconds"])


def settle() -> float:
    """Wait for as many new rows as throughput is taken from; returns the throughput."""
    count = len(rows())
    wait_for(lambda: len(rows()) >= count + RATE_ROWS, 400, "the run's going on")
    return rate()


def actors_on(host: Host) -> bool:
    told = [row for row in rows() if any(name.startswith("nodes/actors/") for name in row)]  # every ten seconds
    return bool(told) and told[-1].get(f"nodes/actors/{host.ip}", 0) > 0


def kill_by_name(cluster: RayCluster, name: str) -> None:
    for host in (cluster.head, *cluster.workers):
        host.run("pkill", "-KILL", "-f", name, check=False)


def told(what: str, at: float, since: float, before: float, figures: list[dict[str, object]]) -> None:
    """Wait until the run has gone beyond update ``at`` of when it was hit, and note what that took."""
    lowest = at

    def beyond() -> bool:
        nonlocal lowest
        now = steps()
        lowest = min(lowest, now)
        return now > at

    wait_for(beyond, 600, f"{what}: the run's going on")
    seconds = time.monotonic() - since
    after = settle()
    figures.append(
        {
            "fault": what,
            "seconds": round(seconds, 1),
            "updates_lost": int(at - lowest),
            "updates_at_fault": int(at),
            "throughput_after": round(after / before, 3),
        }
    )
    print(json.dumps(figures[-1]), flush=True)


def test_faults(cluster: RayCluster) -> None:
    words = ("submit", "configs/connect_four.yaml", *SHORT, *RUN, "--run-dir", URL, "--address", cluster.address)
    name = cluster.fuseki(*words, "--no-wait").stdout.strip()
    wait_for(lambda: all(map(actors_on, (cluster.head, *cluster.workers))), 900, "training on all hosts")
    figures: list[dict[str, object]] = []
    before = settle()

    # A worker host dies with everything on it.
    victim = cluster.workers[0]
    at, since = steps(), time.monotonic()
    victim.kill()
    told("a host dies", at, since, before, figures)
    victim.boot(victim.home.parent)
    cluster.join(victim)
    wait_for(lambda: victim.ip in cluster.nodes(), 300, "the host's return")

    # A network link is cut for a minute. Its host comes back by itself.
    before, victim = settle(), next(host for host in cluster.workers if actors_on(host))
    at, since = steps(), time.monotonic()
    victim.cut()
    told("a link is cut for a minute or more", at, since, before, figures)  # the others go on before it is mended
    time.sleep(max(0.0, since + CUT_SECONDS - time.monotonic()))
    victim.mend()
    wait_for(lambda: victim.ip in cluster.nodes(), 300, "the host's return")

    # The learner is killed.
    before = settle()
    at, since = steps(), time.monotonic()
    kill_by_name(cluster, "ray::LearnerProcess")
    told("the learner dies", at, since, before, figures)

    # The driver is killed, and the run resumed.
    before = settle()
    at = steps()
    kill_by_name(cluster, "rl[.]cli train")
    wait_for(lambda: "failed" in cluster.fuseki("submit", "--status", name, "--address", cluster.address).stdout, 300,
             "the job's failing")  # fmt: skip
    since = time.monotonic()
    again = cluster.fuseki(*words, "--resume", "--no-wait").stdout.strip()
    told("the driver dies, and is resumed", at, since, before, figures)
    cluster.fuseki("submit", "--stop", again, "--address", cluster.address)

    # What is written repeats nothing, and no more is lost than since a checkpoint.
    counts = [row["learner_steps"] for row in rows()]
    assert counts == sorted(counts)
    for figure in figures:
        assert isinstance(figure["throughput_after"], float) and figure["throughput_after"] > 0.5, figure
