"""From one game to training rows: what each position should have been worth."""

from __future__ import annotations

import numpy as np

from envs.game import TO_MOVE, Game
from rl.records import PROVEN_DRAW, PROVEN_LOSS, PROVEN_WIN, SHORT_TERM_HORIZONS, UNPROVEN, GameRecord, Tensors

# wdl of a proven result; the row of UNPROVEN is never used.
_PROVEN_WDL = np.zeros((4, 3), np.float32)
_PROVEN_WDL[PROVEN_WIN, 0] = _PROVEN_WDL[PROVEN_DRAW, 1] = _PROVEN_WDL[PROVEN_LOSS, 2] = 1.0


def replay(game: Game, record: GameRecord) -> np.ndarray:
    """The positions [T, S] in which the record's moves were made."""
    states = np.empty((len(record.actions), game.state_size), np.int64)
    state = record.start.copy()
    for t, action in enumerate(record.actions):
        states[t] = state
        game.play(state, action)
    return states


def value_targets(record: GameRecord, to_move: np.ndarray, outcome_weight: float) -> np.ndarray:
    """Targets [T, 3] (win, draw, loss of the side to move) of the positions of one game.

    * A position that search has proven gets its exact result.
    * Any other mixes ``outcome_weight`` of what followed with the rest of its own searched value.
    * What followed is the game's outcome, or the exact result of the first proven position after it. A move
      that was played at random says nothing about the position before it: from there back, what
      followed is the searched value at that position.
    """
    targets = np.empty((len(to_move), 3), np.float32)
    followed = np.zeros(3, np.float32)  # from the point of view of ``viewer``
    followed[1 - record.outcome] = 1.0
    viewer = 0
    for t in range(len(to_move) - 1, -1, -1):
        if to_move[t] != viewer:
            followed = followed[::-1]
            viewer = to_move[t]
        if record.proven[t] != UNPROVEN:
            followed = _PROVEN_WDL[record.proven[t]]
            targets[t] = followed
            continue
        if record.off_policy[t]:
            followed = record.wdl[t]
        targets[t] = outcome_weight * followed + (1.0 - outcome_weight) * record.wdl[t]
    return targets


def short_term_horizons(game: Game) -> np.ndarray:
    """Horizons [K] of the short-term value targets, in moves."""
    height, width = game.board_shape
    return 1.0 + height * width * np.array(SHORT_TERM_HORIZONS)


def short_term_targets(record: GameRecord, to_move: np.ndarray, horizons: np.ndarray) -> np.ndarray:
    """Targets [T, K, 3] (win, draw, loss of the side to move): averages of the searched values that followed.

    KataGo's methods, "Short-term Value and Score Targets". With λ = 1 − 1/horizon,

    * the searched value at move s weighs (1 − λ) · λ^(s − t) in the target at move t ≤ s, its own included;
    * what is left after the last move goes to the outcome;
    * a proven position takes all the weight that is left with its exact result, and one in which the move was
      played at random with its searched value: what came later tells no more of the positions before (value_targets).
    """
    kept = (1.0 - 1.0 / horizons)[:, None]
    targets = np.empty((len(to_move), len(horizons), 3), np.float32)
    ahead = np.zeros((len(horizons), 3))  # from the point of view of ``viewer``
    ahead[:, 1 - record.outcome] = 1.0
    viewer = 0
    for t in range(len(to_move) - 1, -1, -1):
        if to_move[t] != viewer:
            ahead = ahead[:, ::-1]
            viewer = to_move[t]
        if record.proven[t] != UNPROVEN:
            ahead = np.tile(_PROVEN_WDL[record.proven[t]], (len(horizons), 1))
        elif record.off_policy[t]:
            ahead = np.tile(record.wdl[t], (len(horizons), 1))
        else:
            ahead = (1.0 - kept) * record.wdl[t] + kept * ahead
        targets[t] = ahead
    return targets


def row_weights(surprise: np.ndarray, share: float) -> np.ndarray:
    """How often each of the N rows of one game is to be written, on average: [N] float64.

    Policy-surprise weighting (KataGo's methods): ``share`` of the game's weight goes to its rows in proportion to their
    ``surprise`` [N], KL(improved policy ‖ network's policy); the rest to all alike. The sum stays N. Unlike KataGo's,
    fast searches never enter, however surprising, since their policies are not trained on here.

    A row whose network was not asked (NaN) keeps weight 1, and takes no part.
    """
    weights = np.ones(len(surprise))
    known = ~np.isnan(surprise)
    total = surprise[known].sum(dtype=np.float64)
    if total > 0:
        weights[known] = (1.0 - share) + share * known.sum() * surprise[known].astype(np.float64) / total
    return weights


def rows_of(game: Game, record: GameRecord, outcome_weight: float, short_term: bool = False) -> Tensors:
    """Training rows of one game: only fully searched positions, whose policies may be trained on.

    Keys: ply [N] int32 (moves of the record made before), policy [N, A] float32, wdl [N, 3] float32, version [N] int64;
    with ``short_term`` also short_term_value [N, K, 3] float32.
    """
    to_move = replay(game, record)[:, TO_MOVE]
    targets = value_targets(record, to_move, outcome_weight)
    full = record.full
    extra: Tensors = {}
    if short_term:
        extra["short_term_value"] = short_term_targets(record, to_move, short_term_horizons(game))[full]
    return {
        "ply": np.flatnonzero(full).astype(np.int32),
        "policy": record.policy[full],
        "wdl": targets[full],
        "version": record.weights_version[full],
        **extra,
    }
