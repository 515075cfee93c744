"""Ways to step many environments as one, the choice between them, and what happens when an environment fails."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NoReturn

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import DependencyNotInstalled
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from envs.gym.atari import ALE_VECTOR, ale_options
from envs.gym.making import FAULT, TRACEBACK, Lane, Maker, remedy_for
from envs.gym.spaces import ActionSpec, Reader, UnknownWorld, WorldError, action_spec, reader
from envs.gym.watched import WatchedThread, constructing

VECTORIZATIONS = ("vector_entry_point", "sync", "async")
# A worker process a lane: beyond a few a core, they only cost memory and time to start.
LANES_PER_CORE = 8
MEASURED_SECONDS = 0.2
# Wrappers that do to a batch exactly what they do to one environment, and have a twin for batches.
TWINS = (
    "ClipAction",
    "RescaleAction",
    "ClipReward",
    "FlattenObservation",
    "FilterObservation",
    "GrayscaleObservation",
    "ReshapeObservation",
    "RescaleObservation",
    "DtypeObservation",
)


class Unfit(Exception):
    """This vectorization cannot stand for single environments here; the text says why."""


class Engine:
    """A vector environment whose every failure is a :class:`WorldError`, after which it is of no use any more.

    ``mode`` says when an ended episode's lane begins its next one. A call into worker processes is given up after
    ``timeout`` seconds, and their processes are killed; one into this process cannot be interrupted: see ``watched``.
    """

    def __init__(self, env: VectorEnv, kind: str, env_id: str, timeout: float | None) -> None:
        self.mode = AutoresetMode(env.metadata["autoreset_mode"])
        self.env, self.kind, self.env_id, self.timeout = env, kind, env_id, timeout
        self._watch = WatchedThread.here()
        self._failed: str | None = None
        self._closed = False
        self._waiting = False  # for worker processes; still so after an interrupt (Ctrl-C) in the middle of a step

    @property
    def count(self) -> int:
        return self.env.num_envs

    def reset(self, seeds: Sequence[int | None]) -> Any:
        """Begin an episode in every lane, each from its own seed, or from where its random stream stands (None).

        An environment's own vector entry point takes one seed for all its lanes: the first. Returns the observations.
        """
        self._usable()
        if self._watch is not None:
            self._watch.enter(self.place, "reset")
        try:
            if isinstance(self.env, AsyncVectorEnv):
                self._waiting = True
                self.env.reset_async(seed=[*seeds])
                observations, infos = self.env.reset_wait(self.timeout)
                self._waiting = False
            else:
                seed: Any = list(seeds) if isinstance(self.env, SyncVectorEnv) else seeds[0]
                observations, infos = self.env.reset(seed=seed)
        except Exception as error:
            self._caught("reset", error)
        if self._watch is not None:
            self._watch.leave()
        if FAULT in infos:
            self._reported(infos)
        return observations

    def step(self, actions: np.ndarray) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """What the vector environment's own step returns."""
        if self._failed or self._closed:
            self._usable()
        if self._watch is not None:
            self._watch.enter(self.place, "step")
        try:
            if isinstance(self.env, AsyncVectorEnv):
                self._waiting = True
                self.env.step_async(actions)
                stepped = self.env.step_wait(self.timeout)
                self._waiting = False
            else:
                stepped = self.env.step(actions)
        except Exception as error:
            self._caught("step", error)
        if self._watch is not None:
            self._watch.leave()
        if FAULT in stepped[4]:
            self._reported(stepped[4])
        return stepped

    def reset_lanes(self, lanes: np.ndarray) -> Any:
        """Begin an episode in the lanes where the mask [B] is true (mode DISABLED). Returns all observations."""
        if self._watch is not None:
            self._watch.enter(self.place, "reset")
        try:
            observations, infos = self.env.reset(options={"reset_mask": lanes.copy()})
        except Exception as error:
            self._caught("reset", error)
        if self._watch is not None:
            self._watch.leave()
        if FAULT in infos:
            self._reported(infos)
        return observations

    def render(self, lane: int) -> Any:
        """What the environment of ``lane`` draws now (kind "sync"). Raises UnknownWorld where it lacks a package."""
        self._usable()
        assert isinstance(self.env, SyncVectorEnv), "worker processes and vector environments do not draw"
        env = self.env.envs[lane]
        if self._watch is not None:
            self._watch.enter(self.place, "render")
        try:
            drawn = env.render()
        except (DependencyNotInstalled, ImportError) as error:
            remedy = remedy_for(type(env.unwrapped).__module__)
            raise UnknownWorld(f"{self.env_id} needs more to be drawn ({error}){remedy}") from error
        except Exception as error:
            self.fail(f"render raised {type(error).__name__}: {error}", lane, error)
        if self._watch is not None:
            self._watch.leave()
        return drawn

    def fail(self, fault: str, lane: int | None = None, cause: BaseException | None = None, note: str = "") -> NoReturn:
        """Close, and raise WorldError naming the environment and the lane."""
        self._failed = f"{self.place(lane)}: {fault}"
        self._waiting = False
        error = WorldError(self._failed)
        for more in (note, self._kill()):
            if more:
                error.add_note(more)
        raise error from cause

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._waiting:
            self._kill()
        elif not self._failed:
            self.env.close()

    def _usable(self) -> None:
        if self._failed:
            raise WorldError(f"{self._failed} (earlier; the environment was closed)")
        if self._closed:
            raise WorldError(f"{self.env_id}: stepped or reset after it was closed")

    def place(self, lane: int | None) -> str:
        """The environment and the lane in words; ``lane`` None: nobody knows which."""
        if lane is None:
            whole = {"vector_entry_point": "its own vector environment", "async": "its worker processes"}
            return f"{self.env_id}, {whole.get(self.kind, 'all lanes in one process')}"
        return f"{self.env_id}, lane {lane}" + (f" (worker process {lane})" if self.kind == "async" else "")

    def _caught(self, call: str, error: Exception) -> NoReturn:
        if isinstance(error, WorldError):
            raise error
        if not isinstance(self.env, AsyncVectorEnv):
            self.fail(f"{call} raised {type(error).__name__}: {error}", cause=error)
        if isinstance(error, multiprocessing.TimeoutError):
            silent = [lane for lane, pipe in enumerate(self.env.parent_pipes) if not pipe.poll(0)]
            others = f", nor did lanes {silent[1:]}" if silent[1:] else ""
            first = silent[0] if silent else None
            self.fail(f"{call} did not return within {self.timeout:g} s{others}", first, error)
        if isinstance(error, EOFError | OSError):
            # The pipe closes a moment before the process can be asked how it ended.
            for process in self.env.processes:
                process.join(timeout=0.2 / len(self.env.processes))
            dead = [(lane, process.exitcode) for lane, process in enumerate(self.env.processes) if process.exitcode]
            lane, code = dead[0] if dead else (None, None)
            self.fail(f"the process ended during {call} (exit code {code})", lane, error)
        self.fail(f"{call} raised {type(error).__name__}: {error}", cause=error)

    def _reported(self, infos: Mapping[str, Any]) -> NoReturn:
        """Raise for the first lane that reported a fault; see ``making.Lane``."""
        lane = int(np.argmax(infos[f"_{FAULT}"]))
        self.fail(str(infos[FAULT][lane]), lane, note=str(infos[TRACEBACK][lane]))

    def _kill(self) -> str:
        """Close, come what may; returns what went wrong in that too, as broken environments may."""
        if isinstance(self.env, AsyncVectorEnv):
            # SIGKILL, since a process that hangs in native code never gets to handle another signal.
            for process in self.env.processes:
                process.kill()
            for process, pipe in zip(self.env.processes, self.env.parent_pipes, strict=True):
                process.join()
                pipe.close()
            self.env.closed = True  # its own way of closing waits for answers
            return ""
        try:
            self.env.close()
        except Exception as error:
            return f"closing raised {type(error).__name__}: {error}"
        return ""


