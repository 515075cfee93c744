"""Hex on any rhombus from 3×3 to 19×19. Actions are cells row-major from the top left, then (with ``swap``) the swap.

The first player ("X") connects the top row with the bottom row, the second ("O") the left column with the right one.
Cell (r, c) touches (r, c±1), (r±1, c), (r-1, c+1) and (r+1, c-1). There are no draws.

``swap`` is the pie rule by which pieces are swapped: instead of a first move, the second player may take over the stone
on the board, mirrored over the long diagonal so that it means for them what it meant for the opponent; edges stay.

Connections are kept in a union-find structure (Tarjan 1975), one word a cell: 0 when empty, else its parent and, at a
root, which of the player's two edges the chain touches. The player wins whose chain touches both.
"""

from __future__ import annotations

import numpy as np
from numba import int64, njit, uint32

from envs.game import (
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
from envs.stream import draw_below

SIZE, SWAP, OCCUPIED = HEADER, HEADER + 1, HEADER + 2  # OCCUPIED: a bit for every cell in the order of actions
CELLS = OCCUPIED + 6
# A cell's word: who has a stone there (1, 2), the edges touched, and the index of the parent cell in the state vector.
PLAYER, EDGES, NEAR, FAR, PARENT = 3, 12, 4, 8, 4
SIZES = range(3, 20)
LETTERS = "abcdefghijklmnopqrs"

COMPILED_IN = "feaf9c58c3580108"  # of other files: see rl/search/kernels.py


@njit
def root_of(state, cell):
    parent = state[cell] >> PARENT
    while parent != cell:
        cell = parent
        parent = state[cell] >> PARENT
    return cell


@njit
def index_of(row, column, size):
    """Index of a cell in the state vector: the board has a border, whose words stay 0."""
    return CELLS + (row + 1) * (size + 2) + column + 1


@njit
def put_stone(state, row, column, player):
    """Place a stone of ``player`` (1, 2) and join its neighbours; returns the edges that its chain touches."""
    size = state[SIZE]
    width = size + 2
    along = row if player == 1 else column
    edges = (NEAR if along == 0 else 0) | (FAR if along == size - 1 else 0)
    cell = index_of(row, column, size)
    top = cell  # root of the chain that the stone belongs to
    state[top] = (top << PARENT) | player
    # Around a cell, each neighbour touches the next: where both are the player's, they are one chain already.
    before = state[cell + width - 1] & PLAYER == player
    around = 0
    for offset in (-1, -width, 1 - width, 1, width, width - 1):
        own = state[cell + offset] & PLAYER == player
        around += own
        if own and (not before or around == 6):
            root = root_of(state, cell + offset)
            if root != top:  # what the new stone has joined goes below the next chain, so that paths stay short
                edges |= state[root] & EDGES
                state[top] = (root << PARENT) | player
                top = root
        before = own
    state[top] |= edges
    return edges


@njit(INIT, cache=True)
def init(state, params):
    state[:] = 0
    state[SIZE], state[SWAP] = params


@njit
def is_empty(state, cell):
    return (state[OCCUPIED + (cell >> 6)] >> (cell & 63)) & 1 == 0


@njit(PICK, cache=True)
def pick(state, stream):
    cells = state[SIZE] * state[SIZE]
    if state[SWAP] == 1 and state[PLY] == 1:
        action = draw_below(stream, cells)  # the swap in place of the cell that is taken
        return action if is_empty(state, action) else cells
    while True:
        action = draw_below(stream, cells)
        if is_empty(state, action):
            return action


@njit(LEGAL, cache=True)
def legal(state, mask):
    size = state[SIZE]
    for row in range(size):
        for column in range(size):
            mask[row * size + column] = is_empty(state, row * size + column)
    if state[SWAP] == 1:
        mask[size * size] = state[PLY] == 1


@njit
def take_stone(state):
    """Remove the only stone on the board; returns its row and column."""
    size = state[SIZE]
    for row in range(size):
        for column in range(size):
            if state[index_of(row, column, size)] != 0:
                state[index_of(row, column, size)] = 0
                state[OCCUPIED : OCCUPIED + 6] = 0
                return row, column
    return 0, 0


@njit(PLAY, cache=True)
def play(state, action):
    size, mover = state[SIZE], state[TO_MOVE]
    row = int64(uint32(action) // uint32(size))  # of 64 bits, a division takes several times as long
    column = action - row * size
    if action == size * size:
        column, row = take_stone(state)
    cell = row * size + column
    state[OCCUPIED + (cell >> 6)] |= 1 << (cell & 63)
    edges = put_stone(state, row, column, mover + 1)
    state[TO_MOVE] = 1 - mover
    state[PLY] += 1
    state[STATUS] = FIRST_WON + mover if edges == EDGES else ONGOING


@njit(PLANES, cache=True)
def planes(state, out):
    size, mover = state[SIZE], state[TO_MOVE]
    for row in range(size):
        for column in range(size):
            stone = state[index_of(row, column, size)] & PLAYER
            top_or_bottom = row in (0, size - 1)
            left_or_right = column in (0, size - 1)
            out[0, row, column] = stone == mover + 1
            out[1, row, column] = stone == 2 - mover
            out[2, row, column] = top_or_bottom if mover == 0 else left_or_right
            out[3, row, column] = left_or_right if mover == 0 else top_or_bottom
            out[4, row, column] = 1.0
            out[5, row, column] = 1.0 - mover
            out[6, row, column] = state[SWAP] == 1 and state[PLY] == 1


def render(state: np.ndarray) -> str:
    size = int(state[SIZE])
    lines = ["  " + " ".join(LETTERS[:size])]
    for row in range(size):
        cells = [".XO"[state[index_of(row, column, size)] & PLAYER] for column in range(size)]
        lines.append(f"{' ' * row}{row + 1:2d} {' '.join(cells)} {row + 1}")
    return "\n".join([*lines, " " * (size + 2) + " ".join(LETTERS[:size])])


def hex_game(size: int = 7, swap: bool = True) -> Game:
    """Hex on ``size`` × ``size`` cells. Raises ValueError for a size out of range."""
    if size not in SIZES:
        raise ValueError(f"hex is played on 3 to 19 lines, not {size}")
    if swap not in (True, False):
        raise ValueError(f"hex: swap={swap!r} must be true or false")
    cells = np.arange(size * size)
    symmetries = np.stack([cells, cells[::-1]])  # half a turn; the reflections exchange the players' edges
    names = tuple(f"{LETTERS[i % size]}{i // size + 1}" for i in range(size * size))
    return Game(
        env_id=f"hex{size}",
        title=f"Hex {size}×{size}",
        board_shape=(size, size),
        num_planes=7,
        num_actions=size * size + swap,
        state_size=CELLS + (size + 2) ** 2,
        max_moves=size * size + swap,
        init=init,
        legal=legal,
        play=play,
        planes=planes,
        pick=pick,
        render=render,
        plane_names=(
            "stones of the side to move",
            "stones of the other side",
            "edges of the side to move",
            "edges of the other side",
            "ones: the board, as padding is zeros",
            "ones when the first player is to move",
            "ones when the second player may swap",
        ),
        action_layout="points",
        params=(size, int(swap)),
        point_symmetries=symmetries,
        action_symmetries=np.hstack([symmetries, np.full((2, 1), size * size)]) if swap else symmetries,
        action_names=(*names, "swap") if swap else names,
    )
