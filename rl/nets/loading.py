"""Where a network lies, and how it takes over weights that somebody else has trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from rl.records import Weights


def device_of(name: str) -> torch.device:
    """The device of this name; "auto" is CUDA where it exists. Raises ValueError when there is none such here."""
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"unknown device {name!r}: choose auto, cpu or cuda") from error
    if device.type == "cuda" and not available:
        raise ValueError(f"device {name!r} was asked for, but torch finds no CUDA device here")
    return device


@torch.no_grad()
def copy_weights(weights: Weights, state: dict[str, torch.Tensor]) -> None:
    """Copy ``weights`` into the tensors of a network's ``state``, in place.

    Raises ValueError, naming the first tensor at fault, when they are another network's or not finite; nothing is
    copied then.
    """
    who = f"weights version {weights.version} do not fit this network"
    for name, tensor in state.items():
        if name not in weights.tensors:
            raise ValueError(f"{who}: tensor {name!r} is missing")
        found = weights.tensors[name]
        if found.shape != tuple(tensor.shape):
            raise ValueError(f"{who}: tensor {name!r} has shape {found.shape}, not {tuple(tensor.shape)}")
        if not np.isfinite(found).all():
            raise ValueError(f"weights version {weights.version} are unusable: tensor {name!r} has values not finite")
    extra = next((name for name in weights.tensors if name not in state), None)
    if extra is not None:
        raise ValueError(f"{who}: it has no tensor {extra!r}")
    for name, tensor in state.items():
        # A copy first: what comes from Ray's object store is read-only, which torch warns of.
        tensor.copy_(torch.from_numpy(np.array(weights.tensors[name])))


@dataclass(frozen=True)
class Transfer:
    """What a network took over from an agent."""

    tensors: int  # taken over, running statistics among them
    parameters: int  # numbers in those of them that are trained
    left: tuple[str, ...]  # what keeps its initial values: "policy.*" where nothing of a module was found

    def __str__(self) -> str:
        kept = f"; initial values stay in {', '.join(self.left)}" if self.left else ", which is the whole network"
        return f"{self.tensors} tensors with {self.parameters:,} parameters{kept}"


@torch.no_grad()
def take_over(weights: Weights, net: nn.Module) -> Transfer:
    """Copy into ``net`` the layers that ``weights`` has under the same names in the same shapes.

    A layer (a module's own weight, bias and running statistics) is taken over whole or not at all: a bias says nothing
    without its weights, nor a count of observations without their mean.
    Raises ValueError, with nothing copied, when no layer agrees or one that does is not finite.
    """
    state, given = net.state_dict(), weights.tensors
    parameters = {name for name, _ in net.named_parameters()}
    torn = {_module(n) for n, tensor in state.items() if n not in given or given[n].shape != tuple(tensor.shape)}
    found = {name for name in state if _module(name) not in torn}
    if not found & parameters:
        examples = ", ".join(repr(name) for name in list(state)[:3])
        raise ValueError(
            f"nothing in it agrees in name and shape with this network, which has {examples} and so on: give an agent "
            "with the same encoder"
        )
    broken = next((name for name in sorted(found) if not np.isfinite(given[name]).all()), None)
    if broken is not None:
        raise ValueError(f"its weights are unusable: tensor {broken!r} has values not finite")
    for name in found:
        state[name].copy_(torch.from_numpy(np.array(given[name])))
    numbers = sum(state[name].numel() for name in found & parameters)
    return Transfer(len(found), numbers, _grouped(list(state), found))


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _grouped(names: list[str], found: set[str]) -> tuple[str, ...]:
    """``names`` not in ``found``, those of a module without any in one: "policy.*"."""
    partly = {name[:end] for name in found for end in range(len(name)) if name[end] == "."}
    groups: dict[str, None] = {}
    for name in names:
        if name in found:
            continue
        ends = [i for i, letter in enumerate(name) if letter == "."]
        whole = next((name[:end] for end in ends if name[:end] not in partly), None)
        groups[name if whole is None else f"{whole}.*"] = None
    return tuple(groups)
