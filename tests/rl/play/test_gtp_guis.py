"""Sessions as GUIs hold them, in the order and form of their own commands, read with their own parsers' rules.

From the sources of Sabaki (src/modules/enginesyncer.js) and Lizzie (analysis/Leelaz.java, MoveData.java), and from
KataGo's docs/GTP_Extensions.md for programs that ask for all it has. KaTrain is not here: it speaks KataGo's JSON
analysis protocol, not GTP.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from rl.agent import Agent
from rl.play.engine import Engine
from tests.rl.play.gtp_for_tests import RESNET, Client, small_agent

POINT = r"[A-HJ-T]\d+"


@pytest.fixture(scope="module")
def agent() -> Agent:
    return small_agent("go9", RESNET | {"auxiliary": {"score": 1.0, "ownership": 1.0}})


@pytest.fixture
def client(agent: Agent) -> Iterator[Client]:
    one = Client(Engine(agent, simulations=16))
    yield one
    one.quit()


def fields(info: str) -> dict[str, str]:
    """Keys and values in pairs up to "pv", which takes the rest: how Lizzie reads a move, and KataGo asks to be."""
    words, found = info.split(), dict[str, str]()
    while words:
        key = words.pop(0)
        found[key] = " ".join(words) if key == "pv" else words.pop(0)
        if key == "pv":
            break
    return found


def sabaki_reads(line: str) -> tuple[list[dict[str, str]], list[float]]:
    """The moves and the ownership of a line; the line of play is what looks so at a move's end."""
    line, _, owners = line.partition(" ownership ")
    moves = []
    for info in re.split(r"\s*info\s+", line)[1:]:
        play = re.search(r"(pass|[A-Za-z]\d+)(\s+(pass|[A-Za-z]\d+))*$", info)
        assert play is not None, info
        words = info[: play.start()].split()[:-1]
        assert len(words) % 2 == 0
        moves.append(dict(zip(words[::2], words[1::2], strict=True)) | {"pv": play[0]})
    return moves, [float(word) for word in owners.split()]


def stream(client: Client, command: str, lines: int) -> list[str]:
    """The lines of analysis that come while nothing else is sent."""
    client.send(command)
    assert re.fullmatch(r"=\d*", client.line())
    return [client.line() for _ in range(lines)]


def end(client: Client, *lines: str) -> None:
    """End an analysis by these lines; their own answers come after what is left of it."""
    client.send(*lines)
    left = client.answer()
    assert left == "" or all(line.startswith("info move ") for line in left.split("\n"))


def test_sabaki_plays_and_analyses(client: Client) -> None:
    asked = [client.ask(line) for line in ("name", "version", "protocol_version", "list_commands")]
    assert all(answer.startswith("= ") for answer in asked)
    known = asked[-1][2:].split("\n")
    assert {"kata-analyze", "lz-analyze", "kata-genmove_analyze", "undo", "loadsgf", "set_free_handicap"} <= set(known)
    for line in ("boardsize 9", "komi 6.5", "clear_board", "play B E5"):
        assert client.ask(line) == "="
    for line in stream(client, "kata-analyze W 5 ownership true", 3):
        moves, owners = sabaki_reads(line)
        assert len(owners) == 81 and all(-1 <= owner <= 1 for owner in owners)
        assert all({"visits", "winrate", "scoreLead", "prior", "order"} <= set(move) for move in moves)
        assert all("." in move["winrate"] for move in moves), "it takes a number without a point for hundredths"
    end(client, "protocol_version")  # what it sends before its next command
    assert client.answer() == "= 2"
    client.send("kata-genmove_analyze W 5")
    said = client.answer().split("\n")
    assert said[0] == "=" and sabaki_reads(said[-2])[0][0]["order"] == "0"
    assert re.fullmatch(rf"play ({POINT}|pass|resign)", said[-1])
    assert client.ask("undo") == client.ask("undo") == "=" and client.ask("undo") == "? cannot undo"


def test_lizzie_ponders_undoes_and_plays(client: Client) -> None:
    """It numbers its commands, and asks for the name to end an analysis."""
    setup = ["name", "version", "boardsize 9", "komi 7.5", "time_settings 0 1 1", "play B C3", "play W G7"]
    for number, line in enumerate(setup, 1):
        assert client.ask(f"{number} {line}").startswith(f"={number}")
    assert re.match(r"=2 \d+\.\d+", client.ask("2 version")), "it reads the number behind the first point"
    for line in stream(client, "8 lz-analyze 5", 3):
        moves = [fields(info) for info in line.removeprefix("info ").split(" info ")]
        assert all(int(move["visits"]) >= 0 and 0 <= int(move["winrate"]) <= 10_000 for move in moves)
        assert all(re.fullmatch(rf"({POINT}|pass)( ({POINT}|pass))*", move["pv"]) for move in moves)
        assert all(move["pv"].split()[0] == move["move"] for move in moves)
    end(client, "9 undo", "10 lz-analyze 5", "11 name")
    answers = [client.answer() for _ in range(3)]
    assert answers[0] == "=9" and answers[1].startswith("=10") and answers[2] == "=11 Fuseki"
    client.send("12 lz-genmove_analyze W 5")
    *_, last = client.answer().split("\n")
    assert re.fullmatch(rf"play ({POINT}|pass|resign)", last)


@pytest.mark.parametrize("last", ["stop", "", "name", "play B D4", "kata-analyze 5"])
def test_a_client_of_katago_gets_all_that_there_is_and_any_line_ends_it(last: str, client: Client) -> None:
    for line in stream(client, "kata-analyze B interval 5 minmoves 90 rootInfo true ownership true", 2):
        before, _, owners = line.partition(" ownership ")
        infos, _, root = before.partition(" rootInfo ")
        assert len(owners.split()) == 81
        told = fields(root)
        moves = [fields(info) for info in infos.removeprefix("info ").split(" info ")]
        assert [move["order"] for move in moves] == [str(i) for i in range(82)]
        assert int(told["visits"]) == 1 + sum(int(move["visits"]) for move in moves)
        assert 0 <= float(told["winrate"]) <= 1 and abs(float(told["scoreLead"])) <= 88
        for move in moves:
            assert "scoreLead" in move
            assert move.get("scoreLead") == move.get("scoreMean") == move.get("scoreSelfplay")
            assert float(move["lcb"]) <= float(move["winrate"]) and float(move["utilityLcb"]) <= float(move["utility"])
    end(client, last)
    if last.startswith("kata"):
        assert client.line() == "=" and client.line().startswith("info move ")
        end(client, "")
    elif last:
        assert client.answer() == ("= Fuseki" if last == "name" else "=")
    assert client.ask("protocol_version") == "= 2"


def test_nothing_is_sent_into_the_wait_for_a_stop(agent: Agent) -> None:
    """After the search has found all, an analysis stays open until it is ended."""
    client = Client(Engine(agent.on(max_moves=3), simulations=16))
    for line in ("komi 0", "play b e5", "play w pass"):
        assert client.ask(line) == "="
    [last] = stream(client, "kata-analyze 10000", 1)  # long before the interval: Black passes and has won
    moves = [fields(info) for info in last.removeprefix("info ").split(" info ")]
    assert moves[0]["move"] != "" and float(moves[0]["winrate"]) == 1 and float(moves[0]["scoreLead"]) == 81
    end(client, "stop")
    assert client.answer() == "="
    client.quit()
