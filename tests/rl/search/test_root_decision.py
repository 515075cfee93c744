"""One test for each ordering rule in the docstring of rl.search.policies.root_decision, on roots made up by hand."""

from __future__ import annotations

import numpy as np
import pytest

import envs
from rl.config import SearchConfig
from rl.records import PROVEN_DRAW, PROVEN_LOSS, PROVEN_WIN, UNPROVEN, SearchResult
from rl.search import Search
from tests.rl.search.fake_networks import Kind, constant

FOUR = envs.make("connect_four")
PRIOR = np.array([0.1, 0.2, 0.3, 0.05, 0.15, 0.12, 0.08])
W, D, L, U = PROVEN_WIN, PROVEN_DRAW, PROVEN_LOSS, UNPROVEN
KINDS = pytest.mark.parametrize("kind", ["gumbel", "puct"])


def decide(
    kind: Kind,
    visits: list[int],
    value: list[float],
    edges: list[int],
    proven: int = U,
    noise: list[float] | None = None,
    inherited: list[int] | None = None,
) -> SearchResult:
    """The decision at a root with these edge statistics; the network's own value is 0."""
    search = Search(FOUR, SearchConfig(kind=kind, c_visit=1.0, c_scale=1.0), 1, seed=0)
    search.start(np.arange(1), FOUR.initial_state()[None], 1)
    search.select()
    search.update(constant(7, logits=np.log(PRIOR))(np.zeros((1, 1))))
    tree = search.tree
    tree.edge_visits[0, 0] = visits
    tree.edge_value[0, 0] = np.array(value) * visits
    tree.edge_proven[0, 0] = edges
    tree.proven[0, 0] = proven
    search.lane.noise[0] = noise or 0
    search.lane.base[0] = inherited or 0
    return search.collect(np.arange(1))


def gumbel_scores(visits: list[int], value: list[float]) -> np.ndarray:
    """log prior + σ(q) of visited actions, σ(q) = (c_visit + max visits) · c_scale · q with q in [0, 1]."""
    return np.log(PRIOR) + (1.0 + max(visits)) * (np.array(value) + 1) / 2


def normalised(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum()


@KINDS
def test_a_proven_win_is_played_and_the_policy_spread_over_wins_as_the_prior_has_them(kind: Kind) -> None:
    """However much better and oftener visited something else looks."""
    found = decide(kind, [9, 1, 1, 1, 1, 1, 1], [0.9, 1, -1, 0, 1, 0, 0], [U, W, L, D, W, U, U], proven=W)
    assert found.action[0] == 1
    np.testing.assert_allclose(found.policy[0], normalised(PRIOR * [0, 1, 0, 0, 1, 0, 0]), rtol=1e-5)
    assert found.wdl[0].tolist() == [1, 0, 0]


@KINDS
def test_of_a_root_proven_drawn_only_draws_are_played(kind: Kind) -> None:
    found = decide(kind, [2, 2, 2, 2, 2, 2, 2], [-1, -1, -1, 0, -1, 0, -1], [L, L, L, D, L, D, L], proven=D)
    assert found.action[0] == 5  # the likelier of the two
    assert set(np.flatnonzero(found.policy[0])) == {3, 5}
    assert found.wdl[0].tolist() == [0, 1, 0]


@KINDS
@pytest.mark.parametrize("proven", [U, L])  # without the solver nobody has drawn the conclusion
def test_a_proven_loss_is_avoided_unless_every_action_loses(kind: Kind, proven: int) -> None:
    visits = [2, 9, 9, 2, 1, 1, 1]
    one_open = decide(kind, visits, [-1, -1, -1, -0.9, -1, -1, -1], [L, L, L, U, L, L, L])
    assert one_open.action[0] == 3
    assert one_open.policy[0].tolist() == [0, 0, 0, 1, 0, 0, 0]
    all_lost = decide(kind, visits, [-1] * 7, [L] * 7, proven=proven)
    assert all_lost.action[0] == 2  # visited most; of those, the likelier
    expected = PRIOR if kind == "gumbel" else normalised(np.array(visits))
    np.testing.assert_allclose(all_lost.policy[0], expected, rtol=1e-5)


def test_gumbel_plays_the_best_score_among_the_most_visited() -> None:
    visits, value = [5, 5, 4, 5, 1, 1, 1], [0.5, -0.2, 1, 0.1, 0, 0, 0]
    scores = gumbel_scores(visits, value)
    found = decide("gumbel", visits, value, [U] * 7)
    assert found.action[0] == 0
    np.testing.assert_allclose(found.policy[0], normalised(np.exp(scores)), rtol=1e-4)
    # The noise decides about the move, not about the policy.
    noisy = decide("gumbel", visits, value, [U] * 7, noise=[0, 0, 9, 4, 9, 9, 9])
    assert noisy.action[0] == 3
    np.testing.assert_array_equal(noisy.policy, found.policy)


def test_gumbel_counts_the_visits_of_this_search_alone() -> None:
    """An action that the last search liked, and that lost its place in this one's halving, is not played for it."""
    visits, value = [15, 5, 5, 1, 0, 0, 0], [0.5, 0.2, -0.3, 0.1, 0, 0, 0]
    assert decide("gumbel", visits, value, [U] * 7).action[0] == 0
    assert decide("gumbel", visits, value, [U] * 7, inherited=[14, 0, 0, 0, 0, 0, 0]).action[0] == 1


def test_what_is_proven_counts_as_proven_whatever_its_simulations_said() -> None:
    visits, said = [5, 5, 5, 5, 0, 0, 0], [0.3, 0.3, -0.9, 0.3, 0, 0, 0]
    found = decide("gumbel", visits, said, [U, U, D, U, U, U, U])
    reference = decide("gumbel", visits, [0.3, 0.3, 0, 0.3, 0, 0, 0], [U] * 7)
    np.testing.assert_array_equal(found.policy, reference.policy)
    assert found.action_value[0, 2] == 0
    assert found.action_value[0, 1] == pytest.approx(0.3)


def test_puct_plays_the_most_visited_and_its_policy_is_the_share_of_visits() -> None:
    visits = [3, 8, 8, 2, 0, 0, 1]
    found = decide("puct", visits, [1, 0, 0, 0, 0, 0, 0], [U, U, U, D, U, U, U])
    assert found.action[0] == 2  # the likelier of the two
    np.testing.assert_allclose(found.policy[0], normalised(np.array(visits)), rtol=1e-6)


def test_puct_leaves_lost_moves_out_of_the_shares() -> None:
    found = decide("puct", [6, 1, 3, 0, 0, 0, 0], [-1, 0, 0, 0, 0, 0, 0], [L, U, U, U, U, U, U])
    assert found.action[0] == 2
    np.testing.assert_allclose(found.policy[0], [0, 0.25, 0.75, 0, 0, 0, 0], rtol=1e-6)
