"""The protocol itself: lines to requests, requests to answers, and a process that speaks it."""

from __future__ import annotations

import io
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rl.play.gtp import Answer, Command, Lines, Refused, Request, WrongArguments, parse, serve
from tests.rl.play.gtp_for_tests import answers, save, small_agent


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        ("play b d4", Request("", "play", ["b", "d4"])),
        ("12 play b d4", Request("12", "play", ["b", "d4"])),
        ("007 name", Request("007", "name", [])),
        ("\t1\tplay  b\t d4 \r", Request("1", "play", ["b", "d4"])),
        ("pl\x00ay\x07 b\x7f d4\x1b", Request("", "play", ["b", "d4"])),
        ("name # what is it?", Request("", "name", [])),
        ("5#name", Request("5", "", [])),
        ("-1 name", Request("", "-1", ["name"])),
        ("12play", Request("", "12play", [])),
        ("loadsgf gämes/a.sgf", Request("", "loadsgf", ["gämes/a.sgf"])),
        ("", None),
        (" \t\r", None),
        ("# a comment", None),
    ],
)
def test_a_line_is_read_as_the_specification_says(line: str, request_: Request | None) -> None:
    assert parse(line) == request_


def exchange(sent: bytes, commands: dict[str, Command]) -> str:
    blocks = queue.SimpleQueue[bytes]()
    for block in (sent, b""):
        blocks.put(block)
    out = io.BytesIO()
    serve(commands, Lines(blocks.get), out)
    return os.fsdecode(out.getvalue())


def refuse(arguments: list[str]) -> str:
    raise Refused("no,\nnot now")


def misread(arguments: list[str]) -> str:
    raise WrongArguments


SOME = {
    "echo": Command("TEXT", " ".join),
    "lines": Command("", lambda words: "\n one\n\n two\n \nthree\n"),
    "refuse": Command("", refuse),
    "misread": Command("COLOR", misread),
}


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"echo a b\n", "= a b\n\n"),
        (b"3 echo a\n", "=3 a\n\n"),
        (b"3 echo\n", "=3\n\n"),
        (b"\n\n# nothing\n", ""),
        (b"lines\n", "= \n one\n two\nthree\n\n"),
        (b"refuse\n4 refuse\n", "? no, not now\n\n?4 no, not now\n\n"),
        (b"1 misread\n", "?1 syntax error: misread COLOR\n\n"),
        (b"name a\n8 ECHO a\n9\n", "? unknown command\n\n?8 unknown command\n\n?9 unknown command\n\n"),
        (b"known_command echo\nknown_command nonsense\nknown_command quit\n", "= true\n\n= false\n\n= true\n\n"),
        (b"protocol_version\nprotocol_version 1\n", "= 2\n\n? syntax error: protocol_version takes no arguments\n\n"),
        (
            b"list_commands\n",
            "= echo\nknown_command\nlines\nlist_commands\nmisread\nprotocol_version\nquit\nrefuse\n\n",
        ),
        (b"2 quit\necho never\n", "=2\n\n"),
        (b"echo the last line has no end", "= the last line has no end\n\n"),
    ],
)
def test_answers_are_written_as_the_specification_says(sent: bytes, answered: str) -> None:
    assert exchange(sent, SOME) == answered


def test_bytes_that_are_no_text_come_back_as_they_were() -> None:
    assert exchange(b"echo \xff\xfe\r\n", SOME) == os.fsdecode(b"= \xff\xfe\n\n")


def test_lines_may_arrive_in_any_pieces() -> None:
    blocks = queue.SimpleQueue[bytes]()
    for block in (b"ec", b"ho a\necho", b" b\r\n\n", b"echo c\n", b""):
        blocks.put(block)
    assert list(Lines(blocks.get)) == ["echo a", "echo b\r", "", "echo c"]


def test_a_line_that_waits_is_known_of() -> None:
    blocks = queue.SimpleQueue[bytes]()
    lines = Lines(blocks.get)
    blocks.put(b"one\ntwo\n")
    each = iter(lines)
    assert next(each) == "one" and lines.waiting.is_set()
    assert next(each) == "two" and not lines.waiting.is_set()
    blocks.put(b"")
    assert lines.waiting.wait(10), "the end of the input interrupts like a line"
    assert next(each, None) is None


def test_a_stream_ends_with_the_next_line_and_that_is_answered_then() -> None:
    blocks = queue.SimpleQueue[bytes]()
    streaming = threading.Event()

    def stream(arguments: list[str], answer: Answer) -> str:
        answer.line()
        answer.line("info one")
        streaming.set()
        assert answer.interrupted.wait(10)
        return ""

    def type_in() -> None:
        blocks.put(b"5 stream\n")
        assert streaming.wait(10)
        blocks.put(b"6 echo more\n")
        blocks.put(b"")

    threading.Thread(target=type_in).start()
    out = io.BytesIO()
    serve(SOME | {"stream": Command("", stream, streams=True)}, Lines(blocks.get), out)
    assert out.getvalue() == b"=5\ninfo one\n\n=6 more\n\n"


