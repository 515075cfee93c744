"""Searches whose results are known beforehand, and what every result promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import envs
from envs.game import ONGOING, STATUS, Game
from rl.config import SearchConfig
from rl.records import Evaluation, SearchResult
from rl.search import Evaluate, Search
from tests.rl.search.fake_networks import Counted, Kind, constant, drawn_board, hashed, random_positions, to_the_end

KINDS = pytest.mark.parametrize("kind", ["gumbel", "puct"])
FOUR = envs.make("connect_four")
TOE = envs.make("tic_tac_toe")
EXTREME = np.array([1e9, -1e9, 1e9, 0.0, -1e9, 5.0, -1e9], np.float32)

ONE_COLUMN_LEFT = """
X O X O X O .
X O X O X O .
O X O X O X .
O X O X O X .
X O X O X O .
X O X O X O .
"""


def search_four(
    positions: np.ndarray,
    evaluate: Evaluate,
    lanes: int | None = None,
    explore: bool = False,
    seed: int = 0,
    simulations: int = 24,
    **knobs: Any,
) -> SearchResult:
    search = Search(FOUR, SearchConfig(simulations=simulations, **knobs), lanes or len(positions), seed)
    return search.run(positions, evaluate, explore=explore)


def assert_rows_equal(a: SearchResult, b: SearchResult) -> None:
    for name, value in vars(a).items():
        np.testing.assert_array_equal(value, getattr(b, name), err_msg=name)


def rows(result: SearchResult, order: np.ndarray) -> SearchResult:
    return SearchResult(**{name: value[order] for name, value in vars(result).items()})


@KINDS
def test_a_network_that_always_says_even_gives_an_even_root(kind: Kind) -> None:
    """Its draws are kept apart from its wins and losses."""
    opening = FOUR.initial_state()[None]
    result = search_four(opening, constant(7, wdl=(0.2, 0.6, 0.2)), kind=kind, simulations=20)
    assert result.wdl[0] == pytest.approx([0.2, 0.6, 0.2], abs=1e-6)
    assert result.action_value[0, result.visits[0] > 0] == pytest.approx(0, abs=1e-6)


@KINDS
@pytest.mark.parametrize(("simulations", "mean"), [(1, 0.0), (2, -0.2), (7, -0.45)])
def test_the_root_value_is_seen_from_its_own_side(kind: Kind, simulations: int, mean: float) -> None:
    """The side to move always believes 0.6, which is -0.6 to the root after each of its moves. PUCT's value is the mean
    of all evaluations, (0.6 - 0.6) / 2 after one simulation and (0.6 - 0.6 - 0.6) / 3 after two; Gumbel's that of its
    policy, uniform here, in which moves not yet tried are worth v_mix: the same mean, since all moves are alike."""
    expected = mean if kind == "puct" else (simulations * -0.6 + (7 - simulations) * mean) / 7
    opening = FOUR.initial_state()[None]
    # Both settings make the search try every move once before any twice.
    knobs: dict[str, Any] = {"c_puct": 100.0} if kind == "puct" else {"c_visit": 0.0, "c_scale": 1e-6}
    result = search_four(opening, constant(7, wdl=(0.7, 0.2, 0.1)), kind=kind, simulations=simulations, **knobs)
    assert result.wdl[0, 0] - result.wdl[0, 2] == pytest.approx(expected, abs=1e-6)
    assert result.wdl[0, 1] == pytest.approx(0.2, abs=1e-6)
    assert (result.visits[0] <= 1).all() and result.visits.sum() == simulations
    assert result.action_value[0, result.visits[0] == 1] == pytest.approx(-0.6, abs=1e-6)
    assert np.isnan(result.action_value[0, result.visits[0] == 0]).all()


@KINDS
@pytest.mark.parametrize(
    ("board", "outcome"), [("X O X\nX O O\nO X .", (0, 1, 0)), ("X O O\nO O X\nX X .", (1, 0, 0))], ids=["draw", "win"]
)
def test_ended_games_count_as_what_they_are(kind: Kind, board: str, outcome: tuple[int, int, int]) -> None:
    """One move is left, which ends the game; every simulation adds its outcome to the network's opinion, which for
    Gumbel's value no longer counts."""
    position = drawn_board(TOE, board)
    search = Search(TOE, SearchConfig(kind=kind, solver=False), 1, seed=0)
    result = search.run(position[None], constant(9, wdl=(0.5, 0.1, 0.4)), simulations=4)
    opinion = (np.array([0.5, 0.1, 0.4]) + 4 * np.array(outcome)) / 5 if kind == "puct" else np.array(outcome)
    assert result.wdl[0] == pytest.approx(opinion, abs=1e-6)


