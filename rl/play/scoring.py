"""Which stones of a Go position are dead, and the score without them, as people count a finished game.

The rules of the game know no dead stones: what stands is alive (Tromp and Taylor). A network with an ownership head can
tell what would be taken off if the game went on.
"""

from __future__ import annotations

import numpy as np

from envs.game import TO_MOVE, Game

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


def regions(board: np.ndarray) -> list[list[tuple[int, int]]]:
    """Connected points of one kind, (row, column): chains and empty regions."""
    seen = board == OUTSIDE
    found = []
    for start in zip(*np.nonzero(~seen), strict=True):
        if seen[start]:
            continue
        seen[start] = True
        region = [(int(start[0]), int(start[1]))]
        for row, column in region:  # grows while it is walked
            for beside in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                inside = 0 <= beside[0] < board.shape[0] and 0 <= beside[1] < board.shape[1]
                if inside and not seen[beside] and board[beside] == board[start]:
                    seen[beside] = True
                    region.append(beside)
        found.append(region)
    return found


def chains(board: np.ndarray) -> list[list[tuple[int, int]]]:
    return [region for region in regions(board) if board[region[0]] in (1, -1)]


def dead_chains(board: np.ndarray, ownership: np.ndarray | None) -> list[list[tuple[int, int]]]:
    """Chains on points that will be the other side's by ``ownership`` [H·W]; none without it."""
    if ownership is None:
        return []
    owners = ownership.reshape(board.shape)
    return [c for c in chains(board) if np.mean([owners[p] * board[p] for p in c]) < DEAD]


def area(board: np.ndarray) -> int:
    """Stones and the empty points that reach one colour alone, of the first player less the second's."""
    total = 0
    for region in regions(board):
        colours = {int(board[region[0]])}
        if colours == {0}:
            around = np.zeros(board.shape, bool)
            for row, column in region:
                around[max(row - 1, 0) : row + 2, column] = True
                around[row, max(column - 1, 0) : column + 2] = True
            colours = {int(c) for c in board[around]} - {0, OUTSIDE}
        if len(colours) == 1:
            total += colours.pop() * len(region)
    return total
