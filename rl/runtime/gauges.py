"""A run's metrics as Prometheus gauges of the Ray cluster, which each machine serves beside Ray's own.

``selfplay/games_per_second`` is there ``ray_fuseki_selfplay_games_per_second{run="..."}``; of metrics of one actor,
node or opponent, its name is the label ``of``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from ray.util.metrics import Gauge

from rl.runtime.metrics import declared, metric


class Gauges:
    """Takes each row of metrics of the run called ``run``."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._gauges: dict[str, Gauge] = {}

    def set(self, row: Mapping[str, float | None]) -> None:
        for name, value in row.items():
            if value is None:
                continue
            declaration, of = declared(name)
            gauge = self._gauges.get(declaration)
            if gauge is None:
                kind = re.sub(r"\W+", "_", declaration.split("/<")[0])
                gauge = self._gauges[declaration] = Gauge(f"fuseki_{kind}", told(name), tag_keys=("run", "of"))
            gauge.set(value, tags={"run": self._run, "of": of})


def told(name: str) -> str:
    """A metric's meaning and unit in ASCII, beyond which Ray's gauges cannot be described."""
    found = metric(name)
    text = f"{found.meaning} [{found.unit}]" if found.unit else found.meaning
    plain = unicodedata.normalize("NFKD", text).translate(str.maketrans("⁄−–×·’", "/--x.'"))
    return plain.encode("ascii", "replace").decode()
