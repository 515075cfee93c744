"""``fuseki bench broadcast``: from a published version to the last actor having loaded it, on a real Ray cluster."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import numpy as np
import ray

from rl.actors.seeds import actor_seed
from rl.config import GameConfig
from rl.records import Weights
from rl.runtime import cluster
from rl.runtime.processes import RayActor, plan


def measure(config: GameConfig, weights: Weights, rounds: int) -> dict[str, Any]:
    """``value`` is MB/s delivered, all actors together, from ``ray.put`` to the last evaluator's reply."""
    size = sum(t.nbytes for t in weights.tensors.values())
    with cluster():
        placed = plan(config, ray.cluster_resources())
        actors = [RayActor.remote(config, actor_seed(config.seed, i), placed.actors) for i in range(placed.actors)]
        ray.get([a.use.remote(ray.put(weights)) for a in actors])
        seconds, copies = [], []
        for version in range(1, rounds + 1):
            news = Weights(version, weights.tensors)
            start = time.perf_counter()
            stored = ray.put(news)
            ray.get([a.use.remote(stored) for a in actors])
            seconds.append(time.perf_counter() - start)
            start = time.perf_counter()
            for _ in actors:
                for tensor in weights.tensors.values():
                    np.array(tensor)
            copies.append(time.perf_counter() - start)
    delivered = size * placed.actors / 1e6
    return {
        "value": round(delivered / median(seconds), 2),
        "unit": "MB/s",
        "ceiling": round(delivered / median(copies), 2),
        "share": round(median(c / s for c, s in zip(copies, seconds, strict=True)), 4),
        "seconds": round(median(seconds), 4),
        "bytes": size,
        "actors": placed.actors,
        "rounds": rounds,
    }
