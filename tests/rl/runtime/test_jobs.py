"""Jobs on a real Ray cluster of two nodes on this machine, asked for as users do; what is said when it cannot be."""

from __future__ import annotations

import http.server
import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rl.cli import app
from rl.runtime import jobs
from rl.runtime.jobs import ClusterError, new_name, token, url_of
from tests.rl.runtime.runs import rows, saved_step, write_config
from tests.rl.runtime.test_at_url import free_port

CLUSTER = """
import sys
from ray.cluster_utils import Cluster
store = {"object_store_memory": 100 * 2**20}
head = {"num_cpus": 1, "include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": int(sys.argv[1])}
cluster = Cluster(initialize_head=True, head_node_args=head | store)
cluster.add_node(num_cpus=1, **store)
cluster.wait_for_nodes()
print("up", flush=True)
sys.stdin.read()
cluster.shutdown()
"""
TOKEN = secrets.token_hex(24)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    port = free_port()
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "PATH": f"{Path(sys.executable).parent}:{env['PATH']}"}
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER, str(port)], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "up\n"
        yield f"http://127.0.0.1:{port}"
        process.stdin.close()
        process.wait(timeout=60)


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("RAY_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)


def fuseki(*words: str) -> Result:
    return CliRunner().invoke(app, words, env={"COLUMNS": "200"})


def refused(*words: str) -> str:
    done = fuseki(*words)
    assert done.exit_code == 2, done.output
    assert done.stdout == "" and len(done.stderr.strip().splitlines()) == 1, done.output
    assert TOKEN not in done.stderr
    return done.stderr


@pytest.mark.slow  # the only one that starts Ray
@pytest.mark.timeout(900)
def test_a_run_on_a_cluster_from_its_sending_to_its_end(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ray prefers these to the address that it is given; we do not.
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    at = ("--address", address)
    config = str(write_config(tmp_path / "small.yaml", "ppo", learner_steps=3, checkpoint_minutes=0.01, actors=2))
    run = str(tmp_path / "run")
    sent = fuseki("submit", config, "--run-dir", run, *at)
    assert sent.exit_code == 0, sent.output
    name = sent.stdout.strip()
    assert "joining the Ray cluster" in sent.stderr and f"{name}: succeeded" in sent.stderr
    assert json.loads(fuseki("status", run, "--json").stdout)["learner_steps"] == 3
    assert f"{name}: succeeded" in fuseki("submit", "--status", name, *at).stdout
    assert f"run folder {run}" in fuseki("submit", "--stop", name, *at).stdout, "what is over stays as it is"
    assert "joining the Ray cluster" in fuseki("submit", "--follow", name, *at).stderr

    # The same again: the run refuses, and its exit status is the job's.
    again = fuseki("submit", config, "--run-dir", run, *at)
    assert again.exit_code == 2 and "holds a run already; add --resume" in again.stderr
    found = json.loads(fuseki("status", *at, "--json").stdout)
    assert [job["status"] for job in found["jobs"]] == ["FAILED", "SUCCEEDED"]
    assert [node["cores"] for node in found["nodes"]] == [1, 1]
    assert sum(node["head"] for node in found["nodes"]) == 1

    assert "knows no job 'nobody'; its newest are small-" in refused("submit", "--stop", "nobody", *at)
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN[::-1])
    assert "refuses your Ray token" in refused("status", *at)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_that_is_stopped_saves_what_it_has_learned(address: str, tmp_path: Path) -> None:
    at = ("--address", address)
    config = write_config(tmp_path / "small.yaml", "games", minutes=30, checkpoint_minutes=20, actors=1)
    run = tmp_path / "run"
    sent = fuseki("submit", str(config), "--run-dir", str(run), "--no-wait", *at)
    assert sent.exit_code == 0, sent.output
    name = sent.stdout.strip()
    deadline = time.monotonic() + 600
    while not (run / "metrics.jsonl").exists() or rows(run)[-1]["learner_steps"] < 50:
        assert time.monotonic() < deadline, "it never trained"
        time.sleep(0.5)
    stopped = fuseki("submit", "--stop", name, *at)
    assert f"{name}: stopped" in stopped.stdout
    reached = int(rows(run)[-1]["learner_steps"])
    assert saved_step(run) >= reached, fuseki("submit", "--follow", name, *at).output


def test_the_token_is_where_ray_looks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert token() == TOKEN
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    assert "there is no Ray token" in refused("status", "--address", "head")
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("of the file\n")
    assert token() == "of the file"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "other"))
    with pytest.raises(ClusterError, match=r"cannot read the Ray token in '.*other': No such file"):
        token()
    (tmp_path / "other").write_text(" ")
    with pytest.raises(ClusterError, match="other' is empty"):
        token()


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("head", "http://head:8265"),
        ("10.0.0.1:8000", "http://10.0.0.1:8000"),
        ("http://head/", "http://head:8265"),
        ("https://ray.example.com", "https://ray.example.com"),
    ],
)
def test_addresses(address: str, url: str) -> None:
    assert url_of(address) == url


@pytest.mark.parametrize("address", ["auto", "ray://head:10001", "head:1/path/more", "two words", ""])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ClusterError, match="must be the cluster's dashboard"):
        url_of(address)


class Careless(http.server.BaseHTTPRequestHandler):
    """A dashboard that answers everybody."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *_: object) -> None:
        pass


def test_a_cluster_without_a_lock_gets_nothing(tmp_path: Path) -> None:
    config = str(write_config(tmp_path / "small.yaml", learner_steps=1))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Careless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        said = refused("submit", config, "--address", f"127.0.0.1:{server.server_port}")
        server.shutdown()
    assert "takes jobs from anybody, without a token, so nothing is sent there" in said


class Ailing(http.server.BaseHTTPRequestHandler):
    """A dashboard that asks for the token, tells its version, and fails at all else."""

    def do_GET(self) -> None:
        version = self.path == "/api/version"
        self.send_response(401 if "Authorization" not in self.headers else 200 if version else 500)
        self.end_headers()
        self.wfile.write(b'{"version": "4", "ray_version": "2.60.0", "ray_commit": "x"}' if version else b"overloaded")

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


def test_what_a_cluster_in_trouble_says(tmp_path: Path) -> None:
    config = str(write_config(tmp_path / "small.yaml", learner_steps=1))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ailing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = ("--address", f"127.0.0.1:{server.server_port}")
        for words in (("status",), ("submit", "--stop", "job"), ("submit", "--status", "job"), ("submit", config)):
            assert "500" in refused(*words, *at)
        server.shutdown()


def test_wrong_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = str(write_config(tmp_path / "small.yaml", learner_steps=1))
    nobody = f"127.0.0.1:{free_port()}"
    assert "give either a CONFIG.yaml" in refused("submit", "--address", nobody)
    assert "give either a CONFIG.yaml" in refused("submit", config, "--stop", "job", "--address", nobody)
    assert "--stop takes a JOB and --address alone" in refused(
        "submit", "--stop", "j", "--no-wait", "--address", nobody
    )
    assert "--resume needs --run-dir" in refused("submit", config, "--resume", "--address", nobody)
    assert "no_such.yaml" in refused("submit", "no_such.yaml", "--address", nobody)
    assert "no Ray dashboard answers" in refused("submit", config, "--address", nobody)
    monkeypatch.setattr(jobs.importlib.util, "find_spec", lambda name: None)
    assert "pip install 'fuseki[cluster]'" in refused("status", "--address", nobody)


def test_names_of_jobs_are_their_own(tmp_path: Path) -> None:
    names = {new_name(tmp_path / "my config$.yaml") for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith("my-config--") for name in names)
