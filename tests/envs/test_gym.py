"""Gymnasium environments as time steps agree with the same environments stepped by hand, however they are stepped."""

from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from envs.gym import ActionSpec, Part, Step, UnknownWorld, Watched, World, WorldError, WorldSpec, describe, is_gym_id
from envs.gym.making import Maker
from envs.gym.watched import constructing, watch
from envs.gym.world import lane_seeds
from tests.envs import scripted_worlds
from tests.envs.scripted_worlds import Counting

HERE = "tests.envs.scripted_worlds"
KINDS = ["vector_entry_point", "sync", "async"]
MODES = {mode.value: mode for mode in AutoresetMode} | {"BatchedFinal": AutoresetMode.SAME_STEP}
Transition = tuple[list[float], int, float, bool, bool, list[float]]


@pytest.fixture(autouse=True)
def no_worker_is_left() -> Iterator[None]:
    before = set(multiprocessing.active_children())
    yield
    assert set(multiprocessing.active_children()) <= before


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def run(world: World, actions: np.ndarray, seed: int | None = None) -> tuple[dict[str, np.ndarray], list[Step]]:
    """Reset, then one step for each row of actions [T, B]."""
    return world.reset(seed), [world.step(row) for row in actions]


def transitions(first: dict[str, np.ndarray], steps: list[Step], actions: np.ndarray) -> list[list[Transition]]:
    """What a learner reads out of steps: for each lane (observation, action, reward, terminated, truncated, next)."""
    lanes: list[list[Transition]] = [[] for _ in first["observation"]]
    before = first["observation"]
    for step, row in zip(steps, actions, strict=True):
        for lane, found in enumerate(lanes):
            after = step.observations["observation"][lane]
            if step.final is not None and lane in step.final_lanes:
                after = step.final["observation"][list(step.final_lanes).index(lane)]
            if step.valid[lane]:
                ends = bool(step.terminated[lane]), bool(step.truncated[lane])
                found.append((before[lane].tolist(), int(row[lane]), float(step.rewards[lane]), *ends, after.tolist()))
        before = step.observations["observation"]
    return lanes


def by_hand(env: gymnasium.Env, actions: list[int], seed: int | None = None) -> list[Transition]:
    found: list[Transition] = []
    before, _ = env.reset(seed=seed)
    for action in actions:
        after, reward, terminated, truncated, _ = env.step(action)
        ends = bool(terminated), bool(truncated)
        found.append((before.tolist(), action, float(np.float32(reward)), *ends, after.tolist()))
        before = env.reset()[0] if any(ends) else after
    return found


def actions_for(count: int, steps: int, values: int) -> np.ndarray:
    return rng().integers(values, size=(steps, count))


def episodes(lane: list[Transition]) -> list[tuple[float, int]]:
    """(return, length) of the finished episodes."""
    found, total, length = [], 0.0, 0
    for _, _, reward, terminated, truncated, _ in lane:
        total, length = total + reward, length + 1
        if terminated or truncated:
            found.append((total, length))
            total, length = 0.0, 0
    return found


def check_steps(steps: list[Step], lanes: list[list[Transition]], mode: AutoresetMode) -> None:
    """The marks of each step agree with one another and with the transitions of each lane."""
    told: list[list[tuple[float, int]]] = [[] for _ in lanes]
    ended_before = np.zeros(len(lanes), bool)
    for step in steps:
        ended = step.terminated | step.truncated
        if mode == AutoresetMode.NEXT_STEP:
            assert np.array_equal(step.first, ended_before)
            assert np.array_equal(step.valid, ~ended_before)
            assert step.final is None and not len(step.final_lanes)
            assert not step.rewards[~step.valid].any() and not ended[~step.valid].any()
        else:
            assert np.array_equal(step.first, ended)
            assert step.valid.all()
            assert step.final_lanes.tolist() == np.flatnonzero(ended).tolist()
            assert (step.final is None) == (not ended.any())
        for lane, total, length in zip(np.flatnonzero(ended), step.episode_returns, step.episode_lengths, strict=True):
            told[lane].append((float(total), int(length)))
        assert step.rewards.dtype == np.float32
        ended_before = ended
    assert told == [episodes(lane) for lane in lanes]


@pytest.mark.parametrize("name", MODES)
def test_each_autoreset_mode_gives_the_transitions_of_single_environments(name: str) -> None:
    actions = actions_for(3, 40, 5)
    with World(f"scripted/{name}-v0", 3, vectorization="vector_entry_point") as world:
        assert world.autoreset == MODES[name]
        first, steps = run(world, actions)
    lanes = transitions(first, steps, actions)
    for index, lane in enumerate(lanes):
        assert lane == by_hand(Counting(index), [action for _, action, *_ in lane])
    check_steps(steps, lanes, MODES[name])
    assert sum(map(len, map(episodes, lanes))) > 20
    valid = sum(int(step.valid.sum()) for step in steps)
    ignored = sum(len(step.episode_returns) for step in steps[:-1]) if name == "NextStep" else 0
    assert valid == sum(map(len, lanes)) == 120 - ignored


