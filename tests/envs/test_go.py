"""Go's rules: against OpenSpiel, against their definition (slow_go.py), and on positions that rules get wrong."""

from __future__ import annotations

import numpy as np
import pyspiel
import pytest

from envs.conformance import check_game
from envs.game import DRAW, FIRST_WON, ONGOING, PLY, SECOND_WON, STATUS, TO_MOVE, Game, outcome
from envs.go import go
from tests.envs.slow_go import SlowGo


def play(game: Game, moves: str) -> np.ndarray:
    """The state after moves by name, "-" for a pass."""
    names = {name: action for action, name in enumerate(game.action_names)} | {"-": game.num_actions - 1}
    return game.replay([names[move] for move in moves.split()])


def allowed(game: Game, state: np.ndarray, move: str) -> bool:
    return bool(game.legal_mask(state)[game.action_names.index(move)])


def stones(game: Game, state: np.ndarray) -> list[str]:
    """Rows of the board, without coordinates."""
    return ["".join(line.split()[1:-1]) for line in game.render(state).splitlines()[1:-1]]


@pytest.mark.parametrize("size", [5, 9, 13])
@pytest.mark.parametrize("suicide", [False, True])
def test_conformance(size: int, suicide: bool) -> None:
    check_game(go(size, suicide=suicide), games=24)


@pytest.mark.parametrize(
    ("size", "games", "komi"), [(5, 500, 2.5), (7, 200, 7.0), (9, 100, 7.5), (13, 30, 7.5), (19, 6, 7.5)]
)
def test_random_games_agree_with_open_spiel(size: int, games: int, komi: float) -> None:
    """OpenSpiel ends a game that repeats a position, where we forbid the move: the same rule, shown differently."""
    game = go(size, komi=komi, max_moves=2 * size * size)
    theirs = pyspiel.load_game("go", {"board_size": size, "komi": komi})
    rng = np.random.default_rng(size)
    rows = np.arange(size * size).reshape(size, size)[::-1].ravel()  # theirs count rows from the bottom
    to_ours = np.append(rows, size * size)
    results, superko = [], 0
    for _ in range(games):
        ours, other = game.initial_state(), theirs.new_initial_state()
        while not other.is_terminal():
            assert ours[STATUS] == ONGOING
            assert ours[TO_MOVE] == other.current_player()
            drawn = [line.split()[-1] for line in str(other).splitlines() if line.strip()[:1].isdigit()]
            assert stones(game, ours) == [row.replace("+", ".") for row in drawn], other
            legal = np.flatnonzero(game.legal_mask(ours))
            other_legal = {int(to_ours[a]): a for a in other.legal_actions()}
            assert set(legal) <= set(other_legal)
            for action in set(other_legal) - set(legal):
                superko += 1
                assert other.child(other_legal[action]).is_terminal(), (str(other), game.action_names[action])
            action = size * size if ours[PLY] > 3 and rng.random() < 0.02 else int(rng.choice(legal))
            ours = game.after(ours, action)
            other.apply_action(other_legal[action])
        assert ours[STATUS] != ONGOING
        assert [outcome(ours), -outcome(ours)] == other.returns(), other
        results.append(outcome(ours))
    assert {-1, 1} <= set(results)
    assert superko > 0 or size > 5


@pytest.mark.parametrize("suicide", [False, True])
@pytest.mark.parametrize(("size", "games"), [(5, 25), (7, 2)])
def test_random_games_agree_with_the_definition(size: int, games: int, suicide: bool) -> None:
    game = go(size, komi=0.5, suicide=suicide)
    rng = np.random.default_rng(100 * size + suicide)
    ownership = np.zeros(size * size, np.int8)
    suicides = 0
    for _ in range(games):
        ours, slow = game.initial_state(), SlowGo(size, 0.5, suicide)
        while ours[STATUS] == ONGOING:
            mask = game.legal_mask(ours)
            expected = [slow.is_legal(p) for p in [*slow.points, None]]
            assert mask.tolist() == expected, game.render(ours)
            assert game.territory(ours, ownership) == slow.margin, game.render(ours)
            weights = mask.astype(float)
            weights[-1] *= 0.2  # longer games, with more captures
            action = int(rng.choice(len(mask), p=weights / weights.sum()))
            point = None if action == size * size else divmod(action, size)
            ours = game.after(ours, action)
            slow.play(point)
            suicides += point is not None and point not in slow.board
        margin = slow.margin
        assert ours[STATUS] == (FIRST_WON if margin > 0 else SECOND_WON)
    assert (suicides > 0) == suicide