def open_engine(
    kind: str,
    maker: Maker,
    count: int,
    timeout: float | None,
    wanted: tuple[Reader, ActionSpec],
    drawn: int = 0,
) -> Engine:
    """Raises Unfit where an own vector entry point (the only kind that may not fit) cannot serve.

    Of the ``count`` lanes, the first ``drawn`` have the maker's render mode, the others none.
    """
    with constructing(maker.env_id):
        return _open(kind, maker, count, timeout, wanted, drawn)


def _open(
    kind: str, maker: Maker, count: int, timeout: float | None, wanted: tuple[Reader, ActionSpec], drawn: int
) -> Engine:
    if kind == "vector_entry_point":
        return Engine(_own(maker, count, wanted), kind, maker.env_id, timeout)
    plain = replace(maker, render_mode=None)
    lanes: list[Callable[[], gymnasium.Env]] = [
        _LaneMaker(maker if lane < drawn else plain, lane) for lane in range(count)
    ]
    try:
        # copy=False: the observations are copied when they are read.
        if kind == "sync":
            return Engine(SyncVectorEnv(lanes, copy=False), kind, maker.env_id, timeout)
        with _quiet_fork():
            return Engine(AsyncVectorEnv(lanes, copy=False, shared_memory=True), kind, maker.env_id, timeout)
    except (EOFError, OSError, RuntimeError) as error:
        if isinstance(error, WorldError):
            raise
        message = f"{maker.env_id}: {count} lanes ({kind}) cannot be started: {type(error).__name__}: {error}"
        raise WorldError(message) from error


class _LaneMaker:
    """Makes one lane; picklable, for worker processes that are not forked."""

    def __init__(self, maker: Maker, lane: int) -> None:
        self._maker, self._lane = maker, lane
        self._home = os.getpid()

    def __call__(self) -> gymnasium.Env:
        if os.getpid() != self._home:
            # This program alone ends its worker processes: Ctrl-C in a terminal, and the SIGTERM of some tools, go to
            # all processes of a group, and what is forked inherits this program's handlers.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            if hasattr(os, "setpgid"):
                os.setpgid(0, 0)
        return Lane(self._maker(), self._lane)


