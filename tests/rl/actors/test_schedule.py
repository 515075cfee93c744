"""Search budgets that grow with the run: the schedule's values, and that actors keep to it whenever it moves on."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import envs
from rl.actors import SelfPlay
from rl.actors.selfplay import budgets
from rl.actors.worker import SelfPlayWorker
from rl.config import ConfigError, GameConfig, load_config
from rl.records import Weights
from tests.rl.actors.test_selfplay import VARIED, Fake, assert_same
from tests.rl.actors.test_worker import SYNC, weights
from tests.rl.small import small_config

FOUR = envs.make("connect_four")
CONFIGS = Path(__file__).parents[3] / "configs"


def config(full: int = 64, fast: int = 16, first: int | None = 4, **play: Any) -> GameConfig:
    play = {"fast_simulations": fast, "first_simulations": first, "simulations_grow_until": 0.5} | play
    search = {"simulations": full, "solver": False, "cache": 0}
    return small_config("connect_four", search=search, selfplay=play, run=SYNC)


@pytest.mark.parametrize(
    ("progress", "full", "fast"),
    [
        (0.0, 4, 1),
        (0.125, 8, 2),  # a quarter of the way: 4 · 16^¼
        (0.25, 16, 4),
        (0.3, 21, 5),  # 4 · 16^0.6 = 21.1
        (0.375, 32, 8),
        (0.5, 64, 16),
        (0.9, 64, 16),
        (1.0, 64, 16),
    ],
)
def test_budgets_grow_by_equal_factors(progress: float, full: int, fast: int) -> None:
    assert budgets(config(), progress) == {"full_simulations": full, "fast_simulations": fast}
    assert budgets(config(first=None), progress) == {"full_simulations": 64, "fast_simulations": 16}


def test_budgets_never_fall_and_no_search_is_without_simulations() -> None:
    found = [budgets(config(full=50, fast=3, first=1), progress) for progress in np.linspace(0, 1, 201)]
    for name in ("full_simulations", "fast_simulations"):
        values = [budget[name] for budget in found]
        assert values == sorted(values)
        assert min(values) == 1


def test_more_simulations_first_than_in_the_end_are_refused() -> None:
    message = r"config 'the test': selfplay\.first_simulations 65 must not exceed search\.simulations 64"
    with pytest.raises(ConfigError, match=message):
        config(first=65)
    config(first=64)


@pytest.mark.parametrize(
    ("file", "settings", "sentence"),
    [
        ("hex7", ["search.simulations=4"], "selfplay.fast_simulations 8 must not exceed search.simulations 4"),
        ("connect_four_ppo", ["selfplay.decided_value=0.9"], "with ppo, selfplay.decided_value must be 1"),
        ("connect_four_exploiter", ["selfplay.stored_starts=0.5"], "selfplay.stored_starts has no effect on games"),
        ("connect_four_exploiter", ["selfplay.decided_value=0.9"], "selfplay.decided_value has no effect on games"),
        ("connect_four_exploiter", ["selfplay.first_simulations=2"], "selfplay.first_simulations has no effect"),
    ],
)
def test_settings_that_would_not_be_heeded_are_refused(file: str, settings: list[str], sentence: str) -> None:
    """By what begins a run: agents that were trained so can still be used."""
    path = CONFIGS / f"{file}.yaml"
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        load_config(path, settings)
    load_config(path)


def test_searches_have_the_budgets_of_when_they_began() -> None:
    # One game with a leaf for the network in every simulation of its first moves, as no game can end yet.
    schedule = [0.0, 0.125, 0.25, 0.375, 1.0]
    allowed = [{full, fast} for full, fast in ((4, 1), (8, 2), (16, 4), (32, 8), (64, 16))]
    kinds = set()
    for seed in range(6):
        ours, evaluator = SelfPlay(FOUR, config(full_search_fraction=0.5), 1, seed, 0.0), Fake(FOUR)
        for t, progress in enumerate(schedule):
            ours.schedule(progress)
            report = ours.play(evaluator, moves=1)
            # This search began when its move before was played, in the stretch before: with that one's budgets.
            spent, before = report.evaluations - 1, allowed[max(0, t - 1)]
            assert spent in before
            assert ours.flight.full[0, t] == (spent == max(before))
            assert report.simulations == max(allowed[t])
            kinds.add(bool(ours.flight.full[0, t]))
    assert kinds == {False, True}


def test_a_schedule_that_stands_still_changes_nothing() -> None:
    plain = SelfPlay(FOUR, config(full=8, fast=3, first=None, **VARIED), 8, seed=1)
    moved = SelfPlay(FOUR, config(full=8, fast=3, first=None, **VARIED), 8, seed=1, progress=0.0)
    for progress in (0.1, 0.9):
        moved.schedule(progress)
        assert_same(plain.play(Fake(FOUR), moves=200), moved.play(Fake(FOUR), moves=200))


def at(version: int, progress: float) -> Weights:
    given = weights(config(), version)
    return Weights(version, given.tensors, progress)


def test_an_actor_keeps_to_the_progress_of_its_weights_and_so_does_a_restored_one() -> None:
    ours = config(full=8, fast=2, first=2, games=8)
    whole = SelfPlayWorker(ours, seed=0)
    whole.use(at(0, 0.0))
    assert whole.selfplay is not None
    assert set(whole.selfplay.search.lane.budget.tolist()) == {2}  # the very first searches too
    whole.use(at(4, 0.25))
    assert whole.play(moves=6).simulations == 4
    tensors, state = whole.state()
    restored = SelfPlayWorker(ours, seed=1)
    restored.restore(at(4, 0.25), tensors, json.loads(json.dumps(state)))
    assert_same(restored.play(moves=30), whole.play(moves=30))
    for worker in (whole, restored):
        worker.use(at(8, 0.5))
    a, b = whole.play(moves=30), restored.play(moves=30)
    assert_same(a, b)
    assert a.simulations == 8


def test_games_saved_before_budgets_could_change_go_on() -> None:
    def ours(seed: int) -> SelfPlay:
        return SelfPlay(FOUR, config(full=8, fast=3, first=None, **VARIED), 8, seed)

    whole, restored = ours(1), ours(2)
    whole.play(Fake(FOUR), moves=100)
    old = {name: array for name, array in whole.state_dict().items() if name not in ("full_search", "surprise")}
    restored.load_state_dict(old)
    whole.flight.surprise[:] = np.nan  # what is not known of the moves before
    a, b = whole.play(Fake(FOUR), moves=400), restored.play(Fake(FOUR), moves=400)
    assert_same(a, b)
    assert any(np.isnan(record.surprise).any() for record in a.games)
