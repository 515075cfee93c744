"""Observation and action spaces of Gymnasium, as a network and its heads see them.

``reader(space)`` splits an observation space into named :class:`Part` leaves and reads a batch of observations into one
array for each; ``action_spec(space)`` says what a policy must put out and turns its actions into the environment's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from gymnasium import spaces

# Bounds as wide as these mean "no bound": many environments write the largest float32 for it.
UNBOUNDED = 1e30
MOST_CHANNELS = 4  # of one frame: grey, grey and alpha, RGB, RGB and alpha


class WorldError(RuntimeError):
    """An environment misbehaved. The sentence names the environment and the lane or worker."""


class UnknownWorld(ValueError):
    """The user asked for what there is not, or what is not supported. One sentence, with the remedy."""


@dataclass(frozen=True)
class Part:
    """One leaf of the observation space: a batch of it is an array [B, *shape] of ``dtype``.

    ``name``: "observation" where the whole space is one leaf; leaves of Dict and Tuple spaces are joined with "/"
    ("image", "inner/position", "0"). ``kind`` and ``shape``:

    * "vector": a Box, flattened to (n,), float32 (uint8 stays uint8);
    * "image": a Box of pixels or planes, as it comes: (H, W, C) where ``channels_last``, else (C, H, W), or (H, W)
      alone. Only stacked colour frames (S, H, W, C) are rearranged, to (S·C, H, W). uint8 stays uint8, bool becomes
      uint8, everything else float32;
    * "categories": Discrete and MultiDiscrete, flattened to (k,) int64; entry i is in 0 … sizes[i] - 1;
    * "bits": MultiBinary, as it comes, uint8.

    ``low`` and ``high`` bound all entries of a Box; they are infinite where one entry has no bound.
    """

    name: str
    kind: Literal["vector", "image", "categories", "bits"]
    shape: tuple[int, ...]
    dtype: str
    sizes: tuple[int, ...] = ()
    low: float = -np.inf
    high: float = np.inf
    channels_last: bool = False


@dataclass(frozen=True)
class ActionSpec:
    """What a policy chooses, and how the environment is told. The agent's representation of a batch of B actions:

    * "categorical": [B] integers in 0 … sizes[0] - 1;
    * "multi_categorical": [B, k] integers, entry i in 0 … sizes[i] - 1;
    * "bernoulli": [B, n] zeros and ones, n = sizes[0];
    * "gaussian": [B, d] floats, d = sizes[0], in units in which -1 is the lower bound and 1 the upper. A dimension
      that lacks one of its bounds is in the environment's own units.

    ``shape`` and ``dtype`` are those of one action as the environment takes it; ``start`` holds the smallest value of
    each discrete entry, ``low`` and ``high`` the bounds of each of the d dimensions (infinite: none).
    """

    kind: Literal["categorical", "multi_categorical", "bernoulli", "gaussian"]
    sizes: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: str
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    start: tuple[int, ...] = ()

    @property
    def agent_shape(self) -> tuple[int, ...]:
        """Of one action in the agent's representation: (), (k,), (n,) or (d,)."""
        if self.kind == "categorical":
            return ()
        return (len(self.sizes),) if self.kind == "multi_categorical" else self.sizes

    def to_env(self, actions: np.ndarray) -> np.ndarray:
        """[B, *agent_shape] in the agent's representation → [B, *shape] as the environment takes it.

        Gaussian actions are scaled to the bounds and clipped to them. May return ``actions`` itself. Raises ValueError
        where the shape is not that of a batch of actions.
        """
        actions = np.asarray(actions)
        if actions.shape[1:] != self.agent_shape or not actions.ndim:
            wanted = ", ".join(map(str, ("B", *self.agent_shape)))
            raise ValueError(f"actions have shape {list(actions.shape)}, and {self.kind} ones need [{wanted}]")
        if self.kind == "gaussian":
            scale, offset, low, high = self._scaling
            actions = np.clip(actions * scale + offset, low, high)
        elif self._shifted:
            actions = actions + np.array(self.start if self.agent_shape else self.start[0])
        return actions.astype(self.dtype, copy=False).reshape(len(actions), *self.shape)

    def random(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """[count, *agent_shape] actions in the agent's representation.

        Uniform over what there is; standard normal in a dimension that lacks a bound.
        """
        if self.kind == "categorical":
            return rng.integers(self.sizes[0], size=count)
        if self.kind == "multi_categorical":
            return rng.integers(self.sizes, size=(count, len(self.sizes)))
        if self.kind == "bernoulli":
            return rng.integers(2, size=(count, *self.sizes))
        uniform = rng.uniform(-1, 1, (count, *self.sizes)).astype(np.float32)
        normal = rng.standard_normal((count, *self.sizes), np.float32)
        return np.where(self._bounded, uniform, normal)

    @cached_property
    def _shifted(self) -> bool:
        return any(self.start)

    @cached_property
    def _bounded(self) -> np.ndarray:
        return np.isfinite(self.low) & np.isfinite(self.high)

    @cached_property
    def _scaling(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """scale, offset, low, high [d]; scale 1 and offset 0 where a bound is lacking."""
        low, high = np.array(self.low), np.array(self.high)
        scale, offset, bounded = np.ones_like(low), np.zeros_like(low), self._bounded
        scale[bounded] = (high[bounded] - low[bounded]) / 2
        offset[bounded] = (high[bounded] + low[bounded]) / 2
        return scale, offset, low, high


def action_spec(space: spaces.Space, env_id: str) -> ActionSpec:
    """Raises UnknownWorld for a space that no policy head of ours serves."""
    if isinstance(space, spaces.Discrete):
        return ActionSpec("categorical", (int(space.n),), (), str(space.dtype), start=(int(space.start),))
    if isinstance(space, spaces.MultiDiscrete):
        sizes, start = _integers(space.nvec), _integers(space.start)
        return ActionSpec("multi_categorical", sizes, space.shape, str(space.dtype), start=start)
    if isinstance(space, spaces.MultiBinary):
        return ActionSpec("bernoulli", (int(np.prod(space.shape)),), space.shape, str(space.dtype))
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        low, high = (
            tuple(float(bound) if abs(bound) < UNBOUNDED else float(np.sign(bound)) * np.inf for bound in bounds.flat)
            for bounds in (space.low, space.high)
        )
        return ActionSpec("gaussian", (len(low),), space.shape, str(space.dtype), low, high)
    raise UnknownWorld(
        f"{env_id}: the action space {space} is not supported: it must be Discrete, MultiDiscrete, MultiBinary or a "
        "Box of floats; a wrapper (gymnasium.ActionWrapper) can turn it into one of these"
    )


@dataclass(frozen=True)
class Leaf:
    """Where a part lies in an observation, and how it is read."""

    part: Part
    path: tuple[Any, ...]  # keys and indices that lead to it
    raw_shape: tuple[int, ...]  # of one observation, before it is read
    raw_dtype: np.dtype[Any]
    frames: bool = False  # (S, H, W, C), to be read as (S·C, H, W)
    start: np.ndarray | None = None  # [k], of categories where not all of it is 0

    def read(self, batch: Any, count: int) -> np.ndarray:
        """The part [count, *shape] of a batch of observations, as a copy that belongs to the caller.

        Raises ValueError, in words that follow on "the observation", where the batch is not what the space says.
        """
        for step in self.path:
            batch = batch[step]
        raw = np.asarray(batch)
        if raw.shape != (count, *self.raw_shape):
            raise ValueError(f"has shape {list(raw.shape)}, and must have {[count, *self.raw_shape]}")
        if raw.dtype != self.raw_dtype and not np.can_cast(raw.dtype, self.raw_dtype, "same_kind"):
            raise ValueError(f"has dtype {raw.dtype}, and the space says {self.raw_dtype}")
        if self.frames:
            raw = raw.transpose(0, 1, 4, 2, 3)
        array = np.array(raw, dtype=self.part.dtype, order="C").reshape(len(raw), *self.part.shape)
        if self.start is not None:
            array -= self.start
        return array


@dataclass(frozen=True)
class Reader:
    """Reads batches of observations of one space into parts."""

    space: spaces.Space
    leaves: tuple[Leaf, ...]
    _finite: tuple[str, ...] = field(init=False)  # the names of parts of floats
    _sizes: tuple[tuple[str, np.ndarray], ...] = field(init=False)  # name and sizes [k] of the parts of categories

    def __post_init__(self) -> None:
        names = tuple(leaf.part.name for leaf in self.leaves if leaf.part.dtype == "float32")
        sizes = tuple((leaf.part.name, np.array(leaf.part.sizes, np.uint64)) for leaf in self.leaves if leaf.part.sizes)
        object.__setattr__(self, "_finite", names)
        object.__setattr__(self, "_sizes", sizes)

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(leaf.part for leaf in self.leaves)

    def read(self, batch: Any, count: int) -> dict[str, np.ndarray]:
        """A batch of ``count`` observations, as a vector environment gives it → part name → [count, *shape], copies.

        Raises ValueError, in one sentence, where the batch is not what the space says.
        """
        parts = {}
        for leaf in self.leaves:
            try:
                parts[leaf.part.name] = leaf.read(batch, count)
            except ValueError as error:
                raise ValueError(f"the observation {_called(leaf.part)}{error}") from error
        return parts

    def fault(self, parts: Mapping[str, np.ndarray]) -> tuple[int, str] | None:
        """The first lane whose values no network should see, and what is wrong with them; None where all is well."""
        for name in self._finite:
            if not all_finite(parts[name]):
                bad = ~np.isfinite(parts[name])
                value = parts[name][bad][0]
                return _first(bad), f"the observation {self._named(name)}holds {value}"
        for name, sizes in self._sizes:
            # A negative number is a huge one when read without its sign: one comparison instead of two.
            bad = parts[name].view(np.uint64) >= sizes
            if bad.any():
                return _first(bad), f"the observation {self._named(name)}holds a category outside its Discrete space"
        return None

    def _named(self, name: str) -> str:
        return next(_called(leaf.part) for leaf in self.leaves if leaf.part.name == name)


def all_finite(array: np.ndarray) -> bool:
    """Whether no entry is NaN or infinite; in one pass, without a temporary array."""
    # A sum of squares is finite unless an entry is not, or is so large that its square is not: then look closely.
    return math.isfinite(np.vdot(array, array)) or bool(np.isfinite(array).all())


def _called(part: Part) -> str:
    return "" if part.name == "observation" else f"{part.name!r} "


def _first(bad: np.ndarray) -> int:
    """The first lane with a true entry in bad [B, …]."""
    return int(np.argmax(bad.reshape(len(bad), -1).any(axis=1)))


def reader(space: spaces.Space, env_id: str) -> Reader:
    """Raises UnknownWorld, naming it, where a space among the leaves is not supported."""
    leaves = tuple(_leaves(space, (), env_id))
    names = [leaf.part.name for leaf in leaves]
    if not leaves:
        raise UnknownWorld(f"{env_id}: the observation space {space} is empty")
    double = next((name for name in names if names.count(name) > 1), None)
    if double:
        raise UnknownWorld(
            f"{env_id}: two parts of the observation space are called {double!r}; rename one in a wrapper"
        )
    return Reader(space, leaves)


def _leaves(space: spaces.Space, path: tuple[Any, ...], env_id: str) -> Iterator[Leaf]:
    name = "/".join(map(str, path)) or "observation"
    if isinstance(space, spaces.Dict):
        for key, inner in space.spaces.items():
            yield from _leaves(inner, (*path, key), env_id)
    elif isinstance(space, spaces.Tuple):
        for index, inner in enumerate(space.spaces):
            yield from _leaves(inner, (*path, index), env_id)
    elif isinstance(space, spaces.Box):
        yield _box(space, name, path, env_id)
    elif isinstance(space, spaces.Discrete):
        part = Part(name, "categories", (1,), "int64", (int(space.n),))
        yield Leaf(part, path, (), np.dtype(space.dtype), start=_offset(space.start))
    elif isinstance(space, spaces.MultiDiscrete):
        part = Part(name, "categories", (int(np.prod(space.shape)),), "int64", _integers(space.nvec))
        yield Leaf(part, path, space.shape, np.dtype(space.dtype), start=_offset(space.start))
    elif isinstance(space, spaces.MultiBinary):
        yield Leaf(Part(name, "bits", space.shape, "uint8"), path, space.shape, np.dtype(space.dtype))
    else:
        where = f"{name!r} of the observation space" if path else "the observation space"
        raise UnknownWorld(
            f"{env_id}: {where} is {space}, a {type(space).__name__} space, which is not supported; a wrapper can "
            "leave it out (FilterObservation with filter_keys) or turn it into a Box"
        )


def _box(space: spaces.Box, name: str, path: tuple[Any, ...], env_id: str) -> Leaf:
    shape = space.shape
    dtype = "uint8" if space.dtype in (np.dtype(np.uint8), np.dtype(np.bool_)) else "float32"
    if not space.low.size:
        raise UnknownWorld(f"{env_id}: {name!r} of the observation space is {space}, which holds nothing")
    low, high = float(space.low.min()), float(space.high.max())
    low, high = low if low > -UNBOUNDED else -np.inf, high if high < UNBOUNDED else np.inf
    raw = (path, shape, np.dtype(space.dtype))
    if len(shape) == 4 and shape[-1] <= MOST_CHANNELS:
        stack, height, width, channels = shape
        return Leaf(
            Part(name, "image", (stack * channels, height, width), dtype, low=low, high=high), *raw, frames=True
        )
    # Two axes of floats are rather a few vectors stacked (FrameStackObservation) than a picture.
    if len(shape) == 3 or (len(shape) == 2 and space.dtype == np.uint8):
        last = len(shape) == 3 and _channels_last(shape)
        return Leaf(Part(name, "image", shape, dtype, low=low, high=high, channels_last=last), *raw)
    return Leaf(Part(name, "vector", (int(np.prod(shape)),), dtype, low=low, high=high), *raw)


def _channels_last(shape: tuple[int, ...]) -> bool:
    """Whether (a, b, c) is (H, W, C). The two equal axes are height and width; else the smallest is the channels'."""
    first, second, third = shape
    if second == third != first:
        return False
    return first == second or third <= first


def _integers(values: np.ndarray) -> tuple[int, ...]:
    return tuple(int(value) for value in values.flat)


def _offset(start: Any) -> np.ndarray | None:
    offset = np.atleast_1d(np.asarray(start, np.int64)).reshape(-1)
    return offset if offset.any() else None


def complaint(space: spaces.Space, value: Any, name: str = "") -> str | None:
    """What is wrong with one observation's structure, shapes and dtypes, in words that follow on "the observation".

    Values are not looked at. A dtype is right when it can be cast without changing its kind (float64 where the space
    says float32 is common and harmless; floats where it says uint8 would all become 0).
    """
    called = f"{name!r} " if name else ""
    if isinstance(space, spaces.Dict):
        if not isinstance(value, Mapping):
            return f"{called}is a {type(value).__name__}, and the space says Dict"
        missing = [key for key in space.spaces if key not in value]
        if missing:
            return f"{called}lacks {missing[0]!r}"
        inner = [(str(key), part, value[key]) for key, part in space.spaces.items()]
    elif isinstance(space, spaces.Tuple):
        if not isinstance(value, tuple | list) or len(value) != len(space.spaces):
            return f"{called}is not a tuple of {len(space.spaces)} parts, as the space says"
        inner = [(str(index), part, value[index]) for index, part in enumerate(space.spaces)]
    else:
        array = np.asarray(value)
        if array.shape != space.shape:
            return f"{called}has shape {list(array.shape)}, and the space says {list(space.shape or ())}"
        if array.dtype != space.dtype and not np.can_cast(array.dtype, np.dtype(space.dtype), "same_kind"):
            return f"{called}has dtype {array.dtype}, and the space says {space.dtype}"
        return None
    for key, part, found in inner:
        wrong = complaint(part, found, f"{name}/{key}" if name else key)
        if wrong:
            return wrong
    return None
