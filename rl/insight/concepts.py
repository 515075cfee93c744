"""What is known of a position for certain, to ask whether a network knows it: labels for probing classifiers.

Connect Four: threats are empty cells that would complete four stones in a line. A threat on an odd row (counted from 1
at the bottom) serves the first player in the end of the game, one on an even row the second player (Allis 1988, §3.3).
Go: see ``go_concepts.py``. Concepts about points are asked of the points to which they apply.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from envs.connect_four import COLUMNS, ROWS
from envs.game import TO_MOVE, Game
from rl.insight.positions import Positions
from rl.insight.questions import InsightError, stones

NOT_ASKED = -1  # a label where the concept does not apply


@dataclass(frozen=True)
class Concept:
    name: str
    about: Literal["position", "point"]
    meaning: str
    label: Callable[[Game, Positions], np.ndarray]  # → int8 [N] or [N, H·W]: 1, 0 or NOT_ASKED


def concepts_of(game: Game) -> tuple[Concept, ...]:
    """The concepts whose labels are known in this game. Raises InsightError where there are none."""
    if game.env_id == "connect_four":
        return CONNECT_FOUR
    if game.env_id.startswith("go") and game.territory is not None and len(game.plane_names) > 2:
        from rl.insight.go_concepts import GO

        return GO
    raise InsightError(
        f"no concepts with known labels are declared for {game.env_id}; there are some of Connect Four and Go"
    )


def _lines() -> np.ndarray:
    """Every line of four cells, [69, 4] int64, cells row-major from the top left."""
    lines = []
    for row in range(ROWS):
        for column in range(COLUMNS):
            for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
                cells = [(row + i * down, column + i * right) for i in range(4)]
                if all(0 <= r < ROWS and 0 <= c < COLUMNS for r, c in cells):
                    lines.append([r * COLUMNS + c for r, c in cells])
    return np.array(lines)


LINES = _lines()
EMPTY_BELOW = np.arange(ROWS * COLUMNS) // COLUMNS < ROWS - 1  # cells that stand on another one
ODD_ROW = (ROWS - np.arange(ROWS * COLUMNS) // COLUMNS) % 2 == 1


def boards(game: Game, states: np.ndarray) -> np.ndarray:
    """[N, H·W] int8: 1 the first player's stone, -1 the second's, 0 empty."""
    return np.stack([stones(game, state).reshape(-1) for state in states])


def threats(board: np.ndarray, player: int) -> np.ndarray:
    """[N, 42] bool: empty cells of Connect Four boards [N, 42] in which ``player`` (1 or -1) would complete four."""
    cells = board[:, LINES]  # [N, 69, 4]
    open_lines = ((cells == player).sum(2) == 3) & ((cells == 0).sum(2) == 1)
    found = np.zeros(board.shape, bool)
    for i in range(4):
        rows, lines = np.nonzero(open_lines & (cells[:, :, i] == 0))
        found[rows, LINES[lines, i]] = True
    return found


def playable(board: np.ndarray) -> np.ndarray:
    """[N, 42] bool: cells into which a stone would fall now."""
    empty = board == 0
    below = np.ones_like(empty)
    below[:, EMPTY_BELOW] = ~empty[:, np.flatnonzero(EMPTY_BELOW) + COLUMNS]
    return empty & below


def _movers(positions: Positions) -> np.ndarray:
    return np.where(positions.states[:, TO_MOVE] == 0, 1, -1)


def _threats_of(board: np.ndarray, players: np.ndarray) -> np.ndarray:
    return np.where(players[:, None] == 1, threats(board, 1), threats(board, -1))


def _wins_at_once(game: Game, positions: Positions) -> np.ndarray:
    board = boards(game, positions.states)
    return (_threats_of(board, _movers(positions)) & playable(board)).any(1).astype(np.int8)


def _must_block(game: Game, positions: Positions) -> np.ndarray:
    board = boards(game, positions.states)
    return (_threats_of(board, -_movers(positions)) & playable(board)).any(1).astype(np.int8)


def _odd_threat(game: Game, positions: Positions) -> np.ndarray:
    board = boards(game, positions.states)
    return (threats(board, 1) & ODD_ROW & ~playable(board)).any(1).astype(np.int8)


def _even_threat(game: Game, positions: Positions) -> np.ndarray:
    board = boards(game, positions.states)
    return (threats(board, -1) & ~ODD_ROW & ~playable(board)).any(1).astype(np.int8)


def _point_threats(side: int) -> Callable[[Game, Positions], np.ndarray]:
    def label(game: Game, positions: Positions) -> np.ndarray:
        board = boards(game, positions.states)
        return np.where(board == 0, _threats_of(board, side * _movers(positions)), NOT_ASKED).astype(np.int8)

    return label


def _winning(game: Game, positions: Positions) -> np.ndarray:
    if positions.values is None:
        return np.full(len(positions.states), NOT_ASKED, np.int8)
    return (positions.values == 1).astype(np.int8)


CONNECT_FOUR = (
    Concept("own threat", "point", "a stone of the side to move here would complete four", _point_threats(1)),
    Concept("their threat", "point", "a stone of the other side here would complete four", _point_threats(-1)),
    Concept("wins at once", "position", "the side to move can complete four now", _wins_at_once),
    Concept("must block", "position", "the other side threatens to complete four at once", _must_block),
    Concept("odd threat", "position", "the first player has a threat on an odd row, not yet playable", _odd_threat),
    Concept("even threat", "position", "the second player has a threat on an even row, not yet playable", _even_threat),
    Concept("won", "position", "the side to move wins with best play (solver)", _winning),
)
