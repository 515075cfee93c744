"""What a job needs of this machine: our code, the configuration, and the code that it names.

The dependencies (torch, Ray, numba, ...) are installed on the cluster's machines; what is sent is what people change.
Our code goes apart from the rest: a machine keeps it under a name made of its content, and numba's compiled functions
beside it, so that only the first job of a version waits for the compiler.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import site
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rl.config import Config, ConfigError, GameConfig, GymConfig
from rl.config.load import starts_program
from rl.storage import is_url

CODE = ("rl", "envs")  # packages
CONFIG = "run.yaml"
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.py[co]", "*.nb[ic]", ".*")


@dataclass(frozen=True)
class Packed:
    """With ``code`` on the path, ``python -m rl.cli train run.yaml WORDS`` in ``folder`` trains on another machine."""

    code: Path  # holds the packages
    folder: Path  # holds the configuration and the user's own code
    words: list[str]  # key=value: what the file may not say


@contextmanager
def packed(config: Config) -> Iterator[Packed]:
    """All of it in folders that are gone after the block.

    Raises ConfigError when the configuration names what only this machine has.
    """
    _check_here_only(config)
    with tempfile.TemporaryDirectory(prefix="fuseki-job-") as made:
        code, folder = Path(made) / "code", Path(made) / "job"
        folder.mkdir()
        for package in CODE:
            spec = importlib.util.find_spec(package)
            assert spec is not None and spec.submodule_search_locations, "we are running it"
            shutil.copytree(spec.submodule_search_locations[0], code / package, ignore=LEFT_OUT)
        renamed = config.model_copy(update={"env": _take(config.env, folder)})
        if isinstance(renamed, GymConfig) and renamed.rollout.wrappers:
            wrappers = tuple(_taken(wrapper, folder) for wrapper in renamed.rollout.wrappers)
            renamed = renamed.model_copy(update={"rollout": renamed.rollout.model_copy(update={"wrappers": wrappers})})
        words = []
        if isinstance(renamed, GameConfig) and any(map(starts_program, renamed.evaluation.opponents)):
            words = [f"evaluation.opponents={json.dumps(renamed.evaluation.opponents)}"]
            fewer = renamed.evaluation.model_copy(update={"opponents": ()})
            renamed = renamed.model_copy(update={"evaluation": fewer})
        (folder / CONFIG).write_text(renamed.to_yaml())
        yield Packed(code, folder, words)


def _taken(wrapper: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    return {**wrapper, "name": _take(wrapper["name"], folder)}


def _take(name: str, folder: Path) -> str:
    """Put the code of ``file.py:attribute`` or ``module:attribute`` into ``folder``; its name there."""
    place, _, attribute = name.rpartition(":")
    if not place:
        return name
    if place.endswith(".py"):
        path = Path(place).resolve()
        inside = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else Path(path.name)
        (folder / inside).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / inside)
        return f"{inside.as_posix()}:{attribute}"
    top = place.split(".")[0]
    spec = importlib.util.find_spec(top)
    if spec is None or top in CODE or top in sys.stdlib_module_names:
        return name
    found = Path(next(iter(spec.submodule_search_locations or ()), spec.origin or ""))
    if not _installed(found):  # what pip has brought is brought by pip on the cluster's machines too
        if found.is_dir():
            shutil.copytree(found, folder / found.name, ignore=LEFT_OUT, dirs_exist_ok=True)
        else:
            shutil.copyfile(found, folder / found.name)
    return name


def _installed(path: Path) -> bool:
    roots = {*site.getsitepackages(), site.getusersitepackages(), *map(sysconfig.get_path, ("stdlib", "purelib"))}
    return any(path.is_relative_to(root) for root in roots)


def _check_here_only(config: Config) -> None:
    named: dict[str, tuple[str | None, ...]] = {"learner.init_from": (config.learner.init_from,)}
    if isinstance(config, GameConfig):
        named["experience.start_from"] = (config.experience.start_from,)
        named["evaluation.opponents"] = config.evaluation.opponents
    for key, values in named.items():
        for value in values:
            if value is not None and _only_here(value):
                raise ConfigError(
                    f"{key}: {value!r} lies on this machine, where the cluster does not see it: give a URL, or an"
                    " absolute path on a disk that its machines share"
                )


def _only_here(name: str) -> bool:
    """Whether this is a relative path of something on this machine."""
    from rl.models import names as shipped

    return not is_url(name) and not name.startswith("/") and name not in shipped() and Path(name).exists()
