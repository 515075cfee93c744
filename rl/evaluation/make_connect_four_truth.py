"""Make the truth sets of Connect Four: ``python -m rl.evaluation.make_connect_four_truth [--out DIR]``.

Needs BitBully (``pip install 'fuseki[solver]'``); about SECONDS minutes on one core of 2026's servers.

How positions are chosen
------------------------
* Half-random play from the empty board: each move is uniformly random with probability 1/2, else a random one of those
  that keep the value (in a lost position, of those that lose as slowly as possible). Random moves alone would give
  decided positions, and short games; solver moves alone, few positions.
* A position counts only if some move changes the result: some legal actions differ in game-theoretic value.
* At most two positions a game, at least eight plies apart, so that they depend little on one another.
* Every ply gets an equal share as far as distinct positions exist; positions equal up to the mirror are one position.
* The sets ``test`` and ``tune`` share no position. On the first plies, where few positions exist, a hash of the
  position decides which set may have it; later, ``tune`` leaves out what ``test`` has.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

import envs
from envs.connect_four import COLUMNS, FIRST, ROWS, SECOND, STRIDE
from envs.game import ONGOING, STATUS, Game
from rl.evaluation.solver import ILLEGAL, ConnectFourSolver, SolverError, action_values

SETS = {"test": (4000, 20_000), "tune": (1500, 10_000)}  # positions and seed of each set, in the order of making
FULL_PLIES = 35  # this many of the 41 plies with a choice can give an equal share
SHARED_PLIES = 4  # up to this one a hash shares the positions out
APART = 8
A_GAME = 2

Key = tuple[int, int]


def canonical(state: np.ndarray) -> Key:
    """The same for a position and its mirror: the smaller pair of bitboards. The ply follows from the stones."""
    first, second = int(state[FIRST]), int(state[SECOND])
    return min((first, second), (_mirrored(first), _mirrored(second)))


def _mirrored(stones: int) -> int:
    column = (1 << STRIDE) - 1
    return sum((stones >> (STRIDE * c) & column) << (STRIDE * (COLUMNS - 1 - c)) for c in range(COLUMNS))


def matters(values: np.ndarray) -> bool:
    """Whether some legal action gives another result than another one: values [A] int8."""
    legal = values[values != ILLEGAL]
    return bool(legal.min() < legal.max())


def belongs(key: Key, ply: int, name: str) -> bool:
    """Whether the set may hold the position: on the first plies 3 of 11 go to ``tune``, the others to ``test``."""
    if ply > SHARED_PLIES:
        return True
    share = hashlib.sha256(repr(key).encode()).digest()[0] % 11
    return (share < 3) == (name == "tune")


def half_random_game(
    game: Game, solver: ConnectFourSolver, rng: np.random.Generator, wanted: Callable[[int], bool]
) -> tuple[list[int], list[np.ndarray | None]]:
    """Moves of one game and, before each, the values [A] int8 of all actions; None where solving was not needed.

    Solving plies 12 to 15 takes nearly all the time, so it is left out where the move is random and the ply unwanted.
    """
    state = game.initial_state()
    moves: list[int] = []
    values: list[np.ndarray | None] = []
    while state[STATUS] == ONGOING:
        good, solved = game.legal_mask(state), None
        solver_moves = rng.random() < 0.5
        if solver_moves or wanted(len(moves)):
            scores = solver.scores(state)
            solved = action_values(scores)
            if solver_moves:
                good = scores > 0 if scores.max() > 0 else scores == scores.max()
        values.append(solved)
        moves.append(int(rng.choice(np.flatnonzero(good))))
        game.play(state, moves[-1])
    return moves, values


def make_set(name: str, taken: set[Key]) -> tuple[np.ndarray, np.ndarray]:
    """Moves [N, 42] int8 (-1 after the last) and action values [N, 7] int8 of one set; adds its positions to ``taken``."""
    game, solver = envs.make("connect_four"), ConnectFourSolver()
    size, seed = SETS[name]
    rng = np.random.default_rng(seed)
    share = -(-size // FULL_PLIES)
    count: Counter[int] = Counter()
    rows: list[tuple[list[int], np.ndarray]] = []
    games, start = 0, time.perf_counter()
    while len(rows) < size:
        moves, values = half_random_game(game, solver, rng, lambda ply: count[ply] < share)
        games += 1
        state = game.initial_state()
        candidates: list[tuple[int, Key, np.ndarray]] = []
        for ply, (move, solved) in enumerate(zip(moves, values, strict=True)):
            if solved is not None and count[ply] < share:
                key = canonical(state)
                if matters(solved) and key not in taken and belongs(key, ply, name):
                    candidates.append((ply, key, solved))
            game.play(state, move)
        chosen: list[int] = []
        for ply, key, solved in sorted(candidates, key=lambda c: count[c[0]]):  # the ply that lacks most first
            if len(chosen) < A_GAME and all(abs(ply - other) >= APART for other in chosen):
                chosen.append(ply)
                taken.add(key)
                count[ply] += 1
                rows.append((moves[:ply], solved))
        if games % 200 == 0:
            seconds = time.perf_counter() - start
            print(f"{name}: {games} games, {len(rows)} of {size} positions, {seconds:.0f} s", flush=True)
    rows = sorted(rows[:size], key=lambda row: len(row[0]))
    packed = np.full((size, ROWS * COLUMNS), -1, np.int8)
    for row, (played, _) in zip(packed, rows, strict=True):
        row[: len(played)] = played
    print(f"{name}: positions by ply {dict(sorted(Counter(len(played) for played, _ in rows).items()))}")
    return packed, np.stack([v for _, v in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description="Make Connect Four's truth sets with the solver BitBully.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data", help="folder to write to")
    out: Path = parser.parse_args().out
    taken: set[Key] = set()
    try:
        sets = {name: make_set(name, taken) for name in SETS}
    except SolverError as error:
        raise SystemExit(str(error)) from error
    out.mkdir(parents=True, exist_ok=True)
    for name, (moves, values) in sets.items():
        path = out / f"connect_four_{name}.npz"
        np.savez_compressed(path, moves=moves, action_values=values)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