KO = "C4 D4 B3 E3 C2 D2 - C3 D3"  # black's last move takes the stone at C3


def test_ko_is_retaken_only_after_a_move_elsewhere() -> None:
    game = go(5)
    state = play(game, KO)
    assert stones(game, state) == [".....", "..XO.", ".X.XO", "..XO.", "....."]
    assert not allowed(game, state, "C3")
    assert not allowed(game, play(game, KO + " - -"), "C3")  # two passes: the game is over
    state = play(game, KO + " A5 E1")
    assert allowed(game, state, "C3")
    assert stones(game, play(game, KO + " A5 E1 C3"))[2] == ".XO.O"


def test_a_ko_is_not_retaken_while_the_rest_of_the_board_is_the_same() -> None:
    game = go(5)
    state = play(game, KO + " A5 - C3")  # black ignored the threat, so white took the ko back
    assert stones(game, state)[2] == ".XO.O"
    assert not allowed(game, state, "D3")
    assert allowed(game, play(game, KO + " A5 - C3 A1 E5"), "D3")


SEND_TWO = "B2 A2 C2 B1 D1 C1 A1"  # white B1 and C1 are sent, black A1 takes both


def test_send_two_return_one_repeats_the_board_for_the_other_side() -> None:
    """Positional superko: it is the board that may not come back, whoever was to move."""
    game = go(5)
    assert stones(game, play(game, "B2 A2 C2 B1 D1"))[3:] == ["OXX..", ".O.X."]
    state = play(game, SEND_TWO)
    assert stones(game, state)[3:] == ["OXX..", "X..X."]
    assert not allowed(game, state, "B1")
    state = play(game, SEND_TWO + " E5 E4")
    assert allowed(game, state, "B1")
    assert stones(game, play(game, SEND_TWO + " E5 E4 B1"))[3:] == ["OXX..", ".O.X."]


def test_snapback_takes_five_for_one() -> None:
    game = go(5)
    moves = "A2 B2 A1 C2 B3 D2 C3 B1 D3 - E2 - E1 - C1 D1"
    assert stones(game, play(game, moves))[2:] == [".XXX.", "XOOOX", "XO.OX"]
    assert stones(game, play(game, moves + " C1"))[2:] == [".XXX.", "X...X", "X.X.X"]


def test_suicide_of_two_stones_is_an_option_and_of_one_never_allowed() -> None:
    moves = "A1 A2 - B2 - C1"
    for suicide in (False, True):
        game = go(5, suicide=suicide)
        assert allowed(game, play(game, moves), "B1") == suicide
        assert not allowed(game, play(game, "E5 A2 E4 B1"), "A1")
    game = go(5, suicide=True)
    assert stones(game, play(game, moves + " B1"))[3:] == ["OO...", "..O.."]


def test_points_between_both_sides_of_a_seki_belong_to_nobody() -> None:
    game = go(5, komi=0.5)
    black = [f"{c}{r}" for c in "AB" for r in range(1, 6)] + ["C5", "C4"]
    white = [f"{c}{r}" for c in "DE" for r in range(1, 6)] + ["C1"]
    moves = " ".join(f"{b} {w}" for b, w in zip(black, [*white, ""]))
    state = play(game, moves)
    assert stones(game, state) == ["XXXOO", "XXXOO", "XX.OO", "XX.OO", "XXOOO"]
    ownership = np.zeros(25, np.int8)
    assert game.territory(state, ownership) == 12 - 11 - 0.5
    assert [game.action_names[int(i)] for i in np.flatnonzero(ownership == 0)] == ["C3", "C2"]
    ended = play(game, moves + " - -")
    assert ended[STATUS] == FIRST_WON
    assert play(go(5, komi=1.0), moves + " - -")[STATUS] == DRAW
    assert play(go(5, komi=1.5), moves + " - -")[STATUS] == SECOND_WON


