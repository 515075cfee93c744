"""The public conformance check: good games pass, and each broken rule is caught by its own sentence."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envs import GAMES, make
from envs.conformance import ConformanceError, Report, check_game, main
from envs.game import HEADER, INIT, PLANES, PLAY, PLY, STATUS, TO_MOVE, Game
from envs.tic_tac_toe import init
from tests.envs.broken_games import BROKEN, CALLS, legal_nothing, play_counts_calls, rule

CONNECT_THREE = Path(__file__).parents[1] / "examples" / "connect_three.py"


@pytest.mark.parametrize("env_id", [*GAMES, f"{CONNECT_THREE}:connect_three"])
def test_games_conform(env_id: str) -> None:
    check_game(make(env_id))


def test_games_follow_from_the_seed() -> None:
    game = make("connect_four")
    assert check_game(game, 20, seed=3) == check_game(game, 20, seed=3)
    assert check_game(game, 20, seed=3) != check_game(game, 20, seed=4)
    with pytest.raises(ValueError, match="games must be 1 or more"):
        check_game(game, games=0)


def test_report_counts_the_games() -> None:
    report = check_game(make("tic_tac_toe"), games=300)
    assert report.games == 300 == report.first_wins + report.second_wins + report.draws
    assert report.first_wins > report.second_wins > report.draws > 0  # 0.585, 0.288, 0.127 in random play
    assert (report.shortest, report.longest, report.same_side_again) == (5, 9, 0)
    assert 300 * 7 < report.moves < 300 * 8


@pytest.mark.parametrize(("changes", "sentence"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
def test_broken_games_are_caught(changes: dict[str, Any], sentence: str) -> None:
    game = replace(make("tic_tac_toe"), **changes)
    with pytest.raises(ConformanceError, match=re.escape(sentence)) as error:
        check_game(game)
    assert "\n" not in str(error.value)


def without_symmetries(**changes: Any) -> Game:
    return replace(make("tic_tac_toe"), point_symmetries=None, action_symmetries=None, **changes)


def test_a_state_kept_outside_the_vector_shows_on_replay() -> None:
    """Two copies played one after the other agree here; only the game played again differs."""
    CALLS.clear()
    with pytest.raises(ConformanceError, match="play gives different results"):
        check_game(without_symmetries(play=play_counts_calls))


def test_the_sentence_says_where() -> None:
    with pytest.raises(ConformanceError, match=r"^tic_tac_toe, after moves (\d, ){3}\d: the game is ongoing but"):
        check_game(without_symmetries(legal=legal_nothing))


@rule(PLANES)
def planes_impartial(state, out):
    for cell in range(9):
        out[:, cell // 3, cell % 3] = state[HEADER + cell] != 0


@rule(PLAY)
def play_last_stone_wins(state, action):
    state[HEADER + action] = 1
    state[PLY] += 1
    if state[PLY] == 9:
        state[STATUS] = 1 + state[TO_MOVE]
    state[TO_MOVE] = 1 - state[TO_MOVE]


def test_planes_of_an_impartial_game_need_no_side() -> None:
    report = check_game(without_symmetries(play=play_last_stone_wins, planes=planes_impartial))
    assert report == Report(200, 1800, 200, 0, 0, 9, 9, 0)


@rule(INIT)
def init_with_params(state, params):
    init(state, params)
    state[HEADER] = params[0]


def test_a_game_where_stones_help_the_other_side_is_not_monotone() -> None:
    with pytest.raises(ConformanceError, match=r"declared monotone, but action \d would not have won if"):
        check_game(replace(make("connect_four"), monotone=True))  # a stone carries the next one of its column


def test_params_reach_init() -> None:
    check_game(without_symmetries(init=init_with_params, params=(0,)))
    with pytest.raises(ConformanceError, match="no action is legal"):  # one stone too many for nine moves
        check_game(without_symmetries(init=init_with_params, params=(1,)))


def test_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([f"{CONNECT_THREE}:connect_three", "--games", "10"]) == 0
    line = capsys.readouterr().out
    assert re.fullmatch(
        r"conforms: Connect Three \(connect_three\), 10 random games of \d+ to \d+ moves, "
        r"\d+ won by the first player, \d+ by the second, \d+ drawn; symmetries: 2\n",
        line,
    )

    broken = tmp_path / "broken.py"
    broken.write_text(CONNECT_THREE.read_text().replace("state[PLY] += 1", "state[PLY] += 2"))
    assert main([f"{broken}:connect_three"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.fullmatch(
        r"connect_three, after moves \d: state\[PLY\] must count the moves: 1 by now, not 2\n", shown.err
    )

    assert main(["no_such_game"]) == 2
    assert capsys.readouterr().err.startswith("unknown environment 'no_such_game'")


def test_as_a_module() -> None:
    command = [sys.executable, "-W", "error", "-m", "envs.conformance", "tic_tac_toe", "--games", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("conforms: Tic-tac-toe (tic_tac_toe), 3 random games of ")
