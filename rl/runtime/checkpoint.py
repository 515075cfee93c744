"""Checkpoints: a run's whole state in a folder that is there complete or not at all; never pickle.

Reads: the saved states of learner, experience and actors (``Tensors`` by part, and JSON). Writes, under a root that
is a local folder or any fsspec URL (``s3://``, ``gs://``, ``memory://`` ...):

    step-00001234/weights.safetensors    the agent that actors use at this step, an agent file (``weights.py``)
    step-00001234/<part>.safetensors     one for each part: learner, experience, actor-0 ...
    step-00001234/state.json             everything that is no array: counters, random streams, run ids
    step-00001234/manifest.json          length and SHA-256 of each of these files

The rules that make an interruption harmless, whenever it comes:

* locally, everything is written and synced under a temporary name, and one rename makes it a checkpoint;
* remotely, where nothing can be renamed, the manifest is written last, and a folder without one is no checkpoint;
* a checkpoint that is to go loses its manifest first;
* a step saved again sets the older one aside as ``step-00001234.replaced``, which counts until the new one is there;
* nothing is removed before the new checkpoint is complete, except what an interrupted write left behind.

One process writes to a root at a time.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from rl.config import Config
from rl.records import Tensors, Weights
from rl.storage import DamagedFile, Digest, Unreachable, folder_to_disk, reaching, read_tensors, to_disk, write_tensors
from rl.weights import MANIFEST_FILE, WEIGHTS_FILE, LoadedAgent, agent_metadata, newest_first

log = logging.getLogger(__name__)

FORMAT = 2
STATE_FILE = "state.json"
TENSORS_SUFFIX = ".safetensors"
REPLACED_SUFFIX, PARTIAL_SUFFIX = ".replaced", ".partial"
PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file would exceed the largest allowed size (ulimit -f)",
}


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written or read; the message is one sentence with the remedy."""


class StorageError(CheckpointError):
    """The disk or store failed, not the user. (A class, since a cause does not travel between processes.)"""


class _Fault(Exception):
    """What is wrong with a checkpoint; the message completes the sentence "checkpoint ..."."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint folder holds beside its agent file, which ``weights.load_agent`` reads."""

    step: int
    parts: dict[str, Tensors]
    state: dict[str, Any]


def save_checkpoint(
    root: str | Path,
    step: int,
    parts: dict[str, Tensors],
    state: dict[str, Any],
    weights: Weights,
    config: Config,
    info: dict[str, Any],
    keep: int,
) -> str:
    """Write the checkpoint of ``step`` and remove all complete ones but this and the ``keep - 1`` newest others.

    ``state`` is JSON (integers of any size; tuples come back as lists). Returns the checkpoint's folder or URL.
    Raises CheckpointError when it cannot be written; those written before are then as usable as they were. Raises
    TypeError when ``state`` or ``info`` is not JSON or an array has a dtype that safetensors lacks, and ValueError
    for a part that cannot be a file's name.
    """
    for part in parts:
        if not PLAIN_NAME.fullmatch(part) or part + TENSORS_SUFFIX == WEIGHTS_FILE:
            raise ValueError(f"a part of a checkpoint cannot be called {part!r}")
    name = f"step-{step:08d}"
    contents: dict[str, tuple[Tensors, dict[str, str]]] = {}
    contents.update({part + TENSORS_SUFFIX: (tensors, {}) for part, tensors in parts.items()})
    contents[WEIGHTS_FILE] = (weights.tensors, agent_metadata(LoadedAgent(weights, config, info)))
    state_bytes = json.dumps(state).encode()
    fs, folder = filesystem(root)
    try:
        with _reaching(root):
            fs.makedirs(folder, exist_ok=True)
            _remove_leftovers(fs, folder)
            with _new_folder(fs, folder, name) as target:
                files = {}
                for file_name, (tensors, metadata) in contents.items():
                    with _new_file(fs, f"{target}/{file_name}") as file:
                        write_tensors(file, tensors, metadata)
                    files[file_name] = file.entry()
                with _new_file(fs, f"{target}/{STATE_FILE}") as file:
                    file.write(state_bytes)
                files[STATE_FILE] = file.entry()
                with _new_file(fs, f"{target}/{MANIFEST_FILE}") as file:
                    file.write(json.dumps({"format": FORMAT, "step": step, "files": files}, indent=1).encode())
            _prune(fs, folder, name, keep)
    except OSError as error:
        size = len(state_bytes) + sum(array.nbytes for tensors, _ in contents.values() for array in tensors.values())
        raise StorageError(_write_failure(error, fs, folder, str(root), step, size)) from error
    return _address(fs, f"{folder}/{name}")


