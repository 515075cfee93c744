"""Runs that are evaluated by episodes: they keep the best weights so far, and end when nothing gets better."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import rl
from rl.config import ConfigError, load_config
from rl.evaluation.examination import Examination
from rl.records import Weights
from rl.runtime import train
from rl.runtime.metrics import read_metrics
from rl.runtime.session import Session
from rl.weights import load_agent, resolve

CARTPOLE = Path(__file__).resolve().parents[3] / "configs" / "cartpole_ppo.yaml"


def open_session(folder: Path, *overrides: str) -> Session:
    return Session(load_config(CARTPOLE, ["wandb.enabled=false", *overrides]), folder, resume=False)


def examined(session: Session, step: int, mean: float) -> None:
    """As if version ``step`` had been found to have this mean return."""
    session.clock.learner_steps = step
    if session.examined(Examination(step, {"eval/return_mean": mean}, {})):
        session.keep_best(Weights(step, {"w": np.full(2, step, np.float32)}))


def test_the_best_weights_are_kept_and_patience_ends_the_run(tmp_path: Path) -> None:
    with open_session(tmp_path / "run", "evaluation.patience=3") as session:
        for step, mean in enumerate([10.0, 30.0, 20.0, 30.0]):
            examined(session, step, mean)
        assert session.used() < 1.0  # two in a row, an equal one among them
        best = load_agent(resolve(tmp_path / "run" / "best"))
        assert (best.weights.version, best.info["return_mean"], best.info["learner_steps"]) == (1, 30.0, 1)
        examined(session, 4, 31.0)  # begins the count anew
        for step in (5, 6):
            examined(session, step, 5.0)
        assert session.used() < 1.0
        examined(session, 7, 30.5)
        assert session.used() == 1.0
    assert load_agent(resolve(tmp_path / "run" / "best")).weights.version == 4


def test_without_patience_a_run_goes_on_and_keeps_the_best_all_the_same(tmp_path: Path) -> None:
    with open_session(tmp_path / "run") as session:
        for step, mean in enumerate([-5.0, *[-9.0] * 50]):
            examined(session, step, mean)
        assert session.used() < 1.0
        assert load_agent(resolve(tmp_path / "run" / "best")).weights.version == 0
        examined(session, 61, -0.5)
        assert load_agent(resolve(tmp_path / "run" / "best")).weights.version == 61


def test_a_run_that_falls_back_counts_only_what_stays_in_its_curves(tmp_path: Path) -> None:
    with open_session(tmp_path / "run", "evaluation.patience=2") as session:
        examined(session, 1, 10.0)
        examined(session, 2, 9.0)
        book = session.book()
        examined(session, 3, 50.0)
        session.rewind(book)
        examined(session, 3, 10.0)  # the second in a row that is no better than the first
        assert session.used() == 1.0


def test_a_run_that_learns_nothing_ends_early_and_its_best_can_be_evaluated(tmp_path: Path) -> None:
    still = ["learner.learning_rate=1e-12", "learner.final_learning_rate=0"]
    often = ["run.env_steps=null", "run.learner_steps=100000", "evaluation={minutes: 1e-6, episodes: 2, patience: 3}"]
    config = load_config(CARTPOLE, ["wandb.enabled=false", "run.mode=sync", *still, *often])
    train(config, tmp_path, serial=True)
    rows = read_metrics(tmp_path)
    means = [row["eval/return_mean"] for row in rows if "eval/return_mean" in row]
    assert len(means) == 1 + 3 + 1  # the last one is that of every run's end
    assert rows[-1]["learner_steps"] < 1000
    assert rl.evaluate(tmp_path / "best", episodes=2)["weights_version"] == rows[0]["learner_steps"]


def test_patience_without_episodes_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"patience needs episodes to go by: set evaluation\.episodes above 0"):
        load_config(CARTPOLE, ["evaluation={episodes: 0, patience: 2}"])
