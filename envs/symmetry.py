"""Board symmetries as index arrays, in the convention of :class:`envs.game.Game`."""

from __future__ import annotations

import numpy as np


def square(size: int) -> np.ndarray:
    """The eight symmetries of a square board, the identity first: [8, size·size] int64."""
    board = np.arange(size * size).reshape(size, size)
    turned = [np.rot90(board, k) for k in range(4)]
    return np.stack([b.ravel() for b in turned + [np.fliplr(b) for b in turned]])


def mirror(height: int, width: int) -> np.ndarray:
    """Identity and left-right mirror: [2, height·width] int64."""
    board = np.arange(height * width).reshape(height, width)
    return np.stack([board.ravel(), board[:, ::-1].ravel()])
