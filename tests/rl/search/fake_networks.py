"""Evaluators without a network, and what several search tests do with them. numpy only."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from envs.game import HEADER, ONGOING, STATUS, TO_MOVE, Game
from rl.records import Evaluation
from rl.search import Evaluate, Search

Kind: TypeAlias = Literal["gumbel", "puct"]
U64 = np.uint64


def hashed(actions: int, salt: int = 0, sharpness: float = 4.0) -> Evaluate:
    """A deterministic opinion that differs from position to position as if it were random.

    A row's answer depends on its own planes alone, to the last bit (integer arithmetic, no BLAS).
    """

    def evaluate(planes: np.ndarray) -> Evaluation:
        rows = np.rint(planes.reshape(len(planes), -1)).astype(np.int64).astype(U64)
        weights = np.random.default_rng(salt).integers(0, 2**64, rows.shape[1], dtype=U64)
        x = (rows * weights).sum(1, dtype=U64)[:, None] + np.arange(1, actions + 4, dtype=U64) * U64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64
            x = (x ^ (x >> U64(shift))) * U64(factor)
        uniform = ((x ^ (x >> U64(31))) >> U64(11)).astype(np.float64) * 2.0**-53
        wdl = 0.05 + uniform[:, actions:]
        wdl /= wdl.sum(1, keepdims=True)
        return Evaluation((sharpness * (uniform[:, :actions] - 0.5)).astype(np.float32), wdl.astype(np.float32))

    return evaluate


def constant(actions: int, wdl: tuple[float, float, float] = (0.25, 0.5, 0.25), logits: object = 0.0) -> Evaluate:
    """The same answer everywhere."""

    def evaluate(planes: np.ndarray) -> Evaluation:
        rows = np.broadcast_to(np.asarray(logits, np.float32), (len(planes), actions))
        return Evaluation(rows.copy(), np.tile(np.array(wdl, np.float32), (len(planes), 1)))

    return evaluate


class Counted:
    """An evaluator that counts the rows it was asked about."""

    def __init__(self, evaluate: Evaluate):
        self.evaluate, self.rows = evaluate, 0

    def __call__(self, planes: np.ndarray) -> Evaluation:
        self.rows += len(planes)
        return self.evaluate(planes)


def to_the_end(search: Search, evaluate: Evaluate, steps: int = 1_000_000) -> None:
    """Advance all lanes until their searches are over, or by ``steps`` evaluations each."""
    for _ in range(steps):
        planes = search.select()
        if not len(planes):
            return
        search.update(evaluate(planes))


def random_positions(game: Game, count: int, plies: tuple[int, int], seed: int) -> np.ndarray:
    """Ongoing positions [count, S] after plies[0] to plies[1] random moves, without repetition."""
    rng = np.random.default_rng(seed)
    found: dict[bytes, np.ndarray] = {}
    for _attempt in range(200 * count):
        if len(found) == count:
            break
        state = game.initial_state()
        for _ in range(rng.integers(plies[0], plies[1] + 1)):
            game.play(state, rng.choice(np.flatnonzero(game.legal_mask(state))))
            if state[STATUS] != ONGOING:
                break
        if state[STATUS] == ONGOING:
            found[state.tobytes()] = state
    assert len(found) == count, "there are not that many positions"
    return np.stack(list(found.values()))


def drawn_board(game: Game, text: str) -> np.ndarray:
    """Tic-tac-toe or Connect Four position drawn with X, O and dots; X is to move when there are as many X as O."""
    cells = [line.split() for line in text.strip().splitlines()]
    moves: dict[str, list[int]] = {"X": [], "O": []}
    for row in reversed(range(len(cells))):  # from the bottom up, as stones fall in Connect Four
        for column, cell in enumerate(cells[row]):
            if cell in moves:
                moves[cell].append(column if game.env_id == "connect_four" else row * len(cells[0]) + column)
    state = game.initial_state()
    if game.env_id == "connect_four":
        heights = [0] * len(cells[0])
        for row in reversed(range(len(cells))):
            for column, cell in enumerate(cells[row]):
                if cell != ".":
                    assert heights[column] == len(cells) - 1 - row, "a stone hangs in the air"
                    state[HEADER + "XO".index(cell)] |= 1 << (column * 7 + heights[column])
                    heights[column] += 1
    else:
        for cell, actions in moves.items():
            state[HEADER + np.array(actions, np.int64)] = 1 + "XO".index(cell)
    state[2] = len(moves["X"]) + len(moves["O"])
    state[TO_MOVE] = len(moves["X"]) - len(moves["O"])
    assert state[TO_MOVE] in (0, 1)
    return state


class Truth:
    """Game-theoretic values by exhaustive negamax: 1 the side to move wins, 0 draw, -1 it loses."""

    def __init__(self, game: Game):
        self.game = game
        self.known: dict[bytes, int] = {}

    def value(self, state: np.ndarray) -> int:
        if state[STATUS] != ONGOING:
            winner = {1: 0, 2: 1, 3: None}[int(state[STATUS])]
            return 0 if winner is None else 1 if winner == state[TO_MOVE] else -1
        key = state.tobytes()
        if key not in self.known:
            best = -1
            for action in np.flatnonzero(self.game.legal_mask(state)):
                best = max(best, self.after(state, int(action)))
                if best == 1:
                    break
            self.known[key] = best
        return self.known[key]

    def after(self, state: np.ndarray, action: int) -> int:
        """Value of a move for the side that plays it."""
        child = state.copy()
        self.game.play(child, action)
        value = self.value(child)
        return value if child[TO_MOVE] == state[TO_MOVE] else -value
