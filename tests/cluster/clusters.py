"""Ray clusters on hosts (``hosts.py``), started by what cluster/README.md says, and what one needs besides."""

from __future__ import annotations

import contextlib
import re
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import s3fs

from tests.cluster.hosts import HOME, ROOT, Host, hosts, impossible

README = ROOT / "cluster" / "README.md"
STORE_PORT, DASHBOARD_PORT = 5000, 8265


def block(name: str) -> str:
    """The shell commands that follow ``<!-- name -->`` in cluster/README.md."""
    found = re.search(rf"<!-- {name} -->\s+```bash\n(.*?)```", README.read_text(), re.DOTALL)
    assert found is not None, f"cluster/README.md has no block {name!r}"
    return found[1]


def wait_for(condition: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.5)


@dataclass
class RayCluster:
    """A head, workers, and a desk that is no part of it but reaches it: there people sit, and an S3 server runs."""

    head: Host
    workers: list[Host]
    desk: Host
    token: str
    key: str  # of W&B, in the environment of the cluster's machines
    returning: bool  # whether workers join anew when they were given up
    processes: dict[str, subprocess.Popen[str]]  # ``ray start`` of each host, by its name

    @property
    def address(self) -> str:
        return f"http://{self.head.ip}:{DASHBOARD_PORT}"

    def store(self) -> dict[str, str]:
        """What a client of the S3 server needs in its environment."""
        return {
            "AWS_ENDPOINT_URL": f"http://{self.desk.ip}:{STORE_PORT}",
            "AWS_ACCESS_KEY_ID": "someone",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def fuseki(
        self, *words: str, check: bool = True, seconds: float = 900, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """``fuseki`` typed at the desk."""
        done: subprocess.CompletedProcess[str] = self.desk.run(
            "fuseki", *words, check=check, seconds=seconds, env=self.store() | env
        )
        return done

    def join(self, host: Host) -> None:
        """``ray start`` on a host that is to work."""
        with (host.home / "ray-start.log").open("w") as log:
            patient = {"RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300"}  # on a busy machine
            env = self.store() | patient | {"HEAD": self.head.ip, "WANDB_API_KEY": self.key, "WANDB_MODE": "offline"}
            worker = "worker that returns" if self.returning else "worker"
            command = block("head") if host is self.head else block(worker)
            # The dashboard is asked for on the network between the hosts, which is nobody else's.
            command = command.replace("--dashboard-host=127.0.0.1", f"--dashboard-host={self.head.ip}")
            self.processes[host.name] = host.start("bash", "-c", command, env=env, stdout=log, stderr=log)

    def ask(self, path: str) -> Any:
        """What the dashboard answers to the one who has the token; None while it does not answer."""
        try:
            answer = requests.get(self.address + path, headers={"Authorization": f"Bearer {self.token}"}, timeout=10)
        except requests.exceptions.RequestException:
            return None
        return answer.json() if answer.ok else None

    def started(self, host: Host) -> bool:
        """Whether Ray is up there. Ray gives up what does not start within half a minute: then it is begun anew."""
        if host.ip in self.nodes():
            return True
        if self.processes[host.name].poll() is not None:
            self.join(host)
        return False

    def nodes(self) -> list[str]:
        """Addresses of the machines that have joined and not left."""
        told = self.ask("/api/v0/nodes")
        found = told["data"]["result"]["result"] if told else []
        return [node["node_ip"] for node in found if node["state"] == "ALIVE"]


def give_token(host: Host, token: str) -> None:
    (host.home / ".ray").mkdir(exist_ok=True)
    path = host.home / ".ray" / "auth_token"
    path.write_text(token)
    path.chmod(0o600)


@contextlib.contextmanager
def ray_cluster(workers: int, returning: bool = False) -> Iterator[RayCluster]:
    with hosts(workers + 2) as made:
        head, *others, desk = made
        cluster = RayCluster(head, others, desk, secrets.token_hex(24), secrets.token_hex(20), returning, {})
        for host in made:
            give_token(host, cluster.token)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        desk.start("python", "-m", "moto.server", "-H", desk.ip, "-p", str(STORE_PORT), **quiet)
        cluster.join(head)
        try:
            wait_for(lambda: cluster.started(head), 600, "the head's start")
            for host in others:
                cluster.join(host)
            wait_for(lambda: all(cluster.started(host) for host in others), 600, "all machines' joining")
        except AssertionError as error:
            logs = "\n".join((host.home / "ray-start.log").read_text()[-2000:] for host in (head, *others))
            raise AssertionError(f"{error}\n{logs}") from error
        yield cluster


@contextlib.contextmanager
def cluster_with_bucket(returning: bool = False) -> Iterator[RayCluster]:
    """A cluster of three hosts, or a skipped test where there can be none; s3://runs is there, and for us too."""
    if (why := impossible()) is not None:
        pytest.skip(why)
    with ray_cluster(2, returning) as made, pytest.MonkeyPatch.context() as patch:
        for name, value in made.store().items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("runs")
        yield made


def let_in(host: Host, key: Path) -> None:
    """Start sshd on the host, for the owner of the key pair at ``key`` and ``key.pub``."""
    folder = host.home / ".ssh"
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "authorized_keys").write_text(key.with_suffix(".pub").read_text())
    for name in ("id_ed25519", "id_ed25519.pub"):
        (folder / name).write_bytes((key if name == "id_ed25519" else key.with_suffix(".pub")).read_bytes())
        (folder / name).chmod(0o600)
    (folder / "config").write_text(
        "Host *\n StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n LogLevel ERROR\n"
    )
    settings = [
        f"HostKey {HOME}/.ssh/id_ed25519",
        f"AuthorizedKeysFile {HOME}/.ssh/authorized_keys",
        "PasswordAuthentication no",
        "PidFile /tmp/sshd.pid",
        "StrictModes no",
        "UsePAM no",
        "UseDNS no",
    ]
    (folder / "sshd_config").write_text("\n".join(settings) + "\n")
    Path("/run/sshd").mkdir(exist_ok=True)
    host.run("/usr/sbin/sshd", "-f", HOME / ".ssh" / "sshd_config", "-E", "/tmp/sshd.log")
