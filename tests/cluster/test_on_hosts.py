"""A run sent to a cluster of several hosts: it trains on all of them, is watched and ended from outside, and lets
nobody in. The hosts are real as far as the network, processes and temporary files go (``hosts.py``)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import grpc
import pytest
import requests
import s3fs

from rl.plot import read_runs
from tests.cluster.clusters import RayCluster, cluster_with_bucket, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
FOUR = ("net.encoder.channels=16", "net.encoder.blocks=2", "selfplay.games=16", "experience.min_rows=500")
SHORT = (
    *FOUR,
    "search.simulations=8",
    "inference.compile=false",
    "learner.batch_size=64",
    "learner.publish_every=5",
    "evaluation={positions: 20, simulations: 8, games: 4, opponents: [random, connect_four], minutes: 0.3}",
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with cluster_with_bucket() as made:
        yield made


def stored(path: str) -> dict[str, bytes]:
    store = s3fs.S3FileSystem(skip_instance_cache=True)
    return {name: store.cat_file(name) for name in store.find(path)}


def test_a_run_sent_from_outside_trains_on_all_hosts_and_its_results_come_back(
    cluster: RayCluster,
) -> None:
    url = "s3://runs/four"
    sent = cluster.fuseki(
        "submit", "configs/connect_four.yaml", *SHORT, "run={minutes: 0.8, actors: 3, checkpoint_minutes: 0.2}",
        "--address", cluster.address, "--run-dir", url,
    )  # fmt: skip
    name = sent.stdout.strip()
    assert re.fullmatch(r"connect_four-\d{8}-\d{6}-[0-9a-f]{8}", name)
    assert "actors and the learner are getting ready" in sent.stderr and f"{name}: succeeded" in sent.stderr

    # The curve, with each host's part.
    (run,) = read_runs([url])
    last = {key: value for row in run.rows for key, value in row.items()}
    assert last["learner_steps"] > 0
    ours = {host.ip for host in (cluster.head, *cluster.workers)}
    played = {
        key.rsplit("/", 1)[1] for key in last if key.startswith("nodes/evaluations_per_second/") and last[key] > 0
    }
    assert played == ours, f"only {played} of {ours} have played"
    actors = {key.rsplit("/", 1)[1] for key in last if key.startswith("actors/steps_per_second/")}
    assert sorted(actor.split("@")[0] for actor in actors) == ["0", "1", "2"]
    assert {"eval/score/random", "eval/score/connect_four"} <= last.keys()
    cluster.fuseki("plot", url, "--out", "/mnt/shared/curves.png")
    picture = (cluster.desk.home.parent / "shared" / "curves.png").read_bytes()
    assert picture.startswith(b"\x89PNG")

    # The agent: evaluated at the desk, against the model that ships.
    told = cluster.fuseki("eval", url, "--against", "connect_four", "--games", "4", "--simulations", "8", "--json")
    assert json.loads(told.stdout)["games"] == 4

    # Its status, from the folder.
    status = json.loads(cluster.fuseki("status", url, "--json").stdout)
    assert set(status["nodes"]) == ours and len(status["actors"]) == 3
    assert status["learner_steps"] == last["learner_steps"] and status["restarts"] == 0
    table = cluster.fuseki("status", url).stdout
    assert all(host in table for host in ours)


def gauges(cluster: RayCluster) -> str:
    """Our gauges as the head, where the driver is, serves them to Prometheus by one of its ports; "" for none yet."""
    for port in listening(cluster):
        try:
            answer = requests.get(f"http://{cluster.head.ip}:{port}/metrics", timeout=3)
        except requests.exceptions.RequestException:
            continue
        if answer.ok and "ray_fuseki_" in answer.text:
            return answer.text
    return ""


def listening(cluster: RayCluster) -> list[int]:
    """TCP ports of the head that other hosts reach."""
    told = cluster.head.run("ss", "-Hltn").stdout
    pairs = [line.split()[3].rsplit(":", 1) for line in told.splitlines()]
    return sorted({int(port) for where, port in pairs if not where.startswith("127.") and where != "[::1]"})


def test_a_job_is_watched_stopped_and_gone_on_with(cluster: RayCluster) -> None:
    at = ("--address", cluster.address)
    run = "run={minutes: 30, actors: 2, checkpoint_minutes: 10}"
    words = ("submit", "configs/connect_four.yaml", *SHORT, "--run-dir", "s3://runs/stopped", *at)
    name = cluster.fuseki(*words, run, "--no-wait").stdout.strip()

    def steps() -> float:
        told = cluster.fuseki("status", "s3://runs/stopped", "--json", check=False)
        return json.loads(told.stdout)["learner_steps"] if told.returncode == 0 else 0

    wait_for(lambda: steps() > 20, 600, "training")
    assert f"{name}: running" in cluster.fuseki("submit", "--status", name, *at).stdout
    status = json.loads(cluster.fuseki("status", *at, "--json").stdout)
    assert sum(node["actors"] for node in status["nodes"]) == 2
    assert sum(node["learners"] for node in status["nodes"]) == 1
    (job,) = [job for job in status["jobs"] if job["job"] == name]
    assert job["status"] == "RUNNING" and job["run"]["learner_steps"] > 20
    table = cluster.fuseki("status", *at).stdout
    assert name in table and cluster.workers[0].ip in table

    # Prometheus's gauges: as long as the run goes on, of each host that plays.
    played = re.compile(r'ray_fuseki_nodes_steps_per_second\{[^}]*of="[^"]+"[^}]*run="[^"]*stopped')
    wait_for(lambda: played.search(gauges(cluster)), 120, "the gauges' being served")

    before = steps()
    stopped = cluster.fuseki("submit", "--stop", name, *at).stdout
    assert f"{name}: stopped" in stopped
    (run_,) = read_runs(["s3://runs/stopped"])
    reached = run_.rows[-1]["learner_steps"]
    assert reached >= before
    saved = max(int(path.split("/")[3].removeprefix("step-")) for path in stored("runs/stopped/checkpoints"))
    assert saved >= reached, "it ends with a checkpoint of where it was"
    reached = saved

    wanted = f"run={{learner_steps: {int(reached) + 10}, actors: 2}}"
    went_on = cluster.fuseki(*words, wanted, "--resume")
    assert "succeeded" in went_on.stderr
    (run_,) = read_runs(["s3://runs/stopped"])
    assert run_.rows[-1]["learner_steps"] == reached + 10
    counts = [row["learner_steps"] for row in run_.rows]
    assert counts == sorted(counts)


# A question to each kind of Ray process, which answers it to whoever may ask.
GRPC = (
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.ObjectManagerService/FreeObjects",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
    "/ray.rpc.RayletDriver/ClusterInfo",
)


def grpc_status(address: str, method: str) -> grpc.StatusCode:
    """What a port says to an empty question without a token."""
    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary(method)(b"", timeout=5)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return grpc.StatusCode.OK


def test_without_the_token_every_port_refuses(cluster: RayCluster) -> None:
    at = ("--address", cluster.address)
    nobody = cluster.fuseki("status", *at, check=False, HOME="/tmp")
    assert nobody.returncode == 2 and "there is no Ray token" in nobody.stderr and nobody.stdout == ""
    wrong = cluster.fuseki("submit", "configs/tic_tac_toe.yaml", *at, check=False, RAY_AUTH_TOKEN="f" * 48)
    assert wrong.returncode == 2 and "refuses your Ray token" in wrong.stderr and len(wrong.stderr.splitlines()) == 1
    assert cluster.token not in wrong.stderr

    ports = listening(cluster)
    assert {6379, 8265} <= set(ports)
    answered = {}
    for port in ports:
        for path in ("/api/jobs/", "/api/v0/nodes", "/nodes?view=summary", "/api/local_raylet_healthz", "/logs"):
            try:
                answer = requests.get(f"http://{cluster.head.ip}:{port}{path}", timeout=5)
            except requests.exceptions.RequestException:
                continue  # no HTTP there
            if answer.ok and path != "/api/local_raylet_healthz":
                answered[port, path] = answer.text[:200]
    # Prometheus's port serves metrics whatever the path is.
    assert all("# HELP" in text for text in answered.values()), answered
    # The others speak gRPC, each port some of Ray's services.
    said = {(port, method): grpc_status(f"{cluster.head.ip}:{port}", method) for port in ports for method in GRPC}
    assert grpc.StatusCode.OK not in said.values(), said
    locked = {port for (port, _), status in said.items() if status == grpc.StatusCode.UNAUTHENTICATED}
    print(f"{len(ports)} ports, of which {len(locked)} refuse by gRPC's UNAUTHENTICATED: {sorted(locked)}")
    assert 6379 in locked and len(locked) >= 3, said
    posted = requests.post(f"{cluster.address}/api/jobs/", json={"entrypoint": "touch /tmp/got-in"}, timeout=5)
    assert posted.status_code == 401
    program = (
        "import sys, ray\n"
        "try:\n"
        "    ray.init(address=sys.argv[1], log_to_driver=False)\n"
        "except BaseException as error:\n"
        "    print('refused', type(error).__name__, error)\n"
    )
    joined = cluster.workers[0].run(
        "python", "-c", program, f"{cluster.head.ip}:6379", check=False, env={"RAY_AUTH_MODE": "disabled"}
    )
    assert "refused" in joined.stdout, joined.stdout + joined.stderr


def test_key_and_token_are_left_nowhere(cluster: RayCluster) -> None:
    """After the runs above: in the run folders, the jobs' records and logs, and all that Ray wrote on every host."""
    files = stored("runs")
    assert any(name.endswith("metrics.jsonl") for name in files) and any("/wandb/" in name for name in files)
    jobs = json.loads(cluster.fuseki("status", "--address", cluster.address, "--json").stdout)["jobs"]
    assert jobs
    records = requests.get(
        f"{cluster.address}/api/jobs/", headers={"Authorization": f"Bearer {cluster.token}"}, timeout=10
    ).text
    assert "run_dir" in records
    for secret in (cluster.token, cluster.key):
        assert [name for name, content in files.items() if secret.encode() in content] == []
        assert secret not in records
        for host in (cluster.head, *cluster.workers, cluster.desk):
            found = host.run("grep", "-rlF", "--", secret, "/tmp", check=False)
            assert found.stdout == "", f"on {host.name}: {found.stdout}"
            logs = host.run("grep", "-rlF", "--", secret, "/home/host", check=False).stdout.split()
            assert logs == ["/home/host/.ray/auth_token"] * (secret == cluster.token)
    session = cluster.head.run("find", "/tmp/ray", "-name", "job-driver-*").stdout
    assert len(session.split()) >= len(jobs), "there were logs to search"
