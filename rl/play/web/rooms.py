"""Rooms: what is going on for one page, and who is looking.

All of a room's own state changes in the server's event loop alone, so that requests need no locks. What takes time
(a search, an environment's step) runs in a thread, works on copies or on objects that only the room's one worker uses,
and its result is taken only if the room is still where it was when the work began.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeVar, get_args

from rl.play.web.refusal import Refusal

log = logging.getLogger(__name__)
T = TypeVar("T")

MOST_ROOMS = 400
MOST_VIEWERS = 16  # of one room
KEPT_SECONDS = 3600.0  # that a room without viewers is kept, for a page that is reloaded or a laptop that sleeps
SWEEP_SECONDS = 30.0
CLOSING_SECONDS = 2.0  # for workers to end


Work = Literal["reply", "explain", "insight", "episode", "prepare"]
PREPARING = 4  # threads that load agents, read files, and the like: short, or waiting for a disk


class Pool:
    """Threads for work, those of each kind by themselves.

    Replies that a person waits for do not queue behind explanations or episodes that others look at, and whoever opens
    a page or begins a game waits for no search.
    """

    def __init__(self) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        sizes: dict[Work, int] = {"insight": 1, "prepare": PREPARING}  # of others as many as there are cores
        self._threads = {kind: ThreadPoolExecutor(sizes.get(kind, cores), kind) for kind in get_args(Work)}

    async def run(self, function: Callable[[], T], stop: threading.Event | None = None, *, kind: Work) -> T:
        """``function()`` in a thread. Where whoever waits is cancelled, ``stop`` is set and the thread soon done."""
        future = asyncio.get_running_loop().run_in_executor(self._threads[kind], function)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if stop is not None:
                stop.set()
            future.cancel()  # before it has begun, at least
            raise

    def close(self) -> None:
        for threads in self._threads.values():
            threads.shutdown(wait=False, cancel_futures=True)


class Viewer:
    """One WebSocket: the newest message of each kind waits until it can be sent, so a slow one misses some."""

    def __init__(self) -> None:
        self._waiting: dict[str, str | bytes] = {}
        self._event = asyncio.Event()

    def tell(self, kind: str, message: str | bytes) -> None:
        self._waiting.pop(kind, None)  # what comes after it may rest on it
        self._waiting[kind] = message
        self._event.set()

    async def messages(self) -> list[str | bytes]:
        """Those that wait, at least one, in the order in which they came."""
        await self._event.wait()
        self._event.clear()
        waiting, self._waiting = self._waiting, {}
        return list(waiting.values())


class Room(ABC):
    """What is going on for one page. Its worker runs while there are viewers."""

    def __init__(self) -> None:
        self.id = secrets.token_urlsafe(12)
        self.viewers: set[Viewer] = set()
        self.left = time.monotonic()  # when the last viewer went
        self.lock = asyncio.Lock()  # requests that change the room come one after the other
        self.changed = asyncio.Event()  # what the worker waits for
        self.changes = 0  # how many there were: of two views the one with more is the newer
        self._worker: asyncio.Task[None] | None = None

    @abstractmethod
    def view(self) -> dict[str, Any]:
        """All that a page needs to draw itself."""

    @abstractmethod
    async def work(self) -> None:
        """Do what there is to do, for ever; cancelled once nobody looks. Frees what it holds when it ends."""

    @asynccontextmanager
    async def viewer(self) -> AsyncIterator[Viewer]:
        """Somebody looks. Raises Refusal where too many do."""
        if len(self.viewers) >= MOST_VIEWERS:
            raise Refusal(409, f"{MOST_VIEWERS} pages look at this game already: close one of them")
        viewer = Viewer()
        self.viewers.add(viewer)
        viewer.tell("state", self._packed())
        self._busy()
        try:
            yield viewer
        finally:
            self.viewers.discard(viewer)
            if not self.viewers:
                self.left = time.monotonic()
                self.rest()

    def _busy(self) -> None:
        """Work, while somebody looks; also again after a failure."""
        if self.viewers and self._worker is None:
            self._worker = asyncio.create_task(self._work())

    def rest(self) -> None:
        """Stop working."""
        if self._worker is not None:
            self._worker.cancel()
            self._worker = None

    async def _work(self) -> None:
        try:
            await self.work()
        except Exception:
            log.exception("room %s has stopped working", self.id)
            self._worker = None
            self.publish("failure", {"type": "failure", "error": "the server has failed here; its log says why"})

    def publish(self, kind: str, message: dict[str, Any] | bytes) -> None:
        packed = message if isinstance(message, bytes) else json.dumps(message, allow_nan=False)
        for viewer in self.viewers:
            viewer.tell(kind, packed)

    def touch(self) -> None:
        """Something has changed: viewers are told, and the worker looks again."""
        if not self.viewers:
            self.left = time.monotonic()
        self.changes += 1
        self.publish("state", self.view())
        self.changed.set()
        self._busy()

    def _packed(self) -> str:
        return json.dumps(self.view(), allow_nan=False)


class Rooms:
    """Those that there are."""

    def __init__(self, kept_seconds: float = KEPT_SECONDS) -> None:
        self.kept_seconds = kept_seconds
        self._rooms: dict[str, Room] = {}

    def __len__(self) -> int:
        return len(self._rooms)

    def add(self, room: Room) -> None:
        """Raises Refusal where there are too many; one that nobody looks at makes way, the longest left first."""
        if len(self._rooms) >= MOST_ROOMS:
            empty = [r for r in self._rooms.values() if not r.viewers]
            if not empty:
                raise Refusal(503, f"there are {MOST_ROOMS} games in progress here: try again later")
            self.remove(min(empty, key=lambda r: r.left))
        self._rooms[room.id] = room

    def get(self, name: str) -> Room:
        """Raises Refusal where there is none of that name."""
        if name not in self._rooms:
            raise Refusal(404, "this game is not in progress here (any more): begin a new one")
        return self._rooms[name]

    def remove(self, room: Room) -> None:
        room.rest()
        self._rooms.pop(room.id, None)

    def sweep(self) -> None:
        """Remove the rooms that nobody has looked at for long."""
        now = time.monotonic()
        for room in list(self._rooms.values()):
            if not room.viewers and now - room.left > self.kept_seconds:
                self.remove(room)

    async def keep_swept(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                await asyncio.sleep(min(SWEEP_SECONDS, self.kept_seconds))
                self.sweep()

    async def close(self) -> None:
        """End them all; what their workers hold is freed before this returns."""
        workers = [room._worker for room in self._rooms.values() if room._worker is not None]
        for room in list(self._rooms.values()):
            self.remove(room)
        if workers:
            await asyncio.wait(workers, timeout=CLOSING_SECONDS)
