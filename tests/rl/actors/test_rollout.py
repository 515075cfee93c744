"""Rollouts: what is recorded is what happened, and what the network says of it when asked again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rl.actors.rollout import SYNC_BEGIN, RolloutWorker
from rl.config import GymConfig
from rl.distributions import log_prob
from rl.evaluation.episodes import play_episodes
from rl.nets.actor_critic import build_actor_critic
from rl.records import Unroll, Weights

MLP = {"kind": "mlp", "width": 16, "depth": 1, "residual": False, "normalisation": "none"}


def config(**settings: Any) -> GymConfig:
    base: dict[str, Any] = {
        "env": "CartPole-v1",
        "algorithm": {"kind": "ppo"},
        "net": {"encoder": MLP},
        "rollout": {"environments": 3, "steps": 40},
        "run": {"learner_steps": 10},
    }
    return GymConfig.model_validate(base | settings)


def worker(settings: GymConfig, seed: int = 5) -> RolloutWorker:
    made = RolloutWorker(settings, seed, settings.rollout.environments, "cpu")
    torch.manual_seed(7)
    net = build_actor_critic(settings.net, made.world.spec)
    made.use(Weights(4, {name: tensor.numpy().copy() for name, tensor in net.state_dict().items()}))
    return made


def unrolls(made: RolloutWorker, count: int) -> list[Unroll]:
    return [unroll for _ in range(count) for unroll in made.play().take()]


@pytest.mark.parametrize("core", [None, {"kind": "gru", "width": 8}, {"kind": "transformer", "window": 5, "width": 8}])
def test_the_learner_finds_what_the_actor_saw(core: Any) -> None:
    """Log-probabilities and values recorded step by step are those of the whole stretch, from the recorded memory."""
    settings = config(net={"encoder": MLP, "core": core})
    made = worker(settings)
    for unroll in unrolls(made, 3):
        observations = {name: torch.from_numpy(value) for name, value in unroll.observations.items()}
        state = {name: torch.from_numpy(value) for name, value in unroll.state.items()}
        parameters, values, _ = made.net(observations, state, torch.from_numpy(unroll.first))
        found = log_prob(made.net.spec, parameters[:-1], torch.from_numpy(unroll.actions))
        np.testing.assert_allclose(found.numpy(), unroll.log_probs, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(values.numpy(), unroll.values, rtol=1e-3, atol=1e-4)
        assert unroll.weights_version == 4
    made.close()


def test_stretches_join_without_a_gap() -> None:
    made = worker(config())
    first, second = unrolls(made, 2)
    for name in first.observations:
        np.testing.assert_array_equal(first.observations[name][-1], second.observations[name][0])
    np.testing.assert_array_equal(first.first[-1], second.first[0])
    assert first.first[0].all()
    made.close()


def test_episodes_begin_after_they_end_and_their_returns_are_told() -> None:
    made = worker(config(rollout={"environments": 3, "steps": 200}))
    report = made.play()
    [unroll] = report.take()
    ended = unroll.terminated | unroll.truncated
    assert ended.any()
    # CartPole resets in the step after: that step is not valid, and what follows it is an episode's first.
    np.testing.assert_array_equal(~unroll.valid[1:], ended[:-1])
    np.testing.assert_array_equal(unroll.first[1:][~unroll.valid], True)
    assert report.env_steps == unroll.valid.sum()
    assert (unroll.rewards[unroll.valid] == 1).all() and (unroll.rewards[~unroll.valid] == 0).all()
    assert len(report.episode_returns) == ended.sum()
    assert report.episode_returns == report.episode_lengths  # a reward of 1 a step
    # The discounted return so far, by hand.
    gamma, so_far = 0.99, np.zeros(3)
    for t in range(200):
        so_far = np.where(unroll.first[t], 0.0, so_far * gamma) + unroll.rewards[t]
        np.testing.assert_allclose(unroll.discounted[t], so_far, rtol=1e-4)
    made.close()


def test_in_sync_mode_new_episodes_begin_where_a_run_can_be_resumed() -> None:
    settings = config(run={"learner_steps": 10, "mode": "sync"}, rollout={"environments": 2, "steps": 4})
    went_on = worker(settings)
    unrolls(went_on, SYNC_BEGIN)
    assert went_on.resumable()
    resumed = worker(settings)
    weights = Weights(4, {name: tensor.numpy().copy() for name, tensor in went_on.net.state_dict().items()})
    resumed.restore(weights, *went_on.state())
    for mine, theirs in zip(unrolls(resumed, 3), unrolls(went_on, 3), strict=True):
        np.testing.assert_array_equal(mine.observations["observation"], theirs.observations["observation"])
        np.testing.assert_array_equal(mine.actions, theirs.actions)
    assert not resumed.resumable()
    went_on.close()
    resumed.close()


def test_weights_of_another_network_are_refused() -> None:
    made = worker(config())
    with pytest.raises(ValueError, match="do not fit this network"):
        made.use(Weights(1, {"other": np.zeros(3, np.float32)}))
    made.close()


@pytest.mark.parametrize("episodes", [1, 5, 70])
def test_evaluation_plays_as_many_episodes_as_asked(episodes: int) -> None:
    settings = config()
    made = worker(settings)
    told: list[int] = []
    found = play_episodes(made.net, settings, episodes, 0, progress=told.append)
    assert len(found.returns) == len(found.lengths) == episodes
    assert told == list(range(1, episodes + 1))
    np.testing.assert_array_equal(found.returns, found.lengths)
    again = play_episodes(made.net, settings, episodes, 0)
    np.testing.assert_array_equal(np.sort(found.returns), np.sort(again.returns))
    assert found.summary()["return_low"] <= found.returns.mean() <= found.summary()["return_high"]
    made.close()
