"""Perfect play: BitBully for Connect Four, exhaustive search for games small enough.

A solver has ``scores(state) -> [A]``: the worth of every action to the side to move, positive when it wins with best
play, 0 when it draws, negative when it loses, larger the sooner it wins and the later it loses, -inf where illegal.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Protocol

import numpy as np

from envs.connect_four import COLUMNS, FIRST, ROWS, SECOND, STRIDE
from envs.game import ONGOING, STATUS, TO_MOVE, Game, outcome

ILLEGAL = -2  # where ``action_values`` holds no game-theoretic value
MOST_POSITIONS = 20_000  # of a game to be solved exhaustively: a second or two
MOST_BYTES = 64_000_000  # of their state vectors, which hold thousands of words in some games


class SolverError(ValueError):
    """There is no solver for this game, or its package is missing; one sentence with the remedy."""


class Solver(Protocol):
    def scores(self, state: np.ndarray) -> np.ndarray:
        """Worth of each action [A] float64; see the module's docstring. Raises ValueError when the game has ended."""


def action_values(scores: np.ndarray) -> np.ndarray:
    """Game-theoretic values [..., A] int8 in {-1, 0, 1} of solver scores [..., A]; ILLEGAL where the score is -inf."""
    return np.where(np.isneginf(scores), ILLEGAL, np.sign(scores)).astype(np.int8)


@cache
def _bitbully() -> Any:
    """BitBully with its opening book that knows distances: 0.2 s and 21 MB, so loaded once a process."""
    try:
        import bitbully
    except ModuleNotFoundError as error:
        if error.name != "bitbully":
            raise
        raise SolverError("the Connect Four solver needs BitBully: pip install 'fuseki[solver]'") from error
    return bitbully.BitBully("12-ply-dist")


class ConnectFourSolver:
    """Connect Four by the optional package BitBully (AGPL; imported only here). Raises SolverError without it.

    Up to ply 11 the opening book answers; plies 12 to 16 take 0.01 to 1 s of search, later ones under a millisecond.
    """

    def __init__(self) -> None:
        self._solver = _bitbully()

    def scores(self, state: np.ndarray) -> np.ndarray:
        """See the module's docstring; [7]. The distance is counted in stones of the winner: winning at once is worth
        (empty cells + 1) // 2, a win one own stone later 1 less."""
        from bitbully import Board

        if state[STATUS] != ONGOING:
            raise ValueError("the game has ended: no action has a worth")
        grid = [[_cell(state, column, height) for height in range(ROWS)] for column in range(COLUMNS)]
        scores = np.full(COLUMNS, -np.inf)
        for column, score in self._solver.score_all_moves(Board(grid)).items():  # full columns are left out
            scores[column] = score
        return scores

    def action_values(self, state: np.ndarray) -> np.ndarray:
        """Game-theoretic value [7] int8 of each action for the side to move; ILLEGAL where the column is full."""
        return action_values(self.scores(state))


def _cell(state: np.ndarray, column: int, height: int) -> int:
    """0 empty, 1 first player, 2 second player; height 0 is the bottom row."""
    bit = column * STRIDE + height
    return int(state[FIRST] >> bit & 1) + 2 * int(state[SECOND] >> bit & 1)


class ExactSolver:
    """Every reachable position of a tiny game, solved when constructed.

    ``positions`` maps ``state.tobytes()`` of each reachable ongoing position to its scores [A], in the order of depth.
    A result d moves away is worth ±(max_moves + 1 - d). Raises SolverError when the game is too large.
    """

    def __init__(self, game: Game) -> None:
        limit = min(MOST_POSITIONS, MOST_BYTES // (8 * game.state_size))
        self.positions: dict[bytes, np.ndarray] = {}
        self._game = game
        # Layer by layer, since a state holds its ply: no recursion, and every child lies in the next layer.
        layers: list[dict[bytes, np.ndarray]] = [{}]
        root = game.initial_state()
        layers[0][root.tobytes()] = root
        count = 1
        while layers[-1]:
            layer: dict[bytes, np.ndarray] = {}
            for state in layers[-1].values():
                for _, child in self._children(state):
                    if child[STATUS] == ONGOING:
                        layer[child.tobytes()] = child
                if count + len(layer) > limit:
                    raise SolverError(
                        f"no solver is known for {game.env_id}, and it has too many positions for exhaustive search"
                    )
            count += len(layer)
            layers.append(layer)
        self.positions = {key: np.empty(0) for layer in layers for key in layer}
        for layer in reversed(layers):
            for key, state in layer.items():
                self.positions[key] = self._back_up(state)

    def scores(self, state: np.ndarray) -> np.ndarray:
        """See the module's docstring. Raises ValueError for a state that has ended or cannot be reached."""
        return self._solved(state).copy()

    def action_values(self, state: np.ndarray) -> np.ndarray:
        """Game-theoretic value [A] int8 of each action for the side to move; ILLEGAL where it may not be played."""
        return action_values(self._solved(state))

    def _solved(self, state: np.ndarray) -> np.ndarray:
        scores = self.positions.get(state.tobytes())
        if scores is None:
            raise ValueError(f"{self._game.env_id}: the game has ended, or no play leads to this position")
        return scores

    def _children(self, state: np.ndarray) -> list[tuple[int, np.ndarray]]:
        children = []
        for action in np.flatnonzero(self._game.legal_mask(state)):
            child = state.copy()
            self._game.play(child, action)
            children.append((int(action), child))
        return children

    def _back_up(self, state: np.ndarray) -> np.ndarray:
        scores = np.full(self._game.num_actions, -np.inf)
        for action, child in self._children(state):
            if child[STATUS] != ONGOING:
                result = outcome(child) * (1 if state[TO_MOVE] == 0 else -1)
                scores[action] = result * self._game.max_moves
                continue
            best = self.positions[child.tobytes()].max()
            # A pass or an extra move can leave the same side to move.
            mine = best if child[TO_MOVE] == state[TO_MOVE] else -best
            scores[action] = mine - np.sign(mine)  # one move further away
        return scores


def solver_for(game: Game) -> Solver:
    """The solver of a game. Raises SolverError, one sentence, when there is none or its package is missing."""
    if game.env_id == "connect_four":
        return ConnectFourSolver()
    return ExactSolver(game)
