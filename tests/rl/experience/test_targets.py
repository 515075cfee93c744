"""Training targets against the rules that the docstring of ``value_targets`` states, one test a rule."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import envs
from envs.game import PLY, TO_MOVE, Game
from rl.experience.targets import (
    replay,
    row_weights,
    rows_of,
    short_term_horizons,
    short_term_targets,
    value_targets,
)
from rl.records import PROVEN_DRAW, PROVEN_LOSS, PROVEN_WIN, UNPROVEN, GameRecord
from tests.rl.search.two_stones import two_stones
from tests.rl.small import random_records

WIN, DRAW, LOSS = np.eye(3, dtype=np.float32)
EXACT = {PROVEN_WIN: WIN, PROVEN_DRAW: DRAW, PROVEN_LOSS: LOSS}


def record(outcome: int, length: int, **fields: Any) -> GameRecord:
    """A game of ``length`` moves in which the search proved nothing and decided everything."""
    values = np.random.default_rng(length).dirichlet(np.ones(3), length).astype(np.float32)
    plain = GameRecord(
        start=np.zeros(3, np.int64),
        actions=np.zeros(length, np.int16),
        policy=np.zeros((length, 1), np.float32),
        wdl=values,
        proven=np.full(length, UNPROVEN, np.int8),
        full=np.ones(length, bool),
        off_policy=np.zeros(length, bool),
        weights_version=np.zeros(length, np.int64),
        surprise=np.zeros(length, np.float32),
        outcome=outcome,
    )
    return replace(plain, **fields)


def at(length: int, **marks: int) -> np.ndarray:
    """int8 zeros [length] with marks: ``at(5, t2=PROVEN_WIN)``."""
    found = np.zeros(length, np.int8)
    for name, value in marks.items():
        found[int(name[1:])] = value
    return found


ALTERNATING = np.array([0, 1, 0, 1, 0])


def test_outcome_and_searched_value_are_mixed_for_the_side_to_move() -> None:
    for outcome, ends in ((1, (WIN, LOSS)), (-1, (LOSS, WIN)), (0, (DRAW, DRAW))):
        game = record(outcome, 5)
        targets = value_targets(game, ALTERNATING, 0.75)
        for t, mover in enumerate(ALTERNATING):
            np.testing.assert_allclose(targets[t], 0.75 * ends[mover] + 0.25 * game.wdl[t], atol=1e-6)


def test_a_proven_position_gets_its_exact_result() -> None:
    for proven, exact in EXACT.items():
        # Whatever the game's outcome and whether or not its own move was random.
        game = record(1, 5, proven=at(5, t1=proven, t2=proven), off_policy=at(5, t1=1).astype(bool))
        targets = value_targets(game, ALTERNATING, 0.3)
        assert targets[1].tolist() == targets[2].tolist() == exact.tolist()


def test_what_followed_is_the_first_proven_position_after_it() -> None:
    # At 2 the first player has won, at 4 it has lost (made up), and the second player wins the game.
    game = record(-1, 5, proven=at(5, t2=PROVEN_WIN, t4=PROVEN_LOSS))
    followed = [WIN, LOSS, None, WIN, None]
    targets = value_targets(game, ALTERNATING, 1.0)
    assert [targets[t].tolist() for t in (0, 1, 3)] == [followed[t].tolist() for t in (0, 1, 3)]  # type: ignore[union-attr]
    game = replace(game, proven=at(5, t1=PROVEN_DRAW))
    assert value_targets(game, ALTERNATING, 1.0).tolist() == [x.tolist() for x in (DRAW, DRAW, LOSS, WIN, LOSS)]


def test_a_random_move_cuts_what_followed_off_from_what_was_before() -> None:
    game = record(1, 5, off_policy=at(5, t2=1).astype(bool))
    own = game.wdl[2]
    targets = value_targets(game, ALTERNATING, 1.0)
    assert targets.tolist() == [own.tolist(), own[::-1].tolist(), own.tolist(), LOSS.tolist(), WIN.tolist()]
    # The position in which the random move was made has nothing but its own value, whatever the weight.
    np.testing.assert_allclose(value_targets(game, ALTERNATING, 0.4)[2], own, atol=1e-6)
    # A proof before the random move is what the positions before the proof see; one after it is cut off too.
    game = replace(game, proven=at(5, t1=PROVEN_WIN, t3=PROVEN_LOSS))
    assert value_targets(game, ALTERNATING, 1.0)[[0, 1, 2]].tolist() == [LOSS.tolist(), WIN.tolist(), own.tolist()]


def test_a_side_that_moves_twice_keeps_its_point_of_view() -> None:
    game = record(1, 5)
    targets = value_targets(game, np.array([0, 1, 1, 0, 0]), 1.0)
    assert targets.tolist() == [x.tolist() for x in (WIN, LOSS, LOSS, WIN, WIN)]


def test_a_game_may_begin_and_end_with_the_second_player() -> None:
    game = record(-1, 3)
    assert value_targets(game, np.array([1, 0, 1]), 1.0).tolist() == [x.tolist() for x in (WIN, LOSS, WIN)]


def slow_target(game: GameRecord, to_move: np.ndarray, t: int, weight: float) -> np.ndarray:
    """The rules read forward from position t."""
    if game.proven[t]:
        return EXACT[int(game.proven[t])]
    outcome = {1: WIN, 0: DRAW, -1: LOSS}[game.outcome]
    followed, viewer = outcome, 0
    for s in range(t, len(to_move)):
        if s > t and game.proven[s]:
            followed, viewer = EXACT[int(game.proven[s])], to_move[s]
            break
        if game.off_policy[s]:
            followed, viewer = game.wdl[s], to_move[s]
            break
    seen = followed if viewer == to_move[t] else followed[::-1]
    return weight * seen + (1 - weight) * game.wdl[t]


@pytest.mark.parametrize("weight", [0.0, 0.35, 1.0])
@pytest.mark.parametrize("name", ["tic_tac_toe", "connect_four", "two_stones"])
def test_random_games_get_what_the_rules_say(name: str, weight: float) -> None:
    game = two_stones() if name == "two_stones" else envs.make(name)
    begun_later = 0
    for played in random_records(game, 200, seed=3, opening=5):
        to_move = replay(game, played)[:, TO_MOVE]
        targets = value_targets(played, to_move, weight)
        assert targets.dtype == np.float32
        for t in range(len(to_move)):
            np.testing.assert_allclose(targets[t], slow_target(played, to_move, t, weight), atol=1e-6)
        np.testing.assert_allclose(targets.sum(1), 1, atol=1e-5)
        begun_later += int(played.start[PLY] > 0)
    assert begun_later > 100


def slow_short_term(game: GameRecord, to_move: np.ndarray, t: int, horizon: float) -> np.ndarray:
    """Every later position's searched value times its weight, turned to the side that moves at t."""
    decay = 1 - 1 / horizon
    total, left = np.zeros(3), 1.0
    for s in range(t, len(to_move)):
        seen = EXACT[int(game.proven[s])] if game.proven[s] else game.wdl[s]
        ends = game.proven[s] or game.off_policy[s]
        weight = left if ends else (1 - decay) * decay ** (s - t)
        total += weight * (seen if to_move[s] == to_move[t] else seen[::-1])
        left -= weight
        if ends:
            return total
    outcome = {1: WIN, 0: DRAW, -1: LOSS}[game.outcome]
    return total + left * (outcome if to_move[t] == 0 else outcome[::-1])


