"""How good is an agent in a Gymnasium environment? Returns of whole episodes, on seeds that training never uses."""

from __future__ import annotations

import logging
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.gym import Step, World
from envs.gym.watched import watch
from rl.acting import mode_numpy, sample_numpy
from rl.config import GymConfig
from rl.evaluation.examination import Examination
from rl.evaluation.video import Films, Video, VideoError, check_encoder, drawing
from rl.gym_agent import GymAgent
from rl.nets.actor_critic import ActorCritic, acting_network
from rl.nets.loading import copy_weights
from rl.records import Weights
from rl.worlds import make_world, spec_of

log = logging.getLogger(__name__)

LANES = 32  # environments at once
VIDEOS = 3  # episodes that `fuseki eval --video` films
SEED_KEY = 2  # spawn key of evaluation's seeds; actors have 1, the learner 0


@dataclass(frozen=True)
class Episodes:
    """Whole episodes, in no particular order."""

    returns: np.ndarray  # [N] float64, sums of the environment's own rewards
    lengths: np.ndarray  # [N] int64, steps
    videos: tuple[Video, ...] = ()  # of some of these very episodes

    def summary(self) -> dict[str, float]:
        """Mean return with its 95 % interval (normal approximation), deviation, extremes and mean length."""
        n, mean = len(self.returns), float(self.returns.mean())
        deviation = float(self.returns.std(ddof=1)) if n > 1 else 0.0
        half = 1.96 * deviation / math.sqrt(n)
        return {
            "episodes": n,
            "return_mean": mean,
            "return_low": mean - half,
            "return_high": mean + half,
            "return_std": deviation,
            "return_min": float(self.returns.min()),
            "return_max": float(self.returns.max()),
            "length_mean": float(self.lengths.mean()),
        }


class Acting:
    """A network, with its memory, that acts in every lane of a world. Made and used in one thread."""

    def __init__(self, net: ActorCritic, world: World, seed: int, deterministic: bool) -> None:
        self.net, self.world, self.deterministic = net, world, deterministic
        self.rng = np.random.default_rng(seed)
        self.observations, self.memory = world.reset(seed), net.initial_state(world.count)
        self.first = np.ones(world.count, bool)
        # Of the latest step: parameters [B, P], values [B] and the actions in the agent's representation.
        self.parameters = self.values = self.actions = np.empty(0, np.float32)

    def step(self) -> Step:
        """One step of all lanes. Raises envs.gym.WorldError when an environment fails."""
        parameters, self.values, self.memory = self.net.act(self.observations, self.memory, self.first)
        spec = self.net.spec
        actions = mode_numpy(spec, parameters) if self.deterministic else sample_numpy(spec, parameters, self.rng)[0]
        self.parameters, self.actions = parameters, actions
        step = self.world.step(actions)
        self.observations, self.first = step.observations, step.first
        return step


