"""Actor-critic networks: memory is carried and reset exactly, every kind of observation is served."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from envs.gym import ActionSpec, Part, WorldSpec
from rl.config import ActorCriticConfig, RecurrentConfig
from rl.distributions import parameter_count
from rl.nets.actor_critic import ActorCritic, Normaliser, build_actor_critic
from rl.nets.recurrent import RecurrentCore

MLP = {"kind": "mlp", "width": 16, "depth": 2, "residual": False, "normalisation": "none", "activation": "tanh"}
CORES: dict[str, Any] = {
    "rnn": {"kind": "rnn", "width": 8},
    "lstm": {"kind": "lstm", "width": 8, "layers": 2},
    "gru": {"kind": "gru", "width": 8},
    "window": {"kind": "transformer", "width": 8, "heads": 2, "depth": 2, "window": 4},
}
VECTOR = Part(name="observation", kind="vector", shape=(3,), dtype="float32")
ACTIONS = ActionSpec(kind="categorical", sizes=(2,), shape=(), dtype="int64", start=(0,))


def world(*parts: Part, action: ActionSpec = ACTIONS) -> WorldSpec:
    return WorldSpec(env_id="test", observation=parts, action=action, max_episode_steps=None)


def network(spec: WorldSpec, **settings: Any) -> ActorCritic:
    torch.manual_seed(0)
    config = ActorCriticConfig.model_validate({"encoder": MLP} | settings)
    net = build_actor_critic(config, spec).eval()
    with torch.no_grad():  # ends of residual branches begin at 0, where no test would see them
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return net


def steps(count: int, lanes: int, first: list[tuple[int, int]]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    torch.manual_seed(1)
    begins = torch.zeros(count, lanes, dtype=torch.bool)
    for t, lane in first:
        begins[t, lane] = True
    return {"observation": torch.randn(count, lanes, 3)}, begins


def part(observations: dict[str, torch.Tensor], span: slice) -> dict[str, torch.Tensor]:
    return {name: tensor[span] for name, tensor in observations.items()}


@pytest.mark.parametrize("core", CORES)
def test_an_unroll_in_pieces_equals_the_whole(core: str) -> None:
    """Outputs, and gradients too, since memory is handed on with its history."""
    net = network(world(VECTOR), core=CORES[core])
    observations, first = steps(11, 3, [(0, 0), (0, 1), (0, 2), (4, 0), (5, 0), (7, 1)])

    def run(cuts: list[int]) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        state, outputs, values = net.initial_state(3), [], []
        for a, b in zip([0, *cuts], [*cuts, 11]):
            parameters, value, state = net(part(observations, slice(a, b)), state, first[a:b])
            outputs.append(parameters)
            values.append(value)
        joined, value = torch.cat(outputs), torch.cat(values)
        net.zero_grad()
        (joined.square().sum() + value.square().sum()).backward()
        return joined, value, [p.grad.clone() for p in net.parameters() if p.grad is not None]

    whole = run([])
    for cuts in ([1], [4, 8], list(range(1, 11))):
        pieces = run(cuts)
        torch.testing.assert_close(pieces[0], whole[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(pieces[1], whole[1], rtol=1e-4, atol=1e-5)
        for mine, theirs in zip(pieces[2], whole[2], strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("core", CORES)
def test_an_episode_knows_nothing_of_the_one_before(core: str) -> None:
    net = network(world(VECTOR), core=CORES[core])
    observations, first = steps(8, 2, [(0, 0), (0, 1), (3, 0)])
    together = net(observations, net.initial_state(2), first)[0]
    fresh = torch.zeros(5, 2, dtype=torch.bool)
    fresh[0] = True
    alone = net(part(observations, slice(3, 8)), net.initial_state(2), fresh)[0]
    torch.testing.assert_close(together[3:, 0], alone[:, 0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together[3:, 1], alone[:, 1], atol=1e-3), "the other lane's episode goes on"


@pytest.mark.parametrize("core", CORES)
def test_lanes_do_not_see_each_other(core: str) -> None:
    net = network(world(VECTOR), core=CORES[core])
    observations, first = steps(6, 3, [(0, 0), (0, 1), (0, 2), (2, 1)])
    before = net(observations, net.initial_state(3), first)[0]
    observations["observation"][:, 1] += 1.0
    after = net(observations, net.initial_state(3), first)[0]
    torch.testing.assert_close(before[:, [0, 2]], after[:, [0, 2]])
    assert not torch.allclose(before[:, 1], after[:, 1], atol=1e-3)


def test_the_window_is_as_long_as_it_says() -> None:
    """One layer: a step sees itself and the window - 1 before it, whether they are kept or in the same stretch."""
    net = network(world(VECTOR), core={"kind": "transformer", "width": 8, "heads": 2, "depth": 1, "window": 3})
    observations, first = steps(6, 1, [(0, 0)])
    base = net(observations, net.initial_state(1), first)[0]
    for changed in range(6):
        other = {"observation": observations["observation"].clone()}
        other["observation"][changed] += 1.0
        for cut in (0, 4):
            state, outputs = net.initial_state(1), []
            for a, b in ((0, cut), (cut, 6)) if cut else ((0, 6),):
                output, _, state = net(part(other, slice(a, b)), state, first[a:b])
                outputs.append(output)
            moved = (torch.cat(outputs) - base).abs().amax((1, 2)) > 1e-5
            assert moved.tolist() == [0 <= t - changed < 3 for t in range(6)], (changed, cut)


PARTS = {
    "vector": (VECTOR, MLP),
    "uint8 picture": (
        Part(name="observation", kind="image", shape=(12, 10, 3), dtype="uint8", channels_last=True),
        {"kind": "conv", "layers": [[8, 3, 2], [8, 3, 1]], "width": 16},
    ),
    "impala": (
        Part(name="observation", kind="image", shape=(4, 12, 10), dtype="uint8"),
        {"kind": "impala", "channels": [4, 8], "width": 16},
    ),
    "planes": (
        Part(name="observation", kind="image", shape=(5, 6, 6), dtype="float32"),
        {"kind": "resnet", "channels": 8, "blocks": 2},
    ),
    "patches": (
        Part(name="observation", kind="image", shape=(3, 12, 8), dtype="uint8"),
        {"kind": "transformer", "width": 8, "heads": 2, "depth": 1, "patch": 4},
    ),
    "categories": (Part(name="observation", kind="categories", shape=(2,), dtype="int64", sizes=(3, 4)), MLP),
    "bits": (Part(name="observation", kind="bits", shape=(5,), dtype="int8"), MLP),
}


def sample(part: Part, rng: np.random.Generator, shape: tuple[int, ...]) -> torch.Tensor:
    if part.kind == "categories":
        return torch.from_numpy(np.stack([rng.integers(0, n, shape) for n in part.sizes], -1))
    high = 256 if part.dtype == "uint8" else 2
    return torch.from_numpy(rng.integers(0, high, (*shape, *part.shape)).astype(part.dtype))


@pytest.mark.parametrize("name", PARTS)
def test_every_kind_of_observation_is_seen(name: str) -> None:
    observed, encoder = PARTS[name]
    net = network(world(observed), encoder=encoder)
    rng = np.random.default_rng(0)
    first = torch.zeros(2, 3, dtype=torch.bool)
    outputs = [net({"observation": sample(observed, rng, (2, 3))}, {}, first) for _ in range(2)]
    assert outputs[0][0].shape == (2, 3, 2)
    assert outputs[0][1].shape == (2, 3)
    assert not torch.allclose(outputs[0][0], outputs[1][0], atol=1e-5), "other observations, other answers"


def test_parts_are_joined_and_may_have_encoders_of_their_own() -> None:
    picture = Part(name="camera/front", kind="image", shape=(3, 8, 8), dtype="uint8")
    net = network(world(VECTOR, picture), parts={"camera/front": {"kind": "conv", "layers": [[4, 3, 2]], "width": 8}})
    rng = np.random.default_rng(0)
    first = torch.zeros(1, 2, dtype=torch.bool)
    seen = {"observation": torch.randn(1, 2, 3), "camera/front": sample(picture, rng, (1, 2))}
    base = net(seen, {}, first)[0]
    for name, value in seen.items():
        other = seen | {name: value // 2 if value.dtype == torch.uint8 else value + 1}
        assert not torch.allclose(net(other, {}, first)[0], base, atol=1e-6), name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": {"kind": "conv"}}, "is no picture"),
        ({"parts": {"lidar": MLP}}, "no part 'lidar'; it has observation"),
    ],
)
def test_what_cannot_be_served_is_said(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(world(VECTOR), **settings)


@pytest.mark.parametrize("squash", [False, True])
def test_continuous_actions_have_a_mean_and_a_deviation(squash: bool) -> None:
    box = ActionSpec(
        kind="gaussian", sizes=(2,), shape=(2,), dtype="float32", low=(-1.0, -2.0), high=(1.0, 2.0), start=()
    )
    net = network(world(VECTOR, action=box), squash=squash)
    parameters = net({"observation": torch.randn(1, 4, 3)}, {}, torch.zeros(1, 4, dtype=torch.bool))[0]
    assert parameters.shape[-1] == parameter_count(net.spec) == 4
    assert net.spec.kind == ("squashed_gaussian" if squash else "gaussian")
    torch.testing.assert_close(parameters[..., 2:], net.log_std.expand(1, 4, 2))  # type: ignore[union-attr]


def test_running_statistics_are_those_of_all_rows() -> None:
    rng = np.random.default_rng(3)
    rows = torch.from_numpy(rng.normal(5.0, 3.0, (1000, 2)).astype(np.float32))
    normaliser = Normaliser(2)
    for chunk in rows.split(130):
        normaliser.observe(chunk)
    torch.testing.assert_close(normaliser.mean, rows.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(normaliser.variance, rows.var(0, correction=0), rtol=1e-3, atol=1e-3)
    scaled = normaliser(rows)
    assert abs(float(scaled.mean())) < 1e-3
    assert abs(float(scaled.std()) - 1) < 1e-2


def sensitivity(core: dict[str, Any], steps_between: int) -> float:
    """The gradient of what comes out ``steps_between`` after the first step with respect to what went into that."""
    torch.manual_seed(0)
    memory = RecurrentCore(RecurrentConfig.model_validate(core), 3)
    x = (0.1 * torch.randn(steps_between + 1, 4, 3)).requires_grad_()  # small, so that gates stand as they begin
    first = torch.zeros(steps_between + 1, 4, dtype=torch.bool)
    memory(x, memory.initial_state(4), first)[0][-1].sum().backward()
    assert x.grad is not None
    return x.grad[0].abs().mean().item()


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_gates_that_begin_open_carry_gradients_over_the_delay(kind: str) -> None:
    assert sensitivity({"kind": kind, "width": 32, "timescale": 100}, 60) > 1e-3
    if kind == "gru":  # an orthogonal LSTM with forget gates at bias 1 is not far from that by itself
        assert sensitivity({"kind": kind, "width": 32}, 60) < 1e-6


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_units_begin_with_all_timescales_up_to_the_given_one(kind: str) -> None:
    cells = RecurrentCore(RecurrentConfig(kind=kind, width=500, layers=2, timescale=100), 3).cells  # type: ignore[arg-type]
    for layer in (0, 1):
        gates = (getattr(cells, f"bias_ih_l{layer}") + getattr(cells, f"bias_hh_l{layer}")).view(-1, 500)
        steps = 1 + gates[1].exp()  # a unit keeps sigmoid(bias) of its memory at a step
        assert steps.min().item() >= 2 and steps.max().item() <= 100 and 45 < steps.median().item() < 56
        assert torch.equal(gates[0], -gates[1] if kind == "lstm" else torch.zeros(500))
        assert not gates[2:].any()


def test_an_lstm_begins_by_remembering() -> None:
    """Forget gates at bias 1 (Gers et al. 2000), those of every layer, and no other gate."""
    cells = RecurrentCore(RecurrentConfig(kind="lstm", width=4, layers=2), 3).cells
    for layer in (0, 1):
        bias = getattr(cells, f"bias_ih_l{layer}") + getattr(cells, f"bias_hh_l{layer}")
        assert bias.view(4, 4).tolist() == [[0.0] * 4, [1.0] * 4, [0.0] * 4, [0.0] * 4]


def test_a_plain_rnn_has_no_gates_to_open() -> None:
    with pytest.raises(ValueError, match="a plain rnn has none"):
        RecurrentConfig(kind="rnn", timescale=10)
