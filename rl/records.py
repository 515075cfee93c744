"""Everything that crosses a boundary between two parts of the system, with shapes.

Letters: N rows, T moves of one game, A actions, S words of a state vector, (C, H, W) network planes.
Values are always from the side to move; ``wdl`` is P(win), P(draw), P(loss) of the side to move.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

Tensors: TypeAlias = dict[str, np.ndarray]  # arrays by name: a network's weights, a part's saved state

# What search has proven of a position, for the side to move.
UNPROVEN, PROVEN_LOSS, PROVEN_DRAW, PROVEN_WIN = 0, 1, 2, 3


class Evaluation(NamedTuple):
    """The network's opinion of N positions, as an evaluator returns it."""

    logits: np.ndarray  # [N, A] float32, unmasked policy logits
    wdl: np.ndarray  # [N, 3] float32, rows sum to 1
    # Where the score has a share in wdl (an evaluator's score_utility), what went into it; else None:
    value: np.ndarray | None = None  # [N] float32, P(win) - P(loss) by itself
    lead: np.ndarray | None = None  # [N] float32, points by which the side to move is expected to win, komi included


@dataclass(frozen=True)
class SearchResult:
    """What a search found for N root positions."""

    action: np.ndarray  # [N] int64, the action to play
    policy: np.ndarray  # [N, A] float32, the improved policy: the training target; 0 where illegal, rows sum to 1
    wdl: np.ndarray  # [N, 3] float32, searched value of the root
    proven: np.ndarray  # [N] int8, one of UNPROVEN ... PROVEN_WIN
    visits: np.ndarray  # [N, A] int32, simulations through each root action
    action_value: np.ndarray  # [N, A] float32, searched value of each action in [-1, 1]; NaN where never visited
    prior: np.ndarray  # [N, A] float32, the network's policy at the root, masked to legal actions


@dataclass(frozen=True)
class GameRecord:
    """One finished self-play game, from actor to experience."""

    start: np.ndarray  # [S] int64, the state in which the record begins
    actions: np.ndarray  # [T] int16
    policy: np.ndarray  # [T, A] float32, improved policies (meaningless where not ``full``)
    wdl: np.ndarray  # [T, 3] float32, searched root values
    proven: np.ndarray  # [T] int8
    full: np.ndarray  # [T] bool, searched with the full budget, so that the policy may be trained on
    off_policy: np.ndarray  # [T] bool, the action was drawn at random for diversity, not chosen by the search
    weights_version: np.ndarray  # [T] int64, version of the weights that searched the move
    surprise: np.ndarray  # [T] float32, KL(improved policy ‖ network's policy), nats; NaN where no network was asked
    outcome: int  # 1 the first player won, 0 draw, -1 the second player won


# Horizons of the short-term value targets: 1 + this much a point of the board, in moves (KataGo's trainingwrite.cpp).
# 19×19: 7, 21 and 65 moves; 9×9: 2.3, 5.5 and 15; Connect Four: 1.7, 3.4 and 8.4.
SHORT_TERM_HORIZONS = (0.016, 0.056, 0.176)
MARGIN_SCALE = 10.0  # points that the score head's output of 1 stands for


@dataclass(frozen=True)
class SelfPlayReport:
    """What an actor hands over after one stretch of play."""

    games: list[GameRecord]
    moves: int  # moves played in the stretch, those of unfinished games included
    evaluations: int  # positions evaluated by the network
    recalled: int  # positions that it had evaluated before, whose answers were kept
    seconds: float  # wall time of the stretch
    evaluator_seconds: float  # the part of it spent inside the evaluator
    simulations: int  # budget of a full search now
    format: str = ""  # number format of the evaluator, where it has one

    @property
    def env_steps(self) -> int:
        return self.moves

    def take(self) -> list[GameRecord]:
        """The games, which the report then no longer holds: only the learner fetches them."""
        games = list(self.games)
        self.games.clear()
        return games


