"""Who sits where, whose turn it is, and what undo goes back to."""

from __future__ import annotations

import pytest

import envs
from rl.play.engine import RESIGN, Choice, Engine
from rl.play.session import Session
from tests.rl.play.test_terminal import engine


def table(first: Engine | None, second: Engine | None, env_id: str = "tic_tac_toe") -> Session:
    return Session(envs.make(env_id), (first, second))


def test_undo_takes_back_the_reply_and_the_move() -> None:
    session = table(None, engine("tic_tac_toe"))
    session.play(session.named("4"))
    session.reply()
    session.play(8)
    assert session.undo() and session.moves == [4, 0]
    assert session.undo() and session.moves == [] and session.movers == []
    assert not session.undo()
    second = table(engine("tic_tac_toe"), None)
    second.reply()
    assert not second.undo() and second.moves == [0]


def test_without_a_person_undo_goes_back_by_one_move() -> None:
    session = table(engine("tic_tac_toe"), engine("tic_tac_toe"))
    session.reply()
    session.reply()
    assert session.moves == [0, 1]
    assert session.undo() and session.moves == [0]
    people = table(None, None)
    people.play(4)
    people.play(0)
    assert people.person_to_move and people.engine is None
    assert people.undo() and people.moves == [4]


def test_two_engines_follow_one_game() -> None:
    first, second = engine("tic_tac_toe"), engine("tic_tac_toe")
    session = table(first, second)
    while not session.over:
        session.reply()
    assert session.winner == 0 and session.moves == [0, 1, 2, 3, 4, 5, 6]
    assert session.engine is None and not session.person_to_move
    assert first.moves == session.moves[:6] and second.moves == session.moves[:5], "each as of its last choice"
    session.go_to(2)
    assert session.winner is None
    session.reply()
    assert first.moves == [0, 1]


def test_who_resigns_has_lost_until_it_is_taken_back() -> None:
    session = table(None, engine("tic_tac_toe"))
    session.play(4)
    session.take(Choice(RESIGN, None))
    assert session.over and session.winner == 0 and session.resigned == 1
    with pytest.raises(ValueError, match="one side has resigned"):
        session.play(0)
    assert session.undo()
    assert not session.over and session.moves == []


def test_a_draw_has_no_winner() -> None:
    session = table(None, None)
    for move in (0, 1, 2, 4, 3, 5, 7, 6, 8):
        session.play(move)
    assert session.over and session.winner is None
