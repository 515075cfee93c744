"""Networks: shapes, symmetries, board sizes, initialisation and folding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pytest
import torch

import envs
from envs.game import Game
from rl.config import AuxiliaryConfig, MLPConfig, NetConfig
from rl.nets import build, count_parameters, fold, foldable
from rl.nets.heads import ColumnsPolicy, PointsPolicy
from rl.nets.layers import groups, pool

N = TypeVar("N", bound=torch.nn.Module)

SMALL: dict[str, dict[str, Any]] = {
    "mlp": {"kind": "mlp", "width": 16},
    "mlp_plain": {"kind": "mlp", "width": 16, "residual": False, "normalisation": "none", "activation": "tanh"},
    "resnet": {"kind": "resnet", "channels": 16, "blocks": 2},
    "resnet_group": {"kind": "resnet", "channels": 16, "blocks": 2, "normalisation": "group", "activation": "mish"},
    "resnet_layer": {"kind": "resnet", "channels": 12, "blocks": 2, "normalisation": "layer", "activation": "silu"},
    "resnet_none": {"kind": "resnet", "channels": 12, "blocks": 2, "normalisation": "none", "dropout": 0.1},
    "resnet_local": {"kind": "resnet", "channels": 12, "blocks": 2, "global_pooling": False},
    "transformer": {"kind": "transformer", "width": 16, "depth": 2},
    "transformer_learned": {"kind": "transformer", "width": 16, "depth": 2, "positions": "learned"},
    "transformer_none": {"kind": "transformer", "width": 16, "depth": 1, "normalisation": "none"},
}
ANY_SIZE = ["resnet", "resnet_group", "resnet_layer", "transformer"]


def config(name: str) -> NetConfig:
    heads = {"policy_channels": 8, "value_channels": 8, "value_width": 16}
    return NetConfig.model_validate({"encoder": SMALL[name]} | heads)


def board(side: int, extra: int = 1, **changes: Any) -> Game:
    """The shapes of a game of points on a square board; no network looks at the rules."""
    shape: dict[str, Any] = {"board_shape": (side, side), "num_actions": side * side + extra, "action_names": ()}
    shape |= {"action_layout": "points", "point_symmetries": None, "action_symmetries": None}
    return replace(envs.make("tic_tac_toe"), **(shape | changes))


def flat_game() -> Game:
    return board(4, action_layout="flat", num_actions=10)


def shaken(net: N, scale: float = 0.3) -> N:
    """The net with every parameter and running statistic moved off its initial value, zeros included."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
        for name, buffer in net.named_buffers():
            if "running" in name:
                buffer.add_(torch.rand(buffer.shape, generator=generator))
    return net


