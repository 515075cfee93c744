"""Stable-Baselines3's PPO. Needs: pip install stable-baselines3."""

from contender import Reporter, settings
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env


class Watch(BaseCallback):
    def __init__(self) -> None:
        super().__init__()
        self.reporter = Reporter()

    def _on_training_start(self) -> None:
        self.reporter.begin()

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode" in info:
                self.reporter.episode(info["episode"]["r"])
        return True

    def _on_rollout_start(self) -> None:  # the last rollout has been trained on
        self.reporter.row(self.num_timesteps)


s = settings()
model = PPO(
    "MlpPolicy",
    make_vec_env(s.env, s.environments, seed=s.seed),
    n_steps=s.steps,
    batch_size=s.minibatch,
    n_epochs=s.epochs,
    learning_rate=s.learning_rate,
    gamma=s.discount,
    gae_lambda=s.gae_lambda,
    policy_kwargs={"net_arch": {"pi": [64, 64], "vf": [64, 64]}},
    seed=s.seed,
    device="cpu",
)
watch = Watch()
model.learn(s.env_steps, callback=watch)
watch.reporter.row(model.num_timesteps)
