"""Golden games: every move of a game drawn in text. Write one anew with

    python tests/envs/playthrough.py connect_four 3 2 2 ... > tests/envs/golden/connect_four_NAME.txt

and read the drawing before keeping it: the file is the truth that rules are tested against.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from envs import make
from envs.game import Game

STATUS_NAMES = ("ongoing", "first player won", "second player won", "draw")


def draw(game: Game, moves: Sequence[int]) -> str:
    """The whole game as text: moves on the first line, then header, legal actions and board after each move."""
    state = game.initial_state()
    parts = [f"{game.env_id}: {' '.join(map(str, moves))}\n", _position(game, state)]
    for move in moves:
        player = "XO"[state[0]]
        state = game.after(state, move)
        parts.append(f"{player} plays {move}\n{_position(game, state)}")
    return "\n".join(parts)


def _position(game: Game, state: np.ndarray) -> str:
    to_move, status, ply = state[:3]
    legal = " ".join(map(str, np.flatnonzero(game.legal_mask(state)))) or "none"
    return f"ply {ply}, {'XO'[to_move]} to move, {STATUS_NAMES[status]}, legal {legal}\n{game.render(state)}\n"


if __name__ == "__main__":
    print(draw(make(sys.argv[1]), [int(move) for move in sys.argv[2:]]), end="")
