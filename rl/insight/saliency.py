"""Which inputs a decision rests on, by captum's attribution methods.

* ``gradients``: |∂ output / ∂ input| (Simonyan et al. 2014): how fast the output would change.
* ``integrated_gradients``: contributions that add up to output(input) - output(baseline) (Sundararajan et al. 2017).
* ``occlusion``: what hiding one point with all its planes, or a patch of a picture, takes off the output (Zeiler and
  Fergus 2014).
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from envs.gym import Part
from rl.agent import Agent
from rl.insight.questions import Question, Target, of_positions, picture_axes
from rl.learner.adversary import captum_unasked

Method = Literal["gradients", "integrated_gradients", "occlusion"]
METHODS: tuple[str, ...] = get_args(Method)
STEPS = 32  # of the integral
ROWS = 2048  # evaluated at once in it
MISSING = "this needs captum and scikit-learn: pip install 'fuseki[insight]'"


def attribute(question: Question, method: Method) -> tuple[Tensor, ...]:
    """The share of each entry in the explained number: of each part [N, *shape] float32.

    Signed, but for "gradients", which are magnitudes; under "occlusion" all entries of a group have the group's share.
    Raises ImportError, in one sentence, without captum.
    """
    try:
        import captum.attr  # noqa: F401
    except ModuleNotFoundError as error:
        raise ImportError(MISSING) from error
    # cuDNN refuses gradients of recurrent layers in evaluation mode.
    with captum_unasked(), torch.backends.cudnn.flags(enabled=False):
        return _attribute(question, method)


def _attribute(question: Question, method: Method) -> tuple[Tensor, ...]:
    from captum.attr import FeatureAblation, IntegratedGradients, Saliency

    inputs, extra = tuple(x.clone() for x in question.inputs), question.extra
    if method == "gradients":
        return tuple(a.detach() for a in Saliency(question.forward).attribute(inputs, additional_forward_args=extra))
    if method == "integrated_gradients":
        found = IntegratedGradients(question.forward).attribute(
            inputs,
            baselines=question.baselines,
            additional_forward_args=extra,
            n_steps=STEPS,
            internal_batch_size=max(ROWS, len(inputs[0])),
        )
        return tuple(a.detach().float() for a in found)
    with torch.no_grad():
        found = FeatureAblation(question.forward).attribute(
            inputs,
            baselines=question.baselines,
            additional_forward_args=extra,
            feature_mask=_numbered(question.groups),
        )
    return tuple(a.float() for a in found)


def by_group(question: Question, attributions: tuple[Tensor, ...], method: Method) -> list[Tensor]:
    """The share of each group of entries: of each part [N, groups]. Sums; of "occlusion" the group's own."""
    totals = []
    for groups, shares in zip(question.groups, attributions, strict=True):
        index = groups.reshape(-1)
        count = int(index.max()) + 1
        flat = shares.reshape(len(shares), -1)
        total = torch.zeros(len(flat), count, device=flat.device).index_add_(1, index, flat)
        if method == "occlusion":
            total = total / torch.bincount(index, minlength=count)
        totals.append(total)
    return totals


def of_position(
    agent: Agent, state: np.ndarray, method: Method, target: Target, action: int | None = None
) -> tuple[np.ndarray, float]:
    """Shares [H, W] of a position's points, and the number that they explain; see ``questions.of_positions``."""
    question = of_positions(agent, state[None], target, None if action is None else np.array([action]))
    [shares] = by_group(question, attribute(question, method), method)
    with torch.no_grad():
        explained = float(question.forward(*question.inputs, *question.extra)[0])
    return shares[0].reshape(agent.game.board_shape).cpu().numpy(), explained


def on_picture(part: Part, shares: Tensor) -> np.ndarray:
    """Attributions [*shape] of one picture → [H, W], summed over channels."""
    rows, columns = picture_axes(part)
    others = tuple(axis for axis in range(shares.ndim) if axis not in (rows, columns))
    return (shares.sum(others) if others else shares).cpu().numpy()


def _numbered(groups: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The groups of all parts, with numbers of their own: captum hides equal ones together."""
    numbered, first = [], 0
    for group in groups:
        numbered.append(group + first)
        first += int(group.max()) + 1
    return tuple(numbered)
