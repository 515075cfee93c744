"""The sweep that ships, as Weights & Biases' own agent runs it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import yaml

from rl.runtime.checkpoint import latest_checkpoint, load_checkpoint
from rl.runtime.metrics import read_metrics
from tests.rl.runtime.test_metrics import history, in_a_process, records

ROOT = Path(__file__).resolve().parents[3]


def test_an_agent_of_a_sweep_starts_a_run_of_ours(tmp_path: Path) -> None:
    """Composed and started by W&B's own agent; its run and its settings are the sweep's."""
    for name in ("sweep_cartpole.yaml", "cartpole_ppo.yaml"):
        (tmp_path / "configs").mkdir(exist_ok=True)
        shutil.copy(ROOT / "configs" / name, tmp_path / "configs" / name)
    chosen = {
        "learner.learning_rate": 1e-4, "algorithm.entropy_weight": 1.2345e-5, "algorithm.epochs": 2,
        "algorithm.gae_lambda": 0.9, "algorithm.discount": 0.99, "rollout.steps": 32, "net.encoder.width": 32,
        "run.env_steps": 1000, "evaluation.episodes": 2, "rollout.vectorization": "sync",
    }  # fmt: skip
    script = f"""
import os, queue
os.chdir(folder)
from wandb.sdk.launch.sweeps.utils import load_sweep_config
from wandb.wandb_agent import Agent
sweep = load_sweep_config("configs/sweep_cartpole.yaml")
assert set(sweep["parameters"]) <= {set(chosen)!r}, sweep
agent = Agent(api=None, queue=queue.Queue(), sweep_id="sweep1")
agent._sweep_command = sweep["command"]
arguments = {{name: {{"value": value}} for name, value in {chosen!r}.items()}}
agent._command_run({{"type": "run", "run_id": "agents01", "program": sweep["program"], "args": arguments}})
sys.exit(agent._run_processes["agents01"].wait())
"""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    in_a_process(script, tmp_path, 150, WANDB_MODE="offline", WANDB_SWEEP_ID="sweep1", PATH=path)
    (run_dir,) = (tmp_path / "runs").iterdir()
    newest = latest_checkpoint(run_dir / "checkpoints")
    assert newest is not None
    assert load_checkpoint(newest).state["wandb_run_id"] == "agents01"  # where a resumed run goes on
    (folder,) = (run_dir / "wandb").glob("offline-run-*-agents01")
    found = records(folder)
    (run,) = [record.run for record in found if record.WhichOneof("record_type") == "run"]
    assert (run.run_id, run.sweep_id) == ("agents01", "sweep1")
    settings = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert {name: settings[name] for name in chosen} == chosen  # the sweep's own, by which its charts are drawn
    assert settings["learner"]["learning_rate"] == 1e-4  # and ours, which they have become
    sweep = yaml.safe_load((ROOT / "configs" / "sweep_cartpole.yaml").read_text())
    assert any(sweep["metric"]["name"] in row for row in history(found))
    assert sweep["metric"]["name"] in read_metrics(run_dir)[-1]
