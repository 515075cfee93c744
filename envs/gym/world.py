"""B environments behind one vector environment, as time steps in which no episode's end is blurred."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import concatenate, create_empty_array

from envs.gym.making import Maker, frames_per_second, time_limit
from envs.gym.spaces import ActionSpec, Part, Reader, UnknownWorld, WorldError, action_spec, all_finite, reader
from envs.gym.vectors import VECTORIZATIONS, Engine, Unfit, candidates, measure, open_engine

LARGEST_SEED = 2**31 - 1  # some environments keep a seed in 32 bits with a sign
NO_LANES = np.empty(0, np.int64)
NO_RETURNS = np.empty(0, np.float64)
for _empty in (NO_LANES, NO_RETURNS):
    _empty.flags.writeable = False  # shared between steps


@dataclass(frozen=True)
class WorldSpec:
    """What a network and a learner need to know of an environment, its wrappers included.

    ``max_episode_steps``: the number of steps after which an episode is truncated; None where no TimeLimit says.
    """

    env_id: str
    observation: tuple[Part, ...]
    action: ActionSpec
    max_episode_steps: int | None


@dataclass(frozen=True, slots=True)
class Step:
    """What B environments answered to B actions. All arrays belong to the receiver; the world never writes to them.

    ``rewards`` [B] float32, ``terminated`` and ``truncated`` [B] bool belong to the actions. When the episode of lane b
    ends (``terminated[b] | truncated[b]``), the vector environment decides where its last observation is:

    * NEXT_STEP (all vectorizations of ours): ``observations[b]`` is the last one of the episode. The next action of
      this lane is ignored: in that step ``valid[b]`` is False, the reward 0, and ``observations[b]`` the first of the
      next episode, so ``first[b]`` is True.
    * SAME_STEP: ``observations[b]`` is already the first of the next episode (``first[b]``), and the last one of the
      ended episode is in ``final``, in the row in which ``final_lanes`` holds b. ``valid`` is always True.
    * DISABLED: the world resets the lane at once, and reports it like SAME_STEP.
    """

    observations: dict[str, np.ndarray]  # part name → [B, *shape]
    rewards: np.ndarray  # [B] float32
    terminated: np.ndarray  # [B] bool
    truncated: np.ndarray  # [B] bool
    valid: np.ndarray  # [B] bool; False where the action was ignored since the step only reset the environment
    first: np.ndarray  # [B] bool; observations[b] is the first of an episode
    final: dict[str, np.ndarray] | None  # part name → [F, *shape]; None where F is 0
    final_lanes: np.ndarray  # [F] int64, ascending
    # Of the E episodes that ended in this step, in the order of their lanes, flatnonzero(terminated | truncated)
    episode_returns: np.ndarray  # [E] float64, sums of the rewards
    episode_lengths: np.ndarray  # [E] int64, in steps


def describe(env_id: str, options: Mapping[str, Any] | None = None, wrappers: Sequence[Mapping] = ()) -> WorldSpec:
    """Makes one environment, reads its spaces and closes it. Raises UnknownWorld, or WorldError if it cannot start."""
    spec, _ = _described(Maker(env_id, dict(options or {}), tuple(wrappers)))
    return spec


def _described(maker: Maker) -> tuple[WorldSpec, Reader]:
    env = maker()
    try:
        observation = reader(env.observation_space, maker.env_id)
        action = action_spec(env.action_space, maker.env_id)
        return WorldSpec(maker.env_id, observation.parts, action, time_limit(env)), observation
    finally:
        env.close()


class World:
    """``count`` environments of one kind, stepped together.

    * ``vectorization`` "auto" makes each kind there is (the environment's own vector entry point, "sync", "async"),
      steps it for a fraction of a second and keeps the fastest; ``timings`` tells the measured environment steps a
      second, ``passed_over`` why a kind was not measured. The kinds may differ in their random streams, so who needs
      the same run again pins one of them.
    * The same ``seed`` and actions give the same trajectory; each lane has a seed of its own, derived from ``seed``.
      (An own vector entry point gets one seed, and is trusted to tell its lanes apart.)
    * Whatever an environment does wrong is a :class:`WorldError` that names it and its lane: raising, values that are
      not finite, an observation that is not what its space says, a worker process that ends or (async) does not answer
      within ``timeout`` seconds. In the other kinds a hanging environment hangs the caller, unless the world is made
      and used inside a ``Watched`` object. After a WorldError the world is closed.
    * ``drawn`` of the lanes, the first ones, can be drawn in the ``render_mode`` given. Single environments alone can:
      the vectorization is then "sync", whatever was asked for.
    """

    def __init__(
        self,
        env_id: str,
        count: int,
        *,
        options: Mapping[str, Any] | None = None,
        wrappers: Sequence[Mapping] = (),
        vectorization: str = "auto",
        seed: int = 0,
        timeout: float | None = 60.0,
        render_mode: str | None = None,
        drawn: int = 0,
    ) -> None:
        """See :class:`making.Maker` for ``options`` and ``wrappers``. Raises UnknownWorld for wrong input."""
        if count < 1:
            raise UnknownWorld(f"{env_id}: the number of environments is {count}, and must be 1 or more")
        if vectorization not in ("auto", *VECTORIZATIONS):
            raise UnknownWorld(f"vectorization {vectorization!r} is none of auto, {', '.join(VECTORIZATIONS)}")
        self._maker = Maker(env_id, dict(options or {}), tuple(wrappers), render_mode)
        self.spec, self._reader = _described(replace(self._maker, render_mode=None))
        self.count, self._drawn = count, drawn
        if drawn:
            vectorization = "sync"
        self._seed: int | None = seed
        self._timeout = timeout
        self.timings: dict[str, float] = {}
        self.passed_over: dict[str, str] = {}
        self._engine = self._fastest() if vectorization == "auto" else self._pinned(vectorization)
        self.vectorization = self._engine.kind
        self.autoreset = self._engine.mode
        self._running = False

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, kind: str) -> Engine:
        wanted = (self._reader, self.spec.action)
        return open_engine(kind, self._maker, self.count, self._timeout, wanted, self._drawn)

    def _pinned(self, kind: str) -> Engine:
        try:
            return self._open(kind)
        except Unfit as error:
            raise UnknownWorld(f"{self.spec.env_id} cannot use its {kind}: {error}") from error

    def _fastest(self) -> Engine:
        kept: Engine | None = None
        for kind in candidates(self._maker, self.count):
            try:
                engine = self._open(kind)
            except Unfit as error:
                self.passed_over[kind] = str(error)
                continue
            try:
                self.timings[kind] = measure(engine, self.spec.action)
            except BaseException:
                engine.close()
                if kept is not None:
                    kept.close()
                raise
            if kept is None:
                kept = engine
                continue
            faster, slower = (engine, kept) if self.timings[kind] > self.timings[kept.kind] else (kept, engine)
            slower.close()
            kept = faster
        assert kept is not None, "sync is always among the candidates"
        return kept

    def reset(self, seed: int | None = None) -> dict[str, np.ndarray]:
        """Begin an episode in every lane: part name → [B, *shape], the receiver's own.

        ``seed`` None is the constructor's seed the first time, and later lets the random streams go on.
        """
        if seed is None:
            seed, self._seed = self._seed, None
        self._seed = None
        raw = self._engine.reset([None] * self.count if seed is None else lane_seeds(seed, self.count))
        observations = self._read(raw)
        self._returns = np.zeros(self.count, np.float64)
        self._lengths = np.zeros(self.count, np.int64)
        self._ended = np.zeros(self.count, bool)  # NEXT_STEP: lanes whose next action is ignored
        self._any_ended = False
        self._running = True
        return observations

    def step(self, actions: np.ndarray) -> Step:
        """One step in every lane; actions [B, *agent_shape] in the agent's representation, see :class:`ActionSpec`."""
        if not self._running:
            raise WorldError(f"{self.spec.env_id}: reset must come before the first step")
        if len(actions) != self.count:
            raise ValueError(f"{len(actions)} actions for {self.count} environments")
        raw, raw_rewards, terminations, truncations, infos = self._engine.step(self.spec.action.to_env(actions))
        rewards = np.array(raw_rewards, np.float64)
        terminated, truncated = np.array(terminations, bool), np.array(truncations, bool)
        if not rewards.shape == terminated.shape == truncated.shape == self._ended.shape:
            shapes = [list(array.shape) for array in (rewards, terminated, truncated)]
            self._engine.fail(f"rewards, terminations and truncations have shapes {shapes}, not [{self.count}]")
        observations = self._read(raw)
        ignored = self._ended
        if self._any_ended:
            for array in (rewards, terminated, truncated):
                array[ignored] = 0
            self._lengths[ignored] = -1
        narrow = rewards.astype(np.float32)
        if not all_finite(narrow):
            lane = int(np.argmin(np.isfinite(narrow)))
            self._engine.fail(f"the reward is {rewards[lane]}", lane)
        self._returns += rewards
        self._lengths += 1
        ended = terminated | truncated
        any_ended = bool(ended.any())
        returns, lengths, lanes, final, first = NO_RETURNS, NO_LANES, NO_LANES, None, ignored
        if any_ended:
            ends = ended.nonzero()[0]
            returns, lengths = self._returns[ends], self._lengths[ends]
            self._returns[ends], self._lengths[ends] = 0, 0
            if self.autoreset != AutoresetMode.NEXT_STEP:
                lanes, first = ends, ended
                observations, final = self._next_episodes(observations, infos, ended, ends)
        if self.autoreset == AutoresetMode.NEXT_STEP:
            self._ended, self._any_ended = ended, any_ended
        return Step(
            observations=observations,
            rewards=narrow,
            terminated=terminated,
            truncated=truncated,
            valid=~ignored,
            first=first.copy(),
            final=final,
            final_lanes=lanes,
            episode_returns=returns,
            episode_lengths=lengths,
        )

    def render(self, lane: int) -> Any:
        """What ``lane``, one of those ``drawn``, looks like now, as its render mode has it.

        Until the step after an episode's end that is the end. Raises WorldError when drawing fails, UnknownWorld when a
        package for it is missing.
        """
        assert lane < self._drawn, "only the first lanes can be drawn"
        return self._engine.render(lane)

    def picture(self, lane: int) -> np.ndarray:
        """[H, W, 3] uint8: ``render`` in mode "rgb_array". Raises as it does, WorldError for anything else too."""
        found = self.render(lane)
        # Fractions are what matplotlib takes for pictures too, and MinAtar gives.
        if isinstance(found, np.ndarray) and found.dtype.kind == "f" and 0 <= found.min() <= found.max() <= 1:
            found = np.rint(255 * found).astype(np.uint8)
        if not (isinstance(found, np.ndarray) and found.dtype == np.uint8 and found.ndim == 3 and found.shape[2] == 3):
            shape = f" {found.dtype}{list(found.shape)}" if isinstance(found, np.ndarray) else ""
            self._engine.fail(f"render gave a {type(found).__name__}{shape}, not a picture [H, W, 3] of bytes", lane)
        return found

    @property
    def frames_per_second(self) -> float:
        """Pictures a second, one a step, that show a drawn lane at its own speed."""
        return frames_per_second(self._engine.env.envs[0])  # type: ignore[attr-defined]

    def random_actions(self, rng: np.random.Generator) -> np.ndarray:
        """[B, *agent_shape] in the agent's representation; see :meth:`ActionSpec.random`."""
        return self.spec.action.random(self.count, rng)

    def bare_speed(self, seconds: float) -> float:
        """Environment steps/s of the vector environment alone, under random actions; ends what is under way."""
        self._running = False
        return measure(self._engine, self.spec.action, seconds)

    def close(self) -> None:
        """End worker processes and free what the environments hold. May be called again."""
        self._engine.close()

    def _next_episodes(
        self, observations: dict[str, np.ndarray], infos: Mapping[str, Any], ended: np.ndarray, lanes: np.ndarray
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """After the end of episodes in ``lanes``: the observations to go on from, and the last ones [F, *shape]."""
        if self.autoreset == AutoresetMode.SAME_STEP:
            return observations, self._final(infos, lanes)
        final = {name: part[lanes] for name, part in observations.items()}
        for name, part in self._read(self._engine.reset_lanes(ended)).items():
            observations[name][lanes] = part[lanes]
        return observations, final

    def _final(self, infos: Mapping[str, Any], lanes: np.ndarray) -> dict[str, np.ndarray]:
        """The "final_obs" of ``lanes``: an array of one observation a lane, or a batch of all lanes' in one."""
        found = infos.get("final_obs")
        if found is None:
            self._engine.fail("an episode ended in mode SAME_STEP without a 'final_obs' in the info", int(lanes[0]))
        if not isinstance(found, np.ndarray) or found.dtype != object:
            # What stands in the rows of the other lanes means nothing.
            return self._sound({name: part[lanes] for name, part in self._parts(found, self.count).items()}, lanes)
        missing = [int(lane) for lane in lanes if found[lane] is None]
        if missing:
            self._engine.fail("an episode ended in mode SAME_STEP and its 'final_obs' in the info is None", missing[0])
        space = self._reader.space
        last = [found[lane] for lane in lanes]
        batch = concatenate(space, last, create_empty_array(space, n=len(lanes)))  # type: ignore[arg-type]
        return self._sound(self._parts(batch, len(lanes)), lanes)

    def _read(self, raw: Any) -> dict[str, np.ndarray]:
        """The parts of the observations of all lanes, checked."""
        return self._sound(self._parts(raw, self.count))

    def _parts(self, raw: Any, count: int) -> dict[str, np.ndarray]:
        try:
            return self._reader.read(raw, count)
        except (ValueError, KeyError, IndexError, TypeError) as error:
            self._engine.fail(str(error), cause=error)

    def _sound(self, parts: dict[str, np.ndarray], lanes: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """``parts``, if a network may see them; ``lanes`` says which lanes the rows are of, None all."""
        fault = self._reader.fault(parts)
        if fault is not None:
            row, what = fault
            self._engine.fail(what, row if lanes is None else int(lanes[row]))
        return parts


def lane_seeds(seed: int, count: int) -> list[int]:
    """``count`` different seeds that a neighbouring ``seed`` does not share."""
    drawn = np.random.default_rng(seed).choice(LARGEST_SEED, size=count, replace=False)
    return [int(lane) for lane in drawn]
