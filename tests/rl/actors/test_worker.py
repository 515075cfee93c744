"""A whole actor with a real network: what it settles at the start, and that its state carries all it needs."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest
import torch

import envs
from rl.actors.seeds import actor_seed
from rl.actors.worker import LOCKSTEP_GAMES, SelfPlayWorker
from rl.config import GameConfig, InferenceConfig
from rl.inference import Evaluator
from rl.nets import build
from rl.records import Weights
from tests.rl.small import small_config

SYNC = {"mode": "sync", "learner_steps": 10}
PLAY = {"full_search_fraction": 0.5, "fast_simulations": 3, "random_opening_plies": 3}


def weights(config: GameConfig, version: int = 0) -> Weights:
    torch.manual_seed(version)
    net = build(config.net, envs.make(config.env))
    return Weights(version, {name: tensor.numpy().copy() for name, tensor in net.state_dict().items()})


def config(games: int | str = 8, mode: dict | None = None) -> GameConfig:
    return small_config(search={"simulations": 8}, selfplay=PLAY | {"games": games}, run=mode or SYNC)


def test_in_lock_step_nothing_is_measured() -> None:
    ours = SelfPlayWorker(config("auto"), seed=0)
    ours.use(weights(ours.config))
    assert isinstance(ours.evaluator, Evaluator) and ours.selfplay is not None
    assert (ours.evaluator.format, ours.selfplay.games) == ("float32-nchw", LOCKSTEP_GAMES)
    assert ours.evaluator.timings == {}


def test_games_at_once_are_the_fewest_that_are_fast_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = {32: 10.0, 64: 80.0, 128: 96.0, 256: 100.0, 512: 99.0}  # larger ones are not tried
    monkeypatch.setattr(SelfPlayWorker, "_trial", lambda self, games, weights, format: speeds[games])
    ours = SelfPlayWorker(config("auto", {"minutes": 1}), seed=0)
    with pytest.raises(KeyError, match="1024"):
        ours.use(weights(ours.config))  # 512 is only twice the best so far
    speeds[1024] = 98.0
    ours.use(weights(ours.config))
    assert ours.selfplay is not None
    assert ours.selfplay.games == 128


def test_moves_are_counted_a_game() -> None:
    ours = SelfPlayWorker(config(), seed=0)
    ours.use(weights(ours.config, version=7))
    report = ours.play(moves=20)
    assert 8 * 20 <= report.moves < 8 * 20 + 40
    assert {version for record in report.games for version in record.weights_version} == {7}


def test_new_weights_are_used_at_once() -> None:
    ours = SelfPlayWorker(config(), seed=0)
    ours.use(weights(ours.config))
    ours.play(moves=2)
    ours.use(weights(ours.config, version=9))
    assert isinstance(ours.evaluator, Evaluator)
    planes = np.ones((3, *ours.game.plane_shape), np.float32)
    fresh = SelfPlayWorker(config(), seed=0)
    fresh.use(weights(ours.config, version=9))
    assert fresh.evaluator is not None
    assert (ours.evaluator(planes).logits == fresh.evaluator(planes).logits).all()
    assert ours.evaluator.version == 9


def test_a_restored_actor_goes_on_as_if_never_interrupted() -> None:
    pinned = InferenceConfig(format="bfloat16-nchw")
    whole = SelfPlayWorker(config().model_copy(update={"inference": pinned}), seed=1)
    newest = weights(whole.config, version=5)
    whole.use(weights(whole.config))
    whole.play(moves=5)
    whole.use(newest)
    whole.play(moves=7)
    tensors, state = whole.state()
    restored = SelfPlayWorker(config("auto"), seed=2)
    restored.restore(newest, tensors, json.loads(json.dumps(state)))
    assert isinstance(restored.evaluator, Evaluator)
    assert (restored.evaluator.format, restored.evaluator.timings) == ("bfloat16-nchw", {})
    a, b = whole.play(moves=20), restored.play(moves=20)
    assert (a.moves, a.evaluations) == (b.moves, b.evaluations)
    assert len(a.games) == len(b.games) > 10
    for one, other in zip(a.games, b.games, strict=True):
        for name, value in vars(one).items():
            np.testing.assert_array_equal(value, getattr(other, name), err_msg=name)


def test_every_actor_in_every_life_has_a_seed_of_its_own() -> None:
    seeds = [
        actor_seed(root, index, begun, life)
        for root, index, begun, life in product(range(3), range(8), (0, 1, 77, 100_000), range(5))
    ]
    assert len(set(seeds)) == 3 * 8 * 4 * 5
    assert actor_seed(3, 4, 1, 2) == actor_seed(3, 4, 1, 2)
