"""Environment ids and wrapper names → Gymnasium environments."""

from __future__ import annotations

import difflib
import functools
import importlib
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.error import DependencyNotInstalled
from gymnasium.vector.utils import batch_space, create_empty_array, iterate

from envs import import_place, makes
from envs.gym.spaces import UnknownWorld, WorldError, complaint
from envs.gym.watched import WatchedThread, constructing

# "Name-v0", "namespace/Name-v0"; no board game of ours is called so
REGISTERED = re.compile(r"([\w.-]+/)?[\w.-]+-v\d+")
# Packages that register their ids when they are told to: (ids, module, function that registers, extra of ours)
PROVIDERS = (
    (re.compile(r"ALE/.*|\w+NoFrameskip-v\d+"), "ale_py", None, "atari"),
    (re.compile(r"MinAtar/.*"), "minatar.gym", "register_envs", "minatar"),
    (re.compile(r"(MiniGrid|BabyAI)-.*"), "minigrid", None, "minigrid"),
    (re.compile(r"popgym-.*"), "popgym", None, "memory"),
    (re.compile(r"fuseki/.*"), "envs.versus", None, ""),
)
# Where Gymnasium's own environments need more than Gymnasium: (part of the entry point, extra of ours)
EXTRAS = (
    ("envs.box2d", "box2d"),
    ("envs.mujoco", "mujoco"),
    ("envs.classic_control", "classic"),
    ("envs.toy_text", "classic"),
    ("ale_py", "atari"),
    ("minatar", "minatar"),
    ("minigrid", "minigrid"),
    ("atari_preprocessing", "atari"),
)
Factory = Callable[..., gymnasium.Env]
# Keys of a lane's info by which it reports a fault: numbers and strings pass through every vector environment, and a
# worker process that reports lives on, where one that raises is shut down with its traceback on standard error.
FAULT, TRACEBACK = "fuseki_fault", "fuseki_traceback"


def is_gym_id(env_id: str) -> bool:
    """Whether ``env_id`` names a Gymnasium environment rather than a board game of ours.

    True for an id in the registry, for anything of the form [module:][namespace/]Name-vN, known or not, and for
    'module:Class' or 'file.py:Class' where the attribute is a subclass of gymnasium.Env. False for other functions
    (they make games). Imports the module or file in the last case; ValueError where that cannot be done.
    """
    place, _, name = env_id.rpartition(":")
    if REGISTERED.fullmatch(name) or env_id in gymnasium.registry:
        return True
    found = getattr(import_place(place), name, None) if place else None
    return isinstance(found, type) and issubclass(found, gymnasium.Env)


def find(env_id: str) -> EnvSpec | Factory:
    """The registered specification, or the class or function of the user's own. Raises UnknownWorld."""
    place, _, name = env_id.rpartition(":")
    if place:
        module = _imported(place, env_id)
        if hasattr(module, name):
            factory = getattr(module, name)
            if not callable(factory):
                raise UnknownWorld(f"environment {env_id!r}: {name!r} of {place} is neither a class nor a function")
            if not makes(factory, gymnasium.Env):
                raise UnknownWorld(
                    f"environment {env_id!r}: {name!r} of {place} is not called, for it is neither derived from "
                    f"gymnasium.Env nor a function declared to return one: write `def {name}(...) -> gymnasium.Env`"
                )
            return factory
    else:
        _register(name)
    if name in gymnasium.registry:
        return gymnasium.registry[name]
    versions = [known for known in gymnasium.registry if known.rpartition("-v")[0] == name]
    if versions:
        raise UnknownWorld(f"environment {env_id!r} lacks its version: write {max(versions)!r}")
    if place:
        raise UnknownWorld(f"environment {env_id!r}: {place} neither defines nor registers {name!r}")
    raise UnknownWorld(f"unknown environment {env_id!r}{_near(name, list(gymnasium.registry))}")


