"""Whole runs of PPO and IMPALA: they learn, on Ray too, and a killed one ends where the other does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rl
from envs.gym import WorldSpec, describe
from rl import worlds
from rl.config import Config, ConfigError, load_config
from rl.evaluation.episodes import evaluate_episodes
from rl.gym_agent import GymAgent
from rl.runtime import train
from rl.runtime.loop import LocalActors, run_lockstep
from rl.runtime.metrics import read_metrics
from rl.runtime.session import Session
from rl.weights import load_agent, resolve
from tests.rl.runtime.runs import final_weights, kill_on_the_way, write_config

ROOT = Path(__file__).resolve().parents[3]
QUIET = ["wandb.enabled=false", "evaluation.episodes=0"]


def configured(name: str, *overrides: str) -> Config:
    return load_config(ROOT / "configs" / name, [*QUIET, *overrides])


def agent(run_dir: Path) -> GymAgent:
    loaded = load_agent(resolve(run_dir))
    return GymAgent("trained", loaded.weights, loaded.config, loaded.info)  # type: ignore[arg-type]


def test_ppo_learns_cartpole(tmp_path: Path) -> None:
    # Pinned, since which vectorization is the fastest is measured, and each has random streams of its own.
    train(configured("cartpole_ppo.yaml", "rollout.vectorization=vector_entry_point"), tmp_path, serial=True)
    found = evaluate_episodes(agent(tmp_path), 50)
    assert found["return_mean"] > 400, found  # a random policy: 22
    assert rl.evaluate(tmp_path, episodes=3)["episodes"] == 3
    with pytest.raises(ValueError, match="CartPole-v1, where nobody plays against it"):
        rl.evaluate(tmp_path, "random")
    row = read_metrics(tmp_path)[-1]
    assert row["env_steps"] >= 200_000
    assert row["games"] > 100


def test_impala_learns_on_ray(tmp_path: Path) -> None:
    examined = ["evaluation={episodes: 4, minutes: 0.05}"]
    train(configured("cartpole_impala.yaml", "run.env_steps=200000", "run.mode=async", *examined), tmp_path)
    returns = [row["eval/return_mean"] for row in read_metrics(tmp_path) if "eval/return_mean" in row]
    assert load_agent(resolve(tmp_path / "best")).info["return_mean"] == max(returns)
    found = evaluate_episodes(agent(tmp_path), 50)
    assert found["return_mean"] > 100, found


class Killed(BaseException):
    """Stands for SIGKILL between two iterations: nothing after it is saved."""


SWITCHES = ["net.encoder.normalisation=batch", "net.encoder.dropout=0.1", "learner.l1=1e-3", "learner.freeze=[value.*]"]


@pytest.mark.parametrize(
    ("name", "switches"), [("cartpole_ppo.yaml", []), ("cartpole_ppo.yaml", SWITCHES), ("cartpole_impala.yaml", [])]
)
def test_a_killed_run_ends_with_the_same_weights(
    name: str, switches: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = "net.core={kind: gru, width: 16}"
    config = configured(
        name, core, "run.mode=sync", "run.env_steps=null", "run.learner_steps=150", "run.checkpoint_minutes=0.000001",
        "rollout.environments=4", "rollout.steps=8", "learner.batch_size=16", "net.normalise_observations=true",
        "algorithm.normalise_rewards=true", *switches,
    )  # fmt: skip

    def run(folder: Path, resume: bool, iterations: int | None = None) -> dict[str, Any]:
        with Session(config, folder, resume) as session:
            actors = LocalActors(config)
            played, real = 0, actors.play

            def play(moves: int) -> Any:
                nonlocal played
                played += 1
                if iterations is not None and played > iterations:
                    raise Killed
                return real(moves)

            monkeypatch.setattr(actors, "play", play)
            run_lockstep(session, actors)
        return dict(load_agent(resolve(folder)).weights.tensors)

    whole = run(tmp_path / "whole", resume=False)
    interrupted = tmp_path / "interrupted"
    kill_after = 35 if name == "cartpole_impala.yaml" else 17
    with pytest.raises(Killed):
        run(interrupted, resume=False, iterations=kill_after)
    resumed = run(interrupted, resume=True)
    assert whole.keys() == resumed.keys()
    for tensor, value in whole.items():
        np.testing.assert_array_equal(value, resumed[tensor], err_msg=tensor)


@pytest.mark.parametrize(("kind", "last"), [("ppo", 2000), pytest.param("impala", 400, marks=pytest.mark.slow)])
def test_so_it_does_after_sigkill_at_any_moment(kind: str, last: int, tmp_path: Path) -> None:
    config = write_config(tmp_path / "small.yaml", kind, mode="sync", learner_steps=last, checkpoint_minutes=0.000001)
    whole = train(load_config(config), tmp_path / "whole", serial=True)
    killed = tmp_path / "killed"
    kill_on_the_way(config, killed, last)
    train(load_config(config), killed, resume=True, serial=True)
    ours, theirs = final_weights(killed), final_weights(whole)
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    clocks = [(row["learner_steps"], row["env_steps"]) for row in read_metrics(killed)]
    assert clocks == sorted(clocks)
    assert clocks[-1][1] == read_metrics(whole)[-1]["env_steps"]


def test_rows_are_few_and_lack_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def counted(*of: Any) -> WorldSpec:
        made.append(of)
        return describe(*of)

    monkeypatch.setattr(worlds, "describe", counted)
    worlds._spec.cache_clear()
    config = load_config(write_config(tmp_path / "small.yaml", "ppo", learner_steps=400))
    stretches = 400 // 8  # of four epochs and two minibatches
    rows = read_metrics(train(config, tmp_path / "run", serial=True))
    learned = [row for row in rows if "learner/policy_loss" in row]
    assert 0 < len(learned) < stretches / 2
    assert learned[-1]["learner_steps"] == 400
    assert learned[-1]["env_steps"] == pytest.approx(stretches * 16 * 4, rel=0.1)  # some steps only reset
    # Every episode is in some row's mean: together they make up all that were finished.
    counts = np.diff([0, *(row["games"] for row in learned)])
    lengths = sum(c * row["rollout/length"] for c, row in zip(counts, learned, strict=True) if c)
    assert 0.9 * learned[-1]["env_steps"] < lengths <= learned[-1]["env_steps"]
    assert len(made) == 1  # the environment is asked once what it shows


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["env=CartPol-v1"], "CartPol-v1"),
        (["net.encoder={kind: conv}"], "is no picture"),
        (["run.actors=3"], "must be divisible by run.actors 3"),
        (["rollout.step=3"], "unknown key 'rollout.step'; did you mean 'steps'"),
        (["algorithm.kind=sarsa"], "algorithm"),
        (["search.simulations=3"], "unknown key 'search'"),
    ],
)
def test_wrong_settings_are_told_in_a_sentence(overrides: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as told:
        train(configured("cartpole_ppo.yaml", *overrides), tmp_path / "run", serial=True)
    assert message in str(told.value)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "run").exists()
