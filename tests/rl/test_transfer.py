"""What an agent hands on to another network, and what of that is not trained further."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import envs
from rl.config import ConfigError, GymConfig, parse_config
from rl.learner import GameLearner, RolloutLearner
from rl.nets.actor_critic import Normaliser
from rl.records import Weights
from rl.runtime.kinds import check, make_trainer
from rl.runtime.session import Session
from rl.weights import load_agent, save_agent
from rl.worlds import spec_of
from tests.rl.small import MLP, RESNET, random_batch, small_config

GAME = envs.make("connect_four")
EXACT = {"precision": "float32", "learning_rate": 0.05, "warmup_steps": 0}
PLAIN = {"kind": "mlp", "width": 16, "depth": 2, "residual": False, "normalisation": "batch"}


def games(encoder: dict[str, Any] = RESNET, seed: int = 0, **learner: Any) -> GameLearner:
    return GameLearner(GAME, small_config("connect_four", encoder, seed=seed, learner=EXACT | learner), "cpu")


def world(env: str = "CartPole-v1", encoder: dict[str, Any] = PLAIN, seed: int = 0, **learner: Any) -> GymConfig:
    config = parse_config(
        {
            "env": env,
            "seed": seed,
            "algorithm": {"kind": "ppo", "normalise_rewards": True},
            "net": {"encoder": encoder, "normalise_observations": True},
            "rollout": {"environments": 2, "steps": 8},
            "learner": learner,
            "wandb": {"enabled": False},
            "run": {"learner_steps": 10, "mode": "sync"},
        },
        "the test",
    )
    assert isinstance(config, GymConfig)
    return config


def agent(path: Path, config: GymConfig) -> dict[str, np.ndarray]:
    """An agent file of random weights and statistics; returns its tensors."""
    net = RolloutLearner(spec_of(config), config, "cpu").net
    generator = torch.Generator().manual_seed(1)
    tensors = {
        name: (torch.randn(t.shape, generator=generator).abs() + 7).to(t.dtype).numpy()
        for name, t in net.state_dict().items()
    }
    save_agent(path, Weights(5, tensors), config, {})
    return tensors


# --- taking over -----------------------------------------------------------------------------------------------------


def test_what_agrees_in_name_and_shape_is_taken_over_and_the_rest_told() -> None:
    theirs, ours = games(seed=1).weights(), games(RESNET | {"blocks": 3}, seed=2)
    fresh = {name: tensor.clone() for name, tensor in ours.net.state_dict().items()}
    tensors = theirs.tensors | {"policy.out.weight": np.zeros((3, 3), np.float32), "unknown": np.zeros(2)}
    taken = ours.begin_with(replace(theirs, tensors=tensors))
    state = ours.net.state_dict()
    agreeing = {n for n in state if n in theirs.tensors and not n.startswith("policy.out.")}
    for name, tensor in state.items():
        np.testing.assert_array_equal(tensor.numpy(), theirs.tensors[name] if name in agreeing else fresh[name])
        assert torch.equal(ours.average[name], tensor), "the average begins there too"
    assert taken.tensors == len(agreeing) == len(state) - len({n for n in state if "blocks.2." in n}) - 2
    trained = dict(ours.net.named_parameters())
    assert taken.parameters == sum(trained[n].numel() for n in agreeing & trained.keys())
    assert set(taken.left) == {"encoder.blocks.2.*", "policy.out.*"}
    assert "encoder.blocks.2.*" in str(taken)


def test_nothing_in_common_and_broken_weights_change_nothing() -> None:
    ours = games()
    before = copy.deepcopy(ours.net.state_dict())
    with pytest.raises(ValueError, match=r"nothing in it agrees .* 'encoder.stem.conv.weight'"):
        ours.begin_with(Weights(1, {"encoder.stem.conv.weight": np.zeros((1, 1), np.float32)}))
    tensors = games(seed=1).weights().tensors
    tensors["policy.out.weight"][...] = np.nan
    with pytest.raises(ValueError, match=r"tensor 'policy.out.weight' has values not finite"):
        ours.begin_with(Weights(1, tensors))
    assert all(torch.equal(tensor, before[name]) for name, tensor in ours.net.state_dict().items())


def test_an_agent_goes_on_in_another_environment(tmp_path: Path) -> None:
    """CartPole (4 numbers seen, 2 actions) → Acrobot (6, 3): the hidden layers, and no count without its mean."""
    theirs = agent(tmp_path / "a.safetensors", world())
    config = world("Acrobot-v1", seed=3, init_from=str(tmp_path / "a.safetensors"))
    taken = check(config, new=True)
    assert taken is not None
    assert set(taken.left) == {
        "policy.*", "returns.*", "actor.encoders.0.normaliser.*", "actor.encoders.0.encoder.stem.*",
    }  # fmt: skip
    net = make_trainer(config, new=True).learner.net  # type: ignore[attr-defined]
    state = net.state_dict()
    for name in ("actor.encoders.0.encoder.blocks.0.linear.weight", "value.weight"):
        np.testing.assert_array_equal(state[name].numpy(), theirs[name])
    assert float(state["actor.encoders.0.normaliser.count"]) == float(state["returns.count"]) == 0
    same = check(world(init_from=str(tmp_path / "a.safetensors")), new=True)
    assert same is not None
    assert same.left == ()
    assert same.tensors == len(theirs)


def test_a_board_games_encoder_serves_an_actor_critic(tmp_path: Path) -> None:
    encoder = {"kind": "mlp", "width": 16, "depth": 2}
    tensors = {name: np.full(t.shape, 3.0, np.float32) for name, t in games(encoder).weights().tensors.items()}
    save_agent(tmp_path / "game.safetensors", Weights(1, tensors), small_config("connect_four", encoder), {})
    gym = world(encoder=encoder, init_from=str(tmp_path / "game.safetensors"))
    state = make_trainer(gym, new=True).learner.net.state_dict()  # type: ignore[attr-defined]
    assert (state["actor.encoders.0.encoder.blocks.1.linear.bias"] == 3.0).all()
    assert not (state["value.bias"] == 3.0).any(), "values mean something else there"


SENSORS = """
import gymnasium, numpy

