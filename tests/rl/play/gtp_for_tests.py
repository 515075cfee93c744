"""A client of GTP in the same process, and small untrained agents for it to play with."""

from __future__ import annotations

import io
import queue
import re
import threading
from pathlib import Path
from typing import Any

import torch

import envs
from rl import nets
from rl.agent import Agent
from rl.play.engine import Engine
from rl.play.gtp import Lines
from rl.play.gtp_go import play
from rl.records import Weights
from rl.weights import save_agent
from tests.rl.agents_for_tests import small_config

RESNET = {"encoder": {"kind": "resnet", "channels": 8, "blocks": 2}, "policy_channels": 4, "value_channels": 4}
ANSWER = re.compile(r"([=?][^\n]*(?:\n[^\n]+)*)\n\n")


def small_agent(env_id: str = "go5", net: dict[str, Any] | None = None, **changes: Any) -> Agent:
    """Random weights; the same board by board for a resnet."""
    config = small_config(env_id, net=net or RESNET, **changes)
    torch.manual_seed(3)
    network = nets.build(config.net, envs.make(env_id))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    tensors = {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}
    return Agent("small", Weights(7, tensors), config, {}, "cpu")


def save(agent: Agent, path: Path) -> Path:
    save_agent(path, agent.weights, agent.config, agent.info)
    return path


def answers(text: str) -> list[str]:
    """The answers in what a server has written, each without the empty line that ends it; all of it must be answers."""
    found = ANSWER.findall(text)
    assert "".join(f"{answer}\n\n" for answer in found) == text, text
    return found


class Client:
    """A client that reads what the server says before it goes on, as programs do."""

    def __init__(self, engine: Engine) -> None:
        self._sent = queue.SimpleQueue[bytes]()
        self._said = queue.SimpleQueue[str]()
        self._rest = ""
        said = self._said

        class Out(io.BytesIO):
            def write(self, data: Any) -> int:
                said.put(data.decode())
                return len(data)

        self._server = threading.Thread(target=play, args=(engine, Lines(self._sent.get), Out()), daemon=True)
        self._server.start()

    def send(self, *lines: str) -> None:
        self._sent.put("".join(f"{line}\n" for line in lines).encode())

    def line(self) -> str:
        """The next line that the server says."""
        while "\n" not in self._rest:
            self._rest += self._said.get(timeout=60)
        line, _, self._rest = self._rest.partition("\n")
        return line

    def answer(self) -> str:
        """Up to the next empty line, which ends an answer."""
        return "\n".join(iter(self.line, ""))

    def ask(self, line: str) -> str:
        self.send(line)
        return self.answer()

    def quit(self) -> None:
        assert self.ask("quit") == "="
        self._sent.put(b"")
        self._server.join(10)
        assert not self._server.is_alive()


def talk(agent: Agent | Engine, *lines: str) -> list[str]:
    """What the server answers to these lines, after which the input ends."""
    engine = agent if isinstance(agent, Engine) else Engine(agent, simulations=4)
    sent = queue.SimpleQueue[bytes]()
    sent.put("".join(f"{line}\n" for line in lines).encode())
    sent.put(b"")
    out = io.BytesIO()
    play(engine, Lines(sent.get), out)
    return answers(out.getvalue().decode())
