"""Budget curves: an agent's return when what it sees is moved by noise, FGSM or PGD, against the strength.

Strength is the radius of an L∞ ball in units of each entry (``rl.learner.adversary``): of pictures their range, of
vectors the deviation that the entry has in the agent's own undisturbed episodes, or in those of another agent, so that
two can be compared under the very same disturbance. The attacks see the network (white box) and the observation of each
step, and push the likeliest action away; the environment itself goes on undisturbed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs.gym.watched import watch
from rl.evaluation.episodes import play_episodes
from rl.gym_agent import GymAgent
from rl.insight.questions import InsightError, moments_of, parts_of
from rl.learner.adversary import Attack, AttackKind, attackable, perturb, units_of
from rl.nets.recurrent import State
from rl.records import Tensors

UNIT_MOMENTS = 2048  # observations from which the units are measured
UNIT_SEED = 91


def units_for(agent: GymAgent) -> dict[str, Tensor]:
    """What strength 1 stands for in each part of what this agent sees. Raises InsightError where nothing can move."""
    net = agent.network()
    parts = parts_of(agent)
    if not attackable(parts):
        raise InsightError(f"{agent.config.env} shows neither numbers nor pictures: there is nothing to move a little")
    moments = moments_of(agent, UNIT_MOMENTS, UNIT_SEED, every=1)
    device = net.value.weight.device
    seen = {name: torch.from_numpy(value).to(device) for name, value in moments.observations.items()}
    return units_of(parts, seen)


def budget_curve(
    agent: GymAgent,
    kind: AttackKind,
    budgets: Sequence[float],
    units: dict[str, Tensor],
    *,
    episodes: int = 50,
    steps: int = 10,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> list[dict[str, Any]]:
    """The return at each strength: plain JSON values, those of ``evaluation.episodes.Episodes.summary``.

    The same episodes' seeds at every strength. ``steps`` are PGD's. Raises ImportError without captum,
    envs.gym.WorldError when the environment fails.
    """
    net = agent.network()
    parts = parts_of(agent)
    device = net.value.weight.device
    curve = []
    for done, epsilon in enumerate(budgets, 1):
        attack = Attack(kind, float(epsilon), steps)

        def lens(observations: Tensors, memory: State, first: np.ndarray, attack: Attack = attack) -> Tensors:
            seen = {name: torch.from_numpy(value)[None].to(device) for name, value in observations.items()}
            # What ``act`` has made under inference mode takes part in no gradient; a copy may.
            state = {name: tensor.clone() for name, tensor in memory.items()}
            shown = perturb(net, parts, seen, state, torch.from_numpy(first)[None].to(device), attack, units)
            return {name: tensor[0].cpu().numpy() for name, tensor in shown.items()}

        def play(attack: Attack = attack, lens: Any = lens) -> Any:
            torch.manual_seed(seed)  # random points and random starts
            return play_episodes(net, agent.config, episodes, seed, lens=lens if attack.epsilon else None)

        found = watch(play, agent.config.rollout.timeout_seconds)
        curve.append({"attack": kind, "epsilon": float(epsilon)} | found.summary())
        if progress is not None:
            progress(done)
    return curve
