"""Stones read from the text that a game draws."""

from __future__ import annotations

from dataclasses import replace

import pytest

import envs
from envs.go import go
from rl.play.marks import marks, placed, places, shape_of


@pytest.mark.parametrize(
    ("env_id", "moves", "rows"),
    [
        ("tic_tac_toe", [4, 0], ["O..", ".X.", "..."]),
        ("connect_four", [3, 3, 2], [*["......."] * 4, "...O...", "..XX..."]),
        ("othello", [19], [*["........"] * 2, "...X....", "...XX...", "...XO...", *["........"] * 3]),
        ("hex3", [0, 4], ["X..", ".O.", "..."]),
        ("gomoku5", [0, 24], ["X....", *["....."] * 3, "....O"]),
        ("go5", [6, 0], ["O....", ".X...", *["....."] * 3]),
    ],
)
def test_every_games_stones(env_id: str, moves: list[int], rows: list[str]) -> None:
    game = envs.make(env_id)
    assert marks(game, game.replay(moves)) == rows


@pytest.mark.parametrize("size", [15, 19])
def test_letters_of_coordinates_are_no_stones(size: int) -> None:
    """The columns of a large board are called O and X too, or would be."""
    game = envs.make(f"go{size}")
    assert marks(game, game.initial_state()) == ["." * size] * size


def test_a_smaller_board_in_a_larger_array() -> None:
    game = go(9, board=7)
    assert shape_of(game) == (7, 7)
    assert marks(game, game.replay([10])) == [".......", ".X.....", *["......."] * 5]


def test_another_drawing_gives_none() -> None:
    game = replace(envs.make("tic_tac_toe"), render=lambda state: f"{state.sum()} stones\nX O .\n")
    assert marks(game, game.initial_state()) is None
    assert places(game, game.render(game.initial_state()).split("\n")) == [[], [], []]


def test_the_stone_that_was_put() -> None:
    game = envs.make("othello")
    before, after = (marks(game, game.replay(moves)) for moves in ([], [19]))
    assert before is not None and after is not None
    assert placed(before, after) == (2, 3), "turned discs had an owner before"
    assert placed(after, after) is None
