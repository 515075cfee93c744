"""Budgets counted in evaluations, and the agents that a run keeps on its way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rl.config import Config, ConfigError, parse_config
from rl.insight.versions import is_run, versions_of
from rl.records import Weights
from rl.runtime import train
from rl.runtime.metrics import read_metrics
from rl.runtime.session import Session
from rl.storage import place
from rl.weights import SNAPSHOTS, WEIGHTS_FILE, AgentError, load_agent
from tests.rl.runtime.runs import KINDS

PPO_GAMES = {name: value for name, value in KINDS["games"].items() if name != "experience"} | {
    "search": {"simulations": 0},
    "selfplay": {"games": 16},
    "ppo": {"rows": 200, "epochs": 2},
    "learner": {"batch_size": 100, "symmetries": False, "ema": 0.0},
    "evaluation": {"positions": 50, "simulations": 0, "games": 0},
}


def config_of(kind: str, **run: object) -> Config:
    data = PPO_GAMES if kind == "games without search" else KINDS[kind]
    return parse_config(data | {"run": {"evaluations": 3000, "snapshots": 3, "sync_moves": 4} | run}, kind)


@pytest.mark.parametrize("kind", ["games", "games without search", "ppo"])
def test_a_run_keeps_agents_evenly_over_its_budget(kind: str, tmp_path: Path) -> None:
    config = config_of(kind)
    train(config, tmp_path, serial=True)
    last = read_metrics(tmp_path)[-1]
    assert last["evaluations"] >= 3000 and config.run.used(last) == 1.0
    kept = [load_agent(path) for path in sorted((tmp_path / SNAPSHOTS).iterdir())]
    assert 1 < len(kept) <= 3
    spent = [agent.info["evaluations"] for agent in kept]
    assert spent == sorted(spent) and spent[-1] >= 3000
    for agent, share in zip(kept, (1 / 3, 2 / 3)) if len(kept) == 3 else ():
        assert agent.info["evaluations"] >= 3000 * share
    assert all(agent.weights.version == agent.info["learner_steps"] for agent in kept)
    versions = versions_of(str(tmp_path))
    steps = [load_agent(str(path)).weights.version for path in versions]
    assert steps == sorted({0, *(agent.weights.version for agent in kept)}), "the first checkpoint is of new weights"
    assert versions[0].name == versions[-1].name == WEIGHTS_FILE and versions[1].parent.name == SNAPSHOTS


def test_what_is_no_run_has_no_versions(tmp_path: Path) -> None:
    assert not is_run(str(tmp_path)) and not is_run("connect_four")
    with pytest.raises(AgentError, match="no run folder"):
        versions_of(str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(AgentError, match="no complete checkpoint"):
        versions_of(str(tmp_path))


def test_snapshots_of_updates_that_are_done_again_go(tmp_path: Path) -> None:
    config = config_of("games without search")
    train(config, tmp_path, serial=True)
    folder = tmp_path / SNAPSHOTS
    newest = sorted(folder.iterdir())[-1]
    beyond = folder / "99999999.safetensors"
    beyond.write_bytes(newest.read_bytes())
    longer = config_of("games without search", evaluations=3001)
    Session(longer, tmp_path, resume=True).metrics.close()
    assert newest.exists() and not beyond.exists()


@pytest.mark.parametrize("where", ["folder", "memory://run-with-snapshots"])
def test_what_a_learner_that_fell_back_had_kept_is_kept_anew(where: str, tmp_path: Path) -> None:
    config = config_of("games without search", evaluations=None, learner_steps=60, snapshots=3)
    address = where if "://" in where else str(tmp_path / where)
    with Session(config, address, resume=False) as session:
        session.begin()
        session.clock.learner_steps = 20
        assert session.snapshot_due()
        session.keep_snapshot(Weights(20, {"w": np.zeros(3)}))
        earlier = session.book()
        session.clock.learner_steps = 45
        assert session.snapshot_due()
        session.keep_snapshot(Weights(45, {"w": np.zeros(3)}))
        session.folder.send()
        session.rewind(earlier)
        assert [path.stem for path in (place(address) / SNAPSHOTS).iterdir()] == ["00000020"]
        assert not session.snapshot_due()
        session.clock.learner_steps = 41
        assert session.snapshot_due()


def test_a_run_needs_an_end() -> None:
    with pytest.raises(ConfigError, match=r"run.evaluations, else the run would never end"):
        config_of("games", evaluations=None)
