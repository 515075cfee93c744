"""Policy distributions as pure functions of what a network's policy head puts out.

A distribution is described by its kind and sizes; its parameters are the last axis of one tensor [..., P]:

    kind               sizes        actions             parameters
    categorical        (A,)         [...] int64         A logits
    multi_categorical  (A1, .. Ak)  [..., k] int64      the logits of each entry, one after another
    bernoulli          (n,)         [..., n] int64 0/1  n logits of a one
    gaussian           (d,)         [..., d] float32    d means, then d logs of standard deviations
    squashed_gaussian  (d,)         [..., d] float32    the same, of x; the action is tanh(x), in (-1, 1)

Entries are independent given the parameters. Everything is in nats, and computed in float32 at least, autocast or not.
``rl.acting`` draws from the same distributions in NumPy, for actors.

``action_mask`` (of categorical and multi_categorical; bool, shaped like the parameters, at least one true an entry):
where it is false, the action is illegal, has probability 0, and its logit neither influence nor gradient.

Logs of standard deviations are clamped to [LOG_STD_LOW, LOG_STD_HIGH] and get no gradient beyond. Squashed actions are
kept within ±SQUASH_EDGE, and x is recomputed from the action by atanh. Rounding an action to float32 moves x by
3e-8 / (1 - action²): 1e-5 at |x| = 3.6, 0.01 at the edge, |x| = 7.25. Density beyond the edge is counted at the edge.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from rl.acting import LOG_STD_HIGH, LOG_STD_LOW, SQUASH_EDGE, ActionSpec, parameter_count

# Quadrature over a standard normal variable: the trapezoidal rule, which converges exponentially for such integrands.
_NODES, _REACH = 65, 6.0


def log_prob(spec: ActionSpec, parameters: Tensor, actions: Tensor, action_mask: Tensor | None = None) -> Tensor:
    """Log-probabilities, or log-densities, [...] of ``actions``; -inf where illegal."""
    parameters = _checked(spec, parameters, action_mask)
    match spec.kind:
        case "categorical":
            return _log_softmax(parameters, action_mask).gather(-1, actions[..., None]).squeeze(-1)
        case "multi_categorical":
            entries = zip(_entries(spec, parameters, action_mask), actions.unbind(-1), strict=True)
            return torch.stack([log_p.gather(-1, a[..., None]).squeeze(-1) for log_p, a in entries]).sum(0)
        case "bernoulli":
            return F.logsigmoid(parameters * (2 * actions - 1)).sum(-1)
        case "gaussian":
            return _normal_log_prob(parameters, actions)
    squashed = actions.to(parameters.dtype).clamp(-SQUASH_EDGE, SQUASH_EDGE)
    x = squashed.atanh()
    return _normal_log_prob(parameters, x) - _log_slope(x).sum(-1)


def entropy(spec: ActionSpec, parameters: Tensor, action_mask: Tensor | None = None) -> Tensor:
    """Entropy [...]; of densities, the differential one.

    A squashed Gaussian's has no closed form: it is the Gaussian's plus the mean of log(1 - tanh²(x)), which is summed
    over a grid of x, to 1e-5 nats a dimension (1e-3 at standard deviations above 4), with an exact gradient of the sum.
    """
    parameters = _checked(spec, parameters, action_mask)
    match spec.kind:
        case "categorical" if action_mask is None:
            log_p = parameters.log_softmax(-1)
            return -(log_p.exp() * log_p).sum(-1)
        case "categorical" | "multi_categorical":
            return torch.stack([-_expected(log_p, log_p) for log_p in _entries(spec, parameters, action_mask)]).sum(0)
        case "bernoulli":
            return (F.softplus(parameters) - parameters * parameters.sigmoid()).sum(-1)
    mean, log_std = _mean_log_std(parameters)
    gaussian = (log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)
    if spec.kind == "gaussian":
        return gaussian
    z = torch.linspace(-_REACH, _REACH, _NODES, dtype=parameters.dtype, device=parameters.device)
    weights = (-0.5 * z.square()).softmax(0)
    x = mean[..., None] + log_std.exp()[..., None] * z
    return gaussian + (_log_slope(x) * weights).sum((-1, -2))


@torch.no_grad()
def sample(
    spec: ActionSpec, parameters: Tensor, generator: torch.Generator | None, action_mask: Tensor | None = None
) -> Tensor:
    """One action [...] of each distribution, without gradient. The generator is on the parameters' device."""
    parameters = _checked(spec, parameters, action_mask)
    match spec.kind:
        case "categorical" | "multi_categorical":
            draws = []
            for log_p in _entries(spec, parameters, action_mask):
                drawn = torch.multinomial(log_p.exp().flatten(0, -2), 1, generator=generator)
                draws.append(drawn.view(log_p.shape[:-1]))
            return draws[0] if spec.kind == "categorical" else torch.stack(draws, -1)
        case "bernoulli":
            return torch.bernoulli(parameters.sigmoid(), generator=generator).long()
    mean, log_std = _mean_log_std(parameters)
    noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
    return _action(spec, mean + log_std.exp() * noise)


