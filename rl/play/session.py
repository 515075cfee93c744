"""A game with a person or an agent in each seat: shared by the terminal and the web page. No input or output."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.game import DRAW, FIRST_WON, ONGOING, STATUS, TO_MOVE, Game
from rl.play.engine import RESIGN, Choice, Engine


class Session:
    """One game. ``seats`` of the first and the second player hold the engine that plays there, or None for a person."""

    def __init__(self, game: Game, seats: Sequence[Engine | None]) -> None:
        self.game = game
        self.seats = list(seats)
        self.new_game()

    def new_game(self) -> None:
        self.moves: list[int] = []
        self.movers: list[int] = []  # whose move each of them was, 0 or 1
        self.state = self.game.initial_state()
        self.resigned: int | None = None  # the side that gave up

    @property
    def side(self) -> int:
        """Whose turn it is, 0 or 1; where the game is over, nobody's."""
        return int(self.state[TO_MOVE])

    @property
    def over(self) -> bool:
        return self.resigned is not None or bool(self.state[STATUS] != ONGOING)

    @property
    def winner(self) -> int | None:
        """0 or 1; None while the game goes on, and after a draw."""
        if self.resigned is not None:
            return 1 - self.resigned
        if self.state[STATUS] in (ONGOING, DRAW):
            return None
        return 0 if self.state[STATUS] == FIRST_WON else 1

    @property
    def engine(self) -> Engine | None:
        """Who is to think now; None when a person is to move or the game is over."""
        return None if self.over else self.seats[self.side]

    @property
    def person_to_move(self) -> bool:
        return not self.over and self.seats[self.side] is None

    def named(self, text: str) -> int:
        """The action of this name. Raises ValueError when there is none."""
        names = [name.lower() for name in self.game.action_names]
        if text.lower() not in names:
            mask = self.game.legal_mask(self.state)
            legal = ", ".join(self.game.action_names[int(a)] for a in np.flatnonzero(mask))
            raise ValueError(f"{text!r} is neither a move nor a command; legal moves are: {legal}")
        return names.index(text.lower())

    def play(self, action: int) -> None:
        """A move of the side whose turn it is. Raises ValueError when it is illegal or the game is over."""
        if self.resigned is not None:
            raise ValueError("the game is over: one side has resigned")
        state = self.game.after(self.state, action)
        self.movers.append(self.side)
        self.moves.append(action)
        self.state = state

    def take(self, choice: Choice) -> None:
        """What the engine whose turn it is has chosen: it moves or resigns."""
        if choice.action == RESIGN:
            self.resigned = self.side
        else:
            self.play(choice.action)

    def reply(self) -> Choice:
        """The engine whose turn it is thinks, and moves or resigns; what it thought comes back."""
        engine = self.engine
        assert engine is not None, "somebody must be there to think"
        engine.go_to(self.moves)
        choice = engine.choose()
        self.take(choice)
        return choice

    def go_to(self, ply: int) -> None:
        """Take back all moves from the one of this number on (0: the first)."""
        self.resigned = None
        self.moves, self.movers = self.moves[:ply], self.movers[:ply]
        self.state = self.game.replay(self.moves)

    def last_choice(self) -> int | None:
        """The number of the move that undo goes back to: a person's latest, or where none sits here the latest of all.

        None when there is no such move.
        """
        mine = [ply for ply, side in enumerate(self.movers) if self.seats[side] is None]
        if not mine and None not in self.seats:
            mine = list(range(len(self.moves)))
        return mine[-1] if mine else None

    def undo(self) -> bool:
        """Back to the person's latest choice; False when there is none to take back."""
        ply = self.last_choice()
        if ply is None:
            return False
        self.go_to(ply)
        return True
