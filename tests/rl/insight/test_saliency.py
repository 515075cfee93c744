"""Attributions of functions whose shares are known, and whether deletion curves tell a good ranking from a bad one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from envs.gym import Part
from rl.agent import Agent
from rl.insight.faithfulness import deletion_by
from rl.insight.positions import visited
from rl.insight.questions import InsightError, Question, _groups, of_positions, stones
from rl.insight.saliency import Method, attribute, by_group, on_picture
from rl.records import Weights
from tests.rl.agents_for_tests import small_config

WEIGHTS = torch.tensor([[2.0, -1.0, 0.0], [0.5, 0.0, -3.0]])


def linear(rows: int = 5) -> Question:
    """f(x, y) = Σ w·x + 10 y, entries of x in columns belong together; y is a part of its own."""
    torch.manual_seed(0)
    x, y = torch.randn(rows, 2, 3), torch.randn(rows, 1)
    groups = torch.arange(3).expand(1, 2, 3).contiguous(), torch.zeros(1, 1, dtype=torch.int64)

    def forward(x: Tensor, y: Tensor) -> Tensor:
        return (x * WEIGHTS).sum((1, 2)) + 10 * y[:, 0]

    def decide(x: Tensor, y: Tensor) -> Tensor:
        return x.new_zeros(len(x), 0)

    return Question((x, y), (torch.ones(rows, 2, 3), torch.zeros(rows, 1)), groups, (), forward, decide)


def test_gradients_are_magnitudes_of_the_slopes() -> None:
    x, y = attribute(linear(), "gradients")
    assert torch.equal(x, WEIGHTS.abs().expand(5, 2, 3)) and torch.equal(y, torch.full((5, 1), 10.0))


@pytest.mark.parametrize("method", ["gradients", "integrated_gradients"])
def test_gradients_do_without_cudnn(method: Method) -> None:
    """Whose recurrent layers refuse them in evaluation mode."""
    question, allowed = linear(), []

    def forward(*given: Tensor) -> Tensor:
        allowed.append(torch.backends.cudnn.enabled)
        return question.forward(*given)

    attribute(replace(question, forward=forward), method)
    assert allowed and not any(allowed) and torch.backends.cudnn.enabled


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion"])
def test_shares_of_a_linear_function_are_its_terms(method: Method) -> None:
    question = linear()
    x, y = question.inputs
    shares = by_group(question, attribute(question, method), method)
    torch.testing.assert_close(shares[0], ((x - 1) * WEIGHTS).sum(1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(shares[1], 10 * y, rtol=1e-4, atol=1e-4)


def toe(seed: int = 0) -> Agent:
    config = small_config("tic_tac_toe")
    agent = Agent("toe", Weights(7, {}), config, {})
    torch.manual_seed(seed)
    from rl import nets

    net = nets.build(config.net, agent.game)
    for parameter in net.parameters():  # heads begin near 0, and so would all shares
        torch.nn.init.normal_(parameter, std=0.5)
    agent.weights = Weights(7, {name: t.numpy().copy() for name, t in net.state_dict().items()})
    return agent


def test_occlusion_of_a_board_takes_one_stone_away() -> None:
    agent = toe()
    state = agent.game.replay([4, 0, 8])
    question = of_positions(agent, state[None], "value")
    share = by_group(question, attribute(question, "occlusion"), "occlusion")[0][0]
    value = agent.analyse_state(state, 0).value
    for point in range(9):
        less = agent.game.encode(state[None])
        less[:, :2].reshape(1, 2, 9)[:, :, point] = 0
        answer = agent.evaluator(1)(less).wdl[0]
        assert float(share[point]) == pytest.approx(value - (answer[0] - answer[2]), abs=1e-5)
    assert share[[4, 0, 8]].abs().min() > 1e-3 and share[[1, 2, 3, 5, 6, 7]].abs().max() < 1e-6


@pytest.mark.parametrize("target", ["policy", "value"])
def test_integrated_gradients_add_up_to_the_difference_from_the_empty_board(target: str) -> None:
    agent = toe(1)
    states = visited(agent, 20).states
    question = of_positions(agent, states, target)  # type: ignore[arg-type]
    [shares] = attribute(question, "integrated_gradients")
    with torch.no_grad():
        difference = question.forward(*question.inputs, *question.extra) - question.forward(
            *question.baselines, *question.extra
        )
    # The integral of a network of relus is approximated by 32 steps.
    assert (shares.sum((1, 2, 3)) - difference).abs().max() < 0.1 * difference.abs().max()


def test_stones_are_where_they_were_played_whoever_is_to_move() -> None:
    agent = toe()
    assert stones(agent.game, agent.game.replay([4, 0])).reshape(-1).tolist() == [-1, 0, 0, 0, 1, 0, 0, 0, 0]
    assert stones(agent.game, agent.game.replay([4, 0, 8])).reshape(-1).tolist() == [-1, 0, 0, 0, 1, 0, 0, 0, 1]


def test_an_illegal_action_is_not_explained() -> None:
    agent = toe()
    with pytest.raises(InsightError, match="not legal"):
        of_positions(agent, agent.game.replay([4])[None], "policy", np.array([4]))


def test_deletion_tells_a_good_ranking_from_its_reverse() -> None:
    question = linear(40)
    x = question.inputs[0]
    true = ((x - 1) * WEIGHTS).sum(1).abs().numpy()  # [N, 3]: what hiding each group changes
    good, bad = (deletion_by(question, shares, most=2).summary() for shares in (true, -true))
    # One hidden: exactly the largest or the smallest change; at random, about their mean.
    assert good["ranked"][0] == pytest.approx(true.max(1).mean(), rel=1e-5)
    assert bad["ranked"][0] == pytest.approx(true.min(1).mean(), rel=1e-5)
    assert good["random"][0] == pytest.approx(true.mean(), rel=0.15)
    assert good["gap_low"] > 0 > bad["gap_high"]
    assert good["ranked_low"][0] < good["ranked"][0] < good["ranked_high"][0]


def test_only_what_holds_something_is_hidden() -> None:
    agent = toe()
    question = of_positions(agent, agent.game.replay([4, 0])[None], "policy")
    empty_first = np.where(np.isin(np.arange(9), [4, 0]), 0.0, 1.0)[None]  # ranks empty points first
    curve = deletion_by(question, empty_first, most=6)
    assert len(curve.ranked) == 2 and curve.ranked[0, 0] > 0


def test_patches_of_pictures_hide_all_channels_together() -> None:
    first = Part("image", "image", (28, 28, 3), "uint8", low=0, high=255, channels_last=True)
    groups = _groups(first, first.shape)[0]
    assert groups.shape == (28, 28, 3) and int(groups.max()) == 14 * 14 - 1
    assert torch.equal(groups[..., 0], groups[..., 2]) and groups[0, 0, 0] == groups[1, 1, 0] != groups[2, 0, 0]
    planes = Part("image", "image", (4, 10, 10), "uint8", low=0, high=1)
    assert torch.equal(_groups(planes, planes.shape)[0, 0].flatten(), torch.arange(100))
    assert on_picture(first, torch.ones(28, 28, 3)).tolist() == np.full((28, 28), 3.0).tolist()