@dataclass(frozen=True)
class Batch:
    """N training rows, ready for the network."""

    planes: np.ndarray  # [N, C, H, W] float32
    legal: np.ndarray  # [N, A] bool
    policy: np.ndarray  # [N, A] float32, rows sum to 1
    wdl: np.ndarray  # [N, 3] float32, rows sum to 1
    weights_version: np.ndarray  # [N] int64
    reply: np.ndarray  # [N] int64, the action that followed, -1 where the game ended
    # Where the network has that head, else None; NaN in rows of a run that did not know it.
    short_term_value: np.ndarray | None = None  # [N, len(SHORT_TERM_HORIZONS), 3] float32, rows sum to 1
    # Of games with territory (envs.game), else None; from the point of view of the side to move.
    ownership: np.ndarray | None = None  # [N, H·W] int8, 1 its own points at the end, -1 the other side's
    margin: np.ndarray | None = None  # [N] float32, points ahead at the end


@dataclass(frozen=True)
class Unroll:
    """T steps of B environments, from actor to learner; time-major."""

    observations: Tensors  # part → [T + 1, B, *shape]; the last one to bootstrap from
    actions: np.ndarray  # [T, B] or [T, B, k], as the policy's distribution gives them
    log_probs: np.ndarray  # [T, B] float32, of the policy that acted
    values: np.ndarray  # [T + 1, B] float32, of the network that acted
    rewards: np.ndarray  # [T, B] float32
    terminated: np.ndarray  # [T, B] bool, the episode ended in a state without future
    truncated: np.ndarray  # [T, B] bool, it was cut off
    valid: np.ndarray  # [T, B] bool; False where the environment ignored the action and only began anew
    first: np.ndarray  # [T + 1, B] bool, the observation is an episode's first
    # Value of an episode's last observation, where that is not the next one; NaN elsewhere.
    final_values: np.ndarray  # [T, B] float32
    state: Tensors  # name → [B, ...], the network's memory before the first step; empty without
    discounted: np.ndarray  # [T, B] float32, discounted sum of the lane's rewards up to now, for normalising them
    weights_version: int


@dataclass(frozen=True)
class RolloutReport:
    """What an actor hands over after one stretch of stepping."""

    unrolls: list[Unroll]
    env_steps: int  # of all environments, those that only began anew not counted
    episode_returns: list[float]  # of the episodes that ended: sums of the environment's own rewards
    episode_lengths: list[int]
    evaluations: int  # observations evaluated by the network
    seconds: float  # wall time of the stretch
    evaluator_seconds: float  # the part of it spent inside the network
    environment_seconds: float  # the part of it spent inside the environments

    def take(self) -> list[Unroll]:
        """The unrolls, which the report then no longer holds: only the learner fetches them."""
        unrolls = list(self.unrolls)
        self.unrolls.clear()
        return unrolls


@dataclass(frozen=True)
class Weights:
    """One published version of a network."""

    version: int  # learner steps taken when it was published
    tensors: Tensors
    progress: float = 1.0  # share of the run's budget used by then, for what actors do on a schedule; 1 outside a run


@dataclass(frozen=True)
class MatchResult:
    """Games of one player (or agent) against another, counted for the first named."""

    wins: int
    draws: int
    losses: int

    @property
    def games(self) -> int:
        return self.wins + self.draws + self.losses

    @property
    def score(self) -> float:
        """Mean points a game: a win 1, a draw ½."""
        return (self.wins + 0.5 * self.draws) / self.games

    def interval(self, z: float = 1.96) -> tuple[float, float]:
        """95 % interval of the score (Wilson's, with the draw-aware variance of a game's points).

        Wilson's centre and shrinkage keep it inside [0, 1] and honest at 0 % and 100 %; a drawn game has less
        variance than a decisive one, which the factor accounts for.
        """
        n: float = self.games
        p = self.score
        spread = (self.wins + 0.25 * self.draws) / n - p * p  # variance of one game's points
        binomial = p * (1 - p)
        factor = spread / binomial if binomial > 0 else 1.0
        # Wilson with an effective number of games: fewer ups and downs count as more games.
        n = n / factor if factor > 0 else n
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, centre - half), min(1.0, centre + half)
