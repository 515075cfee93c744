"""A replay window in shards: dealt out to another number of learners, and nothing is lost."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import envs
from rl.config import ExperienceConfig
from rl.experience import ReplayWindow, deal, shard_config
from rl.experience.shards import Shard
from tests.rl.small import random_records

GAME = envs.make("tic_tac_toe")
REUSE = 3.0
CONFIG = ExperienceConfig(min_rows=30, window=400, max_rows=500, reuse=REUSE)


def windows(count: int, games: int = 12, config: ExperienceConfig = CONFIG, game: Any = GAME) -> list[ReplayWindow]:
    """So many shards, each with games of its own, some of whose rows were drawn."""
    found = [ReplayWindow(game, shard_config(config, count), seed) for seed in range(count)]
    for seed, window in enumerate(found):
        window.add(random_records(game, games + 3 * seed, 100 + seed))
        window.sample(5 * (seed + 1))
    return found


def dealt(saved: list[Shard], count: int, game: Any = GAME, config: ExperienceConfig = CONFIG) -> list[ReplayWindow]:
    found = []
    for rank in range(count):
        window = ReplayWindow(game, shard_config(config, count), 1000 + rank)
        window.load_state_dict(*deal(saved, rank, count, window.rng))
        found.append(window)
    return found


def rows(window: ReplayWindow) -> list[tuple[bytes, ...]]:
    """Every row that a window holds, by content: position, targets, version."""
    at = np.arange(window.total - window.size, window.total) % window.capacity
    games = [window.games[number] for number in window.rows["game"][at].tolist()]
    states = window._positions(games, window.rows["ply"][at])
    columns = [states, *(window.rows[name][at] for name in ("policy", "wdl", "version"))]
    ends = [b"".join(game[n].tobytes() for n in ("margin", "ownership") if n in game) for game in games]
    return [(*(column[i].tobytes() for column in columns), ends[i]) for i in range(len(at))]


def contents(found: list[ReplayWindow]) -> list[tuple[bytes, ...]]:
    return sorted(row for window in found for row in rows(window))


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 3), (3, 2), (1, 4), (4, 1)])
def test_rows_are_dealt_out_to_any_number(before: int, after: int) -> None:
    old = windows(before)
    saved = [window.state_dict() for window in old]
    new = dealt(saved, after)
    assert contents(new) == contents(old)
    assert max(w.size for w in new) - min(w.size for w in new) <= 9  # whole games, of up to 9 moves
    # What was generated and drawn stays what it was, and so does what may still be drawn.
    assert sum(w.total for w in new) == sum(w.total for w in old)
    assert sum(w.sampled for w in old) <= sum(w.sampled for w in new) < sum(w.sampled for w in old) + after
    for window in new:  # and they go on: rows come, are drawn, and old games are forgotten
        first = next(iter(window.games))
        window.add(random_records(GAME, 300, 7))
        window.sample(50)
        assert not np.isnan(window.rows["policy"][: window.size]).any()
        assert first not in window.games


def test_in_as_many_shards_each_is_the_very_one() -> None:
    old = windows(3)
    saved = [window.state_dict() for window in old]
    for window, again in zip(old, dealt(saved, 3), strict=True):
        assert again.state_dict()[1] == window.state_dict()[1]
        assert again.sample(20).planes.tobytes() == window.sample(20).planes.tobytes()


def test_a_window_that_has_forgotten_rows_keeps_its_size_as_it_grows() -> None:
    [old] = windows(1, games=200)
    assert old.total > old.size
    new = dealt([old.state_dict()], 2)
    assert sum(window.total for window in new) == old.total
    assert sum(window.window for window in new) == pytest.approx(old.window, abs=4)
    assert all(abs(window.total - old.total / 2) <= 9 for window in new)


def test_the_newest_rows_stay_the_newest() -> None:
    old = windows(2)
    for window in old:
        window.rows["version"][: window.total] = np.sort(window.rows["version"][: window.total])
    [new] = dealt([window.state_dict() for window in old], 1)
    versions = new.rows["version"][: new.total]
    games = [versions[new.rows["game"][: new.total] == number].max() for number in new.games]
    assert games == sorted(games)


def test_games_with_territory_keep_their_ends() -> None:
    go = envs.make("go5", max_moves=20)
    config = ExperienceConfig(min_rows=1, window=400, reuse=REUSE)
    old = windows(2, 3, config, go)
    new = dealt([window.state_dict() for window in old], 3, go, config)
    assert contents(new) == contents(old)


def test_shards_of_nothing_are_nothing() -> None:
    empty = [ReplayWindow(GAME, shard_config(CONFIG, 2), seed) for seed in range(2)]
    for window in dealt([w.state_dict() for w in empty], 3):
        assert window.size == window.total == window.sampled == 0
        window.add(random_records(GAME, 3, 0))
        window.sample(4)


def test_shards_together_are_a_window_of_the_whole_size() -> None:
    whole = ExperienceConfig(min_rows=2_000, window=100_000, max_rows=1_000_000)
    assert shard_config(whole, 1) is whole
    part = shard_config(whole, 3)
    for name in ("min_rows", "window", "max_rows"):
        assert Fraction(getattr(whole, name), 3) <= getattr(part, name) < Fraction(getattr(whole, name), 3) + 1
