"""Runs whose environment or numbers fail: one sentence, exit status 1, and a checkpoint from which they go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rl.cli import app
from rl.config import ConfigError, load_config
from rl.runtime import train
from rl.runtime.faults import RunFailed
from rl.runtime.metrics import read_metrics
from tests.rl.runtime.runs import final_weights, saved_step, start, write_config

WORLDS = Path(__file__).resolve().parents[2] / "envs" / "scripted_worlds.py"
STRETCH, LANES = 16, 4  # as in runs.SMALL_ROLLOUTS


def settings(fault: str, after: int = 10 * STRETCH, *more: str) -> list[str]:
    """``fault`` in each lane's step ``after``; the first to do it is lane 0."""
    options = f"env_options={{fault: {fault}, after: {after}}}"
    return [f"env={WORLDS}:Bad", options, "evaluation.episodes=0", "rollout.timeout_seconds=1", *more]


def small(folder: Path, kind: str = "ppo", **run: Any) -> Path:
    return write_config(folder / "small.yaml", kind, **({"env_steps": 20 * STRETCH * LANES} | run))


FAULTS = {
    "raise": "step raised ZeroDivisionError: over the top",
    "nan reward": "the reward is nan",
    "nan observation": "the observation holds inf",
    "shape": r"the observation of step has shape \[2, 3\], and the space says \[2, 2\]",
    "hang": "step did not return within 1 s",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_environment_that_fails_ends_the_run_which_can_be_resumed(fault: str, tmp_path: Path) -> None:
    config, run_dir = small(tmp_path), tmp_path / "run"
    with pytest.raises(RunFailed) as told:
        train(load_config(config, settings(fault)), run_dir, serial=True)
    message = str(told.value)
    assert "\n" not in message
    told.match(f"^the environment failed: {WORLDS}:Bad, lane 0: {FAULTS[fault]}; the run is saved in .*--resume")
    # Nine whole stretches were trained on, and the checkpoint has them.
    assert read_metrics(run_dir)[-1]["env_steps"] == 9 * STRETCH * LANES
    assert saved_step(run_dir) == read_metrics(run_dir)[-1]["learner_steps"] > 0
    mended = settings(fault, 10**9)
    train(load_config(config, mended), run_dir, resume=True, serial=True)
    rows = read_metrics(run_dir)
    assert rows[-1]["env_steps"] == 20 * STRETCH * LANES
    assert [row["env_steps"] for row in rows] == sorted(row["env_steps"] for row in rows)


def test_in_sync_mode_the_checkpoint_stays_one_that_leads_there_again(tmp_path: Path) -> None:
    config, run_dir = small(tmp_path, mode="sync", checkpoint_minutes=1e-6), tmp_path / "run"
    for resume in (False, True):
        with pytest.raises(RunFailed, match="lane 0: step raised"):
            train(load_config(config, settings("raise")), run_dir, serial=True, resume=resume)
        assert saved_step(run_dir) == 0


def test_an_environment_that_cannot_begin_is_told_too(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="lane 0: reset raised KeyError: 'no such level'; nothing was learned yet"):
        train(load_config(small(tmp_path), settings("raise in reset", 1)), tmp_path / "run", serial=True)


def test_a_process_whose_environment_hangs_ends_all_the_same(tmp_path: Path) -> None:
    process = start(small(tmp_path), tmp_path / "run", "--serial", *settings("hang"))
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert output.splitlines()[-1].startswith("error: the environment failed: ")
    assert "Traceback" not in output


def test_the_command_ends_with_status_1_and_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", str(small(tmp_path)), *settings("raise"), "--serial", "--run-dir", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as ended:
        app(arguments)
    assert ended.value.code == 1
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("error: the environment failed: ")
    assert not any("Traceback" in line for line in said)


def test_an_inference_format_that_is_not_offered_here_is_the_users_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path / "small.yaml", "games", learner_steps=5)
    with pytest.raises(SystemExit) as ended:
        app(["train", str(config), "inference.format=half", "--serial", "--run-dir", str(tmp_path / "run")])
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("error: unknown inference format 'half' (inference.format): ")


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_on_ray_the_same_is_told_by_the_actor(tmp_path: Path) -> None:
    config = write_config(tmp_path / "small.yaml", "games", learner_steps=5, actors=1)
    with pytest.raises(ConfigError, match=r"^actor 0: unknown inference format 'half'"):
        train(load_config(config, ["inference.format=half"]), tmp_path / "run")


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_on_ray_the_actor_is_named(tmp_path: Path) -> None:
    config, run_dir = small(tmp_path, env_steps=10**9, actors=1), tmp_path / "run"
    with pytest.raises(RunFailed) as told:
        train(load_config(config, settings("hang")), run_dir)
    told.match(f"^the environment failed: actor 0: {WORLDS}:Bad, lane 0: step did not return within 1 s; .*--resume")
    first = saved_step(run_dir)
    assert first == read_metrics(run_dir)[-1]["learner_steps"] > 0
    with pytest.raises(RunFailed, match=r"actor 0: .*Bad, lane 0: step raised ZeroDivisionError"):
        train(load_config(config, settings("raise", 20 * STRETCH)), run_dir, resume=True)
    assert saved_step(run_dir) > first


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("fault", ["raise in reset", "exit"])
def test_on_ray_actors_that_never_finish_anything_are_no_accident(fault: str, tmp_path: Path) -> None:
    config = small(tmp_path, env_steps=10**9, actors=1)
    with pytest.raises(RunFailed) as told:
        train(load_config(config, settings(fault, 1)), tmp_path / "run")
    told.match("actor 0: .*reset raised KeyError" if fault != "exit" else "actor 0 has died 5 times without finishing")


