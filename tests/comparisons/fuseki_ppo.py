"""Fuseki's PPO, through its command line. Needs: fuseki."""

import subprocess
import sys
import tempfile
from pathlib import Path

from contender import retell, settings

s = settings()
folder = Path(tempfile.mkdtemp())
pictures = s.env.startswith("ALE/")
net = """
  encoder: {kind: mlp, width: 64, depth: 2, residual: false, normalisation: none, activation: tanh}
  separate_value: true"""
if pictures:
    net = """
  encoder: {kind: conv, layers: [[32, 8, 4], [64, 4, 2], [64, 3, 1]], width: 512}"""
wrappers = """
  wrappers: [{name: AtariPreprocessing, screen_size: 84}, {name: FrameStackObservation, stack_size: 4}]"""
(folder / "config.yaml").write_text(f"""
env: {s.env}
seed: {s.seed}
algorithm: {{kind: ppo, discount: {s.discount}, gae_lambda: {s.gae_lambda}, epochs: {s.epochs}, entropy_weight: 0}}
env_options: {"{frameskip: 1, repeat_action_probability: 0.0}" if pictures else "{}"}
net:{net}
rollout:
  environments: {s.environments}
  steps: {s.steps}{wrappers if pictures else ""}
learner:
  batch_size: {s.minibatch}
  learning_rate: {s.learning_rate}
  schedule: constant
  precision: {s.precision}
evaluation: {{episodes: 0}}
run: {{env_steps: {s.env_steps}}}
wandb: {{enabled: false}}
""")
fuseki = str(Path(sys.executable).with_name("fuseki"))
command = [fuseki, "train", str(folder / "config.yaml"), "--run-dir", str(folder / "run")]
if not pictures:
    command.append("--serial")  # with so small a network one process is faster than two that talk
subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
retell(folder / "run" / "metrics.jsonl")
