"""Random streams of actors."""

from __future__ import annotations

import numpy as np


def actor_seed(root: int, index: int, begun: int = 0, life: int = 0) -> int:
    """The seed of actor ``index``; distinct for all, derived from the run's one seed.

    ``begun``: the run's environment steps when it was started or resumed, so that no resumed run plays again what it
    has learned from; ``life`` counts the actor's replacements since then.
    """
    return int(np.random.SeedSequence(root, spawn_key=(1, index, begun, life)).generate_state(1)[0])