@contextmanager
def _quiet_fork() -> Iterator[None]:
    """Python 3.12 warns when a process with threads forks; the children here run environments and nothing else."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)
        yield


def candidates(maker: Maker, count: int) -> list[str]:
    """The vectorizations worth trying for ``count`` lanes on this machine."""
    kinds = ["sync"]
    if isinstance(maker.found, EnvSpec) and maker.found.vector_entry_point is not None:
        kinds.insert(0, "vector_entry_point")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if 1 < count <= LANES_PER_CORE * cores and cores > 1:
        kinds.append("async")
    return kinds


def measure(engine: Engine, action: ActionSpec, seconds: float = MEASURED_SECONDS) -> float:
    """Environment steps a second under random actions."""
    rng = np.random.default_rng(0)
    actions = [action.to_env(action.random(engine.count, rng)) for _ in range(16)]
    engine.reset(list(range(engine.count)))
    # The first step does not count: caches fill, worker processes get going.
    steps, start, passed = -1, time.perf_counter(), 0.0
    while steps < 1 or passed < seconds:
        _, _, terminated, truncated, _ = engine.step(actions[steps % len(actions)])
        if engine.mode == AutoresetMode.DISABLED and (ended := np.logical_or(terminated, truncated)).any():
            engine.reset_lanes(ended)
        steps += 1
        if steps == 0:
            start = time.perf_counter()
        passed = time.perf_counter() - start
    return steps * engine.count / passed


def _own(maker: Maker, count: int, wanted: tuple[Reader, ActionSpec]) -> VectorEnv:
    """The environment's own vector entry point, where it gives what single environments give. Raises Unfit."""
    spec = maker.found
    if not isinstance(spec, EnvSpec) or spec.vector_entry_point is None:
        raise Unfit("it has no vector entry point")
    if spec.additional_wrappers:
        raise Unfit("it is registered with wrappers")
    options, wrappers = dict(maker.options), list(maker.wrappers)
    if spec.vector_entry_point == ALE_VECTOR:
        translated = ale_options(spec.kwargs, options, wrappers)
        if translated is None:
            raise Unfit("it prepares the picture itself, and so needs AtariPreprocessing and FrameStackObservation")
        options, wrappers = translated, wrappers[2:]
    elif wrappers and wrappers[0]["name"] == "TimeLimit":
        limits = (options.get("max_episode_steps", spec.max_episode_steps), wrappers.pop(0)["max_episode_steps"])
        options["max_episode_steps"] = min(limit for limit in limits if limit is not None)
    unknown = [wrapper["name"] for wrapper in wrappers if wrapper["name"] not in TWINS]
    if unknown:
        raise Unfit(f"wrapper {unknown[0]!r} is not known to do the same to a batch")
    limited = options.get("max_episode_steps", spec.max_episode_steps) is not None
    if limited:
        _check_limit(spec, options)
    env = _vector(spec, count, options)
    try:
        for described in wrappers:
            arguments = {key: value for key, value in described.items() if key != "name"}
            env = getattr(gymnasium.wrappers.vector, described["name"])(env, **arguments)
        same = reader(env.single_observation_space, maker.env_id).parts == wanted[0].parts
        if not (same and action_spec(env.single_action_space, maker.env_id) == wanted[1]):
            raise Unfit("its spaces differ from those of a single environment")
        if env.metadata.get("autoreset_mode") not in (*AutoresetMode, *(mode.value for mode in AutoresetMode)):
            raise Unfit("it does not say in its metadata when it resets (autoreset_mode)")
    except (Unfit, UnknownWorld, ValueError) as error:
        env.close()
        raise Unfit(str(error)) from error
    return env


def _vector(spec: EnvSpec, count: int, options: Mapping[str, Any]) -> VectorEnv:
    try:
        return gymnasium.make_vec(spec, count, vectorization_mode="vector_entry_point", **options)
    except Exception as error:  # whatever it is: single environments may still serve, and say what is wrong
        raise Unfit(f"it cannot be made: {type(error).__name__}: {error}") from error


def _check_limit(spec: EnvSpec, options: Mapping[str, Any]) -> None:
    """Raises Unfit unless the vector environment truncates after exactly ``max_episode_steps``, tried with 2."""
    env = _vector(spec, 2, {**options, "max_episode_steps": 2})
    try:
        env.reset(seed=0)
        actions = env.action_space.sample()
        _, _, early, first, _ = env.step(actions)
        _, _, _, second, _ = env.step(actions)
    except Exception as error:
        raise Unfit(f"it cannot be stepped: {type(error).__name__}: {error}") from error
    finally:
        env.close()
    if np.any(first) or not np.all(np.logical_or(second, early)):
        raise Unfit("it does not truncate episodes at max_episode_steps")
