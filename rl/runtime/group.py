"""How several learners find each other: torch.distributed's default group (``rl.nets.collective``), on any nodes."""

from __future__ import annotations

import contextlib
import os
import socket
from datetime import timedelta
from typing import TYPE_CHECKING

import ray

if TYPE_CHECKING:
    from torch.distributed import TCPStore

Address = tuple[str, int]
# That a learner waits for the others in one exchange, before it counts them as lost. One may be behind by the games
# that it has to take in first.
PATIENCE = timedelta(minutes=2)


def hold(learners: int) -> tuple[TCPStore, Address]:
    """The first learner's table, at which all of them meet; it must be kept as long as they train."""
    from torch.distributed import TCPStore

    host = ray.util.get_node_ip_address()
    store = TCPStore(host, 0, learners, is_master=True, wait_for_workers=False, timeout=PATIENCE)
    return store, (host, store.port)


def join(address: Address, rank: int, learners: int) -> None:
    """Join the group, by NCCL where the learners have GPUs, else by gloo. Waits until all have."""
    import torch
    from torch import distributed

    store = distributed.TCPStore(*address, learners, is_master=False, timeout=PATIENCE)
    cuda = torch.cuda.is_available()
    if not cuda and (name := interface(ray.util.get_node_ip_address())):
        # Gloo would go by what the host's name resolves to, which on many is an address that only they can reach.
        os.environ["GLOO_SOCKET_IFNAME"] = name
    distributed.init_process_group(
        "nccl" if cuda else "gloo", store=store, rank=rank, world_size=learners, timeout=PATIENCE
    )
    distributed.barrier()


def interface(address: str) -> str | None:
    """The network interface that has this IPv4 address; None where that cannot be told (it is not Linux)."""
    with contextlib.suppress(ImportError):
        import fcntl

        SIOCGIFADDR = 0x8915
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            for _, name in socket.if_nameindex():
                with contextlib.suppress(OSError):  # it has none
                    answer = fcntl.ioctl(probe, SIOCGIFADDR, name.encode()[:15].ljust(256, b"\0"))
                    if socket.inet_ntoa(answer[20:24]) == address:
                        return name
    return None
