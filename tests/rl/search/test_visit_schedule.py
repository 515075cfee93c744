"""Sequential halving (Karnin et al. 2013) as Danihelka et al. 2022 use it at the root."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from rl.search.policies import visit_schedule


def scheduled(considered: int, simulations: int) -> np.ndarray:
    schedule = np.full(simulations, -1, np.int32)
    visit_schedule(considered, np.full(considered, 99, np.int32), schedule)
    return schedule


def halving(considered: int, simulations: int) -> list[int]:
    """Run the algorithm on actions 0, 1, ... of which the lower is always the better; the visit count that each
    simulated action had before."""
    visits: Counter[int] = Counter()
    counts: list[int] = []
    survivors = list(range(considered))
    phases = max(1, math.ceil(math.log2(considered)))
    while True:
        share = simulations / phases / len(survivors)  # each phase gets an equal part, each of its actions too
        for _ in range(max(1, math.floor(share + 1e-9))):
            for action in survivors:
                if len(counts) == simulations:
                    return counts
                counts.append(visits[action])
                visits[action] += 1
        if considered > 1:
            survivors = survivors[: max(2, len(survivors) // 2)]  # there is no choosing between fewer than two


@pytest.mark.parametrize("considered", [*range(1, 18), 32, 64])
def test_the_schedule_is_the_published_rule(considered: int) -> None:
    for simulations in [*range(1, 70), 100, 200, 400]:
        assert scheduled(considered, simulations).tolist() == halving(considered, simulations), simulations


@pytest.mark.parametrize(
    ("considered", "simulations", "visits"),
    [
        (4, 8, [3, 3, 1, 1]),  # two phases of 4: one round of four actions, two rounds of two
        # Four phases of 16: 1, 2, 4 and 8 rounds of 16, 8, 4 and 2 actions.
        (16, 64, [15, 15, 7, 7, 3, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1]),
        (7, 3, [1, 1, 1, 0, 0, 0, 0]),
        (2, 9, [5, 4]),
        (1, 5, [5]),
    ],
)
def test_how_often_each_action_is_visited(considered: int, simulations: int, visits: list[int]) -> None:
    """Actions in the order of their worth, which doesn't change on the way."""
    counts = [0] * considered
    for due in scheduled(considered, simulations):
        counts[counts.index(due)] += 1
    assert counts == visits
    assert sum(counts) == simulations
