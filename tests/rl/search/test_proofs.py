"""What the search calls proven is the truth, and proofs are found, used and end the search."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import envs
from envs.game import FIRST_WON, ONGOING, PLY, STATUS, TO_MOVE, Game
from rl.config import SearchConfig
from rl.records import PROVEN_DRAW, PROVEN_LOSS, PROVEN_WIN, UNPROVEN, SearchResult
from rl.search import Search
from tests.rl.search.fake_networks import (
    Counted,
    Kind,
    Truth,
    constant,
    drawn_board,
    hashed,
    random_positions,
    to_the_end,
)
from tests.rl.search.two_stones import two_stones

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
                assert VALUE[tree.edge_proven[b, node, action]] == truth.after(state, int(action))
    return count


@pytest.mark.parametrize("name", LATE)
@pytest.mark.parametrize("kind", ["gumbel", "puct"])
@pytest.mark.parametrize("lookahead", [False, True])
def test_what_is_proven_is_true(name: str, kind: Kind, lookahead: bool) -> None:
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
def test_a_lost_move_is_avoided_while_there_is_another(name: str, kind: Kind, solver: bool) -> None:
    game, positions, _ = late_positions(name)
    search, result = run(game, positions, 40, kind=kind, lookahead=True, solver=solver)
    tree = search.tree
    b, node = np.nonzero(np.arange(tree.parent.shape[1]) < search.lane.size[:, None])
    assert (tree.prior[b, tree.parent[b, node], tree.action[b, node]] > 0)[node > 0].all(), "an illegal move"
    lost = search.tree.edge_proven[:, 0] == PROVEN_LOSS
    legal = search.tree.prior[:, 0] > 0
    hopeless = (lost | ~legal).all(1)
    assert (~hopeless & lost.any(1)).sum() > 30
    assert (result.policy[lost & ~hopeless[:, None]] == 0).all()
    rows = np.arange(len(positions))
    assert not lost[rows, result.action][~hopeless].any()
    np.testing.assert_allclose(result.policy.sum(1), 1, rtol=1e-5)
    assert (result.policy[~legal] == 0).all()
    assert hopeless.sum() > 5
    if solver:
        assert (result.proven[hopeless] == PROVEN_LOSS).all()
        assert (result.proven == PROVEN_LOSS).sum() == hopeless.sum()


@pytest.mark.parametrize("name", LATE)
@pytest.mark.parametrize("kind", ["gumbel", "puct"])
def test_small_endings_are_proven_and_the_search_stops(name: str, kind: Kind) -> None:
    game, positions, truth = late_positions(name)
    decided = np.array([truth.value(state) != 0 for state in positions])
    small = positions[decided & (game.max_moves - positions[:, PLY] <= 3)]
    assert len(small) > 10
    search, result = run(game, small, 400, kind=kind)
    assert (result.proven != UNPROVEN).all()
    assert (search.lane.done < 100).all()


@pytest.mark.parametrize("name", LATE)
@pytest.mark.parametrize("kind", ["gumbel", "puct"])
def test_simulations_do_not_end_in_the_same_proven_draw_again_and_again(name: str, kind: Kind) -> None:
    """Inside the tree, a side that has a draw in hand looks for better, until the position is settled."""
    game, positions, truth = late_positions(name)
    search, result = run(game, positions, 500, kind=kind)
    tree = search.tree
    inside = tree.parent > 0
    draws = inside & (tree.proven == PROVEN_DRAW) & (np.arange(inside.shape[1]) < search.lane.size[:, None])
    assert draws.sum() > 50
    ended = draws & (tree.state[:, :, STATUS] != ONGOING)
    assert (tree.visits[ended] == 1).all()
    value = np.array([truth.value(state) for state in positions])
    assert (result.proven[value == -1] != UNPROVEN).mean() > 0.97
    assert abs(result.wdl[:, 0] - result.wdl[:, 2] - value).mean() < 0.01


@pytest.mark.parametrize("kind", ["gumbel", "puct"])
def test_a_side_with_a_draw_in_hand_accepts_nothing_worse(kind: Kind) -> None:
    """Whoever is to move believes to win, so that the second simulation tells the side with the draw that it loses."""
    game = envs.make("connect_four")
    knobs: dict[str, Any] = {"max_considered": 1} if kind == "gumbel" else {"c_puct": 1e-6}
    search = Search(game, SearchConfig(simulations=2, kind=kind, **knobs), 1, seed=0)
    search.start(np.arange(1), game.initial_state()[None], 2)
    evaluate = constant(7, wdl=(1, 0, 0), logits=[0, 0, 0, 9, 0, 0, 0])
    to_the_end(search, evaluate, steps=2)  # the root and its child, node 1
    tree = search.tree
    tree.edge_proven[0, 1, 3] = PROVEN_DRAW
    tree.edge_value[0, 0, 3] = 1  # so that PUCT comes back here rather than trying another column
    to_the_end(search, evaluate)
    assert tree.edge_visits[0, 0, 3] == 2
    assert tree.edge_visits[0, 1].sum() == 1 and tree.edge_visits[0, 1, 3] == 0  # not into the draw
    assert tree.edge_value[0, 1].sum() == -1  # what the move is worth is not embellished
    assert (tree.value_sum[0, 1], tree.draw_sum[0, 1]) == (1 + 0, 0 + 1)
    assert (tree.value_sum[0, 0], tree.draw_sum[0, 0]) == (1 - 1 + 0, 0 + 0 + 1)


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
"""
IN_THREE = """
. . . . . . .
. . . . . . .
. . . . . . .
. . . . . . .
. . . O . . .
. . X X . . O
"""  # three in a row, open on both sides
IN_FIVE = """
. . . . . . .
. . . . . . .
. . . . . . .
X . . . X . .
X O O . O O .
O O X . X X X
"""  # O in the middle: X must answer above it, and O on top threatens on both sides
LOST = """
. . . . . . .
. . . . . . .
. . . . . . .
. . . . . . .
. . . O . . .
. X X X . . O
"""  # whichever end O closes, X plays the other
TACTICS = {  # the position; winning moves; evaluations that suffice with lookahead, and without
    "in one": (IN_ONE, {3}, 0, 7),
    "in three": (IN_THREE, {1, 4}, 40, 350),
    "in five": (IN_FIVE, {3}, 40, 150),
}