def test_the_move_limit_ends_and_counts_the_game() -> None:
    game = go(5, komi=7, max_moves=3)
    state = play(game, "C3 A1 B3")
    assert state[STATUS] == SECOND_WON  # no empty point reaches one colour only: 2 stones to 1, and komi


def test_planes_tell_liberties_ko_history_and_komi() -> None:
    game = go(5, komi=7.5)
    planes = game.encode(play(game, KO)[None])[0]
    named = dict(zip(game.plane_names, planes))

    def points(name: str) -> set[str]:
        return {game.action_names[int(i)] for i in np.flatnonzero(named[name].ravel())}

    assert points("stones of the side to move") == {"D4", "E3", "D2"}
    assert points("stones of the other side") == {"C4", "B3", "C2", "D3"}
    assert points("stones of chains with one liberty") == {"D3"}
    assert points("stones of chains with two liberties") == {"D2", "D4", "E3"}
    assert points("stones of chains with three liberties") == {"C4", "C2"}
    assert points("points that superko forbids") == {"C3"}
    assert (points("latest move"), points("move before it")) == ({"D3"}, {"C3"})
    komi = named["komi in favour of the side to move, in units of 15 points"]
    np.testing.assert_allclose(komi, 0.5)  # white is to move
    assert game.encode(play(game, KO + " -")[None])[0][10].all()


def test_a_small_board_in_a_larger_array_is_the_small_game() -> None:
    small, framed = go(5, komi=2.5, max_moves=60), go(9, board=5, komi=2.5, max_moves=60)
    rng = np.random.default_rng(5)
    places = np.append((np.arange(5)[:, None] * 9 + np.arange(5)).ravel(), 81)
    for _ in range(20):
        one, other = small.initial_state(), framed.initial_state()
        while one[STATUS] == ONGOING:
            mask = small.legal_mask(one)
            np.testing.assert_array_equal(np.flatnonzero(framed.legal_mask(other)), places[mask])
            np.testing.assert_array_equal(framed.encode(other[None])[0][:, :5, :5], small.encode(one[None])[0])
            assert not framed.encode(other[None])[0][:, 5:].any()
            action = int(rng.choice(np.flatnonzero(mask)))
            one, other = small.after(one, action), framed.after(other, int(places[action]))
        assert one[STATUS] == other[STATUS]
        theirs = np.zeros(81, np.int8)
        ours = np.zeros(25, np.int8)
        assert small.territory(one, ours) == framed.territory(other, theirs)
        np.testing.assert_array_equal(theirs[places[:-1]], ours)
        assert theirs.sum() == ours.sum()


def test_variants_differ_in_board_and_komi_alone() -> None:
    game = go(9, komi=6.5, variants=[{"share": 3}, {"board": 7, "komi": 9}, {"komi": -2.5}])
    states, shares = game.starts()
    assert shares.tolist() == [3, 1, 1]
    expected: list[dict] = [{"komi": 6.5}, {"board": 7, "komi": 9}, {"komi": -2.5}]
    for state, options in zip(states, expected, strict=True):
        alone = go(9, **options).initial_state()
        np.testing.assert_array_equal(state[: len(alone)], alone)  # a smaller board has a shorter history
    np.testing.assert_array_equal(game.initial_state(), states[0])
    assert (game.board_plane, go(9, variants=[{"komi": 5}]).board_plane, go(9, board=7).board_plane) == (0, None, 0)
    assert go(9, board=7).max_moves == 147
    assert game.max_moves == 243


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 4}, "5 to 19 lines, not 4"),
        ({"size": 20}, "5 to 19 lines, not 20"),
        ({"size": 9, "board": 10}, "board=10 must be between 5 and the array's 9"),
        ({"komi": 7.25}, "komi=7.25 must be a whole or half number"),
        ({"komi": float("nan")}, "komi=nan must be a whole or half number"),
        ({"max_moves": 1}, "max_moves=1 must be 2 or more"),
        ({"variants": [{"board": 10}]}, "board=10 must be between 5 and the array's 9"),
        ({"variants": [{"share": 0}]}, "share of a variant must be above 0, not 0"),
        ({"variants": [{"komy": 7}]}, "a variant has share, board and komi, not 'komy'"),
    ],
)
def test_options_out_of_range_are_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        go(**options)
