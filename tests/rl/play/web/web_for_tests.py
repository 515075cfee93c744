"""Small agents behind a page's server, in this process and without a browser."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import uvicorn
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketTestSession

import envs
from envs.game import HEADER, Game
from rl import nets
from rl.agent import Agent
from rl.gym_agent import GymAgent
from rl.play.web.rooms import Rooms
from rl.play.web.server import PORT, Desk, bind, create_app
from rl.records import Weights
from tests.envs.scripted_worlds import Ansi
from tests.examples.connect_three import COLUMNS, connect_three
from tests.rl.agents_for_tests import random_weights, rollout_config, small_config

RESNET = {"encoder": {"kind": "resnet", "channels": 8, "blocks": 2}, "policy_channels": 4, "value_channels": 4}
HERE = f"http://localhost:{PORT}"
MESSAGES = 400  # at most, until what is waited for


def flat() -> Game:
    """A game of a user's own whose actions are, by default, no places on the board."""
    return replace(connect_three(), env_id="flat", action_layout="flat")


def worded() -> Game:
    """The same, drawn in other marks than those that are understood."""
    return replace(flat(), env_id="worded", render=lambda state: " ".join("-#@"[s] for s in state[HEADER:][-COLUMNS:]))


def agent(env_id: str, name: str = "", **net: Any) -> Agent:
    """With random weights; resnets play on any board."""
    config = small_config(env_id, **({"net": RESNET | net} if net or env_id.startswith(("go", "hex")) else {}))
    torch.manual_seed(3)
    module = nets.build(config.net, envs.make(env_id))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape))
    tensors = {key: tensor.numpy().copy() for key, tensor in module.state_dict().items()}
    return Agent(name or env_id, Weights(1, tensors), config, {}, "cpu")


def slowed(ours: Agent, seconds: float) -> list[float]:
    """Let each evaluation of the agent take so long; when it was asked is in the list."""
    asked: list[float] = []
    evaluator = ours.evaluator(1)

    def slow(planes: Any) -> Any:
        asked.append(time.monotonic())
        time.sleep(seconds)
        return evaluator(planes)

    ours._evaluators = {(leaves, 0.0): slow for leaves in (1, 2, 4, 8, 16, 32)}  # type: ignore[misc]
    ours.speed = (1, 1 / seconds)
    return asked


class Slow(Ansi):
    """Takes its time to be made and to be closed."""

    closed = threading.Event()

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        time.sleep(0.5 if render_mode else 0)

    def close(self) -> None:
        if self.render_mode:
            time.sleep(4)
            self.closed.set()


def gym_agent(env: str, name: str = "acting", **options: Any) -> GymAgent:
    config = rollout_config(env, env_options=options)
    return GymAgent(name, random_weights(config), config, {})


@contextmanager
def serving(*agents: Agent | GymAgent, host: str = HERE, **options: Any) -> Iterator[TestClient]:
    app = create_app(agents, **({"shipped": False} | options))
    with TestClient(app, base_url=host) as client:
        yield client


def rooms(client: TestClient) -> Rooms:
    desk = client.app.state.desk  # type: ignore[attr-defined]
    assert isinstance(desk, Desk)
    return desk.rooms


def live(client: TestClient, room: str, headers: dict[str, str] | None = None) -> WebSocketTestSession:
    """What a page hears of a room."""
    here = str(client.base_url).replace("http", "ws", 1).rstrip("/")  # the client's own way leaves its host out
    return client.websocket_connect(f"{here}/api/rooms/{room}/live", headers=headers or {})


def opened(client: TestClient, agent: str, **wanted: Any) -> dict[str, Any]:
    answer = client.post("/api/rooms", json={"agent": agent} | wanted)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def until(socket: WebSocketTestSession, **wanted: Any) -> dict[str, Any]:
    """The first message that has all these values."""
    for _ in range(MESSAGES):
        told: dict[str, Any] = socket.receive_json()
        if all(told.get(key) == value for key, value in wanted.items()):
            return told
    raise AssertionError(f"no message with {wanted}")


@contextmanager
def served(*agents: Agent | GymAgent, **options: Any) -> Iterator[tuple[str, Desk]]:
    """The page's URL, served from a thread as ``fuseki play --web`` does from the process."""
    listening = bind("127.0.0.1", 0)
    port = listening.getsockname()[1]
    app = create_app(agents, port=port, **({"shipped": False} | options))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="websockets-sansio", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}/", app.state.desk
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()