def decide(text: str, simulations: int, **knobs: Any) -> tuple[SearchResult, int, int]:
    """A search with a uniform network; its result, the simulations done and the rows evaluated."""
    game = envs.make("connect_four")
    search = Search(game, SearchConfig(simulations=simulations, **knobs), 1, seed=0)
    evaluate = Counted(constant(game.num_actions))
    result = search.run(drawn_board(game, text)[None], evaluate)
    return result, int(search.lane.done[0]), evaluate.rows


@pytest.mark.parametrize("kind", ["gumbel", "puct"])
@pytest.mark.parametrize("lookahead", [False, True])
@pytest.mark.parametrize("name", TACTICS)
def test_a_forced_win_is_found_with_a_uniform_network(name: str, kind: Kind, lookahead: bool) -> None:
    text, winning, with_lookahead, without = TACTICS[name]
    result, done, rows = decide(text, 1000, kind=kind, lookahead=lookahead)
    assert result.proven[0] == PROVEN_WIN
    assert result.action[0] in winning
    assert set(np.flatnonzero(result.policy[0])) <= winning
    assert result.wdl[0].tolist() == [1, 0, 0]
    assert done < 1000
    assert rows <= (with_lookahead if lookahead else without)


@pytest.mark.parametrize("kind", ["gumbel", "puct"])
def test_a_lost_position_is_proven_and_a_move_still_given(kind: Kind) -> None:
    result, done, _ = decide(LOST, 200, kind=kind)
    assert result.proven[0] == PROVEN_LOSS
    assert done < 200
    assert result.wdl[0].tolist() == [0, 0, 1]
    assert result.policy[0].sum() == pytest.approx(1)
    assert (result.visits[0] > 0).all()


def test_lookahead_gives_every_move_that_wins_at_once() -> None:
    both_ends = IN_THREE.replace(". . X X . . O", ". X X X . O O")
    result, done, rows = decide(both_ends, 10, lookahead=True)
    assert (done, rows) == (0, 0)
    assert result.policy[0].tolist() == [0.5, 0, 0, 0, 0.5, 0, 0]
    assert result.visits[0].tolist() == [1, 0, 0, 0, 1, 0, 0]


def refuted(game: Game, state: np.ndarray) -> set[int]:
    """Moves that the opponent can answer by winning at once."""
    found = set()
    for action in np.flatnonzero(game.legal_mask(state)):
        after = game.after(state, int(action))
        replies = np.flatnonzero(game.legal_mask(after))
        wins = [game.after(after, int(r))[STATUS] == FIRST_WON + after[TO_MOVE] for r in replies]
        if after[TO_MOVE] != state[TO_MOVE] and any(wins):
            found.add(int(action))
    return found


@pytest.mark.parametrize("name", LATE)
def test_lookahead_notes_every_move_that_loses_at_once(name: str) -> None:
    game, positions, _ = late_positions(name)
    search = run(game, positions, 1, lookahead=True)[0]
    tree, sets = search.tree, Counter[int]()
    for b in range(len(positions)):
        for node in range(search.lane.size[b]):
            if tree.proven[b, node] not in (PROVEN_WIN, PROVEN_DRAW) and tree.state[b, node, STATUS] == ONGOING:
                lost = refuted(game, tree.state[b, node])
                assert lost <= set(np.flatnonzero(tree.edge_proven[b, node] == PROVEN_LOSS).tolist())
                sets[len(lost)] += 1
    if not name.startswith("two_stones"):  # where few moves hand the opponent the last stone
        assert sets[1] > 20
        assert sum(sets[n] for n in sets if n > 1) > 5


@pytest.mark.parametrize("exact", [False, True])
def test_lookahead_by_passing_finds_what_trying_every_reply_finds(exact: bool) -> None:
    game = envs.make("gomoku6", exact=exact)
    assert game.monotone
    positions = random_positions(game, 200, (12, 30), seed=6)
    by_passing = run(game, positions, 30, lookahead=True)[0]
    by_trying = run(replace(game, monotone=False), positions, 30, lookahead=True)[0]
    for name in ("proven", "edge_proven", "visits", "value_sum"):
        assert np.array_equal(getattr(by_passing.tree, name), getattr(by_trying.tree, name)), name
    lost = (by_passing.tree.edge_proven == PROVEN_LOSS).sum(axis=2)
    assert (lost > 0).sum() > 300 and (by_passing.tree.proven == PROVEN_LOSS).sum() > 50


def test_a_position_that_lookahead_knows_to_be_lost_still_gets_the_networks_move() -> None:
    result, done, rows = decide(LOST, 50, lookahead=True)
    assert result.proven[0] == PROVEN_LOSS
    assert (done, rows) == (1, 1)
    assert result.policy[0].sum() == pytest.approx(1)
