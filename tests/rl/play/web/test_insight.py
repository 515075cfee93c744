"""What the network looks at in a position, as the page asks for it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from rl.cli.web import insights
from tests.rl.play.web.web_for_tests import agent, gym_agent, opened, serving

PERSON: dict[str, Any] = {"agent": None}
TRANSFORMER = {"kind": "transformer", "width": 8, "depth": 2, "heads": 2}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    looking = agent("go5", "looking", encoder=TRANSFORMER)
    with serving(agent("tic_tac_toe"), looking, gym_agent("CartPole-v1"), insights=insights()) as ours:
        yield ours


def table(client: TestClient, name: str, *moves: int, **wanted: Any) -> tuple[str, dict[str, Any]]:
    """Where a game between people after these moves is, and its state."""
    place = f"/api/rooms/{opened(client, name, seats=[PERSON, PERSON], explain=False, **wanted)['id']}"
    for ply, action in enumerate(moves):
        assert client.post(f"{place}/moves", json={"action": action, "ply": ply}).status_code == 200
    return place, client.get(place).json()


def test_saliency_is_that_of_the_networks_choice_in_the_position(client: TestClient) -> None:
    pytest.importorskip("captum.attr")
    from rl.insight.saliency import of_position

    ours = agent("tic_tac_toe")  # the same as the server's
    place, state = table(client, "tic_tac_toe", 4, 0, 8)
    assert state["insights"] == ["saliency"]
    for ply in (3, 2):
        told = client.get(f"{place}/insight", params={"kind": "saliency", "ply": ply}).json()
        position = ours.game.replay([4, 0, 8][:ply])
        alone = ours.analyse_state(position, 0)
        shares, log_probability = of_position(ours, position, "occlusion", "policy", alone.action)
        assert (told["kind"], told["ply"], told["action"]) == ("saliency", ply, alone.action)
        assert told["probability"] == pytest.approx(np.exp(log_probability), abs=1e-3)
        np.testing.assert_allclose(told["shares"], shares, atol=1e-4)
    empty = [told["shares"][cell // 3][cell % 3] for cell in (1, 2, 3, 5, 6, 7, 8)]
    assert max(map(abs, empty)) < 1e-6 < abs(told["shares"][1][1]), "what is not there explains nothing"


def test_attention_is_that_of_a_transformer_on_any_board(client: TestClient) -> None:
    for size in (5, 7):
        place, state = table(client, "looking", 12, 6, size=size)
        assert state["insights"] == ["saliency", "attention"]
        told = client.get(f"{place}/insight", params={"kind": "attention", "ply": 2}).json()
        shares = np.array(told["shares"])
        assert shares.shape == (size, size) and (shares >= 0).all()
        assert shares.sum() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("query", "status", "sentence"),
    [
        ("kind=attention&ply=0", 422, "no transformer encoder"),
        ("kind=saliency&ply=6", 422, "no position after 6 moves: 5 were played"),
        ("kind=saliency&ply=5", 409, "the game is over there"),
        ("kind=saliency&ply=-1", 422, "ply: "),
        ("kind=saliency&ply=x", 422, "ply: "),
        ("kind=saliency", 422, "ply: field required"),
        ("kind=opinion&ply=0", 422, "kind: "),
    ],
)
def test_what_cannot_be_shown(query: str, status: int, sentence: str, client: TestClient) -> None:
    place, _ = table(client, "tic_tac_toe", 0, 3, 1, 4, 2)
    answer = client.get(f"{place}/insight?{query}")
    assert answer.status_code == status, answer.text
    assert sentence in answer.json()["error"]


def test_episodes_have_none(client: TestClient) -> None:
    place = f"/api/rooms/{opened(client, 'acting')['id']}"
    assert client.get(f"{place}/insight?kind=saliency&ply=0").status_code == 409


def test_without_the_extra_there_is_a_sentence(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum", None)  # as where it is not installed
    place, _ = table(client, "tic_tac_toe", 7)
    answer = client.get(f"{place}/insight?kind=saliency&ply=1")
    assert answer.status_code == 501 and "pip install 'fuseki[insight]'" in answer.json()["error"]


def test_nobody_waits_for_it_and_it_is_kept() -> None:
    asked: list[int] = []

    def slow(ours: Any, state: np.ndarray, action: int) -> np.ndarray:
        asked.append(action)
        time.sleep(3)
        return np.zeros((3, 3))

    with serving(agent("tic_tac_toe"), insights={"saliency": slow}) as client, ThreadPoolExecutor(1) as aside:
        place, _ = table(client, "tic_tac_toe", 4)
        looking = aside.submit(client.get, f"{place}/insight?kind=saliency&ply=1")
        while not asked:
            time.sleep(0.01)
        began = time.monotonic()
        assert client.post(f"{place}/moves", json={"action": 0, "ply": 1}).status_code == 200
        assert time.monotonic() - began < 1.5
        first = looking.result().json()
        assert client.get(f"{place}/insight?kind=saliency&ply=1").json() == first and len(asked) == 1
