"""Every benchmark runs on what it measures and says so in one sentence elsewhere. How fast is no matter of tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from rl import bench
from rl.config import Config, load_config

ROOT = Path(__file__).resolve().parents[2]


def cartpole(*overrides: str) -> Config:
    small = ["rollout.environments=4", "rollout.steps=8", "learner.batch_size=16"]
    return load_config(ROOT / "configs" / "cartpole_ppo.yaml", [*small, *overrides])


def tic_tac_toe() -> Config:
    return load_config(ROOT / "configs" / "tic_tac_toe.yaml", [])


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("rollout", cartpole()),
        ("rollout", cartpole("net.core={kind: gru, width: 8}", "rollout.vectorization=sync")),
        ("learner", cartpole()),
        ("learner", cartpole("run={minutes: 1}", "net.core={kind: gru, width: 8}")),
        ("learner", load_config(ROOT / "configs" / "cartpole_impala.yaml", ["rollout.environments=4"])),
        ("search", tic_tac_toe()),
        ("learner", tic_tac_toe()),
    ],
)
def test_a_benchmark_measures_both_sides(kind: str, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SECONDS", 0.05)
    monkeypatch.setattr(bench, "ROUNDS", 3)
    found = bench.run(kind, config)
    assert found["bench"] == kind and found["env"] == config.env
    assert found["value"] > 0 and found["ceiling"] > 0
    assert 0 < found["share_low"] <= found["share"] <= found["share_high"]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("kind", "overrides"),
    [("learner", ["run.learners=2"]), ("selfplay", ["run.actors=2", "selfplay.games=16"]), ("broadcast", [])],
)
def test_benchmarks_of_several_processes(kind: str, overrides: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SECONDS", 0.2)
    monkeypatch.setattr(bench, "ROUNDS", 3)
    found = bench.run(kind, load_config(ROOT / "configs" / "tic_tac_toe.yaml", overrides))
    assert found["value"] > 0 and found["ceiling"] > 0 and found["share"] > 0
    if kind == "broadcast":
        sizes = {row["wider"]: row["bytes"] for row in found["table"]}
        assert sizes[1] < sizes[2] < sizes[4]
        assert all(row["seconds"] >= row["load_seconds"] / 10 > 0 for row in found["table"])


def test_a_benchmark_of_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="bench selfplay does not measure CartPole-v1: choose one of rollout, learner"):
        bench.run("selfplay", cartpole())
    with pytest.raises(ValueError, match="bench rollout does not measure tic_tac_toe: choose one of selfplay, "):
        bench.run("rollout", tic_tac_toe())
    with pytest.raises(ValueError, match="bench learner measures several learners of a board game only"):
        bench.run("learner", cartpole("run.learners=2"))
