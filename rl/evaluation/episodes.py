"""How good is an agent in a Gymnasium environment? Returns of whole episodes, on seeds that training never uses."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rl.acting import mode_numpy, sample_numpy
from rl.config import GymConfig
from rl.evaluation.examination import Examination
from rl.gym_agent import GymAgent
from rl.nets.actor_critic import ActorCritic, acting_network
from rl.nets.loading import copy_weights
from rl.records import Weights
from rl.worlds import make_world, spec_of

LANES = 32  # environments at once
SEED_KEY = 2  # spawn key of evaluation's seeds; actors have 1, the learner 0


@dataclass(frozen=True)
class Episodes:
    """Whole episodes, in no particular order."""

    returns: np.ndarray  # [N] float64, sums of the environment's own rewards
    lengths: np.ndarray  # [N] int64, steps

    def summary(self) -> dict[str, float]:
        """Mean return with its 95 % interval (normal approximation), deviation, extremes and mean length."""
        n, mean = len(self.returns), float(self.returns.mean())
        deviation = float(self.returns.std(ddof=1)) if n > 1 else 0.0
        half = 1.96 * deviation / math.sqrt(n)
        return {
            "episodes": n,
            "return_mean": mean,
            "return_low": mean - half,
            "return_high": mean + half,
            "return_std": deviation,
            "return_min": float(self.returns.min()),
            "return_max": float(self.returns.max()),
            "length_mean": float(self.lengths.mean()),
        }


def play_episodes(
    net: ActorCritic,
    config: GymConfig,
    episodes: int,
    seed: int,
    *,
    deterministic: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Episodes:
    """``episodes`` episodes of ``net``, as many in each environment, so that short ones count no more than long ones.

    Raises envs.gym.WorldError when an environment fails.
    """
    lanes = min(LANES, episodes)
    wanted = np.full(lanes, episodes // lanes) + (np.arange(lanes) < episodes % lanes)
    own = int(np.random.SeedSequence(seed, spawn_key=(SEED_KEY,)).generate_state(1)[0])
    world = make_world(config, lanes, own, measure=False)
    rng = np.random.default_rng(own)
    returns: list[float] = []
    lengths: list[int] = []
    try:
        observations, state, first = world.reset(own), net.initial_state(lanes), np.ones(lanes, bool)
        while wanted.any():
            parameters, _, state = net.act(observations, state, first)
            actions = mode_numpy(net.spec, parameters) if deterministic else sample_numpy(net.spec, parameters, rng)[0]
            step = world.step(actions)
            ended = np.flatnonzero((step.terminated | step.truncated) & step.valid)
            for lane, total, length in zip(ended, step.episode_returns, step.episode_lengths, strict=True):
                if wanted[lane]:
                    wanted[lane] -= 1
                    returns.append(float(total))
                    lengths.append(int(length))
                    if progress is not None:
                        progress(len(returns))
            observations, first = step.observations, step.first
    finally:
        world.close()
    return Episodes(np.array(returns), np.array(lengths))


def evaluate_episodes(
    agent: GymAgent,
    episodes: int = 100,
    *,
    deterministic: bool = True,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Measure ``agent`` over whole episodes: plain JSON values, those of ``Episodes.summary`` and each return.

    Raises rl.weights.AgentError when it cannot act here, envs.gym.WorldError when an environment fails.
    """
    start = time.perf_counter()
    found = play_episodes(agent.network(), agent.config, episodes, seed, deterministic=deterministic, progress=progress)
    about: dict[str, Any] = {
        "agent": agent.name,
        "env": agent.config.env,
        "weights_version": agent.weights.version,
        "seed": seed,
    }
    about |= {"deterministic": deterministic} | found.summary()
    return about | {
        "returns": found.returns.tolist(),
        "lengths": found.lengths.tolist(),
        "seconds": round(time.perf_counter() - start, 2),
    }


class EpisodeExaminer:
    """Examines one version of the weights after another, always on the same seeds."""

    def __init__(self, config: GymConfig, device: str = "auto"):
        self.config, self.device = config, device
        self.net: ActorCritic | None = None

    def examine(self, weights: Weights) -> Examination:
        """Play ``evaluation.episodes`` episodes with these weights."""
        started = time.perf_counter()
        settings = self.config.evaluation
        metrics: dict[str, float] = {}
        if settings.episodes:
            if self.net is None:
                self.net = acting_network(self.config.net, spec_of(self.config), self.device)
            copy_weights(weights, self.net.state_dict())
            found = play_episodes(
                self.net, self.config, settings.episodes, self.config.seed, deterministic=settings.deterministic
            )
            metrics = {f"eval/{name}": value for name, value in found.summary().items()}
        metrics["eval/seconds"] = time.perf_counter() - started
        return Examination(weights.version, metrics, {})
