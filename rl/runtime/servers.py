"""The inference servers of a run (``rl.serving``), shared among its actors.

Ray starts a server anew where it has died, and repeats what it was asked: actors notice nothing but the time. Only its
weights have to be given to it again, which is why the driver watches each of them by a call that never ends.
"""

from __future__ import annotations

from typing import Any

from rl.config import Config
from rl.runtime.plan import Plan
from rl.runtime.processes import RayServer


class Servers:
    """All servers of a run; empty where each actor evaluates for itself."""

    def __init__(self, config: Config, placed: Plan):
        options = {"num_cpus": placed.server_cpus, "num_gpus": placed.server_gpus}
        endless = {"max_restarts": -1, "max_task_retries": -1}
        self.processes = [RayServer.options(**options, **endless).remote(config) for _ in range(placed.servers)]

    def of(self, actor: int) -> Any:
        """The server that this actor asks; None where there are none."""
        return self.processes[actor % len(self.processes)] if self.processes else None

    def __len__(self) -> int:
        return len(self.processes)
