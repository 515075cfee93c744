"""Files of strangers: whatever is in an agent, a checkpoint or a configuration, nothing of it is executed."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import rl
from rl.cli import app
from rl.config import ConfigError, load_config
from rl.runtime.checkpoint import CheckpointError, latest_checkpoint, load_checkpoint
from rl.storage import write_tensors
from rl.weights import KEY, AgentError
from tests.rl.runtime.runs import SMALL, SMALL_ROLLOUTS, write_config


class Evil:
    """Unpickled, it makes the file ``mark``."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """A file that is there once something was executed."""
    mark = tmp_path / "executed"
    pickle.loads(pickle.dumps(Evil(mark)))
    assert mark.exists(), "this is what would happen"
    mark.unlink()
    return mark


def refused(*words: str) -> str:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2, done.output
    assert done.stdout == "" and len(done.stderr.strip().splitlines()) == 1, done.output
    return done.stderr


def test_a_pickle_named_as_an_agent(mark: Path, tmp_path: Path) -> None:
    path = tmp_path / "agent.safetensors"
    path.write_bytes(pickle.dumps(Evil(mark)))
    with pytest.raises(AgentError, match=r"agent\.safetensors' is not a safetensors file; copy it again"):
        rl.load(path)
    for words in (["eval", str(path), "--against", "random"], ["play", str(path)], ["analyse", str(path)]):
        assert "is not a safetensors file" in refused(*words)
    assert not mark.exists()


def test_a_pickle_in_a_checkpoint_whose_manifest_vouches_for_it(mark: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "config.yaml", mode="sync", learner_steps=1)
    run = rl.train(config, tmp_path / "run", serial=True)
    newest = latest_checkpoint(run / "checkpoints")
    assert newest is not None
    evil = pickle.dumps(Evil(mark))
    manifest = json.loads((Path(newest) / "manifest.json").read_text())
    for name in ("learner.safetensors", "state.json", "weights.safetensors"):
        kept = (Path(newest) / name).read_bytes()
        entry = {"bytes": len(evil), "sha256": hashlib.sha256(evil).hexdigest()}
        (Path(newest) / name).write_bytes(evil)
        changed = manifest | {"files": manifest["files"] | {name: entry}}
        (Path(newest) / "manifest.json").write_text(json.dumps(changed))
        if name == "weights.safetensors":
            with pytest.raises(AgentError, match="is not a safetensors file"):
                rl.load(run)
        else:
            with pytest.raises(CheckpointError, match=r"step-00000001' .*remove that folder"):
                load_checkpoint(newest)
            words = ("train", str(config), "--run-dir", str(run), "--resume", "--serial", "run.learner_steps=2")
            assert "step-00000001" in refused(*words)
        (Path(newest) / name).write_bytes(kept)
    assert not mark.exists()


def test_an_agent_whose_configuration_names_a_function(mark: Path, tmp_path: Path) -> None:
    for config in (SMALL, SMALL_ROLLOUTS | {"algorithm": {"kind": "ppo"}}):
        evil = config | {"env": "subprocess:call", "env_options": {"args": ["touch", str(mark)]}}
        about = {"format": 1, "version": 1, "config": evil | {"run": {"learner_steps": 1}}, "info": {}}
        about["sha256"] = hashlib.sha256().hexdigest()  # of no tensors
        with (tmp_path / "agent.safetensors").open("wb") as file:
            write_tensors(file, {}, {KEY: json.dumps(about)})
        assert "call" in refused("eval", str(tmp_path / "agent.safetensors"), "--against", "random")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("!!python/object/apply:os.system ['touch MARK']", "not valid YAML"),
        ("env: subprocess:call\nenv_options: {args: [touch, MARK]}\nnet: {encoder: {kind: mlp}}", "declare|not called"),
        (
            "env: subprocess:call\nenv_options: {args: [touch, MARK]}\nalgorithm: {kind: ppo}\n"
            "net: {encoder: {kind: mlp}}\nrun: {learner_steps: 1}",
            "neither derived from gymnasium.Env",
        ),
        (
            "env: CartPole-v1\nrollout: {wrappers: [{name: 'subprocess:call'}]}\nalgorithm: {kind: ppo}\n"
            "net: {encoder: {kind: mlp}}\nrun: {learner_steps: 1}",
            "neither derived from gymnasium.Wrapper",
        ),
        ("env: tic_tac_toe\nevaluation: {opponents: ['gtp:touch MARK']}", "would start a program"),
    ],
)
def test_a_configuration_executes_nothing(text: str, why: str, mark: Path, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text.replace("MARK", str(mark)) + "\n")
    if "run:" not in text and "!!" not in text:
        path.write_text(path.read_text() + "run: {learner_steps: 1}\n")
    said = refused("train", str(path), "--serial", "--run-dir", str(tmp_path / "run"))
    assert any(part in said for part in why.split("|")), said
    assert not mark.exists() and not (tmp_path / "run" / "metrics.jsonl").exists()


def test_programs_may_be_named_on_the_command_line(tmp_path: Path) -> None:
    config = write_config(tmp_path / "config.yaml", learner_steps=1)
    opponents = ["random", "gtp:engine --level 3"]
    words = [f"evaluation.opponents={json.dumps(opponents)}"]
    found = load_config(config, words)
    assert list(found.evaluation.opponents) == opponents  # type: ignore[attr-defined]
    config.write_text(yaml.safe_dump(found.model_dump(mode="json")))
    with pytest.raises(ConfigError, match=r"'gtp:engine --level 3' would start a program.*on the command line"):
        load_config(config)
