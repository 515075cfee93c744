"""Settings of runs: what differs between them, and what differs from the defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from rl.config import ConfigError, parse_config
from rl.curves import Run

ABSENT = "–"


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """ "section.key" → value as YAML has it."""
    found: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            text = yaml.safe_dump(value, default_flow_style=True, width=1000)
            found[f"{prefix}{key}"] = text.removesuffix("...\n").strip()
    return found


def differences(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Settings in which the runs are not all alike: key, and each run's value. What W&B is told is left out."""
    configs = [flat(run.config) for run in runs]
    keys = dict.fromkeys(key for config in configs for key in config if not key.startswith("wandb."))
    rows = [(key, [config.get(key, ABSENT) for config in configs]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def chosen(run: Run) -> str:
    """YAML of the settings that are not the defaults; all of them where today's defaults do not fit them."""
    try:
        config = parse_config(run.config, run.name).model_dump(mode="json", exclude_defaults=True)
    except ConfigError:
        config = dict(run.config)
    return yaml.safe_dump(config, sort_keys=False)


def whole(run: Run) -> str:
    """YAML of all settings."""
    return yaml.safe_dump(run.config, sort_keys=False)
