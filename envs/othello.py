"""Othello on 8×8. Actions are cells row-major from the top left, then the pass, legal only where no disc can be placed.

A disc must flank at least one line of the other side's discs, all of which it turns. The game ends when neither side
can place one; the player with more discs wins. The first player is Black ("X").

Bitboards: bit 8·row + column. All cells in one direction are looked at together: discs of the other side next to own
ones are followed for up to six steps by shifting the whole board ("dumb7fill").
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
    PLANES,
    PLAY,
    PLY,
    SECOND_WON,
    STATUS,
    TO_MOVE,
    Game,
)
from envs.symmetry import square

SIZE = 8
CELLS = SIZE * SIZE
PASS = CELLS
FIRST, SECOND = HEADER, HEADER + 1  # bitboards of the two players
DIRECTIONS = 8
NOT_LEFT, NOT_RIGHT = uint64(0xFEFEFEFEFEFEFEFE), uint64(0x7F7F7F7F7F7F7F7F)  # cells reached by a step right, left
ALL = uint64(0xFFFFFFFFFFFFFFFF)
STARTING = {27: 1, 36: 1, 28: 0, 35: 0}  # cell: player


@njit
def step(board, direction):
    """All bits moved by one cell; what leaves the board is gone."""
    if direction == 0:
        return (board << uint64(1)) & NOT_LEFT
    if direction == 1:
        return (board >> uint64(1)) & NOT_RIGHT
    if direction == 2:
        return board << uint64(8)
    if direction == 3:
        return board >> uint64(8)
    if direction == 4:
        return (board << uint64(9)) & NOT_LEFT
    if direction == 5:
        return (board >> uint64(9)) & NOT_RIGHT
    if direction == 6:
        return (board << uint64(7)) & NOT_RIGHT
    return (board >> uint64(7)) & NOT_LEFT


@njit
def line(start, other, direction):
    """Discs of the other side that follow each other from ``start`` on."""
    found = step(start, direction) & other
    for _ in range(SIZE - 3):
        found |= step(found, direction) & other
    return found


@njit
def placements(own, other):
    """Cells in which the side with discs ``own`` can place one."""
    free = ~(own | other)
    found = uint64(0)
    for direction in range(DIRECTIONS):
        found |= step(line(own, other, direction), direction) & free
    return found


@njit
def turned_discs(cell, own, other):
    """Discs that a placement turns."""
    total = uint64(0)
    for direction in range(DIRECTIONS):
        found = line(cell, other, direction)
        if step(found, direction) & own:
            total |= found
    return total


@njit
def count(board):
    total = 0
    while board:
        board &= board - uint64(1)
        total += 1
    return total


@njit(INIT, cache=True)
def init(state, params):
    state[:] = 0
    state[FIRST] = (1 << 28) | (1 << 35)
    state[SECOND] = (1 << 27) | (1 << 36)


@njit(LEGAL, cache=True)
def legal(state, mask):
    cells = placements(uint64(state[FIRST + state[TO_MOVE]]), uint64(state[SECOND - state[TO_MOVE]]))
    for cell in range(CELLS):
        mask[cell] = (cells >> uint64(cell)) & uint64(1)
    mask[PASS] = cells == uint64(0)


@njit(PLAY, cache=True)
def play(state, action):
    mover = state[TO_MOVE]
    own, other = uint64(state[FIRST + mover]), uint64(state[SECOND - mover])
    if action != PASS:
        cell = uint64(1) << uint64(action)
        turned = turned_discs(cell, own, other)
        own |= turned | cell
        other &= ~turned
        state[FIRST + mover], state[SECOND - mover] = int64(own), int64(other)
    state[TO_MOVE] = 1 - mover
    state[PLY] += 1
    # After a pass the other side can place a disc, or the game would have ended before.
    if action != PASS and placements(other, own) == uint64(0) and placements(own, other) == uint64(0):
        margin = count(uint64(state[FIRST])) - count(uint64(state[SECOND]))
        state[STATUS] = FIRST_WON if margin > 0 else SECOND_WON if margin < 0 else DRAW
    else:
        state[STATUS] = ONGOING


@njit(PLANES, cache=True)
def planes(state, out):
    own, other = uint64(state[FIRST + state[TO_MOVE]]), uint64(state[SECOND - state[TO_MOVE]])
    cells = placements(own, other)
    for row in range(SIZE):
        for column in range(SIZE):
            bit = uint64(SIZE * row + column)
            out[0, row, column] = (own >> bit) & uint64(1)
            out[1, row, column] = (other >> bit) & uint64(1)
            out[2, row, column] = (cells >> bit) & uint64(1)
            out[3, row, column] = 1.0
            out[4, row, column] = 1.0 - state[TO_MOVE]


def render(state: np.ndarray) -> str:
    letters = "  a b c d e f g h"
    first, second = (int(x) & int(ALL) for x in state[FIRST : SECOND + 1])
    lines = [letters]
    for row in range(SIZE):
        bits = range(SIZE * row, SIZE * row + SIZE)
        cells = " ".join("X" if first >> b & 1 else "O" if second >> b & 1 else "." for b in bits)
        lines.append(f"{row + 1} {cells} {row + 1}")
    return "\n".join([*lines, letters])


def othello() -> Game:
    start = np.full(CELLS, -1)
    for cell, player in STARTING.items():
        start[cell] = player
    # The others turn the starting discs into each other, and play does not commute with them.
    symmetries = np.stack([s for s in square(SIZE) if (start[s] == start).all()])
    return Game(
        env_id="othello",
        title="Othello",
        board_shape=(SIZE, SIZE),
        num_planes=5,
        num_actions=CELLS + 1,
        state_size=HEADER + 2,
        max_moves=2 * CELLS,
        init=init,
        legal=legal,
        play=play,
        planes=planes,
        render=render,
        plane_names=(
            "discs of the side to move",
            "discs of the other side",
            "cells in which a disc can be placed",
            "ones: the board, as padding is zeros",
            "ones when the first player is to move",
        ),
        action_layout="points",
        point_symmetries=symmetries,
        action_symmetries=np.hstack([symmetries, np.full((len(symmetries), 1), PASS)]),
        action_names=(*(f"{'abcdefgh'[i % SIZE]}{i // SIZE + 1}" for i in range(CELLS)), "pass"),
    )
