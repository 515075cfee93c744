"""The trainer: the reuse rule over a stream of games, the budget, and that its state carries all it needs."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from rl.config import GameConfig, NetConfig
from rl.learner import learning_rate
from rl.runtime.metrics import METRICS
from rl.trainers.games import GameTrainer
from tests.rl.small import MLP, random_records, small_config

BATCH = 16


def config(run: dict[str, Any] | None = None, reuse: float = 3.0, **learner: Any) -> GameConfig:
    return small_config(
        experience={"min_rows": 50, "window": 100, "reuse": reuse},
        learner={"batch_size": BATCH, "precision": "float32"} | learner,
        run=run or {"minutes": 1},
    )


def trainer(run: dict[str, Any] | None = None, **fields: Any) -> GameTrainer:
    return GameTrainer(config(run, **fields), device="cpu")


@pytest.mark.parametrize("reuse", [0.3, 1.0, 2.7])
def test_reuse_is_enforced_over_a_stream(reuse: float) -> None:
    ours = trainer(reuse=reuse)
    rng = np.random.default_rng(0)
    steps = 0
    for seed in range(60):
        ours.add(random_records(ours.game, int(rng.integers(4)), seed))
        measures = ours.train(int(rng.integers(1, 40)) if seed < 50 else 10**6, progress=0.0)
        assert (ours.learner.step > steps) == bool(measures)
        steps = ours.learner.step
        total = ours.window.total
        assert steps == 0 or total >= 50
        assert steps * BATCH == ours.window.sampled <= reuse * total
        status = ours.status()
        assert status["experience/reuse"] == ours.window.sampled / max(1, total) <= reuse
        assert status["experience/rows_total"] == total
        assert status["experience/rows"] == min(total, status["experience/window"])
    assert total > 150
    # All that was allowed in the end, to the last whole batch.
    assert ours.steps_allowed() == 0
    assert reuse * total - ours.window.sampled < BATCH


def test_steps_are_as_many_as_asked_for_and_allowed() -> None:
    ours = trainer()
    assert ours.train(5, 0.0) == {}
    ours.add(random_records(ours.game, 20, seed=0))
    allowed = int(3.0 * ours.window.total // BATCH)
    assert ours.steps_allowed() == allowed > 10
    measures = ours.train(3, 0.0)
    assert ours.learner.step == ours.weights(0.0).version == 3
    assert ours.steps_allowed() == allowed - 3
    assert measures["learner/rows_per_second"] > 0
    ours.train(10**6, 0.0)
    assert ours.learner.step == allowed
    assert ours.busy_seconds > 0


def test_a_budget_of_learner_steps_is_kept_to_the_step() -> None:
    ours = trainer({"learner_steps": 17})
    ours.add(random_records(ours.game, 100, seed=0))
    assert ours.steps_allowed() == 17
    ours.train(10, 0.0)
    assert ours.steps_allowed() == 7
    ours.train(10, 0.0)
    assert ours.learner.step == 17
    assert ours.steps_allowed() == 0
    assert ours.train(10, 0.0) == {}
    assert ours.learner.step == 17


@pytest.mark.parametrize(
    ("run", "progress", "expected"),
    [
        ({"learner_steps": 40}, 0.9, [0.0, 0.025, 0.05]),  # step by step, whatever the clock says
        ({"minutes": 1}, 0.3, [0.3, 0.3, 0.3]),
        ({"minutes": 1, "learner_steps": 40}, 0.03, [0.03, 0.03, 0.05]),  # whichever budget is used up more
    ],
)
def test_the_schedule_follows_the_budget(run: dict[str, Any], progress: float, expected: list[float]) -> None:
    ours = trainer(run, schedule="linear", warmup_steps=0)
    ours.add(random_records(ours.game, 20, seed=0))
    rates, published = [], []
    for _ in range(3):
        published.append(ours.weights(progress).progress)  # before an update: how far on it is itself
        rates.append(ours.train(1, progress)["learner/learning_rate"])
    assert published == pytest.approx(expected)
    assert rates == pytest.approx([learning_rate(ours.config.learner, 0, used) for used in expected])
    assert len({learning_rate(ours.config.learner, 0, used) for used in (0.0, *expected)}) > 1


def test_measures_are_means_over_the_steps_and_the_lag_its_maximum() -> None:
    whole, single = trainer(), trainer()
    for ours in (whole, single):
        ours.add(random_records(ours.game, 20, seed=0))
    means = whole.train(4, 0.0)
    steps = [single.train(1, 0.0) for _ in range(4)]
    for name, value in means.items():
        if name == "learner/lag_max":
            assert value == max(step[name] for step in steps) > min(step[name] for step in steps)
        elif name != "learner/rows_per_second":
            assert value == pytest.approx(np.mean([step[name] for step in steps if name in step]))
    assert means["learner/loss"] > 0


def test_a_head_with_a_weight_gets_its_targets() -> None:
    net = {"encoder": MLP, "auxiliary": {"short_term_value": 0.5}}
    ours = GameTrainer(config().model_copy(update={"net": NetConfig.model_validate(net)}), device="cpu")
    ours.add(random_records(ours.game, 20, seed=0))
    measures = ours.train(1, 0.0)
    assert measures["learner/short_term_value_loss"] > 0.5
    assert "learner/short_term_value_loss" in METRICS
    assert trainer().window.short_term is False


def test_rows_are_turned_around_only_where_the_config_says_so() -> None:
    images = []
    for symmetries in (False, True):
        ours = trainer(symmetries=symmetries)
        ours.add(random_records(ours.game, 1, seed=3))
        batch = ours.window.sample(200)
        images.append(len({planes.tobytes() for planes in batch.planes}))
    assert images[0] == ours.window.total < images[1]


@pytest.mark.parametrize("changed", [{"reuse": 0.5}, {"run": {"learner_steps": 3}}])
def test_a_smaller_allowance_on_resume_is_no_negative_one(changed: dict[str, Any]) -> None:
    before = trainer()
    before.add(random_records(before.game, 20, seed=0))
    before.train(6, 0.0)
    after = trainer(**changed)
    after.restore(*before.state())
    assert after.steps_allowed() == 0
    assert after.train(1, 0.0) == {}


def test_a_restored_trainer_goes_on_as_if_never_interrupted() -> None:
    encoder = MLP | {"dropout": 0.2}
    fields: dict[str, Any] = {"encoder": encoder, "run": {"learner_steps": 60}}
    fields["experience"] = {"min_rows": 50, "window": 60, "reuse": 4}
    fields["learner"] = {"batch_size": BATCH, "precision": "float32"}
    whole = GameTrainer(small_config(seed=1, **fields), device="cpu")
    whole.add(random_records(whole.game, 20, seed=0))
    whole.train(9, 0.0)
    parts, state = whole.state()
    state = json.loads(json.dumps(state))

    def go_on(ours: GameTrainer) -> list[dict[str, float]]:
        found = []
        for seed in (1, 2):
            found.append(ours.train(5, 0.0))
            ours.add(random_records(ours.game, 20, seed))
        found.append(ours.train(8, 0.0) | ours.status())
        return [{name: value for name, value in row.items() if "per_second" not in name} for row in found]

    uninterrupted = go_on(whole)
    restored = GameTrainer(small_config(seed=2, **fields), device="cpu")
    restored.restore(parts, state)
    assert restored.learner.step == 9
    assert go_on(restored) == uninterrupted
    ours, theirs = restored.weights(0.0), whole.weights(0.0)
    assert ours.version == theirs.version == 27
    assert all((array == theirs.tensors[name]).all() for name, array in ours.tensors.items())
