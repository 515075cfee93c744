"""Where a network lies, and how it takes over weights that somebody else has trained."""

from __future__ import annotations

import numpy as np
import torch

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
