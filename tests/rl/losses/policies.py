"""Policy distributions of every kind, for tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spec:
    kind: str
    sizes: tuple[int, ...]


SPECS = (
    Spec("categorical", (5,)),
    Spec("multi_categorical", (3, 2, 4)),
    Spec("bernoulli", (3,)),
    Spec("gaussian", (3,)),
    Spec("squashed_gaussian", (3,)),
)


def random_parameters(spec: Spec, *shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Logits, or means with logs of standard deviations between -1.5 and 0.5: [*shape, P] float32."""
    rng = np.random.default_rng(seed)
    if "gaussian" in spec.kind:
        mean, log_std = rng.normal(size=(*shape, *spec.sizes)), rng.uniform(-1.5, 0.5, (*shape, *spec.sizes))
        return np.concatenate([mean * scale, log_std], -1).astype(np.float32)
    return (rng.normal(size=(*shape, sum(spec.sizes))) * 2 * scale).astype(np.float32)


def random_mask(spec: Spec, *shape: int, seed: int = 0) -> np.ndarray:
    """[*shape, P] bool with a legal action in each entry."""
    rng = np.random.default_rng(seed)
    masks = []
    for size in spec.sizes:
        mask = rng.random((*shape, size)) < 0.5
        masks.append(mask | (np.arange(size) == rng.integers(size, size=(*shape, 1))))
    return np.concatenate(masks, -1)
