"""Answers of the network that are recalled: the search finds what it would have found, and asks less."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit

import envs
from envs.game import Game
from rl.actors import SelfPlay
from rl.config import SearchConfig
from rl.records import Evaluation, SearchResult
from rl.search import Search
from rl.search.cache import FIELDS, draw_keys, fingerprint
from tests.rl.search.fake_networks import Counted, hashed, random_positions
from tests.rl.small import small_config

FOUR = envs.make("connect_four")
TOE = envs.make("tic_tac_toe")
KINDS = pytest.mark.parametrize("kind", ["gumbel", "puct"])


def searched(positions: np.ndarray, cache: int, lanes: int = 16, **knobs: Any) -> tuple[SearchResult, int]:
    config = SearchConfig(simulations=60, cache=cache, **knobs)
    evaluate = Counted(hashed(7))
    return Search(FOUR, config, lanes, seed=0).run(positions, evaluate), evaluate.rows


def assert_same(a: SearchResult, b: SearchResult) -> None:
    for name, value in vars(a).items():
        np.testing.assert_array_equal(value, getattr(b, name), err_msg=name)


@KINDS
@pytest.mark.parametrize("symmetries", [False, True])
@pytest.mark.parametrize("cache", [65_536, 100, 1])
def test_nothing_changes_but_the_number_of_questions(kind: str, symmetries: bool, cache: int) -> None:
    positions = random_positions(FOUR, 40, (0, 12), seed=1)
    knobs: dict[str, Any] = {"kind": kind, "root_symmetries": symmetries, "lookahead": True}
    plain, asked = searched(positions, 0, **knobs)
    recalled, fewer = searched(positions, cache, **knobs)
    assert_same(plain, recalled)
    assert fewer <= asked
    if cache == 65_536:
        assert fewer < asked  # the same position by other orders of moves


def test_a_search_hardly_asks_what_the_last_one_asked() -> None:
    positions = random_positions(FOUR, 8, (0, 12), seed=2)
    search, evaluate = Search(FOUR, SearchConfig(simulations=60), 8, seed=0), Counted(hashed(7))
    first = search.run(positions, evaluate, forget=False)
    asked, recalled = evaluate.rows, search.recalled
    second = search.run(positions, evaluate, forget=False)
    again = evaluate.rows - asked
    assert again < 0.02 * asked  # two that fell on one place
    assert search.recalled - recalled + again == asked + recalled
    assert_same(first, second)


def test_another_network_is_asked_anew() -> None:
    positions = random_positions(FOUR, 8, (0, 12), seed=3)
    config = SearchConfig(simulations=60)
    search = Search(FOUR, config, 8, seed=0)
    search.run(positions, hashed(7, 1))
    assert_same(search.run(positions, hashed(7, 2)), Search(FOUR, config, 8, seed=0).run(positions, hashed(7, 2)))


def test_versions_of_weights_are_kept_apart() -> None:
    positions = random_positions(FOUR, 8, (0, 12), seed=4)
    search, evaluate = Search(FOUR, SearchConfig(simulations=60), 8, seed=0), Counted(hashed(7))
    asked = []
    for version in (5, 5, 6, 5):  # a learner that fell back to its checkpoint counts a version again
        search.answered_by(version)
        before = evaluate.rows
        search.run(positions, evaluate, forget=False)
        asked.append(evaluate.rows - before)
    assert asked[0] == asked[2] == asked[3] > 50 * asked[1]


class Toe:
    """An evaluator with a version, for self-play."""

    def __init__(self) -> None:
        self.version, self.rows, self.evaluate = 0, 0, hashed(9)

    def __call__(self, planes: np.ndarray) -> Evaluation:
        self.rows += len(planes)
        return self.evaluate(planes)


def records(game: Game, cache: int) -> list[list[int]]:
    config = small_config(search={"simulations": 8, "cache": cache}, selfplay={"fast_simulations": 3})
    report = SelfPlay(game, config, 1, seed=0).play(Toe(), moves=400)
    return [record.actions.tolist() for record in report.games]


def test_self_play_plays_the_same_games() -> None:
    plain, recalled = records(TOE, 0), records(TOE, 65_536)
    assert plain[:40] == recalled[:40] and len(plain) > 40


@pytest.mark.timeout(60)
def test_self_play_ends_where_every_answer_is_recalled() -> None:
    ours = SelfPlay(TOE, small_config(search={"simulations": 32}), 8, seed=0)
    evaluate = Toe()
    ours.play(evaluate, moves=60_000)
    asked = evaluate.rows
    report = ours.play(evaluate, moves=3_000)  # tic-tac-toe has no 6,000 positions
    assert 3_000 <= report.moves < 3_000 + 9 * 8
    assert evaluate.rows - asked == report.evaluations < 0.01 * report.recalled
    assert ours.play(evaluate, moves=2**62, seconds=0.2).moves > 0


def test_a_state_saved_before_answers_were_kept_is_restored() -> None:
    config = small_config(search={"simulations": 8})
    first, second = SelfPlay(TOE, config, 4, seed=0), SelfPlay(TOE, config, 4, seed=1)
    first.play(Toe(), moves=50)
    state = {name: array for name, array in first.state_dict().items() if name.split(".")[-1] not in FIELDS}
    second.load_state_dict(state)
    first.search.forget()  # the games that it recalls would end first
    ours, theirs = (games.play(Toe(), moves=200).games for games in (first, second))
    for one, other in zip(ours[:20], theirs[:20], strict=True):
        np.testing.assert_array_equal(one.actions, other.actions)
    del state["search.lane.phase"]
    with pytest.raises(KeyError, match="phase"):
        second.load_state_dict(state)


def test_a_state_saved_when_every_node_had_a_log_prior_is_restored() -> None:
    config = small_config(search={"simulations": 8})
    first, second = SelfPlay(TOE, config, 4, seed=0), SelfPlay(TOE, config, 4, seed=1)
    first.play(Toe(), moves=50)
    state = first.state_dict()
    roots = state.pop("search.lane.log_prior")
    state["search.tree.log_prior"] = np.repeat(roots[:, None], first.search.tree.child.shape[1], 1)
    state["search.tree.log_prior"][:, 1:] = np.nan  # nobody reads those
    second.load_state_dict(state)
    ours, theirs = (games.play(Toe(), moves=200).games for games in (first, second))
    for one, other in zip(ours[:20], theirs[:20], strict=True):
        np.testing.assert_array_equal(one.policy, other.policy)


def test_every_plane_and_the_era_count() -> None:
    @njit
    def of(planes: np.ndarray, era: int, keys: np.ndarray) -> int:
        return fingerprint(planes, era, keys)

    rng, keys = np.random.default_rng(0), draw_keys(3 * 6 * 7)
    planes = rng.integers(0, 2, (3, 6, 7)).astype(np.float32)
    seen = {int(of(planes, era, keys)) for era in range(1000)}
    for place in np.ndindex(planes.shape):
        for value in (0.25, 1 - planes[place]):
            other = planes.copy()
            other[place] = value
            seen.add(int(of(other, 0, keys)))
    assert len(seen) == 1000 + 2 * planes.size
    assert 0 not in seen


@pytest.mark.parametrize("step", [1, 2, 3])
def test_positions_that_differ_in_a_few_stones_have_fingerprints_and_places_of_their_own(step: int) -> None:
    """0.0 and 1.0 differ in seven bits of the upper half: in 64 bits that mix them well, no two of 2^18 meet."""

    @njit
    def all_of(found: np.ndarray, keys: np.ndarray, bits: int, step: int) -> None:
        planes = np.zeros((2, 6, 7), np.float32)
        flat = planes.reshape(-1)
        for pattern in range(1 << bits):
            for j in range(bits):
                flat[5 + j * step] = (pattern >> j) & 1
            found[pattern] = fingerprint(planes, 3, keys)

    keys = draw_keys(2 * 6 * 7)
    found = np.zeros(1 << 18, np.uint64)
    all_of(found, keys, 18, step)
    assert len(np.unique(found)) == len(found)
    places = np.bincount(((found >> np.uint64(1)) & np.uint64(0xFFFF)).astype(np.int64), minlength=1 << 16)
    assert places.max() < 25, "four in a place on average"
