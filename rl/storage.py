"""Files that are written whole or not at all, arrays in them (safetensors; never pickle), and places by name or URL.

Knows nothing of what it stores: ``weights.py`` builds agent files on it, ``runtime/checkpoint.py`` checkpoints.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import fsspec
import numpy as np
from safetensors import SafetensorError, safe_open
from upath import UPath

from rl.records import Tensors

_NAMES = {
    **{np.dtype(f"f{n}"): f"F{8 * n}" for n in (2, 4, 8)},
    **{np.dtype(f"i{n}"): f"I{8 * n}" for n in (1, 2, 4, 8)},
    **{np.dtype(f"u{n}"): f"U{8 * n}" for n in (1, 2, 4, 8)},
    np.dtype(bool): "BOOL",
}


class DamagedFile(ValueError):
    """A file is not what it should be; the message completes the sentence "<file> ..."."""


class Unreachable(OSError):
    """A URL cannot be used; the message is one sentence with the store's own words."""


Place = Path | UPath  # both have pathlib's methods


def is_url(where: object) -> bool:
    """Whether this names a place of any fsspec file system (``s3://bucket/run``) rather than a local path."""
    return "://" in str(where)


def place(where: str | Path | UPath) -> Place:
    """A local path, or what behaves like one for a URL. Raises Unreachable where nothing knows such URLs."""
    if not is_url(where):
        return Path(str(where))
    with reaching(where):
        path = UPath(where)
        path.fs.invalidate_cache()  # object stores remember listings, those of before the last write too
        return path


def local_copy(path: Place) -> Path:
    """The file itself where it is local, else a copy of it, kept until this process ends. Raises Unreachable."""
    if isinstance(path, Path):
        return path
    with reaching(path):
        return Path(fsspec.open_local(f"simplecache::{path.as_uri()}", **{path.protocol: dict(path.storage_options)}))


@contextlib.contextmanager
def reaching(where: object, passing: type[Exception] | tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Within the block every failure is Unreachable, but FileNotFoundError and those of the kinds ``passing``."""
    try:
        yield
    except (FileNotFoundError, Unreachable):
        raise
    except passing:
        raise
    except Exception as error:  # each store's library has exceptions of its own: botocore's are no OSErrors
        raise Unreachable(f"cannot use {str(where)!r}: {error}") from error


class Writable(Protocol):
    def write(self, data: Any, /) -> Any: ...


class Digest:
    """Passes what is written on to ``file``, and knows its length in bytes and its SHA-256."""

    def __init__(self, file: Writable) -> None:
        self.file, self.bytes, self._hash = file, 0, hashlib.sha256()

    def write(self, data: Any, /) -> None:
        self.file.write(data)
        self.bytes += memoryview(data).nbytes
        self._hash.update(data)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _raw(array: np.ndarray) -> memoryview:
    """The array's content, row-major and little-endian, without a copy where it lies so already."""
    array = np.asarray(array, order="C")
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return array.reshape(-1).view(np.uint8).data


def digest(tensors: Tensors) -> str:
    """SHA-256 over names, types, shapes and values, whatever the order."""
    total = hashlib.sha256()
    for name, array in sorted(tensors.items()):
        total.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        total.update(_raw(array))
    return total.hexdigest()


def write_tensors(file: Writable, tensors: Tensors, metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays of any shape to a binary stream in the safetensors format, straight from their memory.

    ``safetensors.numpy`` writes to paths only, or makes a second copy of everything in memory, and turns a full
    disk into an error without errno; a window of a million rows on its way to a bucket needs better. Source of the
    format: https://huggingface.co/docs/safetensors. Raises TypeError for a dtype that it has no name for.
    """
    # Widest items first, as the library does: every array then starts at a multiple of its item size.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name, array in ordered:
        kind = _NAMES.get(array.dtype.newbyteorder("="))
        if kind is None:
            raise TypeError(f"tensor {name!r} has dtype {array.dtype}, which safetensors cannot hold")
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for _, array in ordered:
        file.write(_raw(array))


def read_tensors(path: str | Path) -> tuple[Tensors, dict[str, str]]:
    """Arrays and metadata of a local safetensors file.

    Raises OSError when it cannot be read, DamagedFile when it is cut short, corrupt or of another kind.
    """
    path = Path(path)
    with path.open("rb") as file:
        start = file.read(9)
    try:
        with safe_open(str(path), framework="numpy") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        # Every safetensors file has its header's length, below 100 MB, in eight bytes, then a brace.
        if len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < 100_000_000:
            raise DamagedFile("is truncated or corrupt") from error
        raise DamagedFile("is not a safetensors file") from error


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """A binary file that appears at ``path`` complete, on disk, when the block ends; never when it fails.

    Whatever was at ``path`` stays until then. Raises OSError as ``open`` does.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            to_disk(file)
        partial.replace(path)
        folder_to_disk(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def to_disk(file: BinaryIO) -> None:
    """Return when the file's content is on the disk, not in a cache."""
    file.flush()
    os.fsync(file.fileno())


def folder_to_disk(folder: str | Path) -> None:
    """Return when the folder's entries (new names, renames) are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
