"""Two learners in real processes make the update of one: board games, PPO, IMPALA; each draws from its own shard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import envs
from rl.actors.rollout import RolloutWorker
from rl.experience import file_shards
from rl.records import Tensors, Unroll
from tests.rl import together
from tests.rl.small import MLP, RESNET, random_batch, random_records
from tests.rl.together import Learned, Pair, both, halves, lanes

# The stated tolerance: no weight differs by more than this share of how far training moved the weights of its tensor.
# Sums in another order round otherwise; nothing else may differ.
TOLERANCE = 1e-3
MEASURES = ("loss", "policy_loss", "value_loss", "policy_kl", "gradient_norm")
GAME = envs.make("connect_four")


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    found = Pair()
    yield found
    found.close()


def assert_same_update(alone: Learned, joined: list[Learned], start: Tensors) -> None:
    measures, tensors, noise = alone
    for theirs, learned, _ in joined:
        assert learned.keys() == tensors.keys()
        moved = []
        for name, value in tensors.items():
            if name not in start:  # the optimiser's own
                continue
            moved.append(float(np.abs(value - start[name]).max()))
            gap = np.abs(learned[name] - value)
            told = name.replace("average.", "net.")
            assert (gap <= max(TOLERANCE * moved[-1], 2e-6))[~noise.get(told, np.zeros_like(gap, bool))].all(), name
        assert max(moved) > 5e-3
        for mine, one in zip(theirs, measures, strict=True):
            for name in one.keys() & {f"{room}{n}" for room in ("", "learner/") for n in MEASURES}:
                assert mine[name] == pytest.approx(one[name], rel=2e-3, abs=1e-6), name
    for name, value in joined[0][1].items():
        np.testing.assert_array_equal(value, joined[1][1][name], err_msg=name)


def game(encoder: dict[str, Any], optimizer: str = "sgd") -> dict[str, Any]:
    rate = 0.1 if optimizer == "sgd" else 3e-3
    learner = {"batch_size": 24, "optimizer": optimizer, "learning_rate": rate, "warmup_steps": 0}
    learner |= {"precision": "float32", "ema": 0.5}
    return {"env": "connect_four", "net": {"encoder": encoder}, "learner": learner, "run": {"learner_steps": 1000}}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize(
    "encoder",
    [MLP, RESNET, RESNET | {"normalisation": "group"}, {"kind": "transformer", "width": 16, "depth": 1, "heads": 2}],
    ids=["mlp", "batch norm", "group norm", "transformer"],
)
def test_two_learners_of_a_game_make_the_update_of_one(encoder: dict[str, Any], optimizer: str, pair: Pair) -> None:
    data, batches = game(encoder, optimizer), [random_batch(GAME, 24, seed) for seed in range(5)]
    _, start, _ = together.game_updates(data, [])
    split = [halves(batch) for batch in batches]
    found = pair.ask("game_updates", both(data), tuple(zip(*split)))
    assert_same_update(together.game_updates(data, batches), found, start)


def ppo(**more: Any) -> dict[str, Any]:
    algorithm = {"kind": "ppo", "epochs": 3, "normalise_rewards": True, "value_clip": 0.2}
    if more.pop("impala", False):
        algorithm = {"kind": "impala", "normalise_rewards": True}
    return {
        "env": "CartPole-v1",
        "algorithm": algorithm,
        "net": {"encoder": MLP, "normalise_observations": True} | more,
        "rollout": {"environments": 6, "steps": 64, "vectorization": "sync"},
        "learner": {"batch_size": 6 * 64, "optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.5},
        "run": {"learner_steps": 1000},
    }


def stretches(data: dict[str, Any], count: int) -> list[Unroll]:
    """Of an untrained network, and long enough that episodes end, after which a step is invalid."""
    from rl.trainers.rollouts import RolloutTrainer

    config = together.parsed(data)
    worker = RolloutWorker(config, 0, 6)
    worker.use(RolloutTrainer(config, "cpu").weights(0.0))
    found = [worker.play().take()[0] for _ in range(count)]
    worker.close()
    assert not all(unroll.valid.all() for unroll in found)
    return found


@pytest.mark.parametrize(
    "net",
    [{}, {"encoder": MLP | {"normalisation": "batch"}}, {"core": {"kind": "gru", "width": 8}}, {"impala": True}],
    ids=["mlp", "batch renormalisation", "memory", "impala"],
)
def test_so_do_two_learners_of_rollouts(net: dict[str, Any], pair: Pair) -> None:
    """Normalisation of observations, rewards and advantages counts all environments; lanes are split unevenly valid."""
    data = ppo(**net)
    unrolls = stretches(data, 3)
    _, start, _ = together.rollout_training(data, [])
    parts = tuple([[lanes(unroll, part)] for unroll in unrolls] for part in (slice(0, 3), slice(3, 6)))
    found = pair.ask("rollout_training", both(data), parts)
    assert_same_update(together.rollout_training(data, [[unroll] for unroll in unrolls]), found, start)


def test_numbers_that_are_none_with_one_learner_stop_both(pair: Pair) -> None:
    good, bad = halves(random_batch(GAME, 24))
    bad.wdl[0] = np.nan
    for told in pair.ask("diverging", both(game(RESNET)), (good, bad)):
        assert "not finite at learner step 0" in told and told.endswith(" unchanged")


REPLAY = {"min_rows": 60, "window": 200, "reuse": 3.0}


def sharded() -> dict[str, Any]:
    tic = {"env": "tic_tac_toe", "net": {"encoder": MLP}, "run": {"learner_steps": 1000}, "experience": REPLAY}
    return tic | {"learner": {"batch_size": 16, "precision": "float32"}}


def test_each_learner_draws_from_its_own_games_and_no_more_than_may_be(pair: Pair) -> None:
    tic = envs.make("tic_tac_toe")
    # The second one gets fewer games: both train as far as that one may.
    games = tuple([random_records(tic, count, 10 * n + rank) for n in range(6)] for rank, count in ((0, 12), (1, 7)))
    first, second = pair.ask("sharded_training", both(sharded()), games, both(100))
    for (steps, total, sampled, _), (steps_2, total_2, sampled_2, allowed_2) in zip(first[0], second[0], strict=True):
        assert steps == steps_2
        assert sampled == sampled_2 == steps * 8  # half of each batch
        assert sampled_2 <= 3.0 * total_2 < 3.0 * total
        assert allowed_2 == 0
    assert first[0][-1][0] > 20
    for name, value in first[1].items():
        np.testing.assert_array_equal(value, second[1][name])

    # A checkpoint holds both shards; two learners go on with them, one learner with both in one.
    (parts, state), other = first[2], second[3]
    file_shards(parts, state, [other])
    again = pair.ask("restored_window", both(sharded()), both(parts), both(state))
    for (shard, weights, _), before in zip(again, (first[3], other), strict=True):
        assert shard[1] == before[1]
        assert all(np.array_equal(shard[0][name], value) for name, value in before[0].items())
        assert all(np.array_equal(weights[name], value) for name, value in first[1].items())
    (tensors, counters), _, trainable = together.restored_window(sharded(), parts, state)
    assert counters["total"] == first[0][-1][1] + second[0][-1][1]
    assert counters["sampled"] == 2 * first[0][-1][2]
    assert len(tensors["version"]) == sum(len(s[0]["version"]) for s in (first[3], other))
    assert trainable == 3.0 * counters["total"] - counters["sampled"]
