"""Who does how much on a cluster: each actor's and each node's part, for metrics and all that shows them.

Reads: the reports of stretches of play that the driver gets anyway, and where its crew says that actors are. Writes:
rows of metrics, ``.../<actor>`` and ``.../<node>``. An actor is named "3@10.0.0.7", a node by its address alone.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rl.runtime.timeline import Timeline

if TYPE_CHECKING:
    from rl.records import RolloutReport, SelfPlayReport
    from rl.serving import Load

SECONDS = 10.0  # that a figure covers: several stretches of play
NAMED_ACTORS = 100  # with more, W&B would draw nothing else; the nodes stay, and the slowest actor


class Watch:
    """The driver's book of who does how much. Cheap: a few additions for each stretch of play."""

    def __init__(self) -> None:
        self._steps: dict[int, int] = defaultdict(int)
        self._evaluations: dict[int, int] = defaultdict(int)
        self._since = time.monotonic()
        self._busy = 0.0
        self._loads: list[Load] = []
        self.timeline = Timeline()

    def played(self, index: int, node: str, report: SelfPlayReport | RolloutReport) -> None:
        self._steps[index] += report.env_steps
        self._evaluations[index] += report.evaluations
        self.timeline.played(f"actor {index}@{node}", report)

    def served(self, load: Load) -> None:
        """What an inference server has done since it last told."""
        self._loads.append(load)

    def trained(self, busy: float, publishing: float, steps: int) -> None:
        """``busy``: seconds that the learner has spent in updates since it was started."""
        self.timeline.trained(busy - self._busy if busy >= self._busy else busy, publishing, steps)
        self._busy = busy

    def row(
        self, nodes: Mapping[int, str], restarts: Mapping[int, int], lags: Mapping[int, int], waiting: int
    ) -> dict[str, float]:
        """What happened since the last row, every SECONDS; nothing in between.

        ``nodes``: where each actor is; ``restarts``: how often each was replaced; ``lags``: newest version − the one
        that it plays with, of those that have one; ``waiting``: stretches on their way into the learner.
        """
        now = time.monotonic()
        elapsed = now - self._since
        if elapsed < SECONDS:
            return {}
        rates = {index: self._steps[index] / elapsed for index in sorted(nodes)}
        row: dict[str, float] = {"experience/waiting": waiting}
        if rates:
            row["actors/slowest_steps_per_second"] = min(rates.values())
        for node in sorted(set(nodes.values())):
            here = [index for index in rates if nodes[index] == node]
            row[f"nodes/actors/{node}"] = len(here)
            row[f"nodes/steps_per_second/{node}"] = sum(rates[index] for index in here)
            row[f"nodes/evaluations_per_second/{node}"] = sum(self._evaluations[index] for index in here) / elapsed
        if len(rates) <= NAMED_ACTORS:
            for index, rate in rates.items():
                name = f"{index}@{nodes[index]}"
                row[f"actors/steps_per_second/{name}"] = rate
                row[f"actors/restarts/{name}"] = restarts.get(index, 0)
                if index in lags:
                    row[f"actors/lag/{name}"] = lags[index]
        if batches := sum(load.batches for load in self._loads):
            row["inference/batch_rows"] = sum(load.rows for load in self._loads) / batches
            row["inference/busy_share"] = sum(load.busy for load in self._loads) / len(self._loads)
        self._loads.clear()
        self._steps.clear()
        self._evaluations.clear()
        self._since = now
        return row
