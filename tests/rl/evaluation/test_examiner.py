"""Examinations of a training run: against engines too, sound or failing."""

import shlex
import sys
from pathlib import Path

import pytest
import torch

import envs
from rl import nets
from rl.config import ConfigError, GameConfig
from rl.evaluation.examiner import Examiner
from rl.records import Weights
from rl.runtime.metrics import metric
from rl.runtime.session import Session
from rl.sgf import read_sgf
from tests.rl.agents_for_tests import small_config

ENGINE = Path(__file__).with_name("engines.py")


def opponent(way: str) -> str:
    return f"gtp:{shlex.join([sys.executable, '-S', str(ENGINE), way])}"


def config_against(*opponents: str) -> GameConfig:
    evaluation = {"opponents": opponents, "games": 2, "simulations": 0}
    return small_config("go5", evaluation=evaluation, wandb={"enabled": False, "sample_games": 1})


@pytest.fixture(scope="module")
def weights() -> Weights:
    torch.manual_seed(0)
    net = nets.build(small_config("go5").net, envs.make("go5"))
    return Weights(3, {name: tensor.numpy().copy() for name, tensor in net.state_dict().items()})


def test_engines_that_fail_are_recorded_and_not_rated(weights: Weights) -> None:
    sound, dies, absent = opponent("passes"), opponent("dies"), opponent("never starts")
    found = Examiner(config_against("random", sound, dies, absent), device="cpu").examine(weights)
    assert found.metrics[f"eval/forfeits/{sound}"] == 0
    assert found.metrics[f"eval/forfeits/{dies}"] == 2 and found.metrics[f"eval/score/{dies}"] == 1.0
    assert not any(absent in name for name in found.metrics)
    assert "eval/elo" in found.metrics
    for name in found.metrics:
        metric(name)  # each is declared
    with_dead = Examiner(config_against("random", dies), device="cpu").examine(weights).metrics["eval/elo"]
    without = Examiner(config_against("random"), device="cpu").examine(weights).metrics["eval/elo"]
    assert with_dead == without, "games won because an engine died say nothing about strength"
    assert sorted(len(files) for files in found.files.values()) == [2, 2, 2]
    for files in found.files.values():
        assert all(name.endswith(".sgf") and read_sgf(text).game.env_id == "go5" for name, text in files.items())
    assert any("died with exit status 3" in text for text in found.games.values())


def test_a_run_keeps_the_games_in_its_folder(weights: Weights, tmp_path: Path) -> None:
    config = config_against("random")
    session = Session(config, tmp_path / "run", resume=False)
    session.examined(Examiner(config, device="cpu").examine(weights))
    session.metrics.close()
    kept = sorted(str(p.relative_to(tmp_path / "run" / "games")) for p in (tmp_path / "run" / "games").rglob("*.*"))
    assert kept == ["00000003-1-random/1.sgf", "00000003-1-random/2.sgf", "00000003-random-1.txt"]


def test_an_opponent_that_does_not_exist_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    for name, part in (
        ("gtp:no-such-engine", "no program"),
        ("gnugo:strong", "gnugo:LEVEL"),
        ("rundom", "gtp:COMMAND"),
    ):
        with pytest.raises(ConfigError, match=r"evaluation\.opponents") as refused:
            Session(config_against(name), tmp_path / "run", resume=False)
        assert part in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_previous_is_the_version_examined_before(weights: Weights) -> None:
    """Games between a version and itself, renumbered, are even; the ratings are linked through them."""
    examiner = Examiner(config_against("random", "previous"), device="cpu")
    first = examiner.examine(weights)
    assert "eval/score/previous" not in first.metrics
    second = examiner.examine(Weights(9, weights.tensors))
    assert second.metrics["eval/score/previous"] == 0.5  # each opening from both seats
    assert [(p.a, p.b) for p in examiner.pairings] == [("v3", "random"), ("v9", "random"), ("v9", "v3")]
    assert {"eval/elo", "eval/elo_low"} <= second.metrics.keys()
    flipped = {name: -tensor if name.startswith("policy") else tensor for name, tensor in weights.tensors.items()}
    third = examiner.examine(Weights(12, flipped))
    assert (examiner.pairings[-1].a, examiner.pairings[-1].b) == ("v12", "v9")
    assert len(third.files["00000012-2-previous"]) == 2