def planes_of(game: Game, n: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, *game.plane_shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("encoder", SMALL)
@pytest.mark.parametrize("env_id", [*envs.GAMES, "flat"])
def test_every_encoder_serves_every_game(encoder, env_id):
    game = flat_game() if env_id == "flat" else envs.make(env_id)
    policy, wdl = build(config(encoder), game)(planes_of(game))
    assert policy.shape == (5, game.num_actions)
    assert wdl.shape == (5, 3)


@pytest.mark.parametrize("encoder", SMALL)
def test_first_policy_is_near_uniform_and_first_value_near_even(encoder):
    game = envs.make("connect_four")
    policy, wdl = build(config(encoder), game).eval()(planes_of(game))
    assert (policy.softmax(1) - 1 / game.num_actions).abs().max() < 0.04
    assert (wdl.softmax(1) - 1 / 3).abs().max() < 0.05


@pytest.mark.parametrize("encoder", SMALL)
@pytest.mark.parametrize("game", [board(4), envs.make("connect_four"), flat_game()], ids=["points", "columns", "flat"])
def test_gradients_reach_every_parameter(encoder, game):
    net = shaken(build(config(encoder), game))
    # not a loss behind a softmax, which no common shift of the logits moves
    policy, wdl = net(planes_of(game, 8))
    (policy * torch.randn_like(policy)).sum().add((wdl * torch.randn_like(wdl)).sum()).backward()
    still = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not still


@pytest.mark.parametrize("encoder", [name for name in SMALL if name != "mlp_plain"])
def test_a_new_residual_block_passes_its_input_on(encoder):
    game = board(4)
    encode: Any = build(config(encoder), game).eval().encoder
    shape = {"mlp": (3, 16), "res": (3, encode.width, 4, 4), "tra": (3, 16, 16)}[encoder[:3]]
    x = torch.rand(shape)
    offsets = [encode.offsets] if encoder.startswith("transformer") else []
    for block in encode.blocks:
        expected = block.act(x.clone()) if encoder.startswith("resnet") else x
        torch.testing.assert_close(block(x.clone(), *offsets), expected)


@pytest.mark.parametrize("encoder", SMALL)
def test_a_new_net_learns_although_its_residual_branches_start_at_zero(encoder):
    game = board(4)
    net = build(config(encoder), game)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimiser = torch.optim.SGD(net.parameters(), lr=0.5)
    for step in range(6):
        policy, wdl = net(planes_of(game, 8, step))
        optimiser.zero_grad()
        ((policy - 1).square().sum() + (wdl - 1).square().sum()).div(50).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
    assert not [name for name, p in net.named_parameters() if torch.equal(p, before[name])]


@pytest.mark.parametrize("encoder", SMALL)
def test_rows_do_not_influence_each_other_in_evaluation(encoder):
    game = envs.make("connect_four")
    net = shaken(build(config(encoder), game)).eval()
    rows = planes_of(game)
    changed = rows.clone()
    changed[1:] = 3.0
    for alone, among in zip(net(rows), net(changed), strict=True):
        torch.testing.assert_close(alone[0], among[0])
        assert not torch.allclose(alone[1], among[1])


@pytest.mark.parametrize("encoder", ANY_SIZE)
def test_the_same_weights_play_any_board_size(encoder):
    small, large = board(7), board(9)
    trained = shaken(build(config(encoder), small), 0.1).eval()
    other = build(config(encoder), large).eval()
    other.load_state_dict(trained.state_dict())
    rows = planes_of(large)
    for built_small, built_large in zip(trained(rows), other(rows), strict=True):
        torch.testing.assert_close(built_small, built_large)
    assert trained(planes_of(small))[0].shape == (5, 50)
    assert other(rows)[0].shape == (5, 82)


@pytest.mark.parametrize(
    "encoder", ["resnet", "resnet_group", "resnet_layer", "resnet_none", "resnet_local", "transformer"]
)
def test_a_smaller_board_in_a_larger_array_is_answered_as_in_its_own(encoder):
    """Every head; mixed in a batch with a board that fills the array."""
    auxiliary = {"ownership": 1, "score": 1, "reply": 1, "soft_policy": 1, "short_term_value": 1}
    settings = config(encoder).model_copy(update={"auxiliary": AuxiliaryConfig.model_validate(auxiliary)})
    own, array = envs.make("go7"), envs.make("go9", variants=[{}, {"board": 7}])
    trained = shaken(build(settings, own), 0.1).eval()
    other = build(settings, array).eval()
    other.load_state_dict(trained.state_dict())
    small = planes_of(own)
    small[:, 0] = 1
    large = torch.zeros(5, *array.plane_shape)
    large[:, :, :7, :7] = small
    large = torch.cat((large, planes_of(array, 2, seed=1)))
    large[5:, 0] = 1
    actions = [*(9 * row + column for row in range(7) for column in range(7)), 81]
    policy, wdl, extra = other.all_heads(large)
    own_policy, own_wdl, own_extra = trained.all_heads(small)
    torch.testing.assert_close(policy[:5, actions], own_policy)
    torch.testing.assert_close(wdl[:5], own_wdl)
    torch.testing.assert_close(extra["ownership"][:5, actions[:-1]], own_extra["ownership"])
    torch.testing.assert_close(extra["score"][:5], own_extra["score"])
    for name in ("reply", "soft_policy"):
        torch.testing.assert_close(extra[name][:5, actions], own_extra[name])
    unmasked = build(settings, envs.make("go9")).eval()
    unmasked.load_state_dict(trained.state_dict())
    for masked, plain in zip(other(large[5:]), unmasked(large[5:]), strict=True):
        torch.testing.assert_close(masked, plain)
    assert not torch.allclose(unmasked(large[:5])[1], own_wdl, atol=1e-4)


def test_relative_positions_state_their_limit():
    with pytest.raises(ValueError, match="boards of 19 points a side, this one is 20"):
        build(config("transformer"), board(20))
    assert build(config("transformer_learned"), board(20))(planes_of(board(20)))[0].shape == (5, 401)


def test_the_transformer_sees_where_an_empty_board_ends():
    net = shaken(build(config("transformer"), board(9)))
    features = net.encoder(torch.zeros(1, *board(9).plane_shape))[0]
    assert not torch.allclose(features[:, 0, 0], features[:, 4, 4], atol=1e-3)
    # neither of these two touches the edge: only attention can tell them apart
    assert not torch.allclose(features[:, 3, 3], features[:, 4, 4], atol=1e-4)


def test_the_transformer_tells_the_offset_between_points():
    """Two stones a knight's move apart and the same two stones elsewhere relative to each other differ."""
    net = shaken(build(config("transformer"), board(9)))
    rows = torch.zeros(2, *board(9).plane_shape)
    rows[:, 0, 4, 4] = 1
    rows[0, 1, 2, 3] = 1
    rows[1, 1, 3, 2] = 1
    first, second = net.encoder(rows)[:, :, 4, 4]
    assert not torch.allclose(first, second, atol=1e-4)


def test_column_logits_mirror_with_the_board():
    head = shaken(ColumnsPolicy(6, 8, "relu", "batch", height=6)).eval()
    x = torch.randn(4, 6, 6, 7)
    torch.testing.assert_close(head(x.flip(3)), head(x).flip(1))
    # the rows of a column are not alike: Connect Four has gravity
    assert not torch.allclose(head(x.flip(2)), head(x), atol=1e-3)


@pytest.mark.parametrize("k", range(4))
def test_point_logits_turn_with_the_board_and_the_pass_stays(k):
    head = shaken(PointsPolicy(6, 8, "relu", "batch", extra=2)).eval()
    x = torch.randn(4, 6, 5, 5)
    plain, turned = head(x), head(torch.rot90(x, k, (2, 3)))
    expected = torch.rot90(plain[:, :25].view(4, 5, 5), k, (1, 2)).flatten(1)
    torch.testing.assert_close(turned[:, :25], expected)
    torch.testing.assert_close(turned[:, 25:], plain[:, 25:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pool_is_mean_scaled_mean_and_maximum(dtype):
    x = torch.randn(3, 4, 5, 6).to(dtype)
    slow = []
    for row in x.float().numpy():
        mean, side = [c.mean() for c in row], np.sqrt(30)
        slow.append([*mean, *(m * (side - 14) / 10 for m in mean), *(c.max() for c in row)])
    expected = torch.tensor(np.array(slow), dtype=torch.float32)
    torch.testing.assert_close(pool(x).float(), expected, atol=2e-3 if dtype == torch.bfloat16 else 1e-6, rtol=1e-2)


def test_with_global_pooling_a_block_sees_the_whole_board():
    game = board(19)
    rows = torch.zeros(2, *game.plane_shape)
    rows[1, 0, 18, 18] = 1
    reach = {}
    for encoder in ("resnet", "resnet_local"):
        features = shaken(build(config(encoder), game)).eval().encoder(rows)
        reach[encoder] = bool((features[0, :, 0, 0] - features[1, :, 0, 0]).abs().max() > 1e-6)
    assert reach == {"resnet": True, "resnet_local": False}


@pytest.mark.parametrize("encoder", ["resnet", "resnet_local"])
@pytest.mark.parametrize("game", [board(5), envs.make("connect_four")], ids=["points", "columns"])
def test_folding_changes_nothing_but_the_norms(encoder, game):
    net = shaken(build(config(encoder), game), 0.1).train()
    folded = fold(net)
    assert foldable(net)
    assert not foldable(folded)
    assert not [m for m in folded.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert net.training
    assert not folded.training
    rows = planes_of(game)
    for plain, quick in zip(net.eval()(rows), folded(rows), strict=True):
        torch.testing.assert_close(plain, quick, atol=1e-4, rtol=1e-4)


def test_nets_without_batch_norm_have_nothing_to_fold():
    assert not [name for name in SMALL if foldable(build(config(name), board(4))) and not name.startswith("resnet")]
    assert not foldable(build(config("resnet_group"), board(4)))


def test_groups_divide_the_channels():
    assert [groups(c) for c in (1, 7, 8, 12, 16, 48, 64, 96)] == [1, 1, 1, 1, 2, 6, 8, 12]


def test_dropout_acts_in_training_only():
    game = board(4)
    net = shaken(build(NetConfig.model_validate({"encoder": SMALL["mlp"] | {"dropout": 0.5}}), game))
    rows = planes_of(game)
    assert not torch.equal(net(rows)[0], net(rows)[0])
    net.eval()
    assert torch.equal(net(rows)[0], net(rows)[0])


def test_parameters_are_counted():
    game = board(2, extra=0)
    inputs = int(np.prod(game.plane_shape))
    net = build(NetConfig(encoder=MLPConfig(kind="mlp", width=4, depth=1), value_width=3), game)
    stem, block, final = inputs * 4 + 4, (4 * 4 + 4) + 8, 8
    heads = (4 * 4 + 4) + (4 * 3 + 3) + (3 * 3 + 3)
    assert count_parameters(net) == stem + block + final + heads


def test_the_same_seed_gives_the_same_weights():
    nets = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        nets.append(build(config("resnet"), board(4)).state_dict()["encoder.stem.conv.weight"])
    assert torch.equal(nets[0], nets[1])
    assert not torch.equal(nets[0], nets[2])


@pytest.mark.parametrize(
    ("game", "message"),
    [
        (board(3, extra=-1), "layout points needs 9 actions or more, not 8"),
        (board(3, action_layout="columns", num_actions=4), "layout columns needs 3 actions, not 4"),
    ],
)
def test_actions_that_do_not_fit_the_layout_are_refused(game, message):
    with pytest.raises(ValueError, match=message):
        build(config("resnet"), game)
