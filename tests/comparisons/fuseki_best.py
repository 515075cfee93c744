"""Fuseki's CartPole as it ships, ``configs/cartpole_impala.yaml``. Needs: fuseki. Takes --env-steps and --seed."""

import subprocess
import sys
import tempfile
from pathlib import Path

from contender import retell, settings

s = settings()
run = Path(tempfile.mkdtemp()) / "run"
config = Path(__file__).parents[2] / "configs" / "cartpole_impala.yaml"
command = [str(Path(sys.executable).with_name("fuseki")), "train", str(config), "--run-dir", str(run),
           f"seed={s.seed}", f"run.env_steps={s.env_steps}", "evaluation.episodes=0"]  # fmt: skip
subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
retell(run / "metrics.jsonl")
