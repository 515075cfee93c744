"""Who gets what of a Ray cluster: actors, learners and their cores and GPUs."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray

from rl.config import Config, GameConfig, GymConfig, PPOConfig
from rl.runtime.kinds import elastic

LEARNER_SHARE = 4  # a learner without a GPU gets one core in so many


@dataclass(frozen=True)
class Plan:
    """Who gets what of the cluster."""

    cores: int  # all that there are
    actors: int
    actor_cpus: int  # that Ray keeps for each; 0 where there are more processes than cores
    actor_gpus: float
    learners: int
    learner_threads: int  # of each
    learner_cpus: int
    learner_gpus: float
    servers: int = 0  # that evaluate for all actors
    server_cpus: int = 0
    server_gpus: float = 0.0


def plan(config: Config, resources: dict[str, float], largest: float | None = None, growing: bool = False) -> Plan:
    """Divide the cluster's resources; ``largest``: the cores of its largest node, where it has several.

    ``growing``: nodes may join, and so no more of the configured actors begin than there are cores now.

    On up to two cores everything shares them. Beyond that a learner without a GPU gets a quarter of the cores (an
    update costs about as much as three to four evaluations a row, times the reuse), as far as one node has them;
    several learners divide that quarter; and each actor gets one core. One GPU is shared, the learner's share being a
    quarter; of several, the learner has one for itself. Of several learners no two share a GPU (NCCL refuses that):
    each has one for itself where as many are left for the actors, else half of one and a little, and where there are
    fewer GPUs than learners they train on their cores. Inference servers have the actors' GPUs, and a core each.
    """
    cores, gpus, learners = int(resources.get("CPU", 1)), resources.get("GPU", 0.0), config.run.learners
    servers = config.inference.servers if isinstance(config, GameConfig) else 0
    learner_gpus = 0.0
    if gpus >= learners:
        learner_gpus = (0.25 if learners == 1 else 0.51) if gpus < 2 * learners else 1.0
    threads = 1
    if not learner_gpus:
        threads = max(1, min(cores // LEARNER_SHARE // learners, int(largest or cores)))
    actors = cores if cores <= 2 else max(1, cores - threads * learners - servers)
    if isinstance(config, GymConfig):
        # The learner has a core of its own where there are two; lanes are dealt out evenly.
        least = learners if isinstance(config.algorithm, PPOConfig) else 1
        at_most = max(2, cores, least + 1)
        actors = max(n for n in range(least, at_most, least) if config.rollout.environments % n == 0)
    if config.run.actors != "auto":
        actors = min(config.run.actors, max(1, cores)) if growing else config.run.actors
    # What Ray is told to keep for them, where that fits: else everything shares.
    keeps = actors + servers + threads * learners <= cores
    # Each process lies on one GPU, and so as many shares of it as go on one. Fractions are rounded down: a share of
    # 0.333 for three must fit into what is left.
    evaluating = servers or actors
    whole = int(gpus - (learners if learner_gpus else 0))
    if whole >= 1:
        share = 1 / math.ceil(evaluating / whole)
    elif learner_gpus:
        share = (1 - learner_gpus) / math.ceil(evaluating / learners)
    else:
        share = gpus / evaluating
    share = math.floor(1000 * share) / 1000
    return Plan(
        cores=cores,
        actors=actors,
        actor_cpus=int(actors <= cores),
        actor_gpus=0.0 if servers else share,
        learners=learners,
        learner_threads=threads,
        learner_cpus=threads if keeps else 0,
        learner_gpus=learner_gpus,
        servers=servers,
        server_cpus=int(servers > 0 and keeps),
        server_gpus=share if servers else 0.0,
    )


def plan_now(config: Config) -> Plan:
    """The plan for the cluster as it is now."""
    sizes = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
    return plan(config, ray.cluster_resources(), max(sizes, default=None), grows(config))


def grows(config: Config) -> bool:
    """Whether the run waits for nodes: a number of actors is configured, and the cluster is not ours alone."""
    if config.run.actors == "auto" or config.run.mode == "sync" or not elastic(config):
        return False
    return "RAY_ADDRESS" in os.environ


@contextmanager
def asking(config: Config) -> Iterator[None]:
    """As long as this lasts, the cluster's autoscaler, if it has one, is asked for the cores of all actors."""
    if not grows(config):
        yield
        return
    from ray.autoscaler.sdk import request_resources

    assert config.run.actors != "auto", "then it does not grow"
    request_resources(num_cpus=config.run.actors + config.run.learners)
    try:
        yield
    finally:
        request_resources(num_cpus=0)
