"""Gymnasium environments whose every observation and reward says where in which episode it is, and broken ones.

Importing this registers them as scripted/…-v0.
"""

from __future__ import annotations

import copy
import ctypes
import os
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space

LENGTHS = (3, 1, 4, 2)  # of episodes 0, 1, 2, …, and again
ENDS = ("terminated", "truncated", "both")


class Counting(gymnasium.Env[np.ndarray, np.int64]):
    """Observation (episode, time, last action); reward 100·episode + 10·time + action. Actions change nothing."""

    observation_space = spaces.Box(-1, np.inf, (3,), np.float32)
    action_space = spaces.Discrete(5)

    def __init__(self, episode: int = 0) -> None:
        self.episode, self.time = episode - 1, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.episode, self.time = self.episode + 1, 0
        return self.shown(-1), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.time += 1
        ended = self.time == LENGTHS[self.episode % len(LENGTHS)]
        assert self.time <= LENGTHS[self.episode % len(LENGTHS)], "stepped beyond the end"
        end = ENDS[self.episode % len(ENDS)]
        reward = 100.0 * self.episode + 10 * self.time + float(action)
        terminated, truncated = ended and end != "truncated", ended and end != "terminated"
        return self.shown(action), reward, terminated, truncated, {"ignored": "by all"}

    def shown(self, action: int | np.int64) -> np.ndarray:
        return np.array([self.episode, self.time, action], np.float32)


def counting_vector(num_envs: int, mode: AutoresetMode, batched_final: bool = False) -> VectorEnv:
    """Lane i begins with episode i, so that the lanes' episodes end at different times."""
    lanes = [lambda episode=i: Counting(episode) for i in range(num_envs)]
    return (BatchedFinal if batched_final else SyncVectorEnv)(lanes, copy=False, autoreset_mode=mode)


def batched_final_vector(num_envs: int = 1, **_: Any) -> VectorEnv:
    return counting_vector(num_envs, AutoresetMode.SAME_STEP, batched_final=True)


def counting(fault: str) -> Counting:
    """Sound: only the vectors of scripted/BadVector-v0 have the fault."""
    return Counting()


class BatchedFinal(SyncVectorEnv):
    """Gives "final_obs" as one array of all lanes, as ale_py does, with nonsense where no episode ended."""

    def step(self, actions: np.ndarray) -> Any:
        *rest, infos = super().step(actions)
        if "final_obs" in infos:
            nonsense = np.full(3, np.nan, np.float32)
            infos["final_obs"] = np.stack([nonsense if last is None else last for last in infos["final_obs"]])
        return *rest, infos


class Random(gymnasium.Env[Any, Any]):
    """Samples of the given space, drawn from the seed; ends after 3 steps. Refuses actions outside its space."""

    def __init__(self, observation: spaces.Space | None = None, action: spaces.Space | None = None) -> None:
        default = spaces.Box(-1, 1, (2,), np.float32)
        self.observation_space = default if observation is None else copy.deepcopy(observation)
        self.action_space = spaces.Discrete(2) if action is None else action
        self.time = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.time = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        self.time += 1
        return self.observation_space.sample(), 1.0, self.time == 3, False, {}


class Drawn(Counting):
    """Grey pictures: 10 times the time, plus the episode (of this lane); drawn 20 a second."""

    metadata = {"render_modes": ["rgb_array", "ansi"], "render_fps": 20}  # noqa: RUF012, typed by gymnasium

    def __init__(self, render_mode: str | None = None, draws: str = "") -> None:
        super().__init__()
        self.render_mode, self.draws = render_mode, draws

    def render(self) -> Any:
        if self.draws == "nothing":
            return None
        if self.draws == "raise":
            raise RuntimeError("no screen")
        if self.render_mode == "ansi":
            return f"episode {self.episode}, time {self.time}\n"
        if self.draws == "fractions":
            return np.full((7, 9, 3), self.time / 5)
        side = 7 + 2 * self.time if self.draws == "growing" else 7
        return np.full((side, 9, 3), 10 * self.time + self.episode, np.uint8)


class Ansi(Drawn):
    metadata = {"render_modes": ["ansi"]}  # noqa: RUF012, typed by gymnasium


