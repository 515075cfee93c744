"""A search saved at any moment continues, in another process's Search, to the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import envs
from rl.config import SearchConfig
from rl.search import Search
from tests.rl.search.fake_networks import Kind, hashed, random_positions, to_the_end

FOUR = envs.make("connect_four")
LANES = 9


def make(seed: int, **knobs: Any) -> Search:
    search = Search(FOUR, SearchConfig(simulations=30, reuse_tree=True, **knobs), LANES, seed)
    positions = random_positions(FOUR, LANES, (0, 20), seed)
    search.start(np.arange(LANES), positions, np.arange(30 - LANES, 30), explore=True)
    return search


def copied(search: Search) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in search.arrays().items()}


@pytest.mark.parametrize("kind", ["gumbel", "puct"])
@pytest.mark.parametrize("lookahead", [False, True])
@pytest.mark.parametrize("root_symmetries", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 2, 9, 25])
@pytest.mark.parametrize("asked", [False, True])
def test_a_restored_search_ends_with_the_same_bits(
    kind: Kind, lookahead: bool, root_symmetries: bool, steps: int, asked: bool
) -> None:
    """``asked``: saved after select, before the network has answered."""
    knobs = {"kind": kind, "lookahead": lookahead, "root_symmetries": root_symmetries}
    evaluate = hashed(7)
    original = make(1, **knobs)
    to_the_end(original, evaluate, steps)
    planes = original.select().copy() if asked else None
    saved = copied(original)
    restored = make(2, **knobs)  # has been used for something else
    to_the_end(restored, evaluate, 3)
    for name, array in restored.arrays().items():
        array[...] = saved[name]
    if planes is not None:
        np.testing.assert_array_equal(restored.select(), planes)  # the same question is asked again
        for search in (original, restored):
            search.update(evaluate(planes))
    for search in (original, restored):
        to_the_end(search, evaluate)
        found = search.collect(search.finished())
        states = np.stack([FOUR.after(search.tree.state[b, 0], int(found.action[b])) for b in range(LANES)])
        ongoing = np.flatnonzero(states[:, 1] == 0)
        search.continue_after(ongoing, found.action[ongoing], states[ongoing], 20, explore=True)
        to_the_end(search, evaluate)
    ours, theirs = original.arrays(), restored.arrays()
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)
