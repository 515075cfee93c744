"""What is asked of a network: inputs, the numbers to be explained, what stands for absence, what belongs together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from envs.game import TO_MOVE, Game
from envs.gym import Part
from rl.agent import Agent
from rl.distributions import log_prob, mode
from rl.evaluation.episodes import Acting
from rl.evaluation.players import EvaluationError
from rl.gym_agent import GymAgent
from rl.learner.adversary import attackable
from rl.worlds import make_world

Target = Literal["policy", "value"]
PATCHES = 14  # pictures are hidden in about so many patches a side


class InsightError(EvaluationError):
    """What the user asked to see cannot be shown; the message is one sentence that says why."""


@dataclass(frozen=True)
class Question:
    """N rows of inputs and the number that is to be explained in each."""

    inputs: tuple[Tensor, ...]  # of each part [N, *shape] float32
    baselines: tuple[Tensor, ...]  # of each part [N, *shape] or [1, *shape]: what hides an entry
    groups: tuple[Tensor, ...]  # of each part [1, *shape] int64: entries of one number are hidden together
    extra: tuple[Tensor, ...]  # further arguments of ``forward``, [N, ...] each
    forward: Callable[..., Tensor]  # inputs and extra → [N], the explained number
    decide: Callable[
        ..., Tensor
    ]  # inputs and extra → the policy [N, A], rows sum to 1; [N, 0] where it is not asked or discrete


def stones(game: Game, state: np.ndarray) -> np.ndarray:
    """Who stands where, [H, W] int8: 1 the first player, -1 the second, 0 nobody."""
    own, other = _stone_planes(game)
    planes = game.encode(state[None])[0]
    sign = 1 if state[TO_MOVE] == 0 else -1
    return (sign * (planes[own] > 0) - sign * (planes[other] > 0)).astype(np.int8)


def _stone_planes(game: Game) -> tuple[int, int]:
    """Planes of the stones of the side to move and of the other one, by their names; the first two without names."""
    found: list[int] = []
    for side in ("of the side to move", "of the other side"):
        names = [i for i, name in enumerate(game.plane_names) if name.endswith(side) and "edge" not in name]
        found.append(names[0] if names else len(found))
    return found[0], found[1]


def of_positions(agent: Agent, states: np.ndarray, target: Target, actions: np.ndarray | None = None) -> Question:
    """Why the network plays ``actions`` [N] (None: its own choice) in positions [N, S], or holds them for so good.

    "policy" explains the log-probability of the action among the legal ones; "value" P(win) - P(loss) of the side to
    move. What hides a point is what the board shows there before the first move.
    """
    game, net = agent.game, agent.network().requires_grad_(False)
    planes = torch.from_numpy(game.encode(states))
    empty = np.stack([game.initial_state() for _ in states])
    empty[:, TO_MOVE] = states[:, TO_MOVE]
    legal = torch.from_numpy(np.stack([game.legal_mask(state) for state in states]))

    def log_policy(x: Tensor, legal: Tensor) -> Tensor:
        return net(x)[0].masked_fill(~legal, -torch.inf).log_softmax(1)

    if actions is None:
        with torch.no_grad():
            actions = log_policy(planes, legal).argmax(1).numpy()
    chosen = torch.from_numpy(np.asarray(actions, np.int64))
    if not bool(legal.gather(1, chosen[:, None]).all()):
        raise InsightError("an action that is not legal cannot be explained")

    def forward(x: Tensor, legal: Tensor, chosen: Tensor) -> Tensor:
        if target == "policy":
            return log_policy(x, legal).gather(1, chosen[:, None]).squeeze(1)
        wdl = net(x)[1].softmax(1)
        return wdl[:, 0] - wdl[:, 2]

    def decide(x: Tensor, legal: Tensor, chosen: Tensor) -> Tensor:
        policy = log_policy(x, legal).exp()
        return policy if target == "policy" else policy[:, :0]

    cells = torch.arange(game.board_shape[0] * game.board_shape[1]).view(1, 1, *game.board_shape)
    groups = cells.expand(1, *game.plane_shape).contiguous()
    return Question((planes,), (torch.from_numpy(game.encode(empty)),), (groups,), (legal, chosen), forward, decide)


@dataclass(frozen=True)
class Moments:
    """N moments of an agent's own episodes: what it saw, with its memory before."""

    observations: dict[str, np.ndarray]  # part → [N, *shape]
    memory: dict[str, Tensor]  # name → [N, ...]
    first: np.ndarray  # [N] bool