class Echo(gymnasium.Env[np.ndarray, Any]):
    """Shows the action it was given, flattened; before the first, zeros."""

    def __init__(self, action: spaces.Space) -> None:
        self.action_space = action
        self.size = int(np.prod(action.shape or ()))
        self.observation_space = spaces.Box(-np.inf, np.inf, (self.size,), np.float64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return np.zeros(self.size), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        return np.asarray(action, np.float64).reshape(-1), 0.0, False, False, {}


class Bad(gymnasium.Env[Any, np.int64]):
    """Does ``fault`` in its second step, in the lane that was reset with ``bad_seed``; or ``after`` as many in any."""

    action_space = spaces.Discrete(2)

    def __init__(self, fault: str, bad_seed: int = -1, after: int | None = None) -> None:
        if fault == "hang in the constructor":
            time.sleep(600)
        self.fault, self.bad_seed, self.bad, self.time = fault, bad_seed, False, 0
        self.left = after
        self.observation_space = spaces.Box(0, 255, (2, 2), np.uint8)
        if fault.startswith("nan"):
            self.observation_space = spaces.Box(-1, 1, (2, 2), np.float32)
        if fault == "category":
            self.observation_space = spaces.Discrete(3, start=1)

    def sound(self) -> Any:
        return 1 if self.fault == "category" else np.zeros((2, 2), self.observation_space.dtype)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.bad, self.time = seed == self.bad_seed or self.left is not None, 0
        if self.bad and self.fault == "raise in reset":
            raise KeyError("no such level")
        return self.sound(), {}

    def step(self, action: np.int64) -> tuple[Any, Any, bool, bool, dict]:
        self.time += 1
        if self.left is not None:
            self.left -= 1
        if not self.bad or self.time < 2 or (self.left is not None and self.left > 0):
            return self.sound(), 0.0, False, False, {}
        match self.fault:
            case "raise":
                raise ZeroDivisionError("over\nthe top")
            case "exit":
                os._exit(7)
            case "hang":
                time.sleep(600)
            case "hang in C":  # and keep Python's lock meanwhile, as careless native code does
                ctypes.PyDLL(None).sleep(600)
        observation: Any = self.sound()
        reward: Any = 0.0
        match self.fault:
            case "nan reward":
                reward = np.nan
            case "huge reward":  # a number still, but not its square
                reward = 1e30
            case "no reward":
                reward = None
            case "nan observation":
                observation[1, 0] = np.inf
            case "shape":
                observation = np.zeros((2, 3), np.uint8)
            case "one entry":  # numpy would spread it over the buffer without a word
                observation = np.zeros(1, np.uint8)
            case "dtype":
                observation = np.full((2, 2), 0.5, np.float32)
            case "category":
                observation = 4
        return observation, reward, False, False, {}


class BadVector(SyncVectorEnv):
    """A vector environment that breaks the rules for vectors in its second step."""

    def __init__(self, num_envs: int, fault: str) -> None:
        mode = AutoresetMode.SAME_STEP if fault == "no final" else AutoresetMode.NEXT_STEP
        super().__init__([Counting] * num_envs, autoreset_mode=mode)
        self.fault, self.time = fault, 0

    def step(self, actions: np.ndarray) -> Any:
        observations, rewards, terminated, truncated, infos = super().step(actions)
        self.time += 1
        if self.time < 2 and self.fault != "no final":
            return observations, rewards, terminated, truncated, infos
        match self.fault:
            case "raise":
                raise ZeroDivisionError("over the top")
            case "hang":
                time.sleep(600)
            case "shape":
                observations = observations[:, :2]
            case "lanes":
                observations = observations[:2]
            case "rewards":
                rewards = rewards[:1]
            case "nan":
                observations[1, 2] = np.nan
        return observations, rewards, terminated, truncated, {}


class Endless(VectorEnv):
    """Never truncates, whatever ``max_episode_steps`` says; or, being ``early``, one step too soon."""

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012, typed by gymnasium

    def __init__(self, num_envs: int, max_episode_steps: int, early: bool = False) -> None:
        self.num_envs, self.limit, self.time = num_envs, max_episode_steps - 1 if early else 10**9, 0
        self.single_observation_space, self.single_action_space = Counting.observation_space, Counting.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        self.time = 0
        return np.zeros((self.num_envs, 3), np.float32), {}

    def step(self, actions: np.ndarray) -> Any:
        self.time += 1
        no = np.zeros(self.num_envs, bool)
        return np.zeros((self.num_envs, 3), np.float32), np.zeros(self.num_envs), no, no | (self.time >= self.limit), {}


def _register() -> None:
    here = "tests.envs.scripted_worlds"
    for mode in AutoresetMode:
        gymnasium.register(
            f"scripted/{mode.value}-v0",
            entry_point=f"{here}:Counting",
            vector_entry_point=lambda mode=mode, **arguments: counting_vector(mode=mode, **arguments),
        )
    gymnasium.register(
        "scripted/BatchedFinal-v0",
        entry_point=f"{here}:Counting",
        vector_entry_point=batched_final_vector,
    )
    gymnasium.register(
        "scripted/BadVector-v0",
        entry_point=f"{here}:counting",
        vector_entry_point=f"{here}:BadVector",
    )
    for name, early in (("Endless", False), ("Early", True)):
        gymnasium.register(
            f"scripted/{name}-v0",
            entry_point=f"{here}:Counting",
            vector_entry_point=lambda early=early, **arguments: Endless(early=early, **arguments),
            max_episode_steps=100,
        )
    gymnasium.register("scripted/Counting-v1", entry_point=f"{here}:Counting")
    gymnasium.register("scripted/Counting-v2", entry_point=f"{here}:Counting")


if "scripted/Counting-v1" not in gymnasium.registry:
    _register()
