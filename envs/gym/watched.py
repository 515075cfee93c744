"""Calls into environments that another thread waits for, so that one that hangs ends in a sentence and not in silence.

A call into this process cannot be interrupted. It can be left alone: whatever steps environments lives in a thread of
its own (all of it, since some environments may only be used in the thread that made them), and who asks for something
waits no longer than one call into an environment may take.
"""

from __future__ import annotations

import faulthandler
import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from envs.gym.spaces import WorldError

T = TypeVar("T")
LOOK_SECONDS = 1.0  # between two looks at the call under way
# Worker processes have the same time limit and say more, so they come first.
SLACK_SECONDS = 2.0
# A call that keeps Python's global lock stops every thread. Then this process is ended from C, with the traceback.
LAST_RESORT_SECONDS = 30.0


class Entered(NamedTuple):
    """A call into an environment that is under way."""

    place: Callable[[int | None], str]  # the environment and the lane in words
    what: str  # "step", "reset", "render" or "its constructor"
    lane: int | None  # None: all of them


class WatchedThread(threading.Thread):
    """Does one job after another; ``entered`` tells which environment it is in. Engines made in it report to it."""

    def __init__(self, timeout: float) -> None:
        super().__init__(name="environments", daemon=True)
        self.timeout = timeout
        self.entered: Entered | None = None
        self.jobs: queue.SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None]
        self.jobs = queue.SimpleQueue()

    @staticmethod
    def here() -> WatchedThread | None:
        """The watched thread that this runs in; None in any other."""
        thread = threading.current_thread()
        return thread if isinstance(thread, WatchedThread) else None

    def enter(self, place: Callable[[int | None], str], what: str) -> None:
        self.entered = Entered(place, what, None)

    def enter_lane(self, lane: int) -> None:
        """The call has come to this lane, whose time begins now."""
        if self.entered is not None:
            self.entered = self.entered._replace(lane=lane)

    def leave(self) -> None:
        self.entered = None

    def run(self) -> None:
        while (job := self.jobs.get()) is not None:
            future, function, arguments = job
            try:
                result = function(*arguments)
            except BaseException as error:  # whatever it is, who waits shall see it
                self.entered = None
                future.set_exception(error)
                del error
            else:
                future.set_result(result)
                del result
            del job, future, function, arguments  # or they would live on until the next


class Watched:
    """An object that steps environments, made and used in a :class:`WatchedThread`; has the object's methods.

    A call into an environment (its constructor, reset, step, render) that takes longer than ``timeout`` seconds raises
    WorldError here, naming the environment and the lane, and so does every later use: the thread is left to itself and
    never waited for.
    """

    def __init__(self, make: Callable[[], Any], timeout: float) -> None:
        self._thread = WatchedThread(timeout)
        self._thread.start()
        weakref.finalize(self, self._thread.jobs.put, None)
        self._lost: str | None = None
        self._object = self._call(make)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        method = getattr(self._object, name)
        return lambda *arguments: self._call(method, *arguments)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        thread = self._thread
        future: Future[Any] = Future()
        if self._lost is None:
            thread.jobs.put((future, function, arguments))
        look = min(LOOK_SECONDS, thread.timeout / 4)
        # Looks are counted, not seconds: a process that was stopped for a while (SIGSTOP, a laptop's lid) is no hang.
        seen, looks = thread.entered, 0
        try:
            while self._lost is None:
                # File 2: standard error may be anything by now, and the process is to end from C.
                last_resort = thread.timeout + SLACK_SECONDS + LAST_RESORT_SECONDS
                faulthandler.dump_traceback_later(last_resort, exit=True, file=2)
                try:
                    return future.result(look)
                except TimeoutError:
                    if future.done():  # it may be the function's own
                        return future.result()
                entered = thread.entered
                seen, looks = entered, looks + 1 if entered is seen else 0
                if entered is not None and looks * look >= thread.timeout + SLACK_SECONDS:
                    place = entered.place(entered.lane)
                    self._lost = f"{place}: {entered.what} did not return within {thread.timeout:g} s"
        finally:
            faulthandler.cancel_dump_traceback_later()
        raise WorldError(self._lost)


def watch(function: Callable[[], T], timeout: float) -> T:
    """``function()``, watched as :class:`Watched` does; in this thread where it is a watched one already."""
    return function() if WatchedThread.here() else Watched(function, timeout)._object


@contextmanager
def constructing(what: str) -> Iterator[None]:
    """In here constructors run, of which ``what`` names the environment; a call around it is resumed behind them."""
    thread = WatchedThread.here()
    around = thread.entered if thread else None
    if thread is not None:
        thread.enter(lambda lane: what, "its constructor")
    try:
        yield
    finally:
        if thread is not None:
            thread.entered = around
