"""Truth sets: positions of a game with the exact game-theoretic value of every action.

The share of positions in which an agent keeps the value is an absolute yardstick: it needs no opponent, has no luck
but the choice of positions, and shows weaknesses that self-play ratings hide.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

import numpy as np

import envs
from envs.game import PLY, Game
from rl.evaluation.solver import ILLEGAL, ExactSolver

SPLITS = ("tune", "test")
COMPUTED = ("tic_tac_toe",)  # small enough to be solved when asked for


@dataclass(frozen=True)
class TruthSet:
    """N distinct positions and the result of each action with best play afterwards."""

    env_id: str
    states: np.ndarray  # [N, S] int64
    ply: np.ndarray  # [N] int64, moves played before
    action_values: np.ndarray  # [N, A] int8: 1, 0, -1 = won, drawn, lost for the side to move; ILLEGAL (-2) elsewhere
    moves: tuple[tuple[int, ...], ...] | None = None  # that lead to each from the start, where they are known

    def __len__(self) -> int:
        return len(self.states)

    @staticmethod
    def load(env_id: str, split: str = "test") -> TruthSet | None:
        """The truth set of a game; None when the game has none.

        Connect Four has two disjoint sets (see ``make_connect_four_truth``): ``"tune"`` for training curves and any
        choice made by looking at them, ``"test"`` for reported results only. Tic-tac-toe is solved on the spot: both
        splits are every reachable position. Raises ValueError when the split is neither.
        """
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r} of the truth set: choose one of {', '.join(SPLITS)}")
        if env_id in COMPUTED:
            return solve_all(envs.make(env_id))
        source = files("rl.evaluation") / "data" / data_file(env_id, split)
        if not source.is_file():
            return None
        with source.open("rb") as file, np.load(file) as data:
            return from_moves(env_id, data["moves"], data["action_values"])

    def values(self) -> np.ndarray:
        """Game-theoretic value [N] int8 of each position for the side to move."""
        return self.action_values.max(axis=1)

    def subset(self, n: int, seed: int = 0) -> TruthSet:
        """``n`` positions, spread over the plies as evenly as the set allows; the whole set when it is no larger.

        With one seed a smaller subset is contained in every larger one.
        """
        order = np.random.default_rng(seed).permutation(len(self))
        # Deal the positions out in rounds, one of each ply a round.
        rounds = np.empty(len(self), np.int64)
        for ply in np.unique(self.ply):
            same = order[self.ply[order] == ply]
            rounds[same] = np.arange(len(same))
        chosen = np.sort(order[np.argsort(rounds[order], kind="stable")][:n])
        moves = None if self.moves is None else tuple(self.moves[i] for i in chosen)
        return TruthSet(self.env_id, self.states[chosen], self.ply[chosen], self.action_values[chosen], moves)

    def keeps(self, actions: np.ndarray) -> np.ndarray:
        """Whether each action [N] keeps its position's value: [N] bool. Raises ValueError on an illegal action."""
        actions = np.asarray(actions)
        if actions.shape != (len(self),):
            raise ValueError(f"one action for each of {len(self)} positions is needed, not shape {actions.shape}")
        inside = (actions >= 0) & (actions < self.action_values.shape[1])
        value = self.action_values[np.arange(len(self)), np.where(inside, actions, 0)]
        illegal = ~inside | (value == ILLEGAL)
        if illegal.any():
            row = int(np.argmax(illegal))
            raise ValueError(f"action {int(actions[row])} is not legal in position {row} of the truth set")
        return value == self.values()

    def accuracy(self, actions: np.ndarray) -> float:
        """Share of positions in which the action [N] keeps the game-theoretic value, in [0, 1]."""
        return float(self.keeps(actions).mean())

    def accuracy_by_ply(self, actions: np.ndarray) -> dict[int, float]:
        """``accuracy`` of each ply that has positions."""
        keeps = self.keeps(actions)
        return {int(ply): float(keeps[self.ply == ply].mean()) for ply in np.unique(self.ply)}


def from_moves(env_id: str, moves: np.ndarray, action_values: np.ndarray) -> TruthSet:
    """The set whose positions follow the moves [N, T] int8 from the start, -1 after the last one."""
    game = envs.make(env_id)
    states = np.tile(game.initial_state(), (len(moves), 1))
    for state, played in zip(states, moves, strict=True):
        for move in played[played >= 0]:
            game.play(state, int(move))
    lines = tuple(tuple(int(move) for move in played[played >= 0]) for played in moves)
    return TruthSet(env_id, states, states[:, PLY].copy(), action_values, lines)


def solve_all(game: Game) -> TruthSet:
    """Every position of a tiny game that can be reached and is not ended, solved by exhaustive search.

    Raises SolverError when the game is too large for that.
    """
    solver = ExactSolver(game)
    states = np.stack([np.frombuffer(key, np.int64) for key in solver.positions])
    values = np.stack([solver.action_values(state) for state in states])
    return TruthSet(game.env_id, states, states[:, PLY].copy(), values)


def data_file(env_id: str, split: str) -> str:
    """Name of the committed file of a truth set, in the folder ``data`` beside this module."""
    return f"{env_id}_truth_{split}.npz"
