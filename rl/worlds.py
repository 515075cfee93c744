"""The environments that a configuration names."""

from __future__ import annotations

import json
from functools import lru_cache

from envs.gym import World, WorldSpec, describe
from rl.config import GymConfig


def spec_of(config: GymConfig) -> WorldSpec:
    """Observations and actions. Raises envs.gym.UnknownWorld when there is no such environment here."""
    try:
        return _spec(config.env, json.dumps(config.env_options), json.dumps(config.rollout.wrappers))
    except TypeError:  # options that only Python can give, such as a function
        return describe(config.env, config.env_options, config.rollout.wrappers)


@lru_cache
def _spec(env_id: str, options: str, wrappers: str) -> WorldSpec:
    """To describe an environment, one has to be made, which may take seconds; a process asks for it several times."""
    return describe(env_id, json.loads(options), json.loads(wrappers))


def make_world(config: GymConfig, environments: int, seed: int, *, measure: bool) -> World:
    """``environments`` of them side by side; ``measure``: "auto" may time what there is, and take the fastest.

    Raises envs.gym.UnknownWorld when there is no such environment here.
    """
    rollout = config.rollout
    settled = "sync" if rollout.vectorization == "auto" and not measure else rollout.vectorization
    return World(
        config.env,
        environments,
        options=config.env_options,
        wrappers=rollout.wrappers,
        vectorization=settled,
        seed=seed,
        timeout=rollout.timeout_seconds,
    )
