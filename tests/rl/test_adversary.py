"""Attacks on observations stay within their budget, do what they are for, and training against them helps."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from envs.gym import Part
from rl.acting import parameter_count
from rl.config import ConfigError, GymConfig
from rl.distributions import mode
from rl.learner import RolloutLearner
from rl.learner.adversary import Attack, AttackKind, attackable, perturb, surprise, units_of
from rl.nets.actor_critic import ActorCritic, Policy, acting_network
from rl.worlds import spec_of
from tests.rl.agents_for_tests import rollout_config

CART = rollout_config(
    "CartPole-v1", net={"encoder": {"kind": "mlp", "width": 16, "depth": 1, "normalisation": "batch"}}
)
KINDS: list[AttackKind] = ["noise", "fgsm", "pgd"]


def network(config: GymConfig = CART) -> ActorCritic:
    torch.manual_seed(0)
    net = acting_network(config.net, spec_of(config), "cpu")
    torch.nn.init.normal_(net.policy.weight, std=0.5)
    return net


def seen(rows: int = 64) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {"observation": torch.randn(1, rows, 4) * torch.tensor([1.0, 2.0, 0.1, 3.0])}


def first(rows: int = 64) -> torch.Tensor:
    return torch.zeros((1, rows), dtype=torch.bool)


@pytest.mark.parametrize("kind", KINDS)
def test_perturbations_stay_within_the_ball_and_touch_nothing_else(kind: AttackKind) -> None:
    net, observations = network(), seen()
    parts = spec_of(CART).observation
    net.train()
    for parameter in net.parameters():
        parameter.requires_grad_(True)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    units = units_of(parts, observations)
    torch.testing.assert_close(units["observation"], observations["observation"][0].std(0, correction=0))
    shown = perturb(net, parts, observations, {}, first(), Attack(kind, 0.2, 4), units)
    moved = (shown["observation"] - observations["observation"]).abs() / units["observation"]
    assert 0.15 < float(moved.max()) <= 0.2 + 1e-5
    assert not shown["observation"].requires_grad and net.training
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items()), "statistics stay"
    assert all(parameter.grad is None for parameter in net.parameters())
    nothing = perturb(net, parts, observations, {}, first(), Attack(kind, 0.0), units)
    assert torch.equal(nothing["observation"], observations["observation"])


@pytest.mark.parametrize("kind", ["fgsm", "pgd"])
def test_recurrent_layers_are_attacked_without_cudnn(kind: AttackKind) -> None:
    """Which has no gradients of them in evaluation mode; networks without memory keep it."""
    for core in (None, {"kind": "lstm", "width": 4}):
        config = rollout_config("CartPole-v1", net={"encoder": {"kind": "mlp", "width": 8, "depth": 1}, "core": core})
        net = network(config)
        allowed: list[bool] = []
        watched = next(m for m in net.modules() if isinstance(m, torch.nn.LSTM if core else torch.nn.Linear))
        watched.register_forward_hook(lambda *_, seen=allowed: seen.append(torch.backends.cudnn.enabled))
        observations, parts = seen(), spec_of(config).observation
        attack, units = Attack(kind, 0.2, 2), units_of(parts, observations)
        perturb(net, parts, observations, net.initial_state(64), first(), attack, units)
        assert set(allowed) == {core is None} and torch.backends.cudnn.enabled


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("core", ["rnn", "lstm", "gru"])
def test_recurrent_layers_are_attacked_on_a_gpu(core: str) -> None:
    net_config = {"encoder": {"kind": "mlp", "width": 8, "depth": 1}, "core": {"kind": core, "width": 4}}
    config = rollout_config("CartPole-v1", net=net_config)
    net = network(config).cuda()
    observations, parts = {name: x.cuda() for name, x in seen().items()}, spec_of(config).observation
    attack, units = Attack("pgd", 0.2, 2), units_of(parts, observations)
    shown = perturb(net, parts, observations, net.initial_state(64), first().cuda(), attack, units)
    assert (shown["observation"] - observations["observation"]).abs().max() > 0


def test_gradients_find_worse_points_than_chance() -> None:
    net, observations = network(), seen(256)
    parts = spec_of(CART).observation
    units = units_of(parts, observations)
    actions = mode(net.spec, net(observations, {}, first(256))[0])

    def harm(kind: AttackKind) -> float:
        shown = perturb(net, parts, observations, {}, first(256), Attack(kind, 0.3, 10), units)
        return float(surprise(net.spec, net(shown, {}, first(256))[0], actions).mean())

    clean = float(surprise(net.spec, net(observations, {}, first(256))[0], actions).mean())
    noise, fgsm, pgd = (harm(kind) for kind in KINDS)
    assert clean < fgsm and noise < fgsm - 0.05 and fgsm <= pgd + 0.02


def test_black_and_white_points_are_moved_as_well_as_grey_ones() -> None:
    """A start beyond the range of a picture must not keep a point from coming back."""
    part = Part("observation", "image", (10, 10), "uint8", low=0, high=255)
    config = rollout_config("CartPole-v1", net={"encoder": {"kind": "mlp", "width": 8, "depth": 1}})
    torch.manual_seed(0)
    net = ActorCritic(config.net, replace(spec_of(config), observation=(part,))).eval()
    torch.nn.init.normal_(net.policy.weight, std=0.5)
    given = {"observation": 255 * torch.randint(0, 2, (1, 64, 10, 10), dtype=torch.uint8)}
    units = units_of((part,), given)
    actions = mode(net.spec, net(given, {}, first(64))[0])

    def harm(kind: AttackKind) -> float:
        shown = perturb(net, (part,), given, {}, first(64), Attack(kind, 0.05, 10), units)
        return float((surprise(net.spec, net(shown, {}, first(64))[0], actions) - clean).mean().detach())

    clean = surprise(net.spec, net(given, {}, first(64))[0], actions)
    fgsm, pgd = harm("fgsm"), harm("pgd")
    assert fgsm > 0 and pgd > 0.98 * fgsm


def test_pictures_stay_pictures() -> None:
    part = Part("observation", "image", (4, 4, 3), "uint8", low=0, high=255, channels_last=True)
    flag = Part("flag", "bits", (2,), "uint8", sizes=(2,))
    assert attackable((part, flag)) == (part,)
    config = rollout_config("CartPole-v1", net={"encoder": {"kind": "mlp", "width": 8, "depth": 1}})
    spec = replace(spec_of(config), observation=(part, flag))
    torch.manual_seed(0)
    net = ActorCritic(config.net, spec).eval()
    picture = torch.randint(0, 256, (1, 8, 4, 4, 3), dtype=torch.uint8)
    picture[0, 0] = 0
    picture[0, 1] = 255
    given = {"observation": picture, "flag": torch.ones(1, 8, 2, dtype=torch.uint8)}
    units = units_of((part, flag), given)
    assert float(units["observation"]) == 255
    shown = perturb(net, (part, flag), given, {}, first(8), Attack("pgd", 0.1, 3), units)
    assert torch.equal(shown["flag"], given["flag"])
    moved = shown["observation"] - picture.float()
    assert shown["observation"].min() >= 0 and shown["observation"].max() <= 255
    assert 20 < moved.abs().max() <= 25.5 + 1e-3


@pytest.mark.parametrize(
    ("kind", "sizes"), [("categorical", (3,)), ("multi_categorical", (2, 3)), ("bernoulli", (3,)), ("gaussian", (2,))]
)
def test_surprise_is_least_at_the_likeliest_action(kind: str, sizes: tuple[int, ...]) -> None:
    spec = Policy(kind, sizes)
    torch.manual_seed(0)
    parameters = torch.randn(20, parameter_count(spec))
    likeliest = mode(spec, parameters)
    least = surprise(spec, parameters, likeliest)
    other = likeliest.roll(1, 0)
    differs = (other != likeliest).reshape(20, -1).any(1)
    assert least.shape == (20,) and (surprise(spec, parameters, other)[differs] > least[differs]).all()
    if kind == "categorical":
        p = parameters.softmax(1).gather(1, likeliest[:, None])[:, 0]
        torch.testing.assert_close(least, ((1 - p) / p).log())


def learner(adversary: dict | None, env: str = "CartPole-v1") -> RolloutLearner:
    net = {"encoder": {"kind": "mlp", "width": 32, "depth": 1}}
    config = rollout_config(
        env, net=net, learner={"adversary": adversary, "learning_rate": 0.01, "schedule": "constant"}
    )
    return RolloutLearner(spec_of(config), config, "cpu")


def rows(count: int = 256) -> dict[str, torch.Tensor]:
    """Steps whose good action is told by the pole's angle, of which small changes matter."""
    torch.manual_seed(2)
    observations = torch.randn(1, count, 4)
    right = (observations[..., 2] > 0).long()
    actions = torch.randint(0, 2, (1, count))
    return {
        "observation/observation": observations,
        "actions": actions,
        "log_probs": torch.full((1, count), float(np.log(0.5))),
        "advantages": torch.where(actions == right, 1.0, -1.0),
        "values": torch.zeros(1, count),
        "returns": torch.zeros(1, count),
        "valid": torch.ones(1, count, dtype=torch.bool),
        "first": torch.zeros(1, count, dtype=torch.bool),
    }


