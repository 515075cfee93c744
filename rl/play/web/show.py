"""Episodes of a Gymnasium environment in progress: pictures as they come, with what the agent thinks and earns."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from envs.gym import UnknownWorld, WorldError
from envs.gym.making import Maker
from envs.gym.watched import Watched
from rl.evaluation.episodes import Acting
from rl.gym_agent import GymAgent
from rl.play.episodes import fresh_seed
from rl.play.web.agents import Agents
from rl.play.web.refusal import Refusal
from rl.play.web.requests import Control, Start
from rl.play.web.rooms import Pool, Room, Viewer
from rl.weights import AgentError
from rl.worlds import make_world

FRAME_SECONDS = 1 / 30  # between two pictures; steps in between are not drawn
KEPT_EPISODES = 200
T = TypeVar("T")
MOST_ACTIONS = 32  # whose probabilities are shown


@dataclass(frozen=True)
class Frame:
    """One step, as a page shows it."""

    told: dict[str, Any]
    picture: bytes  # PNG; empty where the environment draws itself as text or not at all
    ended: bool


class Stage:
    """An agent in one environment that can be drawn. Made and used in one thread."""

    def __init__(self, agent: GymAgent, sampled: bool) -> None:
        """Raises envs.gym.UnknownWorld where the environment cannot be made or drawn, WorldError where it fails."""
        config = agent.config
        modes = Maker(config.env, config.env_options, config.rollout.wrappers).render_modes()
        self.mode = next((m for m in ("rgb_array", "ansi") if modes is None or m in modes), None)
        seed = fresh_seed()
        drawn = int(self.mode is not None)
        self.world = make_world(config, 1, seed, measure=False, render_mode=self.mode, drawn=drawn)
        try:
            self.acting = Acting(agent.network(), self.world, seed, not sampled)
            self.frames_per_second = self.world.frames_per_second if drawn else 30.0
        except BaseException:
            self.world.close()
            raise
        self._steps, self._return = 0, 0.0

    def look(self) -> Frame:
        """The first position of an episode."""
        return self._frame({}, True, False)

    def step(self, draw: bool) -> Frame:
        """One step; the last one of an episode is always drawn. Raises WorldError."""
        acting = self.acting
        step = acting.step()
        ended = bool(step.terminated[0] or step.truncated[0])
        if not step.valid[0]:  # the environment began anew instead
            self._steps, self._return = 0, 0.0
            return self.look()
        reward = float(step.rewards[0])
        self._steps, self._return = self._steps + 1, self._return + reward
        told: dict[str, Any] = {"reward": reward, "value": round(float(acting.values[0]), 3)}
        spec, parameters = acting.net.spec, acting.parameters[0].astype(np.float64)
        if spec.kind == "categorical" and spec.sizes[0] <= MOST_ACTIONS:
            weights = np.exp(parameters - parameters.max())
            told["policy"] = [round(float(p), 3) for p in weights / weights.sum()]
            told["action"] = int(acting.actions[0])
        elif spec.kind in ("gaussian", "squashed_gaussian") and spec.sizes[0] <= MOST_ACTIONS:
            told["controls"] = [round(float(a), 3) for a in acting.actions[0]]
        if ended:
            told["end"] = "terminated" if step.terminated[0] else "truncated"
        return self._frame(told, draw or ended, ended)

    def _frame(self, told: dict[str, Any], draw: bool, ended: bool) -> Frame:
        told = {"step": self._steps, "return": round(self._return, 4)} | told
        picture = b""
        if draw and self.mode == "rgb_array":
            picture = png(self.world.picture(0))
        elif draw and self.mode == "ansi":
            told["text"] = str(self.world.render(0))
        return Frame(told, picture, ended)

    def close(self) -> None:
        self.world.close()


def png(pixels: np.ndarray) -> bytes:
    """[H, W, 3] uint8 as a PNG file, quickly made rather than small."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()


def packed(told: dict[str, Any], picture: bytes) -> bytes:
    """One message: the length of the JSON in four bytes, little endian, then the JSON, then the picture."""
    head = json.dumps(told, allow_nan=False).encode()
    return len(head).to_bytes(4, "little") + head + picture


