"""Drawing actions, on the acting side: NumPy twins of the torch functions in ``rl.distributions``.

An actor draws once a step, for few environments at a time, where a torch operation costs more than its arithmetic; so
each draw is one compiled call. Kinds, sizes and parameters are described there, and so are the two limits below, which
are the same. The log-probability is that of the action as it is returned, rounded to float32, so that the learner,
which has nothing but the action, finds the same.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Protocol

import numpy as np
from numba import boolean, float32, float64, int64, njit, types, void

LOG_STD_LOW, LOG_STD_HIGH = -20.0, 2.0
SQUASH_EDGE = 1.0 - 1e-6

_Parameters = types.Array(float32, 2, "C", readonly=True)  # "readonly" takes both kinds


class ActionSpec(Protocol):
    """What a policy chooses; the table in ``rl.distributions`` says what the two mean."""

    @property
    def kind(self) -> str: ...

    @property
    def sizes(self) -> tuple[int, ...]: ...


def parameter_count(spec: ActionSpec) -> int:
    """P, the parameters of one distribution."""
    match spec.kind:
        case "categorical" | "multi_categorical" | "bernoulli":
            return sum(spec.sizes)
        case "gaussian" | "squashed_gaussian":
            return 2 * sum(spec.sizes)
    raise ValueError(f"there is no distribution of kind {spec.kind!r}")


def sample_numpy(
    spec: ActionSpec, parameters: np.ndarray, rng: np.random.Generator, action_mask: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """One action of each of B distributions, and their log-probabilities [B] float32 in nats.

    ``parameters`` [B, P] float32; ``action_mask`` [B, P] bool, of categorical kinds, False where illegal. Actions are
    [B] int64 (categorical), [B, k] or [B, n] int64 (multi_categorical, bernoulli) or [B, d] float32 (gaussians). The
    stream ``rng`` moves on by as many numbers whatever the parameters are. Where these are NaN, so is the
    log-probability.
    """
    parameters = _checked(spec, parameters, action_mask)
    batch = len(parameters)
    log_probs = np.empty(batch, np.float32)
    if spec.kind == "categorical":
        actions = np.empty((batch, 1), np.int64)
        _draw_categories(parameters, _array(spec.sizes), rng.random((batch, 1)), actions, log_probs)
        return actions[:, 0], log_probs
    if spec.kind == "multi_categorical":
        actions = np.empty((batch, len(spec.sizes)), np.int64)
        _draw_categories(parameters, _array(spec.sizes), rng.random(actions.shape), actions, log_probs)
        return actions, log_probs
    if spec.kind == "bernoulli":
        actions = np.empty(parameters.shape, np.int64)
        _draw_bits(parameters, rng.random(actions.shape), actions, log_probs)
        return actions, log_probs
    moves = np.empty((batch, parameters.shape[1] // 2), np.float32)
    _draw_normal(parameters, rng.standard_normal(moves.shape), spec.kind == "squashed_gaussian", moves, log_probs)
    return moves, log_probs


def mode_numpy(spec: ActionSpec, parameters: np.ndarray, action_mask: np.ndarray | None = None) -> np.ndarray:
    """The likeliest action of each of B distributions, the first of equals; shapes as in ``sample_numpy``.

    Of a squashed Gaussian, tanh of the likeliest x.
    """
    parameters = _checked(spec, parameters, action_mask)
    match spec.kind:
        case "categorical":
            return parameters.argmax(1)
        case "multi_categorical":
            ends = np.cumsum(spec.sizes).tolist()
            starts = [0, *ends[:-1]]
            return np.stack([parameters[:, i:j].argmax(1) for i, j in zip(starts, ends, strict=True)], 1)
        case "bernoulli":
            return (parameters > 0).astype(np.int64)
    mean = parameters[:, : parameters.shape[1] // 2]
    if spec.kind == "gaussian":
        return mean.copy()
    return np.clip(np.tanh(mean), np.float32(-SQUASH_EDGE), np.float32(SQUASH_EDGE))


@lru_cache
def _array(sizes: tuple[int, ...]) -> np.ndarray:
    return np.array(sizes, np.int64)


def _checked(spec: ActionSpec, parameters: np.ndarray, action_mask: np.ndarray | None) -> np.ndarray:
    """The parameters, contiguous in float32, -inf where masked."""
    count = parameter_count(spec)
    if parameters.ndim != 2 or parameters.shape[1] != count:
        raise ValueError(f"{spec.kind} of sizes {spec.sizes} needs parameters [B, {count}], not {parameters.shape}")
    if action_mask is not None:
        if "categorical" not in spec.kind:
            raise ValueError(f"only categorical actions can be masked, and these are {spec.kind}")
        parameters = np.where(action_mask, parameters, np.float32(-np.inf))
    return np.ascontiguousarray(parameters, np.float32)


@njit(
    void(_Parameters, int64[::1], float64[:, ::1], int64[:, ::1], float32[::1]),
    cache=True,
    error_model="numpy",
)
def _draw_categories(logits, sizes, uniforms, actions, log_probs):
    """Draw entry i of ``actions`` [B, k] by the ``sizes[i]`` logits that are its; ``uniforms`` [B, k]."""
    for b in range(logits.shape[0]):
        log_prob = 0.0
        start = 0
        for i in range(sizes.shape[0]):
            end = start + sizes[i]
            highest = logits[b, start]
            for a in range(start + 1, end):
                highest = max(highest, logits[b, a])
            total = 0.0
            for a in range(start, end):
                total += math.exp(float64(logits[b, a] - highest))
            point = uniforms[b, i] * total
            drawn = start
            for a in range(start, end):
                weight = math.exp(float64(logits[b, a] - highest))
                if weight > 0.0:  # rounding never leads to what is impossible
                    drawn = a
                    point -= weight
                    if point < 0.0:
                        break
            actions[b, i] = drawn - start
            log_prob += logits[b, drawn] - highest - math.log(total)
            start = end
        log_probs[b] = log_prob


@njit(
    void(_Parameters, float64[:, ::1], int64[:, ::1], float32[::1]),
    cache=True,
    error_model="numpy",
)
def _draw_bits(logits, uniforms, actions, log_probs):
    for b in range(logits.shape[0]):
        log_prob = 0.0
        for i in range(logits.shape[1]):
            logit = float64(logits[b, i])
            actions[b, i] = uniforms[b, i] < 1.0 / (1.0 + math.exp(-logit))
            signed = logit if actions[b, i] else -logit
            log_prob += min(signed, 0.0) - math.log1p(math.exp(-abs(signed)))
        log_probs[b] = log_prob


@njit(
    void(_Parameters, float64[:, ::1], boolean, float32[:, ::1], float32[::1]),
    cache=True,
    error_model="numpy",
)
def _draw_normal(parameters, noise, squash, actions, log_probs):
    size = noise.shape[1]
    for b in range(noise.shape[0]):
        log_prob = -0.5 * math.log(2.0 * math.pi) * size
        for i in range(size):
            mean = float64(parameters[b, i])
            log_std = min(max(float64(parameters[b, size + i]), LOG_STD_LOW), LOG_STD_HIGH)
            x = mean + math.exp(log_std) * noise[b, i]
            if squash:
                actions[b, i] = min(max(math.tanh(x), -SQUASH_EDGE), SQUASH_EDGE)
                x = math.atanh(float64(actions[b, i]))
                twice = -2.0 * x  # softplus of it: max(twice, 0) + log1p(exp(-|twice|))
                log_prob -= 2.0 * (math.log(2.0) - x - max(twice, 0.0) - math.log1p(math.exp(-abs(twice))))
            else:
                actions[b, i] = x
                x = float64(actions[b, i])
            z = (x - mean) * math.exp(-log_std)
            log_prob -= 0.5 * z * z + log_std
        log_probs[b] = log_prob
