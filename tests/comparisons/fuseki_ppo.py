"""Fuseki's PPO, through its command line. Needs: fuseki."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from contender import settings

s = settings()
folder = Path(tempfile.mkdtemp())
(folder / "config.yaml").write_text(f"""
env: {s.env}
seed: {s.seed}
algorithm: {{kind: ppo, discount: {s.discount}, gae_lambda: {s.gae_lambda}, epochs: {s.epochs}, entropy_weight: 0}}
net:
  encoder: {{kind: mlp, width: 64, depth: 2, residual: false, normalisation: none, activation: tanh}}
  separate_value: true
rollout: {{environments: {s.environments}, steps: {s.steps}}}
learner: {{batch_size: {s.minibatch}, learning_rate: {s.learning_rate}, schedule: constant}}
evaluation: {{episodes: 0}}
run: {{env_steps: {s.env_steps}}}
wandb: {{enabled: false}}
""")
fuseki = str(Path(sys.executable).with_name("fuseki"))
command = [fuseki, "train", str(folder / "config.yaml"), "--run-dir", str(folder / "run"), "--serial"]
subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
for line in (folder / "run" / "metrics.jsonl").read_text().splitlines():
    row = json.loads(line)
    if "env_steps" in row:
        told = {"seconds": row["seconds"], "env_steps": row["env_steps"], "return": row.get("rollout/return")}
        print("ROW " + json.dumps(told), flush=True)
