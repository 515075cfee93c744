"""Gomoku (five in a row) on any board from 5×5 to 19×19. Actions are points row-major from the top left.

Free style: five or more in a row win. With ``exact``, standard gomoku: exactly five win, a longer row does not. Neither
has renju's forbidden moves. A full board is a draw.

Each row of each player is one word, bit by column.
"""

from __future__ import annotations

import numpy as np
from numba import int64, njit, uint64

from envs.game import (
    DRAW,
    FIRST_WON,
    HEADER,
    INIT,
    LEGAL,
    ONGOING,
    PICK,
    PLANES,
    PLAY,
    PLY,
    STATUS,
    TO_MOVE,
    Game,
)
from envs.stream import draw_bits
from envs.symmetry import square

SIZE, EXACT, ROWS = HEADER, HEADER + 1, HEADER + 2  # ROWS: those of the first player, then those of the second
WINNING = 5
SIZES = range(5, 20)
LETTERS = "abcdefghjklmnopqrst"  # of columns: as on boards of Go, and in GTP, there is no i

COMPILED_IN = "feaf9c58c3580108"  # of other files: see rl/search/kernels.py


@njit(INIT, cache=True)
def init(state, params):
    state[:] = 0
    state[SIZE], state[EXACT] = params


@njit(PICK, cache=True)
def pick(state, stream):
    size = state[SIZE]
    while True:
        # Row and column are drawn apart, each by the upper bits of a product: no division.
        bits = draw_bits(stream)
        row = int64(((bits >> uint64(32)) * uint64(size)) >> uint64(32))
        column = int64(((bits & uint64(0xFFFFFFFF)) * uint64(size)) >> uint64(32))
        if ((state[ROWS + row] | state[ROWS + size + row]) >> column) & 1 == 0:
            return row * size + column


@njit(LEGAL, cache=True)
def legal(state, mask):
    size = state[SIZE]
    for row in range(size):
        stones = state[ROWS + row] | state[ROWS + size + row]
        for column in range(size):
            mask[row * size + column] = (stones >> column) & 1 == 0


@njit
def run_length(state, first, row, column, down, right):
    """Stones in a row beyond (row, column) in one direction; ``first`` is the index of the player's top row."""
    size, length = state[SIZE], 0
    while True:
        row += down
        column += right
        if row < 0 or row >= size or column < 0 or column >= size or (state[first + row] >> column) & 1 == 0:
            return length
        length += 1


@njit
def wins(state, first, row, column):
    """True when the stone at (row, column) has made a winning row."""
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        length = 1 + run_length(state, first, row, column, down, right)
        length += run_length(state, first, row, column, -down, -right)
        if length == WINNING or (length > WINNING and state[EXACT] == 0):
            return True
    return False


@njit(PLAY, cache=True)
def play(state, action):
    size, mover = state[SIZE], state[TO_MOVE]
    row, column = action // size, action % size
    first = ROWS + mover * size
    state[first + row] |= 1 << column
    state[TO_MOVE] = 1 - mover
    state[PLY] += 1
    if wins(state, first, row, column):
        state[STATUS] = FIRST_WON + mover
    elif state[PLY] == size * size:
        state[STATUS] = DRAW
    else:
        state[STATUS] = ONGOING


@njit(PLANES, cache=True)
def planes(state, out):
    size = state[SIZE]
    own, other = ROWS + state[TO_MOVE] * size, ROWS + (1 - state[TO_MOVE]) * size
    for row in range(size):
        for column in range(size):
            out[0, row, column] = (state[own + row] >> column) & 1
            out[1, row, column] = (state[other + row] >> column) & 1
            out[2, row, column] = 1.0
            out[3, row, column] = 1.0 - state[TO_MOVE]
            out[4, row, column] = state[EXACT]


def render(state: np.ndarray) -> str:
    size = int(state[SIZE])
    letters = "   " + " ".join(LETTERS[:size])
    lines = [letters]
    for row in range(size):
        first, second = int(state[ROWS + row]), int(state[ROWS + size + row])
        cells = " ".join("X" if first >> c & 1 else "O" if second >> c & 1 else "." for c in range(size))
        lines.append(f"{size - row:2d} {cells} {size - row}")
    return "\n".join([*lines, letters])


def gomoku(size: int = 9, exact: bool = False) -> Game:
    """Gomoku on ``size`` × ``size`` points. Raises ValueError for a size out of range."""
    if size not in SIZES:
        raise ValueError(f"gomoku is played on 5 to 19 lines, not {size}")
    if exact not in (True, False):
        raise ValueError(f"gomoku: exact={exact!r} must be true or false")
    symmetries = square(size)
    return Game(
        env_id=f"gomoku{size}",
        title=f"{'Standard gomoku' if exact else 'Gomoku'} {size}×{size}",
        board_shape=(size, size),
        num_planes=5,
        num_actions=size * size,
        state_size=ROWS + 2 * size,
        max_moves=size * size,
        init=init,
        legal=legal,
        play=play,
        planes=planes,
        pick=pick,
        render=render,
        plane_names=(
            "stones of the side to move",
            "stones of the other side",
            "ones: the board, as padding is zeros",
            "ones when the first player is to move",
            "ones when only exactly five win",
        ),
        action_layout="points",
        monotone=True,
        params=(size, int(exact)),
        point_symmetries=symmetries,
        action_symmetries=symmetries,
        action_names=tuple(f"{LETTERS[i % size]}{size - i // size}" for i in range(size * size)),
    )