def play_episodes(
    net: ActorCritic,
    config: GymConfig,
    episodes: int,
    seed: int,
    *,
    deterministic: bool = True,
    progress: Callable[[int], None] | None = None,
    folder: Path | None = None,
    videos: int = VIDEOS,
) -> Episodes:
    """``episodes`` episodes of ``net``, as many in each environment, so that short ones count no more than long ones.

    The first ``videos`` of them are filmed into ``folder``, if there is one. Filming changes no episode, unless
    ``rollout.vectorization`` asks for the environment's own vector form, which cannot be drawn: then single
    environments are evaluated instead, with random streams of their own.
    Raises envs.gym.WorldError when an environment fails, UnknownWorld when it cannot be drawn, VideoError when a video
    cannot be written.
    """
    lanes = min(LANES, episodes)
    wanted = np.full(lanes, episodes // lanes) + (np.arange(lanes) < episodes % lanes)
    own = int(np.random.SeedSequence(seed, spawn_key=(SEED_KEY,)).generate_state(1)[0])
    drawn = min(videos, lanes) if folder is not None else 0
    world = make_world(config, lanes, own, measure=False, render_mode="rgb_array" if drawn else None, drawn=drawn)
    films: Films | None = None
    returns: list[float] = []
    lengths: list[int] = []
    try:
        if folder is not None:
            films = Films(folder, world, drawn)
        acting = Acting(net, world, own, deterministic)
        if films:
            films.look()
        while wanted.any():
            step = acting.step()
            if films:
                films.look()
            ended = np.flatnonzero((step.terminated | step.truncated) & step.valid)
            for lane, total, length in zip(ended, step.episode_returns, step.episode_lengths, strict=True):
                if films:
                    films.ended(int(lane), float(total), int(length))
                if wanted[lane]:
                    wanted[lane] -= 1
                    returns.append(float(total))
                    lengths.append(int(length))
                    if progress is not None:
                        progress(len(returns))
    finally:
        if films:
            films.close()
        world.close()
    return Episodes(np.array(returns), np.array(lengths), tuple(sorted(films.videos)) if films else ())


def evaluate_episodes(
    agent: GymAgent,
    episodes: int = 100,
    *,
    deterministic: bool = True,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    video: Path | None = None,
) -> dict[str, Any]:
    """Measure ``agent`` over whole episodes: plain JSON values, those of ``Episodes.summary`` and each return.

    The first VIDEOS episodes are filmed into the folder ``video``, if one is given, which is made where it is missing;
    "videos" then holds their files, returns and lengths, which are counted among the others.
    Raises rl.weights.AgentError when it cannot act here, EvaluationError when it cannot be filmed,
    envs.gym.WorldError when an environment fails or hangs, VideoError when a video cannot be written.
    """
    start = time.perf_counter()
    net = agent.network()
    if video is not None:
        check_encoder()
        video.mkdir(parents=True, exist_ok=True)

    def play() -> Episodes:
        return play_episodes(
            net, agent.config, episodes, seed, deterministic=deterministic, progress=progress, folder=video
        )

    with drawing():
        found = watch(play, agent.config.rollout.timeout_seconds)
    about: dict[str, Any] = {
        "agent": agent.name,
        "env": agent.config.env,
        "weights_version": agent.weights.version,
        "seed": seed,
    }
    about |= {"deterministic": deterministic} | found.summary()
    if video is not None:
        about["videos"] = [
            {"file": str(film.path), "return": film.episode_return, "length": film.length} for film in found.videos
        ]
    return about | {
        "returns": found.returns.tolist(),
        "lengths": found.lengths.tolist(),
        "seconds": round(time.perf_counter() - start, 2),
    }


def check_videos(config: GymConfig) -> None:
    """Whether episodes can be filmed here, tried with one picture. Raises EvaluationError, or WorldError."""
    check_encoder()

    def draw() -> None:
        world = make_world(config, 1, config.seed, measure=False, render_mode="rgb_array", drawn=1)
        try:
            world.reset()
            world.picture(0)
        finally:
            world.close()

    with drawing():
        watch(draw, config.rollout.timeout_seconds)


class EpisodeExaminer:
    """Examines one version of the weights after another, always on the same seeds."""

    def __init__(self, config: GymConfig, device: str = "auto"):
        self.config, self.device = config, device
        self.net: ActorCritic | None = None

    def examine(self, weights: Weights) -> Examination:
        """Play ``evaluation.episodes`` episodes with these weights."""
        started = time.perf_counter()
        settings = self.config.evaluation
        metrics: dict[str, float] = {}
        videos: dict[str, bytes] = {}
        if settings.episodes:
            if self.net is None:
                self.net = acting_network(self.config.net, spec_of(self.config), self.device)
            copy_weights(weights, self.net.state_dict())
            with tempfile.TemporaryDirectory() as folder:
                found = self._play(self.net, Path(folder))
                # As bytes they travel from whichever machine this is to the one with the run's folder.
                videos = {film.path.name: film.path.read_bytes() for film in found.videos}
            metrics = {f"eval/{name}": value for name, value in found.summary().items()}
        metrics["eval/seconds"] = time.perf_counter() - started
        return Examination(weights.version, metrics, {}, videos=videos)

    def _play(self, net: ActorCritic, folder: Path) -> Episodes:
        settings = self.config.evaluation

        def play(folder: Path | None) -> Episodes:
            return play_episodes(
                net,
                self.config,
                settings.episodes,
                self.config.seed,
                deterministic=settings.deterministic,
                folder=folder,
                videos=settings.videos,
            )

        try:
            return play(folder if settings.videos else None)
        except VideoError as error:  # training does not end because of it
            log.warning("no videos of this evaluation: %s", error)
            return play(None)