def latest_checkpoint(root: str | Path) -> str | None:
    """The folder or URL of the newest complete checkpoint under ``root``; None when there is none.

    Broken ones are skipped with a warning. Locally every byte is checked; remotely only the manifest and the files'
    lengths, lest everything be fetched twice (``load_checkpoint`` checks it). Raises StorageError.
    """
    fs, folder = filesystem(root)
    try:
        with _reaching(root):
            for name in newest_first(_names(fs, folder)):
                path = f"{folder}/{name}"
                try:
                    files = _manifest(fs, path)["files"]
                    for file_name, entry in files.items():
                        _check_length(fs, f"{path}/{file_name}", entry)
                        if _is_local(fs):
                            _check_content(Path(path) / file_name, entry)
                except _Fault as fault:
                    log.warning("skipping checkpoint %s: it %s", _address(fs, path), fault)
                    continue
                return _address(fs, path)
    except OSError as error:
        raise StorageError(f"cannot read the checkpoints in {str(root)!r}: {_told(error)}") from error
    return None


def load_checkpoint(
    path: str | Path, choose: Callable[[list[str]], Collection[str]] = lambda parts: parts
) -> Checkpoint:
    """Read and check a checkpoint by its folder or URL, or those of its parts that ``choose`` picks by their names.

    Raises CheckpointError when it is missing or damaged.
    """
    fs, folder = filesystem(path)
    try:
        with _reaching(path):
            if not fs.isdir(folder):
                raise CheckpointError(
                    f"there is no checkpoint {str(path)!r}; give a step-... folder of a run's checkpoints/"
                )
            with contextlib.ExitStack() as stack:
                manifest = _manifest(fs, folder)
                here = Path(folder)
                if not _is_local(fs):
                    here = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fuseki-checkpoint-")))
                parts: dict[str, Tensors] = {}
                names = [_part(name) for name in manifest["files"] if _part(name)]
                left_out = set(names) - set(choose(names))
                for name, entry in manifest["files"].items():
                    if _part(name) in left_out:
                        continue
                    _check_length(fs, f"{folder}/{name}", entry)
                    if not _is_local(fs):
                        fs.get_file(f"{folder}/{name}", str(here / name))
                    _check_content(here / name, entry)
                    if _part(name):
                        parts[_part(name)], _ = read_tensors(here / name)
                try:
                    state = json.loads((here / STATE_FILE).read_bytes())
                except ValueError as error:  # whole, by its manifest, and yet no JSON
                    raise _Fault(f"has a damaged {STATE_FILE}") from error
                return Checkpoint(manifest["step"], parts, state)
    except (_Fault, DamagedFile) as fault:
        raise CheckpointError(
            f"checkpoint {str(path)!r} {fault}; remove that folder to go on from the checkpoint before it"
        ) from fault
    except OSError as error:
        raise StorageError(f"cannot read checkpoint {str(path)!r}: {_told(error)}") from error


def _part(file_name: str) -> str:
    """The part of the run's state that a file of a checkpoint holds; none does not."""
    if not file_name.endswith(TENSORS_SUFFIX) or file_name == WEIGHTS_FILE:
        return ""
    return file_name.removesuffix(TENSORS_SUFFIX)


def filesystem(where: str | Path) -> tuple[AbstractFileSystem, str]:
    """The file system of a folder or URL, and the path in it. Raises CheckpointError when there is no such kind."""
    try:
        fs, path = url_to_fs(str(where))
    except (ImportError, ValueError) as error:
        raise CheckpointError(f"cannot keep a run in {str(where)!r}: {error}") from error
    fs.invalidate_cache()  # object stores remember listings, those of before the last write too
    return fs, path


