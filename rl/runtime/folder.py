"""Where a run lives: a local folder, or any fsspec URL with a local copy of its small files.

Checkpoints go straight to the URL (``checkpoint.py``). Everything else (config, metrics, games, videos, W&B's files)
is small, and some of it grows line by line, which no object store can; it is written locally and sent whenever it has
changed. A run can so be resumed from its URL alone, on another machine, when this one is gone.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from rl.runtime.checkpoint import StorageError, filesystem
from rl.storage import Unreachable, is_url, reaching
from rl.weights import CHECKPOINTS, SNAPSHOTS

log = logging.getLogger(__name__)

SECONDS = 15.0  # between two looks at what has changed: how old the curves are that others see
LEFT_THERE = (CHECKPOINTS, "best", SNAPSHOTS, "videos")  # what a resumed run does not need here


class RunFolder:
    """The folder ``path`` of a run, and ``checkpoints``, the folder or URL of its checkpoints.

    ``str`` gives the user's name of it, quoted. Raises CheckpointError, in one sentence, when a URL cannot be used.
    """

    def __init__(self, where: str | Path) -> None:
        self._url = str(where).rstrip("/") if is_url(where) else None
        self.address = self._url or str(where)
        self.checkpoints = f"{self.address}/{CHECKPOINTS}"
        self._sent: dict[str, tuple[int, int]] = {}  # length and time of change of what the URL holds
        self._one_at_a_time = threading.Lock()
        self._sending: threading.Thread | None = None
        self._over = threading.Event()
        if self._url is None:
            self.path = Path(where)
            return
        self.path = Path(tempfile.mkdtemp(prefix="fuseki-")) / self._url.rsplit("/", 1)[-1]
        self.path.mkdir()
        self._fetch()

    def __str__(self) -> str:
        return repr(self.address)

    def send(self) -> None:
        """Send what has changed. Raises StorageError. Nothing to do for a local folder."""
        if self._url is None:
            return
        try:
            fs, root = filesystem(self._url)
            with self._one_at_a_time, reaching(self._url):
                for path, name, state in self._files():
                    if self._sent.get(name) == state:
                        continue
                    try:
                        fs.put_file(str(path), f"{root}/{name}")
                    except FileNotFoundError as error:
                        if path.exists():
                            raise Unreachable(
                                f"cannot write {name!r} to {self._url!r}: there is no such place"
                            ) from error
                        continue  # replaced or removed meanwhile
                    self._sent[name] = state
        except Unreachable as error:
            raise StorageError(f"{error}; what could not be sent is in {str(self.path)!r}") from error

    def keep_sending(self) -> None:
        """Send what has changed every now and then, beside the run, until ``close``."""
        if self._url is not None:
            self._sending = threading.Thread(target=self._send_on, name="send run folder", daemon=True)
            self._sending.start()

    def close(self) -> None:
        """Send the rest. Raises StorageError, which names the folder where it still lies."""
        if self._sending is not None:
            self._over.set()
            self._sending.join()
            self._sending = None
        self.send()

    def _send_on(self) -> None:
        failed = False
        while not self._over.wait(SECONDS):
            try:
                self.send()
                failed = False
            except StorageError as error:  # a run outlasts an outage of the store; what is due goes with the next try
                if not failed:
                    log.warning("%s; trying again every %g s", error, SECONDS)
                failed = True

    def _files(self) -> Iterator[tuple[Path, str, tuple[int, int]]]:
        """What is to be at the URL: path, name there, length and time of change."""
        for folder, _, names in os.walk(self.path):
            for file_name in names:
                path = Path(folder) / file_name
                if path.is_symlink() or file_name.endswith(".partial"):  # W&B's names for the latest; half a file
                    continue
                try:
                    found = path.stat()
                except FileNotFoundError:  # replaced or removed meanwhile
                    continue
                yield path, path.relative_to(self.path).as_posix(), (found.st_size, found.st_mtime_ns)

    def _fetch(self) -> None:
        """Bring here what an earlier session left at the URL."""
        assert self._url is not None
        try:
            fs, root = filesystem(self._url)
            with reaching(self._url):
                for entry in fs.find(root):
                    name = str(entry).removeprefix(root).lstrip("/")
                    if not name or name.split("/", 1)[0] in LEFT_THERE:
                        continue
                    here = self.path / name
                    if not here.resolve().is_relative_to(self.path.resolve()):  # "..", which stores allow in names
                        raise Unreachable(
                            f"cannot use {self._url!r}: it holds {name!r}, which would lie outside of the run's folder"
                        )
                    here.parent.mkdir(parents=True, exist_ok=True)
                    fs.get_file(entry, str(here))
        except Unreachable as error:
            raise StorageError(str(error)) from error
        except FileNotFoundError as error:  # there is no such bucket
            raise StorageError(f"cannot use {self._url!r}: {error}") from error
        self._sent = {name: state for _, name, state in self._files()}
