"""The resignation threshold against the games that it was measured on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import envs
from envs.game import TO_MOVE
from rl.experience import Comebacks
from tests.rl.search.two_stones import two_stones
from tests.rl.small import random_record


@pytest.mark.parametrize("game", [envs.make("tic_tac_toe"), two_stones()], ids=lambda game: game.env_id)
def test_one_winner_in_a_hundred_stood_below_the_threshold(game) -> None:
    """In the second game the sides do not alternate."""
    comebacks, rng = Comebacks(game), np.random.default_rng(0)
    lows: list[float] = []
    assert comebacks.resign_below is None
    while len(lows) < 700:
        record = random_record(game, rng)
        values = rng.uniform(-1, 1, len(record.actions)).astype(np.float32) ** 3
        wdl = np.stack([(1 + values) / 2, np.zeros_like(values), (1 - values) / 2], 1)
        record = replace(record, wdl=wdl)
        comebacks.add(record)
        if record.outcome == 0:
            continue
        state, mine = record.start.copy(), []
        for value, action in zip(values, record.actions, strict=True):
            if (state[TO_MOVE] == 0) == (record.outcome == 1):
                mine.append(value)
            state = game.after(state, int(action))
        lows.append(min(mine))
    assert comebacks.resign_below is not None
    assert np.mean(np.array(lows) < comebacks.resign_below) == pytest.approx(0.01, abs=0.002)
    assert len(comebacks.lows) == 700


def test_only_the_newest_games_count() -> None:
    game = envs.make("tic_tac_toe")
    comebacks, rng = Comebacks(game), np.random.default_rng(1)
    while len(comebacks.lows) < 1000:
        comebacks.add(replace_values(random_record(game, rng), 0.0))
    assert comebacks.resign_below == 0.0
    for _ in range(2000):
        comebacks.add(replace_values(random_record(game, rng), 0.5))
    assert comebacks.resign_below == 0.5


def replace_values(record, value: float):
    wdl = np.tile(np.array([(1 + value) / 2, 0, (1 - value) / 2], np.float32), (len(record.actions), 1))
    return replace(record, wdl=wdl)
