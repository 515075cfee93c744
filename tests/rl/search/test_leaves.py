"""Several leaves of one tree in a batch: nothing feigned is left behind, and the search is as good as one by one."""

from __future__ import annotations

import numpy as np
import pytest

import envs
from envs.game import ONGOING, STATUS, TO_MOVE, Game
from rl.config import SearchConfig
from rl.records import PROVEN_WIN, UNPROVEN, Evaluation
from rl.search import Search
from rl.search.tree import DONE
from tests.rl.search.fake_networks import Kind, Truth, hashed, random_positions
from tests.rl.search.two_stones import two_stones

FOUR = envs.make("connect_four")
KINDS = pytest.mark.parametrize("kind", ["gumbel", "puct"])


class Batches:
    """An evaluator that keeps the size of every batch."""

    def __init__(self, game: Game):
        self.evaluate, self.sizes = hashed(game.num_actions), list[int]()

    def __call__(self, planes: np.ndarray) -> Evaluation:
        self.sizes.append(len(planes))
        return self.evaluate(planes)


def searched(game: Game, states: np.ndarray, kind: Kind, leaves: int, simulations: int = 60, solver: bool = True):
    config = SearchConfig(kind=kind, simulations=simulations, solver=solver)
    search = Search(game, config, len(states), seed=0, leaves=leaves)
    evaluate = Batches(game)
    search.start(np.arange(len(states)), states, simulations)
    while len(planes := search.select()):
        lane, which = np.divmod(search.asked[: len(planes)], leaves)
        assert len({*zip(lane, search.lane.leaf[lane, which])}) == len(planes)
        search.update(evaluate(planes))
    return search, evaluate


@KINDS
@pytest.mark.parametrize("game", [FOUR, two_stones()], ids=lambda game: game.env_id)
@pytest.mark.parametrize("leaves", [2, 8, 100])
def test_every_node_ends_with_the_sum_of_what_the_network_said_below_it(kind: Kind, game: Game, leaves: int) -> None:
    states = random_positions(game, 12, (0, 4), seed=3)
    search, evaluate = searched(game, states, kind, leaves, solver=False)
    tree, opinion = search.tree, hashed(game.num_actions)
    assert max(evaluate.sizes) > len(states)  # more than one leaf a lane
    checked = 0
    for lane in range(len(states)):
        size = search.lane.size[lane]
        own = np.zeros(size)
        for node in range(size):
            if tree.proven[lane, node] == UNPROVEN:
                wdl = opinion(game.encode(tree.state[lane, node][None])).wdl[0]
                own[node] = wdl[0] - wdl[2]
                assert tree.net_value[lane, node] == pytest.approx(own[node], abs=1e-5)
        visits, value = np.ones(size), own.copy()
        for node in range(size - 1, 0, -1):  # children come after their parents
            if tree.proven[lane, node] != UNPROVEN:  # an ended game, visited as often as it was chosen
                visits[node] = tree.visits[lane, node]
                value[node] = {1: -1.0, 2: 0.0, 3: 1.0}[int(tree.proven[lane, node])] * visits[node]
            parent, action = tree.parent[lane, node], tree.action[lane, node]
            sign = 1 if tree.state[lane, node, TO_MOVE] == tree.state[lane, parent, TO_MOVE] else -1
            visits[parent] += visits[node]
            value[parent] += sign * value[node]
            assert tree.edge_visits[lane, parent, action] == visits[node]
            assert tree.edge_value[lane, parent, action] == pytest.approx(sign * value[node], abs=1e-3)
            checked += 1
        np.testing.assert_array_equal(tree.visits[lane, :size], visits)
        np.testing.assert_allclose(tree.value_sum[lane, :size], value, atol=1e-3)
        assert visits[0] == 61
    assert checked > 300


@KINDS
def test_proofs_are_found_and_true(kind: Kind) -> None:
    game = envs.make("tic_tac_toe")
    states, truth = random_positions(game, 60, (3, 7), seed=5), Truth(game)
    search, _ = searched(game, states, kind, leaves=4, simulations=200)
    found = search.collect(np.arange(len(states)))
    assert (found.proven != UNPROVEN).mean() > 0.6
    for state, result, action in zip(states, found.proven, found.action, strict=True):
        if result != UNPROVEN:
            assert truth.value(state) == {1: -1, 2: 0, 3: 1}[int(result)]
        if result == PROVEN_WIN:
            assert truth.after(state, int(action)) == 1


@KINDS
def test_the_choice_is_mostly_that_of_a_search_leaf_by_leaf(kind: Kind) -> None:
    states = random_positions(FOUR, 100, (0, 12), seed=7)
    chosen = [s.collect(np.arange(100)).action for s, _ in (searched(FOUR, states, kind, n, 200) for n in (1, 4))]
    assert (chosen[0] == chosen[1]).mean() > 0.6  # by chance: 0.14


@KINDS
def test_a_search_that_is_stopped_answers_with_what_it_has(kind: Kind) -> None:
    states = random_positions(FOUR, 6, (0, 12), seed=8)
    search = Search(FOUR, SearchConfig(kind=kind, simulations=100, reuse_tree=True), len(states), seed=0, leaves=4)
    evaluate = hashed(7)
    search.start(np.arange(6), states, 100)
    for _ in range(7):
        search.update(evaluate(search.select()))
    search.stop()
    assert (search.lane.phase == DONE).all()
    found = search.collect(np.arange(6))
    assert (found.visits.sum(1) < 30).all()
    assert (found.visits.sum(1) > 10).all()
    np.testing.assert_allclose(found.policy.sum(1), 1, atol=1e-5)
    after = np.stack([FOUR.after(state, int(action)) for state, action in zip(states, found.action, strict=True)])
    assert (after[:, STATUS] == ONGOING).all()
    search.continue_after(np.arange(6), found.action, after, 20, explore=False)
    while len(planes := search.select()):
        search.update(evaluate(planes))
    assert not np.isnan(search.tree.net_value[search.tree.visits > 0]).any()
