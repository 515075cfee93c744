"""The formats in which a network can be run for inference: number type, memory layout, folded, compiled."""

from __future__ import annotations

import copy
import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from rl.nets.layers import fold, foldable
from rl.records import MARGIN_SCALE

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Format:
    """How the network is run; ``name`` is what logs show and what pins it."""

    dtype: str  # a key of DTYPES
    channels_last: bool
    folded: bool = False
    compiled: bool = False

    @property
    def name(self) -> str:
        layout = "nhwc" if self.channels_last else "nchw"
        return f"{self.dtype}-{layout}" + "-folded" * self.folded + "-compiled" * self.compiled

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format


EXACT = Format("float32", channels_last=False)


class Answer(nn.Module):
    """A network in a format from float32 planes [n, C, H, W] to the fields of rl.records.Evaluation, in their order.

    ``score_utility``: this share of the value is made of the score head's lead, as its tanh, so that among moves that
    win (or lose) alike the better score is preferred (Wu 2019, §4.1 and appendix B: score utility). With 0 only logits
    and wdl are answered.
    """

    def __init__(self, net: nn.Module, fmt: Format, score_utility: float = 0.0):
        super().__init__()
        self.net, self.dtype, self.memory_format = net, DTYPES[fmt.dtype], fmt.memory_format
        self.score_utility = score_utility

    def forward(self, planes: torch.Tensor) -> tuple[torch.Tensor, ...]:
        planes = planes.to(self.dtype, memory_format=self.memory_format)
        if not self.score_utility:
            logits, wdl = self.net(planes)
            return logits.float(), wdl.float().softmax(1)
        logits, wdl, extra = self.net.all_heads(planes)  # type: ignore[operator]  # a PolicyValueNet has it
        wdl = wdl.float().softmax(1)
        value = wdl[:, 0] - wdl[:, 2]
        lead = extra["score"].float()
        shift = 0.5 * self.score_utility * (lead.tanh() - value)
        win, loss = (wdl[:, 0] + shift).clamp(min=0), (wdl[:, 2] - shift).clamp(min=0)
        shifted = torch.stack((win, wdl[:, 1], loss), 1)
        return logits.float(), shifted / shifted.sum(1, keepdim=True), value, MARGIN_SCALE * lead


class Runner:
    """The network in one format on one device; ``update`` writes new weights in place, so compiled code stays valid.

    ``answer`` is an Answer; ``bare`` is the network alone, for planes that ``convert`` has made: a benchmark's ceiling.
    """

    def __init__(self, fmt: Format, net: nn.Module, device: torch.device, score_utility: float = 0.0):
        self.format = fmt
        self.device = device
        form = fold(net) if fmt.folded else copy.deepcopy(net).eval()
        form = form.requires_grad_(False).to(device, DTYPES[fmt.dtype])
        self.net = form.to(memory_format=fmt.memory_format)  # type: ignore[call-overload]  # missing in torch's stubs
        self.bare: Callable[..., Any] = self.net
        self.answer: Callable[..., Any] = Answer(self.net, fmt, score_utility)
        if fmt.compiled:  # at the first call; static shapes: the evaluator pads to its batch size
            self.bare, self.answer = (torch.compile(m, dynamic=False) for m in (self.bare, self.answer))

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        source = (fold(net) if self.format.folded else net).state_dict()
        for name, tensor in self.net.state_dict().items():
            tensor.copy_(source[name])

    def convert(self, planes: torch.Tensor) -> torch.Tensor:
        """Float32 planes [n, C, H, W] in this format, on the device."""
        dtype, layout = DTYPES[self.format.dtype], self.format.memory_format
        return planes.to(self.device, dtype, non_blocking=True, memory_format=layout)


def formats(net: nn.Module, device: torch.device) -> list[Format]:
    """Every way in which ``net`` can run on ``device``; the first is EXACT."""
    dtypes = ["float32", "bfloat16", "float16"] if device.type == "cuda" else ["float32", "bfloat16"]
    layouts = [False, True] if any(isinstance(m, nn.Conv2d) for m in net.modules()) else [False]
    folds = [False, True] if foldable(net) else [False]
    eager = [Format(d, last, folded) for d in dtypes for last in layouts for folded in folds]
    return eager + ([replace(f, compiled=True) for f in eager] if has_compiler(device) else [])


def has_compiler(device: torch.device) -> bool:
    """Whether torch.compile has what it needs here: Triton for CUDA, a C++ compiler for a CPU."""
    if device.type == "cuda":
        return importlib.util.find_spec("triton") is not None
    return any(shutil.which(name) for name in ("g++", "clang++", "cl"))
