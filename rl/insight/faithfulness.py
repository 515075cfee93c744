"""Whether an attribution says what matters: hide what it ranks highest, and see whether the decision changes.

Deletion curves (Samek et al. 2017; Petsiuk et al. 2018, RISE): the k groups of entries that are ranked highest are
hidden at once, k = 1, 2, ...; the same number drawn at random from those that hold anything is what to compare with.
What is measured of a decision: the total variation between the policy before and after, and whether its likeliest
action is another; of an output without actions, the absolute change of the explained number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rl.insight.questions import Question
from rl.insight.saliency import Method, attribute, by_group

RANDOM_ORDERS = 8  # of which the mean stands for "any others"


@dataclass(frozen=True)
class Deletion:
    """Change of the decision when 1 ... K groups are hidden, in each of N rows."""

    ranked: np.ndarray  # [K, N] float64, hidden in the order of the attribution
    random: np.ndarray  # [K, N] float64, mean over random orders
    ranked_changed: np.ndarray  # [K, N], 1 where the likeliest action is another; NaN without discrete actions
    random_changed: np.ndarray  # [K, N], the share of random orders in which it is

    def summary(self) -> dict[str, Any]:
        """Means over rows with 95 % intervals; ``gap`` is the paired difference, on average over k."""
        result: dict[str, Any] = {"positions": self.ranked.shape[1], "hidden": list(range(1, len(self.ranked) + 1))}
        for name, curve in (("ranked", self.ranked), ("random", self.random)):
            mean, half = _interval(curve)
            result[name] = mean.tolist()
            result[f"{name}_low"], result[f"{name}_high"] = (mean - half).tolist(), (mean + half).tolist()
        gap, half = _interval((self.ranked - self.random).mean(0))
        result |= {"gap": float(gap), "gap_low": float(gap - half), "gap_high": float(gap + half)}
        if not np.isnan(self.ranked_changed).any():
            for name, curve in (("ranked_changed", self.ranked_changed), ("random_changed", self.random_changed)):
                mean, half = _interval(curve)
                result[name] = mean.tolist()
                result[f"{name}_half"] = half.tolist()
        return result


def _interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and half of the 95 % interval over the last axis."""
    n = values.shape[-1]
    return values.mean(-1), 1.96 * values.std(-1, ddof=1) / np.sqrt(n) if n > 1 else np.zeros(values.shape[:-1])


def deletion(question: Question, method: Method, most: int = 6, seed: int = 0) -> Deletion:
    """Deletion curves of the first part's groups up to ``most`` hidden ones, or as many as the fullest row holds.

    Only groups that differ from what hides them take part, in the ranking and in the random orders: hiding nothing
    changes nothing. In a row that holds fewer than k, all of them are hidden. Raises ImportError without captum.
    """
    shares = by_group(question, attribute(question, method), method)[0].abs().cpu().numpy()
    return deletion_by(question, shares, most, seed)


def deletion_by(question: Question, shares: np.ndarray, most: int = 6, seed: int = 0) -> Deletion:
    """The same for any ranking: ``shares`` [N, groups], the highest is hidden first."""
    held = _held(question)  # [N, groups]
    most = min(most, int(held.sum(1).max()))
    rng = np.random.default_rng(seed)
    before = _answers(question, question.inputs[0])
    ranked = _curve(question, np.argsort(np.where(held, -shares, np.inf), 1, kind="stable"), held, most, before)
    drawn = []
    for _ in range(RANDOM_ORDERS):
        order = np.argsort(np.where(held, rng.random(held.shape), np.inf), 1)
        drawn.append(_curve(question, order, held, most, before))
    return Deletion(ranked[0], np.mean([d[0] for d in drawn], 0), ranked[1], np.mean([d[1] for d in drawn], 0))


def _held(question: Question) -> np.ndarray:
    """[N, groups] bool: whether hiding the group changes the input."""
    x, baseline, groups = question.inputs[0], question.baselines[0], question.groups[0].reshape(-1)
    differs = ((x - baseline).abs() > 1e-6).reshape(len(x), -1).float()
    count = int(groups.max()) + 1
    return (torch.zeros(len(x), count, device=x.device).index_add_(1, groups, differs) > 0).cpu().numpy()


def _answers(question: Question, first: Tensor) -> tuple[np.ndarray, np.ndarray]:
    given = (first, *question.inputs[1:], *question.extra)
    with torch.no_grad():
        return question.decide(*given).double().cpu().numpy(), question.forward(*given).double().cpu().numpy()


def _curve(
    question: Question, order: np.ndarray, held: np.ndarray, most: int, before: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Changes [K, N] and whether the likeliest action changes [K, N], hiding groups in the ``order`` [N, groups]."""
    x, baseline, groups = question.inputs[0], question.baselines[0].expand_as(question.inputs[0]), question.groups[0]
    hidden = np.zeros_like(held)
    changes, changed = [], []
    for k in range(most):
        rows = np.arange(len(held))
        hidden[rows, order[:, k]] |= held[rows, order[:, k]]
        mask = torch.from_numpy(hidden).to(x.device)[:, groups.reshape(-1)].view_as(x)
        policy, value = _answers(question, torch.where(mask, baseline, x))
        if policy.shape[1]:
            changes.append(0.5 * np.abs(policy - before[0]).sum(1))
            changed.append((policy.argmax(1) != before[0].argmax(1)).astype(float))
        else:
            changes.append(np.abs(value - before[1]))
            changed.append(np.full(len(value), np.nan))
    return np.array(changes), np.array(changed)
