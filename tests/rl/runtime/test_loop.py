"""The lock-step loop: deterministic, and bit-identical after being killed and resumed."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from rl import runtime
from rl.config import ConfigError, load_config
from rl.runtime.checkpoint import latest_checkpoint
from rl.runtime.metrics import CLOCK, read_metrics
from rl.runtime.session import Session
from rl.weights import load_agent, resolve
from tests.rl.runtime.runs import final_weights, finish, kill_on_the_way, start, wait_until, write_config

STEPS = 300


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("config")
    return write_config(folder / "small.yaml", mode="sync", learner_steps=STEPS, checkpoint_minutes=0.001, sync_moves=3)


@pytest.fixture(scope="module")
def uninterrupted(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runtime.train(load_config(config), tmp_path_factory.mktemp("whole") / "run", serial=True)


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_killed_and_resumed_run_ends_bit_identical(config: Path, uninterrupted: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    kill_on_the_way(config, run_dir, STEPS)
    runtime.train(load_config(config), run_dir, resume=True, serial=True)
    assert same(final_weights(run_dir), final_weights(uninterrupted))
    steps = [row["learner_steps"] for row in read_metrics(run_dir)]
    assert steps == sorted(steps)
    assert steps[-1] == STEPS
    assert [row["games"] for row in read_metrics(run_dir)][-1] == [r["games"] for r in read_metrics(uninterrupted)][-1]


def test_so_does_a_convolutional_network_with_kept_trees(config: Path, tmp_path: Path) -> None:
    """Running statistics of batch norm, weights in channels-last layout, subtrees and Dirichlet noise in flight."""
    convolutional = ["net.encoder={kind: resnet, channels: 8, blocks: 2}", "search.kind=puct", "search.reuse_tree=true"]
    kill_on_the_way(config, tmp_path / "killed", STEPS, *convolutional)
    ours = load_config(config, convolutional)
    resumed = runtime.train(ours, tmp_path / "killed", resume=True, serial=True)
    whole = runtime.train(ours, tmp_path / "whole", serial=True)
    assert same(final_weights(resumed), final_weights(whole))


SWITCHES = ["selfplay.stored_starts=0.4", "selfplay.first_simulations=2", "selfplay.simulations_grow_until=0.8"]
SWITCHES += ["experience.surprise_weight=0.5", "net.auxiliary={short_term_value: 0.5, soft_policy: 1}"]


def test_so_does_a_run_with_all_that_teaches_more_from_the_same_games(config: Path, tmp_path: Path) -> None:
    """An archive of positions, budgets that grow, drawn frequencies and targets of a head of its own."""
    kill_on_the_way(config, tmp_path / "killed", STEPS, *SWITCHES)
    ours = load_config(config, SWITCHES)
    resumed = runtime.train(ours, tmp_path / "killed", resume=True, serial=True)
    whole = runtime.train(ours, tmp_path / "whole", serial=True)
    assert same(final_weights(resumed), final_weights(whole))
    budgets = [row["selfplay/simulations"] for row in read_metrics(whole) if "selfplay/simulations" in row]
    assert budgets == sorted(budgets)
    assert (budgets[0], budgets[-1]) == (2, 8) and len(set(budgets)) > 4
    assert any("learner/short_term_value_loss" in row for row in read_metrics(whole))


def test_getting_ready_uses_none_of_the_budget(config: Path, tmp_path: Path) -> None:
    """Else budgets that grow would begin further on wherever a start takes long."""
    ours = load_config(config, ["run.mode=async", "run.learner_steps=null", "run.minutes=0.001"])
    session = Session(ours, tmp_path / "run", resume=False)
    with session:
        time.sleep(0.1)  # longer than the whole budget
        assert (session.used(), session.tick().seconds) == (0.0, 0.0)
        session.begin()
        time.sleep(0.1)
        assert session.used() == 1.0


def test_every_row_has_the_clock(uninterrupted: Path) -> None:
    rows = read_metrics(uninterrupted)
    assert rows
    assert all(name in row for row in rows for name in CLOCK)
    assert any("learner/policy_loss" in row for row in rows)
    assert "eval/accuracy_network" in rows[-1]
    assert max(row.get("experience/reuse", 0) for row in rows) <= 4.0


def test_another_seed_is_another_run(config: Path, uninterrupted: Path, tmp_path: Path) -> None:
    other = runtime.train(load_config(config, ["seed=1"]), tmp_path / "run", serial=True)
    assert not same(final_weights(other), final_weights(uninterrupted))


def test_a_used_folder_is_refused(config: Path, uninterrupted: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds a run already; add --resume"):
        runtime.train(load_config(config), uninterrupted, serial=True)
    with pytest.raises(ConfigError, match="no checkpoint to resume"):
        runtime.train(load_config(config), tmp_path / "new", resume=True, serial=True)
    with pytest.raises(ConfigError, match="'net' differs from the run"):
        runtime.train(load_config(config, ["net.encoder.width=16"]), uninterrupted, resume=True, serial=True)


GO = ["env=go5", "selfplay.games=4", "net.encoder={kind: resnet, channels: 8, blocks: 2}", "evaluation.games=0"]
GO += ["run.learner_steps=4", "experience.min_rows=50"]
MIXED = [*GO, "env_options={komi: 3, max_moves: 20, variants: [{share: 2}, {komi: 24}]}"]


def test_another_network_begins_with_a_runs_window_and_a_run_goes_on_with_other_komi(
    config: Path, tmp_path: Path
) -> None:
    first = runtime.train(load_config(config, [*GO, "env_options={max_moves: 20}"]), tmp_path / "small", serial=True)
    with pytest.raises(ConfigError, match="other shapes"):
        runtime.train(load_config(config, [*GO, "env_options={max_moves: 21}"]), first, resume=True, serial=True)
    runtime.train(load_config(config, [*MIXED, "run.learner_steps=6"]), first, resume=True, serial=True)
    rows = max(row.get("experience/rows_total", 0) for row in read_metrics(first))
    larger = [*MIXED, "net.encoder.channels=16", f"experience.start_from={first}", "run.learner_steps=1"]
    second = runtime.train(load_config(config, larger), tmp_path / "large", serial=True)
    learned = [row for row in read_metrics(second) if "experience/rows_total" in row]
    assert learned[0]["experience/rows_total"] >= rows
    assert learned[0]["learner_steps"] == 1  # at once: it need not wait for rows of its own
    for source, message in ((tmp_path / "none", "nothing at"), (first / "config.yaml", "agent"), (second, "")):
        other = [*GO, f"experience.start_from={source}"] + (["env=go6"] if source == second else [])
        with pytest.raises(ConfigError, match=f"experience.start_from: .*{message or 'another game'}"):
            runtime.train(load_config(config, other), tmp_path / "other", serial=True)
    assert not (tmp_path / "other").exists()


def test_a_run_on_another_board_begins_with_the_weights_of_a_first(config: Path, tmp_path: Path) -> None:
    first = runtime.train(load_config(config, [*GO, "env_options={max_moves: 20}"]), tmp_path / "small", serial=True)
    other = [*GO, "env=go7", "run.learner_steps=1", "learner.learning_rate=1e-9", f"learner.init_from={first}"]
    second = runtime.train(load_config(config, other), tmp_path / "large", serial=True)
    ours, theirs = final_weights(second), final_weights(first)
    name = "encoder.blocks.0.first.conv.weight"
    np.testing.assert_allclose(ours[name], theirs[name], atol=1e-6)
    assert load_agent(resolve(second)).info["origin"]["tensors"] == len(theirs)
    wrong = [*other, "net.encoder={kind: mlp, width: 8}", "net.value_width=8"]
    with pytest.raises(ConfigError, match=r"learner.init_from: .*nothing in it agrees in name and shape"):
        runtime.train(load_config(config, wrong), tmp_path / "none", serial=True)
    with pytest.raises(ConfigError, match=r"learner.init_from: no agent 'nobody'"):
        runtime.train(load_config(config, [*GO, "learner.init_from=nobody"]), tmp_path / "none", serial=True)
    assert not (tmp_path / "none").exists()


def test_ctrl_c_ends_with_a_checkpoint_that_resumes(config: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    process = start(config, run_dir, "run.learner_steps=100000", "run.checkpoint_minutes=100", "--serial")
    wait_until(lambda: (run_dir / "metrics.jsonl").exists() and read_metrics(run_dir), process)
    process.send_signal(2)
    output = finish(process)
    assert "stopping" in output
    assert "Traceback" not in output
    steps = read_metrics(run_dir)[-1]["learner_steps"]
    newest = latest_checkpoint(run_dir / "checkpoints")
    assert newest is not None
    assert newest.endswith(f"{steps:08d}")