@torch.no_grad()
def mode(spec: ActionSpec, parameters: Tensor, action_mask: Tensor | None = None) -> Tensor:
    """The likeliest action [...], the first of equals; of a squashed Gaussian, tanh of the likeliest x (its median)."""
    parameters = _checked(spec, parameters, action_mask)
    match spec.kind:
        case "categorical":
            return _log_softmax(parameters, action_mask).argmax(-1)
        case "multi_categorical":
            return torch.stack([log_p.argmax(-1) for log_p in _entries(spec, parameters, action_mask)], -1)
        case "bernoulli":
            return (parameters > 0).long()
    return _action(spec, _mean_log_std(parameters)[0])


def kl(spec: ActionSpec, p: Tensor, q: Tensor, action_mask: Tensor | None = None) -> Tensor:
    """KL(p ‖ q) [...] of the distributions with parameters ``p`` and ``q``, both under the same mask.

    Squashing changes no divergence, so that of squashed Gaussians is that of the Gaussians before.
    """
    p, q = _checked(spec, p, action_mask), _checked(spec, q, action_mask)
    match spec.kind:
        case "categorical" | "multi_categorical":
            pairs = zip(_entries(spec, p, action_mask), _entries(spec, q, action_mask), strict=True)
            return torch.stack([_expected(log_p, log_p) - _expected(log_p, log_q) for log_p, log_q in pairs]).sum(0)
        case "bernoulli":
            ones, zeros = F.logsigmoid(p) - F.logsigmoid(q), F.logsigmoid(-p) - F.logsigmoid(-q)
            return (p.sigmoid() * ones + (-p).sigmoid() * zeros).sum(-1)
    (mean_p, log_std_p), (mean_q, log_std_q) = _mean_log_std(p), _mean_log_std(q)
    log_ratio = log_std_p - log_std_q
    distance = (mean_p - mean_q) * (-log_std_q).exp()
    return (0.5 * ((2 * log_ratio).expm1() + distance.square()) - log_ratio).sum(-1)


def _checked(spec: ActionSpec, parameters: Tensor, action_mask: Tensor | None) -> Tensor:
    """The parameters in float32 at least."""
    if parameters.shape[-1] != parameter_count(spec):
        wanted = f"{spec.kind} of sizes {spec.sizes} has {parameter_count(spec)} parameters"
        raise ValueError(f"{wanted}, and the tensor's shape is {list(parameters.shape)}")
    if action_mask is not None and "categorical" not in spec.kind:
        raise ValueError(f"only categorical actions can be masked, and these are {spec.kind}")
    return parameters.float() if parameters.dtype in (torch.bfloat16, torch.float16) else parameters


def _log_softmax(logits: Tensor, legal: Tensor | None) -> Tensor:
    """Log-probabilities of one categorical entry [..., A], -inf where illegal."""
    if legal is not None:
        logits = logits.masked_fill(~legal, -torch.inf)
    return logits.log_softmax(-1)


def _entries(spec: ActionSpec, logits: Tensor, action_mask: Tensor | None) -> list[Tensor]:
    """Log-probabilities of each categorical entry, [..., sizes[i]]."""
    masks = [None] * len(spec.sizes) if action_mask is None else action_mask.split(spec.sizes, -1)
    return [_log_softmax(part, mask) for part, mask in zip(logits.split(spec.sizes, -1), masks, strict=True)]


def _expected(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Σ p log q [...] over the last axis; nothing from what both call impossible."""
    return (log_p.exp() * log_q.masked_fill(log_p == -torch.inf, 0.0)).sum(-1)


def _mean_log_std(parameters: Tensor) -> tuple[Tensor, Tensor]:
    mean, log_std = parameters.chunk(2, -1)
    return mean, log_std.clamp(LOG_STD_LOW, LOG_STD_HIGH)


def _normal_log_prob(parameters: Tensor, x: Tensor) -> Tensor:
    mean, log_std = _mean_log_std(parameters)
    z = (x - mean) * (-log_std).exp()
    return (-0.5 * z.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)


def _log_slope(x: Tensor) -> Tensor:
    """log(1 - tanh²(x)), of each entry, without loss of digits at large |x|."""
    return 2 * (math.log(2) - x - F.softplus(-2 * x))


def _action(spec: ActionSpec, x: Tensor) -> Tensor:
    return x.tanh().clamp(-SQUASH_EDGE, SQUASH_EDGE) if spec.kind == "squashed_gaussian" else x.clone()