def finite(run_dir: Path) -> bool:
    return all(np.isfinite(tensor).all() for tensor in final_weights(run_dir).values())


@pytest.mark.parametrize("kind", ["ppo", "impala"])
def test_rewards_that_overflow_the_loss_are_reported(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, run_dir = small(tmp_path, kind, checkpoint_minutes=100), tmp_path / "run"
    with pytest.raises(RunFailed) as told:
        train(load_config(config, settings("huge reward")), run_dir, serial=True)
    told.match(r"^training diverged: .*value_loss.* not finite at learner step \d+, learning rate 0.000\d+ \(")
    told.match("lower learner.learning_rate or learner.clip_norm, or set algorithm.normalise_rewards=true")
    said = capsys.readouterr().err
    assert "before, at update " in said and "value_loss" in said
    assert saved_step(run_dir) == read_metrics(run_dir)[-1]["learner_steps"] > 0
    assert finite(run_dir)


def test_a_learning_rate_that_no_game_bears_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    absurd = ["learner.learning_rate=1e25", "learner.clip_norm=1e9", "learner.warmup_steps=0", "learner.ema=0"]
    config, run_dir = (
        write_config(tmp_path / "small.yaml", learner_steps=1000, checkpoint_minutes=100),
        tmp_path / "run",
    )
    with pytest.raises(RunFailed) as told:
        train(load_config(config, absurd), run_dir, serial=True)
    told.match(r"^training diverged: .*_loss.* not finite at learner step \d+, learning rate 1e\+25 \(.*lower learner")
    assert finite(run_dir)
    assert saved_step(run_dir) == read_metrics(run_dir)[-1]["learner_steps"]


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_on_ray_numbers_that_are_none_end_the_run_too(tmp_path: Path) -> None:
    config, run_dir = small(tmp_path, env_steps=10**9, checkpoint_minutes=100), tmp_path / "run"
    with pytest.raises(RunFailed, match=r"^training diverged: the learner: .*value_loss.* not finite at learner step"):
        train(load_config(config, settings("huge reward")), run_dir)
    assert saved_step(run_dir) == read_metrics(run_dir)[-1]["learner_steps"] > 0
    assert finite(run_dir)
