"""Recall: the first observation decides, everything between says nothing, and memory is worth exactly 1 - 1/choices."""

from __future__ import annotations

import numpy as np
import pytest

from envs.gym import UnknownWorld, World, describe
from envs.gym.recall import Recall


def episode(env: Recall, answers: list[int]) -> tuple[list[int], list[float]]:
    observation, _ = env.reset()
    seen, ended = [observation], False
    rewards: list[float] = []
    while not ended:
        observation, reward, ended, truncated, _ = env.step(answers[len(rewards) % len(answers)])
        assert not truncated
        seen.append(observation)
        rewards.append(reward)
    return seen[:-1], rewards


@pytest.mark.parametrize("delay", [0, 1, 7])
def test_a_cue_symbols_without_meaning_a_question(delay: int) -> None:
    env = Recall(delay, choices=3)
    env.reset(seed=5)
    cues = []
    for _ in range(300):
        seen, rewards = episode(env, [2])
        assert len(rewards) == delay + 2 and seen[-1] == 6
        assert all(3 <= symbol < 6 for symbol in seen[1:-1])
        assert rewards == [0.0] * (delay + 1) + [float(seen[0] == 2)]  # the last action alone counts
        cues.append(seen[0])
    assert np.bincount(cues, minlength=3) == pytest.approx([100, 100, 100], abs=35)


def test_what_lies_between_does_not_tell_the_cue() -> None:
    env = Recall(delay=1, choices=2)
    env.reset(seed=0)
    pairs = [tuple(episode(env, [0])[0][:2]) for _ in range(2000)]
    assert [pairs.count((cue, symbol)) for cue in (0, 1) for symbol in (2, 3)] == pytest.approx([500] * 4, abs=90)


def test_memory_solves_it_and_nothing_else_does() -> None:
    with World("envs.gym.recall:Recall", 400, options={"delay": 3}, vectorization="sync", seed=1) as world:
        cues = world.reset()["observation"][:, 0]
        for answers, wanted in ((cues, 1.0), (np.full(400, 1), 0.25)):
            for _ in range(4):
                world.step(answers)
            last = world.step(answers)
            assert last.terminated.all()
            assert last.episode_returns.mean() == pytest.approx(wanted, abs=0.09)
            cues[:] = world.step(answers).observations["observation"][:, 0]


def test_episodes_differ_by_seed_alone() -> None:
    def shown(seed: int) -> list[int]:
        env = Recall(delay=20)
        env.reset(seed=seed)
        return episode(env, [0])[0]

    assert shown(3) == shown(3) != shown(4)


def test_what_makes_no_task_is_refused_in_a_sentence() -> None:
    with pytest.raises(UnknownWorld, match="choices 1 2 or more"):
        describe("envs.gym.recall:Recall", {"choices": 1})
