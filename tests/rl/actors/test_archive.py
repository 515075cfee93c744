"""The archive of positions against a plain list of them, and self-play that begins games there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import envs
from envs.game import ONGOING, PLY, STATUS, Game
from rl.actors import SelfPlay
from rl.actors.archive import CAPACITY, Archive
from rl.experience.targets import replay
from tests.rl.actors.test_selfplay import ONE_IN_1000, Fake, assert_same, assert_share, chi_square
from tests.rl.search.two_stones import two_stones
from tests.rl.small import random_records, small_config

TOE = envs.make("tic_tac_toe")


def archive(game: Game = TOE, seed: int = 0) -> Archive:
    return Archive(game, np.random.SeedSequence(seed))


def selfplay(game: Game, share: float, seed: int = 0, games: int = 64, **play: Any) -> SelfPlay:
    config = small_config(search={"simulations": 8}, selfplay={"stored_starts": share} | play)
    return SelfPlay(game, config, games, seed)


def test_a_game_leaves_one_of_its_positions_each_as_likely() -> None:
    [record] = [r for r in random_records(TOE, 50, seed=0) if len(r.actions) == 9][:1]
    before = record.start.copy()
    visited = [state.tolist() for state in replay(TOE, record)]
    ours = archive()
    counts = np.zeros(9, np.int64)
    for n in range(900):
        ours.add(record)
        counts[visited.index(ours.positions[n].tolist())] += 1
    assert chi_square(counts, np.full(9, 1 / 9)) < ONE_IN_1000[8]
    assert (record.start == before).all()


def test_the_newest_are_held_and_drawn_alike() -> None:
    ours = archive()
    positions = []
    for record in random_records(TOE, CAPACITY + 200, seed=1, opening=3):
        ours.add(record)
        positions.append(ours.positions[(ours.added[0] - 1) % CAPACITY].tolist())
    held = sorted(positions[200:])
    assert sorted(ours.positions.tolist()) == held
    ours.positions[:, 0] = np.arange(CAPACITY)  # their places, to tell them apart
    openings = np.full((100_000, TOE.state_size), -1)
    ours.put(openings, 0.7)
    drawn = openings[openings[:, 0] >= 0, 0]
    assert_share(len(drawn), 100_000, 0.7)
    # 999 degrees of freedom: mean 999, standard deviation 45.
    assert chi_square(np.bincount(drawn, minlength=CAPACITY), np.full(CAPACITY, 1 / CAPACITY)) < 999 + 4 * 45


def test_an_empty_archive_changes_nothing() -> None:
    openings = np.full((50, TOE.state_size), -1)
    archive().put(openings, 1.0)
    assert (openings == -1).all()


@pytest.mark.parametrize("game", [TOE, envs.make("connect_four"), two_stones()], ids=lambda game: game.env_id)
def test_a_share_of_games_begins_where_earlier_ones_came_by(game: Game) -> None:
    ours = selfplay(game, 0.3, random_opening_plies=2)
    fresh = selfplay(game, 0.0, random_opening_plies=2)
    seen: set[bytes] = set()
    begun = stored = 0
    for _ in range(20):
        flight = ours.flight
        records = ours.play(Fake(game), moves=150).games
        for record in records:
            seen.update(state.tobytes() for state in replay(game, record))
        assert (flight.state[:, STATUS] == ONGOING).all()
        for start in flight.start:
            assert start[STATUS] == ONGOING
        later = [record for record in records if record.start[PLY] > 2]  # beyond every random opening: from the archive
        assert all(record.start.tobytes() in seen for record in later)
        stored += len(later)
        begun += len(records)
    assert stored > 0.05 * begun
    assert not any(record.start[PLY] > 2 for record in fresh.play(Fake(game), moves=2000).games)


def test_the_share_is_that_of_the_config() -> None:
    # Every game but those from the archive begins at the initial position.
    ours = selfplay(TOE, 0.4)
    ours.play(Fake(TOE), moves=200)
    records = ours.play(Fake(TOE), moves=12_000).games
    plies = np.array([state[PLY] for record in records for state in replay(TOE, record)])
    lengths = np.array([len(record.actions) for record in records])
    # A stored position is the initial one too with the chance that its game began there and gave its first.
    begun = np.array([record.start[PLY] == 0 for record in records])
    initial = begun.mean()
    first = (begun / lengths).mean()
    assert abs(initial - (0.6 + 0.4 * first)) < 4 * np.sqrt(0.25 / len(records))
    assert len(records) > 1500 and plies.max() == 8


def test_restored_games_and_archive_go_on_as_if_never_interrupted() -> None:
    game = envs.make("connect_four")
    whole = selfplay(game, 0.5, games=8)
    whole.play(Fake(game), moves=400)
    assert whole.archive is not None and whole.archive.added[0] > 5
    tensors = whole.state_dict()
    uninterrupted = whole.play(Fake(game), moves=600)
    assert any(record.start[PLY] > 0 for record in uninterrupted.games)
    restored = selfplay(game, 0.5, games=8, seed=99)
    restored.play(Fake(game), moves=300)
    restored.load_state_dict(tensors)
    assert_same(restored.play(Fake(game), moves=600), uninterrupted)
    assert_same(restored.play(Fake(game), moves=200), whole.play(Fake(game), moves=200))


def test_without_a_share_there_is_no_archive() -> None:
    ours = selfplay(TOE, 0.0)
    assert ours.archive is None
    assert not any("archive" in name for name in ours.state_dict())
