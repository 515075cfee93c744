"""Hosts on one machine: network namespaces on a bridge, each with processes, a home and temporary files of its own.

A host is what ``ip netns`` and ``unshare`` make: its own network, its own process ids (when its first process is killed
the kernel kills all the others), its own /tmp, /dev/shm and home. The disk with the code is everybody's, as if the same
image were installed everywhere, and /mnt/shared is a disk that they share. Needs root, iproute2 and util-linux.

By hand: ``python -m tests.cluster.hosts 3`` makes three, says how to enter them, and removes them at Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
GROUPS, OLD_GROUPS = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/cpu")  # of versions 2 and 1
SHARED, HOME = Path("/mnt/shared"), Path("/home/host")  # as each host sees them
# $1: this host's name, $2: its home, $3: the shared disk, $4: its address. unshare makes the mounts its own.
# Nobody answers questions about names there, and who asks is told so at once.
FIRST = """
set -e
hostname "$1"
mount -t tmpfs tmpfs /mnt && mkdir /mnt/shared && mount --bind "$3" /mnt/shared
echo "127.0.0.1 localhost" > "$2/.hosts" && echo "$4 $1" >> "$2/.hosts" && mount --bind "$2/.hosts" /etc/hosts
echo "options timeout:1 attempts:1" > "$2/.resolv" && mount --bind "$2/.resolv" /etc/resolv.conf
sed "s#^root:\\(.*\\):/root:#root:\\1:/home/host:#" /etc/passwd > "$2/.passwd" && mount --bind "$2/.passwd" /etc/passwd
mount -t tmpfs tmpfs /home && mkdir /home/host && mount --bind "$2" /home/host
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp && chmod 1777 /tmp
ip link set lo up
: > /home/host/.up
exec sleep infinity
"""


def impossible() -> str | None:
    """Why there can be no hosts here; None where there can."""
    for tool in ("ip", "unshare", "nsenter"):
        if shutil.which(tool) is None:
            return f"needs {tool} (Debian: iproute2, util-linux)"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"fskprobe{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return f"network namespaces cannot be made here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return None


class Host:
    """One host; ``run`` and ``start`` are how to do something on it."""

    def __init__(self, network: str, number: int, subnet: str, folder: Path):
        self.name, self.ip = f"{network}-{number}", f"{subnet}.{number}"
        self.link, self.home = f"{network}v{number}", folder / f"home-{number}"
        self._network = network
        self._started: list[subprocess.Popen[str]] = []
        self.home.mkdir()
        _ip("netns", "add", self.name)
        _ip("link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        _ip("link", "set", self.link, "master", network, "up")
        _ip("-n", self.name, "addr", "add", f"{self.ip}/24", "dev", "eth0")
        _ip("-n", self.name, "link", "set", "eth0", "up")
        # Nothing is routed from there; but whoever asks the kernel for his own address needs a route to ask about.
        _ip("-n", self.name, "route", "add", "default", "via", f"{subnet}.254")
        self.boot(folder)

    def boot(self, folder: Path) -> None:
        """Its first process, also after ``kill``: with an empty /tmp, and the home as it was left."""
        (folder / "shared").mkdir(exist_ok=True)
        (self.home / ".up").unlink(missing_ok=True)
        space = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
        first = ["sh", "-c", FIRST, "sh", self.name, str(self.home), str(folder / "shared"), self.ip]
        with (folder / f"{self.name}.log").open("w") as log:  # unshare complains there of being killed
            command = ["ip", "netns", "exec", self.name, *space, *first]
            self._outer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log)
        deadline = time.monotonic() + 20
        while not (self.home / ".up").exists():
            assert self._outer.poll() is None and time.monotonic() < deadline, Path(log.name).read_text()
            time.sleep(0.02)
        [self.pid] = map(int, Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children").read_text().split())

    def command(self, *words: str | Path) -> list[str]:
        """These words as a command that runs on the host, at the top of the project."""
        return ["nsenter", f"--target={self.pid}", "--all", f"--wd={ROOT}", *map(str, words)]

    def run(self, *words: str | Path, check: bool = True, seconds: float = 300, **more: Any) -> Any:
        """A command that ends; its output in ``stdout`` and ``stderr``. What it leaves in the background goes on."""
        # To files: a pipe would be waited for until the last process in the background has closed it.
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            command, more = self.command(*words), self._with(more)
            done = subprocess.run(command, stdout=out, stderr=err, text=True, check=False, timeout=seconds, **more)
            for name, file in (("stdout", out), ("stderr", err)):
                file.seek(0)
                setattr(done, name, file.read())
        assert not check or done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self, *words: str | Path, **more: Any) -> subprocess.Popen[str]:
        """A command that goes on; it ends with the host at the latest."""
        # A session of its own: where Linux shares the time out by sessions, one host is not slower than another.
        process = subprocess.Popen(self.command(*words), text=True, start_new_session=True, **self._with(more))
        self._started.append(process)
        return process

    def _with(self, more: dict[str, Any]) -> dict[str, Any]:
        return more | {"env": environment(more.get("env"))}

    def kill(self) -> None:
        """SIGKILL for every process of the host at once, as when its power fails."""
        os.kill(self.pid, signal.SIGKILL)
        for process in self._started:
            process.kill()  # nsenter, which is outside; the host would wait for ever for one that is stopped
            process.wait()
        self._outer.wait()
        self._started.clear()

    def cut(self) -> None:
        """Pull the network cable; ``mend`` puts it back."""
        _ip("link", "set", self.link, "down")

    def mend(self) -> None:
        _ip("link", "set", self.link, "up")

    def limit(self, cores: float | None) -> bool:
        """At most so many cores for what runs on the host now and all that it starts; None: as many as there are.

        Returns whether the kernel's control groups, of either version, can be used for that here.
        """
        top = OLD_GROUPS if OLD_GROUPS.exists() else GROUPS
        group = top / self.name
        try:
            group.mkdir(exist_ok=True)
            if cores is not None:
                quota = round(cores * 100_000)  # microseconds in each tenth of a second
                if top == OLD_GROUPS:
                    (group / "cpu.cfs_quota_us").write_text(str(quota))
                else:
                    (group / "cpu.max").write_text(f"{quota} 100000")
        except OSError:
            return False
        if cores is None:  # out of the group, whose share of the machine is its own: what starts later would starve
            group = top
        mine = os.readlink(f"/proc/{self.pid}/ns/pid")
        for process in Path("/proc").glob("[0-9]*"):
            # It ended just now, or is none of ours.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                if os.readlink(process / "ns" / "pid") == mine:
                    (group / "cgroup.procs").write_text(process.name)
        return True

    @property
    def up(self) -> bool:
        return self._outer.poll() is None

    def close(self) -> None:
        if self.up:
            self.kill()
        _ip("netns", "del", self.name)
        for group in (OLD_GROUPS / self.name, GROUPS / self.name):
            if group.exists():
                group.rmdir()


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """What commands on hosts are given: the project's own environment first, none of Ray's settings of this session."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "WANDB_", "AWS_"))}
    ours = {"PATH": f"{BIN}:{kept['PATH']}", "HOME": str(HOME), "RAY_USAGE_STATS_ENABLED": "0"}
    return kept | ours | {"OMP_NUM_THREADS": "1"} | dict(more or {})


@contextlib.contextmanager
def hosts(number: int) -> Iterator[list[Host]]:
    """``number`` hosts that reach each other, and that this process reaches by their ``ip``."""
    tag = f"{secrets.randbelow(36**3):03d}"
    network, subnet = f"fsk{tag}", f"10.77.{secrets.randbelow(250)}"
    with tempfile.TemporaryDirectory(prefix="fuseki-hosts-") as made, contextlib.ExitStack() as stack:
        _ip("link", "add", network, "type", "bridge")
        stack.callback(_ip, "link", "del", network)
        _ip("addr", "add", f"{subnet}.254/24", "dev", network)
        _ip("link", "set", network, "up")
        found = []
        for n in range(1, number + 1):
            host = Host(network, n, subnet, Path(made))
            stack.callback(host.close)
            found.append(host)
        yield found


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def main() -> None:
    with hosts(int(sys.argv[1])) as made:
        for host in made:
            print(f"{host.name} at {host.ip}: {' '.join(host.command('bash'))}")
        print("Ctrl-C removes them")
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