@pytest.mark.parametrize("name", ["tic_tac_toe", "connect_four", "two_stones"])
def test_short_term_targets_are_averages_of_the_searched_values_that_followed(name: str) -> None:
    game = two_stones() if name == "two_stones" else envs.make(name)
    horizons = np.array([1.0, 2.5, 16.0])
    plain = ended = 0
    for played in random_records(game, 100, seed=3, opening=5):
        uncut = replace(played, proven=np.zeros_like(played.proven), off_policy=np.zeros_like(played.off_policy))
        for one in (played, uncut):
            to_move = replay(game, one)[:, TO_MOVE]
            targets = short_term_targets(one, to_move, horizons)
            assert targets.dtype == np.float32
            wanted = [[slow_short_term(one, to_move, t, h) for h in horizons] for t in range(len(to_move))]
            np.testing.assert_allclose(targets, wanted, atol=1e-6)
            np.testing.assert_allclose(targets.sum(2), 1, atol=1e-5)
        np.testing.assert_allclose(targets[:, 0], uncut.wdl, atol=1e-6)  # no further than the position itself
        plain += len(to_move)
        ended += int((played.proven > 0).sum() + played.off_policy.sum())
    assert 0.2 * plain < ended < plain


def test_horizons_grow_with_the_board() -> None:
    np.testing.assert_allclose(short_term_horizons(envs.make("go19")), [6.8, 21.2, 64.5], atol=0.05)
    np.testing.assert_allclose(short_term_horizons(envs.make("connect_four")), [1.67, 3.35, 8.39], atol=0.01)


