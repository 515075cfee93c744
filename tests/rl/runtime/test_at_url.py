"""A run whose folder is a URL, on a real S3 server (moto's): the curves, checkpoints and agents are there, only whole
ones count, and it goes on from its URL alone."""

from __future__ import annotations

import os
import select
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import s3fs
from typer.testing import CliRunner

import rl
from rl.cli import app
from rl.curves import read_runs
from rl.runtime.checkpoint import latest_checkpoint, load_checkpoint
from rl.weights import load_agent, resolve
from tests.rl.runtime.runs import start, write_config

STEPS = 300  # of a run that is killed after a few
WRITER = """
import sys
import numpy as np
from rl.config import parse_config
from rl.records import Weights
from rl.runtime.checkpoint import save_checkpoint
config = parse_config({"env": "tic_tac_toe", "net": {"encoder": {"kind": "mlp"}}, "run": {"learner_steps": 1}}, "test")
for step in range(int(sys.argv[2]), 10**6):
    parts = {"learner": {"step": np.full(300_000, step)}, "experience": {"step": np.full(300_000, step)}}
    save_checkpoint(sys.argv[1], step, parts, {"step": step}, Weights(step, {"w": np.zeros(3)}), config, {}, keep=2)
    print(step, flush=True)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve(port: int) -> subprocess.Popen[bytes]:
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server
        time.sleep(0.1)
    server.kill()
    raise TimeoutError("the S3 server did not start")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    port = free_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        server = serve(port)
        try:
            fsspec.filesystem("s3", skip_instance_cache=True).mkdir("runs")
            yield "s3://runs"
        finally:
            server.kill()
            server.wait()


class Line(socketserver.ThreadingTCPServer):
    """A line to the server at ``port`` that can be cut: no connection is made, and those that are made break."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self.port, self.open, self.refused = port, True, 0
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def finish_request(self, request: Any, client_address: Any) -> None:
        with request, socket.create_connection(("127.0.0.1", self.port)) as server:
            while self.open:
                ready, _, _ = select.select([request, server], [], [], 0.05)
                for end in ready:
                    if not (data := end.recv(65536)):
                        return
                    (server if end is request else request).sendall(data)
            self.refused += 1


def refused(*arguments: str) -> str:
    """What a command says that is to fail, in one sentence."""
    s3fs.S3FileSystem.clear_instance_cache()  # they know the endpoint of when they were made
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code in (1, 2), done.output
    assert done.stdout == "" and len(done.stderr.strip().splitlines()) == 1, done.output
    return done.stderr


def test_a_bucket_whose_names_lead_out_of_the_run_writes_nothing_there(bucket: str, tmp_path: Path) -> None:
    """Object stores take any text as a name, "..", too; a stranger's run must not write where it likes."""
    (tmp_path / "there").mkdir()
    outside = f"evil/../../..{tmp_path}/there/planted"
    s3fs.S3FileSystem.clear_instance_cache()
    store = s3fs.S3FileSystem()
    for key in (outside, "evil/config.yaml"):
        store.call_s3("put_object", Bucket="runs", Key=key, Body=b"planted")
    config = write_config(tmp_path / "small.yaml", learner_steps=1)
    said = refused("train", str(config), "--run-dir", f"{bucket}/evil", "--serial")
    assert "would lie outside of the run's folder" in said
    assert not list((tmp_path / "there").iterdir())
    store.call_s3("delete_object", Bucket="runs", Key=outside)


def test_a_killed_run_goes_on_from_its_url_alone(bucket: str, tmp_path: Path) -> None:
    url = f"{bucket}/killed"
    config = write_config(tmp_path / "config.yaml", mode="sync", learner_steps=STEPS, checkpoint_minutes=0.001)
    with start(config, url, "--serial") as process:
        deadline = time.monotonic() + 120
        while (newest := latest_checkpoint(f"{url}/checkpoints")) is None or int(newest[-8:]) < 5:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    assert int(newest[-8:]) < STEPS, "it was over before it was killed"

    resumed = rl.train(config, url, resume=True, serial=True)
    whole = rl.train(config, tmp_path / "whole", serial=True)
    ours, theirs = (load_agent(resolve(place)).weights for place in (url, whole))
    assert ours.version == theirs.version == STEPS
    assert all(np.array_equal(ours.tensors[name], theirs.tensors[name]) for name in theirs.tensors)

    (run,) = read_runs([url])
    assert [row["learner_steps"] for row in run.rows] == sorted(row["learner_steps"] for row in run.rows)
    assert run.rows[-1]["learner_steps"] == STEPS
    there = fsspec.filesystem("s3", skip_instance_cache=True)
    for path in resumed.rglob("*"):
        if path.is_file():
            assert there.cat_file(f"runs/killed/{path.relative_to(resumed).as_posix()}") == path.read_bytes()
    # An agent is a run, a checkpoint or a file.
    for name in (url, resolve(url).parent, resolve(url)):
        assert rl.load(str(name)).weights.version == STEPS
    refusal = refused("train", str(config), "--run-dir", url, "--serial")
    assert url in refusal and "--resume" in refusal


