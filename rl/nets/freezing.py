"""Which parts of a network are not trained."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from rl.config import ConfigError


def freeze(net: nn.Module, patterns: Sequence[str]) -> None:
    """Give the parameters whose names match one of ``patterns`` ("encoder.*"; * also stands for dots) no gradient.

    A module all of whose parameters are frozen goes into evaluation mode. Raises ConfigError when a pattern matches
    nothing, or nothing is left to train.
    """
    names = [name for name, _ in net.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            parts = list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))
            raise ConfigError(
                f"learner.freeze: no parameter matches {pattern!r}; names begin with {', '.join(parts[:8])}"
                f"{' and so on' if len(parts) > 8 else ''} (a pattern looks like {parts[0].partition('.')[0] + '.*'!r})"
            )
    for name, parameter in net.named_parameters():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in net.parameters()):
        raise ConfigError(f"learner.freeze: {', '.join(patterns)} leaves nothing to train; leave something out")
    for module in net.modules():
        own = list(module.parameters())
        if own and not any(parameter.requires_grad for parameter in own):
            module.eval()
