"""The Go Text Protocol, version 2 (Farnebäck 2002, draft 2): lines in, answers out. Knows no game.

What a client sends is read by a thread of its own, so that a command which streams (``lz-analyze``) can be ended by the
next line. Everything else happens in the caller's thread, one command after the other.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

log = logging.getLogger(__name__)

BLOCK = 65536  # bytes read at once
LONGEST = 2**20  # bytes of a line: what goes on without an end is no GTP
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")  # all but tab and newline


class Refused(Exception):
    """A command fails: ``?`` and this sentence."""


class WrongArguments(Exception):
    """A command was given something that it does not take; the answer tells what it does."""


@dataclass(frozen=True)
class Command:
    """What a name stands for. ``run`` is given the arguments and returns the answer; it may raise the two above.

    ``streams``: it is also given the Answer, to whose client it may write lines before it returns.
    """

    usage: str  # its arguments, as a syntax error tells them
    run: Callable[..., str]
    streams: bool = False


def without_arguments(text: Callable[[], str]) -> Command:
    """A command that takes no arguments and answers ``text()``."""

    def run(arguments: list[str]) -> str:
        if arguments:
            raise WrongArguments
        return text()

    return Command("", run)


@dataclass(frozen=True)
class Request:
    id: str  # digits, or "" where the client gave none
    name: str
    arguments: list[str]


def parse(line: str) -> Request | None:
    """A line by §2.5 and §3.1, without control characters and comment, tabs read as spaces; None: nothing is left."""
    words = CONTROL.sub("", line.removeprefix("\ufeff")).partition("#")[0].split()
    if not words:
        return None
    number = words.pop(0) if words[0].isascii() and words[0].isdigit() else ""
    return Request(number, words[0] if words else "", words[1:])


class Lines:
    """The lines that a client sends. ``waiting`` is set while one waits to be read, or when there are no more."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        """``read`` gives the next bytes, and none at the end. It is called from a thread that ends with the process."""
        self._read = read
        self._lines: deque[str] = deque()
        self._ended = False
        self._changed = threading.Condition()
        self.waiting = threading.Event()
        threading.Thread(target=self._receive, name="gtp input", daemon=True).start()

    def _receive(self) -> None:
        rest = b""
        while block := self._next():
            *whole, rest = (rest + block).split(b"\n")
            self._add(whole)
            rest = rest[:LONGEST]
        self._add([rest] if rest else [], ended=True)

    def _next(self) -> bytes:
        try:
            return self._read()
        except OSError:  # the client's terminal is gone
            return b""

    def _add(self, lines: list[bytes], ended: bool = False) -> None:
        with self._changed:
            self._lines.extend(os.fsdecode(line) for line in lines)
            self._ended = ended
            if self._lines or ended:
                self.waiting.set()
            self._changed.notify()

    def __iter__(self) -> Iterator[str]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._ended)
                if not self._lines:
                    return
                line = self._lines.popleft()
                if not self._lines and not self._ended:
                    self.waiting.clear()
            yield line


class Answer:
    """The answer to one request. Either ``finish`` alone writes it, or ``line`` begins it and ``finish`` ends it."""

    def __init__(self, request: Request, out: BinaryIO, interrupted: threading.Event) -> None:
        self._request, self._out = request, out
        self.interrupted = interrupted  # set when the client has sent more
        self._begun = False

    def line(self, text: str = "") -> None:
        """One line, at once; the first call says that the command is under way."""
        self._write("" if self._begun else f"={self._request.id}\n", f"{text}\n" if text else "")
        self._begun = True

    def finish(self, text: str, ok: bool = True) -> None:
        """The last of it, and the empty line that ends an answer; none stands within."""
        text = re.sub(r"\n\s*\n", "\n", text.rstrip())
        if self._begun:  # as a success; what went wrong since is in the log, as it would be no line of an analysis
            self._write(f"{text}\n" if text and ok else "", "\n")
        else:
            self._write("=" if ok else "?", self._request.id, f" {text}" if text else "", "\n\n")

    def _write(self, *parts: str) -> None:
        self._out.write(os.fsencode("".join(parts)))
        self._out.flush()


def serve(commands: Mapping[str, Command], lines: Lines, out: BinaryIO) -> None:
    """Answer every line until ``quit`` or the end of the input. To ``commands`` come those about the protocol."""
    known = dict(commands)

    def known_command(arguments: list[str]) -> str:
        if len(arguments) != 1:
            raise WrongArguments
        return str(arguments[0] in known).lower()

    known["protocol_version"] = without_arguments(lambda: "2")
    known["known_command"] = Command("NAME", known_command)
    known["list_commands"] = without_arguments(lambda: "\n".join(sorted(known)))
    known["quit"] = Command("", lambda arguments: "")
    for line in lines:
        request = parse(line)
        if request is None:
            continue
        answer = Answer(request, out, lines.waiting)
        answer.finish(*_carried_out(known.get(request.name), request, answer))
        if request.name == "quit":
            return


def _carried_out(command: Command | None, request: Request, answer: Answer) -> tuple[str, bool]:
    """What to answer, and whether it is no failure."""
    if command is None:
        return "unknown command", False
    extra: tuple[Any, ...] = (answer,) if command.streams else ()
    try:
        return command.run(request.arguments, *extra), True
    except WrongArguments:
        return f"syntax error: {' '.join((request.name, command.usage or 'takes no arguments'))}", False
    except Refused as refusal:
        return " ".join(str(refusal).split()), False
    except BrokenPipeError:  # the client is gone
        raise
    except Exception as error:  # a fault of ours: the client must not wait for an answer, nor lose its game
        log.exception("%s failed", request.name)
        return f"internal error: {type(error).__name__}", False


def standard_input() -> Lines:
    """By the file's number: a buffered file's lock, held by a thread that waits, would stop Python from ending."""
    return Lines(partial(os.read, 0, BLOCK))


@contextlib.contextmanager
def private_output() -> Iterator[BinaryIO]:
    """Standard output for answers alone. Whatever else prints there, compiled libraries too, goes to standard error.

    A client that has gone away ends the block quietly.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with (
            contextlib.suppress(BrokenPipeError),
            contextlib.redirect_stdout(sys.stderr),
            open(kept, "wb", closefd=False) as out,
        ):
            yield out
    finally:
        os.dup2(kept, 1)
        os.close(kept)
