"""Positions of finished games, from which other games begin.

Go-Exploit (Trudeau and Bowling 2023, "Targeted Search Control in AlphaZero for Effective Policy Improvement"): games
that begin where earlier ones came by see more of what lies deep in the game, and, being shorter, give more independent
outcomes for the same work.
"""

from __future__ import annotations

import numpy as np

from envs.game import Game
from envs.stream import draw_below, draw_uniform
from rl.records import GameRecord, Tensors

CAPACITY = 1000  # positions; the newest ones, since play gets better


class Archive:
    """One position of each of the last ``CAPACITY`` games of one actor, the newest in the place of the oldest.

    It is drawn uniformly from those in which the game's moves were made, so that it is ongoing, and reached by play
    alone. One a game, since the positions of a game are alike.
    """

    def __init__(self, game: Game, seed: np.random.SeedSequence):
        self.game = game
        self.positions = np.zeros((CAPACITY, game.state_size), np.int64)
        self.added = np.zeros(1, np.int64)  # positions ever
        self.stream = seed.generate_state(1, np.uint64)

    def add(self, record: GameRecord) -> None:
        """Keep a position of a finished game."""
        position = self.positions[self.added[0] % CAPACITY]
        position[:] = record.start
        for action in record.actions[: draw_below(self.stream, len(record.actions))]:
            self.game.play(position, action)
        self.added += 1

    def put(self, openings: np.ndarray, share: float) -> None:
        """Put stored positions, all alike likely, in the place of a ``share`` of the ``openings`` [K, S].

        Nothing happens before the first game has ended.
        """
        held = min(int(self.added[0]), CAPACITY)
        for i in range(len(openings) if held else 0):
            if draw_uniform(self.stream) < share:
                openings[i] = self.positions[draw_below(self.stream, held)]

    def arrays(self) -> Tensors:
        """All of its state, by name; views, so that writing to them restores it."""
        return {"positions": self.positions, "added": self.added, "stream": self.stream}
