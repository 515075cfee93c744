"""Make the truth sets of Connect Four: ``python -m rl.evaluation.make_connect_four_truth [--out DIR]``.

Needs BitBully (``pip install 'fuseki[solver]'``); 11 minutes on a busy two-core machine (2026).

How positions are chosen
------------------------
* Half-random play from the empty board: each move is uniformly random with probability 1/2, else a random one of those
  that keep the value (in a lost position, of those that lose as slowly as possible). Random moves alone would give
  decided positions, and short games; solver moves alone, few positions.
* The first TRUNK moves of a game, which are the slow ones to solve, are continued BRANCHES times, because few games
  last to the end of the board. Positions soon after the branching are taken from one branch only.
* A position counts only if some move changes the result: some legal actions differ in game-theoretic value.
* At most three positions a line of play, at least six plies apart, so that they depend little on one another.
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
from envs.game import ONGOING, PLY, STATUS
from rl.evaluation.solver import ILLEGAL, ConnectFourSolver, SolverError, action_values
from rl.evaluation.truth import data_file

SETS = {"test": (4000, 20_000), "tune": (1500, 10_000)}  # positions and seed of each set, in the order of making
FULL_PLIES = 35  # this many of the 41 plies with a choice can give an equal share
SHARED_PLIES = 4  # up to this one a hash shares the positions out
APART = 6
A_LINE = 3
TRUNK = 16
BRANCHES = 12

Key = tuple[int, int]  # the bitboards of both players
Step = tuple[int, np.ndarray | None]  # a move, and the values [A] int8 of all actions before it where they were solved


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


class TruthMaker:
    """Gathers ``size`` positions for the set ``name``, none of which is in ``taken``; adds them to it."""

    def __init__(self, name: str, size: int, seed: int, taken: set[Key]) -> None:
        self.name, self.size, self.taken = name, size, taken
        self.game, self.solver = envs.make("connect_four"), ConnectFourSolver()
        self.random = np.random.default_rng(seed)
        self.share = -(-size // FULL_PLIES)  # of each ply
        self.count: Counter[int] = Counter()  # positions of each ply so far
        self.rows: list[tuple[list[int], np.ndarray]] = []  # moves played before, values [A] int8 of the actions

    def make(self, progress: Callable[[str], None] = print) -> tuple[np.ndarray, np.ndarray]:
        """Moves [N, 42] int8 (-1 after the last) and action values [N, 7] int8, in the order of plies."""
        games, start = 0, time.perf_counter()
        while len(self.rows) < self.size:
            trunk = self.half_random([], until=TRUNK)
            self.gather(self.half_random(trunk))
            for _ in range(BRANCHES - 1 if len(trunk) == TRUNK else 0):
                self.gather(self.half_random(trunk), first=TRUNK + APART)
            games += 1
            if games % 100 == 0:
                seconds = time.perf_counter() - start
                progress(f"{self.name}: {games} games, {len(self.rows)} of {self.size} positions, {seconds:.0f} s")
        rows = sorted(self.rows[: self.size], key=lambda row: len(row[0]))
        progress(f"{self.name}: positions by ply {dict(Counter(len(played) for played, _ in rows))}")
        packed = np.full((self.size, ROWS * COLUMNS), -1, np.int8)
        for row, (played, _) in zip(packed, rows, strict=True):
            row[: len(played)] = played
        return packed, np.stack([values for _, values in rows])

    def half_random(self, begun: list[Step], until: int = ROWS * COLUMNS) -> list[Step]:
        """A game played on from the steps ``begun`` to its end or to the ply ``until``.

        Solving plies 12 to 15 takes nearly all the time, so it is left out where the move is random and the ply full.
        """
        steps = list(begun)
        state = self.game.replay([move for move, _ in begun])
        while state[STATUS] == ONGOING and state[PLY] < until:
            good, solved = self.game.legal_mask(state), None
            by_solver = self.random.random() < 0.5
            if by_solver or self.count[len(steps)] < self.share:
                scores = self.solver.scores(state)
                solved = action_values(scores)
                if by_solver:
                    good = scores > 0 if scores.max() > 0 else scores == scores.max()
            steps.append((int(self.random.choice(np.flatnonzero(good))), solved))
            self.game.play(state, steps[-1][0])
        return steps

    def gather(self, steps: list[Step], first: int = 0) -> None:
        """Take some positions of a game, of ply ``first`` or later, into the set: those of the ply that lacks most."""
        candidates: list[tuple[int, Key, np.ndarray]] = []
        state = self.game.initial_state()
        for ply, (move, solved) in enumerate(steps):
            if ply >= first and solved is not None and self.count[ply] < self.share and matters(solved):
                key = canonical(state)
                if key not in self.taken and belongs(key, ply, self.name):
                    candidates.append((ply, key, solved))
            self.game.play(state, move)
        chosen: list[int] = []
        for ply, key, solved in sorted(candidates, key=lambda c: self.count[c[0]]):
            if len(chosen) < A_LINE and all(abs(ply - other) >= APART for other in chosen):
                chosen.append(ply)
                self.taken.add(key)
                self.count[ply] += 1
                self.rows.append(([move for move, _ in steps[:ply]], solved))


def main() -> None:
    parser = argparse.ArgumentParser(description="Make Connect Four's truth sets with the solver BitBully.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data", help="folder to write to")
    out: Path = parser.parse_args().out
    taken: set[Key] = set()
    try:
        sets = {name: TruthMaker(name, size, seed, taken).make() for name, (size, seed) in SETS.items()}
    except SolverError as error:
        raise SystemExit(str(error)) from error
    out.mkdir(parents=True, exist_ok=True)
    for name, (moves, values) in sets.items():
        path = out / data_file("connect_four", name)
        np.savez_compressed(path, moves=moves, action_values=values)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
