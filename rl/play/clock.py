"""A game's clock, as GTP and the KGS server set it, and how much of it a move may take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

RESERVE = 0.05  # of a move's share, kept back
LAG = 0.2  # seconds a move that pass unseen: the client, the wire, the last batch of a search
GAME_LENGTH = 0.75  # moves of a game for each board point
LEAST_LEFT = 1 / 12  # moves of one's own still to come for each board point, at least

Kind = Literal["none", "absolute", "canadian", "byoyomi"]


@dataclass
class Clock:
    """Time of both sides (0 the first player's, 1 the second's), in seconds.

    After ``main`` seconds, "absolute" ends; "canadian" goes on with periods of ``period`` seconds, in each of which
    ``count`` moves are to be made; "byoyomi" with ``count`` periods, of which one is lost when a move takes it whole.
    """

    kind: Kind = "none"
    main: float = 0.0
    period: float = 0.0
    count: int = 0
    left: list[float] = field(default_factory=list, init=False)  # of the main time or of the period
    counts: list[int] = field(default_factory=list, init=False)  # moves or periods left; 0 in the main time

    def __post_init__(self) -> None:
        """Raises ValueError for a time below 0, or overtime without moves or periods."""
        if not (0 <= self.main < float("inf") and 0 <= self.period < float("inf") and self.count >= 0):
            raise ValueError("times must be finite and not negative")
        if self.kind in ("canadian", "byoyomi") and not (self.period > 0 and self.count > 0):
            raise ValueError("overtime needs a period above 0 and a number of moves or periods")
        self.reset()

    def reset(self) -> None:
        """Both clocks as at the beginning of a game."""
        self.left, self.counts = [self.main] * 2, [0, 0]
        for side in (0, 1):
            if self.main == 0 and self.kind in ("canadian", "byoyomi"):
                self.left[side], self.counts[side] = self.period, self.count

    def set_left(self, side: int, seconds: float, count: int) -> None:
        """What the referee's clock shows; ``count`` moves or periods are left, 0: it is the main time.

        Raises ValueError when it shows no time at all; one that is overdrawn counts as 0.
        """
        if not (seconds < float("inf") and count >= 0):
            raise ValueError(f"a clock cannot show {seconds} seconds and {count} moves or periods")
        self.left[side], self.counts[side] = max(0.0, seconds), count

    def allotted(self, side: int, points: int, ply: int) -> float | None:
        """Seconds for the next move of ``side`` on a board of ``points`` after ``ply`` moves; None: no limit.

        Main time is shared equally among the moves that are likely to come, and overtime's share of one move is spent
        too, as it comes again. From that go RESERVE and LAG: where little is left the answer is 0, play at once.
        """
        if self.kind == "none":
            return None
        left, count = self.left[side], self.counts[side]
        if count and self.kind != "absolute":
            share = left / count if self.kind == "canadian" else left
        else:
            to_come = max(1.0, (GAME_LENGTH * points - ply) / 2, LEAST_LEFT * points)
            each = {"canadian": self.period / max(self.count, 1), "byoyomi": self.period}.get(self.kind, 0.0)
            share = left / to_come + each
        return max(0.0, share * (1 - RESERVE) - LAG)

    def spend(self, side: int, seconds: float) -> None:
        """A move of ``side`` took so long. A referee that tells the time later has the last word."""
        if self.kind == "none":
            return
        left, count = self.left[side] - seconds, self.counts[side]
        while left < 0 and self.kind != "absolute" and count != 1:
            # Main time runs over into overtime; byo-yomi then loses a period at a time, Canadian overtime the game.
            if count and self.kind == "canadian":
                break
            count = count - 1 if count else self.count
            left += self.period
        if count and self.kind == "byoyomi":
            left = self.period
        elif count and self.kind == "canadian":
            count -= 1
            if not count:
                left, count = self.period, self.count
        self.left[side], self.counts[side] = max(0.0, left), count
