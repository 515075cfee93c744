"""Every metric of the catalogue can be a gauge of Ray's."""

from __future__ import annotations

import pytest
from ray.util.metrics import Gauge

from rl.runtime.gauges import Gauges, told
from rl.runtime.metrics import METRICS

EXAMPLES = [name.replace("<opponent>", "mcts:1000").replace("<", "").replace(">", "") for name in METRICS]


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_it_means_is_told_in_ascii(name: str) -> None:
    assert told(name).isascii() and "?" not in told(name)
    Gauge("fuseki_test", told(name))


def test_a_row_of_all_is_taken() -> None:
    Gauges("run").set(dict.fromkeys(EXAMPLES, 1.0) | {"eval/elo": None})


def test_halves_stay_halves() -> None:
    assert told("eval/score/random") == "points a game against a fixed opponent: a win 1, a draw 1/2"
