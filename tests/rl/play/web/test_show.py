"""Episodes as a page sees them: pictures, returns, pauses, and environments that fail."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import WebSocketTestSession

from rl.play.web.show import packed, png
from tests.rl.play.web.web_for_tests import MESSAGES, Slow, agent, gym_agent, live, opened, serving

HERE = "tests.envs.scripted_worlds"


def told_by(heard: WebSocketTestSession) -> tuple[dict[str, Any], bytes]:
    """The next message: what it says, and its picture."""
    message = heard.receive()
    if message.get("text"):
        return json.loads(message["text"]), b""
    whole: bytes = message["bytes"]
    length = int.from_bytes(whole[:4], "little")
    return json.loads(whole[4 : 4 + length]), whole[4 + length :]


def test_a_packed_picture() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    message = packed({"step": 3}, png(pixels))
    assert int.from_bytes(message[:4], "little") == len(b'{"step": 3}')
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(message[4 + 11 :]))), pixels)


def test_cartpole_is_watched_with_its_returns() -> None:
    pytest.importorskip("pygame")
    with serving(gym_agent("CartPole-v1"), agent("tic_tac_toe")) as client:
        room = opened(client, "acting")
        assert (room["kind"], room["env"]) == ("episodes", "CartPole-v1")
        place = f"/api/rooms/{room['id']}"
        client.post(f"{place}/control", json={"speed": 20})
        sizes, chances, state = set(), [], room
        with live(client, room["id"]) as heard:
            for _ in range(MESSAGES):
                told, picture = told_by(heard)
                if told.get("type") == "state":
                    state = told
                    if state["count"] >= 2:
                        break
                    continue
                sizes.add(Image.open(io.BytesIO(picture)).size)
                chances += [told["policy"]] if "policy" in told else []
                assert told["return"] == told["step"], "CartPole gives 1 a step"
        assert sizes == {(600, 400)}
        assert chances and all(sum(p) == pytest.approx(1, abs=0.01) for p in chances)
        assert state["fps"] == 50 and len(state["episodes"]) == state["count"]
        assert all(e["return"] == e["length"] and e["end"] == "terminated" for e in state["episodes"])
        assert client.post(f"{place}/moves", json={"action": 0, "ply": 0}).status_code == 409
        assert client.post(f"{place}/control", json={"speed": 0}).status_code == 422
        assert client.post("/api/rooms", json={"agent": "acting", "size": 5}).status_code == 422


def test_paused_episodes_go_on_step_by_step() -> None:
    with serving(gym_agent(f"{HERE}:Ansi")) as client:
        room = opened(client, "acting")
        place = f"/api/rooms/{room['id']}"
        client.post(f"{place}/control", json={"paused": True})
        with live(client, room["id"]) as heard:
            steps: list[int] = []
            while len(steps) < 3:
                told, picture = told_by(heard)
                if "step" in told:
                    assert picture == b"" and f"time {told['step']}" in told["text"]
                    steps.append(told["step"])
                    client.post(f"{place}/control", json={"step": True})
        assert steps == [0, 1, 2]


def test_an_environment_that_fails_says_so_and_can_be_begun_anew() -> None:
    with serving(gym_agent(f"{HERE}:Drawn", draws="raise")) as client:
        room = opened(client, "acting")
        place = f"/api/rooms/{room['id']}"
        with live(client, room["id"]) as heard:
            while not (state := told_by(heard)[0]).get("failure"):
                pass
            assert "render raised RuntimeError: no screen" in state["failure"]
            assert client.post(f"{place}/control", json={"restart": True}).json()["failure"] is None
            while (failure := told_by(heard)[0]["failure"]) is None:
                pass
            assert failure == state["failure"], "begun anew, it fails anew"


def test_a_second_page_sees_paused_episodes_too() -> None:
    with serving(gym_agent(f"{HERE}:Drawn")) as client:
        room = opened(client, "acting")
        client.post(f"/api/rooms/{room['id']}/control", json={"paused": True})
        with live(client, room["id"]) as first:
            while "step" not in (told := told_by(first))[0]:
                pass
            with live(client, room["id"]) as second:
                assert told_by(second)[0]["type"] == "state"
                assert told_by(second) == told and told[1][1:4] == b"PNG"


def test_nobody_waits_for_an_environment_that_is_slowly_made_and_closed() -> None:
    with serving(gym_agent("tests.rl.play.web.web_for_tests:Slow")) as client:
        room = opened(client, "acting")
        with live(client, room["id"]) as heard:
            told_by(heard)
        # The page is gone while the environment is being made: it is closed once it is there.
        longest, deadline = 0.0, time.monotonic() + 60
        while not Slow.closed.is_set():
            assert time.monotonic() < deadline
            began = time.monotonic()
            assert client.get(f"/api/rooms/{room['id']}").status_code == 200
            longest = max(longest, time.monotonic() - began)
            time.sleep(0.02)
        assert longest < 2, "its close takes 4 seconds"