@KINDS
@pytest.mark.parametrize("simulations", [0, 1, 5, 30])
@pytest.mark.parametrize("logits", [0.0, EXTREME])
def test_the_only_legal_move_gets_everything(kind: Kind, simulations: int, logits: object) -> None:
    state = drawn_board(FOUR, ONE_COLUMN_LEFT)
    assert FOUR.legal_mask(state).tolist() == [False] * 6 + [True]
    search = Search(FOUR, SearchConfig(kind=kind, solver=False), 1, seed=0)
    result = search.run(state[None], constant(7, logits=logits), simulations=simulations)
    assert result.action[0] == 6
    assert result.policy[0].tolist() == [0, 0, 0, 0, 0, 0, 1]
    assert result.visits[0].tolist() == [0, 0, 0, 0, 0, 0, simulations]


@KINDS
@pytest.mark.parametrize("explore", [False, True])
@pytest.mark.parametrize("solver", [False, True])
def test_illegal_moves_get_nothing_whatever_the_network_says(kind: Kind, explore: bool, solver: bool) -> None:
    """A network that loves full columns and hates open ones, by margins beyond any exponential."""
    positions = random_positions(FOUR, 60, (20, 38), seed=3)
    legal = np.stack([FOUR.legal_mask(state) for state in positions])
    assert (~legal).any(1).sum() > 20
    for logits in (EXTREME, -EXTREME, EXTREME * 1e-8):
        evaluate = Counted(constant(7, logits=logits))
        result = search_four(positions, evaluate, explore=explore, kind=kind, solver=solver)
        for field in (result.policy, result.wdl, result.prior):
            assert np.isfinite(field).all() and (field >= 0).all()
            np.testing.assert_allclose(field.sum(1), 1, rtol=1e-5)
        assert (result.policy[~legal] == 0).all()
        assert (result.prior[~legal] == 0).all() and (result.prior[legal] > 0).all()
        assert (result.visits[~legal] == 0).all()
        assert legal[np.arange(len(positions)), result.action].all()
        assert np.isnan(result.action_value[result.visits == 0]).all()
        assert (abs(result.action_value[result.visits > 0]) <= 1).all()
        if not solver:
            assert (result.visits.sum(1) == 24).all()
            assert evaluate.rows <= len(positions) * 25


@KINDS
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("every", [False, True])
def test_no_illegal_move_is_tried_when_the_network_answers_no_number(kind: Kind, wrong: float, every: bool) -> None:
    """Rules are not asked again inside the search: they would play on a taken point."""
    good = hashed(9)

    def evaluate(planes: np.ndarray) -> Evaluation:
        answer = good(planes)
        if planes.sum() > len(planes):  # not the opening's
            answer.logits[:, slice(None) if every else 4] = wrong
        return answer

    search = Search(TOE, SearchConfig(kind=kind, simulations=80, lookahead=False), 1, seed=0)
    search.start(np.arange(1), TOE.initial_state()[None], 80)
    to_the_end(search, evaluate)
    tree = search.tree
    for node in range(search.lane.size[0]):
        if tree.state[0, node, STATUS] == ONGOING:
            assert not (tree.edge_visits[0, node] > 0)[~TOE.legal_mask(tree.state[0, node])].any()
    assert search.lane.size[0] > 20


@KINDS
@pytest.mark.parametrize("knobs", [{}, {"lookahead": True}, {"root_symmetries": True}, {"solver": False}])
def test_rows_do_not_depend_on_each_other(kind: Kind, knobs: dict[str, Any]) -> None:
    """Nor on their order, nor on the number of lanes that share the work."""
    positions = random_positions(FOUR, 40, (0, 30), seed=4)
    whole = search_four(positions, hashed(7), kind=kind, **knobs)
    order = np.random.default_rng(0).permutation(len(positions))
    for lanes in (1, 3, 40, 64):
        shuffled = search_four(positions[order], hashed(7), lanes=lanes, kind=kind, **knobs)
        assert_rows_equal(rows(whole, order), shuffled)


