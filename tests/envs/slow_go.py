"""Go by its definition (Tromp and Taylor's rules), with sets and no speed: what envs/go.py is compared with."""

from __future__ import annotations

from itertools import product

Point = tuple[int, int]
Board = dict[Point, int]  # stones: 0 of the first player, 1 of the second


class SlowGo:
    """One game. Points are (row, column) from the top left; None is the pass."""

    def __init__(self, size: int, komi: float = 7.0, suicide: bool = False) -> None:
        self.size, self.komi, self.suicide = size, komi, suicide
        self.points = list(product(range(size), range(size)))
        self.board: Board = {}
        self.to_move = 0
        self.passes = 0
        self.seen = [dict(self.board)]  # every position of the board so far

    def beside(self, point: Point) -> list[Point]:
        row, column = point
        near = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
        return [p for p in near if p in self.points]

    def region(self, board: Board, start: Point) -> tuple[set[Point], set[int | None]]:
        """The connected points of the same colour (or emptiness) as ``start``, and what colours border on them."""
        colour = board.get(start)
        inside, border, todo = {start}, set(), [start]
        while todo:
            for p in self.beside(todo.pop()):
                if board.get(p) != colour:
                    border.add(board.get(p))
                elif p not in inside:
                    inside.add(p)
                    todo.append(p)
        return inside, border

    def after(self, point: Point) -> Board:
        """The board after a stone at ``point``: first the enemy's chains without liberties go, then the own ones."""
        board = {**self.board, point: self.to_move}
        for colour in (1 - self.to_move, self.to_move):
            for p in [p for p, c in board.items() if c == colour and None not in self.region(board, p)[1]]:
                del board[p]
        return board

    def is_legal(self, point: Point | None) -> bool:
        if point is None:
            return True
        if point in self.board:
            return False
        board = self.after(point)
        return board not in self.seen and (self.suicide or point in board)

    def play(self, point: Point | None) -> None:
        if point is not None:
            self.board = self.after(point)
            self.seen.append(dict(self.board))
        self.passes = self.passes + 1 if point is None else 0
        self.to_move = 1 - self.to_move

    @property
    def margin(self) -> float:
        """Points of the first player minus those of the second, komi included."""
        total = -self.komi
        for point in self.points:
            colour = self.board.get(point)
            near = {colour} if colour is not None else self.region(self.board, point)[1]
            reach = {c for c in near if c is not None}
            total += (reach == {0}) - (reach == {1})
        return total
