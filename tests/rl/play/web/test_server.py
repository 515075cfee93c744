"""The page's interface over HTTP and WebSocket: whole games, and what cannot be granted."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from fastapi.testclient import TestClient

import envs
from envs.game import ONGOING, STATUS
from rl.play.engine import LEVELS
from rl.play.web import rooms as rooms_module
from rl.play.web.guard import MOST_BYTES
from rl.play.web.requests import Seat, Start
from rl.play.web.table import Limits
from rl.sgf import read_sgf
from tests.rl.play.web.web_for_tests import agent, live, opened, rooms, serving, slowed, until

LONG = 8.0  # seconds of a search
PERSON: dict[str, Any] = {"agent": None}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with serving(
        agent("tic_tac_toe"), agent("go5", auxiliary={"ownership": 1.0}), agent("hex3"), agent("othello")
    ) as ours:
        yield ours


def test_the_page_is_served_whole_and_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200 and "<title>Fuseki</title>" in page.text
    assert "script-src 'self'" in page.headers["content-security-policy"]
    wanted = ["/static/style.css", "/static/board.css", "/static/app.js", "/static/icon.svg"]
    for name in wanted:
        assert name in page.text
        assert client.get(name).status_code == 200
    scripts = client.get("/static/app.js").text
    for name in ("dom", "api", "board", "panel", "insight", "episodes"):
        assert f'"./{name}.js"' in scripts
        assert client.get(f"/static/{name}.js").status_code == 200
    assert client.get("/favicon.ico").headers["content-type"] == "image/svg+xml"


def test_agents_and_levels_to_choose_from(client: TestClient) -> None:
    told = client.get("/api/agents").json()
    assert [a["name"] for a in told["agents"]] == ["tic_tac_toe", "go5", "hex3", "othello"]
    toe, go = told["agents"][:2]
    assert (toe["title"], toe["sizes"], toe["komi"]) == ("Tic-tac-toe", [], None)
    assert (go["title"], go["size"], go["komi"]) == ("Go", 5, 7.0) and 19 in go["sizes"]
    assert [entry["level"] for entry in told["levels"]] == list(LEVELS)
    assert told["start"] == {"agent": "tic_tac_toe"}


def test_models_that_ship_are_offered_beside_the_given_ones() -> None:
    with serving(agent("tic_tac_toe", "mine"), shipped=True) as ours:
        told = {a["name"]: a for a in ours.get("/api/agents").json()["agents"]}
    assert next(iter(told)) == "mine"
    assert {"connect_four", "go9", "hex7", "othello", "tic_tac_toe"} <= set(told)
    assert told["hex7"]["size"] == 7


def test_a_whole_game_against_an_agent(client: TestClient) -> None:
    game = envs.make("tic_tac_toe")
    room = opened(client, "tic_tac_toe", explain=False)
    place = f"/api/rooms/{room['id']}"
    assert room["waits"] == "person" and room["seats"][1] == {"agent": "tic_tac_toe", "level": 10}
    with live(client, room["id"]) as heard:
        state = until(heard, type="state")
        while state["waits"] is not None:
            move = state["position"]["legal"][0]
            answer = client.post(f"{place}/moves", json={"action": move, "ply": len(state["moves"])})
            assert answer.status_code == 200, answer.text
            while True:
                state = until(heard, type="state")
                if state["waits"] != "agent" and state["version"] > answer.json()["version"] - 1:
                    break
        moves = [m["action"] for m in state["moves"]]
    final = game.replay(moves)
    assert final[STATUS] != ONGOING
    assert [m["side"] for m in state["moves"]] == [i % 2 for i in range(len(moves))]
    assert state["result"]["text"] in ("X wins.", "O wins.", "The game is a draw.")
    assert len(state["position"]["won"]) == (0 if "draw" in state["result"]["text"] else 3)


def test_an_agent_answers_only_while_somebody_looks(client: TestClient) -> None:
    room = opened(client, "tic_tac_toe", seats=[{"agent": "tic_tac_toe"}, PERSON])
    place = f"/api/rooms/{room['id']}"
    time.sleep(0.2)
    assert client.get(place).json()["moves"] == []
    with live(client, room["id"]) as heard:
        state = until(heard, type="state", waits="person")
    assert len(state["moves"]) == 1


def test_two_agents_play_each_other_and_can_be_paused(client: TestClient) -> None:
    seats = [{"agent": "tic_tac_toe", "level": 1}, {"agent": "tic_tac_toe", "level": 10}]
    room = opened(client, "tic_tac_toe", seats=seats)
    place = f"/api/rooms/{room['id']}"
    assert client.patch(place, json={"pace": 0, "paused": True}).json()["paused"]
    with live(client, room["id"]) as heard:
        until(heard, type="state", paused=True)
        time.sleep(0.2)
        assert client.get(place).json()["moves"] == []
        client.patch(place, json={"paused": False})
        state = until(heard, type="state", waits=None)
        assert state["result"] is not None
        back = client.post(f"{place}/undo", json={}).json()
        assert len(back["moves"]) == len(state["moves"]) - 1
        assert back["paused"], "or they would play the same move again at once"


def test_whoever_pauses_or_opens_a_page_waits_for_no_search() -> None:
    ours = agent("go5")
    asked = slowed(ours, 0.02)
    with serving(ours, limits=Limits(seconds=LONG)) as served, ExitStack() as stack:
        for _ in range(1 + (os.cpu_count() or 1)):  # more than there are threads for
            room = opened(served, "go5", seats=[{"agent": "go5"}, PERSON], explain=False)
            until(stack.enter_context(live(served, room["id"])), type="state")
        while not asked:
            time.sleep(0.01)
        began, place = time.monotonic(), f"/api/rooms/{room['id']}"
        for change in ({"pace": 1}, {"shown": 0}, {"paused": True}):
            assert served.patch(place, json=change).status_code == 200
        seats = [{"agent": "go5", "level": 2}, PERSON]
        assert served.patch(place, json={"seats": seats}).json()["seats"][0]["level"] == 2
        assert served.get("/api/agents").status_code == 200
        opened(served, "go5")
        assert time.monotonic() - began < LONG / 2
        time.sleep(0.2)
        assert served.get(place).json()["moves"] == [], "what was thought when it was paused is not played"


def test_what_the_explaining_agent_sees_is_not_what_its_opponent_thinks() -> None:
    mine, other = agent("tic_tac_toe", "mine"), agent("tic_tac_toe", "other", encoder={"kind": "mlp", "width": 8})
    value = {a.name: a.analyse_state(a.game.initial_state(), 0).value for a in (mine, other)}
    assert abs(value["mine"] - value["other"]) > 0.01
    with serving(mine, other, limits=Limits(simulations=40)) as served:
        room = opened(served, "mine", seats=[{"agent": "other"}, PERSON], simulations=50)
        with live(served, room["id"]) as heard:
            analyses = []
            while (told := until(heard)).get("waits") != "person":
                analyses += [told["analysis"]] if told["type"] == "analysis" else []
            assert [a["simulations"] for a in analyses] == [0], "one glance, and nothing of the other's search"
            assert analyses[0]["value"] == pytest.approx(value["mine"], abs=1e-4)
            assert told["values"][0] == pytest.approx(value["mine"], abs=1e-4)


def test_every_position_is_explained(client: TestClient) -> None:
    room = opened(client, "go5", seats=[PERSON, PERSON], simulations=30)
    place = f"/api/rooms/{room['id']}"
    with live(client, room["id"]) as heard:
        for ply, action in enumerate((12, 6, 7)):
            client.post(f"{place}/moves", json={"action": action, "ply": ply})
        while True:
            state = until(heard, type="state", shown=3)
            found = state["analysis"]
            if found and sum(found.get("visits", {}).values()) >= 30 and None not in state["values"]:
                break
        assert sum(found["policy"].values()) == pytest.approx(1, abs=0.02)
        assert sum(found["wdl"]) == pytest.approx(1, abs=0.001)
        assert found["value"] == pytest.approx(found["wdl"][0] - found["wdl"][2], abs=0.001)
        assert found["line"][0] == found["action"] == found["moves"][0]["action"]
        assert len(found["ownership"]) == 25 and all(-1 <= o <= 1 for o in found["ownership"])
        assert "dead" in found["count"]
        assert set(map(int, found["policy"])) <= set(state["position"]["legal"])
        earlier = client.patch(place, json={"shown": 1}).json()
        assert earlier["position"]["marks"][2] == "..X.." and earlier["position"]["last"] == [2, 2]
        assert until(heard, type="state", shown=1)["position"]["ply"] == 1
        answer = client.post(f"{place}/moves", json={"action": 0, "ply": 1})
        assert answer.status_code == 409 and "move 4 is next" in answer.json()["error"]


def test_explanations_can_be_left_out(client: TestClient) -> None:
    room = opened(client, "tic_tac_toe", seats=[PERSON, PERSON], explain=False)
    with live(client, room["id"]) as heard:
        until(heard, type="state")
        time.sleep(0.2)
        state = client.get(f"/api/rooms/{room['id']}").json()
        assert state["analysis"] is None and state["values"] == [None]
        client.patch(f"/api/rooms/{room['id']}", json={"explain": True})
        assert until(heard, type="analysis", ply=0)["analysis"]["policy"]


def test_hex_is_swapped_and_go_passed(client: TestClient) -> None:
    room = opened(client, "hex3", seats=[PERSON, PERSON], explain=False)
    place = f"/api/rooms/{room['id']}"
    assert room["game"]["cells"] == 9 and room["game"]["names"][9] == "swap"
    client.post(f"{place}/moves", json={"action": 1, "ply": 0})
    state = client.post(f"{place}/moves", json={"action": 9, "ply": 1}).json()
    assert state["position"]["marks"] == ["...", "O..", "..."] and state["position"]["last"] == [1, 0]
    room = opened(client, "go5", seats=[PERSON, PERSON], explain=False, size=7, komi=2.5)
    place = f"/api/rooms/{room['id']}"
    assert room["game"]["title"] == "Go 7×7" and room["game"]["komi"] == 2.5
    for ply in (0, 1):
        state = client.post(f"{place}/moves", json={"action": 49, "ply": ply}).json()
    assert state["result"] == {"winner": 1, "text": "White wins by 2.5 points."}


def test_games_go_out_and_come_in_again(client: TestClient) -> None:
    room = opened(client, "go5", seats=[PERSON, PERSON], explain=False)
    place = f"/api/rooms/{room['id']}"
    for ply, action in enumerate((12, 6, 7)):
        client.post(f"{place}/moves", json={"action": action, "ply": ply})
    saved = client.get(f"{place}/game.sgf")
    assert "go5.sgf" in saved.headers["content-disposition"]
    assert read_sgf(saved.text).moves == (12, 6, 7)
    as_json = client.get(f"{place}/game.json").json()
    assert (as_json["env"], as_json["moves"], as_json["outcome"], as_json["komi"]) == ("go5", [12, 6, 7], None, 7.0)
    for text in (saved.text, json.dumps(as_json)):
        client.post(f"{place}/new", json={"agent": "go5", "seats": [PERSON, PERSON]})
        state = client.put(f"{place}/game", json={"text": text}).json()
        assert [m["action"] for m in state["moves"]] == [12, 6, 7] and state["shown"] == 3
    # Another board and komi of the same game come with the file.
    state = client.put(f"{place}/game", json={"text": "(;GM[1]SZ[7]KM[0.5];B[dd];W[cc])"}).json()
    assert (state["game"]["size"], state["game"]["komi"], len(state["moves"])) == (7, 0.5, 2)
    state = client.put(f"{place}/game", json={"text": '{"env": "go9", "moves": [40], "komi": 3}'}).json()
    assert (state["game"]["size"], state["game"]["komi"]) == (9, 3.0)
    toe = opened(client, "tic_tac_toe", explain=False)
    assert client.get(f"/api/rooms/{toe['id']}/game.sgf").status_code == 422
    assert client.get(f"/api/rooms/{toe['id']}/game.txt").status_code == 404
    state = client.put(f"/api/rooms/{toe['id']}/game", json={"text": '{"env": "tic_tac_toe", "moves": [4, 0]}'}).json()
    assert state["position"]["marks"] == ["O..", ".X.", "..."]


def test_seats_and_levels_change_in_the_middle_of_a_game(client: TestClient) -> None:
    room = opened(client, "tic_tac_toe", explain=False)
    place = f"/api/rooms/{room['id']}"
    state = client.patch(place, json={"seats": [{"agent": "tic_tac_toe", "level": 2}, PERSON]}).json()
    assert state["waits"] == "agent" and state["seats"][0]["level"] == 2
    with live(client, room["id"]) as heard:
        state = until(heard, type="state", waits="person")
    assert [m["side"] for m in state["moves"]] == [0]


REFUSED = [
    ("POST", "", "/moves", {"action": 4, "ply": 1}, 409, "move 1 is next"),
    ("POST", "", "/moves", {"action": 99, "ply": 0}, 422, "not legal"),
    ("POST", "", "/moves", {"action": -1, "ply": 0}, 422, "action: "),
    ("POST", "", "/moves", {"action": "4", "ply": 0}, 422, "action: "),
    ("POST", "", "/moves", {"action": 10**30, "ply": 0}, 422, "action: "),
    ("POST", "", "/moves", {"action": True, "ply": 0}, 422, "action: "),
    ("POST", "", "/moves", {"ply": 0}, 422, "action: field required"),
    ("POST", "", "/moves", {"action": 4, "ply": 0, "cheat": 1}, 422, "cheat: "),
    ("POST", "", "/moves", [4], 422, "JSON object"),
    ("POST", "", "/undo", {}, 409, "no move of yours"),
    ("POST", "", "/undo", {"to": 3}, 409, "no move 4"),
    ("PATCH", "", "", {"shown": 5}, 422, "no position after 5"),
    ("PATCH", "", "", {"simulations": 10**9}, 422, "simulations: "),
    ("PATCH", "", "", {"seats": [{"agent": "nobody"}, {"agent": None}]}, 404, "no agent 'nobody'"),
    ("PATCH", "", "", {"seats": [{"agent": "go5"}, {"agent": None}]}, 422, "go5 plays Go"),
    ("PATCH", "", "", {"seats": [{"agent": None, "level": 11}, {"agent": None}]}, 422, "seats.0.level"),
    ("PUT", "", "/game", {"text": "no game"}, 422, "no readable SGF"),
    ("PUT", "", "/game", {"text": "(;GM[1]SZ[9])"}, 422, "a game of Go"),
    ("PUT", "", "/game", {"text": '{"env": "tic_tac_toe", "moves": [4, 4]}'}, 422, "not legal"),
    ("PUT", "", "/game", {"text": '{"env": "/etc/passwd.py:x", "moves": []}'}, 422, "this is tic_tac_toe"),
    ("PUT", "", "/game", {"text": '{"env": "tic_tac_toe", "moves": ["4"]}'}, 422, "whole numbers"),
    ("PUT", "", "/game", {"text": '{"env": "tic_tac_toe"'}, 422, "no readable JSON"),
    ("PUT", "", "/game", {"text": "{" * 100_000}, 422, "no readable JSON"),
    ("POST", "", "/new", {"agent": "nobody"}, 404, "no agent 'nobody'"),
    ("POST", "", "/new", {"agent": "tic_tac_toe", "size": 5}, 422, "one board only"),
    ("POST", "", "/new", {"agent": "go5", "size": 99}, 422, "5 to 19 lines"),
    ("POST", "", "/new", {"agent": "go5", "komi": 0.25}, 422, "whole or half"),
    ("POST", "", "/control", {"paused": True}, 409, "a board game"),
    ("POST", "", "/nonsense", {}, 404, "nothing at"),
    ("DELETE", "", "/moves", None, 405, "DELETE is not for"),
    ("POST", "elsewhere", "/moves", {"action": 4, "ply": 0}, 404, "begin a new one"),
    ("GET", "elsewhere", "", None, 404, "begin a new one"),
]


@pytest.mark.parametrize(("method", "room", "path", "body", "status", "sentence"), REFUSED)
def test_what_cannot_be_granted(
    method: str, room: str, path: str, body: Any, status: int, sentence: str, client: TestClient
) -> None:
    here = opened(client, "tic_tac_toe", explain=False)
    answer = client.request(method, f"/api/rooms/{room or here['id']}{path}", json=body)
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"] and sentence in answer.json()["error"]
    after = client.get(f"/api/rooms/{here['id']}").json()
    assert after == here, "nothing has changed"


@pytest.mark.parametrize("komi", ["1" + "0" * 400, "1e400", "-1e400", "NaN", '"7"', "0.25", "true"])
def test_a_files_komi_that_is_none(komi: str, client: TestClient) -> None:
    place = f"/api/rooms/{opened(client, 'go5', explain=False)['id']}"
    answer = client.put(f"{place}/game", json={"text": f'{{"env": "go5", "moves": [], "komi": {komi}}}'})
    assert answer.status_code == 422, answer.text
    assert "komi" in answer.json()["error"]


def test_out_of_turn_and_after_the_end(client: TestClient) -> None:
    room = opened(client, "tic_tac_toe", explain=False)
    place = f"/api/rooms/{room['id']}"
    client.post(f"{place}/moves", json={"action": 4, "ply": 0})
    answer = client.post(f"{place}/moves", json={"action": 5, "ply": 1})
    assert answer.status_code == 409 and answer.json()["error"] == "it is the turn of O, whom an agent plays"
    client.put(f"{place}/game", json={"text": '{"env": "tic_tac_toe", "moves": [0, 3, 1, 4, 2]}'})
    answer = client.post(f"{place}/moves", json={"action": 8, "ply": 5})
    assert answer.status_code == 409 and "the game is over" in answer.json()["error"]


@pytest.mark.parametrize(
    ("content", "kind", "status", "sentence"),
    [
        (b"{", "application/json", 400, "no JSON"),
        (b"\xff\xfe", "application/json", 400, "no JSON"),
        (b"action=4&ply=0", "application/x-www-form-urlencoded", 422, "application/json"),
        (b'{"action": 4, "ply": 0}', "text/plain", 422, "application/json"),
        (b"", "application/json", 422, "JSON object"),
        (b'{"action": NaN, "ply": 0}', "application/json", 422, "action"),
        (b"[" * 50_000, "application/json", 400, "no JSON"),
        (b'{"action": ' + b"1" * 5000 + b', "ply": 0}', "application/json", 400, "no JSON"),
        (b" " * (MOST_BYTES + 1), "application/json", 413, "larger than 1,048,576 bytes"),
    ],
    ids=["cut", "bytes", "form", "text", "empty", "nan", "nested", "digits", "giant"],
)
def test_bodies_that_are_no_request(content: bytes, kind: str, status: int, sentence: str, client: TestClient) -> None:
    room = opened(client, "tic_tac_toe", explain=False)
    answer = client.post(f"/api/rooms/{room['id']}/moves", content=content, headers={"content-type": kind})
    assert answer.status_code == status, answer.text
    assert sentence in answer.json()["error"]


def test_a_body_of_unknown_length_is_not_read_for_ever(client: TestClient) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(200):
            yield b" " * 100_000

    assert client.post("/api/rooms", content=endless()).status_code == 413


def test_a_room_that_is_gone_refuses_its_viewers(client: TestClient) -> None:
    with live(client, "elsewhere") as heard:
        assert "begin a new one" in heard.receive_json()["error"]
        assert heard.receive()["type"] == "websocket.close"


def test_more_viewers_than_there_may_be_are_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms_module, "MOST_VIEWERS", 1)
    room = opened(client, "tic_tac_toe", explain=False)
    with live(client, room["id"]) as first:
        until(first, type="state")
        with live(client, room["id"]) as second:
            assert "close one of them" in second.receive_json()["error"]


def test_rooms_make_way_and_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms_module, "MOST_ROOMS", 3)
    with serving(agent("tic_tac_toe"), kept_seconds=0.3) as ours:
        names = [opened(ours, "tic_tac_toe", explain=False)["id"] for _ in range(3)]
        with live(ours, names[0]) as heard:
            until(heard, type="state")
            opened(ours, "tic_tac_toe")
            assert ours.get(f"/api/rooms/{names[0]}").status_code == 200, "somebody looks"
            assert ours.get(f"/api/rooms/{names[1]}").status_code == 404, "the longest left"
            deadline = time.monotonic() + 10
            while len(rooms(ours)) > 1 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert len(rooms(ours)) == 1
        assert ours.delete(f"/api/rooms/{names[0]}").status_code == 204
        assert len(rooms(ours)) == 0


def test_a_tab_closed_in_mid_search_ends_it() -> None:
    ours = agent("tic_tac_toe")
    with serving(ours, start=Start(agent="tic_tac_toe", seats=[Seat(), Seat(agent="tic_tac_toe")])) as served:
        asked = slowed(ours, 0.02)
        room = opened(served, "tic_tac_toe", simulations=5000)
        with live(served, room["id"]) as heard:
            until(heard, type="state")
            while not asked:
                time.sleep(0.01)
        time.sleep(0.3)
        before = len(asked)
        time.sleep(0.3)
        assert len(asked) == before, "nobody looks any more"
        table: Any = rooms(served).get(room["id"])
        assert table._explainer._search is None, "its tree is given back"