def test_what_a_kill_leaves_of_an_upload_is_no_checkpoint(bucket: str) -> None:
    root, told, interrupted = f"{bucket}/cut/checkpoints", 0, 0
    store = fsspec.filesystem("s3", skip_instance_cache=True)

    def half_done() -> set[str]:
        store.invalidate_cache()
        files = [str(path).split("/")[-2:] for path in store.find(root)]
        return {folder for folder, _ in files} - {folder for folder, name in files if name == "manifest.json"}

    for _ in range(6):
        command = [sys.executable, "-c", WRITER, root, str(told)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            told = int(writer.stdout.readline())
            while not half_done():
                assert writer.poll() is None
            writer.kill()
            told = int((["", *writer.stdout.read().split()])[-1] or told)
        interrupted += bool(half_done())
        newest = latest_checkpoint(root)
        assert newest is not None
        found = load_checkpoint(newest)
        assert found.step in (told, told + 1)  # the one that it told of, or one that it had no time to tell of
        assert all(np.all(part["step"] == found.step) for part in found.parts.values())
        told = found.step + 1
        if interrupted == 2:
            break
    assert interrupted == 2, "no kill came in the middle of an upload"


@pytest.mark.slow
def test_a_run_waits_for_its_store_and_loses_nothing(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{bucket}/waited"
    config = write_config(tmp_path / "config.yaml", mode="sync", learner_steps=STEPS, checkpoint_minutes=0.001)
    with Line(int(os.environ["AWS_ENDPOINT_URL"].rsplit(":", 1)[1])) as line:
        with monkeypatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{line.server_address[1]}")
            patch.setenv("AWS_MAX_ATTEMPTS", "1")  # botocore would wait for half a minute before it says anything
            process = start(config, url, "--serial")
        with process:
            deadline = time.monotonic() + 120
            while (newest := latest_checkpoint(f"{url}/checkpoints")) is None or int(newest[-8:]) < 5:
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < deadline
                time.sleep(0.05)
            line.open = False
            time.sleep(4)
            line.open = True
            said, _ = process.communicate(timeout=120)
        line.shutdown()
    assert process.returncode == 0, said
    assert line.refused > 0 and "trying again" in said
    assert load_agent(resolve(url)).weights.version == STEPS


def test_what_is_sent_outlasts_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    from rl.runtime import folder
    from rl.runtime.checkpoint import StorageError

    monkeypatch.setattr(folder, "SECONDS", 0.05)
    up = fsspec.filesystem("memory")
    run = folder.RunFolder("memory://outage/run")
    try:
        (run.path / "metrics.jsonl").write_text("1\n")
        run.send()
        with monkeypatch.context() as patch:
            patch.setattr(type(up), "put_file", lambda *_, **__: (_ for _ in ()).throw(ConnectionError("it is away")))
            run.keep_sending()
            (run.path / "metrics.jsonl").write_text("1\n2\n")
            with pytest.raises(StorageError, match=r"it is away; what could not be sent is in '.*run'"):
                run.send()
            time.sleep(0.3)
        deadline = time.monotonic() + 20
        while up.cat_file("/outage/run/metrics.jsonl") != b"1\n2\n":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        (run.path / "games").mkdir()
        (run.path / "games" / "last.txt").write_text("3")
        run.close()
        assert up.cat_file("/outage/run/games/last.txt") == b"3"
    finally:
        run.close()
        up.rm("/outage", recursive=True)


def test_what_cannot_be_used_is_said_in_one_sentence(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = str(write_config(tmp_path / "config.yaml", learner_steps=1))
    assert "'foo://x/run'" in refused("train", config, "--run-dir", "foo://x/run", "--serial")
    assert "'s3://nobody/run'" in refused("train", config, "--run-dir", "s3://nobody/run", "--serial")
    assert f"'{bucket}/none'" in refused("train", config, "--run-dir", f"{bucket}/none", "--serial", "--resume")
    assert f"'{bucket}/none'" in refused("eval", f"{bucket}/none", "--against", "random")
    assert f"'{bucket}/none'" in refused("plot", f"{bucket}/none", "--out", str(tmp_path / "curves.png"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert f"'{bucket}/none'" in refused("eval", f"{bucket}/none", "--against", "random")