def slow_weights(surprise: list[float], share: float) -> list[float]:
    """KataGo's words: a part of the weight uniformly, the rest in proportion to the divergence."""
    known = [x for x in surprise if not math.isnan(x)]
    weights = []
    for x in surprise:
        if math.isnan(x) or sum(known) == 0:
            weights.append(1.0)
        else:
            weights.append((1 - share) + share * len(known) * x / sum(known))
    return weights


NAN = math.nan


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize(
    "surprise", [[0.2, 1.0, 0.0, 3.5], [0.1, NAN, 2.0, NAN, 0.4], [0.0, 0.0], [NAN, NAN], [1.5], [NAN, 0.0, 2.0], []]
)
def test_surprising_rows_weigh_more_and_the_game_as_much_as_ever(surprise: list[float], share: float) -> None:
    weights = row_weights(np.array(surprise, np.float32), share)
    np.testing.assert_allclose(weights, slow_weights(surprise, share), rtol=1e-6)
    assert weights.sum() == pytest.approx(len(surprise))


def positions(game: Game, played: GameRecord) -> np.ndarray:
    states = [played.start]
    for action in played.actions[:-1]:
        states.append(game.after(states[-1], int(action)))
    return np.stack(states)


@pytest.mark.parametrize("name", ["connect_four", "two_stones"])
def test_rows_are_the_fully_searched_positions(name: str) -> None:
    game = two_stones() if name == "two_stones" else envs.make(name)
    for played in random_records(game, 100, seed=4, opening=5):
        states = positions(game, played)
        before = played.start.copy()
        rows = rows_of(game, played, 0.35, short_term=True)
        assert (played.start == before).all()
        averages = short_term_targets(played, states[:, TO_MOVE], short_term_horizons(game))
        assert (rows.pop("short_term_value") == averages[played.full]).all()
        assert all((rows[key] == value).all() for key, value in rows_of(game, played, 0.35).items())
        assert {key: value.dtype for key, value in rows.items()} == {
            "ply": np.int32,
            "policy": np.float32,
            "wdl": np.float32,
            "version": np.int64,
        }
        full = np.flatnonzero(played.full)
        assert (rows["ply"] == full).all()
        assert (replay(game, played)[rows["ply"]] == states[full]).all()
        assert (rows["policy"] == played.policy[full]).all()
        assert (rows["version"] == played.weights_version[full]).all()
        wanted = [slow_target(played, states[:, TO_MOVE], int(t), 0.35) for t in full]
        np.testing.assert_allclose(rows["wdl"], np.reshape(wanted, (-1, 3)), atol=1e-6)
