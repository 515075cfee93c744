"""Fuseki: reinforcement learning by self-play on Ray. This package is one cycle; read it in this order.

    envs/ ──► actors/ ──► experience/ ──► learner.py ──► weights.py ──┐
    (rules)     ▲         (replay)        (losses/, nets/)            │
                └──────────────── newest version ◄────────────────────┤
                          evaluation/   agent.py   play/  ◄───────────┘

* ``records.py``      everything that crosses one of those arrows, with shapes
* ``config.py``       every setting of a run
* ``search/``         what actors and agents ask for a move; ``inference.py`` the network that search asks
* ``runtime/loop.py`` the whole cycle in one process: read it first; ``runtime/on_ray.py`` the same parts as Ray actors
* ``evaluation/``     how good an agent is: players, arena, ratings, solver truth
* ``sgf.py``          games as SGF
* ``agent.py``        weights with their game, ready to analyse and play; ``models/`` the ones that ship
* ``cli.py``          what users type

Three functions are the public interface::

    import rl
    agent = rl.load("connect_four")
    answer = agent.analyse(moves=[3, 3, 2], simulations=200)
    rl.evaluate(agent, "mcts:400", games=100)
    rl.train("configs/tic_tac_toe.yaml", "runs/mine")

Importing ``rl`` is cheap: torch and ray are imported by the functions that need them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rl.agent import Agent
    from rl.config import Config

__all__ = ["evaluate", "load", "train"]


def load(agent: str | Path, device: str = "auto") -> Agent:
    """The agent in a run folder, a checkpoint folder or a .safetensors file, or a shipped model by its name.

    Raises rl.weights.AgentError, a ValueError of one sentence, when there is none or it is damaged.
    """
    from rl.agent import load as load_agent

    return load_agent(agent, device)


def train(
    config: Config | str | Path,
    run_dir: str | Path,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    serial: bool = False,
) -> Any:
    """Train by a configuration (or the YAML file that holds it) into ``run_dir``; see ``rl.runtime.train``.

    ``serial`` runs the cycle in this process, without Ray. Raises rl.config.ConfigError when
    the configuration is wrong.
    """
    from rl.config import Config, load_config

    resolved = config if isinstance(config, Config) else load_config(config, overrides)
    from rl.runtime import train as run

    return run(resolved, run_dir, resume=resume, serial=serial)


def evaluate(agent: Agent | str | Path, against: str, **options: Any) -> dict[str, Any]:
    """How an agent does against an opponent (or "truth"); options and keys are those of
    :func:`rl.evaluation.evaluate.evaluate`."""
    from rl.agent import Agent
    from rl.evaluation.evaluate import evaluate as run

    return run(agent if isinstance(agent, Agent) else load(agent), against, **options)