@KINDS
def test_without_exploration_the_seed_means_nothing(kind: Kind) -> None:
    positions = random_positions(FOUR, 20, (0, 30), seed=4)
    first = search_four(positions, hashed(7), kind=kind, seed=1)
    assert_rows_equal(first, search_four(positions, hashed(7), kind=kind, seed=2))


@KINDS
def test_with_exploration_the_seed_decides(kind: Kind) -> None:
    positions = random_positions(FOUR, 20, (0, 20), seed=4)
    first, again, other = (
        search_four(positions, hashed(7), lanes=8, explore=True, kind=kind, seed=seed) for seed in (1, 1, 2)
    )
    assert_rows_equal(first, again)
    assert (first.visits != other.visits).any(1).sum() > 5


@pytest.mark.parametrize("game", [FOUR, TOE], ids=lambda game: game.env_id)
def test_no_simulations_is_the_network_alone(game: Game) -> None:
    positions = random_positions(game, 17, (0, 5), seed=8)
    evaluate = Counted(hashed(game.num_actions))
    search = Search(game, SearchConfig(lookahead=True), 5, seed=0)
    result = search.run(positions, evaluate, simulations=0)
    assert evaluate.rows == len(positions)
    answer = hashed(game.num_actions)(game.encode(positions))
    for i, state in enumerate(positions):
        legal = game.legal_mask(state)
        weights = np.exp(answer.logits[i].astype(np.float64)) * legal
        np.testing.assert_allclose(result.policy[i], weights / weights.sum(), rtol=1e-5)
        assert result.action[i] == weights.argmax()
    np.testing.assert_array_equal(result.wdl, answer.wdl)
    np.testing.assert_array_equal(result.prior, result.policy)
    assert (result.visits == 0).all() and (result.proven == 0).all() and np.isnan(result.action_value).all()


@KINDS
def test_exploration_noise_prefers_no_legal_move(kind: Kind) -> None:
    """Dirichlet noise is spread over legal moves alone, with alpha = total / their number; Gumbel noise is standard."""
    positions = random_positions(FOUR, 1, (36, 36), seed=1).repeat(4000, 0)
    legal = FOUR.legal_mask(positions[0])
    count = legal.sum()
    assert 1 < count < 5
    search = Search(FOUR, SearchConfig(kind=kind, dirichlet_total=3.0), len(positions), seed=0)
    search.start(np.arange(len(positions)), positions, 8, explore=True)
    noise = search.lane.noise[:, legal].astype(np.float64)
    if kind == "gumbel":
        assert noise.mean(0) == pytest.approx(0.5772, abs=0.1)
        assert noise.var(0) == pytest.approx(np.pi**2 / 6, abs=0.25)
    else:
        assert (search.lane.noise[:, ~legal] == 0).all()
        np.testing.assert_allclose(noise.sum(1), 1, rtol=1e-5)
        assert noise.mean(0) == pytest.approx(1 / count, abs=0.02)
        assert noise.var(0) == pytest.approx((1 / count) * (1 - 1 / count) / (3.0 + 1), abs=0.01)  # Dirichlet's


@KINDS
def test_lanes_may_have_different_budgets_and_start_at_any_time(kind: Kind) -> None:
    """Replacing finished searches at once changes nothing for those still under way."""
    positions = random_positions(FOUR, 12, (0, 20), seed=9)
    budgets = np.array([3, 17, 1, 30, 8, 2, 24, 5, 11, 29, 6, 9], np.int32)
    config = SearchConfig(kind=kind, simulations=30)
    search = Search(FOUR, config, 4, seed=0)
    found: dict[int, SearchResult] = {}
    owner = np.arange(4)
    search.start(owner, positions[:4], budgets[:4])
    following = 4
    while len(found) < len(positions):
        to_the_end(search, hashed(7), steps=1)
        for lane in search.finished():
            found[int(owner[lane])] = search.collect(np.array([lane]))
            if following < len(positions):
                search.start(np.array([lane]), positions[following][None], budgets[following])
                owner[lane] = following
                following += 1
    for i, budget in enumerate(budgets):
        alone = Search(FOUR, config, 1, seed=5).run(positions[i][None], hashed(7), simulations=int(budget))
        assert_rows_equal(alone, found[i])
