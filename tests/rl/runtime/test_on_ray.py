"""The cycle on real Ray: deaths of real processes, resume, lock step with actors in other processes."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rl import runtime
from rl.config import ConfigError, GameConfig, load_config
from rl.runtime.checkpoint import latest_checkpoint, load_checkpoint
from rl.runtime.crew import MAX_DEATHS_IN_A_ROW
from rl.runtime.loop import LocalActors, cycle
from rl.runtime.on_ray import must_be_here
from rl.runtime.plan import plan
from rl.runtime.processes import ActorProcess, LearnerProcess
from rl.runtime.session import Session
from tests.rl.runtime.runs import (
    final_weights,
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
from tests.rl.runtime.test_loop import SWITCHES


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["games", *(pytest.param(k, marks=pytest.mark.slow) for k in ("ppo", "impala"))])
def test_deaths_of_actor_learner_and_everything(kind: str, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    config = write_config(tmp_path / "small.yaml", kind, learner_steps=100_000, checkpoint_minutes=0.03, actors=2)
    process = start(config, run_dir)
    wait_until(lambda: steps(run_dir) > 50, process)

    # An actor dies: it is replaced, and the learner loses no step.
    before = steps(run_dir)
    workers(process, "ActorProcess")[0].send_signal(signal.SIGKILL)
    wait_until(lambda: rows(run_dir)[-1].get("selfplay/restarts", 0) >= 1, process)
    wait_until(lambda: steps(run_dir) > before + 20, process)
    counts = [int(row["learner_steps"]) for row in rows(run_dir)]
    assert counts == sorted(counts)
    wait_until(lambda: len(workers(process, "ActorProcess")) == 2, process)

    # The learner dies: it comes back from the last checkpoint and goes on.
    before = steps(run_dir)
    workers(process, "LearnerProcess")[0].send_signal(signal.SIGKILL)
    wait_until(lambda: rows(run_dir)[-1].get("selfplay/restarts", 0) >= 2, process)
    wait_until(lambda: steps(run_dir) > before + 20, process)
    counts = [int(row["learner_steps"]) for row in rows(run_dir)]
    assert counts == sorted(counts), "the curves go back with the learner and repeat nothing"

    # Everything dies: --resume goes on from the last checkpoint.
    kill_everything(process)
    newest = latest_checkpoint(run_dir / "checkpoints")
    assert newest is not None
    saved = load_checkpoint(newest)
    resumed = start(config, run_dir, "--resume", f"run.learner_steps={saved.step + 40}")
    output = finish(resumed)
    assert "Traceback" not in output
    counts = [int(row["learner_steps"]) for row in rows(run_dir)]
    assert counts == sorted(counts)
    assert counts[-1] == saved.step + 40
    games = [int(row["games"]) for row in rows(run_dir)]
    seconds = [row["seconds"] for row in rows(run_dir)]
    assert games == sorted(games)
    assert seconds == sorted(seconds)
    assert (run_dir / "config.yaml").exists()
    last = rows(run_dir)[-1]
    if kind == "games":
        reuse = [row["experience/reuse"] for row in rows(run_dir) if "experience/reuse" in row]
        assert max(reuse) <= 4.0, "reuse is enforced across all of it"
        assert 0 <= last["eval/accuracy_network"] <= 1
    else:
        assert last["eval/episodes"] == 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_learner_that_dies_before_each_checkpoint_is_no_accident(tmp_path: Path) -> None:
    """However much it has trained in between: it would come back to the same checkpoint for ever."""
    run_dir = tmp_path / "run"
    process = start(
        write_config(tmp_path / "small.yaml", learner_steps=100_000, checkpoint_minutes=100, actors=1), run_dir
    )

    def trained_after(deaths: int) -> bool:
        found = rows(run_dir)
        return bool(found) and found[-1].get("selfplay/restarts", 0) >= deaths and found[-1]["learner_steps"] > 5

    for deaths in range(MAX_DEATHS_IN_A_ROW + 1):
        wait_until(partial(trained_after, deaths), process)
        [learner] = workers(process, "LearnerProcess")
        learner.send_signal(signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1 and "Traceback" not in output
    assert "error: the learner has died 5 times without finishing anything" in output.splitlines()[-1]
    assert f"{str(run_dir)!r} holds the last checkpoint for --resume" in output
    assert saved_step(run_dir) == 0


def test_a_checkpoint_that_the_driver_does_not_see_is_told_of(tmp_path: Path) -> None:
    """The learner's machine has a disk of its own."""
    config = load_config(write_config(tmp_path / "small.yaml", learner_steps=3))
    with Session(config, tmp_path / "run", resume=False) as session:
        with pytest.raises(ConfigError, match="on another machine: give --run-dir a URL"):
            must_be_here(session)
        cycle(session, LocalActors(config), None)
        must_be_here(session)


