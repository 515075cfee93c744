"""Rules compared with OpenSpiel's, move by move, on random games.

Actions agree as they are: Connect Four columns from the left, tic-tac-toe cells row-major from the top left.
"""

from __future__ import annotations

import numpy as np
import pyspiel
import pytest

from envs import make
from envs.game import ONGOING, STATUS, TO_MOVE, outcome

GAMES = 2000


def board(text: str) -> str:
    """A drawing of either library, reduced to its cells in reading order."""
    return "".join(c for c in text.lower() if c in "xo.")


@pytest.mark.parametrize("env_id", ["tic_tac_toe", "connect_four"])
def test_random_games_agree_move_by_move(env_id: str) -> None:
    game, theirs = make(env_id), pyspiel.load_game(env_id)
    assert game.num_actions == theirs.num_distinct_actions()
    assert game.max_moves == theirs.max_game_length()
    rng = np.random.default_rng(20)
    results = []
    for _ in range(GAMES):
        ours, other = game.initial_state(), theirs.new_initial_state()
        while not other.is_terminal():
            where = f"{other.history()}\n{other}"
            assert ours[STATUS] == ONGOING, where
            assert ours[TO_MOVE] == other.current_player(), where
            legal = np.flatnonzero(game.legal_mask(ours))
            assert legal.tolist() == other.legal_actions(), where
            assert board(game.render(ours)) == board(str(other)), where
            action = int(rng.choice(legal))
            ours = game.after(ours, action)
            other.apply_action(action)
        where = f"{other.history()}\n{other}"
        assert ours[STATUS] != ONGOING, where
        assert not game.legal_mask(ours).any()
        assert [outcome(ours), -outcome(ours)] == other.returns(), where
        results.append(outcome(ours))
    assert set(results) == {-1, 0, 1}  # every ending was compared