def test_training_against_an_adversary_makes_the_policy_steadier() -> None:
    harms = []
    for adversary in (None, {"kind": "pgd", "epsilon": 0.3, "steps": 2, "weight": 3.0, "ramp": 0}):
        trained = learner(adversary)
        trained.set_progress(1.0)
        batch = rows()
        for _ in range(60):
            measures = trained.step_on(dict(batch), 1.0)
        assert ("adversary_kl" in measures) == (adversary is not None)
        net, observations = trained.net.eval(), {"observation": batch["observation/observation"]}
        parts = spec_of(CART).observation
        attack, units = Attack("pgd", 0.3, 10), units_of(parts, observations)
        shown = perturb(net, parts, observations, {}, batch["first"], attack, units)
        with torch.no_grad():
            clean, moved = (net(o, {}, batch["first"])[0].softmax(-1) for o in (observations, shown))
        assert ((clean[0, :, 1] > 0.5) == (batch["observation/observation"][0, :, 2] > 0)).float().mean() > 0.8
        harms.append(float((clean - moved).abs().sum(-1).mean()))
    assert harms[1] < 0.7 * harms[0], harms


def test_the_adversary_grows_with_the_run() -> None:
    trained = learner({"kind": "fgsm", "epsilon": 0.4, "ramp": 0.5})
    for progress, epsilon in ((0.0, 0.0), (0.25, 0.2), (0.5, 0.4), (1.0, 0.4)):
        trained.set_progress(progress)
        assert trained.attack is not None and trained.attack.epsilon == pytest.approx(epsilon)


def test_what_cannot_be_moved_is_refused() -> None:
    with pytest.raises(ConfigError, match="neither numbers nor pictures"):
        learner({"kind": "noise", "epsilon": 0.1}, "FrozenLake-v1")
