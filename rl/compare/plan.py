"""What is compared: configurations, each with settings of its own, the seeds, and the budget that all get."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from rl.config import Config, ConfigError, GameConfig, GymConfig, load_config, parse_config
from rl.config.sections import BUDGETS
from rl.evaluation.game_files import file_name

NEVER = 1e9  # minutes; evaluations while training would be charged to its clock, and are made afterwards instead


# Every two of an environment; the first configuration, which the others are variations of, against each; none.
Matches = Literal["all", "first", "none"]


class Wrong(ValueError):
    """What the user asked to compare cannot be; the message is one sentence."""


@dataclass(frozen=True)
class Contender:
    """One way of learning, in one environment."""

    label: str  # unique among those of its environment
    environment: str  # env with its options: what strengths can be compared within
    config: Config  # as the user gave it, budget and seed aside

    @property
    def simulations(self) -> int:
        """Of a move when it is measured with search, as its configuration has it; 0 in other environments."""
        return self.config.evaluation.simulations if isinstance(self.config, GameConfig) else 0

    def folder(self, out: Path, seed: int) -> Path:
        """Of the run with this seed."""
        return out / "runs" / file_name(self.environment) / file_name(self.label) / f"seed-{seed}"


@dataclass(frozen=True)
class Plan:
    contenders: tuple[Contender, ...]
    seeds: tuple[int, ...]
    budget: tuple[str, float]  # a name of BUDGETS, and how much of it
    snapshots: int  # agents measured on the way of each run
    matches: Matches = "all"  # which last agents of a board game play each other

    @property
    def environments(self) -> list[str]:
        return list(dict.fromkeys(c.environment for c in self.contenders))

    def config(self, contender: Contender, seed: int) -> Config:
        """What is trained: the contender's configuration with the seed and the budget. Raises ConfigError."""
        data = contender.config.model_dump(mode="json")
        name, amount = self.budget
        data["seed"] = seed
        data["run"] |= dict.fromkeys(BUDGETS) | {name: amount, "snapshots": self.snapshots, "keep_checkpoints": 1}
        data["evaluation"] |= {"minutes": NEVER}
        if isinstance(contender.config, GymConfig):
            data["evaluation"] |= {"episodes": 0, "videos": 0, "stop_at": None, "patience": None}
        else:
            data["evaluation"] |= {"positions": 100, "simulations": 0, "games": 0}
        return parse_config(data, contender.label)


def make_plan(
    configs: Sequence[str],
    seeds: int,
    budget: str,
    snapshots: int = 8,
    vary: Sequence[str] = (),
    matches: Matches = "all",
) -> Plan:
    """Read what the user typed.

    ``configs``: each a YAML file and, in the same words, settings that replace its own ("a.yaml key.sub=value"), and
    label=NAME, by which it is called then.
    ``budget``: "minutes=5", or another name of BUDGETS. ``vary``: "key.sub=value,value,...", every combination of
    which makes a contender of each configuration. Raises Wrong or ConfigError, in one sentence.
    """
    if not configs:
        raise Wrong("name at least one configuration to compare")
    if seeds < 1:
        raise Wrong(f"--seeds must be 1 or more, not {seeds}")
    varied = [_variation(text) for text in vary]
    contenders = []
    for text in configs:
        path, *overrides = _words(text)
        name = next((w.removeprefix("label=") for w in overrides if w.startswith("label=")), None)
        overrides = [w for w in overrides if not w.startswith("label=")]
        for combination in itertools.product(*varied):
            settings = [*overrides, *combination]
            config = load_config(path, settings)
            environment = _environment(config)
            shown = [s for s in settings if not s.startswith(("env=", "env_options"))]
            label = (
                _label(Path(path).stem, shown) if name is None else _label(name, [s for s in combination if s in shown])
            )
            contenders.append(Contender(label, environment, config))
    if len(contenders) < 2:
        raise Wrong("there is nothing to compare with: name a second configuration, or several values by --vary")
    plan = Plan(tuple(_unique(contenders)), tuple(range(seeds)), _budget(budget), snapshots, matches)
    for contender in plan.contenders:
        plan.config(contender, 0)  # raises where the budget does not fit
    _check_kinds(plan)
    return plan


def _check_kinds(plan: Plan) -> None:
    """Raises Wrong where nothing could be said at the end, since each environment has a single contender."""
    counts = {e: sum(c.environment == e for c in plan.contenders) for e in plan.environments}
    alone = [environment for environment, count in counts.items() if count == 1]
    if len(alone) == len(counts):
        raise Wrong(
            f"strength cannot be compared between environments: {' and '.join(alone)} have one configuration each; "
            "compare configurations of the same env"
        )


def _words(text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise Wrong(f"{text!r} cannot be read: {str(error).lower()}") from error
    if not words:
        raise Wrong("a configuration's name is empty")
    for word in words[1:]:
        if "=" not in word:
            hint = '; a value with spaces is put in quotes of its own: "key={a: 1, b: 2}"' if "{" in text else ""
            raise Wrong(f"{text!r}: {word!r} is no setting of the form key.sub=value{hint}")
    return words


def _variation(text: str) -> list[str]:
    key, equals, values = text.partition("=")
    try:
        found = yaml.safe_load(f"[{values}]") if equals else None
    except yaml.YAMLError:
        found = None
    if not key.strip() or not found:
        raise Wrong(f"--vary {text!r}: write key.sub=value,value,...")
    return [f"{key.strip()}={value if isinstance(value, str) else json.dumps(value)}" for value in found]


def _budget(text: str) -> tuple[str, float]:
    name, _, amount = text.partition("=")
    if name not in BUDGETS or not re.fullmatch(r"[0-9]+(\.[0-9]+)?([eE]\+?[0-9]+)?", amount):
        raise Wrong(f"--budget {text!r}: write one of {', '.join(f'{n}=NUMBER' for n in BUDGETS)}")
    value = float(amount)
    if value <= 0 or (name != "minutes" and value != int(value)):
        raise Wrong(f"--budget {text!r}: the number must be above 0, and whole but for minutes")
    return name, value if name == "minutes" else int(value)


def _environment(config: Config) -> str:
    given = config.played_options if isinstance(config, GameConfig) else config.env_options
    options = " ".join(f"{key}={value}" for key, value in given.items())
    return f"{config.env} {options}".strip()


def _label(stem: str, settings: Sequence[str]) -> str:
    """ "ablation channels=16": the file, and the last part of each key that was set."""
    short = [re.sub(r"^[\w.]*\.(?=\w+=)", "", setting) for setting in settings]
    return " ".join([stem, *short])


def _unique(contenders: Sequence[Contender]) -> list[Contender]:
    """Raises Wrong where two are the same; a file's name is left out where all are of one file."""
    seen: dict[tuple[str, str], Contender] = {}
    for contender in contenders:
        key = contender.environment, file_name(contender.label)  # which names its folder
        if key in seen:
            raise Wrong(f"{contender.label!r} is there twice, or is called too much like another: add label=NAME")
        seen[key] = contender
    stems = {c.label.split(" ", 1)[0] for c in contenders}
    if len(stems) == 1 and all(" " in c.label for c in contenders):
        return [Contender(c.label.split(" ", 1)[1], c.environment, c.config) for c in contenders]
    return list(contenders)


def describe(plan: Plan) -> dict[str, Any]:
    """The plan as plain JSON values."""
    name, amount = plan.budget
    return {"budget": {name: amount}, "seeds": list(plan.seeds), "snapshots": plan.snapshots, "matches": plan.matches}


__all__ = ["ConfigError", "Contender", "Plan", "Wrong", "describe", "make_plan"]