def test_ctrl_c_in_a_terminal_does_not_reach_worker_processes() -> None:
    """It goes to the whole process group, and forked processes inherit this one's handlers."""
    code = f"""
import os, signal, threading
from envs.gym import World
heard = threading.Event()
signal.signal(signal.SIGINT, lambda *_: (heard.set(), print('heard', flush=True)))
with World('{HERE}:Drawn', 2, vectorization='async') as world:
    world.reset(0)
    os.killpg(0, signal.SIGINT)
    assert heard.wait(10)
    world.step(world.spec.action.random(2, __import__('numpy').random.default_rng(0)))
print('done')
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, start_new_session=True, timeout=60
    )
    assert (done.stdout, done.stderr, done.returncode) == ("heard\ndone\n", "", 0)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_ours_reset_in_the_next_step(kind: str) -> None:
    actions = actions_for(2, 25, 5)
    with World(f"{HERE}:Counting", 2, vectorization=kind) as world:
        assert (world.vectorization, world.autoreset) == (kind, AutoresetMode.NEXT_STEP)
        first, steps = run(world, actions)
    lanes = transitions(first, steps, actions)
    check_steps(steps, lanes, AutoresetMode.NEXT_STEP)
    for lane in lanes:
        assert lane == by_hand(Counting(), [action for _, action, *_ in lane])


@pytest.mark.parametrize("name", MODES)
def test_a_reset_in_the_middle_begins_all_anew(name: str) -> None:
    actions = actions_for(3, 3, 5)  # lane 0 ends its episode in the third step
    with World(f"scripted/{name}-v0", 3, vectorization="vector_entry_point") as world:
        _, steps = run(world, actions)
        assert steps[-1].terminated[0]
        world.reset()
        step = world.step(actions[0])
        assert step.valid.all()
        assert not step.first[0]
        assert step.observations["observation"][0, 1] == 1
        later = [step, world.step(actions[1])]
    lengths = [length for step in later for length in step.episode_lengths]
    assert max(lengths, default=0) <= 2  # steps before the reset don't count


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_cartpole_is_what_single_environments_give(kind: str) -> None:
    actions = actions_for(3, 150, 2)
    with World("CartPole-v1", 3, vectorization=kind, seed=11) as world:
        first, steps = run(world, actions)
    lanes = transitions(first, steps, actions)
    check_steps(steps, lanes, AutoresetMode.NEXT_STEP)
    for seed, lane in zip(lane_seeds(11, 3), lanes, strict=True):
        assert lane == by_hand(gymnasium.make("CartPole-v1"), [action for _, action, *_ in lane], seed)
    assert len(episodes(lanes[0])) > 2


def bytes_of(first: dict[str, np.ndarray], steps: list[Step]) -> list[bytes]:
    return [first["observation"].tobytes()] + [
        step.observations["observation"].tobytes() + step.rewards.tobytes() + step.terminated.tobytes()
        for step in steps
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_fixes_the_trajectory_and_lanes_differ(kind: str) -> None:
    actions = np.repeat(actions_for(1, 60, 2), 4, axis=1)
    with World("CartPole-v1", 4, vectorization=kind, seed=3) as world:
        once = run(world, actions)
        went_on = run(world, actions)
        again = run(world, actions, seed=3)
        other = run(world, actions, seed=4)
    with World("CartPole-v1", 4, vectorization=kind, seed=3) as world:
        anew = run(world, actions)
    assert bytes_of(*once) == bytes_of(*again) == bytes_of(*anew)
    assert len({bytes_of(*found)[0] for found in (once, went_on, other)}) == 3
    assert len({row.tobytes() for row in once[0]["observation"]}) == 4


def test_lanes_have_seeds_of_their_own() -> None:
    seeds = lane_seeds(0, 1000) + lane_seeds(1, 1000)
    assert len(set(seeds)) == 2000
    assert min(seeds) >= 0
    assert max(seeds) < 2**31
    assert lane_seeds(0, 3) == lane_seeds(0, 3)


@pytest.mark.parametrize("limit", [None, 60])
@pytest.mark.parametrize("kind", ["vector_entry_point", "sync"])
def test_cartpole_is_truncated_at_its_limit(kind: str, limit: int | None) -> None:
    wrappers = [{"name": "TimeLimit", "max_episode_steps": limit}] if limit else []
    with World("CartPole-v1", 2, vectorization=kind, wrappers=wrappers) as world:
        assert world.spec.max_episode_steps == (limit or 500)
        observation = world.reset()["observation"]
        found: list[int] = []
        for _ in range(505):
            balanced = observation @ np.array([0.1, 0.5, 3, 1]) > 0
            step = world.step(balanced.astype(np.int64))
            observation = step.observations["observation"]
            assert not step.terminated.any()
            assert len(step.episode_lengths) == step.truncated.sum()
            found.extend(step.episode_lengths)
    assert set(found) == {limit or 500}
    assert len(found) == (2 if limit is None else 2 * (505 // 61))


@pytest.mark.parametrize("name", ["Endless", "Early"])
def test_a_vector_entry_point_with_another_time_limit_is_passed_over(name: str) -> None:
    with World(f"scripted/{name}-v0", 1) as world:
        assert world.vectorization == "sync"
        assert "max_episode_steps" in world.passed_over["vector_entry_point"]
    with pytest.raises(UnknownWorld, match=f"scripted/{name}-v0 cannot use its vector_entry_point: .*truncate"):
        World(f"scripted/{name}-v0", 1, vectorization="vector_entry_point")


def test_auto_measures_and_keeps_the_fastest() -> None:
    with World("CartPole-v1", 64, seed=3) as world:
        assert world.timings["vector_entry_point"] > 2 * world.timings["sync"]
        assert world.vectorization == max(world.timings, key=world.timings.__getitem__) == "vector_entry_point"
        auto = run(world, actions_for(64, 5, 2))  # having been measured leaves no trace
    with World("CartPole-v1", 64, seed=3, vectorization="vector_entry_point") as world:
        assert world.timings == {}
        assert bytes_of(*run(world, actions_for(64, 5, 2))) == bytes_of(*auto)


def test_auto_takes_workers_for_slow_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(env: Counting, action: np.int64) -> Any:
        time.sleep(0.02)
        return step(env, action)

    step = Counting.step
    monkeypatch.setattr(Counting, "step", slow)
    monkeypatch.setattr("envs.gym.vectors.os.sched_getaffinity", lambda _: {0, 1})
    with World(f"{HERE}:Counting", 6) as world:
        assert world.vectorization == "async"
        assert world.timings["async"] > 1.5 * world.timings["sync"]
        world.reset()
        assert world.step(world.random_actions(rng())).observations["observation"][:, 1].tolist() == [1] * 6
    monkeypatch.setattr("envs.gym.vectors.os.sched_getaffinity", lambda _: {0})
    with World(f"{HERE}:Counting", 6) as world:
        assert set(world.timings) == {"sync"}


def test_auto_measures_every_mode() -> None:
    for name in MODES:
        with World(f"scripted/{name}-v0", 2) as world:
            assert world.timings["vector_entry_point"] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_receiver_may_keep_the_arrays(kind: str) -> None:
    actions = actions_for(2, 30, 2)
    with World("CartPole-v1", 2, vectorization=kind) as world:
        first, steps = run(world, actions)
        kept = bytes_of(first, steps)
        for step in steps:
            for array in (*step.observations.values(), step.rewards, step.terminated, step.truncated, step.first):
                array[...] = 1
        again = run(world, actions, seed=0)
    assert bytes_of(*again) == kept


SPACES: list[tuple[spaces.Space, list[Part]]] = [
    (spaces.Box(-1, 2, (3,), np.float64), [Part("observation", "vector", (3,), "float32", low=-1, high=2)]),
    (spaces.Box(-1, np.inf, (), np.float32), [Part("observation", "vector", (1,), "float32", low=-1)]),
    (spaces.Box(-1, 1, (4, 3), np.float32), [Part("observation", "vector", (12,), "float32", low=-1, high=1)]),
    (spaces.Box(0, 9, (3,), np.int64), [Part("observation", "vector", (3,), "float32", low=0, high=9)]),
    (spaces.Box(0, 255, (128,), np.uint8), [Part("observation", "vector", (128,), "uint8", low=0, high=255)]),
    (spaces.Box(0, 255, (9, 8), np.uint8), [Part("observation", "image", (9, 8), "uint8", low=0, high=255)]),
    (
        spaces.Box(0, 255, (9, 8, 3), np.uint8),
        [Part("observation", "image", (9, 8, 3), "uint8", low=0, high=255, channels_last=True)],
    ),
    (spaces.Box(0, 1, (4, 9, 9), np.float32), [Part("observation", "image", (4, 9, 9), "float32", low=0, high=1)]),
    (spaces.Box(0, 1, (17, 9, 9), np.float32), [Part("observation", "image", (17, 9, 9), "float32", low=0, high=1)]),
    (spaces.Box(0, 255, (4, 9, 8, 3), np.uint8), [Part("observation", "image", (12, 9, 8), "uint8", low=0, high=255)]),
    (
        spaces.Box(0, 1, (5, 5, 6), np.bool_),
        [Part("observation", "image", (5, 5, 6), "uint8", low=0, high=1, channels_last=True)],
    ),
    (spaces.Discrete(4, start=-2), [Part("observation", "categories", (1,), "int64", (4,))]),
    (
        spaces.MultiDiscrete(np.array([[2, 3], [4, 5]]), start=np.array([[0, 1], [2, 3]])),
        [Part("observation", "categories", (4,), "int64", (2, 3, 4, 5))],
    ),
    (spaces.MultiBinary([2, 3]), [Part("observation", "bits", (2, 3), "uint8")]),
    (
        spaces.Dict(
            {
                "image": spaces.Box(0, 255, (7, 7, 3), np.uint8),
                "inner": spaces.Dict({"position": spaces.Box(-1, 1, (2,)), "key": spaces.Discrete(2)}),
                "hand": spaces.Tuple((spaces.Discrete(3), spaces.MultiBinary(2))),
            }
        ),
        [
            Part("hand/0", "categories", (1,), "int64", (3,)),
            Part("hand/1", "bits", (2,), "uint8"),
            Part("image", "image", (7, 7, 3), "uint8", low=0, high=255, channels_last=True),
            Part("inner/key", "categories", (1,), "int64", (2,)),
            Part("inner/position", "vector", (2,), "float32", low=-1, high=1),
        ],
    ),
    (
        spaces.Tuple((spaces.Discrete(2), spaces.Box(0, 1, (2,)))),
        [Part("0", "categories", (1,), "int64", (2,)), Part("1", "vector", (2,), "float32", low=0, high=1)],
    ),
]


def leaf(part: Part, space: spaces.Space, observation: Any) -> np.ndarray:
    """The part of one observation, read in the plainest way."""
    for key in [] if part.name == "observation" else part.name.split("/"):
        index: Any = key if isinstance(space, spaces.Dict) else int(key)
        space, observation = space[index], observation[index]  # type: ignore[index]
    if part.kind == "categories":
        observation = observation - space.start  # type: ignore[attr-defined]
    array = np.asarray(observation)
    if array.ndim == 4:
        array = np.stack([array[s, :, :, c] for s in range(array.shape[0]) for c in range(array.shape[3])])
    return array.reshape(part.shape).astype(part.dtype)


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(("space", "parts"), SPACES, ids=[str(space)[:40] for space, _ in SPACES])
def test_observation_spaces(space: spaces.Space, parts: list[Part], kind: str) -> None:
    options = {"observation": space}
    with World(f"{HERE}:Random", 2, options=options, vectorization=kind, seed=8) as world:
        assert list(world.spec.observation) == parts
        first, steps = run(world, actions_for(2, 5, 2))
    for lane, seed in enumerate(lane_seeds(8, 2)):
        space.seed(seed)
        for observations in (first, *(step.observations for step in steps)):
            sample = space.sample()
            assert list(observations) == [part.name for part in parts]
            for part in parts:
                array = observations[part.name]
                assert array.dtype == part.dtype and array.shape == (2, *part.shape)
                assert np.array_equal(array[lane], leaf(part, space, sample)), part.name


@pytest.mark.parametrize(
    ("space", "named"),
    [
        (spaces.Text(5), "the observation space is Text"),
        (spaces.Dict({"a": spaces.Discrete(2), "mission": spaces.Text(5)}), "'mission' of the observation space is T"),
        (spaces.Sequence(spaces.Discrete(2)), "Sequence space"),
        (spaces.Graph(spaces.Discrete(2), None), "Graph space"),
        (spaces.OneOf((spaces.Discrete(2), spaces.Discrete(3))), "OneOf space"),
        (spaces.Dict({}), "is empty"),
        (spaces.Dict({"a/b": spaces.Discrete(2), "a": spaces.Dict({"b": spaces.Discrete(2)})}), "'a/b'"),
        (spaces.Box(0, 1, (0,)), "holds nothing"),
    ],
)
def test_an_observation_space_that_is_refused(space: spaces.Space, named: str) -> None:
    with pytest.raises(UnknownWorld, match=named):
        describe(f"{HERE}:Random", {"observation": space})


@pytest.mark.parametrize(
    "space", [spaces.Text(5), spaces.Dict({}), spaces.Box(0, 9, (2,), np.int64), spaces.Tuple((spaces.Discrete(2),))]
)
def test_an_action_space_that_is_refused(space: spaces.Space) -> None:
    with pytest.raises(UnknownWorld, match=r"Random: the action space .* is not supported"):
        describe(f"{HERE}:Random", {"action": space})


HALF = spaces.Box(np.array([[-2, 0], [-np.inf, 1]]), np.array([[2, 1], [np.inf, np.inf]]), dtype=np.float64)
ACTIONS: list[tuple[spaces.Space, ActionSpec, Any, Any]] = [
    # space, its specification, two actions of the agent's, what the environment gets (flattened)
    (spaces.Discrete(3), ActionSpec("categorical", (3,), (), "int64", start=(0,)), [0, 2], [[0], [2]]),
    (spaces.Discrete(3, start=-1), ActionSpec("categorical", (3,), (), "int64", start=(-1,)), [0, 2], [[-1], [1]]),
    (
        spaces.MultiDiscrete(np.array([[2, 3]]), start=np.array([[1, 5]])),
        ActionSpec("multi_categorical", (2, 3), (1, 2), "int64", start=(1, 5)),
        [[0, 0], [1, 2]],
        [[1, 5], [2, 7]],
    ),
    (
        spaces.MultiBinary([2, 2]),
        ActionSpec("bernoulli", (4,), (2, 2), "int8"),
        [[0, 1, 1, 0], [1, 1, 1, 1]],
        [[0, 1, 1, 0], [1, 1, 1, 1]],
    ),
    (
        HALF,
        ActionSpec("gaussian", (4,), (2, 2), "float64", (-2, 0, -np.inf, 1), (2, 1, np.inf, np.inf)),
        [[-1, -1, -7, 3], [9, 0.5, 7, 0]],
        [[-2, 0, -7, 3], [2, 0.75, 7, 1]],
    ),
    (
        spaces.Box(-3.4e38, 3.4e38, (1,), np.float32),
        ActionSpec("gaussian", (1,), (1,), "float32", (-np.inf,), (np.inf,)),
        [[0.25], [-50]],
        [[0.25], [-50]],
    ),
]


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(("space", "spec", "agent", "taken"), ACTIONS, ids=[spec.kind for _, spec, _, _ in ACTIONS])
def test_action_spaces(space: spaces.Space, spec: ActionSpec, agent: Any, taken: Any, kind: str) -> None:
    with World(f"{HERE}:Echo", 2, options={"action": space}, vectorization=kind) as world:
        assert world.spec.action == spec
        world.reset()
        assert world.step(np.array(agent)).observations["observation"].tolist() == taken
        draws = np.array([world.random_actions(rng_) for rng_ in map(np.random.default_rng, range(50))])
        assert draws.shape == (50, 2, *spec.agent_shape)
        for row in draws:
            world.step(row)  # Echo refuses what is not in its space
        if spec.kind in ("categorical", "multi_categorical"):
            assert {0, spec.sizes[-1] - 1} <= set(draws.reshape(50, 2, -1)[..., -1].flat)
        with pytest.raises(ValueError, match="actions have shape"):
            world.step(np.zeros((2, 9)))
        with pytest.raises(ValueError, match="1 actions for 2"):
            world.step(np.array(agent[:1]))


FAULTS = {
    "raise": "step raised ZeroDivisionError: over the top(\n|$)",
    "raise in reset": "reset raised KeyError: 'no such level'",
    "nan reward": "the reward is nan",
    "no reward": "step raised TypeError",
    "nan observation": "the observation holds inf",
    "shape": r"the observation of step has shape \[2, 3\], and the space says \[2, 2\]",
    "one entry": r"the observation of step has shape \[1\], and the space says \[2, 2\]",
    "dtype": "the observation of step has dtype float32, and the space says uint8",
    "category": "the observation holds a category outside",
}
ONLY_ASYNC = {
    "exit": r"the process ended during step \(exit code 7\)",
    "hang": "step did not return within 0.5 s",
}


@pytest.mark.parametrize(
    ("kind", "fault"),
    [(kind, fault) for kind in ("sync", "async") for fault in FAULTS] + [("async", f) for f in ONLY_ASYNC],
)
def test_a_bad_environment_is_named_with_its_lane(kind: str, fault: str) -> None:
    options = {"fault": fault, "bad_seed": lane_seeds(0, 3)[1]}
    world = World(f"{HERE}:Bad", 3, options=options, vectorization=kind, timeout=0.5 if fault == "hang" else 30)
    place = r"lane 1 \(worker process 1\)" if kind == "async" else "lane 1"
    started = time.monotonic()
    with pytest.raises(WorldError, match=f"^{HERE}:Bad, {place}: {(FAULTS | ONLY_ASYNC)[fault]}") as caught:
        run(world, actions_for(3, 4, 2))
    assert time.monotonic() - started < 7
    if fault in ("raise", "raise in reset"):
        assert "scripted_worlds.py" in "".join(caught.value.__notes__)
    assert not multiprocessing.active_children()
    with pytest.raises(WorldError, match="earlier"):
        world.reset()
    world.close()


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("raise", "its own vector environment: step raised ZeroDivisionError: over the top"),
        ("shape", r"its own vector environment: the observation has shape \[3, 2\], and must have \[3, 3\]"),
        ("lanes", r"its own vector environment: the observation has shape \[2, 3\], and must have \[3, 3\]"),
        ("rewards", r"shapes \[\[1\], \[3\], \[3\]\], not \[3\]"),
        ("nan", "lane 1: the observation holds nan"),
        ("no final", "lane 0: an episode ended in mode SAME_STEP without a 'final_obs'"),
    ],
)
def test_a_bad_vector_environment_is_named(fault: str, told: str) -> None:
    options = {"fault": fault}
    world = World("scripted/BadVector-v0", 3, options=options, vectorization="vector_entry_point")
    with pytest.raises(WorldError, match=f"^scripted/BadVector-v0, .*{told}"):
        run(world, actions_for(3, 4, 2))


def test_an_environment_that_fails_while_it_is_measured() -> None:
    with pytest.raises(WorldError, match="Bad, lane 2: step raised"):
        World(f"{HERE}:Bad", 4, options={"fault": "raise", "bad_seed": 2})  # measuring uses the seeds 0, 1, 2, …


@pytest.mark.parametrize("kind", ["sync", "vector_entry_point"])
def test_a_step_that_hangs_in_this_process_is_given_up(kind: str) -> None:
    options = {"fault": "hang", "bad_seed": lane_seeds(0, 3)[1]}
    if kind == "vector_entry_point":
        options = {"fault": "hang"}
    env_id = f"{HERE}:Bad" if kind == "sync" else "scripted/BadVector-v0"
    watched = Watched(lambda: World(env_id, 3, options=options, vectorization=kind), 0.4)
    watched.reset(0)
    watched.step(np.zeros(3, np.int64))
    started = time.monotonic()
    place = "lane 1" if kind == "sync" else "its own vector environment"
    told = f"^{env_id}, {place}: step did not return within 0.4 s$"
    with pytest.raises(WorldError, match=told):
        watched.step(np.zeros(3, np.int64))
    assert 0.4 < time.monotonic() - started < 10
    with pytest.raises(WorldError, match=told):  # at once, and for ever
        watched.reset()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_constructor_that_hangs_is_given_up(kind: str) -> None:
    options = {"fault": "hang in the constructor"}
    with pytest.raises(WorldError, match=f"^{HERE}:Bad: its constructor did not return within 0.4 s$"):
        Watched(lambda: World(f"{HERE}:Bad", 2, options=options, vectorization=kind), 0.4)


def test_a_watched_call_may_lie_in_another() -> None:
    assert watch(lambda: watch(lambda: 3, 0.1) + 1, 0.1) == 4
    with constructing("nowhere"):  # in a thread that nobody watches
        assert watch(lambda: describe("scripted/Counting-v1").env_id, 5) == "scripted/Counting-v1"


def test_lanes_are_drawn_in_the_mode_asked_for_and_at_their_own_speed() -> None:
    skipping = {"name": "MaxAndSkipObservation", "skip": 4}
    with World(f"{HERE}:Drawn", 3, vectorization="async", render_mode="rgb_array", drawn=2) as world:
        assert world.vectorization == "sync" and world.frames_per_second == 20
        world.reset(0)
        world.step(np.zeros(3, np.int64))
        assert world.picture(1).tolist() == np.full((7, 9, 3), 10).tolist()
        with pytest.raises(AssertionError):
            world.picture(2)
    with World(f"{HERE}:Drawn", 1, wrappers=[skipping], render_mode="ansi", drawn=1) as world:
        assert world.frames_per_second == 5
        world.reset(0)
        assert world.render(0) == "episode 0, time 0\n"
        with pytest.raises(WorldError, match="Drawn, lane 0: render gave a str, not a picture"):
            world.picture(0)
    with World(f"{HERE}:Drawn", 1, options={"draws": "fractions"}, render_mode="rgb_array", drawn=1) as world:
        world.reset(0)
        world.step(np.zeros(1, np.int64))
        assert world.picture(0).tolist() == np.full((7, 9, 3), 51).tolist()
    for draws, told in (("nothing", "render gave a NoneType"), ("raise", "render raised RuntimeError: no screen")):
        with World(f"{HERE}:Drawn", 1, options={"draws": draws}, render_mode="rgb_array", drawn=1) as world:
            world.reset(0)
            with pytest.raises(WorldError, match=f"Drawn, lane 0: {told}"):
                world.picture(0)
    with pytest.raises(UnknownWorld, match="Counting cannot be drawn with render_mode 'rgb_array': it offers no"):
        World(f"{HERE}:Counting", 1, render_mode="rgb_array", drawn=1)
    with pytest.raises(UnknownWorld, match="'human': it offers only ansi"):
        Maker("tests.envs.scripted_worlds:Ansi", render_mode="human")()


def test_who_watches_hears_every_error_and_waits_for_slow_environments() -> None:
    slow = Watched(lambda: World("scripted/Counting-v1", 2, vectorization="sync"), 0.1)
    with pytest.raises(WorldError, match="reset must come before"):
        slow.step(np.zeros(2, np.int64))
    with pytest.raises(AttributeError):
        slow.fly()
    with pytest.raises(UnknownWorld, match="CartPol-v1"):
        Watched(lambda: World("CartPol-v1", 2), 0.1)
    # Each step is short, although all together they are not: only a single call counts.
    busy = Watched(SlowCounter, 0.02)
    assert busy.steps(100) == 100


class SlowCounter:
    """Steps a world many times in one call."""

    def __init__(self) -> None:
        self.world = World("scripted/Counting-v1", 1, vectorization="sync")
        self.world.reset(0)

    def steps(self, count: int) -> int:
        for _ in range(count):
            self.world.step(np.zeros(1, np.int64))
            time.sleep(0.03)
        return count


def test_a_step_that_hangs_and_keeps_pythons_lock_ends_the_process() -> None:
    script = f"""
