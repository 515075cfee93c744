"""Games of Go to SGF and back."""

from __future__ import annotations

import pytest

import envs
from rl.sgf import read_sgf, write_sgf


def test_a_game_comes_back_as_it_was_written() -> None:
    game = envs.make("go9", komi=6.5)
    moves = [40, 30, 81, 22, 0, 81, 81]
    text = write_sgf(game, moves, names=("one", "two"), result="W+6.5", opening=2, comment="a test")
    assert "B[ee]" in text and "KM[6.5]" in text and "W[tt]" in text
    read = read_sgf(text)
    assert (read.moves, read.names, read.result) == (moves, ("one", "two"), "W+6.5")
    assert read.game.params == game.params


def test_handicap_and_two_moves_of_one_colour_get_passes_between() -> None:
    read = read_sgf("(;GM[1]FF[4]SZ[5]HA[2]KM[0]AB[ae][ea];W[cc];W[bb])")
    assert read.moves == [20, 25, 4, 12, 25, 6]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "not an SGF game of Go"),
        ("(;GM[1]SZ[9];B[", "not an SGF game of Go: unexpected end of SGF data"),
        ("(;GM[1]SZ[9];B[zz])", "not an SGF game of Go"),
        ("(;GM[1]SZ[99])", "size out of range: 99"),
        ("(;GM[1]SZ[9]KM[much])", "not an SGF game of Go"),
        ("(;GM[1]SZ[9]KM[6.2])", "whole or half"),
        ("(;GM[1]SZ[9];B[ee];W[ee])", "move 2 .E5. is not legal"),
        ("(;GM[1]SZ[9]AW[ee];B[aa])", "sets up stones"),
    ],
)
def test_what_cannot_be_read(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_sgf(text)


def test_only_go_is_written() -> None:
    with pytest.raises(ValueError, match="only Go"):
        write_sgf(envs.make("hex5"), [0], names=("a", "b"), result="")