class Show(Room):
    """One agent, one episode after another."""

    def __init__(self, agents: Agents, pool: Pool, sampled: bool) -> None:
        super().__init__()
        self._agents, self._pool = agents, pool
        self.paused, self.speed, self.sampled = False, 1.0, sampled
        self.episodes: list[dict[str, Any]] = []
        self._count = 0
        self._fps = 30.0
        self._failure: str | None = None
        self._steps_wanted = 0
        self._restart = False
        self._picture: bytes | None = None  # the latest message with one, of the stage that there is

    @asynccontextmanager
    async def viewer(self) -> AsyncIterator[Viewer]:
        async with super().viewer() as viewer:
            if self._picture is not None:  # while paused there is no other
                viewer.tell("frame", self._picture)
            yield viewer

    def view(self) -> dict[str, Any]:
        return {
            "type": "state",
            "kind": "episodes",
            "id": self.id,
            "changes": self.changes,
            "agent": self.agent.name,
            "env": self.agent.config.env,
            "paused": self.paused,
            "speed": self.speed,
            "sampled": self.sampled,
            "fps": round(self._fps, 2),
            "episodes": self.episodes,
            "count": self._count,
            "failure": self._failure,
        }

    def start(self, wanted: Start) -> Callable[[], None]:
        """Loads the agent, which may take long, and returns what begins the show. Raises Refusal."""
        agent = self._agents.get(wanted.agent)
        if not isinstance(agent, GymAgent):
            raise Refusal(422, f"{wanted.agent} plays {agent.game.title}, which has no episodes to watch")
        for name in ("seats", "size", "komi", "explain", "simulations"):
            if getattr(wanted, name) is not None:
                raise Refusal(422, f"{name} is for board games, and {wanted.agent} acts in {agent.config.env}")

        def begin() -> None:
            self.agent = agent
            self.touch()

        return begin

    def control(self, wanted: Control) -> None:
        self.paused = self.paused if wanted.paused is None else wanted.paused
        self.speed = self.speed if wanted.speed is None else wanted.speed
        self._steps_wanted += wanted.step
        self._restart |= wanted.restart or (wanted.sampled is not None and wanted.sampled != self.sampled)
        self.sampled = self.sampled if wanted.sampled is None else wanted.sampled
        if wanted.restart:
            self._failure = None
        self.touch()

    # Work

    async def work(self) -> None:
        while True:
            self.changed.clear()
            if self._failure is not None:
                await self.changed.wait()
                continue
            try:
                await self._play()
            except (WorldError, UnknownWorld, AgentError) as error:
                self._failure = str(error)
                self.touch()

    async def _play(self) -> None:
        """Episodes until another stage is wanted. Raises WorldError, UnknownWorld or AgentError."""
        agent, sampled = self.agent, self.sampled
        self._restart, self._steps_wanted = False, 0
        opening = asyncio.ensure_future(
            self._run(lambda: Watched(lambda: Stage(agent, sampled), agent.config.rollout.timeout_seconds))
        )
        try:
            stage = await asyncio.shield(opening)
        except asyncio.CancelledError:  # made for nobody
            with contextlib.suppress(WorldError, UnknownWorld, AgentError):
                await self._close(await opening)
            raise
        try:
            self._fps = stage._object.frames_per_second
            frame = await self._run(stage.look)
            self._tell(frame)
            self.touch()
            await self._episodes(stage)
        finally:
            self._picture = None
            await self._close(stage)

    async def _run(self, function: Callable[[], T]) -> T:
        return await self._pool.run(function, kind="episode")

    async def _close(self, stage: Any) -> None:
        """In a thread, as it may take long; whoever waits for it may leave."""
        with contextlib.suppress(WorldError):
            await asyncio.shield(asyncio.ensure_future(self._run(stage.close)))

    async def _episodes(self, stage: Any) -> None:
        due = drawn = time.monotonic()
        while not self._restart:
            self.changed.clear()
            if self.paused and not self._steps_wanted:
                await self.changed.wait()
                due = time.monotonic()
                continue
            self._steps_wanted = max(0, self._steps_wanted - 1)
            draw = self.paused or time.monotonic() - drawn >= FRAME_SECONDS * 0.9
            frame = await self._run(lambda: stage.step(draw))  # noqa: B023  # it is awaited at once
            if draw or frame.ended:
                drawn = time.monotonic()
                self._tell(frame)
            if frame.ended:
                self._count += 1
                ended = {"number": self._count, "return": frame.told["return"], "length": frame.told["step"]}
                self.episodes = [*self.episodes, ended | {"end": frame.told["end"]}][-KEPT_EPISODES:]
                self.touch()
                due += 0.6  # the last picture stays for a moment
            due = max(due + 1 / (self._fps * self.speed), time.monotonic() - 0.1)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    def _tell(self, frame: Frame) -> None:
        self._picture = packed(frame.told | {"episode": self._count + 1 - frame.ended}, frame.picture)
        self.publish("frame", self._picture)
