"""How the command line speaks: results on standard output, one-sentence errors and progress on standard error.

Exit status: 0 done, 2 the user's input is wrong, 1 anything else.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

CTRL_C = 130  # what typer makes of it
LINE_SECONDS = 60.0  # between two lines of progress where there is no terminal to draw a bar on
DISK_TROUBLE = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}


class WrongInput(Exception):
    """The user's input is wrong; the message is one sentence."""


def fail(message: object, status: int) -> NoReturn:
    """One line on standard error, and out."""
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
    raise SystemExit(status)


class Commands(TyperGroup):
    """Turns every way of being wrong into one line on standard error and the exit status that belongs to it."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        try:
            status = super().main(words or ["--help"], prog_name, complete_var, False, windows_expand_args, **extra)
        except WrongInput as error:
            fail(error, 2)
        except typer.Abort:
            fail("interrupted", 1)
        except OSError as error:
            if error.errno not in DISK_TROUBLE:
                raise
            where = f" while writing {error.filename!r}" if error.filename else ""
            fail(f"{DISK_TROUBLE[error.errno]}{where}; what was saved before stays usable", 1)
        except Exception as error:
            # click's own exceptions for a mistyped command line; typer hides their base class.
            if not (hasattr(error, "exit_code") and hasattr(error, "format_message")):
                raise
            context = getattr(error, "ctx", None)
            hint = f" (see {context.command_path} --help)" if context is not None else ""
            message = error.format_message().replace("Value error, ", "")  # pydantic's, of no use to a person
            fail(f"{message.rstrip('.')}{hint}", error.exit_code)
        if status == CTRL_C:
            fail("interrupted", 1)
        raise SystemExit(status if isinstance(status, int) else 0)


@contextlib.contextmanager
def user_input() -> Iterator[None]:
    """Reading the user's words: a ValueError in here is theirs (a wrong config, an illegal move, an unknown game)."""
    try:
        yield
    except ValueError as error:
        raise WrongInput(str(error)) from error


@contextlib.contextmanager
def while_running() -> Iterator[None]:
    """At work, only errors that are declared as the user's count such: another ValueError is a bug of ours."""
    from rl.config import ConfigError
    from rl.evaluation.players import EvaluationError
    from rl.weights import AgentError

    try:
        with leaving_in_order():
            yield
    except (ConfigError, AgentError, EvaluationError) as error:
        raise WrongInput(str(error)) from error


@contextlib.contextmanager
def leaving_in_order() -> Iterator[None]:
    """SIGTERM ends Python as Ctrl-C does, not on the spot, so that programs that it has started end with it."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def show(result: dict[str, Any], as_json: bool) -> None:
    """A result on standard output: one JSON object, or lines for people."""
    if as_json:
        print(json.dumps(result, allow_nan=False))
        return
    width = max(map(len, result))
    for key, value in result.items():
        if value is None:
            continue
        print(f"{key:{width}}  {_plain(value)}")


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list) and value and isinstance(value[0], dict):  # rows of a table
        return "".join(f"\n  {_plain(row)}" for row in value)
    if isinstance(value, list):
        return " ".join("-" if v is None else _plain(v) for v in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(v)}" for key, v in value.items()) or "none"
    return str(value)


def check_writable(folder: Path) -> None:
    """Make the folder where it is missing. Raises WrongInput when files cannot be written in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise unwritable(folder, error) from error


def unused(folder: Path) -> Path:
    """Make ``folder``, or the first of folder-2, folder-3, ... that is not there yet, and return it.

    Two agents of a sweep may start in the same second. Raises WrongInput when no folder can be made.
    """
    names = itertools.chain([folder.name], (f"{folder.name}-{number}" for number in itertools.count(2)))
    for name in names:
        try:
            folder.with_name(name).mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise unwritable(folder, error) from error
        return folder.with_name(name)
    raise AssertionError("there is no last number")


def unwritable(path: Path, error: OSError) -> Exception:
    """What to raise for a failed write: a full disk is not the user's mistake, a wrong path is."""
    if error.errno in DISK_TROUBLE:
        return error
    return WrongInput(f"cannot write {str(path)!r}: {error.strerror or error}")


def note(text: str) -> None:
    """One line on standard error of what is done next."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def progress_bar(title: str, total: int, hidden: bool = False) -> Iterator[Any]:
    """A bar on standard error, or a line a minute where that is no terminal; gives what to call with what is done."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if hidden or console.is_terminal:
        with Progress(console=console, transient=True, disable=hidden) as progress:
            task = progress.add_task(title, total=total)
            yield lambda done: progress.update(task, completed=done)
        return
    begun = told = time.monotonic()

    def tell(done: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= LINE_SECONDS and done < total:
            print(f"{title}: {done} of {total} after {(now - begun) / 60:.0f} minutes", file=sys.stderr, flush=True)
            told = now

    yield tell
