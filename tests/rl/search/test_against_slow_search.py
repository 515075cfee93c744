"""The compiled search makes the very choices of the papers' algorithms, written down slowly in slow_search.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import envs
from envs.game import Game
from rl.config import SearchConfig
from rl.records import SearchResult
from rl.search import Search
from tests.rl.search.fake_networks import hashed, random_positions, to_the_end
from tests.rl.search.slow_search import Found, SlowGumbel, SlowPuct
from tests.rl.search.two_stones import two_stones

# The compiled search sums in float32. Where two scores are closer than this, it may choose otherwise than float64 does.
TOO_CLOSE = 2e-5
GAMES = {"tic_tac_toe": (0, 6), "connect_four": (0, 24), "two_stones": (0, 6)}  # random plies before the search


def game_and_positions(env_id: str, count: int, seed: int) -> tuple[Game, np.ndarray]:
    game = two_stones() if env_id == "two_stones" else envs.make(env_id)
    return game, random_positions(game, count, GAMES[env_id], seed)


def searched(
    game: Game, positions: np.ndarray, simulations: int, noise: np.ndarray, explore: bool, **knobs: Any
) -> SearchResult:
    """The search under test, all positions at once, with the root noise given."""
    config = SearchConfig(simulations=simulations, solver=False, **knobs)
    search = Search(game, config, len(positions), seed=0)
    lanes = np.arange(len(positions))
    search.start(lanes, positions, simulations, explore=explore)
    if explore:
        search.lane.noise[:] = noise
    to_the_end(search, hashed(game.num_actions))
    return search.collect(lanes)


def assert_same(result: SearchResult, slow: list[Found]) -> None:
    compared = 0
    for i, reference in enumerate(slow):
        if reference.margin < TOO_CLOSE:
            continue
        compared += 1
        assert result.visits[i].tolist() == reference.visits.tolist(), i
        assert result.action[i] == reference.action, i
        np.testing.assert_allclose(result.policy[i], reference.policy, atol=1e-4)
        assert result.wdl[i, 0] - result.wdl[i, 2] == pytest.approx(reference.value, abs=1e-5)
    assert compared >= 0.8 * len(slow), "too few positions whose choices are clear"


@pytest.mark.parametrize("env_id", GAMES)
@pytest.mark.parametrize(
    ("simulations", "considered"),
    [(2, 4), (3, 16), (5, 1), (7, 2), (8, 3), (13, 5), (16, 16), (24, 4), (32, 16), (50, 7), (64, 16), (64, 2)],
)
@pytest.mark.parametrize("explore", [False, True])
def test_gumbel(env_id: str, simulations: int, considered: int, explore: bool) -> None:
    game, positions = game_and_positions(env_id, 12, seed=simulations)
    noise = np.random.default_rng(considered).gumbel(size=(len(positions), game.num_actions)) * explore
    result = searched(game, positions, simulations, noise, explore, max_considered=considered)
    slow = [
        SlowGumbel(game, hashed(game.num_actions), state, row).run(simulations, considered)
        for state, row in zip(positions, noise.astype(np.float32))
    ]
    assert_same(result, slow)


@pytest.mark.parametrize("env_id", GAMES)
@pytest.mark.parametrize("c_visit", [0.0, 3.0])
def test_gumbel_where_the_value_scale_is_small(env_id: str, c_visit: float) -> None:
    """Policies far from one-hot, so that the choices inside the tree hang on every term of equation 14."""
    game, positions = game_and_positions(env_id, 16, seed=1)
    noise = np.zeros((len(positions), game.num_actions))
    result = searched(game, positions, 48, noise, False, c_visit=c_visit, c_scale=0.2)
    slow = []
    for state, row in zip(positions, noise):
        search = SlowGumbel(game, hashed(game.num_actions), state, row)
        search.c_visit, search.c_scale = c_visit, 0.2
        slow.append(search.run(48, 16))
    assert_same(result, slow)


@pytest.mark.parametrize("env_id", GAMES)
@pytest.mark.parametrize("simulations", [1, 2, 3, 7, 16, 33, 64])
@pytest.mark.parametrize("explore", [False, True])
def test_puct(env_id: str, simulations: int, explore: bool) -> None:
    game, positions = game_and_positions(env_id, 12, seed=simulations)
    # Noise concerns legal actions only.
    legal = np.stack([game.legal_mask(state) for state in positions])
    noise = np.random.default_rng(simulations).gamma(0.7, size=legal.shape) * legal
    noise /= noise.sum(1, keepdims=True)
    knobs: dict[str, float] = {"c_puct": 1.1, "fpu_reduction": 0.3, "dirichlet_fraction": 0.4}
    result = searched(game, positions, simulations, noise, explore, kind="puct", **knobs)
    slow = []
    for state, row in zip(positions, noise.astype(np.float32)):
        search = SlowPuct(game, hashed(game.num_actions), state, row)
        search.explore = explore
        search.c_puct, search.fpu_reduction, search.dirichlet_fraction = 1.1, 0.3, 0.4
        slow.append(search.run(simulations))
    assert_same(result, slow)
