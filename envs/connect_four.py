"""Connect Four on 6 rows × 7 columns. Actions are columns, 0 at the left.

Bitboards after Tromp's layout: seven bits a column, bit 0 of a column at the bottom, the seventh always
empty so that lines do not wrap.
"""

from __future__ import annotations

import numpy as np
from numba import int64, njit

from envs.game import (
    DRAW,
    FIRST_WON,
    HEADER,
    INIT,
    LEGAL,
    ONGOING,
    PLANES,
    PLAY,
    PLY,
    STATUS,
    TO_MOVE,
    Game,
)
from envs.symmetry import mirror

ROWS, COLUMNS, STRIDE = 6, 7, 7
FIRST, SECOND = HEADER, HEADER + 1  # bitboards of the two players


@njit(INIT, cache=True)
def init(state, params):
    state[:] = 0


@njit(LEGAL, cache=True)
def legal(state, mask):
    stones = state[FIRST] | state[SECOND]
    for column in range(COLUMNS):
        mask[column] = (stones >> (column * STRIDE + ROWS - 1)) & 1 == 0


@njit("boolean(int64)", cache=True, inline="always")
def has_four(stones):
    for step in (1, STRIDE, STRIDE - 1, STRIDE + 1):
        pairs = stones & (stones >> step)
        if pairs & (pairs >> (2 * step)):
            return True
    return False


@njit(PLAY, cache=True)
def play(state, action):
    mover = state[TO_MOVE]
    stones = state[FIRST] | state[SECOND]
    bottom = int64(1) << (action * STRIDE)
    column = ((int64(1) << ROWS) - 1) << (action * STRIDE)
    # Adding the bottom bit carries through the filled cells and stops at the lowest empty one.
    state[FIRST + mover] |= (stones + bottom) & column
    state[TO_MOVE] = 1 - mover
    state[PLY] += 1
    if has_four(state[FIRST + mover]):
        state[STATUS] = FIRST_WON + mover
    elif state[PLY] == ROWS * COLUMNS:
        state[STATUS] = DRAW
    else:
        state[STATUS] = ONGOING


@njit(PLANES, cache=True)
def planes(state, out):
    own = state[FIRST + state[TO_MOVE]]
    other = state[SECOND - state[TO_MOVE]]
    for row in range(ROWS):
        for column in range(COLUMNS):
            bit = column * STRIDE + ROWS - 1 - row
            out[0, row, column] = (own >> bit) & 1
            out[1, row, column] = (other >> bit) & 1
            # Parity of the row decides zugzwang endings, and a convolution cannot count rows by itself.
            out[2, row, column] = (ROWS - row) & 1
            out[3, row, column] = 1.0 - state[TO_MOVE]


def render(state: np.ndarray) -> str:
    lines = []
    for row in range(ROWS):
        bits = [column * STRIDE + ROWS - 1 - row for column in range(COLUMNS)]
        lines.append(" ".join("X" if state[FIRST] >> b & 1 else "O" if state[SECOND] >> b & 1 else "." for b in bits))
    return "\n".join([*lines, " ".join(str(c) for c in range(COLUMNS))])


def connect_four() -> Game:
    return Game(
        env_id="connect_four",
        title="Connect Four",
        board_shape=(ROWS, COLUMNS),
        num_planes=4,
        num_actions=COLUMNS,
        state_size=HEADER + 2,
        max_moves=ROWS * COLUMNS,
        init=init,
        legal=legal,
        play=play,
        planes=planes,
        render=render,
        plane_names=(
            "stones of the side to move",
            "stones of the other side",
            "odd rows counted from the bottom",
            "ones when the first player is to move",
        ),
        action_layout="columns",
        point_symmetries=mirror(ROWS, COLUMNS),
        action_symmetries=mirror(1, COLUMNS),
    )
