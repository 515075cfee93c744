"""make(): shipped games, users' games, and one clear sentence for each mistake."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from envs import GAMES, make
from envs.game import Game

CONNECT_THREE = Path(__file__).parents[1] / "examples" / "connect_three.py"


@pytest.mark.parametrize("env_id", GAMES)
def test_shipped_games_carry_their_name(env_id: str) -> None:
    assert make(env_id).env_id == env_id


def test_a_family_is_made_for_a_size_and_with_options() -> None:
    game = make("go13", komi=5.5, suicide=True)
    assert (game.env_id, game.board_shape, game.params[1:4]) == ("go13", (13, 13), (13, 11, 1))
    assert make("go9").params == make("go9", komi=7.0).params


@pytest.mark.parametrize(
    ("env_id", "options", "message"),
    [
        ("go9", {"handicap": 2}, "go9 has no option 'handicap': it has board, komi, suicide, max_moves"),
        ("go9", {"size": 13}, "go9 has no option 'size'"),
        ("tic_tac_toe", {"komi": 7}, "tic_tac_toe has no option 'komi': it has none"),
        (f"{CONNECT_THREE}:connect_three", {"rows": 7}, "has no option 'rows': it has none"),
        ("go9", {"komi": "seven"}, "go9 cannot be made with komi='seven': "),
        ("go9", {"suicide": "no"}, "go: suicide='no' must be true or false"),
        ("hex7", {"swap": "no"}, "hex: swap='no' must be true or false"),
        ("gomoku9", {"exact": 2}, "gomoku: exact=2 must be true or false"),
        ("hex07", {}, "unknown environment 'hex07'"),
        ("go3", {}, "go is played on 5 to 19 lines, not 3"),
        ("chess8", {}, "unknown environment 'chess8'.*goN for a board of N lines"),
    ],
)
def test_wrong_options_and_sizes_are_named(env_id: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(env_id, **options)


def test_game_from_a_file() -> None:
    game = make(f"{CONNECT_THREE}:connect_three")
    assert (game.env_id, game.board_shape, game.num_actions) == ("connect_three", (4, 5), 5)
    assert make(f"{CONNECT_THREE}:connect_three").play is game.play  # loaded once


def test_game_from_a_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "rules_in_a_module.py").write_text(CONNECT_THREE.read_text())
    monkeypatch.syspath_prepend(tmp_path)
    assert make("rules_in_a_module:connect_three").title == "Connect Three"
    sys.modules.pop("rules_in_a_module")


def test_attribute_may_be_the_game_itself(tmp_path: Path) -> None:
    path = tmp_path / "ready.py"
    path.write_text("from envs import make\nready = make('tic_tac_toe')\n")
    assert isinstance(make(f"{path}:ready"), Game)


def test_a_file_does_not_replace_a_module_of_its_name(tmp_path: Path) -> None:
    path = tmp_path / "random.py"
    path.write_text("from envs.tic_tac_toe import tic_tac_toe\n")
    assert make(f"{path}:tic_tac_toe").env_id == "tic_tac_toe"
    assert sys.modules["random"] is random


def test_files_of_one_name_stay_apart(tmp_path: Path) -> None:
    text = CONNECT_THREE.read_text()
    boards = []
    for folder, stone in (("a", "stone"), ("b", "stone + 4"), ("a", "stone")):
        path = tmp_path / folder / "rules.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace("board[row, action] = stone", f"board[row, action] = {stone}"))
        game = make(f"{path}:connect_three")
        boards.append(int(game.after(game.initial_state(), 2)[-3]))
    assert boards == [1, 5, 1]


@pytest.mark.parametrize(
    ("env_id", "sentence"),
    [
        ("conect_four", "unknown environment 'conect_four': choose one of tic_tac_toe, connect_four"),
        (":game", "must be 'file.py:attribute' or 'module:attribute'"),
        ("game.py:", "must be 'file.py:attribute' or 'module:attribute'"),
        ("no_such_file.py:game", "environment file 'no_such_file.py' does not exist in /"),
        ("no_such_module:game", "'no_such_module' cannot be imported: No module named 'no_such_module'"),
        (f"{CONNECT_THREE}:connect_five", "connect_three.py defines no 'connect_five'"),
        (f"{CONNECT_THREE}:ROWS", "ROWS gave a int, not an envs.game.Game"),
        ("platform:system", "system is not called, for it is not declared to make a game: write `def system(...)"),
    ],
)
def test_mistakes_are_named(env_id: str, sentence: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011, the sentence is compared below
        make(env_id)
    assert sentence in str(error.value)


def test_a_module_name_where_a_file_is_meant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules_here.py").write_text(CONNECT_THREE.read_text())
    with pytest.raises(ValueError, match=r"to load the file, write 'rules_here\.py:attribute'"):
        make("rules_here:connect_three")


@pytest.mark.parametrize(
    ("text", "why"), [("def f(:\n", "invalid syntax"), ("import not_installed\n", "not_installed")]
)
def test_a_file_that_cannot_be_loaded_leaves_nothing_behind(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "half.py"
    path.write_text(text)
    before = set(sys.modules)
    for _ in range(2):  # a half-made module would let the second call get further
        with pytest.raises(ValueError, match=f"cannot be imported: .*{why}"):
            make(f"{path}:game")
    assert set(sys.modules) == before
