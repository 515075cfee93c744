"""Random streams of actors."""

from __future__ import annotations

import numpy as np


def actor_seed(root: int, index: int, life: int = 0) -> int:
    """The seed of actor ``index`` in its ``life``-th start; distinct for all, derived from the run's one seed."""
    return int(np.random.SeedSequence(root, spawn_key=(1, index, life)).generate_state(1)[0])
