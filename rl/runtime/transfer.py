"""What a new run begins with: the weights of another agent, under the names that its own network has for them."""

from __future__ import annotations

import re
from dataclasses import replace

from rl.agent import locate
from rl.config import Config, ConfigError, GymConfig
from rl.records import Tensors, Weights
from rl.weights import AgentError, load_agent

# What the encoder of a board game's network is called, and that of the first part of an actor-critic network.
GAME_ENCODER, GYM_ENCODER = "encoder.", "actor.encoders.0.encoder."
PART = re.compile(r"((?:actor|critic)\.encoders\.)(\d+)(\..*)")


def starting_weights(config: Config) -> Weights | None:
    """The weights that ``learner.init_from`` names, under the names of a network of ``config``'s kind.

    What a board game's network calls encoder is the first part's encoder of an actor-critic network. Between
    environments whose observations have parts of the same names, encoders are found by these. The running deviation of
    returns stays behind where the environment is another one: it tells of that one's rewards.
    Raises ConfigError when there are none.
    """
    if config.learner.init_from is None:
        return None
    try:
        agent = load_agent(locate(config.learner.init_from))
    except AgentError as error:
        raise ConfigError(f"learner.init_from: {error}") from error
    tensors = agent.weights.tensors
    ours, theirs = (GYM_ENCODER if isinstance(c, GymConfig) else GAME_ENCODER for c in (config, agent.config))
    if ours != theirs:
        tensors = {ours + n.removeprefix(theirs): t for n, t in tensors.items() if n.startswith(theirs)}
    elif isinstance(config, GymConfig) and isinstance(agent.config, GymConfig) and _differ(agent.config, config):
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("returns.")}
        tensors = _by_part(tensors, agent.config, config)
    return replace(agent.weights, tensors=tensors)


def _differ(one: Config, other: Config) -> bool:
    return (one.env, one.env_options) != (other.env, other.env_options)


def _by_part(tensors: Tensors, theirs: GymConfig, ours: GymConfig) -> Tensors:
    """The encoders, which are numbered by the parts of the observation, under the numbers that these have here.

    They keep their numbers where no part has the same name, or the agent's environment is not to be had here.
    """
    from envs.gym import UnknownWorld
    from rl.worlds import spec_of

    here = {part.name: number for number, part in enumerate(spec_of(ours).observation)}
    try:
        there = [part.name for part in spec_of(theirs).observation]
    except UnknownWorld:
        return tensors
    if not here.keys() & set(there):
        return tensors
    found: Tensors = {}
    for name, tensor in tensors.items():
        match = PART.fullmatch(name)
        if match is None:
            found[name] = tensor
        elif (part := there[int(match[2])]) in here:
            found[f"{match[1]}{here[part]}{match[3]}"] = tensor
    return found
