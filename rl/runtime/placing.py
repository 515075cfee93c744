"""Which machine of a cluster a process is put on, where that matters."""

from __future__ import annotations

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rl.storage import is_url


def learner_place(run_folder: str) -> dict[str, Any]:
    """Options of the Ray actor that writes the checkpoints of the run in this folder or URL.

    A local folder is on the driver's machine, so the learner belongs there; a URL is everywhere the same. Where that
    machine lacks what the learner needs, another is taken: the folder may be on a disk that they share.
    """
    if is_url(run_folder):
        return {}
    here = ray.get_runtime_context().get_node_id()
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(here, soft=True)}
