"""A game in the terminal, driven as a person would: by lines of text. The agent is scripted."""

import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import envs
from envs.game import Game
from rl.agent import Analysis
from rl.play.engine import Engine
from rl.play.terminal import board, opinion, play


class Scripted:
    """Stands in for an Agent that plays by its network alone: takes the lowest legal move."""

    def __init__(self, env_id: str) -> None:
        self.game: Game = envs.make(env_id)
        self.name = "scripted"
        self.info: dict[str, Any] = {}
        self.asked = 0

    def analyse_state(self, state: np.ndarray, simulations: int) -> Analysis:
        self.asked += 1
        legal = self.game.legal_mask(state)
        action = int(np.flatnonzero(legal)[0])
        return Analysis(
            action=action,
            policy=(legal / legal.sum()).astype(np.float32),
            value=0.5,
            wdl=np.array([0.7, 0.1, 0.2], np.float32),
            prior=(legal / legal.sum()).astype(np.float32),
            visits=legal.astype(np.int32),
            action_values=np.where(legal, 0.5, np.nan).astype(np.float32),
            proven=None,
            principal_variation=(action,),
            simulations=simulations,
        )


def engine(env_id: str, **info: Any) -> Engine:
    agent: Any = Scripted(env_id)
    agent.info = info
    return Engine(agent, simulations=0)


def run(env_id: str, lines: str, monkeypatch: pytest.MonkeyPatch, **options: Any) -> str:
    """What is printed when ``lines`` are typed, then the input ends."""
    out = io.StringIO()
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    play(engine(env_id), console=Console(file=out, width=100, highlight=False), **options)
    return out.getvalue()


def test_the_swap_of_hex_is_a_move_and_sides_change_by_another_word(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run("hex3", "sides\nswap\nquit\n", monkeypatch)
    assert shown.count("The agent plays") == 2 and "neither" not in shown


def test_a_game_to_the_end_then_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run("tic_tac_toe", "4\n2\n6\n5\nnew\nquit\n", monkeypatch)
    # Person 4, 2, 6 (the anti-diagonal); the agent answers 0 and 1.
    assert "You win." in shown
    assert "The game has ended" in shown
    assert shown.rstrip().endswith("Goodbye.")


def test_the_agent_wins_and_moves_first_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run("tic_tac_toe", "1\n3\n5\n", monkeypatch, human_first=False)
    assert shown.index("The agent plays 0") < shown.index("Your move (○)")
    assert "The agent wins." in shown  # 0, 2, 4, 6


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("9", "'9' is neither a move nor a command; legal moves are: 0, 1,"),
        ("hello", "'hello' is neither a move nor a command"),
        ("[bold]", "'[bold]' is neither a move nor a command"),
        ("undo", "There is no move of yours to take back."),
        ("0\n1", "Move 3 (1) is not legal here"),
        ("help", "Type a move, or: undo"),
    ],
)
def test_other_input_is_answered_by_a_sentence(typed: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run("tic_tac_toe", f"{typed}\nquit\n", monkeypatch)
    assert sentence in " ".join(shown.split())
    assert "Traceback" not in shown


@pytest.mark.parametrize("lines", ["", "4\n", "4"])
def test_the_end_of_input_leaves_cleanly(lines: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("tic_tac_toe", lines, monkeypatch).rstrip().endswith("Goodbye.")


def test_ctrl_c_leaves_cleanly(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(prompt: object = "") -> str:
        raise KeyboardInterrupt

    out = io.StringIO()
    monkeypatch.setattr("builtins.input", interrupted)
    play(engine("tic_tac_toe"), console=Console(file=out))
    assert out.getvalue().rstrip().endswith("Goodbye.")


def test_hint_tells_without_playing(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run("connect_four", "3\nhint\nquit\n", monkeypatch)
    assert "The agent would play 0" in shown
    assert shown.count("●") == 2 + 3, "two boards with one stone each and three prompts"


def test_the_board_shows_stones_labels_and_the_last_move() -> None:
    assert board(envs.make("tic_tac_toe"), [4, 0]).plain.splitlines() == ["(○)1 2 ", " 3 ● 5 ", " 6 7 8 "]
    assert board(envs.make("connect_four"), [3, 3, 2]).plain.splitlines()[-3:] == [
        " · · · ○ · · · ",
        " · ·(●)● · · · ",
        " 0 1 2 3 4 5 6 ",
    ]
    assert "(" not in board(envs.make("connect_four"), []).plain


def test_the_opinion_shows_value_and_favourites() -> None:
    ours = engine("tic_tac_toe")
    for action in range(6):
        ours.play(action)
    answer = ours.choose().analysis
    assert answer is not None
    out = io.StringIO()
    Console(file=out, width=120).print(opinion(ours.game, answer, "you"))
    assert "+0.50" in out.getvalue() and "6 33%" in out.getvalue()
    assert out.getvalue().count("█") == 22 and out.getvalue().count("░") == 8


def test_an_agent_that_resigns_has_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr("sys.stdin", io.StringIO("8\n7\n6\nundo\nundo\nquit\n"))
    play(engine("tic_tac_toe", resign_below=0.6), console=Console(file=out, width=100, highlight=False))
    shown = out.getvalue()
    assert shown.count("The agent resigns.") == 1  # after as many moves as the board has lines
    assert shown.count("You win.") == 1
    assert "new, undo or quit?" in shown
