"""Watch an agent in its Gymnasium environment, in a window or as text, one episode after another."""

from __future__ import annotations

import os
import sys
import time
from typing import TextIO

import numpy as np

from envs.gym.making import Maker
from rl.evaluation.episodes import Acting
from rl.evaluation.players import EvaluationError
from rl.evaluation.video import drawing
from rl.gym_agent import GymAgent
from rl.worlds import make_world

WINDOWS = {"human", "rgb_array"}  # render modes that make a window


def has_display() -> bool:
    """Whether a window can be opened; SDL_VIDEODRIVER may say how, also where there is no screen ("dummy")."""
    # Environment: what X, Wayland and SDL read themselves.
    return sys.platform in ("win32", "darwin") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    )


def render_mode(agent: GymAgent) -> str:
    """ "human" for a window, or "ansi" for text where there is no display or the environment draws nothing else.

    Raises EvaluationError where neither can be had.
    """
    config = agent.config
    with drawing():
        modes = Maker(config.env, config.env_options, config.rollout.wrappers).render_modes()
    windowed = modes is None or bool(WINDOWS & set(modes))
    if windowed and has_display():
        return "human"
    if modes and "ansi" in modes:
        return "ansi"
    if not windowed:
        raise EvaluationError(f"{config.env} cannot be drawn: it offers neither a window nor text (render_modes)")
    raise EvaluationError(
        f"{config.env} needs a display to be watched and there is none (DISPLAY is not set): film it with "
        f"`fuseki eval {agent.name} --episodes 3 --video DIR`"
    )


def show_episodes(
    agent: GymAgent, mode: str, episodes: int | None, *, deterministic: bool, seed: int, out: TextIO
) -> None:
    """Play ``episodes`` of them, or for ever, and write each one's return to ``out``.

    Windows draw themselves at each step and keep the environment's own time, as text on a terminal does. Everything
    runs in the calling thread, since some systems allow windows in a program's first one only. Raises EvaluationError
    where the environment cannot be drawn, envs.gym.WorldError where it fails.
    """
    net = agent.network()
    with drawing():
        world = make_world(agent.config, 1, seed, measure=False, render_mode=mode, drawn=1)
    pause = 1 / world.frames_per_second if mode == "ansi" and out.isatty() else 0.0

    def draw() -> None:
        if mode == "ansi":
            print(str(world.render(0)).rstrip("\n"), end="\n\n", file=out, flush=True)
            time.sleep(pause)

    try:
        acting = Acting(net, world, seed, deterministic)
        draw()
        number = 0
        while episodes is None or number < episodes:
            step = acting.step()
            draw()
            for total, length in zip(step.episode_returns, step.episode_lengths):
                number += 1
                print(f"episode {number}: return {total:g}, {length} steps", file=out, flush=True)
    finally:
        world.close()


def fresh_seed() -> int:
    """Another one each time: who watches does not want the same episode again."""
    return int(np.random.SeedSequence().generate_state(1)[0])
