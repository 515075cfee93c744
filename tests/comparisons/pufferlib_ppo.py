"""PufferLib's PPO (PuffeRL), all in one process as the others are.

Needs PufferLib 3.0.0 from its source archive, unpacked, without its own games, whose build downloads libraries:
    pip install 'torch<2.14' 'numpy<2' cython 'setuptools<80' wheel
    sed -i 's/^if not NO_OCEAN:$/c_extensions, c_extension_paths = [], []\\nif not NO_OCEAN:/' setup.py
    NO_OCEAN=1 pip install --no-build-isolation .     (with no nvcc on PATH)
"""

import functools
import os
import sys
import tempfile

import gymnasium
import pufferlib.emulation
import pufferlib.vector
import torch
from contender import Reporter, settings
from pufferlib import pufferl
from pufferlib.pytorch import layer_init
from torch import nn

if os.path.islink("resources"):  # PufferLib's import left it where this was started
    os.remove("resources")


class Episodes(gymnasium.Wrapper):
    """Tells the reporter of returns; PufferLib's own wrapper writes them into ``info`` at every step."""

    def reset(self, **options):
        self.total = 0.0
        return self.env.reset(**options)

    def step(self, action):
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.total += float(reward)
        if terminated or truncated:
            reporter.episode(self.total)
        return observation, reward, terminated, truncated, info


def make(buf=None, seed=0):
    return pufferlib.emulation.GymnasiumPufferEnv(env=Episodes(gymnasium.make(s.env)), buf=buf, seed=seed)


def perceptron(inputs: int, outputs: int, scale: float) -> nn.Sequential:
    hidden = [layer_init(nn.Linear(inputs, 64)), nn.Tanh(), layer_init(nn.Linear(64, 64)), nn.Tanh()]
    return nn.Sequential(*hidden, layer_init(nn.Linear(64, outputs), std=scale))


class Policy(nn.Module):
    def __init__(self, env):
        super().__init__()
        inputs = env.single_observation_space.shape[0]
        self.actor = perceptron(inputs, env.single_action_space.n, 0.01)
        self.critic = perceptron(inputs, 1, 1.0)

    def forward_eval(self, observations, state=None):
        return self.actor(observations.float()), self.critic(observations.float())

    forward = forward_eval


s = settings()
del sys.argv[1:]  # PufferLib would parse them too
reporter = Reporter()
sys.stdout, rows = sys.stderr, sys.stdout  # its dashboard is not what the comparison reads
torch.set_num_threads(1)  # with more it is slower here
torch.manual_seed(s.seed)
worlds = pufferlib.vector.make(
    functools.partial(make), num_envs=s.environments, backend=pufferlib.vector.Serial, seed=s.seed
)
config = pufferl.load_config("default")["train"] | {
    "env": s.env,
    "device": "cpu",
    "use_rnn": False,
    "seed": s.seed,
    "total_timesteps": s.env_steps,
    "optimizer": "adam",
    "adam_beta1": 0.9,
    "adam_eps": 1e-5,
    "anneal_lr": False,
    "learning_rate": s.learning_rate,
    "gamma": s.discount,
    "gae_lambda": s.gae_lambda,
    "batch_size": "auto",
    "bptt_horizon": s.steps,
    "minibatch_size": s.minibatch,
    "update_epochs": s.epochs,
    "vf_coef": 0.5,
    "max_grad_norm": 0.5,
    "ent_coef": 0.0,
    "prio_alpha": 0.0,  # minibatches drawn uniformly
    "data_dir": tempfile.mkdtemp(),
    "checkpoint_interval": 10**9,
}
trainer = pufferl.PuffeRL(config, worlds, Policy(worlds.driver_env))
reporter.begin()
while trainer.global_step < s.env_steps:
    trainer.evaluate()
    trainer.train()
    sys.stdout = rows
    reporter.row(trainer.global_step)
    sys.stdout = sys.stderr
trainer.utilization.stop()
