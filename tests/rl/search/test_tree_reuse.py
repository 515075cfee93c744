"""The next search continues in the played move's subtree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import envs
from envs.game import ONGOING, STATUS, Game
from rl.config import SearchConfig
from rl.records import PROVEN_LOSS, UNPROVEN
from rl.search import Search
from rl.search.tree import DONE, ROOT
from tests.rl.search.fake_networks import Counted, Kind, constant, drawn_board, hashed, random_positions, to_the_end
from tests.rl.search.two_stones import two_stones

FOUR = envs.make("connect_four")
KINDS = pytest.mark.parametrize("kind", ["gumbel", "puct"])
NODE_FIELDS = ("visits", "value_sum", "draw_sum", "net_value", "proven")
EDGE_FIELDS = ("prior", "edge_visits", "edge_value", "edge_proven")


def subtree(search: Search, lane: int, node: int) -> dict[str, Any]:
    """Everything that is known below a node, without the numbers that the nodes happen to have."""
    tree = search.tree
    known: dict[str, Any] = {name: getattr(tree, name)[lane, node].item() for name in NODE_FIELDS}
    known |= {name: getattr(tree, name)[lane, node].tolist() for name in EDGE_FIELDS}
    known["state"] = tree.state[lane, node].tolist()
    for action, child in enumerate(tree.child[lane, node]):
        if child >= 0:
            assert tree.parent[lane, child] == node
            assert tree.action[lane, child] == action
            known[str(action)] = subtree(search, lane, child)
    return known


def count(known: dict[str, Any]) -> int:
    return 1 + sum(count(child) for key, child in known.items() if key.isdigit())


def searched(game: Game, positions: np.ndarray, simulations: int, **knobs: Any) -> Search:
    search = Search(game, SearchConfig(simulations=simulations, reuse_tree=True, **knobs), len(positions), seed=0)
    search.start(np.arange(len(positions)), positions, simulations)
    to_the_end(search, hashed(game.num_actions))
    return search


def played(game: Game, positions: np.ndarray, actions: np.ndarray) -> np.ndarray:
    return np.stack([game.after(state, int(action)) for state, action in zip(positions, actions)])


@KINDS
@pytest.mark.parametrize("game", [FOUR, two_stones()], ids=lambda game: game.env_id)
@pytest.mark.parametrize("solver", [False, True])
def test_the_played_subtree_is_kept_whole_and_the_budget_comes_on_top(kind: Kind, game: Game, solver: bool) -> None:
    positions = random_positions(game, 40, (0, 3), seed=2)
    lanes = np.arange(len(positions))
    search = searched(game, positions, 60, kind=kind, solver=solver)
    actions = search.collect(lanes).action
    children = search.tree.child[lanes, 0, actions]
    before = [subtree(search, lane, int(child)) for lane, child in enumerate(children)]
    states = played(game, positions, actions)
    going = states[:, STATUS] == ONGOING
    evaluate = Counted(hashed(game.num_actions))
    search.continue_after(lanes[going], actions[going], states[going], 25, explore=False)
    kept = going & np.array([known["proven"] == UNPROVEN for known in before])
    assert kept.sum() > 20
    for lane in lanes[kept]:
        assert subtree(search, lane, 0) == before[lane]
        assert search.lane.size[lane] == count(before[lane])
        with np.errstate(divide="ignore"):
            np.testing.assert_allclose(search.lane.log_prior[lane], np.log(before[lane]["prior"]), rtol=1e-5)
    to_the_end(search, evaluate)
    assert evaluate.rows <= 26 * going.sum()
    for lane in lanes[kept]:
        visits = search.tree.visits[lane, 0]
        if search.tree.proven[lane, 0] == UNPROVEN:
            assert visits == before[lane]["visits"] + 25
        assert search.tree.edge_visits[lane, 0].sum() == visits - 1
    result = search.collect(lanes[going])
    assert np.isfinite(result.policy).all()


@KINDS
def test_new_visits_follow_the_halving_whatever_was_inherited(kind: Kind) -> None:
    positions = random_positions(FOUR, 30, (0, 8), seed=3)
    lanes = np.arange(len(positions))
    search = searched(FOUR, positions, 64, kind=kind, solver=False)
    actions = search.collect(lanes).action
    search.continue_after(lanes, actions, played(FOUR, positions, actions), 28, explore=True)
    inherited = search.tree.edge_visits[lanes, 0].copy()
    assert (inherited.sum(1) > 0).all()
    to_the_end(search, hashed(7))
    fresh = search.tree.edge_visits[lanes, 0] - inherited
    result = search.collect(lanes)
    assert (fresh.sum(1) == 28).all()
    if kind == "gumbel":
        # 7 columns and 28 simulations: 1 round of 7, 3 of 3, 4 of 2, and what is left again to the last two.
        full = FOUR.num_actions == (search.tree.prior[lanes, 0] > 0).sum(1)
        assert full.sum() > 10
        assert (np.sort(fresh[full], axis=1) == [1, 1, 1, 1, 4, 10, 10]).all()
        assert (fresh[lanes, result.action] == fresh.max(1)).all()
    else:
        assert (result.visits[lanes, result.action] == result.visits.max(1)).all()


THREAT = """
. . . . . . .
. . . . . . .
. . . . . . .
. . . . . . .
. . . . . . .
X X . O O O X
"""


@KINDS
@pytest.mark.parametrize("case", ["proven", "unvisited", "switched off"])
def test_where_nothing_is_worth_keeping_the_search_starts_afresh(kind: Kind, case: str) -> None:
    # O threatens to win in column 2, so that every other move of X is lost.
    position = drawn_board(FOUR, THREAT) if case == "proven" else FOUR.initial_state()
    reuse, lookahead = case != "switched off", case == "proven"
    config = SearchConfig(simulations=20, reuse_tree=reuse, lookahead=lookahead, kind=kind, max_considered=2, cache=0)
    search = Search(FOUR, config, 1, seed=0)
    search.start(np.arange(1), position[None], 20)
    to_the_end(search, constant(7, logits=[0, 0, 0, 9, 0, 0, 0]))
    tree = search.tree
    if case == "proven":
        action = int(np.flatnonzero(tree.edge_proven[0, 0] == PROVEN_LOSS)[0])
    elif case == "unvisited":
        action = int(np.flatnonzero(tree.edge_visits[0, 0] == 0)[0])
    else:
        action = 3
    after = played(FOUR, position[None], np.array([action]))
    search.continue_after(np.arange(1), np.array([action]), after, 15, explore=False)
    fresh = Search(FOUR, config, 1, seed=0)
    fresh.start(np.arange(1), after, 15)
    assert search.lane.phase[0] == fresh.lane.phase[0] in (ROOT, DONE)
    for one in (search, fresh):
        to_the_end(one, hashed(7))
    assert subtree(search, 0, 0) == subtree(fresh, 0, 0)


@KINDS
def test_a_new_game_in_a_lane_inherits_nothing(kind: Kind) -> None:
    positions = random_positions(FOUR, 10, (0, 8), seed=4)
    lanes = np.arange(len(positions))
    search = searched(FOUR, positions, 40, kind=kind, solver=False)
    actions = search.collect(lanes).action
    search.continue_after(lanes, actions, played(FOUR, positions, actions), 40, explore=True)
    assert (search.tree.edge_visits[lanes, 0].sum(1) > 0).all()
    to_the_end(search, hashed(7))
    search.collect(lanes)
    search.start(lanes, positions[::-1], 40)
    to_the_end(search, hashed(7))
    fresh = searched(FOUR, positions[::-1], 40, kind=kind, solver=False)
    for lane in range(len(lanes)):
        assert subtree(search, lane, 0) == subtree(fresh, lane, 0)
    np.testing.assert_array_equal(search.collect(lanes).action, fresh.collect(lanes).action)


@KINDS
@pytest.mark.parametrize("lookahead", [False, True])
@pytest.mark.parametrize("sharpness", [2.0, 60.0])
def test_long_games_stay_within_the_memory(kind: Kind, lookahead: bool, sharpness: float) -> None:
    """A network that is sure of itself makes one long line, nearly all of which is kept at each move."""
    lanes = np.arange(12)
    config = SearchConfig(simulations=40, reuse_tree=True, kind=kind, lookahead=lookahead, solver=lookahead)
    search = Search(FOUR, config, len(lanes), seed=0)
    rng = np.random.default_rng(0)
    evaluate = hashed(7, sharpness=sharpness)
    capacity = search.tree.parent.shape[1]
    states = np.stack([FOUR.initial_state()] * len(lanes))
    search.start(lanes, states, 40, explore=True)
    largest, moves = 0, 0
    while len(lanes):
        planes = search.select()
        if not len(done := search.finished()):
            search.update(evaluate(planes))
            continue
        largest = max(largest, int(search.lane.size.max()))
        assert largest <= capacity
        actions = search.collect(done).action
        moves += len(done)
        for lane, action in zip(done, actions):
            subtree(search, lane, 0)  # its parents and children agree
            states[lane] = FOUR.after(states[lane], int(action))
        going = states[done, STATUS] == ONGOING
        lanes = np.setdiff1d(lanes, done[~going])
        budgets = rng.choice([10, 40], going.sum(), p=[0.2, 0.8]).astype(np.int32)
        search.continue_after(done[going], actions[going], states[done[going]], budgets, explore=True)
        # A search makes at most one node a simulation. Said before it runs: compiled code checks no bounds.
        assert (search.lane.size[done[going]] + budgets <= capacity).all()
    assert moves > 100
    assert largest > 42, "no subtree was ever kept"