def _reaching(where: str | Path) -> contextlib.AbstractContextManager[None]:
    """Whatever a store's library raises is an OSError in the block; our own mistakes stay what they are."""
    return reaching(where, passing=(OSError, TypeError, ValueError, _Fault, CheckpointError))


def _told(error: OSError) -> str:
    return str(error.__cause__ if isinstance(error, Unreachable) else error.strerror or error)


def _is_local(fs: AbstractFileSystem) -> bool:
    return isinstance(fs, LocalFileSystem)


def _address(fs: AbstractFileSystem, path: str) -> str:
    return path if _is_local(fs) else fs.unstrip_protocol(path)


def _names(fs: AbstractFileSystem, folder: str) -> list[str]:
    """Names of what lies in ``folder``; none when it is missing."""
    fs.invalidate_cache()
    try:
        return [str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in fs.ls(folder, detail=False)]
    except FileNotFoundError:
        return []


# --- writing ---------------------------------------------------------------------------------------------------------


class _DigestedFile(Digest):
    """A file being written, with what the manifest will say of it."""

    def entry(self) -> dict[str, Any]:
        return {"bytes": self.bytes, "sha256": self.hexdigest()}


@contextlib.contextmanager
def _new_file(fs: AbstractFileSystem, path: str) -> Iterator[_DigestedFile]:
    if _is_local(fs):
        with Path(path).open("wb") as local_file:
            yield _DigestedFile(local_file)
            to_disk(local_file)
        return
    with fs.open(path, "wb") as remote_file:
        yield _DigestedFile(remote_file)


