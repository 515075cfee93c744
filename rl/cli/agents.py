"""What commands share: an agent's argument, loading it, options for one kind of agent only, a run's settings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rl.console import WrongInput, while_running

if TYPE_CHECKING:
    from rl.agent import Agent
    from rl.gym_agent import GymAgent

AgentArgument = Annotated[
    str, typer.Argument(metavar="AGENT", help="Run folder, checkpoint folder, .safetensors file, or a model's name.")
]
Simulations = Annotated[
    int | None, typer.Option(min=0, help="Simulations a move; 0: the network alone; default: as in training.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else, on standard output.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[key.sub=value]...", help="Settings that replace the file's.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --run-dir.")]

MATCH_OPTIONS = ("games", "openings", "seats", "move_seconds", "save", "size")
GAME_OPTIONS = (*MATCH_OPTIONS, "simulations", "split")
EPISODE_OPTIONS = ("episodes", "sampled", "video")
PLAY_GAME_OPTIONS = ("gtp", "simulations", "seconds", "level", "friendly", "second")
WEB_OPTIONS = ("port", "host", "with_")


def refuse(context: typer.Context, options: Sequence[str], why: str) -> None:
    """Raises WrongInput naming the first of these options that was typed; ``why`` goes on from its name."""
    for name in options:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise WrongInput(f"--{name.rstrip('_').replace('_', '-')} {why}: leave it out")


def load_any(name: str, device: str = "auto") -> Agent | GymAgent:
    from rl.agent import load

    with while_running():
        agent = load(name, device)
    import torch

    torch.set_num_threads(idle_cores())
    return agent


def load_agent(name: str, device: str = "auto") -> Agent:
    """An agent of a board game."""
    from rl.gym_agent import GymAgent

    agent = load_any(name, device)
    if isinstance(agent, GymAgent):
        raise WrongInput(f"agent {name!r} acts in {agent.config.env}, which is no board game: fuseki eval --episodes N")
    return agent


def idle_cores() -> int:
    """Cores that nobody uses, at least 1. Torch's threads wait for each other, so one that shares its core with another
    busy process holds up all: 28 to 77 s instead of 3.6 s for 4,520 searches on two cores under load."""
    cores = allowed = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return max(1, min(allowed, round(cores - load)))


def games_folder(agent: str) -> Path:
    """Where the games of matches go: to the agent's run, or else to a folder here."""
    run = Path(agent)
    return run / "games" if (run / "checkpoints").is_dir() else Path("fuseki-games")
