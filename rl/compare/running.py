"""Trains what is not trained yet, one run after the other."""

from __future__ import annotations

from pathlib import Path

import yaml

from rl.compare.plan import Contender, Plan, Wrong
from rl.config import Config, parse_config
from rl.runtime import train
from rl.runtime.checkpoint import latest_checkpoint
from rl.runtime.metrics import FILE, read_metrics
from rl.weights import SNAPSHOTS


class Interrupted(Exception):
    """A run was ended before its budget was used; the same command goes on with it."""


def trained(config: Config, folder: Path) -> bool:
    """Whether the run in ``folder`` has used its budget. Raises Wrong when it is one of another configuration."""
    path = folder / "config.yaml"
    if not path.is_file():
        return False
    there = parse_config(yaml.safe_load(path.read_text()), str(path))
    if there != config:
        raise Wrong(
            f"{str(folder)!r} is a run with other settings ({_difference(there, config)}): choose another --out"
        )
    rows = read_metrics(folder) if (folder / FILE).is_file() else []
    return bool(rows) and config.run.used(rows[-1]) >= 1.0 and any((folder / SNAPSHOTS).glob("*.safetensors"))


def _difference(there: Config, wanted: Config) -> str:
    if type(there) is not type(wanted):
        return "another algorithm"
    a, b = there.model_dump(mode="json"), wanted.model_dump(mode="json")
    for section, value in b.items():
        if value == a[section]:
            continue
        if not isinstance(value, dict) or not isinstance(a[section], dict):
            return f"{section} {a[section]} there, {value} here"
        for key, inner in value.items():
            if inner != a[section].get(key):
                return f"{section}.{key} {a[section].get(key)} there, {inner} here"
    return "they differ"


def run(plan: Plan, contender: Contender, seed: int, out: Path, serial: bool) -> None:
    """Train one contender with one seed, or go on with it where it was stopped.

    Raises Interrupted when it was stopped again, and whatever ``rl.runtime.train`` raises.
    """
    config, folder = plan.config(contender, seed), contender.folder(out, seed)
    if trained(config, folder):
        return
    begun = latest_checkpoint(folder / "checkpoints") is not None
    train(config, folder, resume=begun, serial=serial)
    if not trained(config, folder):
        raise Interrupted(f"{contender.label}, seed {seed}")


def snapshots(contender: Contender, seed: int, out: Path) -> list[Path]:
    """The agent files that a run has kept, the oldest first."""
    return sorted((contender.folder(out, seed) / SNAPSHOTS).glob("*.safetensors"))
