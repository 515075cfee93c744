"""The environments that a configuration names."""

from __future__ import annotations

import json
from functools import lru_cache

from envs.gym import World, WorldSpec, describe
from envs.gym.watched import watch
from rl.config import GymConfig


def spec_of(config: GymConfig) -> WorldSpec:
    """Observations and actions. Raises envs.gym.UnknownWorld when there is no such environment here, WorldError when
    it cannot be made, or not within ``rollout.timeout_seconds``."""
    options, wrappers, timeout = config.env_options, config.rollout.wrappers, config.rollout.timeout_seconds
    try:
        key = json.dumps(options), json.dumps(wrappers)
    except TypeError:  # options that only Python can give, such as a function
        return watch(lambda: describe(config.env, options, wrappers), timeout)
    return _spec(config.env, *key, timeout)


@lru_cache
def _spec(env_id: str, options: str, wrappers: str, timeout: float) -> WorldSpec:
    """To describe an environment, one has to be made, which may take seconds; a process asks for it several times."""
    return watch(lambda: describe(env_id, json.loads(options), json.loads(wrappers)), timeout)


def make_world(
    config: GymConfig,
    environments: int,
    seed: int,
    *,
    measure: bool,
    render_mode: str | None = None,
    drawn: int = 0,
) -> World:
    """``environments`` of them side by side; ``measure``: "auto" may time what there is, and take the fastest.

    The first ``drawn`` can be drawn in the ``render_mode``: see :class:`envs.gym.World`.
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
        render_mode=render_mode,
        drawn=drawn,
    )
