"""The maps are the weights that the network really mixes by."""

from pathlib import Path

import numpy as np
import pytest
import torch

import envs
from rl import nets
from rl.agent import Agent, load_player
from rl.insight.attention import AttentionMaps, attention_maps, looked_at, of_positions, point_of
from rl.insight.questions import InsightError
from rl.nets.transformer import Attention
from rl.records import Weights
from rl.weights import save_agent
from tests.rl.small import small_config

TRANSFORMER = {"kind": "transformer", "width": 16, "depth": 2, "heads": 2}


def network(env: str = "connect_four", **options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    net = nets.build(small_config(env, TRANSFORMER).net, envs.make(env, **options)).eval()
    for parameter in net.parameters():  # tables and outputs begin at 0
        torch.nn.init.normal_(parameter, std=0.3)
    return net


def test_weights_mix_the_values_into_what_attention_puts_out() -> None:
    net = network()
    layer = next(module for module in net.modules() if isinstance(module, Attention))
    given: list[tuple] = []
    handle = layer.register_forward_hook(lambda module, inputs, output: given.append((*inputs, output)))
    planes = torch.randn(3, 4, 6, 7)
    with torch.no_grad():
        net(planes)
        handle.remove()
        x, offsets, beside, output = given[0]
        _, _, values, _ = layer._scored(x, offsets, beside)
        mixed = layer.weights(x, offsets, beside) @ values
        expected = layer.out(mixed.transpose(1, 2).reshape(3, 42, 16))
    torch.testing.assert_close(output, expected)


def test_maps_hold_every_layer_and_head_and_leave_the_network_alone() -> None:
    net = network()
    planes = torch.randn(2, 4, 6, 7)
    with torch.no_grad():
        before = net(planes)[0]
        maps = attention_maps(net, planes)
        assert torch.equal(net(planes)[0], before)
    assert maps.weights.shape == (2, 2, 2, 42, 42) and maps.grid == (6, 7)
    np.testing.assert_allclose(maps.weights.sum(-1), 1, rtol=1e-5)
    assert np.abs(maps.weights[0, 0] - maps.weights[0, 1]).max() > 0.01
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_each_action_is_followed_from_the_point_that_it_plays_on(tmp_path: Path) -> None:
    def new_agent(env: str) -> Agent:
        tensors = {name: tensor.numpy() for name, tensor in network(env).state_dict().items()}
        save_agent(tmp_path / "agent.safetensors", Weights(7, tensors), small_config(env, TRANSFORMER), {})
        return load_player(str(tmp_path / "agent.safetensors"))

    agent = new_agent("connect_four")
    game = agent.game
    states = np.stack([game.initial_state(), game.after(game.initial_state(), 3)])
    found, rollout = looked_at(agent, states, np.array([0, 3])), of_positions(agent, states).rollout
    np.testing.assert_array_equal(found, [rollout[0, 35], rollout[1, 31]])  # lowest row on the left; above the stone
    agent = new_agent("go7")
    start = agent.game.initial_state()[None]
    whole = of_positions(agent, start).rollout[0].mean(0)
    np.testing.assert_array_equal(looked_at(agent, start, np.array([49])), [whole])  # a pass plays nowhere


def test_rollout_follows_information_through_the_layers() -> None:
    # Layer 1: token 0 looks at 1; layer 2: token 2 looks at 0. So 2 gets something of 1, by way of 0.
    first, second = np.eye(3), np.eye(3)
    first[0], second[2] = [0, 1, 0], [1, 0, 0]
    maps = AttentionMaps(np.stack([first, second])[None, :, None].astype(np.float32), (1, 3))
    assert maps.rollout[0].tolist() == [[0.5, 0.5, 0], [0, 1, 0], [0.25, 0.25, 0.5]]


def test_nobody_looks_beside_the_board() -> None:
    game = envs.make("go7", variants=[{"board": 5}])
    net = network("go7", variants=[{"board": 5}])
    states, _ = game.starts()
    maps = attention_maps(net, torch.from_numpy(game.encode(states[:1])))
    beside = game.encode(states[:1])[0, game.board_plane or 0].reshape(-1) == 0
    assert beside.sum() == 24 and maps.weights[0][:, :, ~beside][..., beside].max() < 1e-6


def test_other_encoders_have_no_maps() -> None:
    net = nets.build(small_config("tic_tac_toe").net, envs.make("tic_tac_toe"))
    with pytest.raises(InsightError, match="transformer"):
        attention_maps(net, torch.zeros(1, 3, 3, 3))


def test_the_point_of_a_move() -> None:
    four, go = envs.make("connect_four"), envs.make("go5")
    assert point_of(four, four.replay([3, 3]), 3) == 3 * 7 + 3
    assert point_of(go, go.initial_state(), 12) == 12 and point_of(go, go.initial_state(), 25) is None
