"""``fuseki bench broadcast``: from a published version to the last actor having loaded it, on a real Ray cluster."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import numpy as np
import ray

from rl.config import GameConfig
from rl.nets.formats import EXACT
from rl.records import Weights
from rl.runtime import cluster
from rl.runtime.kinds import make_trainer, make_worker
from rl.runtime.plan import plan_now
from rl.runtime.processes import ActorProcess

WIDER = (1, 2, 4)  # networks of so many times the configured channels
ACTORS = (1, 2, 4)
GAMES = 64  # at once: how many does not matter here, and finding out takes long


class Receiver(ActorProcess):
    """An actor that gets one network after another, and can load anew what it has already."""

    def __init__(self, config: GameConfig):
        super().__init__(config, 0, 1)

    def prepare(self, config: GameConfig, weights: Weights) -> None:
        self._worker = make_worker(config, 0, 1)
        self.kept = Weights(0, {name: np.array(tensor) for name, tensor in weights.tensors.items()})
        self._worker.use(self.kept)

    def use_kept(self, version: int) -> None:
        self.worker.use(Weights(version, self.kept.tensors))


def measure(config: GameConfig, rounds: int) -> dict[str, Any]:
    """``value`` is MB/s delivered, all actors together, from ``ray.put`` to the last evaluator's reply.

    The ceiling is what is left where nothing has to be sent: the same actors, at the same time, load weights that lie
    in their own memory. (A copy in memory would say little: most of the time is spent folding and laying out the
    network's layers, as inference wants them, in as many actors as share a core.) Both are measured in turn.
    ``table`` has a row for each size of the network and number of actors; value, ceiling and share are those of the
    configured network and as many actors as a run would have here.
    """
    inference = config.inference.model_copy(update={"compile": False})
    if inference.format == "auto":  # each actor would measure, for each network: that takes minutes, and changes little
        inference = inference.model_copy(update={"format": EXACT.name})
    games = config.selfplay.model_copy(update={"games": GAMES})
    config = config.model_copy(update={"selfplay": games, "inference": inference})
    table = []
    with cluster():
        planned = plan_now(config).actors
        counts = sorted({*ACTORS, planned})
        receiver: Any = ray.remote(Receiver)
        actors = [receiver.options(num_cpus=0).remote(config) for _ in range(counts[-1])]
        for wider in WIDER:
            scaled = _wider(config, wider)
            weights = make_trainer(scaled, new=False).weights(0.0)
            stored = ray.put(weights)
            ray.get([actor.prepare.remote(scaled, stored) for actor in actors])
            table += [_measured(actors[:count], weights, rounds) | {"wider": wider} for count in counts]
    found = next(row for row in table if row["actors"] == planned and row["wider"] == 1)
    names = ("wider", "actors", "bytes", "seconds", "load_seconds", "share")
    return found | {"unit": "MB/s", "rounds": rounds, "table": [{name: row[name] for name in names} for row in table]}


def _wider(config: GameConfig, factor: int) -> GameConfig:
    """The configuration with a network of ``factor`` times the features."""
    encoder = config.net.encoder
    name = "channels" if hasattr(encoder, "channels") else "width"
    wider = encoder.model_copy(update={name: factor * getattr(encoder, name)})
    return config.model_copy(update={"net": config.net.model_copy(update={"encoder": wider})})


def _measured(actors: list[Any], weights: Weights, rounds: int) -> dict[str, Any]:
    size = sum(t.nbytes for t in weights.tensors.values())
    sent, loaded = [], []
    for version in range(1, rounds + 1):
        start = time.perf_counter()
        stored = ray.put(Weights(version, weights.tensors))
        ray.get([actor.use.remote(stored) for actor in actors])
        between = time.perf_counter()
        ray.get([actor.use_kept.remote(version) for actor in actors])
        sent.append(between - start)
        loaded.append(time.perf_counter() - between)
    delivered = size * len(actors) / 1e6
    return {
        "value": round(delivered / median(sent), 2),
        "ceiling": round(delivered / median(loaded), 2),
        "share": round(median(mine / whole for mine, whole in zip(loaded, sent, strict=True)), 4),
        "seconds": round(median(sent), 4),
        "load_seconds": round(median(loaded), 4),
        "bytes": size,
        "actors": len(actors),
    }
