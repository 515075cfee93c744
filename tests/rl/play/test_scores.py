"""The score beside the search tree, against its definition: a mean over all simulations, node by node."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch

from envs.game import ONGOING, STATUS, TO_MOVE
from rl.agent import Agent
from rl.play.engine import Engine, Report, Watch
from rl.play.scores import Scores
from rl.records import PROVEN_DRAW, PROVEN_WIN, UNPROVEN
from tests.rl.play.gtp_for_tests import RESNET, small_agent

SCORED = RESNET | {"auxiliary": {"score": 1.0, "ownership": 1.0}}


@pytest.fixture(scope="module")
def go5() -> Agent:
    return small_agent("go5", SCORED)


def watched(engine: Engine, **limits: Any) -> Report:
    """What the engine reports of a search at its end."""
    reports: list[Report] = []
    engine.choose(**limits, watch=Watch(reports.append, 1000.0))
    return reports[-1]


def slow_means(engine: Engine, action: int) -> tuple[float, float]:
    """Mean value and lead over the simulations through a move, for the side to move at the root."""
    assert engine._search is not None
    tree, game, evaluate = engine._search.tree, engine.game, engine._evaluator(engine._search.leaves)

    def sums(node: int) -> np.ndarray:
        """Of value and lead over the node's simulations, for its side to move."""
        children = [int(c) for c in tree.child[0, node] if c >= 0]
        below = np.zeros(2)
        for child in children:
            turn = -1 if tree.state[0, child, TO_MOVE] != tree.state[0, node, TO_MOVE] else 1
            below += turn * sums(child)
        own = int(tree.visits[0, node]) - sum(int(tree.visits[0, c]) for c in children)
        state, proven = tree.state[0, node], int(tree.proven[0, node])
        exact = {UNPROVEN: 0, PROVEN_DRAW: 0, PROVEN_WIN: 1}.get(proven, -1)
        if state[STATUS] != ONGOING:
            margin = game.territory(state, np.zeros(game.num_actions - 1, np.int8))
            return below + own * np.array([exact, margin if state[TO_MOVE] == 0 else -margin])
        told = evaluate(game.encode(state[None]))
        assert own >= 1 and told.value is not None and told.lead is not None
        return below + np.array([told.value[0] + (own - 1) * exact, own * told.lead[0]])

    root = int(tree.child[0, 0, action])
    assert tree.state[0, root, TO_MOVE] != tree.state[0, 0, TO_MOVE]
    value, lead = -sums(root) / tree.visits[0, root]
    return float(value), float(lead)


def check(engine: Engine, report: Report) -> Scores:
    """Every move's numbers are those of the definition; moves not searched have none."""
    scores, found = report.scores, report.analysis
    assert scores is not None
    assert (np.isnan(scores.leads) == (found.visits == 0)).all()
    assert engine._search is not None
    for action in np.flatnonzero(found.visits).tolist():
        value, lead = slow_means(engine, action)
        assert scores.leads[action] == pytest.approx(lead, abs=0.02)
        if engine._search.tree.edge_proven[0, 0, action] == UNPROVEN:
            assert scores.values[action] == pytest.approx(value, abs=0.005)
        else:
            assert scores.values[action] == found.action_values[action]
    searched = found.visits > 0
    weights = found.policy[searched] / found.policy[searched].sum()
    assert scores.lead == pytest.approx(weights @ scores.leads[searched])
    assert scores.value == pytest.approx(weights @ scores.values[searched])
    return scores


@pytest.mark.parametrize(("kind", "simulations"), [("puct", 40), ("gumbel", 40), ("puct", 400), ("gumbel", 400)])
def test_a_moves_lead_is_the_mean_over_its_simulations(kind: str, simulations: int) -> None:
    """With one leaf at a time and with several; also in trees that stay while the game goes on, and new ones."""
    engine = Engine(small_agent("go5", SCORED, search={"simulations": 8, "kind": kind}), simulations=simulations)
    report = watched(engine)
    first = check(engine, report)
    assert np.ptp(first.leads[report.analysis.visits > 0]) > 0.1, "the test must tell moves apart"
    line = report.analysis.principal_variation
    for action in line[: 1 if simulations < 100 else 2]:
        engine.play(action)
    again = watched(engine)
    assert again.analysis.visits.sum() > simulations, "the tree has stayed"
    check(engine, again)
    check(engine, watched(engine))  # on at the same root
    engine.undo()
    check(engine, watched(engine))  # not below the old root: a new tree
    engine.play(next(int(a) for a in np.flatnonzero(report.analysis.prior) if engine.game.legal_mask(engine.state)[a]))
    check(engine, watched(engine))


