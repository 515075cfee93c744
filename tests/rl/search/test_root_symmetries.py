"""root_symmetries: the root's evaluation is averaged over the board's symmetries, whatever the network's bias."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import envs
from envs.game import HEADER, Game
from rl.config import SearchConfig
from rl.records import SearchResult
from rl.search import Search
from tests.rl.search.fake_networks import Counted, hashed, random_positions

FOUR = envs.make("connect_four")
TOE = envs.make("tic_tac_toe")
GAMES = pytest.mark.parametrize("game", [FOUR, TOE], ids=lambda game: game.env_id)


def search(game: Game, states: np.ndarray, simulations: int = 1, **knobs: Any) -> tuple[SearchResult, int]:
    config = SearchConfig(simulations=simulations, **({"root_symmetries": True} | knobs))
    evaluate = Counted(hashed(game.num_actions))
    return Search(game, config, 8, seed=0).run(states, evaluate), evaluate.rows


@GAMES
def test_the_prior_of_a_symmetric_position_is_symmetric(game: Game) -> None:
    opening = game.initial_state()[None]
    biased, _ = search(game, opening, root_symmetries=False)
    found, _ = search(game, opening)
    assert game.action_symmetries is not None
    for symmetry in game.action_symmetries[1:]:
        assert abs(biased.prior[0] - biased.prior[0][symmetry]).max() > 0.01
        np.testing.assert_allclose(found.prior[0], found.prior[0][symmetry], rtol=1e-6)


@GAMES
def test_the_root_is_the_mean_opinion_over_all_symmetries(game: Game) -> None:
    """Worked out from the definitions in envs.game: planes x[:, points[k]] are given policies p[actions[k]]."""
    assert game.point_symmetries is not None and game.action_symmetries is not None
    positions = random_positions(game, 12, (1, 5), seed=1)
    config = SearchConfig(simulations=1, root_symmetries=True, cache=0)  # each symmetry is one update of all
    tested = Search(game, config, len(positions), seed=0)
    evaluate = hashed(game.num_actions)
    tested.start(np.arange(len(positions)), positions, 1)
    for _ in game.action_symmetries:
        tested.update(evaluate(tested.select()))
    for i, state in enumerate(positions):
        logits, wdl = np.zeros(game.num_actions), np.zeros(3)
        flat = game.encode(state[None]).reshape(game.num_planes, -1)
        for points, actions in zip(game.point_symmetries, game.action_symmetries):
            answer = evaluate(np.ascontiguousarray(flat[:, points]).reshape(1, *game.plane_shape))
            logits[actions] += answer.logits[0] / len(game.action_symmetries)
            wdl += answer.wdl[0] / len(game.action_symmetries)
        weights = np.exp(logits) * game.legal_mask(state)
        np.testing.assert_allclose(tested.tree.prior[i, 0], weights / weights.sum(), rtol=1e-5)
        assert tested.tree.net_value[i, 0] == pytest.approx(wdl[0] - wdl[2], abs=1e-6)
        assert tested.tree.value_sum[i, 0] == pytest.approx(wdl[0] - wdl[2], abs=1e-6)
        assert tested.tree.draw_sum[i, 0] == pytest.approx(wdl[1], abs=1e-6)
        assert tested.tree.visits[i, 0] == 1


def test_turned_boards_have_turned_priors() -> None:
    assert TOE.point_symmetries is not None and TOE.action_symmetries is not None
    positions = random_positions(TOE, 10, (1, 5), seed=2)
    plain, _ = search(TOE, positions)
    for points, actions in zip(TOE.point_symmetries, TOE.action_symmetries):
        turned = positions.copy()
        turned[:, HEADER:] = positions[:, HEADER:][:, points]
        found, _ = search(TOE, turned)
        np.testing.assert_allclose(found.prior, plain.prior[:, actions], rtol=1e-5)


@GAMES
def test_how_many_evaluations_it_costs(game: Game) -> None:
    """One a symmetry at the root, one for each simulation after it: no position here is near the end."""
    positions = random_positions(game, 6, (0, 2), seed=3)
    assert game.action_symmetries is not None
    for symmetries, rows in ((True, len(game.action_symmetries)), (False, 1)):
        for simulations in (1, 6):
            _, evaluations = search(game, positions, simulations, root_symmetries=symmetries, cache=0)
            assert evaluations == len(positions) * (rows + simulations)
