"""Tic-tac-toe: three in a row on 3×3. Actions are cells, row-major from the top left."""

from __future__ import annotations

import numpy as np
from numba import njit

from envs.game import (
    DRAW,
    FIRST_WON,
    HEADER,
    INIT,
    LEGAL,
    PLANES,
    PLAY,
    PLY,
    STATUS,
    TO_MOVE,
    Game,
)
from envs.symmetry import square

# state[HEADER + cell]: 0 empty, 1 first player (X), 2 second player (O).


@njit(INIT, cache=True)
def init(state, params):
    state[:] = 0


@njit(LEGAL, cache=True)
def legal(state, mask):
    for cell in range(9):
        mask[cell] = state[HEADER + cell] == 0


@njit(PLAY, cache=True)
def play(state, action):
    board = state[HEADER:]
    mover = state[TO_MOVE]
    board[action] = mover + 1
    row, col = action // 3, action % 3
    across = down = diagonal = anti = True
    for i in range(3):
        across &= board[row * 3 + i] == mover + 1
        down &= board[i * 3 + col] == mover + 1
        diagonal &= board[i * 4] == mover + 1
        anti &= board[2 + i * 2] == mover + 1
    state[TO_MOVE] = 1 - mover
    state[PLY] += 1
    if across or down or diagonal or anti:
        state[STATUS] = FIRST_WON + mover
    elif state[PLY] == 9:
        state[STATUS] = DRAW


@njit(PLANES, cache=True)
def planes(state, out):
    own = state[TO_MOVE] + 1
    for cell in range(9):
        stone = state[HEADER + cell]
        out[0, cell // 3, cell % 3] = stone == own
        out[1, cell // 3, cell % 3] = stone == 3 - own
        out[2, cell // 3, cell % 3] = 1.0


def render(state: np.ndarray) -> str:
    cells = np.array([".", "X", "O"])[state[HEADER:]].reshape(3, 3)
    return "\n".join(" ".join(row) for row in cells)


def tic_tac_toe() -> Game:
    points = square(3)
    return Game(
        env_id="tic_tac_toe",
        title="Tic-tac-toe",
        board_shape=(3, 3),
        num_planes=3,
        num_actions=9,
        state_size=HEADER + 9,
        max_moves=9,
        init=init,
        legal=legal,
        play=play,
        planes=planes,
        render=render,
        plane_names=("stones of the side to move", "stones of the other side", "ones (marks the board's edge)"),
        action_layout="points",
        point_symmetries=points,
        action_symmetries=points,
    )
