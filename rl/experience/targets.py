"""From one game to training rows: what each position should have been worth."""

from __future__ import annotations

import numpy as np

from envs.game import TO_MOVE, Game
from rl.records import PROVEN_DRAW, PROVEN_LOSS, PROVEN_WIN, UNPROVEN, GameRecord, Tensors

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


def rows_of(game: Game, record: GameRecord, outcome_weight: float) -> Tensors:
    """Training rows of one game: only fully searched positions, whose policies may be trained on.

    Keys: ply [N] int32 (moves of the record made before), policy [N, A] float32, wdl [N, 3] float32, version [N] int64.
    """
    targets = value_targets(record, replay(game, record)[:, TO_MOVE], outcome_weight)
    full = record.full
    return {
        "ply": np.flatnonzero(full).astype(np.int32),
        "policy": record.policy[full],
        "wdl": targets[full],
        "version": record.weights_version[full],
    }
