"""What cluster/README.md tells people to type, typed: on hosts of their own, with sshd between them, and with Slurm."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from rl.plot import read_runs
from rl.weights import load_agent, resolve
from tests.cluster.clusters import block, give_token, let_in, wait_for
from tests.cluster.hosts import BIN, ROOT, SHARED, Host, hosts, impossible
from tests.cluster.test_on_hosts import SHORT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
MINUTES = re.compile(r"run\.minutes=\d+")
QUICK = " ".join(f"'{word}'" for word in (*SHORT, "run={minutes: 0.4, actors: 2, checkpoint_minutes: 0.1}"))


def shortened(text: str) -> str:
    """The README's commands with a smaller network, for less than a minute."""
    assert MINUTES.search(text)
    return MINUTES.sub(lambda _: QUICK, text)


@contextmanager
def machines(number: int) -> Iterator[tuple[list[Host], Path]]:
    """Hosts, the last of them the desk, and a checkout on the disk that they share."""
    if (why := impossible()) is not None:
        pytest.skip(why)
    with hosts(number) as made:
        shared = made[0].home.parent / "shared"
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
        for name in listed.split("\0"):
            if name and not name.startswith("tests/"):
                (shared / "checkout" / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, shared / "checkout" / name)
        yield made, shared / "checkout"


def in_checkout(host: Host, text: str, **env: str) -> str:
    done = host.run("bash", "-ec", f"cd {SHARED}/checkout\n{text}", check=False, seconds=1200, env=env)
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return str(done.stdout)


def with_keys(made: list[Host]) -> None:
    if shutil.which("/usr/sbin/sshd") is None or shutil.which("rsync") is None:
        pytest.skip("needs sshd and rsync (Debian: openssh-server, rsync)")
    key = made[0].home.parent / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    for host in made:
        let_in(host, key)


def running(name: str, host: Host) -> bool:
    """Whether a process of this name lives there; a host's first process buries nobody."""
    lines = host.run("ps", "axo", "stat,comm").stdout.splitlines()
    return any(name in line and not line.startswith("Z") for line in lines)


def test_on_premise_by_ray_up() -> None:
    with machines(3) as (made, checkout):
        head, worker, desk = made
        with_keys(made)
        for host in (head, worker):  # as if pip had installed it there
            (host.home / "fuseki-env").symlink_to(BIN.parent)
        path = checkout / "cluster" / "on_premise.yaml"
        settings = yaml.safe_load(path.read_text())
        settings["provider"] |= {"head_ip": head.ip, "worker_ips": [worker.ip]}
        settings["auth"] |= {"ssh_user": "root"}
        path.write_text(yaml.safe_dump(settings, width=1000))
        text = shortened(block("on premise"))
        up, down = text.split("ray down")
        in_checkout(desk, up, RAY_DASHBOARD_STARTUP_TIMEOUT_S="300")
        assert (desk.home / ".ray" / "auth_token").stat().st_mode & 0o77 == 0
        for host in (head, worker):
            there = host.home / ".ray" / "auth_token"
            assert there.read_text() == (desk.home / ".ray" / "auth_token").read_text()
        [run_dir] = (checkout / "runs").iterdir()
        (run,) = read_runs([str(run_dir)])
        last = {name: value for row in run.rows for name, value in row.items()}
        assert last["learner_steps"] > 0
        assert load_agent(resolve(run_dir)).weights.version > 0
        played = {name.rsplit("/", 1)[1] for name in last if name.startswith("nodes/actors/")}
        assert played == {head.ip, worker.ip}
        assert not running("raylet", head)
        in_checkout(desk, f"ray down{down}")
        # Workers end once they have asked the head in vain for a minute.
        wait_for(lambda: not running("raylet", worker), 120, "the worker's end")


