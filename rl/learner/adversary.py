"""An adversary that moves what an agent sees, within a budget, so that its policy errs.

Perturbations of observations within an L∞ ball: a random point of it, one step along the sign of the gradient (FGSM,
Goodfellow et al. 2015; against policies Huang et al. 2017), or several steps projected back into it (PGD, Madry et al.
2018). ``captum.robust`` has the attacks. The learner trains against them (Zhang et al. 2020, SA-PPO, §3.3), and
``rl.insight`` measures what they cost.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from envs.gym import Part
from rl.acting import ActionSpec
from rl.distributions import log_prob, mode
from rl.nets.actor_critic import ActorCritic, Observations
from rl.nets.recurrent import State

AttackKind = Literal["noise", "fgsm", "pgd"]
MISSING = "attacks on observations need captum: pip install 'fuseki[insight]'"
PGD_REACH = 2.5  # a step is this many times epsilon / steps, so that any point of the ball is within reach


@dataclass(frozen=True)
class Attack:
    """``epsilon`` is the radius of the L∞ ball, in units of each entry (see ``units_of``)."""

    kind: AttackKind
    epsilon: float
    steps: int = 10  # of pgd


def attackable(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """The parts of an observation that can be moved a little: numbers and pictures, not categories."""
    return tuple(part for part in parts if part.kind in ("vector", "image"))


def units_of(parts: tuple[Part, ...], observations: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What epsilon 1 stands for in each part: [*shape] or [].

    Of pictures, and of other bytes, the range from the lowest value to the highest; of other numbers the deviation of
    each entry over ``observations``, part → [..., *shape], so that metres and radians count alike.
    """
    units = {}
    for part in attackable(parts):
        seen = observations[part.name]
        if part.kind == "image" or part.dtype == "uint8":
            spread = part.high - part.low
            units[part.name] = torch.tensor(spread if 0 < spread < float("inf") else 1.0, device=seen.device)
        else:
            rows = seen.float().reshape(-1, *part.shape)
            units[part.name] = rows.std(0, correction=0) if len(rows) > 1 else torch.ones_like(rows[0])
    return units


def surprise(spec: ActionSpec, parameters: Tensor, actions: Tensor) -> Tensor:
    """How unlikely the policies [..., P] find the ``actions``, [...]: what an attack raises.

    Of discrete actions, the logarithm of the odds against them: its gradient does not vanish where a policy is sure,
    as that of the log-probability does, which would only hide how frail it is (Carlini and Wagner 2017, §V).
    """
    match spec.kind:
        case "categorical":
            return _odds_against(parameters, actions)
        case "multi_categorical":
            parts = zip(parameters.split(spec.sizes, -1), actions.unbind(-1), strict=True)
            return torch.stack([_odds_against(logits, chosen) for logits, chosen in parts]).sum(0)
        case "bernoulli":
            return -(parameters * (2 * actions - 1)).sum(-1)
    return -log_prob(spec, parameters, actions)


def _odds_against(logits: Tensor, actions: Tensor) -> Tensor:
    own = logits.gather(-1, actions[..., None])
    others = logits.scatter(-1, actions[..., None], -torch.inf)
    return others.logsumexp(-1) - own.squeeze(-1)


def perturb(
    net: ActorCritic,
    parts: tuple[Part, ...],
    observations: Observations,
    state: State,
    first: Tensor,
    attack: Attack,
    units: Mapping[str, Tensor],
) -> Observations:
    """The observations [T, B, *shape] as the adversary shows them, float32, in which the likeliest action changes most.

    ``state`` and ``first`` [T, B] as in ``ActorCritic.forward``; the network's gradients and statistics stay as they
    are. Pictures stay within their range. Raises ImportError, in one sentence, without captum.
    """
    moved = attackable(parts)
    if attack.epsilon == 0 or not moved:
        return observations
    scaled = tuple(observations[part.name].float() / _safe(units[part.name]) for part in moved)

    def shown(given: tuple[Tensor, ...]) -> Observations:
        """Observations from numbers in units; pictures within their range."""
        seen = dict(observations)
        for part, values in zip(moved, given, strict=True):
            x = values * _safe(units[part.name])
            if part.kind == "image":  # its gradient as if there were no bounds: beyond them it would be 0 for good
                x = x + (x.clamp(part.low, part.high) - x).detach()
            seen[part.name] = x
        return seen

    if attack.kind == "noise":
        return shown(tuple(x + attack.epsilon * (2 * torch.rand_like(x) - 1) for x in scaled))
    try:
        from captum.robust import FGSM, PGD
    except ModuleNotFoundError as error:
        raise ImportError(MISSING) from error

    def policy(*given: Tensor) -> Tensor:
        return net(shown(given), state, first)[0].float()

    def loss(parameters: Tensor, actions: Tensor) -> Tensor:
        return surprise(net.spec, parameters, actions).flatten()

    training = net.training
    net.eval()  # or its running statistics would move
    try:
        with torch.enable_grad(), captum_unasked(), differentiable(net):
            actions = mode(net.spec, policy(*scaled).detach())
            if attack.kind == "fgsm":
                fgsm, reach = FGSM(policy, loss), attack.epsilon
                fgsm.zero_thresh = 0.0  # where gradients are small, their signs count all the same
                if "gaussian" in net.spec.kind:  # whose gradient is 0 at the mean itself: Tramèr et al. 2018, R+FGSM
                    scaled = tuple(x + 0.5 * reach * torch.randn_like(x).sign() for x in scaled)
                    reach *= 0.5
                found = fgsm.perturb(scaled, reach, actions)
            else:
                pgd = PGD(policy, loss)
                pgd.fgsm.zero_thresh = 0.0
                step = PGD_REACH * attack.epsilon / attack.steps
                found = pgd.perturb(scaled, attack.epsilon, step, attack.steps, actions, random_start=True)
    finally:
        net.train(training)
    return shown(tuple(x.detach() for x in found))


@contextmanager
def differentiable(net: nn.Module) -> Iterator[None]:
    """Gradients in evaluation mode, which cuDNN refuses of its recurrent layers: torch's own take their place."""
    if any(isinstance(module, nn.RNNBase) for module in net.modules()):
        with torch.backends.cudnn.flags(enabled=False):
            yield
    else:  # and convolutions stay as fast as they are
        yield


@contextmanager
def captum_unasked() -> Iterator[None]:
    """Without the warning that captum gives for every input that needs no gradient of its own, as none of ours does."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Input Tensor .* did not already require gradients")
        yield


def _safe(unit: Tensor) -> Tensor:
    """An entry that never changes has no unit, and is left as it is."""
    return unit.clamp(min=1e-8)
