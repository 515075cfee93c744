"""YAML and ``key.sub=value`` overrides → a checked configuration; mistakes in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from rl.config.games import GameConfig
from rl.config.gym import GymConfig
from rl.config.sections import Config, ConfigError

# Keys that were called otherwise in files already written (agents, run folders) → their names today.
RENAMED = {"learner.start_from": "learner.init_from"}
# A discriminated union adds its tag to the location of an error ("net.encoder.resnet.blocks"); users never wrote it.
TAGS = {"mlp", "conv", "impala", "resnet", "transformer", "rnn", "lstm", "gru", "ppo"}


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file and apply ``key.sub=value`` overrides (values are YAML).

    Raises ConfigError: one sentence that names the file, the key and the remedy.
    """
    try:
        text = Path(path).read_text()
    except OSError as error:
        raise ConfigError(f"cannot read config {str(path)!r}: {error.strerror}") from error
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"config {str(path)!r} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"config {str(path)!r} must be a mapping of keys to values")
    _no_programs(data, str(path))
    for override in overrides:
        _apply(data, override)
    config = parse_config(data, str(path))
    if isinstance(config, GameConfig) and (conflict := config.conflict()) is not None:
        raise ConfigError(f"config {str(path)!r}: {conflict}")
    return config


def _no_programs(data: dict[str, Any], source: str) -> None:
    """A file, maybe a stranger's, does not say which programs are started here. Raises ConfigError."""
    evaluation = data.get("evaluation")
    opponents = evaluation.get("opponents") if isinstance(evaluation, dict) else None
    for opponent in opponents if isinstance(opponents, list) else ():
        if starts_program(opponent):
            raise ConfigError(
                f"config {source!r}: evaluation.opponents: {opponent!r} would start a program, which a file may not: "
                "give the opponents on the command line, evaluation.opponents='[...]'"
            )


def starts_program(opponent: object) -> bool:
    """Whether this opponent is a command of the user's."""
    return isinstance(opponent, str) and opponent.strip().startswith("gtp:")


def parse_config(data: dict[str, Any], source: str) -> Config:
    """Validate a mapping. Raises ConfigError naming ``source`` and every wrong key."""
    kind: type[Config] = GymConfig if "algorithm" in data else GameConfig
    data = _renamed(data, source)
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"config {source!r}: {'; '.join(_explain(e, kind) for e in error.errors())}") from error


def _renamed(data: dict[str, Any], source: str) -> dict[str, Any]:
    """A copy of ``data`` with today's names. Raises ConfigError where both names of a key have a value."""
    for old, new in RENAMED.items():
        section, _, before = old.partition(".")
        _, _, after = new.partition(".")
        values = data.get(section)
        if not isinstance(values, dict) or before not in values:
            continue
        values = dict(values)
        value = values.pop(before)
        if value is not None and values.get(after) not in (None, value):
            raise ConfigError(f"config {source!r}: {old} is the former name of {new}: give only {new}")
        data = data | {section: values if value is None else values | {after: value}}
    return data


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"override {override!r} must look like key.sub=value")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: the value is not valid YAML") from error
    *parents, last = key.strip().split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise ConfigError(f"override {override!r}: {parent!r} is a value, not a section")
    data[last] = parsed


def _explain(error: Any, kind: type[Config]) -> str:
    parts = [str(p) for p in error["loc"] if p not in TAGS and "[" not in str(p)]
    key = ".".join(parts) or "the whole file"
    if error["type"] == "extra_forbidden":
        return f"unknown key {key!r}{_suggest(parts, kind)}"
    if error["type"] == "missing":
        return f"key {key!r} is missing"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error" and not parts:  # of sections together; it names its keys
        return message
    given = error.get("input")
    shown = f" (got {given!r})" if isinstance(given, (str, int, float, bool)) else ""
    return f"{key}: {message[:1].lower()}{message[1:]}{shown}"


def _suggest(parts: list[str], kind: type[Config]) -> str:
    import difflib

    model: Any = kind
    for part in parts[:-1]:
        model = model.model_fields[part].annotation if part in getattr(model, "model_fields", {}) else None
    known = list(getattr(model, "model_fields", {}))
    close = difflib.get_close_matches(parts[-1], known, 1) if parts else []
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known keys here: {', '.join(known)}" if known else "; remove it"