def test_by_hand_through_a_tunnel() -> None:
    with machines(3) as (made, _):
        head, worker, desk = made
        with_keys(made)
        for host in made:
            give_token(host, "by hand " * 4)
        env = {"HEAD": head.ip, "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300"}
        with (head.home / "log").open("w") as log:
            head.start("bash", "-c", block("head"), env=env, stdout=log, stderr=log)
            listens = ("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8265")
            wait_for(lambda: head.run(*listens, check=False).returncode == 0, 600, "the head's start")
            worker.start("bash", "-c", block("worker"), env=env, stdout=log, stderr=log)
        refused = desk.run("bash", "-c", f"exec 3<>/dev/tcp/{head.ip}/8265", check=False)
        assert refused.returncode != 0, "the dashboard is bound to the head's loopback"
        told = in_checkout(desk, shortened(block("tunnel and submit")), HEAD=head.ip, RUN=f"{SHARED}/run")
        assert "score" in told
        assert (desk.home.parent / "shared" / "checkout" / "curves.png").stat().st_size > 1000


SLURM = """
ClusterName=fuseki
SlurmctldHost={controller}({address})
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=/tmp/munge.socket
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
StateSaveLocation=/tmp/slurmctld
SlurmdSpoolDir=/tmp/slurmd
SlurmctldPidFile=/tmp/slurmctld.pid
SlurmdPidFile=/tmp/slurmd.pid
ReturnToService=2
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def test_slurm() -> None:
    if not all(map(shutil.which, ("/usr/sbin/slurmctld", "/usr/sbin/slurmd", "sbatch", "/usr/sbin/munged"))):
        pytest.skip("needs Slurm (Debian: slurmctld, slurmd, slurm-client, munge)")
    with machines(2) as (made, checkout):
        shared = checkout.parent
        (shared / "munge.key").write_bytes(bytes(range(256)) * 4)
        nodes = "\n".join(f"NodeName={host.name} NodeAddr={host.ip} CPUs=2 State=UNKNOWN" for host in made)
        settings = SLURM.format(controller=made[0].name, address=made[0].ip, nodes=nodes)
        (shared / "slurm.conf").write_text(settings)
        # Nothing here uses control groups, but slurmd does not start where it cannot tell which kind there is.
        (shared / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        env = {"SLURM_CONF": f"{SHARED}/slurm.conf", "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300"}
        names = "".join(f"{host.ip} {host.name}\n" for host in made)
        for host in made:
            host.run(
                "sh", "-c", f"printf '{names}' >> /etc/hosts; cp {SHARED}/munge.key /tmp/ && chmod 400 /tmp/munge.key"
            )
            keys = ("--key-file=/tmp/munge.key", "--socket=/tmp/munge.socket", "--pid-file=/tmp/munged.pid")
            files = ("--log-file=/tmp/munged.log", "--seed-file=/tmp/munge.seed")
            host.run("/usr/sbin/munged", "--force", "--num-threads=2", *keys, *files)
        made[0].run("sh", "-c", "mkdir -p /tmp/slurmctld && /usr/sbin/slurmctld -L /tmp/slurmctld.log", env=env)
        for host in made:
            host.run("sh", "-c", f"mkdir -p /tmp/slurmd && /usr/sbin/slurmd -N {host.name} -L /tmp/slurmd.log", env=env)
        _, path, submit, *watch = block("slurm").splitlines()
        assert "sbatch" in submit and "export PATH" in path
        (shared / "checkout" / ".venv").symlink_to(BIN.parent)
        wanted = submit.replace("--nodes=4 --cpus-per-task=16", "--nodes=2 --cpus-per-task=2 --wait")
        log = "cat slurm-*.out >&2; false"
        in_checkout(made[0], f"{path}\n{shortened(wanted)} || {{ {log}; }}\n" + "\n".join(watch), **env)
        (run,) = read_runs([str(checkout / "runs" / "four")])
        last = {name: value for row in run.rows for name, value in row.items()}
        played = {name.rsplit("/", 1)[1] for name in last if name.startswith("nodes/actors/")}
        assert played == {host.ip for host in made}
        for host in made:  # the folder that the job made for its token
            assert (host.home / ".ray").stat().st_mode & 0o77 == 0
        tokens = [path for host in made for path in (host.home / ".ray").glob("slurm-*")]
        assert tokens == [], "the job's token goes with the job"