def moments_of(agent: GymAgent, count: int, seed: int = 0, every: int = 7, begin: int = 0) -> Moments:
    """``count`` moments of episodes of the agent, ``every`` so many steps, after ``begin`` steps.

    Raises envs.gym.WorldError when the environment fails, rl.weights.AgentError when the agent cannot act here.
    """
    net = agent.network()
    lanes = min(16, count)
    world = make_world(agent.config, lanes, seed, measure=False)
    seen: list[dict[str, np.ndarray]] = []
    memories: list[dict[str, Tensor]] = []
    firsts: list[np.ndarray] = []
    try:
        acting = Acting(net, world, seed, deterministic=True)
        step = 0
        while sum(map(len, firsts)) < count:
            if step >= begin and (step - begin) % every == 0:
                seen.append({name: value.copy() for name, value in acting.observations.items()})
                memories.append({name: tensor.clone() for name, tensor in acting.memory.items()})
                firsts.append(acting.first.copy())
            acting.step()
            step += 1
    finally:
        world.close()
    return Moments(
        {name: np.concatenate([s[name] for s in seen])[:count] for name in seen[0]},
        {name: torch.cat([m[name] for m in memories])[:count] for name in memories[0]},
        np.concatenate(firsts)[:count],
    )


def parts_of(agent: GymAgent) -> tuple[Part, ...]:
    """What the agent's observations are made of. Raises AgentError when it cannot act here."""
    return tuple(encoder.part for encoder in agent.network().actor.encoders)  # type: ignore[misc]


def of_moments(agent: GymAgent, moments: Moments, target: Target, usual: Moments | None = None) -> Question:
    """Why the agent acts as it does in these moments, or expects so much.

    "policy" explains the log-probability, or log-density, of its likeliest action; "value" the critic's estimate. What
    hides an entry is its mean over the ``usual`` moments (None: over these). Raises InsightError where the observation
    holds neither numbers nor pictures.
    """
    net = agent.network()
    parts = parts_of(agent)
    shown = attackable(parts)
    if not shown:
        raise InsightError(f"{agent.config.env} shows neither numbers nor pictures, whose share in a decision is asked")
    device = net.value.weight.device
    inputs = tuple(torch.from_numpy(moments.observations[p.name]).float().to(device) for p in shown)
    means = tuple(
        torch.from_numpy((usual or moments).observations[p.name]).float().mean(0, keepdim=True).to(device)
        for p in shown
    )
    fixed = [p for p in parts if p not in shown]
    names = list(moments.memory)
    extra = (
        torch.from_numpy(moments.first).to(device),
        *(torch.from_numpy(moments.observations[p.name]).to(device) for p in fixed),
        *(moments.memory[name].to(device) for name in names),
    )

    def run(*given: Tensor) -> tuple[Tensor, Tensor]:
        values, first = given[: len(shown)], given[len(shown)]
        others = given[len(shown) + 1 : len(shown) + 1 + len(fixed)]
        memory = dict(zip(names, given[len(shown) + 1 + len(fixed) : len(given)]))
        observations = {p.name: x[None] for p, x in zip(shown, values, strict=True)}
        observations |= {p.name: x[None] for p, x in zip(fixed, others, strict=True)}
        parameters, value, _ = net(observations, memory, first[None])
        return parameters[0].float(), value[0].float()

    with torch.no_grad():
        chosen = mode(net.spec, run(*inputs, *extra)[0])

    def forward(*given: Tensor) -> Tensor:
        parameters, value = run(*given[:-1])
        return log_prob(net.spec, parameters, given[-1]) if target == "policy" else value

    def decide(*given: Tensor) -> Tensor:
        parameters, _ = run(*given[:-1])
        discrete = target == "policy" and net.spec.kind == "categorical"
        return parameters.softmax(-1) if discrete else parameters[:, :0]

    groups = tuple(_groups(part, x.shape[1:]).to(device) for part, x in zip(shown, inputs, strict=True))
    return Question(inputs, means, groups, (*extra, chosen), forward, decide)


def _groups(part: Part, shape: tuple[int, ...]) -> Tensor:
    """[1, *shape] int64: each entry of a vector by itself, patches of a picture with all their channels together."""
    if part.kind != "image":
        return torch.arange(int(np.prod(shape))).view(1, *shape)
    height, width = picture_axes(part)
    tall, wide = shape[height], shape[width]
    rows = torch.arange(tall) * min(PATCHES, tall) // tall
    columns = torch.arange(wide) * min(PATCHES, wide) // wide
    patches = rows[:, None] * min(PATCHES, wide) + columns[None]
    if len(shape) == 2:
        return patches[None]
    return (patches[..., None] if part.channels_last else patches[None]).expand(*shape)[None].contiguous()


def picture_axes(part: Part) -> tuple[int, int]:
    """The axes of a picture's rows and columns."""
    return (0, 1) if len(part.shape) == 2 or part.channels_last else (1, 2)
