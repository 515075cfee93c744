"""The conveniences of Game, and the sentences it refuses with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from envs import make
from envs.game import FIRST_WON, PLY, STATUS, TO_MOVE, outcome


def test_after_leaves_its_argument_alone() -> None:
    game = make("connect_four")
    state = game.initial_state()
    after = game.after(state, 3)
    assert state.tolist() == game.initial_state().tolist()
    assert (after[TO_MOVE], after[PLY]) == (1, 1)


def test_illegal_moves_are_refused_with_the_legal_ones() -> None:
    game = make("tic_tac_toe")
    state = game.replay([0, 4, 2, 1, 7])
    for move in (4, 9, -1):
        with pytest.raises(ValueError, match=rf"^move 6 \({move}\) is not legal here; legal moves are: 3, 5, 6, 8$"):
            game.after(state, move)


def test_only_so_many_legal_moves_are_listed() -> None:
    game = make("connect_four")
    wide = replace(game, num_actions=1 + 30, action_names=(), action_layout="flat")
    wide = replace(wide, point_symmetries=None, action_symmetries=None, legal=lambda state, mask: mask.fill(1))
    with pytest.raises(ValueError, match=r"legal moves are: 0, .*, 23 and 7 more$"):
        wide.after(game.initial_state(), 31)


def test_an_ended_game_goes_no_further() -> None:
    game = make("tic_tac_toe")
    state = game.replay([0, 3, 1, 4, 2])
    assert state[STATUS] == FIRST_WON
    assert not game.legal_mask(state).any()
    with pytest.raises(ValueError, match="has ended after 5 moves"):
        game.after(state, 8)


def test_outcome_needs_an_end() -> None:
    game = make("tic_tac_toe")
    assert outcome(game.replay([0, 3, 1, 4, 2])) == 1
    assert outcome(game.replay([8, 3, 0, 4, 1, 5])) == -1
    assert outcome(game.replay([4, 0, 2, 6, 3, 5, 1, 7, 8])) == 0
    with pytest.raises(ValueError, match="ongoing after 1 moves"):
        outcome(game.replay([0]))


def test_planes_are_from_the_side_to_move() -> None:
    """[C, H, W] of one position and of the next: own and other stones change places."""
    game = make("connect_four")
    planes = game.encode(np.stack([game.replay([0, 0, 6]), game.replay([0, 0, 6, 3])]))
    drawn = [
        "\n".join("".join(str(int(x)) for x in row) for row in plane[-2:]) for plane in planes[:, :2].reshape(4, 6, 7)
    ]
    assert drawn == [
        "1000000\n0000000",  # second player to move: its stone on top of column 0
        "0000000\n1000001",
        "0000000\n1000001",  # first player to move
        "1000000\n0001000",
    ]
    assert planes[0, 3].max() == 0 and planes[1, 3].min() == 1
    with pytest.raises(ValueError, match=r"states must be \[N, 5\], not \[5\]"):
        game.encode(game.initial_state())


def test_symmetries_come_in_pairs() -> None:
    with pytest.raises(ValueError, match="together, or neither"):
        replace(make("tic_tac_toe"), action_symmetries=None)


@pytest.mark.parametrize(
    ("env_id", "plies"),
    [("go5", 0), ("go5", 18), ("go9", 90), ("hex3", 1), ("hex7", 20), ("gomoku5", 6), ("gomoku15", 2)],
)
def test_a_picked_action_is_legal_and_each_is_picked_equally_often(env_id: str, plies: int) -> None:
    game, stream = make(env_id), np.array([plies], np.uint64)
    state, rng = game.initial_state(), np.random.default_rng(plies)
    while state[PLY] < plies:
        state = game.after(state, int(rng.choice(np.flatnonzero(game.legal_mask(state))[:-1])))
    legal = np.flatnonzero(game.legal_mask(state))
    counts = np.bincount([game.pick(state, stream) for _ in range(300 * len(legal))], minlength=game.num_actions)
    assert counts.sum() == counts[legal].sum()
    assert ((counts[legal] - 300.0) ** 2 / 300).sum() < len(legal) + 5 * (2 * len(legal)) ** 0.5
