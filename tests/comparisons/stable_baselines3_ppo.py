"""Stable-Baselines3's PPO. Needs: pip install stable-baselines3 'torch<2.14'; for Atari ale-py, opencv-python."""

import functools

import gymnasium
from contender import Reporter, settings
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecFrameStack


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
pictures = s.env.startswith("ALE/")
if pictures:
    import ale_py

    gymnasium.register_envs(ale_py)
    preprocess = functools.partial(gymnasium.wrappers.AtariPreprocessing, grayscale_newaxis=True)
    options = {"frameskip": 1, "repeat_action_probability": 0.0}
    worlds = make_vec_env(s.env, s.environments, seed=s.seed, env_kwargs=options, wrapper_class=preprocess)
    worlds = VecFrameStack(worlds, 4)
else:
    worlds = make_vec_env(s.env, s.environments, seed=s.seed)
model = PPO(
    "CnnPolicy" if pictures else "MlpPolicy",
    worlds,
    n_steps=s.steps,
    batch_size=s.minibatch,
    n_epochs=s.epochs,
    learning_rate=s.learning_rate,
    gamma=s.discount,
    gae_lambda=s.gae_lambda,
    policy_kwargs={} if pictures else {"net_arch": {"pi": [64, 64], "vf": [64, 64]}},
    seed=s.seed,
    device="cpu",
)
watch = Watch()
model.learn(s.env_steps, callback=watch)
watch.reporter.row(model.num_timesteps)