import numpy as np
from envs.gym import Watched, World, watched
from envs.gym.world import lane_seeds
from envs.gym.making import Maker
from envs.gym.watched import constructing, watch
watched.LAST_RESORT_SECONDS = 0.5
options = {{"fault": "hang in C", "bad_seed": lane_seeds(0, 1)[0]}}
world = Watched(lambda: World("{HERE}:Bad", 1, options=options, vectorization="sync"), 0.4)
world.reset(0)
world.step(np.zeros(1, np.int64))
world.step(np.zeros(1, np.int64))
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "scripted_worlds.py" in ended.stderr  # where it hangs


def test_an_interrupted_step_leaves_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    options = {"fault": "hang", "bad_seed": lane_seeds(0, 2)[1]}
    world = World(f"{HERE}:Bad", 2, options=options, vectorization="async")
    world.reset()
    world.step(np.zeros(2, np.int64))
    monkeypatch.setattr(AsyncVectorEnv, "step_wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        world.step(np.zeros(2, np.int64))
    world.close()  # and does not wait for the environment that hangs


def test_a_world_that_is_closed_or_was_never_reset() -> None:
    world = World("CartPole-v1", 1, vectorization="sync")
    with pytest.raises(WorldError, match="CartPole-v1: reset must come before"):
        world.step(np.array([0]))
    world.reset()
    world.close()
    world.close()
    with pytest.raises(WorldError, match="CartPole-v1: stepped or reset after it was closed"):
        world.step(np.array([0]))


def test_wrappers_apply_in_their_order() -> None:
    stacked = {"name": "gymnasium.wrappers:FrameStackObservation", "stack_size": 4}
    wrappers: list[Mapping] = [{"name": "TimeLimit", "max_episode_steps": 7}, stacked, {"name": "FlattenObservation"}]
    with World("CartPole-v1", 2, wrappers=wrappers) as world:
        assert world.spec.max_episode_steps == 7
        assert world.spec.observation[0].shape == (16,)
        assert "FrameStackObservation" in world.passed_over["vector_entry_point"]
        first, steps = run(world, actions_for(2, 9, 2))
    assert steps[6].truncated.all()
    before, after = first["observation"], steps[0].observations["observation"]
    assert np.array_equal(before[:, 4:], after[:, :12])


def test_wrappers_with_a_twin_for_batches_leave_the_vector_entry_point() -> None:
    clipped: list[Mapping] = [
        {"name": "RescaleObservation", "min_obs": -5.0, "max_obs": 5.0},
        {"name": "FlattenObservation"},
    ]
    with World("CartPole-v1", 2, wrappers=[{"name": "ClipReward", "max_reward": 0.5}]) as world:
        assert world.timings.keys() >= {"vector_entry_point", "sync"}
    with World(
        "CartPole-v1", 2, wrappers=[{"name": "ClipReward", "max_reward": 0.5}], vectorization="vector_entry_point"
    ) as world:
        _, steps = run(world, actions_for(2, 3, 2))
        assert steps[0].rewards.tolist() == [0.5, 0.5]
    with World("CartPole-v1", 2, wrappers=[{"name": "NormalizeObservation"}]) as world:
        assert "NormalizeObservation" in world.passed_over["vector_entry_point"]
    with pytest.raises(UnknownWorld, match="RescaleObservation"):  # CartPole's bounds are infinite
        World("CartPole-v1", 2, wrappers=clipped)


MINE = """
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv

class Mine(CartPoleEnv):
    def __init__(self, heavy=1.0):
        super().__init__()
        self.gravity *= heavy

class Half(gymnasium.RewardWrapper):
    def __init__(self, env, by=2):
        super().__init__(env)
        self.by = by

    def reward(self, reward):
        return reward / self.by

def made(heavy=1.0) -> gymnasium.Env:
    return Mine(heavy)

number = 3
gymnasium.register("Mine-v3", entry_point=Mine, max_episode_steps=9)
"""


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_environments_and_wrappers_of_the_users_own(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "mine_for_gym.py"
    file.write_text(MINE.replace("Mine-v3", f"Mine{kind}-v3"))
    (tmp_path / "thing_for_gym.py").write_text("import gymnasium\n\ndef thing() -> gymnasium.Env:\n    return 3\n")
    halved = [{"name": f"{file}:Half", "by": 4}]
    with World(f"{file}:Mine", 2, options={"heavy": 2}, wrappers=halved, vectorization=kind) as world:
        _, steps = run(world, actions_for(2, 3, 2))
        assert steps[0].rewards.tolist() == [0.25, 0.25]
        assert world.spec.max_episode_steps is None
    assert describe(f"{file}:made").action.sizes == (2,)
    assert describe(f"{file}:Mine{kind}-v3").max_episode_steps == 9
    assert describe(f"{HERE}:scripted/Counting-v1").observation[0].shape == (3,)
    assert is_gym_id(f"{file}:Mine") and is_gym_id(f"{file}:Mine-v3")
    assert not is_gym_id(f"{file}:made") and not is_gym_id(f"{file}:number")
    with pytest.raises(UnknownWorld, match=r"cannot be made with weight=3: .*weight"):
        describe(f"{file}:Mine", {"weight": 3})
    with pytest.raises(UnknownWorld, match=r"'number' of .* is neither a class nor a function"):
        describe(f"{file}:number")
    with pytest.raises(UnknownWorld, match="neither defines nor registers 'Yours'"):
        describe(f"{file}:Yours")
    with pytest.raises(UnknownWorld, match=r"gave a int, not a gymnasium\.Env"):
        describe(f"{tmp_path}/thing_for_gym.py:thing")


def test_what_is_a_gym_id() -> None:
    for env_id in ("CartPole-v1", "ALE/Pong-v5", "MiniGrid-Empty-5x5-v0", "CartPol-v9", f"{HERE}:scripted/NextStep-v0"):
        assert is_gym_id(env_id)
    for env_id in ("connect_four", "go9", "tic_tac_toe", "tests/examples/connect_three.py:connect_three"):
        assert not is_gym_id(env_id)


@pytest.mark.parametrize(
    ("env_id", "options", "wrappers", "told"),
    [
        ("CartPol-v1", {}, [], "unknown environment 'CartPol-v1': did you mean 'CartPole-v1'"),
        ("CartPole-v7", {}, [], "did you mean 'CartPole-v"),
        ("scripted/Counting", {}, [], "lacks its version: write 'scripted/Counting-v2'"),
        ("qqqqqqqq-v0", {}, [], "unknown environment 'qqqqqqqq-v0'; `fuseki envs`"),
        ("no_such_module:Thing", {}, [], "'no_such_module:Thing': environment module 'no_such_module' cannot be imp"),
        ("no/such/file.py:Thing", {}, [], "environment file 'no/such/file.py' does not exist"),
        ("phys2d/CartPole-v1", {}, [], "needs a package that is not installed .*jax"),
        ("CartPole-v1", {"gravitas": 2}, [], r"CartPole-v1 cannot be made with gravitas=2: .*'gravitas'"),
        ("CartPole-v1", {}, [{"name": "TimeLimits"}], "unknown wrapper 'TimeLimits'.*did you mean 'TimeLimit'"),
        ("CartPole-v1", {}, [{"name": "TimeLimit"}], "CartPole-v1: wrapper 'TimeLimit' cannot be made with no arg"),
        ("CartPole-v1", {}, [{"name": "TimeLimit", "max_episode_steps": 0}], "with max_episode_steps=0: .*positive"),
        ("CartPole-v1", {}, [{"name": f"{HERE}:Missing"}], f"unknown wrapper '{HERE}:Missing'"),
        ("CartPole-v1", {}, [{"name": f"{HERE}:ENDS"}], "is neither a class nor a function"),
        ("CartPole-v1", {}, [{"max_episode_steps": 0}], "must be a mapping with a 'name'"),
        ("CartPole-v1", {}, ["TimeLimit"], "must be a mapping with a 'name'"),
    ],
)
def test_wrong_input_is_told_in_a_sentence(env_id: str, options: dict, wrappers: list, told: str) -> None:
    with pytest.raises(UnknownWorld, match=told) as caught:
        describe(env_id, options, wrappers)
    assert "\n" not in str(caught.value)


def test_wrong_counts_and_vectorizations() -> None:
    with pytest.raises(UnknownWorld, match="the number of environments is 0"):
        World("CartPole-v1", 0)
    with pytest.raises(UnknownWorld, match="vectorization 'fast' is none of auto, vector_entry_point, sync, async"):
        World("CartPole-v1", 1, vectorization="fast")
    with pytest.raises(UnknownWorld, match="Acrobot-v1 cannot use its vector_entry_point: it has no vector entry"):
        World("Acrobot-v1", 1, vectorization="vector_entry_point")


@pytest.mark.parametrize(
    ("env_id", "package", "extra"),
    [
        ("ALE/Pong-v5", "ale_py", "atari"),
        ("MinAtar/Breakout-v1", "minatar", "minatar"),
        ("MiniGrid-Empty-5x5-v0", "minigrid", "minigrid"),
        ("popgym-RepeatFirstEasy-v0", "popgym", "memory"),
        ("LunarLander-v3", "Box2D", "box2d"),
        ("Ant-v5", "mujoco", "mujoco"),
    ],
)
def test_a_missing_extra_is_named(env_id: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)  # importing it fails
    monkeypatch.setitem(__import__("sys").modules, f"{package}.gym", None)
    for known in [known for known in gymnasium.registry if known == env_id and not known.startswith(("Lunar", "Ant"))]:
        monkeypatch.delitem(gymnasium.registry, known)
    for loaded in ("gymnasium.envs.box2d.lunar_lander", "gymnasium.envs.box2d", "gymnasium.envs.mujoco.ant_v5"):
        monkeypatch.delitem(__import__("sys").modules, loaded, raising=False)
    with pytest.raises(UnknownWorld, match=rf"{env_id}.* needs .*: pip install 'fuseki\[{extra}\]'$"):
        describe(env_id)


def test_a_specification_travels_and_compares() -> None:
    spec = describe("Pendulum-v1")
    assert spec == pickle.loads(pickle.dumps(spec)) == describe("Pendulum-v1")
    spec.action.to_env(np.zeros((1, 1), np.float32))  # what it keeps for later use doesn't count
    assert spec == describe("Pendulum-v1") and hash(spec) == hash(describe("Pendulum-v1"))
    assert spec == WorldSpec(
        "Pendulum-v1",
        (Part("observation", "vector", (3,), "float32", low=-8, high=8),),
        ActionSpec("gaussian", (1,), (1,), "float32", (-2,), (2,)),
        200,
    )


def test_our_own_games_are_environments_too() -> None:
    assert describe("fuseki/connect_four-v0").observation[0].shape == (4, 6, 7)


def test_a_worker_that_is_not_forked_finds_the_users_class(tmp_path: Path) -> None:
    from envs.gym.making import Maker

    file = tmp_path / "elsewhere_for_gym.py"
    file.write_text(MINE.replace("Mine-v3", "MineElsewhere-v3"))
    for maker in (Maker(f"{file}:Mine", {"heavy": 2}), Maker("scripted/NextStep-v0")):
        maker().close()
        if ".py" in maker.env_id:
            again = pickle.loads(pickle.dumps(maker))
            assert "found" not in vars(again)
            again().close()
    assert scripted_worlds.LENGTHS  # imported for its registrations


ATARI: dict[str, Any] = {"frameskip": 1, "repeat_action_probability": 0.0}
PREPARED: list[Mapping] = [
    {"name": "AtariPreprocessing", "noop_max": 0},
    {"name": "FrameStackObservation", "stack_size": 4, "padding_type": "zero"},
]


def test_atari_in_native_code_is_what_the_wrappers_give() -> None:
    pytest.importorskip("ale_py")
    pytest.importorskip("cv2")
    actions = actions_for(2, 250, 4)
    seen = []
    for kind in ("sync", "vector_entry_point"):
        with World("ALE/Breakout-v5", 2, options=ATARI, wrappers=PREPARED, vectorization=kind) as world:
            seen.append(run(world, actions))
    single, native = seen
    with World("ALE/Breakout-v5", 2, options=ATARI, wrappers=[*PREPARED, {"name": "ClipReward", "max_reward": 1}]) as w:
        assert w.timings["vector_entry_point"] > 0
    assert bytes_of(*single) == bytes_of(*native)
    ends = [length for step in native[1] for length in step.episode_lengths]
    assert ends and ends == [length for step in single[1] for length in step.episode_lengths]
    with World("ALE/Breakout-v5", 1, options=ATARI, wrappers=PREPARED, render_mode="rgb_array", drawn=1) as world:
        world.reset(0)
        assert world.picture(0).shape == (210, 160, 3)
        assert world.frames_per_second == 15
    with World("ALE/Breakout-v5", 1, options=ATARI, wrappers=PREPARED[:1]) as world:
        assert "AtariPreprocessing and Frame" in world.passed_over["vector_entry_point"]


def test_a_memory_task_of_popgym() -> None:
    pytest.importorskip("popgym")
    with World("popgym-RepeatFirstEasy-v0", 2, vectorization="sync", seed=3) as world:
        assert world.spec.observation == (Part("observation", "categories", (1,), "int64", (4,)),)
        shown = world.reset()["observation"][:, 0]
        steps = [world.step(shown) for _ in range(51)]  # the suit of the first card is the right answer throughout
    assert steps[-1].terminated.all() and steps[-1].episode_returns == pytest.approx([1.0, 1.0])


def test_without_memory_repeat_first_pays_minus_a_half() -> None:
    """What configs/memory_repeat_first_ppo.yaml says of answers that follow from what is seen now: -0.499 at best."""
    pytest.importorskip("popgym")
    earned = np.zeros((4, 4))  # by suit seen and suit answered
    with World("popgym-RepeatFirstEasy-v0", 400, vectorization="sync", seed=0) as world:
        seen = world.reset()["observation"][:, 0]
        firsts = seen
        for _ in range(51):
            for answer in range(4):
                np.add.at(earned[:, answer], seen, np.where(firsts == answer, 1, -1) / 51 / 400)
            seen = world.step(seen).observations["observation"][:, 0]
    # The suit seen: right once at the start, then with probability 12/51, since one card of that suit is gone.
    exact = (1 + 50 * (2 * 12 / 51 - 1)) / 51
    assert exact == pytest.approx(-0.4994, abs=1e-4)
    assert np.trace(earned) == pytest.approx(exact, abs=0.02)
    assert earned.max(1).sum() < -0.45  # the best of 256 in hindsight, and so above what it is worth


def test_minatar_and_minigrid() -> None:
    for env_id, package, kept in (
        ("MinAtar/Breakout-v1", "minatar", []),
        ("MiniGrid-Empty-5x5-v0", "minigrid", ["image"]),
    ):
        pytest.importorskip(package)
        wrappers = [{"name": "FilterObservation", "filter_keys": kept}] if kept else []
        with World(env_id, 2, wrappers=wrappers, vectorization="sync") as world:
            (part,) = world.spec.observation
            assert part.kind == "image" and part.channels_last
            run(world, actions_for(2, 20, 3))
