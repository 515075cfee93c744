"""Random stretches of experience for the tests of on-policy losses, and what is common to their slow definitions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Unroll = dict[str, Any]
GAE = ("rewards", "values", "terminated", "truncated", "valid", "final_values")
FLOATS = {"rewards", "values", "final_values", "log_probs_target", "log_probs_behaviour"}


def random_unroll(steps: int = 12, lanes: int = 6, seed: int = 0) -> Unroll:
    """Arrays by name. Even lanes reset in the same step, odd ones in the next, which is then invalid.

    All four ways of ending a step occur, "terminated and truncated" too; ratios of the policies lie about 1.
    """
    rng = np.random.default_rng(seed)
    shape = (steps, lanes)
    terminated, truncated, valid = rng.random(shape) < 0.15, rng.random(shape) < 0.2, np.ones(shape, bool)
    # Known elsewhere too, of terminated states or of nothing, which is not to be looked at.
    final_values = np.where(truncated | (rng.random(shape) < 0.3), rng.normal(size=shape), np.nan)
    for b in range(1, lanes, 2):
        final_values[:, b] = np.nan
        for t in range(steps):
            began_anew = b == 1 if t == 0 else valid[t - 1, b] and (terminated | truncated)[t - 1, b]
            if began_anew:
                valid[t, b] = terminated[t, b] = truncated[t, b] = False
    behaviour = -rng.exponential(size=shape)
    unroll = {
        "rewards": np.where(valid, rng.normal(size=shape), 0.0),
        "values": rng.normal(size=(steps + 1, lanes)),
        "terminated": terminated,
        "truncated": truncated,
        "valid": valid,
        "final_values": final_values,
        "log_probs_behaviour": behaviour,
        "log_probs_target": behaviour + rng.normal(size=shape),
    }
    return {k: v.astype(np.float32) if k in FLOATS else v for k, v in unroll.items()}


def successor_value(unroll: Unroll, t: int, b: int) -> float:
    if unroll["terminated"][t, b]:
        return 0.0
    if unroll["truncated"][t, b] and not math.isnan(unroll["final_values"][t, b]):
        return float(unroll["final_values"][t, b])
    return float(unroll["values"][t + 1, b])


def goes_on(unroll: Unroll, t: int, b: int) -> bool:
    """Whether step t + 1 is of the unroll and goes on where step t has led."""
    over = unroll["terminated"][t, b] or unroll["truncated"][t, b]
    return bool(t + 1 < len(unroll["rewards"]) and not over and unroll["valid"][t + 1, b])


def resets_in_the_next_step(unroll: Unroll, padding: int = 2) -> tuple[Unroll, list[tuple[int, int]]]:
    """A lane that resets in the same step → the same experience where each reset takes an invalid step of its own.

    The invalid steps, full of poison, follow on the ends of episodes; ``padding`` more stand before the first step.
    Also returns (old t, new t) of the valid steps.
    """
    steps, lanes = unroll["rewards"].shape
    assert lanes == 1 and unroll["valid"].all()
    rows: dict[str, list[Any]] = {name: [] for name in unroll}
    where = []

    def invalid(value: float) -> None:
        poison = {"values": value, "terminated": False, "truncated": False, "valid": False}
        for name, column in rows.items():
            column.append(poison.get(name, math.nan))

    for _ in range(padding):
        invalid(0.5)
    for t in range(steps):
        where.append((t, len(rows["rewards"])))
        for name, column in rows.items():
            column.append(math.nan if name == "final_values" else unroll[name][t, 0])
        if unroll["terminated"][t, 0] or unroll["truncated"][t, 0]:
            final = unroll["final_values"][t, 0]
            invalid(-3.0 if math.isnan(final) else final)  # of a terminated state: any value
    rows["values"].append(unroll["values"][steps, 0])
    arrays = {name: np.array(column)[:, None] for name, column in rows.items()}
    return {k: v.astype(unroll[k].dtype) for k, v in arrays.items()}, where