def _near(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    return f": did you mean {' or '.join(map(repr, near))}?" if near else "; `fuseki envs` says what there is"


def _imported(place: str, wanted: str) -> Any:
    try:
        return import_place(place)
    except ValueError as error:
        raise UnknownWorld(f"{wanted!r}: {error}") from error


def _register(name: str) -> None:
    """Import the package that registers ids like ``name``. Raises UnknownWorld where it is not installed."""
    for pattern, module, function, extra in PROVIDERS:
        if name in gymnasium.registry or not pattern.fullmatch(name):
            continue
        try:
            loaded = importlib.import_module(module)
        except ImportError as error:
            raise UnknownWorld(f"environment {name!r} needs {module.split('.')[0]}: {install(extra)}") from error
        if function and name not in gymnasium.registry:
            getattr(loaded, function)()


def install(extra: str) -> str:
    return f"pip install 'fuseki[{extra}]'"


def wrapper(name: str) -> Factory:
    """The wrapper called ``name``: one of gymnasium.wrappers, or 'module:Class' or 'file.py:Class'."""
    place, _, attribute = name.rpartition(":")
    module = _imported(place, name) if place else gymnasium.wrappers
    try:
        found = getattr(module, attribute)
    except AttributeError:
        near = _near(attribute, gymnasium.wrappers.__all__) if not place else ""
        raise UnknownWorld(
            f"unknown wrapper {name!r}: {place or 'gymnasium.wrappers'} has none of that name{near}"
        ) from None
    if not callable(found):
        raise UnknownWorld(f"wrapper {name!r} is neither a class nor a function")
    if not makes(found, gymnasium.Env):
        raise UnknownWorld(
            f"wrapper {name!r} is not called, for it is neither derived from gymnasium.Wrapper nor a function declared "
            f"to return an environment: write `def {attribute}(env, ...) -> gymnasium.Env`"
        )
    return found


@dataclass(frozen=True)
class Maker:
    """Makes the wrapped environment, in this process or, pickled, in a worker's. Raises UnknownWorld or WorldError.

    ``options`` go to the environment's constructor (to gymnasium.make where the id is a registered one, so
    ``max_episode_steps`` works there); ``wrappers`` are applied in their order, the first innermost, each a mapping of
    "name" and the wrapper's arguments. ``render_mode`` is Gymnasium's; environments that draw into an array alone get a
    window around it for "human".
    """

    env_id: str
    options: Mapping[str, Any] = field(default_factory=dict)
    wrappers: Sequence[Mapping[str, Any]] = ()
    render_mode: str | None = None

    @functools.cached_property
    def found(self) -> EnvSpec | Factory:
        return find(self.env_id)

    def __getstate__(self) -> dict[str, Any]:
        # A class from the user's file is found anew: it need not be importable by its module's name elsewhere.
        # A specification goes along: it may have been registered in this process only.
        state = dict(self.__dict__)
        if not isinstance(state.get("found"), EnvSpec):
            state.pop("found", None)
        return state

    def __call__(self) -> gymnasium.Env:
        with constructing(self.env_id):
            env = self._bare()
            for described in self.wrappers:
                env = self._wrapped(env, described)
            return env

    def _bare(self) -> gymnasium.Env:
        mode, options, windowed = self.render_mode, dict(self.options), False
        if mode is not None:
            modes = self.render_modes()
            windowed = mode == "human" and modes is not None and mode not in modes and "rgb_array" in modes
            if modes is not None and mode not in modes and not windowed:
                offered = f"offers only {', '.join(modes)}" if modes else "offers no render_modes in its metadata"
                raise UnknownWorld(f"{self.env_id} cannot be drawn with render_mode {mode!r}: it {offered}")
            options["render_mode"] = "rgb_array" if windowed else mode
        found = self.found
        if isinstance(found, EnvSpec):
            # Gymnasium's own checker is left out: each lane is checked below, at every step and not only at the first.
            make = functools.partial(gymnasium.make, found, disable_env_checker=True)
            env = self._built(make, options, self.env_id, str(found.entry_point))
        else:
            env = self._built(found, options, self.env_id, found.__module__)
        return gymnasium.wrappers.HumanRendering(env) if windowed else env

    def render_modes(self) -> list[str] | None:
        """The ways in which the environment says it can be drawn; None where only an instance could tell."""
        found = self.found
        entry = found.entry_point if isinstance(found, EnvSpec) else found
        try:
            creator = load_env_creator(entry) if isinstance(entry, str) else entry
        except (DependencyNotInstalled, ImportError):  # which making it explains
            return None
        metadata = getattr(creator, "metadata", None)
        return list(metadata.get("render_modes") or ()) if isinstance(metadata, Mapping) else None

    def _wrapped(self, env: gymnasium.Env, described: Mapping[str, Any]) -> gymnasium.Env:
        if not isinstance(described, Mapping) or not isinstance(described.get("name"), str):
            raise UnknownWorld(f"wrapper {described!r} must be a mapping with a 'name'")
        arguments = {key: value for key, value in described.items() if key != "name"}
        factory = wrapper(described["name"])
        what = f"{self.env_id}: wrapper {described['name']!r}"
        try:
            return self._built(functools.partial(factory, env), arguments, what, factory.__module__)
        except BaseException:
            env.close()
            raise

    def _built(self, factory: Factory, arguments: Mapping[str, Any], what: str, origin: str) -> gymnasium.Env:
        """``factory(**arguments)``; ``origin`` is the module whose needs tell the extra to install."""
        try:
            env = factory(**arguments)
        except (DependencyNotInstalled, ImportError) as error:
            # Gymnasium's own advice would stand beside ours.
            remedy = remedy_for(origin) or f" ({error})"
            raise UnknownWorld(f"{what} needs a package that is not installed{remedy}") from error
        except (TypeError, ValueError, AssertionError, gymnasium.error.Error) as error:
            given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
            raise UnknownWorld(f"{what} cannot be made with {given or 'no arguments'}: {_told(error)}") from error
        except Exception as error:
            raise WorldError(f"{what} cannot be made: {_told(error)}") from error
        if not isinstance(env, gymnasium.Env):
            raise UnknownWorld(f"{what} gave a {type(env).__name__}, not a gymnasium.Env")
        return env


def remedy_for(origin: str) -> str:
    """ ": pip install ..." where an extra of ours brings what the module ``origin`` lacks; else nothing."""
    extra = next((extra for part, extra in EXTRAS if part in origin), None)
    return f": {install(extra)}" if extra else ""


def _told(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def time_limit(env: gymnasium.Env) -> int | None:
    """The episode length in steps at which the outermost-made rule truncates, the smallest of all; None without one."""
    limits = []
    inner = env
    while isinstance(inner, gymnasium.Wrapper):
        if isinstance(inner, gymnasium.wrappers.TimeLimit):
            limits.append(inner._max_episode_steps)
        inner = inner.env
    return min(limits, default=None)


def frames_per_second(env: gymnasium.Env) -> float:
    """Pictures a second, one a step of ``env``, that show it at its own speed; 30 where its metadata does not say."""
    plain = env.unwrapped
    # Atari consoles drew 60, of which ale_py may skip some in every step; the 30 in its metadata is neither.
    fps = 60.0 if hasattr(plain, "ale") else float(env.metadata.get("render_fps") or 30)
    skipped = getattr(plain, "_frameskip", 1)
    fps /= skipped if isinstance(skipped, int) else sum(skipped) / len(skipped)
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, gymnasium.wrappers.AtariPreprocessing):
            fps /= env.frame_skip
        elif isinstance(env, gymnasium.wrappers.MaxAndSkipObservation):
            fps /= env._skip
        env = env.env
    return fps


class Lane(gymnasium.Wrapper):
    """One environment of a vector: what it gives is checked at every step, and its faults are reported in the info.

    The environment's own info is dropped: nobody reads it, and gathering it costs a vector environment more than a
    cheap environment's step does.
    """

    def __init__(self, env: gymnasium.Env, lane: int) -> None:
        super().__init__(env)
        self._lane, self._watch = lane, WatchedThread.here()  # None in a worker process
        space = env.observation_space
        # By far the most spaces are one Box: its check is three comparisons.
        is_box = isinstance(space, gymnasium.spaces.Box)
        self._shape, self._dtype = (space.shape, space.dtype) if is_box else (None, None)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self._watch is not None:
            self._watch.enter_lane(self._lane)
        try:
            observation, reward, terminated, truncated, _ = self.env.step(action)
            reward = float(reward)
            terminated, truncated = bool(terminated), bool(truncated)
        except Exception as error:
            return self._nothing(), 0.0, False, False, _report(f"step raised {_told(error)}")
        wrong = self._complaint(observation)
        if wrong:
            return self._nothing(), 0.0, False, False, _report(f"the observation of step {wrong}")
        return observation, reward, terminated, truncated, {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if self._watch is not None:
            self._watch.enter_lane(self._lane)
        try:
            observation, _ = self.env.reset(seed=seed, options=options)
        except Exception as error:
            return self._nothing(), _report(f"reset raised {_told(error)}")
        wrong = self._complaint(observation)
        if wrong:
            return self._nothing(), _report(f"the observation of reset {wrong}")
        return observation, {}

    def render(self) -> Any:
        if self._watch is not None:
            self._watch.enter_lane(self._lane)
        return self.env.render()

    def _complaint(self, observation: Any) -> str | None:
        if type(observation) is np.ndarray and observation.shape == self._shape and observation.dtype == self._dtype:
            return None
        return complaint(self.observation_space, observation)

    def _nothing(self) -> Any:
        """An observation that the space allows in shape and dtype, to stand where there is none."""
        space = self.observation_space
        return next(iter(iterate(batch_space(space, 1), create_empty_array(space, n=1))))


def _report(fault: str) -> dict[str, Any]:
    return {FAULT: fault, TRACEBACK: traceback.format_exc()}
