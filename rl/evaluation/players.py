"""Players that choose moves in many games at once, and the grammar that names them.

An opponent is written ``random``, ``mcts:400`` (rollouts a move), ``solver`` (perfect play, where the game has a
solver), or as an agent: a run folder, a checkpoint folder, a .safetensors file, or the name of a model that ships.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from envs.game import Game
from rl.agent import load
from rl.evaluation.rollout_mcts import RolloutMCTS

CHOICES = "random, mcts:ROLLOUTS (such as mcts:400), solver, or an agent (run folder, checkpoint folder, file or model)"


class EvaluationError(ValueError):
    """What the user asked to measure cannot be measured; the message is one sentence that says why."""


class Player(Protocol):
    """Chooses moves for N games at once; rows of one call need not belong to the games of the last."""

    name: str

    def actions(self, states: np.ndarray) -> np.ndarray:
        """Legal moves [N] int64 for ongoing positions [N, S] int64."""
        ...


class RandomPlayer:
    """Plays every legal move with equal chance."""

    def __init__(self, game: Game, seed: int = 0) -> None:
        self.name = "random"
        self.game = game
        self._random = np.random.default_rng(seed)

    def actions(self, states: np.ndarray) -> np.ndarray:
        legal = np.stack([self.game.legal_mask(state) for state in states])
        return np.argmax(self._random.random(legal.shape) * legal, axis=1)


class SolverPlayer:
    """Perfect play; among equally good moves, one at random, so that its games differ."""

    def __init__(self, game: Game, scores: Callable[[np.ndarray], np.ndarray], seed: int = 0) -> None:
        """``scores`` maps a state [S] to the worth of each action [A], higher better, -inf where illegal."""
        self.name = "solver"
        self.game, self._scores = game, scores
        self._random = np.random.default_rng(seed)

    def actions(self, states: np.ndarray) -> np.ndarray:
        chosen = np.empty(len(states), np.int64)
        for row, state in enumerate(states):
            scores = self._scores(state)
            chosen[row] = self._random.choice(np.flatnonzero(scores == scores.max()))
        return chosen


@dataclass(frozen=True)
class Opponent:
    """An opponent's name taken apart: ``kind`` is random, mcts, solver or agent."""

    kind: str
    text: str  # as the user wrote it
    budget: int = 0  # rollouts a move, for mcts


def parse_opponent(text: str) -> Opponent:
    """Take an opponent's name apart without loading anything; whatever is no yardstick names an agent.

    Raises EvaluationError when a yardstick is miswritten, or belongs to no known kind.
    """
    kind, colon, argument = text.partition(":")
    if kind in ("random", "solver"):
        if colon:
            raise EvaluationError(f"opponent {text!r}: {kind} takes no argument; write just {kind}")
        return Opponent(kind, text)
    if kind == "mcts":
        if not (argument.isascii() and argument.isdigit()) or int(argument) < 1:
            raise EvaluationError(f"opponent {text!r}: write mcts:ROLLOUTS with a whole number of 1 or more")
        return Opponent(kind, text, int(argument))
    if kind in ("gnugo", "gtp"):
        raise EvaluationError(f"opponent {text!r} is not available; choose {CHOICES}")
    return Opponent("agent", text)


def make_player(
    text: str,
    game: Game,
    *,
    simulations: int | None = None,
    seed: int = 0,
    lanes: int = 64,
    device: str = "auto",
) -> Player:
    """The player named by ``text`` for this game.

    ``simulations`` is the search budget of an agent (None: the one it was trained with); the other kinds carry
    theirs in their name. Raises EvaluationError or rl.weights.AgentError, one sentence each.
    """
    opponent = parse_opponent(text)
    if opponent.kind == "random":
        return RandomPlayer(game, seed)
    if opponent.kind == "mcts":
        return RolloutMCTS(game, opponent.budget, seed)
    if opponent.kind == "solver":
        from rl.evaluation.solver import solver_for

        try:
            solver = solver_for(game)
        except ValueError as error:
            raise EvaluationError(f"opponent 'solver': {error}") from error
        return SolverPlayer(game, solver.scores, seed)
    agent = load(text, device=device)
    if agent.game.env_id != game.env_id:
        raise EvaluationError(f"{text!r} is an agent for {agent.game.env_id}, but the game is {game.env_id}")
    return agent.player(simulations, lanes=lanes, seed=seed)
