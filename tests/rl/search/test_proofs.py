"""What the search calls proven is the truth, and proofs are found, used and end the search."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from fake_networks import Counted, Truth, constant, drawn_board, hashed, random_positions, to_the_end
from two_stones import two_stones

import envs
from envs.game import TO_MOVE, Game
from rl.config import SearchConfig
from rl.records import PROVEN_DRAW, PROVEN_LOSS, PROVEN_WIN, UNPROVEN, SearchResult
from rl.search import Search

VALUE = {PROVEN_LOSS: -1, PROVEN_DRAW: 0, PROVEN_WIN: 1}
# Random plies before the search: at most six empty cells, or at most ten in Connect Four.
LATE = {"tic_tac_toe": (3, 8), "connect_four": (32, 41), "two_stones": (3, 8), "two_stones misere": (3, 8)}


@cache
def late_positions(name: str) -> tuple[Game, np.ndarray, Truth]:
    game = two_stones("misere" in name) if name.startswith("two_stones") else envs.make(name)
    return game, random_positions(game, 500, LATE[name], seed=5), Truth(game)


def run(game: Game, positions: np.ndarray, simulations: int, **knobs: Any) -> tuple[Search, SearchResult]:
    """A search with one lane for each position, so that all trees are there to look at."""
    search = Search(game, SearchConfig(simulations=simulations, **knobs), len(positions), seed=0)
    return search, search.run(positions, hashed(game.num_actions), explore=True)


def assert_proofs_are_true(search: Search, truth: Truth) -> int:
    """Every proof in every tree, of a node and of an edge; returns how many there are."""
    tree = search.tree
    count = 0
    for b in range(search.lanes):
        for node in range(search.lane.size[b]):
            state, proven = tree.state[b, node], tree.proven[b, node]
            if proven != UNPROVEN:
                count += 1
                assert VALUE[proven] == truth.value(state)
            for action in np.flatnonzero(tree.edge_proven[b, node]):
                assert tree.prior[b, node, action] > 0
                assert VALUE[tree.edge_proven[b, node, action]] == truth.after(state, action)
    return count


@pytest.mark.parametrize("name", LATE)
@pytest.mark.parametrize("kind", ["gumbel", "puct"])
@pytest.mark.parametrize("lookahead", [False, True])
def test_what_is_proven_is_true(name: str, kind: str, lookahead: bool) -> None:
    game, positions, truth = late_positions(name)
    for simulations in (1, 8, 60):
        search, result = run(game, positions, simulations, kind=kind, lookahead=lookahead)
        assert assert_proofs_are_true(search, truth) > 100
        for i in np.flatnonzero(result.proven):
            value = VALUE[result.proven[i]]
            assert value == truth.value(positions[i])
            assert value == truth.after(positions[i], result.action[i]), "the move gives the proven result away"
            assert result.wdl[i].tolist() == [value == 1, value == 0, value == -1]


@pytest.mark.parametrize("name", LATE)
@pytest.mark.parametrize("kind", ["gumbel", "puct"])
@pytest.mark.parametrize("solver", [False, True])
def test_a_lost_move_is_avoided_while_there_is_another(name: str, kind: str, solver: bool) -> None:
    game, positions, _ = late_positions(name)
    search, result = run(game, positions, 40, kind=kind, lookahead=True, solver=solver)
    lost = search.tree.edge_proven[:, 0] == PROVEN_LOSS
    legal = search.tree.prior[:, 0] > 0
    hopeless = (lost | ~legal).all(1)
    assert (~hopeless & lost.any(1)).sum() > 30
    assert (result.policy[lost & ~hopeless[:, None]] == 0).all()
    rows = np.arange(len(positions))
    assert not lost[rows, result.action][~hopeless].any()
    np.testing.assert_allclose(result.policy.sum(1), 1, rtol=1e-5)
    assert (result.policy[~legal] == 0).all()
    assert hopeless.sum() > 10
    if solver:
        assert (result.proven[hopeless] == PROVEN_LOSS).all()
        assert (result.proven == PROVEN_LOSS).sum() == hopeless.sum()


@pytest.mark.parametrize("name", LATE)
@pytest.mark.parametrize("kind", ["gumbel", "puct"])
def test_a_large_budget_proves_small_endings_and_stops(name: str, kind: str) -> None:
    game, positions, _ = late_positions(name)
    empty = np.array([game.legal_mask(state).sum() for state in positions])
    small = positions[empty <= 3]
    assert len(small) > 50
    search, result = run(game, small, 400, kind=kind)
    assert (result.proven != UNPROVEN).all()
    assert (search.lane.done < 400).all()


@pytest.mark.parametrize("name", LATE)
def test_without_the_solver_only_ended_games_are_proven(name: str) -> None:
    game, positions, _ = late_positions(name)
    search, result = run(game, positions, 40, solver=False)
    assert (result.proven == UNPROVEN).all()
    assert (search.lane.done == 40).all()
    ended = search.tree.state[:, :, 1] != 0
    used = np.arange(ended.shape[1]) < search.lane.size[:, None]
    assert ((search.tree.proven != UNPROVEN) == ended)[used].all()


IN_ONE = """
. . . . . . .
. . . . . . .
. . . . . . .
. . . . . . .
O O . . . . .
X X X . O . .
"""  # column 3
IN_THREE = """
. . . . . . .
. . . . . . .
. . . . . . .
. . . . . . .
. . . O . . .
. . X X . . O
"""  # 1 or 4 make three in a row, open on both sides; O replied far away
DEFENDED = """
. . . . . . .
. . . . . . .
. . . . . . .
. . . . . . .
. . . O . . .
. . X X . . .
"""  # O must answer at 1 or 4, and then is not lost within a few plies
IN_FIVE = """
. . . . . . .
. . . . . . .
. . . X . . .
. . . O . . .
. . O X . . .
. O X X O . .
"""


def start(game: Game, text: str, simulations: int, **knobs: Any) -> tuple[Search, Counted]:
    search = Search(game, SearchConfig(simulations=simulations, **knobs), 1, seed=0)
    search.start(np.arange(1), drawn_board(game, text)[None], simulations)
    evaluate = Counted(constant(game.num_actions))
    to_the_end(search, evaluate)
    return search, evaluate


@pytest.mark.parametrize("kind", ["gumbel", "puct"])
@pytest.mark.parametrize("lookahead", [False, True])
@pytest.mark.parametrize(
    ("text", "winning", "budget"),
    [(IN_ONE, {3}, (0, 8)), (IN_THREE, {1, 4}, (60, 350))],
)
def test_a_forced_win_is_found_with_a_uniform_network(
    text: str, winning: set[int], budget: tuple[int, int], kind: str, lookahead: bool
) -> None:
    """``budget``: simulations that suffice with and without lookahead; a win in one costs no evaluation with it."""
    allowed = budget[0] if lookahead else budget[1]
    game = envs.make("connect_four")
    search, evaluate = start(game, text, max(allowed, 1), kind=kind, lookahead=lookahead)
    done = int(search.lane.done[0])
    result = search.collect(np.arange(1))
    print(kind, lookahead, done, evaluate.rows)
    assert result.proven[0] == PROVEN_WIN
    assert result.action[0] in winning
    assert set(np.flatnonzero(result.policy[0])) <= winning
    assert result.wdl[0].tolist() == [1, 0, 0]
    assert evaluate.rows <= allowed


def test_x() -> None:
    pass