@pytest.mark.timeout(200)
def test_lock_step_on_ray_equals_lock_step_in_one_process(tmp_path: Path) -> None:
    """One actor in a process of its own plays the very same games, so the weights are equal to the last bit."""
    path = write_config(tmp_path / "small.yaml", mode="sync", learner_steps=30, actors=1, sync_moves=3)
    config = load_config(path, SWITCHES)
    assert "RAY_ADDRESS" not in os.environ
    apart = final_weights(runtime.train(config, tmp_path / "apart"))
    together = final_weights(runtime.train(config, tmp_path / "together", serial=True))
    assert apart.keys() == together.keys()
    assert all(np.array_equal(apart[name], together[name]) for name in apart)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", ["games", "ppo"])
def test_lock_step_on_ray_survives_deaths_bit_by_bit(kind: str, tmp_path: Path) -> None:
    """An actor dies, then everything: the weights are those of a run to which nothing happened."""
    last = 300 if kind == "games" else 4000
    config = write_config(
        tmp_path / "small.yaml", kind, mode="sync", learner_steps=last, actors=1, sync_moves=3, checkpoint_minutes=0.001
    )
    whole = runtime.train(load_config(config), tmp_path / "whole", serial=True)
    run_dir = tmp_path / "run"
    process = start(config, run_dir)
    wait_until(lambda: saved_step(run_dir) > 0, process)
    workers(process, "ActorProcess")[0].send_signal(signal.SIGKILL)
    at = saved_step(run_dir)
    wait_until(lambda: saved_step(run_dir) > at, process)
    kill_everything(process)
    assert saved_step(run_dir) < last, "the run had ended before it was killed"
    output = finish(start(config, run_dir, "--resume"))
    assert "Traceback" not in output
    ours, theirs = final_weights(run_dir), final_weights(whole)
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    counts = [int(row["learner_steps"]) for row in rows(run_dir)]
    assert counts == sorted(counts) and counts[-1] == last
    assert rows(run_dir)[-1]["env_steps"] == rows(whole)[-1]["env_steps"]


def test_weights_tell_actors_how_far_on_the_run_is(tmp_path: Path) -> None:
    by_clock = load_config(write_config(tmp_path / "clock.yaml", minutes=10))
    assert isinstance(by_clock, GameConfig)
    learner: Any = LearnerProcess(by_clock, 1, None)  # Any: Ray's types of these methods know only their remote calls
    _, weights = learner.train(0, 0.3)
    assert weights.progress == 0.3
    growing = by_clock.selfplay.model_copy(update={"first_simulations": 2})
    actor: Any = ActorProcess(by_clock.model_copy(update={"selfplay": growing}), seed=0, actors=1)
    actor.use(weights)
    (first, _), _ = actor.play(None, 5, 60.0)
    (later, _), _ = actor.play(replace(weights, progress=0.9), 5, 60.0)
    assert (first.simulations, later.simulations) == (round(2 * 4**0.6), 8)


def test_plan_follows_the_cluster(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path / "small.yaml", learner_steps=1))
    small = plan(config, {"CPU": 2})
    assert (small.actors, small.learner_threads, small.learner_cpus, small.learner_gpus) == (2, 1, 0, 0.0)
    large = plan(config, {"CPU": 16})
    assert (large.actors, large.actor_cpus, large.learner_threads, large.learner_cpus) == (12, 1, 4, 4)
    many = plan(config, {"CPU": 400}, largest=8)  # a learner is on one node, whatever the cluster has
    assert (many.actors, many.learner_threads) == (392, 8)
    shared = plan(config, {"CPU": 16, "GPU": 1})
    assert shared.learner_gpus + shared.actors * shared.actor_gpus <= 1
    assert shared.actor_gpus > 0
    several = plan(config, {"CPU": 64, "GPU": 8})
    assert several.learner_gpus == 1
    assert int(1 / several.actor_gpus) * 7 >= several.actors  # each lies on one GPU
    fixed = load_config(write_config(tmp_path / "fixed.yaml", learner_steps=1, actors=5))
    assert plan(fixed, {"CPU": 2}).actors == 5
    assert plan(fixed, {"CPU": 2}).actor_cpus == 0


def test_plan_of_several_learners(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path / "small.yaml", learner_steps=1, learners=2))
    large = plan(config, {"CPU": 16})
    assert (large.actors, large.learners, large.learner_threads, large.learner_cpus) == (12, 2, 2, 2)
    # NCCL wants a GPU for each; where there are fewer, they train on cores.
    assert plan(config, {"CPU": 16, "GPU": 1}).learner_gpus == 0
    two = plan(config, {"CPU": 16, "GPU": 2})
    assert two.learner_gpus > 0.5
    assert two.learner_gpus + 6 * two.actor_gpus <= 1  # of each GPU; there are 12 actors
    assert plan(config, {"CPU": 16, "GPU": 4}).learner_gpus == 1
    ppo = load_config(write_config(tmp_path / "ppo.yaml", "ppo", learner_steps=1, learners=2))
    assert plan(ppo, {"CPU": 2}).actors == 2  # each learner has actors of its own
    assert plan(ppo, {"CPU": 16}).actors == 4