class Sensors(gymnasium.Env):
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, parts):
        self.observation_space = gymnasium.spaces.Dict({p: gymnasium.spaces.Box(-1, 1, (3,)) for p in parts})

class Others(Sensors):
    pass
"""


@pytest.mark.parametrize(
    ("there", "number", "left"),
    [
        (("camera", "speed"), 1, {"actor.encoders.1.*"}),  # here camera, lidar, speed: the lidar's begins anew
        (("eye", "touch"), 2, {"actor.encoders.2.*"}),  # no name in common: by number
    ],
)
def test_encoders_are_found_by_the_names_of_their_parts(
    there: tuple[str, ...], number: int, left: set[str], tmp_path: Path
) -> None:
    file = tmp_path / "sensors.py"
    file.write_text(SENSORS)

    def config(name: str, parts: tuple[str, ...], **learner: Any) -> GymConfig:
        return world(f"{file}:{name}", **learner).model_copy(update={"env_options": {"parts": parts}})

    theirs = agent(tmp_path / "a.safetensors", config("Sensors", there))
    ours = config("Others", ("camera", "lidar", "speed"), init_from=str(tmp_path / "a.safetensors"))
    taken = check(ours, new=True)
    assert taken is not None
    assert set(taken.left) - {"returns.*", "policy.*", "value.*"} == left
    state = make_trainer(ours, new=True).learner.net.state_dict()  # type: ignore[attr-defined]
    name = "encoder.stem.weight"
    here = 2 if number == 1 else 1
    np.testing.assert_array_equal(state[f"actor.encoders.{here}.{name}"].numpy(), theirs[f"actor.encoders.1.{name}"])


def test_what_was_taken_over_is_told_and_stands_in_every_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent(tmp_path / "a.safetensors", world())
    config = world("Acrobot-v1", init_from=str(tmp_path / "a.safetensors"))
    with Session(config, tmp_path / "run", resume=False) as session:
        origin = session.book()["origin"]
    assert "tensors with" in capsys.readouterr().err
    assert origin["tensors"] > 3
    assert "policy.*" in origin["left"]


# --- freezing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_what_is_frozen_stays_and_the_rest_moves(optimizer: str) -> None:
    ours = games(optimizer=optimizer, freeze=["encoder.*"], weight_decay=0.5, ema=0.5, l1=0.1)
    before = copy.deepcopy(ours.net.state_dict())
    assert not ours.net.encoder.training
    assert ours.net.policy.training
    for seed in range(3):
        ours.update(random_batch(GAME, 16, seed), 0.0)
    for name, tensor in ours.net.state_dict().items():
        frozen = name.startswith("encoder.")  # running statistics too
        assert torch.equal(tensor, before[name]) == frozen, name
        assert torch.equal(ours.average[name], before[name]) == frozen, name


def test_freezing_part_of_a_module_leaves_its_statistics_alone() -> None:
    ours = games(freeze=["encoder.stem.norm.weight"])
    before = copy.deepcopy(ours.net.state_dict())
    ours.update(random_batch(GAME, 16), 0.0)
    after = ours.net.state_dict()
    assert torch.equal(after["encoder.stem.norm.weight"], before["encoder.stem.norm.weight"])
    assert not torch.equal(after["encoder.stem.norm.running_mean"], before["encoder.stem.norm.running_mean"])


def test_frozen_statistics_of_observations_stay() -> None:
    config = world(freeze=["actor.encoders.0.*"])
    net = RolloutLearner(spec_of(config), config, "cpu").net
    net.observe({"observation": torch.randn(20, 4)})
    normaliser = net.actor.encoders[0].normaliser
    assert isinstance(normaliser, Normaliser)
    assert float(normaliser.count) == 0


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["encoder.*", "trunk.*"], r"learner.freeze: no parameter matches 'trunk.\*'; names begin with encoder.stem"),
        (["*"], "leaves nothing to train"),
    ],
)
def test_patterns_that_make_no_sense_are_refused_before_anything_is_written(patterns: list[str], message: str) -> None:
    config = small_config("connect_four", RESNET, learner={"freeze": patterns})
    with pytest.raises(ConfigError, match=message):
        check(config, new=False)
    gym = [pattern.replace("encoder.*", "actor.*") for pattern in patterns]
    with pytest.raises(ConfigError, match=message.replace("encoder.stem", "actor.encoders.0.encoder.stem")):
        check(world(freeze=gym), new=True)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop"])
@pytest.mark.parametrize("resumed", [["encoder.*"], ["encoder.stem.*"], []], ids=["same", "fewer", "none"])
def test_a_checkpoint_finds_its_parameters_again_whatever_is_frozen(optimizer: str, resumed: list[str]) -> None:
    """The same: bit by bit. Others: the optimiser's memory of a parameter stays with it."""
    ours = games(optimizer=optimizer, freeze=["encoder.*"])
    for seed in range(3):
        ours.update(random_batch(GAME, 16, seed), 0.0)
    saved = ours.state_dict()
    again = games(optimizer=optimizer, freeze=resumed, seed=4)
    again.load_state_dict(*saved)
    theirs = dict(again.net.named_parameters())
    for name, parameter in ours.net.named_parameters():
        mine, restored = ours.optimizer.state.get(parameter, {}), again.optimizer.state.get(theirs[name], {})
        assert mine.keys() == restored.keys(), name
        assert bool(mine) != name.startswith("encoder."), name
        assert all(torch.equal(torch.as_tensor(mine[k]), torch.as_tensor(restored[k])) for k in mine)
    measured = [part.update(random_batch(GAME, 16, 9), 0.0) for part in (ours, again)]
    if resumed == ["encoder.*"]:
        assert measured[0] == measured[1]
        for name, tensor in ours.net.state_dict().items():
            assert torch.equal(tensor, again.net.state_dict()[name]), name


