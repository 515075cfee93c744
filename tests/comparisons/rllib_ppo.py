"""RLlib's PPO, environments in the learner's process. Needs: pip install 'ray[rllib]' torch."""

import ray
from contender import Reporter, settings
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

s = settings()
ray.init(log_to_driver=False, include_dashboard=False)
config = (
    PPOConfig()
    .environment(s.env)
    .env_runners(num_env_runners=0, num_envs_per_env_runner=s.environments, rollout_fragment_length=s.steps)
    .training(
        train_batch_size_per_learner=s.environments * s.steps,
        minibatch_size=s.minibatch,
        num_epochs=s.epochs,
        lr=s.learning_rate,
        gamma=s.discount,
        lambda_=s.gae_lambda,
        clip_param=0.2,
        grad_clip=0.5,
        vf_loss_coeff=0.5,
        vf_clip_param=float("inf"),
        entropy_coeff=0.0,
        use_kl_loss=False,
    )
    .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[64, 64], fcnet_activation="tanh", vf_share_layers=False))
    .debugging(seed=s.seed)
)
algorithm = config.build_algo()
reporter = Reporter()
reporter.begin()
steps = 0
while steps < s.env_steps:
    result = algorithm.train()
    runners = result["env_runners"]
    steps = int(runners["num_env_steps_sampled_lifetime"])
    reporter.row(steps, runners.get("episode_return_mean"))  # of its last 100 episodes
algorithm.stop()
ray.shutdown()
