"""Players that choose moves in many games at once, and the grammar that names them.

An opponent is written ``random``, ``mcts:400`` (rollouts a move), ``solver`` (perfect play, where the game has a
solver), ``gnugo:10`` (GNU Go at that level), ``gtp:COMMAND`` (any engine that speaks the Go Text Protocol), or as an
agent: a run folder, a checkpoint folder, a .safetensors file, or the name of a model that ships.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

import envs
from envs.game import Game
from rl.agent import load_player, locate
from rl.evaluation.rollout_mcts import RolloutMCTS
from rl.weights import AgentError

# GNU Go is a program of its own under the GPL, which we only talk to.
GNUGO = "gnugo --mode gtp --chinese-rules --play-out-aftermath --capture-all-dead --positional-superko --level"
CHOICES = (
    "random, mcts:ROLLOUTS (such as mcts:400), solver, gnugo:LEVEL (such as gnugo:10), gtp:COMMAND (any GTP engine), "
    "or an agent (run folder, checkpoint folder, file or model)"
)
GNUGO_PLACES = ("gnugo", "/usr/games/gnugo")  # Debian's folder of games is not on everybody's PATH


class EvaluationError(ValueError):
    """What the user asked to measure cannot be measured; the message is one sentence that says why."""


FailureKind = Literal["illegal move", "time-out", "crash", "not GTP", "refused"]


@dataclass(frozen=True)
class Forfeit:
    """In place of a move: the player gives the game up, or has lost the right to go on."""

    kind: Literal["resigned"] | FailureKind
    reason: str  # completes the sentence "<player> ..."


class Player(Protocol):
    """Chooses moves for N games at once; rows of one call need not belong to the games of the last.

    ``moves`` holds for each row all actions of its game so far, from the initial position: engines that keep a board of
    their own need them. For the players here a position says everything, and they can do without.
    """

    name: str

    def actions(self, states: np.ndarray, moves: Sequence[Sequence[int]]) -> np.ndarray | Sequence[int | Forfeit]:
        """Legal moves [N] for ongoing positions [N, S] int64; a Forfeit where the player ends the game as its loss."""
        ...


class RandomPlayer:
    """Plays every legal move with equal chance."""

    def __init__(self, game: Game, seed: int = 0) -> None:
        self.name = "random"
        self.game = game
        self._random = np.random.default_rng(seed)

    def actions(self, states: np.ndarray, moves: Sequence[Sequence[int]] = ()) -> np.ndarray:
        legal = np.stack([self.game.legal_mask(state) for state in states])
        return np.argmax(self._random.random(legal.shape) * legal, axis=1)


class SolverPlayer:
    """Perfect play; among equally good moves, one at random, so that its games differ."""

    def __init__(self, game: Game, scores: Callable[[np.ndarray], np.ndarray], seed: int = 0) -> None:
        """``scores`` maps a state [S] to the worth of each action [A], higher better, -inf where illegal."""
        self.name = "solver"
        self.game, self._scores = game, scores
        self._random = np.random.default_rng(seed)

    def actions(self, states: np.ndarray, moves: Sequence[Sequence[int]] = ()) -> np.ndarray:
        chosen = np.empty(len(states), np.int64)
        for row, state in enumerate(states):
            scores = self._scores(state)
            chosen[row] = self._random.choice(np.flatnonzero(scores == scores.max()))
        return chosen


@dataclass(frozen=True)
class Opponent:
    """An opponent's name taken apart: ``kind`` is random, mcts, solver, engine or agent."""

    kind: str
    text: str  # as the user wrote it
    budget: int = 0  # rollouts a move, for mcts
    command: tuple[str, ...] = ()  # program and arguments, for an engine


def parse_opponent(text: str) -> Opponent:
    """Take an opponent's name apart without starting anything; whatever is no yardstick names an agent.

    Raises EvaluationError when a yardstick is miswritten, or an engine's program is not installed.
    """
    kind, colon, argument = text.partition(":")
    if kind in ("random", "solver"):
        if colon:
            raise EvaluationError(f"opponent {text!r}: {kind} takes no argument; write just {kind}")
        return Opponent(kind, text)
    if kind == "mcts":
        return Opponent(kind, text, _number(text, argument, "mcts:ROLLOUTS"))
    if kind == "gnugo":
        level = _number(text, argument, "gnugo:LEVEL")
        program = next(filter(None, map(shutil.which, GNUGO_PLACES)), None)
        if program is None:
            raise EvaluationError(
                f"opponent {text!r}: GNU Go is not installed; on Debian and Ubuntu: apt install gnugo"
            )
        return Opponent("engine", text, command=(program, *GNUGO.split()[1:], str(level)))
    if kind == "gtp":
        try:
            command = shlex.split(argument)
        except ValueError as error:
            raise EvaluationError(f"opponent {text!r}: the command cannot be read: {str(error).lower()}") from error
        if not command:
            raise EvaluationError(f'opponent {text!r}: write gtp:COMMAND, such as gtp:"{GNUGO} 10"')
        if shutil.which(command[0]) is None:
            raise EvaluationError(
                f"opponent {text!r}: there is no program {command[0]!r}; install it, or give its whole path"
            )
        return Opponent("engine", text, command=tuple(command))
    return Opponent("agent", text)


def check_opponent(text: str) -> None:
    """Raise EvaluationError, in one sentence, when there is no such opponent on this machine; start nothing."""
    if parse_opponent(text).kind == "agent":
        try:
            locate(text)
        except AgentError as error:
            raise EvaluationError(f"{error}; an opponent is {CHOICES}") from error


def _number(text: str, argument: str, form: str) -> int:
    """The number in an opponent's name, 1 or more."""
    if not (argument.isascii() and argument.isdigit()) or int(argument) < 1:
        raise EvaluationError(f"opponent {text!r}: write {form} with a whole number of 1 or more")
    return int(argument)


def make_player(
    text: str,
    game: Game,
    *,
    simulations: int | None = None,
    seed: int = 0,
    lanes: int = 64,
    device: str = "auto",
    move_seconds: float | None = None,
) -> Player:
    """The player named by ``text`` for this game.

    ``simulations`` is the search budget of an agent (None: the one it was trained with); the other kinds carry
    theirs in their name. ``move_seconds`` is an engine's time limit (None: a minute). An engine's processes last until
    ``release``. Raises EvaluationError or rl.weights.AgentError, one sentence each.
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
    if opponent.kind == "engine":
        from rl.evaluation.gtp_player import MOVE_SECONDS, GTPPlayer

        limit = MOVE_SECONDS if move_seconds is None else move_seconds
        return GTPPlayer(game, opponent.command, text, lanes=lanes, move_seconds=limit)
    agent = load_player(text, device=device)
    stem, theirs = (env_id.rstrip("0123456789") for env_id in (game.env_id, agent.game.env_id))
    if agent.game.env_id != game.env_id and stem == theirs and stem in envs.FAMILIES:
        try:
            agent = agent.on(size=game.board_shape[0])
        except ValueError as error:
            raise EvaluationError(str(error)) from error
    if agent.game.env_id != game.env_id:
        raise EvaluationError(f"{text!r} is an agent for {agent.game.env_id}, but the game is {game.env_id}")
    return agent.player(simulations, lanes=lanes, seed=seed)


def release(player: Player) -> None:
    """The player is not asked any more: an engine's processes end."""
    from rl.evaluation.gtp_player import GTPPlayer

    if isinstance(player, GTPPlayer):
        player.close()
