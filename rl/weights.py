"""Weights: handed on to those that have older ones, and kept in files that are whole agents.

Reads: Weights from the learner. Writes: the newest Weights, to actors, evaluation and play; agent files.

An agent file is one ``.safetensors``: the tensors, and in its metadata under the key "fuseki" a JSON object with

* ``format``   1
* ``version``  the weights' version (learner steps behind them)
* ``config``   the run's configuration, fully resolved
* ``info``     whatever the writer wants to tell (games, seconds, ...), JSON
* ``sha256``   digest of the tensors, so that a flipped bit is noticed
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from rl.config import Config, ConfigError, parse_config
from rl.records import Weights
from rl.storage import (
    DamagedFile,
    Place,
    Unreachable,
    digest,
    local_copy,
    place,
    reaching,
    read_tensors,
    replacing,
    write_tensors,
)

FORMAT = 1
KEY = "fuseki"
# Names inside a run folder: checkpoints/step-00001234/{weights.safetensors, manifest.json, ...}
CHECKPOINTS, WEIGHTS_FILE, MANIFEST_FILE = "checkpoints", "weights.safetensors", "manifest.json"
SNAPSHOTS = "snapshots"  # folder of a run with the agents that run.snapshots keeps, by learner step
# ".replaced" is a checkpoint set aside for a newer one of the same step; it counts until that one is in place.
STEP_FOLDER = re.compile(r"step-(\d{8,})(\.replaced)?")


class AgentError(ValueError):
    """There is no agent in what the user named, or it is damaged; the message is one sentence with the remedy."""


class Versioned(Protocol):
    @property
    def version(self) -> int: ...


V = TypeVar("V", bound=Versioned)


class Publisher(Generic[V]):
    """Keeps the newest version of something and hands it only to those that have an older one.

    What is kept is ``Weights``, or, on Ray, anything with a ``version`` that refers to them in the object store.
    Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._newest: V | None = None
        self._lock = threading.Lock()

    @property
    def version(self) -> int:
        """The newest version, -1 before the first."""
        newest = self._newest
        return -1 if newest is None else newest.version

    def publish(self, item: V) -> None:
        """Raises ValueError when the version is not newer than the last: actors would never fetch it."""
        with self._lock:
            if item.version <= self.version:
                raise ValueError(f"version {item.version} is not newer than the published version {self.version}")
            self._newest = item

    def newer_than(self, version: int) -> V | None:
        """The newest item, or None when the caller's ``version`` (-1: none yet) is as new."""
        newest = self._newest
        return newest if newest is not None and newest.version > version else None


@dataclass(frozen=True)
class LoadedAgent:
    """What an agent file holds."""

    weights: Weights
    config: Config
    info: dict[str, Any] = field(default_factory=dict)


def agent_metadata(agent: LoadedAgent) -> dict[str, str]:
    """The metadata of an agent file. Raises TypeError when ``info`` is not JSON."""
    about = {
        "format": FORMAT,
        "version": agent.weights.version,
        "config": agent.config.model_dump(mode="json"),
        "info": agent.info,
        "sha256": digest(agent.weights.tensors),
    }
    return {KEY: json.dumps(about)}


def save_agent(path: str | Path, weights: Weights, config: Config, info: dict[str, Any]) -> None:
    """Write an agent file, whole or not at all; its folder must exist. Raises OSError when it cannot be written."""
    metadata = agent_metadata(LoadedAgent(weights, config, info))
    with replacing(path) as file:
        write_tensors(file, weights.tensors, metadata)


def load_agent(path: str | Place) -> LoadedAgent:
    """Read an agent file, local or by its URL.

    Raises AgentError when it is missing, damaged, or not an agent of this version.
    """
    try:
        tensors, metadata = read_tensors(local_copy(place(path)))
    except FileNotFoundError as error:
        raise AgentError(f"there is no file {str(path)!r}; give an agent's .safetensors file") from error
    except Unreachable as error:
        raise AgentError(str(error)) from error
    except OSError as error:
        raise AgentError(f"cannot read agent file {str(path)!r}: {error.strerror or error}") from error
    except DamagedFile as error:
        raise AgentError(f"agent file {str(path)!r} {error}; copy it again, or use another checkpoint") from error
    if KEY not in metadata:
        raise AgentError(
            f"{str(path)!r} holds tensors but no agent: its metadata has no {KEY!r} entry; use a file written by"
            " fuseki train or fuseki export"
        )
    try:
        about = json.loads(metadata[KEY])
        version = about["format"]
    except (ValueError, TypeError, KeyError) as error:
        raise AgentError(f"agent file {str(path)!r} has unreadable metadata; copy it again") from error
    if version != FORMAT:
        raise AgentError(
            f"agent file {str(path)!r} has format version {version}, but this fuseki reads version {FORMAT}; use the"
            " fuseki that wrote it"
        )
    if about.get("sha256") != digest(tensors):
        raise AgentError(f"agent file {str(path)!r} is corrupt: its tensors do not match their checksum; copy it again")
    try:
        return LoadedAgent(Weights(about["version"], tensors), parse_config(about["config"], str(path)), about["info"])
    except (KeyError, ConfigError) as error:
        raise AgentError(
            f"agent file {str(path)!r} has a configuration that this fuseki cannot use: {error}"
        ) from error


def is_complete(checkpoint: Place) -> bool:
    """Whether every file that the checkpoint folder's manifest lists is there in its full length."""
    try:
        files = json.loads((checkpoint / MANIFEST_FILE).read_text())["files"]
        return all((checkpoint / name).stat().st_size == entry["bytes"] for name, entry in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # no manifest, or not one of ours
        return False


def newest_first(names: list[str]) -> list[str]:
    """The names of checkpoint folders among ``names``, by falling step."""
    found = [(int(match[1]), match[2] is None, name) for name in names if (match := STEP_FOLDER.fullmatch(name))]
    return [name for *_, name in sorted(found, reverse=True)]


def resolve(path: str | Place) -> Place:
    """The agent file of a run folder (its newest complete checkpoint), a checkpoint folder or a .safetensors file.

    Each may be local or any fsspec URL. Raises AgentError when there is none.
    """
    try:
        with reaching(path, passing=AgentError):
            return _resolve(place(path))
    except Unreachable as error:
        raise AgentError(str(error)) from error


def _resolve(path: Place) -> Place:
    if path.is_file():
        return path
    if not path.exists():
        raise AgentError(
            f"there is nothing at {str(path)!r}; give a run folder, a checkpoint folder or a .safetensors file"
        )
    if (path / WEIGHTS_FILE).is_file():
        return path / WEIGHTS_FILE
    root = path / CHECKPOINTS if (path / CHECKPOINTS).is_dir() else path
    for name in newest_first([entry.name for entry in root.iterdir()]):
        if is_complete(root / name) and (root / name / WEIGHTS_FILE).is_file():
            return root / name / WEIGHTS_FILE
    if root != path:
        raise AgentError(f"run folder {str(path)!r} has no complete checkpoint yet; train until the first is written")
    raise AgentError(
        f"folder {str(path)!r} is neither a run folder (no {CHECKPOINTS}/) nor a checkpoint (no {WEIGHTS_FILE}); give"
        " one of those or a .safetensors file"
    )