def test_plan_of_inference_servers(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path / "small.yaml", learner_steps=1), ["inference.servers=2"])
    cpu = plan(config, {"CPU": 16})
    assert (cpu.actors, cpu.servers, cpu.server_cpus, cpu.server_gpus) == (10, 2, 1, 0.0)
    one = plan(config, {"CPU": 16, "GPU": 1})
    assert one.actor_gpus == 0 and one.server_gpus > 0
    assert one.learner_gpus + 2 * one.server_gpus <= 1
    several = plan(config, {"CPU": 64, "GPU": 3})
    assert (several.actors, several.learner_gpus, several.server_gpus) == (61, 1, 1)
    assert plan(config, {"CPU": 2}).server_cpus == 0, "everything shares so few cores"


@pytest.mark.timeout(300)
def test_actors_ask_inference_servers(tmp_path: Path) -> None:
    """Two actors play by what one server answers, and learn. SIGTERM ends it all with a checkpoint of where it was."""
    config = write_config(tmp_path / "small.yaml", learner_steps=10**7, checkpoint_minutes=100, actors=2)
    process = start(config, tmp_path / "run", "inference.servers=1")
    wait_until(lambda: steps(tmp_path / "run") > 400, process)
    process.send_signal(signal.SIGTERM)
    output = finish(process)
    assert "2 actors, 1 inference server and the learner are getting ready" in output
    found = rows(tmp_path / "run")
    assert saved_step(tmp_path / "run") >= found[-1]["learner_steps"] > 400
    trained = [row for row in found if "learner/lag_mean" in row][-1]
    assert trained["learner/lag_mean"] < 0.8 * trained["learner_steps"], "moves carry the version that the server had"
    assert final_weights(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_death_of_an_inference_server(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    config = write_config(tmp_path / "small.yaml", learner_steps=10**7, checkpoint_minutes=100, actors=2)
    process = start(config, run_dir, "inference.servers=1")
    wait_until(lambda: any("inference/batch_rows" in row for row in rows(run_dir)), process, 300)
    served = next(row for row in rows(run_dir) if "inference/batch_rows" in row)
    assert served["inference/batch_rows"] >= 1 and 0 < served["inference/busy_share"] <= 1
    before = steps(run_dir)
    workers(process, "ServerProcess")[0].send_signal(signal.SIGKILL)
    wait_until(lambda: rows(run_dir)[-1].get("selfplay/restarts", 0) >= 1, process, 300)
    wait_until(lambda: steps(run_dir) > before + 100, process, 300)
    counts = [int(row["learner_steps"]) for row in rows(run_dir)]
    assert counts == sorted(counts)
    assert len(workers(process, "ServerProcess")) == 1
    kill_everything(process)


@pytest.mark.parametrize(
    ("kind", "overrides", "told"),
    [
        ("games", ["inference.servers=1", "run.mode=sync"], "inference.servers needs run.mode async"),
        ("games", ["run.learners=3"], "learner.batch_size 32 must be divisible by run.learners 3"),
        ("games", ["run.learners=2", "run.mode=sync"], "mode sync has one learner"),
        ("ppo", ["run.learners=8"], "rollout.environments 4 must be divisible by run.learners 8"),
        ("ppo", ["run.learners=4", "run.actors=2"], "run.actors 2 must be divisible by run.learners 4"),
    ],
)
def test_learners_that_cannot_divide_the_work_are_refused(
    kind: str, overrides: list[str], told: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=told):
        load_config(write_config(tmp_path / "small.yaml", kind, learner_steps=1), overrides)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_faults_of_the_examiner(tmp_path: Path) -> None:
    """It dies in the middle of an examination, is replaced, and the next one is made; learning goes on."""
    run_dir = tmp_path / "run"
    config = write_config(tmp_path / "small.yaml", learner_steps=10**7, checkpoint_minutes=100, actors=1)
    # One that takes long, and that follows upon the other.
    long = ["evaluation.minutes=0.02", "evaluation.games=200", "evaluation.opponents=[mcts:200]"]
    process = start(config, run_dir, *long)
    wait_until(lambda: any("eval/elo" in row for row in rows(run_dir)), process, 300)
    before = len([row for row in rows(run_dir) if "eval/elo" in row])
    at = steps(run_dir)
    workers(process, "ExaminerProcess")[0].send_signal(signal.SIGKILL)
    wait_until(lambda: rows(run_dir)[-1].get("selfplay/restarts", 0) >= 1, process, 300)
    wait_until(lambda: len([row for row in rows(run_dir) if "eval/elo" in row]) > before + 1, process, 300)
    assert steps(run_dir) > at
    counts = [int(row["learner_steps"]) for row in rows(run_dir)]
    assert counts == sorted(counts)
    kill_everything(process)
