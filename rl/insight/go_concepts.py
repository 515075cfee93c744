"""Concepts of Go with known labels: atari, liberties beyond what the planes tell, ladders, ownership.

A ladder is read out, not guessed: the attacker fills one of the chain's two liberties, the defender extends or captures
what gives the chain liberties, and so on until the chain is caught or has three liberties. Ko is left out of account,
and what is read beyond DEPTH moves counts as an escape.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from envs.game import TO_MOVE, Game
from rl.insight.concepts import NOT_ASKED, Concept, boards
from rl.insight.positions import Positions

DEPTH = 80  # plies of a ladder on a board of this size at most
Board = list[int]  # one entry a point, with a border: 1, -1, 0 or BORDER
BORDER = 2


class Reader:
    """A Go board of one position, with captures but no ko: enough to read ladders."""

    def __init__(self, stones: np.ndarray, shape: tuple[int, int]) -> None:
        """``stones`` [H·W]: 1, -1 or 0."""
        height, width = shape
        self.width = width + 2
        self.board: Board = [BORDER] * ((height + 2) * self.width)
        self.points = [(row + 1) * self.width + column + 1 for row in range(height) for column in range(width)]
        for point, colour in zip(self.points, stones.tolist(), strict=True):
            self.board[point] = colour
        self.steps = (-self.width, -1, 1, self.width)

    def chain(self, point: int) -> tuple[set[int], set[int]]:
        """Stones and liberties of the chain at a point."""
        board, colour = self.board, self.board[point]
        stones, liberties, todo = {point}, set(), [point]
        while todo:
            at = todo.pop()
            for step in self.steps:
                beside = at + step
                if board[beside] == 0:
                    liberties.add(beside)
                elif board[beside] == colour and beside not in stones:
                    stones.add(beside)
                    todo.append(beside)
        return stones, liberties

    def play(self, point: int, colour: int) -> list[tuple[int, int]] | None:
        """Play there; returns what to undo, None for suicide or an occupied point (nothing is changed then)."""
        if self.board[point] != 0:
            return None
        changed = [(point, 0)]
        self.board[point] = colour
        for step in self.steps:
            beside = point + step
            if self.board[beside] == -colour:
                stones, liberties = self.chain(beside)
                if not liberties:
                    changed += [(stone, -colour) for stone in stones]
                    for stone in stones:
                        self.board[stone] = 0
        if not self.chain(point)[1]:
            self.undo(changed)
            return None
        return changed

    def undo(self, changed: list[tuple[int, int]]) -> None:
        for point, colour in reversed(changed):
            self.board[point] = colour

    def caught(self, point: int, attacker_moves: bool, depth: int = DEPTH) -> bool:
        """Whether the chain at ``point`` is caught in a ladder, by whose move it is."""
        stones, liberties = self.chain(point)
        if depth == 0 or len(liberties) > 2:
            return False
        colour = self.board[point]
        if attacker_moves:
            if len(liberties) == 1:
                return True
            return any(self._after(liberty, -colour, point, False, depth) for liberty in liberties)
        if len(liberties) == 2:
            return False  # not in atari: it has a move to spare
        # What takes the chain out of atari: its last liberty, or capturing a chain beside it that is in atari itself.
        moves = set(liberties)
        for stone in stones:
            for step in self.steps:
                if self.board[stone + step] == -colour:
                    around = self.chain(stone + step)[1]
                    if len(around) == 1:
                        moves |= around
        return all(self._after(move, colour, point, True, depth) for move in moves)

    def _after(self, move: int, colour: int, point: int, attacker_moves: bool, depth: int) -> bool:
        changed = self.play(move, colour)
        if changed is None:  # a move that cannot be played helps nobody
            return colour == self.board[point]
        caught = self.caught(point, attacker_moves, depth - 1)
        self.undo(changed)
        return caught


def _chains(label: Callable[[Reader, int, set[int], set[int], int], int]) -> Callable[[Game, Positions], np.ndarray]:
    """Labels of stones from a function of (reader, a stone, its chain, its liberties, the side to move)."""

    def labels(game: Game, positions: Positions) -> np.ndarray:
        board = boards(game, positions.states)
        found = np.full(board.shape, NOT_ASKED, np.int8)
        movers = np.where(positions.states[:, TO_MOVE] == 0, 1, -1)
        for row, stones in enumerate(board):
            reader = Reader(stones, game.board_shape)
            index = {point: i for i, point in enumerate(reader.points)}
            for i in np.flatnonzero(stones):
                if found[row, i] != NOT_ASKED:
                    continue
                chain, liberties = reader.chain(reader.points[i])
                value = label(reader, reader.points[i], chain, liberties, int(movers[row]))
                found[row, [index[stone] for stone in chain]] = value
        return found

    return labels


def _ladder(reader: Reader, stone: int, chain: set[int], liberties: set[int], mover: int) -> int:
    """Of chains with one or two liberties: whether a ladder catches them, the side to move beginning."""
    if len(liberties) > 2:
        return NOT_ASKED
    return int(reader.caught(stone, attacker_moves=reader.board[stone] != mover))


def _owned(game: Game, positions: Positions) -> np.ndarray:
    cells = game.board_shape[0] * game.board_shape[1]
    found = np.full((len(positions.states), cells), NOT_ASKED, np.int8)
    if positions.finals is None:
        return found
    ownership = np.zeros(cells, np.int8)
    for row, (state, final) in enumerate(zip(positions.states, positions.finals, strict=True)):
        game.territory(final, ownership)
        mover = 1 if state[TO_MOVE] == 0 else -1
        found[row] = np.where(ownership == 0, NOT_ASKED, ownership == mover)
    return found


GO = (
    Concept(
        "atari", "point", "a stone whose chain has one liberty (a plane tells)", _chains(lambda *a: len(a[3]) == 1)
    ),
    Concept(
        "five liberties", "point", "a stone whose chain has five or more liberties", _chains(lambda *a: len(a[3]) >= 5)
    ),
    Concept(
        "ladder",
        "point",
        "a stone of few liberties that a ladder catches, the side to move beginning",
        _chains(_ladder),
    ),
    Concept("owned", "point", "the side to move owns the point when the game has ended", _owned),
)