@contextlib.contextmanager
def _new_folder(fs: AbstractFileSystem, folder: str, name: str) -> Iterator[str]:
    """The path of an empty folder to fill: it is the checkpoint ``name`` when the block ends, and gone if it fails."""
    final = f"{folder}/{name}"
    if not _is_local(fs):
        _set_aside(fs, final)
        try:
            fs.makedirs(final, exist_ok=True)
            yield final
        except BaseException:
            with contextlib.suppress(OSError), _reaching(final):  # the next save removes what cannot be removed now
                fs.rm(final, recursive=True)
            raise
        _remove(fs, final + REPLACED_SUFFIX)
        return
    temporary = Path(folder) / f".{name}.{os.getpid()}{PARTIAL_SUFFIX}"
    try:
        temporary.mkdir()
        yield str(temporary)
        folder_to_disk(temporary)
        _set_aside(fs, final)
        temporary.rename(final)
        folder_to_disk(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # gone already when all went well
    _remove(fs, final + REPLACED_SUFFIX)


def _set_aside(fs: AbstractFileSystem, final: str) -> None:
    """Make room for a checkpoint at ``final``, keeping the one that is there, if any, as ``.replaced``."""
    if not fs.exists(final):
        return
    if not _is_complete(fs, final):
        _remove(fs, final)
        return
    _remove(fs, final + REPLACED_SUFFIX)
    if _is_local(fs):
        Path(final).rename(final + REPLACED_SUFFIX)
        return
    fs.makedirs(final + REPLACED_SUFFIX, exist_ok=True)
    for file_name in [*_manifest(fs, final)["files"], MANIFEST_FILE]:  # the manifest last
        fs.cp_file(f"{final}/{file_name}", f"{final}{REPLACED_SUFFIX}/{file_name}")
    _remove(fs, final)


def _remove(fs: AbstractFileSystem, path: str) -> None:
    """Remove a checkpoint folder, its manifest first, so that half a removal leaves no half checkpoint."""
    if fs.exists(f"{path}/{MANIFEST_FILE}"):
        fs.rm_file(f"{path}/{MANIFEST_FILE}")
    if fs.exists(path):
        fs.rm(path, recursive=True)


def _remove_leftovers(fs: AbstractFileSystem, folder: str) -> None:
    """Remove what interrupted writes and removals left: temporary folders, and checkpoints without a manifest."""
    names = _names(fs, folder)
    partial = [name for name in names if name.startswith(".step-") and name.endswith(PARTIAL_SUFFIX)]
    for name in partial + [n for n in newest_first(names) if not fs.exists(f"{folder}/{n}/{MANIFEST_FILE}")]:
        _remove(fs, f"{folder}/{name}")
    for name in names:
        original = name.removesuffix(REPLACED_SUFFIX)
        if name != original and _is_complete(fs, f"{folder}/{original}"):
            _remove(fs, f"{folder}/{name}")


def _prune(fs: AbstractFileSystem, folder: str, written: str, keep: int) -> None:
    """Remove the checkpoints, broken ones too, that are older than ``written`` and the newest ``keep - 1`` others."""
    others = [name for name in newest_first(_names(fs, folder)) if name != written]
    complete = [name for name in others if _is_complete(fs, f"{folder}/{name}")]
    if len(complete) < keep:
        return
    first_to_go = others.index(complete[max(keep, 1) - 1])
    for name in others[first_to_go:]:
        _remove(fs, f"{folder}/{name}")


def _write_failure(error: OSError, fs: AbstractFileSystem, folder: str, root: str, step: int, size: int) -> str:
    kept = "the checkpoints written before are still usable"
    if error.errno not in FULL:
        return f"cannot write the checkpoint of step {step} to {root!r}: {_told(error)}; {kept}"
    free = ""
    if _is_local(fs) and error.errno == errno.ENOSPC:
        with contextlib.suppress(OSError):  # a nicety of the message: never the reason for another error
            free = f" where {shutil.disk_usage(folder).free / 1e6:,.1f} MB are free"
    return (
        f"cannot write the checkpoint of step {step} to {root!r}: {FULL[error.errno]}; it takes {size / 1e6:,.1f} MB"
        f"{free}, so make room there or point the run elsewhere, and resume; {kept}"
    )


# --- reading ---------------------------------------------------------------------------------------------------------


def _manifest(fs: AbstractFileSystem, path: str) -> dict[str, Any]:
    """The manifest of a checkpoint folder. Raises _Fault when there is none that makes sense."""
    try:
        manifest = json.loads(fs.cat_file(f"{path}/{MANIFEST_FILE}"))
    except FileNotFoundError as error:
        raise _Fault(f"has no {MANIFEST_FILE}: its writing was interrupted") from error
    except ValueError as error:
        raise _Fault(f"has a damaged {MANIFEST_FILE}") from error
    try:
        if manifest["format"] != FORMAT:
            raise _Fault(f"has format version {manifest['format']}, but this fuseki reads version {FORMAT}")
        entries = manifest["files"].items()
        sound = all(
            PLAIN_NAME.fullmatch(name) and isinstance(entry["bytes"], int) and isinstance(entry["sha256"], str)
            for name, entry in entries
        )
        sound = sound and isinstance(manifest["step"], int) and {STATE_FILE, WEIGHTS_FILE} <= set(manifest["files"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _Fault(f"has a damaged {MANIFEST_FILE}") from error
    if not sound:
        raise _Fault(f"has a damaged {MANIFEST_FILE}")
    return manifest


def _is_complete(fs: AbstractFileSystem, path: str) -> bool:
    """Whether manifest and files are there, in their full length."""
    try:
        for name, entry in _manifest(fs, path)["files"].items():
            _check_length(fs, f"{path}/{name}", entry)
    except _Fault:
        return False
    return True


def _check_length(fs: AbstractFileSystem, path: str, entry: dict[str, Any]) -> None:
    name = path.rsplit("/", 1)[-1]
    try:
        size = fs.size(path)
    except FileNotFoundError as error:
        raise _Fault(f"lacks {name}") from error
    if size != entry["bytes"]:
        raise _Fault(f"is damaged: {name} has {size:,} bytes, not {entry['bytes']:,}")


def _check_content(path: Path, entry: dict[str, Any]) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != entry["sha256"]:
        raise _Fault(f"is damaged: {path.name} does not match its checksum")
