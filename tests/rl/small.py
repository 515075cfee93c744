"""Small configurations and made-up experience, shared by the tests of actors, experience and learner."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.game import ONGOING, STATUS, Game, outcome
from rl.config import GameConfig, parse_config
from rl.inference import random_positions
from rl.records import Batch, GameRecord

MLP = {"kind": "mlp", "width": 16, "depth": 1}
RESNET = {"kind": "resnet", "channels": 8, "blocks": 2}


def small_config(env: str = "tic_tac_toe", encoder: dict[str, Any] | None = None, **sections: Any) -> GameConfig:
    """A configuration of small sizes; sections are given as mappings."""
    data = {"env": env, "net": {"encoder": encoder or MLP}, "run": {"learner_steps": 1000}}
    return game_config(data | sections)


def game_config(data: dict[str, Any]) -> GameConfig:
    """The configuration that a mapping holds, of a board game."""
    config = parse_config(data, "the test")
    assert isinstance(config, GameConfig)
    return config


def random_record(game: Game, rng: np.random.Generator, opening: int = 0, proven: float = 0.3) -> GameRecord:
    """A game of random moves whose searches found nonsense, from 0 to ``opening`` moves after the initial position."""
    while True:
        state = game.initial_state()
        for _ in range(rng.integers(opening + 1)):
            if state[STATUS] == ONGOING:
                game.play(state, rng.choice(np.flatnonzero(game.legal_mask(state))))
        if state[STATUS] == ONGOING:
            break
    start = state.copy()
    actions, policies = [], []
    while state[STATUS] == ONGOING:
        legal = game.legal_mask(state)
        weight = legal * rng.random(game.num_actions)
        policies.append(weight / weight.sum())
        actions.append(rng.choice(np.flatnonzero(legal)))
        game.play(state, actions[-1])
    length = len(actions)
    return GameRecord(
        start=start,
        actions=np.array(actions, np.int16),
        policy=np.array(policies, np.float32),
        wdl=rng.dirichlet(np.ones(3), length).astype(np.float32),
        proven=np.where(rng.random(length) < proven, rng.integers(1, 4, length), 0).astype(np.int8),
        full=rng.random(length) < 0.6,
        off_policy=rng.random(length) < 0.3,
        weights_version=rng.integers(100, size=length),
        surprise=np.where(rng.random(length) < 0.8, rng.exponential(size=length), np.nan).astype(np.float32),
        outcome=outcome(state),
    )


def random_records(game: Game, count: int, seed: int, opening: int = 0) -> list[GameRecord]:
    rng = np.random.default_rng(seed)
    return [random_record(game, rng, opening) for _ in range(count)]


def random_batch(game: Game, rows: int, seed: int = 0) -> Batch:
    """Real positions with made-up targets."""
    rng = np.random.default_rng(seed)
    planes, legal = random_positions(game, rows, seed)
    policy = legal * rng.random(legal.shape) ** 3
    policy /= policy.sum(1, keepdims=True)
    wdl = rng.dirichlet(np.ones(3) * 0.5, rows)
    return Batch(
        planes, legal, policy.astype(np.float32), wdl.astype(np.float32), np.zeros(rows, np.int64), np.full(rows, -1)
    )
