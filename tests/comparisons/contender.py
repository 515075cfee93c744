"""What every contender does around its library's training loop: settings in, progress out as JSON lines.

Contenders run in interpreters of their own, where Fuseki need not be installed, so this file needs nothing but Python.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """PPO as all of them know it; separate policy and value networks of 64 × 64 tanh units.

    For ``ALE/Pong-v5`` and its like: four frames a step, the newest four as 84×84 grey pictures, and Nature's network
    for policy and value together.
    """

    env: str
    env_steps: int
    environments: int
    steps: int  # of each environment in one rollout
    minibatch: int
    epochs: int
    learning_rate: float
    discount: float
    gae_lambda: float
    seed: int
    precision: str  # of the learner: float32, or what else Fuseki knows; the others have float32 alone


def options() -> argparse.ArgumentParser:
    """The options that every contender takes, one for each of ``Settings``."""
    parser = argparse.ArgumentParser(add_help=False)
    for name, value in (("env", "CartPole-v1"), ("env-steps", 100_000), ("environments", 8), ("steps", 128),
                        ("minibatch", 256), ("epochs", 4), ("learning-rate", 1e-3), ("discount", 0.98),
                        ("gae-lambda", 0.95), ("seed", 0), ("precision", "float32")):  # fmt: skip
        parser.add_argument(f"--{name}", type=type(value), default=value)
    return parser


def settings() -> Settings:
    return Settings(**vars(options().parse_args()))


class Reporter:
    """Prints (seconds, env_steps, mean return of the last 100 training episodes) as training goes on."""

    def __init__(self) -> None:
        self.returns: deque[float] = deque(maxlen=100)
        self.started: float | None = None

    def begin(self) -> None:
        """Everything is imported and made; the clock starts."""
        self.started = time.perf_counter()

    def episode(self, total: float, times: int = 1) -> None:
        self.returns.extend([total] * min(times, self.returns.maxlen or times))

    def mean(self) -> float | None:
        return sum(self.returns) / len(self.returns) if len(self.returns) == self.returns.maxlen else None

    def row(self, env_steps: int, mean_return: float | None = None) -> None:
        assert self.started is not None, "begin() first"
        mean_return = self.mean() if mean_return is None else mean_return
        tell(time.perf_counter() - self.started, env_steps, mean_return)


def tell(seconds: float, env_steps: int, mean_return: float | None) -> None:
    print("ROW " + json.dumps({"seconds": seconds, "env_steps": env_steps, "return": mean_return}), flush=True)


def retell(metrics: Path) -> None:
    """Fuseki's metrics as rows: of the episodes between two of its rows it tells the number and the mean return."""
    reporter, ended = Reporter(), 0
    for line in metrics.read_text().splitlines():
        row = json.loads(line)
        if row.get("rollout/return") is not None:
            reporter.episode(row["rollout/return"], row["games"] - ended)
            ended = row["games"]
        if "env_steps" in row:
            tell(row["seconds"], row["env_steps"], reporter.mean())
