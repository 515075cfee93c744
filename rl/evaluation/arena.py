"""Matches between two players: varied openings, each played from both seats, all games advanced together.

The rules are the referee: they say which moves are legal, when a game ends and how it is counted. A player may give a
game up, or be made to (``players.Forfeit``): an engine's illegal move, crash or time-out is its loss, and the match
goes on.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from envs.game import ONGOING, PLY, STATUS, TO_MOVE, Game, outcome
from rl.evaluation.players import EvaluationError, Forfeit, Player
from rl.records import MatchResult
from rl.sgf import SIDES, family

Seats = Literal["both", "first", "second"]
MAX_VARIED_PLIES = 6  # beyond this, random moves decide more of the game than the players do


@dataclass
class MatchGame:
    """One game of a match."""

    a_first: bool  # player a moved first (the opening's random moves included)
    opening: tuple[int, ...]  # random moves that both players were handed
    moves: list[int] = field(default_factory=list)  # all moves, the opening's included
    outcome: int | None = None  # 1 the first player won, 0 draw, -1 the second won; None while it lasts
    ending: str = ""  # how it ended: "played out", "gnugo:10 (white) resigned", ...
    forfeit: Forfeit | None = None  # by the player who lost

    @property
    def failed(self) -> bool:
        """Whether it ended by a fault (an illegal move, a crash, a time-out), not by play or resignation."""
        return self.forfeit is not None and self.forfeit.kind != "resigned"

    @property
    def points(self) -> float:
        """Points of player a in an ended game: 1, ½ or 0."""
        if self.outcome is None:
            raise ValueError("the game has not ended")
        return 0.5 + 0.5 * (self.outcome if self.a_first else -self.outcome)


@dataclass(frozen=True)
class Match:
    """Games of player a against player b, counted for a."""

    games: list[MatchGame]
    a_seconds: float = 0.0  # wall time that a took for its moves, all games together
    a_moves: int = 0

    @property
    def result(self) -> MatchResult:
        return count(self.games)

    @property
    def as_first(self) -> MatchResult:
        """The games in which a moved first."""
        return count([g for g in self.games if g.a_first])

    @property
    def as_second(self) -> MatchResult:
        return count([g for g in self.games if not g.a_first])

    @property
    def distinct(self) -> int:
        """Different games among those played; far fewer than played means an overconfident interval."""
        return len({(g.a_first, *g.moves) for g in self.games})

    def forfeits(self, by_a: bool) -> dict[str, int]:
        """How many games the player gave up or forfeited, by the kind of ``Forfeit``."""
        kinds = [g.forfeit.kind for g in self.games if g.forfeit is not None and (g.points == 0) == by_a]
        return dict(Counter(kinds))


def count(games: Sequence[MatchGame]) -> MatchResult:
    """Wins, draws and losses of player a."""
    points = [g.points for g in games]
    return MatchResult(wins=points.count(1.0), draws=points.count(0.5), losses=points.count(0.0))


def varied_openings(game: Game, number: int, seed: int, plies: int | None = None) -> list[tuple[int, ...]]:
    """Random openings: legal moves from the initial position after which the game goes on.

    ``plies`` is their length; None draws each from 0 to a sixth of the longest game, six at most. The positions
    reached are distinct while the game has enough of them, then they come round again (0 plies: always the initial
    position). Raises EvaluationError when every game ends sooner.
    """
    random = np.random.default_rng(seed)
    longest = max(1, min(MAX_VARIED_PLIES, game.max_moves // 6)) if plies is None else plies
    openings: list[tuple[int, ...]] = []
    seen: set[bytes] = set()
    misses = 0  # draws in a row that gave nothing new
    while len(openings) < number:
        length = int(random.integers(0, longest + 1)) if plies is None else plies
        drawn = _random_opening(game, length, random)
        if drawn is not None and drawn[1] not in seen:
            openings.append(drawn[0])
            seen.add(drawn[1])
            misses = 0
            continue
        misses += 1
        if misses < 100:
            continue
        if plies is None and longest < game.max_moves // 3:
            longest, misses = longest + 1, 0  # positions of this length are used up
            continue
        if not openings:
            raise EvaluationError(f"no random game of {game.env_id} goes on after {length} moves; ask for fewer")
        break
    return [openings[i % len(openings)] for i in range(number)]


def _random_opening(game: Game, length: int, random: np.random.Generator) -> tuple[tuple[int, ...], bytes] | None:
    """Moves and the position that they reach, or None when the game ends on the way."""
    state = game.initial_state()
    moves = []
    for _ in range(length):
        move = int(random.choice(np.flatnonzero(game.legal_mask(state))))
        state = game.after(state, move)
        if state[STATUS] != ONGOING:
            return None
        moves.append(move)
    return tuple(moves), state.tobytes()


def play_match(
    game: Game,
    a: Player,
    b: Player,
    games: int,
    seed: int = 0,
    *,
    openings: Literal["varied"] | int = "varied",
    seats: Seats = "both",
    progress: Callable[[int], None] | None = None,
) -> Match:
    """Play ``games`` games of a against b.

    ``openings`` is "varied" or a number of random plies, 0 for the initial position. With ``seats`` "both", each
    opening is played twice, the second time with the seats swapped, so that it favours nobody; "first" and "second"
    keep player a on one seat. ``progress`` is called with the number of games ended so far.
    Raises EvaluationError when there is no game to play, ValueError when a player returns an illegal move: players of
    ours never should, and engines' moves are checked before they come here.
    """
    if games < 1:
        raise EvaluationError(f"a match needs at least 1 game, not {games}")
    if seats == "both":
        starts = varied_openings(game, (games + 1) // 2, seed, None if openings == "varied" else openings)
        match = [MatchGame(a_first=i % 2 == 0, opening=starts[i // 2]) for i in range(games)]
    else:
        starts = varied_openings(game, games, seed, None if openings == "varied" else openings)
        match = [MatchGame(a_first=seats == "first", opening=start) for start in starts]
    states = []
    for g in match:
        g.moves = list(g.opening)
        states.append(game.replay(g.opening))
    ongoing = list(range(games))
    seconds, asked = 0.0, 0  # of player a
    while ongoing:
        a_turn = [i for i in ongoing if (states[i][TO_MOVE] == 0) == match[i].a_first]
        b_turn = [i for i in ongoing if (states[i][TO_MOVE] == 0) != match[i].a_first]
        for player, rows in ((a, a_turn), (b, b_turn)):
            if not rows:
                continue
            started = time.perf_counter()
            actions = player.actions(np.stack([states[i] for i in rows]), [tuple(match[i].moves) for i in rows])
            if rows is a_turn:
                seconds, asked = seconds + time.perf_counter() - started, asked + len(rows)
            for i, action in zip(rows, actions, strict=True):
                states[i] = _advance(game, match[i], states[i], player, action)
        ended_before = games - len(ongoing)
        ongoing = [i for i in ongoing if match[i].outcome is None]
        if progress is not None and games - len(ongoing) > ended_before:
            progress(games - len(ongoing))
    return Match(match, seconds, asked)


def _advance(game: Game, g: MatchGame, state: np.ndarray, player: Player, action: int | Forfeit) -> np.ndarray:
    """Enter the answer of the player to move into the game; returns the position after it."""
    if isinstance(action, Forfeit):
        mover = int(state[TO_MOVE])
        seat = SIDES[mover] if family(game) else ("first player", "second player")[mover]
        g.forfeit, g.outcome = action, -1 if mover == 0 else 1
        g.ending = f"{player.name} ({seat}) {action.reason}"
        return state
    try:
        state = game.after(state, int(action))
    except ValueError as error:
        raise ValueError(f"player {player.name} broke the rules: {error}") from error
    g.moves.append(int(action))
    assert state[PLY] <= game.max_moves
    if state[STATUS] != ONGOING:
        g.outcome, g.ending = outcome(state), "played out"
    return state
