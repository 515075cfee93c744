"""SGF: every game survives the way out and back, real-world files are read, broken ones refused in one sentence."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from sgfmill import sgf as sgfmill_go

import envs
from envs.game import ONGOING, STATUS, Game, outcome
from rl.sgf import board_size, family, komi, read_sgf, result_of, write_sgf

# Not on PATH everywhere: Debian keeps games in a folder of their own.
GNUGO = shutil.which("gnugo") or shutil.which("/usr/games/gnugo")

# As a program for people saves it: variations, comments with escapes, point lists in markup, both forms of a pass.
COMMENTED = r"""Some text before the game.
(;GM[1]FF[4]CA[UTF-8]AP[CGoban:3]ST[2]RU[Japanese]SZ[9]KM[6.50]
PW[Shūsaku]PB[a \\ b \] c]DT[1846-09-11]RE[W+2.5]C[A comment\: with (brackets; [and\] all)
on two lines]
;B[ee]BL[1769.14];W[ce]C[!]LB[cc:A][dd:B]
(;B[cd];W[];B[be]TR[aa:cc];W[tt])
(;B[gc]N[variation];W[gg](;B[aa])(;B[bb])))
(;GM[1]SZ[5];B[aa])"""


def random_game(game: Game, seed: int, longest: int = 2000) -> list[int]:
    random, state = np.random.default_rng(seed), game.initial_state()
    moves: list[int] = []
    while state[STATUS] == ONGOING and len(moves) < longest:
        moves.append(int(random.choice(np.flatnonzero(game.legal_mask(state)))))
        state = game.after(state, moves[-1])
    return moves


@pytest.mark.parametrize(
    ("env_id", "options"),
    [
        ("go9", {}),
        ("go5", {"komi": -3.5}),
        ("go7", {"komi": 9.0, "suicide": True}),
        ("go19", {"komi": 0.0}),
        ("othello", {}),
        ("gomoku9", {}),
        ("gomoku19", {"exact": True}),
        ("hex7", {}),
        ("hex19", {"swap": False}),
    ],
)
def test_games_survive_the_way_out_and_back(env_id: str, options: dict) -> None:
    game = envs.make(env_id, **options)
    for seed in range(3):
        moves = random_game(game, seed)
        result = result_of(game, game.replay(moves))
        names = ("one", "the \\other] player: gtp:x --y [z")
        found = read_sgf(write_sgf(game, moves, names=names, result=result, opening=3, comment="] \\ [;("))
        assert (found.game.env_id, found.game.params) == (game.env_id, game.params)
        assert found.moves == tuple(moves)
        assert (found.names, found.result) == (names, result)


def test_a_smaller_board_in_a_larger_array_is_written_as_itself() -> None:
    game = envs.make("go9", board=5)
    found = read_sgf(write_sgf(game, [0, 10, 81, 40], names=("", ""), result=None))
    assert found.game.env_id == "go5" and board_size(game) == 5
    assert [found.game.action_names[a] for a in found.moves] == ["A5", "B4", "pass", "E1"]
    assert found.names == ("", "") and found.result is None


def test_what_others_expect_is_in_the_file() -> None:
    go = envs.make("go9")
    text = write_sgf(go, [0, 80, 81], names=("x", "y"), result="B+R", opening=1)
    other = sgfmill_go.Sgf_game.from_string(text)
    assert (other.get_size(), other.get_komi(), other.get_winner()) == (9, 7.0, "b")
    assert [node.get_move() for node in other.get_main_sequence()[1:]] == [("b", (8, 0)), ("w", (0, 8)), ("b", None)]
    assert "random" in other.get_main_sequence()[1].get("C")
    hexed = write_sgf(envs.make("hex7"), [1, 49], names=("x", "y"), result=None).replace("\n", "")
    assert "GM[11]" in hexed and ";B[b1]" in hexed and ";W[swap-pieces]" in hexed
    assert ";B[ef]" in write_sgf(envs.make("othello"), [44], names=("x", "y"), result=None)  # e6: column e, row 6


def test_results_count_points_where_there_are_any() -> None:
    go = envs.make("go5", komi=3.5)
    alone = go.replay([12, 25, 25])  # one black stone owns all 25 points
    assert (outcome(alone), result_of(go, alone)) == (1, "B+21.5")
    assert result_of(go, go.replay([25, 25])) == "W+3.5"
    drawn = envs.make("go5", komi=0.0)
    assert result_of(drawn, drawn.replay([25, 25])) == "0"
    five = envs.make("gomoku5")
    assert result_of(five, five.replay([0, 5, 1, 6, 2, 7, 3, 8, 4])) == "B+"


def test_a_commented_game_with_variations_is_read_along_its_main_line() -> None:
    found = read_sgf(COMMENTED)
    assert [found.game.action_names[a] for a in found.moves] == ["E5", "C5", "C6", "pass", "B5", "pass"]
    assert found.game.env_id == "go9" and komi(found.game) == 6.5
    assert found.names == ("a \\ b ] c", "Shūsaku") and found.result == "W+2.5"
    latin = read_sgf("(;GM[1]SZ[9]CA[ISO-8859-1]PB[Jürgen];B[aa])".encode("latin-1"))
    assert latin.names[0] == "Jürgen"


def test_a_pass_after_the_end_does_no_harm() -> None:
    found = read_sgf("(;SZ[9];B[ee];W[];B[];W[tt];B[])")
    assert found.moves == (40, 81, 81)


def test_handicap_stones_are_moves() -> None:
    found = read_sgf("(;GM[1]SZ[9]HA[3]KM[0.5]AB[gc][cg][gg];W[ee];B[cc])")
    names = [found.game.action_names[a] for a in found.moves]
    assert names == ["G7", "pass", "C3", "pass", "G3", "E5", "C7"]
    black_first = read_sgf("(;GM[1]SZ[9]AB[aa:ba];B[ee])")
    names = [black_first.game.action_names[a] for a in black_first.moves]
    assert names == ["A9", "pass", "B9", "pass", "E5"]


def test_a_side_may_move_twice_or_the_second_first_and_problems_are_read() -> None:
    def names(text: str) -> list[str]:
        found = read_sgf(text)
        return [found.game.action_names[a] for a in found.moves]

    assert names("(;SZ[9];W[ee];B[cc];B[gg];B[];W[aa])") == ["pass", "E5", "C7", "pass", "G3", "A9"]
    assert names("(;SZ[9]AB[aa][ba]AW[ia];B[ee])") == ["A9", "J9", "B9", "pass", "E5"]
    assert names("(;SZ[9]AW[aa][ba];B[ee])") == ["pass", "A9", "pass", "B9", "E5"]
    many = "".join(f";B[{column}{row}]" for column in "abcde" for row in "abcd")
    assert read_sgf(f"(;SZ[5]{many})").moves[1::2] == (25,) * 19


def test_problems_and_games_that_go_on_after_passes_are_read_with_turns_that_end_nothing() -> None:
    def told(text: str) -> list[tuple[str, bool]]:
        found = read_sgf(text)
        assert len(found.numbers) == len(found.moves) == len(found.given)
        return [(found.game.action_names[a], g) for a, g in zip(found.moves, found.given, strict=True)]

    turn = ("pass", True)
    problem = told("(;GM[1]SZ[9]AB[cc][gg][cg]PL[B];B[];W[gc];B[ee])")
    assert problem[:6] == [("C7", False), turn, ("C3", False), turn, ("G3", False), turn]
    assert problem[6:] == [("pass", False), ("G7", False), ("E5", False)]
    assert told("(;GM[1]SZ[9]PL[W])") == [turn], "nothing is set up"
    assert told("(;GM[1]SZ[9]AB[cc];PL[B])") == [("C7", False), turn], "in a node of its own"
    assert told("(;GM[1]SZ[9];AB[cc];AW[gg];B[ee])") == [("C7", False), ("G3", False), ("E5", False)]
    assert told("(;GM[1]SZ[9]AB[cc]PL[B];W[ee])") == [("C7", False), ("E5", False)], "who moves knows better"
    # White's pass is none where White moves again; a stone after two passes takes both back.
    assert told("(;SZ[9];B[cc];W[];W[gg])") == [("C7", False), ("G3", False)]
    resumed = told("(;SZ[9];B[cc];W[gg];B[];W[];B[gc];W[cg])")
    assert resumed == [("C7", False), ("G3", False), ("G7", False), ("C3", False)]
    assert told("(;SZ[9];B[];W[];B[aa];W[];B[])") == [("A9", False), ("pass", False), ("pass", False)]


def test_komi_as_servers_write_it() -> None:
    written = {"375": 7.5, "650": 6.5, "3.75": 7.5, "6,5": 6.5, "7.5": 7.5, "-3": -3.0, "0": 0.0}
    for text, points in written.items():
        assert komi(read_sgf(f"(;SZ[9]KM[{text}])").game) == points


def test_names_that_are_no_text_lose_no_game() -> None:
    game = envs.make("go5")
    text = write_sgf(game, [12], names=("engine \udcff", "b"), result=None)
    assert read_sgf(text).names == ("engine ?", "b")


def test_hex_and_othello_are_read_as_others_write_them() -> None:
    found = read_sgf("(;FF[4]GM[11]SZ[11];B[C2];W[swap-pieces];B[k11];W[resign])")
    assert [found.game.action_names[a] for a in found.moves] == ["c2", "swap", "k11"]
    assert read_sgf("(;GM[11]SZ[11];B[c2];W[swap])").moves == (13, 121)
    assert read_sgf("(;GM[2];B[d3];W[ce])").moves == (19, 34)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "no readable SGF"),
        ("no game at all", "no readable SGF"),
        ("(;GM[1]SZ[9];B[ee]", "unexpected end"),
        ("(;GM[1]SZ[9]B;)", "no readable SGF"),
        (b"\xff\xfe\x00(\x00;", "no readable SGF"),
        ("(;GM[7])", "GM[7] is no game of ours"),
        ("(;GM[x])", "GM[x]"),
        ("(;SZ[nine])", "SZ[nine]"),
        ("(;SZ[9:13])", "SZ[9:13]"),
        ("(;SZ[4])", "go is played on 5 to 19 lines"),
        ("(;SZ[25])", "go is played on 5 to 19 lines, not 25"),
        ("(;GM[2]SZ[10])", "othello is played on 8 lines"),
        ("(;SZ[9]KM[much])", "KM[much]"),
        ("(;SZ[9]KM[375.25])", "komi=375.25"),
        ("(;SZ[9];B[jj])", "move 1 (B[jj]) is no move of Go 9×9"),
        ("(;SZ[9];B[e])", "move 1 (B[e]) is no move"),
        ("(;SZ[9];B[ee];W[ee])", "move 2 (W[ee]): move 2 (E5) is not legal"),
        ("(;GM[4]SZ[9];B[ee];B[ff])", "move 2 (B[ff]) is out of turn: it is white's move"),
        ("(;GM[4]SZ[5];B[aa];W[ba];B[ab];W[bb];B[ac];W[bc];B[ad];W[bd];B[ae];W[be])", "the game has ended"),
        ("(;SZ[9]AE[aa];B[bb])", "stones are set up or taken off, which is read only before the first move of Go"),
        ("(;SZ[9];B[bb];AB[aa])", "only before the first move"),
        ("(;GM[4]SZ[9]AB[aa];W[bb])", "only before the first move of Go"),
        ("(;SZ[9]AB[zz])", "AB or AW holds what is no point"),
        ("(;GM[4]SZ[9];B[])", "is no move of Gomoku"),
        ("(;GM[11]SZ[7];B[swap-sides])", "is no move of Hex"),
    ],
)
def test_broken_files_are_refused_in_one_sentence(text: str | bytes, part: str) -> None:
    with pytest.raises(ValueError, match=r"SGF") as refused:
        read_sgf(text)
    assert part in str(refused.value) and "\n" not in str(refused.value)


def test_damaged_files_end_in_a_sentence_whatever_the_damage() -> None:
    """Every cut and many changed bytes: a game or a ValueError, nothing else."""
    whole, random = COMMENTED.encode(), np.random.default_rng(0)
    damaged = [whole[:n] for n in range(0, len(whole), 7)]
    for _ in range(300):
        changed = bytearray(whole)
        for place in random.integers(0, len(whole), 3):
            changed[place] = random.integers(0, 256)
        damaged.append(bytes(changed))
    refused = 0
    for text in damaged:
        try:
            read_sgf(text)
        except ValueError as error:
            refused += "\n" not in str(error)
    assert refused > 50


def test_what_has_no_sgf_is_refused() -> None:
    four = envs.make("connect_four")
    assert family(four) is None and komi(four) is None
    with pytest.raises(ValueError, match="connect_four has no SGF"):
        write_sgf(four, [3], names=("", ""), result=None)
    with pytest.raises(ValueError, match="no square board"):
        board_size(four)
    with pytest.raises(ValueError, match="move 2"):
        write_sgf(envs.make("go9"), [0, 0], names=("", ""), result=None)


@pytest.mark.skipif(GNUGO is None, reason="needs GNU Go (apt install gnugo)")
def test_gnu_go_loads_what_we_write(tmp_path: Path) -> None:
    assert GNUGO is not None
    game = envs.make("go7", komi=4.5)
    moves = random_game(game, seed=5, longest=20)
    file = tmp_path / "game.sgf"
    file.write_text(write_sgf(game, moves, names=("a", "b]"), result=None, comment="[x]"), encoding="utf-8")
    asked = f"loadsgf {file}\nget_komi\nlist_stones black\nlist_stones white\nquit\n"
    done = subprocess.run([GNUGO, "--mode", "gtp"], input=asked, capture_output=True, text=True, check=True, timeout=60)
    answers = [line[2:] for line in done.stdout.splitlines() if line.startswith(("= ", "? "))]
    assert float(answers[1]) == 4.5
    rows = game.render(game.replay(moves)).splitlines()[1:-1]
    points = [
        (f"{'ABCDEFG'[c]}{7 - r}", mark) for r, row in enumerate(rows) for c, mark in enumerate(row.split()[1:-1])
    ]
    for mark, stones in zip("XO", answers[2:4], strict=True):
        assert set(stones.split()) == {name for name, m in points if m == mark}
