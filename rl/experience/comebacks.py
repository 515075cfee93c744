"""How low winners' hopes fell: from which value on a game may be given up.

Reads: finished self-play games, all of which are played to their end. AlphaGo Zero (Silver et al. 2017, methods) held
out games for this, and so kept wrong resignations below 5 %; here none are needed, and 1 in 100 is allowed.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from envs.game import TO_MOVE, Game
from rl.experience.targets import replay
from rl.records import GameRecord

GAMES = 1000  # the newest games that count
ENOUGH = 300  # with fewer nothing is said
WRONG = 0.01  # share of games whose winner may have stood lower


class Comebacks:
    """The lowest value that the winner's own searches gave in each of the newest games."""

    def __init__(self, game: Game):
        self.game = game
        self.lows: deque[float] = deque(maxlen=GAMES)

    def add(self, record: GameRecord) -> None:
        """Note a finished game; a drawn one has no winner."""
        if record.outcome == 0:
            return
        winner = 0 if record.outcome == 1 else 1
        mine = replay(self.game, record)[:, TO_MOVE] == winner
        values = (record.wdl[:, 0] - record.wdl[:, 2])[mine]
        self.lows.append(float(values.min(initial=1.0)))

    @property
    def resign_below(self) -> float | None:
        """The value below which a winner stood in 1 of 100 games; None while too few games are known."""
        return float(np.quantile(self.lows, WRONG)) if len(self.lows) >= ENOUGH else None
