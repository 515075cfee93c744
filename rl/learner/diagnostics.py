"""What goes wrong inside deep networks, made visible: units that no longer learn, gradients that vanish or explode.

Both are measured in one of MEASURED_EVERY updates, so that they cost next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

MEASURED_EVERY = 20  # updates
SATURATED = 0.01  # this near to a bound, a unit's slope is as good as 0


def _no_output(y: torch.Tensor) -> torch.Tensor:
    return y <= 0


def _hardly_any_output(y: torch.Tensor) -> torch.Tensor:
    return y.abs() < SATURATED


def _at_either_end(y: torch.Tensor) -> torch.Tensor:
    return y.abs() > 1 - SATURATED


def _at_a_bound(y: torch.Tensor) -> torch.Tensor:
    return (y < SATURATED) | (y > 1 - SATURATED)


# Where an output of each activation has no slope, or hardly any; leaky_relu has one everywhere.
STUCK: dict[type[nn.Module], Callable[[torch.Tensor], torch.Tensor]] = {
    nn.ReLU: _no_output,
    nn.GELU: _hardly_any_output,
    nn.SiLU: _hardly_any_output,
    nn.Mish: _hardly_any_output,
    nn.Tanh: _at_either_end,
    nn.Sigmoid: _at_a_bound,
}


class Diagnostics:
    """Measures of one network. What is frozen is left out."""

    def __init__(self, net: nn.Module):
        self.activations = [m for m in net.modules() if type(m) in STUCK]
        layers = [
            (name, m.weight)
            for name, m in net.named_modules()
            if isinstance(m, nn.Linear | nn.Conv2d) and m.weight.requires_grad
        ]
        policy = [weight for name, weight in layers if name == "policy" or name.startswith("policy.")]
        weights = [weight for _, weight in layers]
        self.ends = {"gradient_norm_first": weights[:1], "gradient_norm_last": (policy or weights)[-1:]}

    @contextmanager
    def watching(self) -> Iterator[dict[str, torch.Tensor]]:
        """Inside, forward passes are looked at; afterwards ``dead_units`` stands in the mapping, a scalar.

        It is the share of the hidden units behind an activation that were zero, or saturated, for every row (and every
        point of a picture): Lu et al. 2019, "Dying ReLU"; Sokar et al. 2023 call them dormant. Missing where there are
        no such activations (leaky_relu, or an LSTM alone).
        """
        found: dict[str, torch.Tensor] = {}
        stuck: list[torch.Tensor] = []

        @torch.no_grad()
        def look(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            # Features of pictures and boards are [N, C, H, W], all others [..., units].
            unit = 1 if output.ndim == 4 else output.ndim - 1
            others = tuple(d for d in range(output.ndim) if d != unit)
            stuck.append(STUCK[type(module)](output).all(dim=others))

        handles = [module.register_forward_hook(look) for module in self.activations]
        try:
            yield found
        finally:
            for handle in handles:
                handle.remove()
        if stuck:
            found["dead_units"] = torch.cat(stuck).float().mean()

    def gradient_norms(self) -> dict[str, torch.Tensor]:
        """Euclidean norms of the gradients of the first layer's weights and of the policy's last layer's, scalars."""
        return {name: w.grad.norm() for name, ends in self.ends.items() for w in ends if w.grad is not None}
