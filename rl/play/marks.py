"""Where stones stand, read from the text that every game draws of itself: X the first player's, O the second's, . none.

That text is all that a game of a user's own has to give, so it is what the terminal and the web page draw from.
"""

from __future__ import annotations

import re

import numpy as np

from envs.game import Game
from rl.sgf import board_size, family

MARK = re.compile(r"(?<!\S)[XO.](?!\S)")


def shape_of(game: Game) -> tuple[int, int]:
    """Rows and columns of the board that is played on; a smaller board of Go lies in a corner of its array."""
    return (board_size(game),) * 2 if family(game) == "go" else game.board_shape


def places(game: Game, lines: list[str]) -> list[list[int]]:
    """For each line of a rendered position the places of its marks; none in a line that is no row of the board.

    All are empty where the text is no such drawing. A line of coordinates may hold the letters X and O too; a row of
    the board holds as many marks as the board has columns.
    """
    rows, columns = shape_of(game)
    found = [[m.start() for m in MARK.finditer(line)] for line in lines]
    found = [marks if len(marks) == columns else [] for marks in found]
    return found if sum(map(bool, found)) == rows else [[] for _ in lines]


def marks(game: Game, state: np.ndarray) -> list[str] | None:
    """The rows of the board from the top, one character a point; None where the game draws itself in another way."""
    lines = game.render(state).split("\n")
    rows = ["".join(line[i] for i in at) for line, at in zip(lines, places(game, lines), strict=True) if at]
    return rows or None


def placed(before: list[str], after: list[str]) -> tuple[int, int] | None:
    """Row and column of the stone put on an empty point between two positions; turned stones had an owner before.

    None where there is none, or more than one.
    """
    found = [(r, c) for r, row in enumerate(after) for c, mark in enumerate(row) if mark != "." and before[r][c] == "."]
    return found[0] if len(found) == 1 else None
