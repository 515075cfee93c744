"""One process that speaks the Go Text Protocol, version 2: commands with a time limit each, and one clear sentence
for every way in which an engine can fail.

https://www.lysator.liu.se/~gunnar/gtp/gtp2-spec-draft2/gtp2-spec.html. A command is a line that we number; its answer
begins with "=" (or "?" for a refusal) and that number, and ends with an empty line.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import time
import weakref
from collections.abc import Sequence

from rl.evaluation.players import EvaluationError, FailureKind

MOST_ANSWER = 1_000_000  # bytes of an answer without an end
STDERR_KEPT = 2_000  # last bytes of what it wrote there
STDERR_SHOWN = 200
QUIT_SECONDS = 1.0  # to leave after "quit", or to be seen dead after its output has ended
EMPTY_LINE = re.compile(rb"\n[ \t]*\n")
RESPONSE = re.compile(rb"([=?])(\d*)[ \t]*(.*)", re.DOTALL)


class EngineError(EvaluationError):
    """The engine failed; one sentence. It is no longer running, unless the kind is "refused"."""

    def __init__(self, kind: FailureKind, message: str):
        super().__init__(message)
        self.kind = kind


class GTPEngine:
    """One engine process. Whatever goes wrong ends it, with its own children, and raises EngineError."""

    def __init__(self, command: Sequence[str], name: str):
        """Start ``command`` (program and arguments); ``name`` is what messages call it."""
        self.name = name
        self._number = 0
        self._out, self._err = b"", b""
        try:
            # A session of its own: Ctrl-C in our terminal is not for it, and it can be ended with its children.
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise EngineError("crash", f"{name} cannot be started: {getattr(error, 'strerror', error)}") from error
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._input = self._process.stdin
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ, "out")
        self._selector.register(self._process.stderr, selectors.EVENT_READ, "err")
        # Also when nobody called close: at the end of this program.
        self._end = weakref.finalize(self, _end, self._process)

    @property
    def running(self) -> bool:
        return self._end.alive

    def ask(self, command: str, seconds: float) -> str:
        """The answer to one command, without its mark. Raises EngineError, of the kind "refused" for a "?"."""
        if not self.running:
            raise EngineError("crash", f"{self.name} is not running any more")
        self._number += 1
        deadline = time.monotonic() + seconds
        try:
            # Never blocks: each command is answered before the next is sent, so that the pipe is all but empty.
            self._input.write(f"{self._number} {command}\n".encode())
        except OSError as error:
            raise self._died(command) from error
        while True:
            answer = self._take(command)
            if answer is not None:
                return answer
            left = deadline - time.monotonic()
            if left <= 0:
                self.kill()
                raise EngineError("time-out", f"{self.name} did not answer {command!r} within {seconds:g} s")
            for key, _ in self._selector.select(left):
                data = os.read(key.fd, 65536)
                if key.data == "err":
                    self._err = (self._err + data)[-STDERR_KEPT:]
                    if not data:
                        self._selector.unregister(key.fileobj)
                elif data:
                    self._out += data
                else:
                    raise self._died(command)

    def _take(self, command: str) -> str | None:
        """The answer in what was read so far, None while it is incomplete."""
        self._out = self._out.replace(b"\r", b"").lstrip(b"\n")
        first, newline, _ = self._out.partition(b"\n")
        block, *rest = EMPTY_LINE.split(self._out, 1)
        end = bool(rest)
        found = RESPONSE.fullmatch(block)
        wrong = (newline and not RESPONSE.fullmatch(first)) or (
            end and found and found[2] not in (b"", b"%d" % self._number)
        )
        if wrong or len(self._out) > MOST_ANSWER:
            self.kill()
            raise EngineError("not GTP", f"{self.name} answered {command!r} with {_shown(first)}, which is not GTP")
        if not end or not found:
            return None
        self._out = rest[0]
        text = found[3].decode(errors="replace").strip()
        if found[1] == b"?":
            raise EngineError("refused", f"{self.name} refuses {command!r}: {text or 'it gives no reason'}")
        return text

    def _died(self, command: str) -> EngineError:
        ended = _wait(self._process, QUIT_SECONDS)
        with contextlib.suppress(OSError):  # what it said last may still lie in the pipe
            for key, _ in self._selector.select(0):
                if key.data == "err":
                    self._err = (self._err + os.read(key.fd, 65536))[-STDERR_KEPT:]
        self.kill()
        status = self._process.returncode
        how = f"died by signal {-status}" if status < 0 else f"died with exit status {status}"
        if not ended:  # the signal was ours
            how = "closed its output"
        said = "; its last words: " + _shown(self._err.strip()[-STDERR_SHOWN:]) if self._err.strip() else ""
        return EngineError("crash", f"{self.name} {how} when asked {command!r}{said}")

    def close(self) -> None:
        """Let it go: ask it to quit, and end it when it does not at once."""
        if self.running:
            with contextlib.suppress(OSError):  # it may be dead already, which is what we want
                self._input.write(b"quit\n")
                self._input.close()
            _wait(self._process, QUIT_SECONDS)
            self.kill()

    def kill(self) -> None:
        """End the process and its children at once. From another thread: ``interrupt``."""
        self._end()
        self._process.wait()  # another thread may be about to, in ``interrupt``
        self._selector.close()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def interrupt(self) -> None:
        """End the process, so that the thread that waits for its answer gets an EngineError."""
        self._end()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the group that the process leads: it was not waited for before, so the number is still its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wait(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether the process ends within this time; its number stays taken (WNOWAIT) until ``_end``."""
    deadline = time.monotonic() + seconds
    with contextlib.suppress(ChildProcessError):  # another thread has ended it and knows
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
    return True


def _shown(text: bytes) -> str:
    """What an engine wrote, for one line of a message."""
    return repr(" ".join(text[:STDERR_SHOWN].decode(errors="replace").split()))
