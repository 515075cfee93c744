"""A replay window in several shards, one with each learner, so that no process holds or receives all rows.

A saved window of K shards can be dealt out to any number of learners: a run may be resumed with more or fewer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rl.config import ExperienceConfig
from rl.records import Tensors

FIRST, STATES = "experience", "shards"  # what shards are called in a checkpoint
COUNTERS = ("total", "sampled")
Shard = tuple[Tensors, dict]  # as ReplayWindow.state_dict gives it


def shard_config(config: ExperienceConfig, count: int) -> ExperienceConfig:
    """The settings of one of ``count`` shards that grow alike: together they are a window of the whole size."""
    if count == 1:
        return config
    sizes = {name: -(-getattr(config, name) // count) for name in ("min_rows", "window", "max_rows")}
    return config.model_copy(update=sizes)


def shard_name(number: int) -> str:
    """What shard ``number`` is called in a checkpoint; the first one as the window of one learner."""
    return f"{FIRST}-{number}" if number else FIRST


def is_shard(part: str) -> bool:
    """Whether a part of a checkpoint is a shard."""
    return part == FIRST or part.startswith(f"{FIRST}-")


def file_shards(parts: dict[str, Tensors], state: dict, others: Sequence[Shard]) -> None:
    """Put the shards of the other learners beside the first one's in the parts and the state of a checkpoint."""
    for number, (tensors, rest) in enumerate(others, 1):
        if rest:
            parts[shard_name(number)] = tensors
            state.setdefault(STATES, []).append(rest)


def shards(parts: dict[str, Tensors], state: dict) -> list[Shard]:
    """All shards of a checkpoint, that of one learner too; those whose part was not read have no tensors."""
    states = [state[FIRST], *state.get(STATES, [])]
    return [(parts.get(shard_name(number), {}), rest) for number, rest in enumerate(states)]


def deal(saved: Sequence[Shard], rank: int, count: int, rng: np.random.Generator) -> Shard:
    """The shard of learner ``rank`` of ``count``: where so many were saved, its own; else they are dealt anew.

    Dealt are whole games, the oldest first, each to the shard that has the fewest rows so far. Counters are divided so
    that together the new shards may be trained on as often as the old ones and no more; ``rng`` is the stream that a
    new shard draws from.
    """
    if len(saved) == count:
        return saved[rank]
    hands: list[list[tuple[int, int, np.ndarray]]] = [[] for _ in range(count)]
    kept = [0] * count
    for _, shard, number, rows in sorted(_games(saved), key=lambda game: game[0]):
        least = kept.index(min(kept))
        hands[least].append((shard, number, rows))
        kept[least] += len(rows)
    totals = {name: sum(state[name] for _, state in saved) for name in COUNTERS}
    # Rows that are no longer there are divided evenly: how many there ever were is what the window grows by.
    gone = totals["total"] - sum(kept)
    total = kept[rank] + gone * (rank + 1) // count - gone * rank // count
    hand = hands[rank]
    return _joined(saved, hand), {
        "total": total,
        "sampled": -(-totals["sampled"] * total // max(1, totals["total"])),
        "next_game": len(hand),
        "rng": rng.bit_generator.state,
    }


def _games(saved: Sequence[Shard]) -> list[tuple[tuple[int, int, int], int, int, np.ndarray]]:
    """Of every game: what it is ordered by, its shard, its number there from 0 on, and its rows there."""
    found = []
    for shard, (tensors, state) in enumerate(saved):
        games = len(tensors["lengths"]) if "lengths" in tensors else 0
        local = tensors["game"] - (state["next_game"] - games)
        # A game's rows lie together, in the order in which games came.
        bounds = np.searchsorted(local, np.arange(games + 1))
        for number in range(games):
            rows = np.arange(bounds[number], bounds[number + 1])
            if len(rows):
                found.append(((int(tensors["version"][rows].max()), number, shard), shard, number, rows))
    return found


def _joined(saved: Sequence[Shard], hand: list[tuple[int, int, np.ndarray]]) -> Tensors:
    """The tensors of a window that holds the games of ``hand``, in that order."""
    games = {"lengths", "actions", "start", "margin", "ownership"}
    names = [name for name in saved[0][0] if name not in games]
    # A head's targets may be missing from shards of a run that had none yet, all of them or none.
    tensors = {
        name: np.concatenate([saved[shard][0][name][rows] for shard, _, rows in hand] or [saved[0][0][name][:0]])
        for name in names
    }
    tensors["game"] = np.repeat(np.arange(len(hand)), [len(rows) for _, _, rows in hand]).astype(np.int64)
    if not hand:
        return tensors
    ends = [np.cumsum(part["lengths"]) if "lengths" in part else np.zeros(0, int) for part, _ in saved]
    tensors["lengths"] = np.array([saved[shard][0]["lengths"][number] for shard, number, _ in hand])
    tensors["actions"] = np.concatenate(
        [
            saved[shard][0]["actions"][ends[shard][number] - saved[shard][0]["lengths"][number] : ends[shard][number]]
            for shard, number, _ in hand
        ]
    )
    for name in games & saved[hand[0][0]][0].keys() - {"lengths", "actions"}:
        tensors[name] = np.stack([saved[shard][0][name][number] for shard, number, _ in hand])
    return tensors