def test_games_that_have_ended_count_by_the_rules(go5: Agent) -> None:
    engine = Engine(go5, simulations=60)
    for vertex in ("C3", "pass"):  # Black, who is to move, has the whole board: 25 points less komi 7
        engine.play(engine.game.action_names.index(vertex))
    reports: list[Report] = []
    stop = threading.Event()

    def tell(report: Report) -> None:
        reports.append(report)
        if report.analysis.proven is not None:
            stop.set()

    engine.analyse(Watch(tell, 0.0), stop)
    scores = reports[-1].scores
    assert scores is not None and reports[-1].analysis.proven == "win"
    assert scores.leads[25] == 18 and scores.values[25] == 1
    assert (scores.value, scores.lead) == (1, 18)


def test_an_end_that_proves_nothing_counts_with_its_exact_value(go5: Agent) -> None:
    """Black's second move is the game's last one and each of them loses: until all were tried, that is not proven."""
    engine = Engine(go5.on(max_moves=3, komi=3), simulations=60)
    engine.play(12)
    report = watched(engine)
    assert engine._search is not None
    assert not engine._search.tree.edge_proven[0, 0].any()
    scores = check(engine, report)
    assert np.nanmax(scores.values) > 0.5, "most of what the search has seen of that move was won"


@pytest.mark.parametrize(("leaves", "komi"), [(1, 0.0), (2, 0.5)])
def test_a_new_tree_knows_nothing_of_the_old_one(leaves: int, komi: float, go5: Agent) -> None:
    """Its nodes lie where the old tree's were. The second search has few positions in which the game goes on."""
    engine = Engine(go5.on(max_moves=4, komi=komi), simulations=48 if leaves == 1 else 96)
    engine.agent.speed = leaves, 1000.0
    first = watched(engine).analysis
    unseen = np.flatnonzero((first.visits == 0) & (first.prior > 0))[:2]
    for action in unseen if len(unseen) == 2 else (0, 1):
        engine.play(int(action))
    report = watched(engine)
    assert engine._search is not None and engine._search.leaves == leaves
    ended = engine._search.tree.state[0, : engine._search.lane.size[0], STATUS] != ONGOING
    assert ended.sum() > 10
    check(engine, report)


def test_nothing_is_told_before_the_root_was_evaluated(go5: Agent) -> None:
    """Averaged over the board's symmetries, its evaluation takes eight steps."""
    engine, reports = Engine(go5, simulations=200), list[Report]()
    engine.play(engine.game.action_names.index("D4"))
    engine.choose(watch=Watch(reports.append, 0.0))
    assert len(reports) > 3
    assert all(np.ptp(r.analysis.prior[r.analysis.prior > 0]) > 0 for r in reports), "a prior is the network's"
    scores = [r.scores for r in reports]
    assert all(s is not None and np.isfinite([s.value, s.lead]).all() for s in scores)
    network = go5.network()
    planes = engine.game.encode(engine.state[None])[0]
    leads = []
    assert engine.game.point_symmetries is not None
    for points in engine.game.point_symmetries:
        turned = planes.reshape(len(planes), -1)[:, points].reshape(1, *planes.shape)
        with torch.no_grad():
            leads.append(10 * float(network.all_heads(torch.from_numpy(turned))[2]["score"]))
    assert engine._scores is not None and len(leads) == 8 and np.ptp(leads) > 0.2
    assert engine._scores._lead[0] == pytest.approx(np.mean(leads), abs=0.05)


def test_the_score_is_apart_from_the_chance_to_win_and_in_the_utility(go5: Agent) -> None:
    report = watched(Engine(go5, simulations=40))
    scores, found = report.scores, report.analysis
    assert scores is not None
    best = found.action
    # Per simulation utility = 0.9 · value + 0.1 · tanh(lead / 10); means of moves with a small spread come close.
    expected = 0.9 * scores.values[best] + 0.1 * np.tanh(scores.leads[best] / 10)
    assert found.action_values[best] == pytest.approx(expected, abs=0.03)


def test_a_network_without_a_score_head_tells_none() -> None:
    assert watched(Engine(small_agent("go5"), simulations=8)).scores is None
    assert watched(Engine(small_agent("go5", SCORED), simulations=0)).scores is None  # nothing is searched