def test_a_line_without_end_takes_no_memory_without_end() -> None:
    blocks = queue.SimpleQueue[bytes]()
    for _ in range(40):
        blocks.put(b"x" * 65536)
    blocks.put(b"\nname\n")
    blocks.put(b"")
    long, name = list(Lines(blocks.get))
    assert name == "name" and len(long) <= 2**20 + 65536


# The real thing, as a process of its own


@pytest.fixture(scope="module")
def agent_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(small_agent("go5"), tmp_path_factory.mktemp("agents") / "go5.safetensors")


def start(*words: object) -> subprocess.Popen[bytes]:
    command = [str(Path(sys.executable).parent / "fuseki"), "play", *map(str, words), "--gtp"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@contextmanager
def server(*words: object) -> Iterator[subprocess.Popen[bytes]]:
    process = start(*words)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_session_with_malformed_input_until_the_input_ends(agent_file: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.sgf").write_text("(;GM[1]SZ[5];B[")
    given = [
        b"1 protocol_version",
        b"",
        b"nonsense \xff\x00\x1b[A",
        b"play",
        b"boardsize 99999999999999999999",
        b"boardsize -3",
        b"komi much",
        f"2 loadsgf {tmp_path / 'broken.sgf'}".encode(),
        b"loadsgf /dev/zero",
        b"genmove purple",
        b"3 play b c3\r",
        b"4 genmove w",
    ]
    with server(agent_file, "--simulations", 4) as process:
        out, err = process.communicate(b"\n".join(given), timeout=120)
    *said, move = answers(out.decode())
    assert said == [
        "=1 2",
        "? unknown command",
        "? syntax error: play COLOR VERTEX",
        "? syntax error: boardsize SIZE",
        "? unacceptable size",
        "? syntax error: komi NEW_KOMI",
        "?2 cannot load file: this is no readable SGF: unexpected end of SGF data",
        "? cannot load file: it is not a file",
        "? syntax error: genmove COLOR",
        "=3",
    ]
    assert move.startswith("=4 ")
    assert process.returncode == 0
    assert b"Traceback" not in err


def test_a_process_streams_until_the_next_line_and_answers_before_it_quits(agent_file: Path) -> None:
    with server(agent_file) as process:
        assert process.stdin is not None and process.stdout is not None
        stdin = process.stdin

        def send(line: bytes) -> None:
            stdin.write(line)
            stdin.flush()

        send(b"7 kata-analyze b 5\n")
        assert process.stdout.readline() == b"=7\n"
        for _ in range(3):
            assert process.stdout.readline().startswith(b"info move ")
        sent = time.monotonic()
        send(b"8 play b c3\n")
        lines = list(iter(process.stdout.readline, b"\n"))
        assert all(line.startswith(b"info move ") for line in lines)
        assert process.stdout.readline() == b"=8\n" and process.stdout.readline() == b"\n"
        assert time.monotonic() - sent < 20, "the machine may be busy, but the search must not go on for ever"
        send(b"9 quit\n")
        assert process.stdout.read() == b"=9\n\n"
        assert process.wait(60) == 0


def test_what_libraries_print_does_not_reach_the_client() -> None:
    program = (
        "import os, sys\n"
        "from rl.play.gtp import private_output\n"
        "with private_output() as out:\n"
        "    print('from Python')\n"
        "    os.system('echo from another program')\n"
        "    out.write(b'= answer\\n\\n')\n"
        "print('after')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "= answer\n\nafter\n"
    assert sorted(done.stderr.split("\n")) == ["", "from Python", "from another program"]


def test_a_client_that_goes_away_ends_the_server_quietly(agent_file: Path) -> None:
    process = start(agent_file, "--simulations", 4)
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    process.stdout.close()
    process.stdin.write(b"name\n" * 3)
    process.stdin.close()
    assert process.wait(120) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


def test_weights_that_do_not_fit_and_wrong_options_are_told_at_once(tmp_path: Path) -> None:
    other = small_agent("go5")
    other.config = other.config.model_copy(update={"env": "tic_tac_toe"})
    path = save(other, tmp_path / "impostor.safetensors")
    for words in ([path], [path, "--second"], [path, "--seconds", "0"]):
        with server(*words) as process:
            out, err = process.communicate(b"name\n", timeout=120)
        assert (process.returncode, out) == (2, b"")
        assert err.startswith(b"error: ") and len(err.splitlines()) == 1
