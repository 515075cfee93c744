"""Othello, Hex and Gomoku: against OpenSpiel move by move; what it does not have, against slow definitions."""

from __future__ import annotations

import numpy as np
import pyspiel
import pytest

from envs import make
from envs.conformance import check_game
from envs.game import DRAW, FIRST_WON, ONGOING, PLY, SECOND_WON, STATUS, TO_MOVE, Game, outcome


def cells(game: Game, state: np.ndarray) -> str:
    """The drawn board without its coordinates."""
    return "".join(c for line in game.render(state).splitlines()[1:-1] for c in line.split()[1:-1])


def their_cells(name: str, other: pyspiel.State) -> str:
    """OpenSpiel's drawing likewise. Its Hex marks stones that are connected to an edge with other letters."""
    if name == "othello":
        lines = str(other).splitlines()[2:-1]
        return "".join(c for line in lines for c in line.split()[1:-1]).replace("-", ".").upper()
    letters = str.maketrans("xyzXopqO", "XXXXOOOO")
    return "".join(str(other).translate(letters).split())


@pytest.mark.parametrize(
    ("env_id", "options", "theirs_id", "games"),
    [
        ("othello", {}, "othello", 300),
        ("hex7", {"swap": False}, "hex(board_size=7)", 300),
        ("hex11", {"swap": False}, "hex(board_size=11)", 40),
        ("hex7", {}, "hex(board_size=7,swap=True)", 300),
        ("gomoku9", {}, "mnk(m=9,n=9,k=5)", 200),
        ("gomoku5", {}, "mnk(m=5,n=5,k=5)", 200),
    ],
)
def test_random_games_agree_with_open_spiel(env_id: str, options: dict, theirs_id: str, games: int) -> None:
    game, theirs = make(env_id, **options), pyspiel.load_game(theirs_id)
    assert game.num_actions == theirs.num_distinct_actions()
    rng = np.random.default_rng(7)
    results = set()
    for _ in range(games):
        ours, other = game.initial_state(), theirs.new_initial_state()
        while not other.is_terminal():
            assert ours[STATUS] == ONGOING, other
            assert ours[TO_MOVE] == other.current_player(), other
            legal = np.flatnonzero(game.legal_mask(ours))
            assert legal.tolist() == other.legal_actions(), other
            assert cells(game, ours) == their_cells(env_id, other), other
            action = int(rng.choice(legal))
            ours = game.after(ours, action)
            other.apply_action(action)
        assert ours[STATUS] != ONGOING, other
        assert [outcome(ours), -outcome(ours)] == other.returns(), other
        results.add(outcome(ours))
    assert results == (
        {-1, 1} if env_id.startswith("hex") else {-1, 0, 1} if env_id != "gomoku9" else results | {1, -1}
    )


@pytest.mark.parametrize("env_id", ["othello", "hex3", "hex8", "hex19", "gomoku5", "gomoku11", "gomoku19"])
def test_conformance(env_id: str) -> None:
    check_game(make(env_id), games=16)


def test_conformance_with_options() -> None:
    check_game(make("hex5", swap=False), games=16)
    check_game(make("gomoku6", exact=True), games=16)


# --- Hex -------------------------------------------------------------------------------------------------------------


def test_the_swapped_stone_is_mirrored_and_means_the_same_to_its_new_owner() -> None:
    game, plain = make("hex5"), make("hex5", swap=False)
    names = game.action_names
    state = game.replay([names.index("b4")])
    assert game.legal_mask(state)[names.index("swap")]
    assert not game.legal_mask(game.initial_state())[names.index("swap")]
    swapped = game.after(state, names.index("swap"))
    assert swapped[TO_MOVE] == 0
    assert not game.legal_mask(swapped)[names.index("swap")]
    assert cells(game, swapped) == "." * 8 + "O" + "." * 16  # d2
    assert game.legal_mask(swapped)[names.index("b4")]
    # From here on a game and its mirror image with the players exchanged have exchanged results.
    rng = np.random.default_rng(0)
    results = set()
    for _ in range(50):
        first = int(rng.integers(25))
        ours = game.after(game.replay([first]), names.index("swap"))
        mirror = plain.replay([first])  # the stone's first owner is the one who swapped
        while ours[STATUS] == ONGOING:
            assert mirror[STATUS] == ONGOING
            action = int(rng.choice(np.flatnonzero(game.legal_mask(ours))))
            ours = game.after(ours, action)
            mirror = plain.after(mirror, action % 5 * 5 + action // 5)
        assert outcome(mirror) == -outcome(ours)
        results.add(outcome(ours))
    assert results == {-1, 1}


# --- Gomoku ----------------------------------------------------------------------------------------------------------


def slow_status(stones: np.ndarray, exact: bool) -> int:
    """Status of a board [N, N] (0 empty, 1 and 2 the players): all lines looked through, for who has won."""
    size = len(stones)
    for player in (1, 2):
        for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
            for row in range(size):
                for column in range(size):
                    inside = [(row + i * down, column + i * right) for i in range(-1, 6)]
                    own = [0 <= r < size and 0 <= c < size and stones[r, c] == player for r, c in inside]
                    if all(own[1:6]) and not (exact and (own[0] or own[6])):
                        return {1: FIRST_WON, 2: SECOND_WON}[player]
    return DRAW if stones.all() else ONGOING


@pytest.mark.parametrize("exact", [False, True])
def test_gomoku_agrees_with_its_definition(exact: bool) -> None:
    game = make("gomoku7", exact=exact)
    rng = np.random.default_rng(1)
    overlines = 0
    for _ in range(60):
        # Few columns, so that long rows are made.
        state, stones = game.initial_state(), np.zeros((7, 7), np.int64)
        while state[STATUS] == ONGOING:
            weight = game.legal_mask(state) * np.repeat(np.where(np.arange(7) % 2 == state[TO_MOVE], 20.0, 1.0), 7)
            action = int(rng.choice(49, p=weight / weight.sum()))
            stones[divmod(action, 7)] = state[TO_MOVE] + 1
            state = game.after(state, action)
            assert state[STATUS] == slow_status(stones, exact), game.render(state)
            overlines += exact and state[STATUS] != slow_status(stones, False)
    assert (overlines > 0) == exact


def test_an_overline_wins_in_free_style_only() -> None:
    moves = [0, 18, 1, 19, 2, 20, 4, 22, 5, 31, 3]  # a9 b9 c9 . e9 f9, then d9: six in a row
    assert make("gomoku9").replay(moves)[STATUS] == FIRST_WON
    assert make("gomoku9", exact=True).replay(moves)[STATUS] == ONGOING


# --- Othello ---------------------------------------------------------------------------------------------------------


def test_a_side_that_cannot_move_passes_and_may_move_again() -> None:
    game = make("othello")
    rng = np.random.default_rng(2)
    passes = 0
    for _ in range(60):
        state = game.initial_state()
        while state[STATUS] == ONGOING:
            legal = np.flatnonzero(game.legal_mask(state))
            if 64 in legal:
                assert legal.tolist() == [64]
                after = game.after(state, 64)
                assert (after[3:] == state[3:]).all()
                assert after[TO_MOVE] == 1 - state[TO_MOVE]
                assert after[PLY] == state[PLY] + 1
                passes += 1
            state = game.after(state, int(rng.choice(legal)))
    assert passes > 10


@pytest.mark.parametrize(
    ("env_id", "message"),
    [("hex2", "3 to 19 lines, not 2"), ("hex20", "3 to 19 lines, not 20"), ("gomoku4", "5 to 19 lines, not 4")],
)
def test_sizes_out_of_range_are_named(env_id: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(env_id)
