"""The engine with small untrained agents: trees that stay, limits, levels, passing and resigning."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
import torch

import envs
from rl import nets
from rl.agent import Agent, Analysis
from rl.play.engine import LEVELS, RESIGN, Engine, Report, Watch
from rl.records import Weights
from tests.rl.agents_for_tests import small_config

NET = {
    "encoder": {"kind": "resnet", "channels": 8, "blocks": 2},
    "policy_channels": 4,
    "value_channels": 4,
    "auxiliary": {"ownership": 1.0},
}


def agent(env_id: str = "go5", info: dict[str, Any] | None = None, **changes: Any) -> Agent:
    settings = {"net": NET} | changes
    if env_id != "go5":
        settings["net"] = {k: v for k, v in NET.items() if k != "auxiliary"}
    config = small_config(env_id, **settings)
    torch.manual_seed(3)
    net = nets.build(config.net, envs.make(env_id))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    tensors = {name: tensor.numpy().copy() for name, tensor in net.state_dict().items()}
    return Agent("test", Weights(1, tensors), config, info or {}, "cpu")


def advance(engine: Engine, moves: int) -> None:
    for _ in range(moves):
        engine.play(engine.choose().action)


def test_a_first_choice_is_that_of_the_agents_own_analysis() -> None:
    ours = agent()
    choice = Engine(ours, simulations=20).choose()
    answer = ours.analyse([], 20)
    assert choice.action == answer.action
    assert choice.analysis is not None
    assert choice.analysis.visits.tolist() == answer.visits.tolist()
    assert answer.lines[answer.action] == answer.principal_variation
    assert set(answer.lines) == set(np.flatnonzero(answer.visits))
    assert all(line[0] == action for action, line in answer.lines.items())


def test_the_tree_stays_over_both_sides_moves_and_is_planted_anew_after_an_undo() -> None:
    engine = Engine(agent(), simulations=40)
    first = engine.choose().analysis
    assert first is not None
    line = first.principal_variation
    engine.play(line[0])
    engine.play(line[1])
    second = engine.choose().analysis
    assert second is not None
    assert second.simulations == 40
    assert second.visits.sum() > 40  # those of the first search, on this line
    engine.undo()
    engine.undo()
    again = engine.choose().analysis
    assert again is not None
    assert again.visits.tolist() == first.visits.tolist()
    more = engine.choose().analysis  # the same position once more: on in the same tree
    assert more is not None
    assert more.visits.sum() == 80


def test_whole_games_through_kept_trees_are_legal_and_end() -> None:
    engine = Engine(agent(search={"simulations": 8, "kind": "puct"}), simulations=30)
    while not engine.over:
        advance(engine, 1)
    with pytest.raises(ValueError, match="the game is over after"):
        engine.choose()
    with pytest.raises(ValueError, match="the game has ended"):
        engine.play(0)


def test_time_ends_a_search() -> None:
    engine = Engine(agent(), seconds=0.2)
    found = engine.choose().analysis
    assert found is not None
    assert found.simulations >= 1
    longer = engine.choose(seconds=1.5).analysis
    assert longer is not None
    assert longer.simulations > found.simulations


def test_other_boards_and_komi_are_played_by_the_same_network() -> None:
    engine = Engine(agent(), simulations=4)
    advance(engine, 3)
    engine.new_game(size=7, komi=9)
    assert engine.moves == []
    assert engine.game.board_shape == (7, 7)
    advance(engine, 4)
    with pytest.raises(ValueError, match="5 to 19 lines"):
        engine.new_game(size=4)
    assert len(engine.moves) == 4  # the game in progress stays
    engine.new_game()
    assert engine.game.board_shape == (7, 7)
    with pytest.raises(ValueError, match="one board only"):
        Engine(agent("tic_tac_toe")).new_game(size=4)


def test_a_network_for_one_board_says_so() -> None:
    with pytest.raises(ValueError, match="size mismatch"):
        Engine(agent("go5", net={"encoder": {"kind": "mlp", "width": 8}})).new_game(size=7)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"simulations": -1}, "0 .* or more, not -1"),
        ({"seconds": 0}, "above 0 and finite, not 0"),
        ({"seconds": float("inf")}, "above 0 and finite, not inf"),
        ({"simulations": 1, "seconds": 1.0}, "not both"),
        ({"level": 11}, "from 1 to 10, not 11"),
    ],
)
def test_limits_that_make_no_sense_are_refused(limits: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Engine(agent(), **limits)


def test_lower_levels_search_less_and_leave_more_to_chance() -> None:
    ours = agent()
    share = []
    for level in (1, 6, 10):
        engine = Engine(ours, level=level, simulations=None, seed=1)
        best = ours.analyse([], LEVELS[level].simulations if level in LEVELS else 8).action
        actions = []
        for _ in range(30):
            choice = engine.choose()
            assert choice.analysis is not None
            actions.append(choice.action)
            engine.new_game()
        share.append(np.mean(np.array(actions) == best))
    assert share[0] < share[2] == 1.0
    assert [LEVELS[n].simulations for n in range(1, 10)] == sorted(s.simulations for s in LEVELS.values())
    temperatures = [LEVELS[n].temperature for n in range(1, 10)]
    assert temperatures == sorted(temperatures, reverse=True)


def test_a_level_does_not_lift_the_other_limits() -> None:
    ours = agent()
    for own, asked, spent in ((None, 0, 0), (None, 4, 4), (4, None, 4), (None, 500, 64)):
        found = Engine(ours, level=5, simulations=own).choose(simulations=asked).analysis
        assert found is not None and (found.simulations <= max(spent, 1) and (found.simulations == 0) == (spent == 0))
    engine = Engine(ours, level=9, seconds=0.05)
    engine.warm_up()
    started = time.monotonic()
    found = engine.choose().analysis
    assert found is not None and (found.simulations < 1024 or time.monotonic() - started < 0.1)
    assert engine.limits == "1024 simulations a move, 0.05 seconds at most"
    assert Engine(ours, level=5, simulations=8).limits == "8 simulations a move"


def test_level_one_draws_moves_as_the_network_thinks_them_good() -> None:
    ours = agent("tic_tac_toe", net={"encoder": {"kind": "mlp", "width": 16}})
    engine = Engine(ours, level=1, seed=2)
    counts = np.zeros(9)
    for _ in range(1500):
        counts[engine.choose().action] += 1
    policy = ours.analyse([], 0).policy.astype(float) ** (1 / LEVELS[1].temperature)
    np.testing.assert_allclose(counts / 1500, policy / policy.sum(), atol=0.05)


def test_it_resigns_below_the_measured_value_only() -> None:
    for info, expected in (({}, False), ({"resign_below": None}, False), ({"resign_below": -1.0}, False)):
        engine = Engine(agent(info=info), simulations=4)
        advance(engine, 6)
        assert (engine.choose().action == RESIGN) == expected
    engine = Engine(agent(info={"resign_below": 1.01}), simulations=4)
    assert engine.choose().action != RESIGN  # too early
    for action in (0, 1, 2, 3, 4, 5):
        engine.play(action)
    assert engine.choose().action == RESIGN
    assert engine.choose(cleanup=True).action != RESIGN


class Owners(Engine):
    """An engine that is told who owns what."""

    share = 1.0

    def ownership(self) -> np.ndarray | None:
        return np.full(25, self.share, np.float32)


def test_a_friendly_agent_passes_after_a_pass_when_all_is_decided() -> None:
    engine = Owners(agent(), simulations=4, friendly=True)
    engine.play(12)
    assert engine.choose().analysis is not None  # nobody has passed
    engine.play(25)
    assert engine.choose().action == 25
    assert engine.choose().analysis is None
    assert engine.choose(cleanup=True).analysis is not None
    engine.share = 0.5
    assert engine.choose().analysis is not None
    given = Owners(agent(), simulations=4, friendly=True)
    given.play(12)
    given.skip(25)
    assert given.choose().analysis is not None, "nobody has passed: the turn was given"


def test_ownership_is_the_first_players() -> None:
    engine = Engine(agent(), simulations=4)
    before = engine.ownership()
    assert before is not None
    assert before.shape == (25,)
    assert (np.abs(before) <= 1).all()
    network = engine.agent.network()
    engine.play(12)
    with torch.inference_mode():
        _, _, extra = network.all_heads(torch.from_numpy(engine.game.encode(engine.state[None])))
    expected = 1 - 2 * torch.sigmoid(extra["ownership"][0])  # white is to move
    after = engine.ownership()
    assert after is not None
    np.testing.assert_allclose(after, expected.numpy(), atol=1e-5)
    assert Engine(agent("tic_tac_toe")).ownership() is None


def test_analysis_streams_until_it_is_stopped() -> None:
    engine, stop, reports = Engine(agent()), threading.Event(), list[Analysis]()

    def report(found: Report) -> None:
        reports.append(found.analysis)
        if len(reports) == 4:
            stop.set()

    engine.analyse(Watch(report, 0.05), stop)
    visits = [int(r.visits.sum()) for r in reports]
    assert visits == sorted(set(visits))
    choice = engine.choose(simulations=6).analysis  # goes on with a search of its own kind
    assert choice is not None
    assert engine.moves == []


def test_an_analysis_that_proves_the_game_reports_and_waits() -> None:
    engine, stop, reports = Engine(agent("tic_tac_toe")), threading.Event(), list[Analysis]()
    for action in (0, 3, 1, 4):
        engine.play(action)

    def report(found: Report) -> None:
        reports.append(found.analysis)
        threading.Timer(0.05, stop.set).start()

    engine.analyse(Watch(report, 1000.0), stop)
    assert [r.proven for r in reports] == ["win"]
    assert reports[0].action == 2
