"""Fuseki: reinforcement learning on Ray, by self-play or by rollouts. This package is one cycle; read it in this order.

    envs/ ──► actors/ ──► trainers/ ──► learner/ ──► weights.py ──┐
    (worlds)    ▲         (experience/) (losses/, nets/)          │
                └──────────────── newest version ◄────────────────┤
                          evaluation/   agent.py   play/  ◄───────┘

* ``records.py``      everything that crosses one of those arrows, with shapes
* ``config/``         every setting of a run
* ``search/``         what actors and agents ask for a move; ``inference.py`` the network that search asks
* ``runtime/loop.py`` the whole cycle in one process: read it first; ``runtime/on_ray.py`` the same parts as Ray actors
* ``evaluation/``     how good an agent is: players, arena, ratings, solver truth
* ``sgf.py``          games as SGF
* ``agent.py``        weights with their game, ready to analyse and play; ``models/`` the ones that ship
* ``gym_agent.py``    weights with their Gymnasium environment, ready to act
* ``insight/``        why an agent decides as it does, and where it can be led astray
* ``cli/``            what users type

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
    from rl.gym_agent import GymAgent

__all__ = ["evaluate", "load", "train"]


def load(agent: str | Path, device: str = "auto") -> Any:
    """The agent in a run folder, a checkpoint folder or a .safetensors file, or a shipped model by its name.

    It is a rl.agent.Agent of a board game or a rl.gym_agent.GymAgent of a Gymnasium environment.
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


def evaluate(agent: Agent | GymAgent | str | Path, against: str | None = None, **options: Any) -> dict[str, Any]:
    """How an agent does: against an opponent (or "truth") in a board game, over whole episodes in an environment.

    Options and keys are those of :func:`rl.evaluation.evaluate.evaluate`, or of
    :func:`rl.evaluation.episodes.evaluate_episodes`. Raises ValueError when the agent is not of that kind.
    """
    from rl.gym_agent import GymAgent

    found = load(agent) if isinstance(agent, str | Path) else agent
    if isinstance(found, GymAgent):
        if against is not None:
            raise ValueError(f"agent {found.name!r} acts in {found.config.env}, where nobody plays against it")
        from rl.evaluation.episodes import evaluate_episodes

        return evaluate_episodes(found, **options)
    if against is None:
        raise ValueError(f"agent {found.name!r} plays {found.game.title}: say against whom")
    from rl.evaluation.evaluate import evaluate as run

    return run(found, against, **options)
