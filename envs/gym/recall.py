"""Recall: a cue, a delay, a question. The smallest task that only memory solves, at any length of delay."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium import spaces


class Recall(gymnasium.Env):
    """The T-maze of Bakker (2002) without the walking: what was shown first decides what is right at the end.

    The first observation is one of ``choices`` cues, drawn uniformly. ``delay`` observations follow that are drawn from
    another ``choices`` symbols and mean nothing, then the question, always the same. The answer to it ends the episode
    with reward 1 where it names the cue, else 0; earlier actions do nothing. An episode takes ``delay`` + 2 steps.

    Without memory the answer can depend on nothing but the question, which says nothing of the cue: whatever the
    policy, it is right in 1/``choices`` of the episodes, no more and no less.
    """

    def __init__(self, delay: int = 10, choices: int = 4) -> None:
        if delay < 0 or choices < 2:
            raise ValueError(f"delay {delay} must be 0 or more, and choices {choices} 2 or more")
        self.delay, self.choices = delay, choices
        self.observation_space = spaces.Discrete(2 * choices + 1)  # cues, symbols without meaning, the question
        self.action_space = spaces.Discrete(choices)
        self._shown: list[int] = []  # in the order in which they are seen
        self._at = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        cue = int(self.np_random.integers(self.choices))
        between = self.np_random.integers(self.choices, 2 * self.choices, self.delay).tolist()
        self._shown, self._at = [cue, *between, 2 * self.choices], 0
        return cue, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        question = self._shown[-1]
        if self._at == self.delay + 1:
            return question, float(action == self._shown[0]), True, False, {}
        self._at += 1
        return self._shown[self._at], 0.0, False, False, {}
