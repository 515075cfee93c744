"""Which stones of a Go position are dead, and the score without them, as people count a finished game.

The rules of the game know no dead stones: what stands is alive (Tromp and Taylor). A network with an ownership head can
tell what would be taken off if the game went on.
"""

from __future__ import annotations

import numpy as np

from envs.game import TO_MOVE, Game
from envs.go import lift

DEAD = -0.5  # mean ownership of a chain's points, in favour of its owner, below which it counts as dead
OUTSIDE = 2  # a point of the array beside a smaller board


def stones(game: Game, state: np.ndarray) -> np.ndarray:
    """The board [H, W] int8: 1 where the first player has a stone, -1 the second, 0 empty, OUTSIDE beside the board."""
    planes = game.encode(state[None])[0]
    board, mine, theirs = (
        planes[game.plane_names.index(name)]
        for name in ("on the board", "stones of the side to move", "stones of the other side")
    )
    sign = 1 if state[TO_MOVE] == 0 else -1
    return np.where(board == 0, OUTSIDE, sign * (mine - theirs)).astype(np.int8)


def chains(board: np.ndarray) -> list[list[tuple[int, int]]]:
    """Connected stones of one colour, (row, column)."""
    seen = (board == OUTSIDE) | (board == 0)
    found = []
    for start in zip(*np.nonzero(~seen), strict=True):
        if seen[start]:
            continue
        seen[start] = True
        chain = [(int(start[0]), int(start[1]))]
        for row, column in chain:  # grows while it is walked
            for beside in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                inside = 0 <= beside[0] < board.shape[0] and 0 <= beside[1] < board.shape[1]
                if inside and not seen[beside] and board[beside] == board[start]:
                    seen[beside] = True
                    chain.append(beside)
        found.append(chain)
    return found


def liberties(board: np.ndarray, chain: list[tuple[int, int]]) -> set[tuple[int, int]]:
    """Empty points (row, column) beside the chain's stones."""
    beside = {(r + dr, c + dc) for r, c in chain for dr, dc in ((-1, 0), (1, 0), (0, -1), (0, 1))}
    height, width = board.shape
    return {(r, c) for r, c in beside if 0 <= r < height and 0 <= c < width and board[r, c] == 0}


def dead_chains(board: np.ndarray, ownership: np.ndarray | None) -> list[list[tuple[int, int]]]:
    """Chains on points that will be the other side's by ``ownership`` [H·W]; none without it."""
    if ownership is None:
        return []
    owners = ownership.reshape(board.shape)
    return [c for c in chains(board) if np.mean([owners[p] * board[p] for p in c]) < DEAD]


def margin(game: Game, state: np.ndarray, dead: list[list[tuple[int, int]]]) -> float:
    """Points by which the first player is ahead, komi included, as the board stands without these chains."""
    points = np.zeros(game.board_shape, np.uint8)
    for row, column in (point for chain in dead for point in chain):
        points[row, column] = 1
    state = state.copy()
    lift(state, points.ravel())
    return float(game.territory(state, np.zeros(points.size, np.int8)))
