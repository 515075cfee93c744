"""Small agents behind a page's server, in this process and without a browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketTestSession

import envs
from rl import nets
from rl.agent import Agent
from rl.gym_agent import GymAgent
from rl.play.web.rooms import Rooms
from rl.play.web.server import PORT, Desk, create_app
from rl.records import Weights
from tests.rl.agents_for_tests import random_weights, rollout_config, small_config

RESNET = {"encoder": {"kind": "resnet", "channels": 8, "blocks": 2}, "policy_channels": 4, "value_channels": 4}
HERE = f"http://localhost:{PORT}"
MESSAGES = 400  # at most, until what is waited for


def agent(env_id: str, name: str = "", **net: Any) -> Agent:
    """With random weights; resnets play on any board."""
    config = small_config(env_id, **({"net": RESNET | net} if net or env_id.startswith(("go", "hex")) else {}))
    torch.manual_seed(3)
    module = nets.build(config.net, envs.make(env_id))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    tensors = {key: tensor.numpy().copy() for key, tensor in module.state_dict().items()}
    return Agent(name or env_id, Weights(1, tensors), config, {}, "cpu")


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
