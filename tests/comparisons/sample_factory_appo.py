"""Sample Factory's APPO. Needs: pip install sample-factory."""

import sys
import tempfile

import gymnasium
from contender import Reporter, settings
from sample_factory.algo.runners.runner import AlgoObserver
from sample_factory.cfg.arguments import parse_full_cfg, parse_sf_args
from sample_factory.envs.env_utils import register_env
from sample_factory.train import make_runner


def make_env(name, cfg=None, env_config=None, render_mode=None):
    return gymnasium.make(name, render_mode=render_mode)


class Watch(AlgoObserver):
    def __init__(self) -> None:
        self.reporter = Reporter()

    def on_start(self, runner) -> None:
        self.reporter.begin()

    def on_training_step(self, runner, training_iteration_since_resume: int) -> None:
        totals = runner.policy_avg_stats.get("reward", [[]])[0]  # of the last stats_avg (100) episodes
        mean = float(sum(totals) / len(totals)) if len(totals) >= 100 else None
        self.reporter.row(int(runner.env_steps.get(0, 0)), mean)


if __name__ == "__main__":
    s = settings()
    register_env(s.env, make_env)
    arguments = [
        f"--env={s.env}", "--experiment=comparison", f"--train_dir={tempfile.mkdtemp()}", "--device=cpu", "--algo=APPO",
        "--num_workers=1", f"--num_envs_per_worker={s.environments}", "--worker_num_splits=2", "--use_rnn=False",
        f"--rollout={s.steps}", f"--batch_size={s.minibatch}", f"--num_epochs={s.epochs}", f"--seed={s.seed}",
        f"--num_batches_per_epoch={s.environments * s.steps // s.minibatch}", f"--learning_rate={s.learning_rate}",
        f"--gamma={s.discount}", f"--gae_lambda={s.gae_lambda}", "--max_grad_norm=0.5", "--value_loss_coeff=0.5",
        "--exploration_loss_coeff=0.0", "--nonlinearity=tanh", "--actor_critic_share_weights=False",
        "--encoder_mlp_layers", "64", "64", f"--train_for_env_steps={s.env_steps}", "--save_every_sec=100000",
        "--experiment_summaries_interval=1000", "--normalize_input=False", "--reward_scale=0.1",
    ]  # fmt: skip
    parser, _ = parse_sf_args(arguments)
    cfg = parse_full_cfg(parser, arguments)
    cfg, runner = make_runner(cfg)
    watch = Watch()
    runner.register_observer(watch)
    runner.init()
    runner.run()
    sys.exit(0)
