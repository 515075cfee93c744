"""Several learners on real Ray: they train as one, fall back together, and a run goes on with another number."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from rl.runtime.checkpoint import latest_checkpoint, load_checkpoint
from tests.rl.runtime.runs import (
    finish,
    kill_everything,
    rows,
    saved_step,
    start,
    steps,
    wait_until,
    workers,
    write_config,
)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", ["games", "ppo", "impala"])
def test_two_learners_die_and_go_on_as_one_or_two(kind: str, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    config = write_config(
        tmp_path / "small.yaml", kind, learner_steps=10**7, checkpoint_minutes=0.03, actors=2, learners=2
    )
    process = start(config, run_dir)
    wait_until(lambda: steps(run_dir) > 50, process, 400)
    assert len(workers(process, "LearnerProcess")) == 2

    # The second one dies, perhaps in the middle of an update: both come back from the last checkpoint.
    before = steps(run_dir)
    workers(process, "LearnerProcess")[-1].send_signal(signal.SIGKILL)
    wait_until(lambda: (rows(run_dir) or [{}])[-1].get("selfplay/restarts", 0) >= 1, process, 400)
    wait_until(lambda: steps(run_dir) > before + 20, process, 400)
    assert len(workers(process, "LearnerProcess")) == 2
    at = saved_step(run_dir)
    wait_until(lambda: saved_step(run_dir) > at, process, 400)
    kill_everything(process)

    if kind == "games":
        newest = latest_checkpoint(run_dir / "checkpoints")
        assert newest is not None
        shards = [part for part in load_checkpoint(newest).parts if part.startswith("experience")]
        assert sorted(shards) == ["experience", "experience-1"]
    for learners in (1, 2):
        last = saved_step(run_dir) + 30
        output = finish(
            start(config, run_dir, "--resume", f"run.learner_steps={last}", f"run.learners={learners}"), 400
        )
        assert "Traceback" not in output
        assert steps(run_dir) == last
    counts = [int(row["learner_steps"]) for row in rows(run_dir)]
    assert counts == sorted(counts)
    if kind == "games":
        reuse = [row["experience/reuse"] for row in rows(run_dir) if "experience/reuse" in row]
        assert max(reuse) <= 4.0, "reuse is enforced across all of it"
        totals = [row["experience/rows_total"] for row in rows(run_dir) if "experience/rows_total" in row]
        assert totals == sorted(totals), "no shard is lost"