# --- the former name -------------------------------------------------------------------------------------------------


def test_the_former_name_of_a_key_is_understood(tmp_path: Path) -> None:
    data = yaml.safe_load(small_config(encoder=MLP).to_yaml())
    del data["learner"]["init_from"]
    for value in (None, "some/run"):
        data["learner"]["start_from"] = value
        assert parse_config(data, "old").learner.init_from == value
        assert data["learner"]["start_from"] == value, "the caller's mapping is left alone"
    data["learner"]["init_from"] = "other"
    with pytest.raises(ConfigError, match=r"learner.start_from is the former name of learner.init_from: give only"):
        parse_config(data, "old")
    data["learner"]["start_from"] = None
    assert parse_config(data, "old").learner.init_from == "other"
    with pytest.raises(ConfigError, match=r"unknown key 'learner.begin_from'"):
        parse_config(data | {"learner": {"begin_from": "x"}}, "old")


def test_an_agent_written_with_the_former_name_still_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = world()
    dump = GymConfig.model_dump

    def former(self: GymConfig, **options: Any) -> dict[str, Any]:
        data = dump(self, **options)
        data["learner"]["start_from"] = data["learner"].pop("init_from")
        return data

    monkeypatch.setattr(GymConfig, "model_dump", former)
    agent(tmp_path / "old.safetensors", config)
    assert b'"start_from' in (tmp_path / "old.safetensors").read_bytes().replace(b'\\"', b'"')
    monkeypatch.undo()
    assert load_agent(tmp_path / "old.safetensors").config == config
