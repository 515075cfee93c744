"""GTP's commands, answered by small untrained agents: turns, undo, time, analysis, and games other than Go."""

from __future__ import annotations

import io
import queue
import re
import time
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest

import envs
from rl.agent import Agent, Analysis
from rl.play.engine import RESIGN, Choice, Engine, Report, Watch
from rl.play.gtp import Lines, Refused, WrongArguments
from rl.play.gtp_analysis import bound, moves_line, parse_wanted
from rl.play.gtp_commands import SIDES
from rl.play.gtp_go import play
from rl.play.scores import Scores
from tests.rl.play.gtp_for_tests import Client, answers, small_agent, talk

FLAT = {"encoder": {"kind": "mlp", "width": 16, "depth": 1}}


@pytest.fixture(scope="module")
def go5() -> Agent:
    return small_agent("go5")


def engine_after(agent: Agent, *lines: str) -> tuple[Engine, list[str]]:
    """The engine when these lines have been answered, and the answers."""
    engine = Engine(agent, simulations=4)
    return engine, talk(engine, *lines)


def moves_after(agent: Agent, *lines: str) -> list[str]:
    engine, said = engine_after(agent, *lines)
    assert all(answer.startswith("=") for answer in said), said
    return [engine.game.action_names[move] for move in engine.moves]


# Turns


@pytest.mark.parametrize(
    ("lines", "moves"),
    [
        (["play b c3", "play w d3"], ["C3", "D3"]),
        (["play B C3", "play WHITE d3"], ["C3", "D3"]),
        (["play w c3"], ["pass", "C3"]),
        (["play b c3", "play b d3"], ["C3", "pass", "D3"]),
        (["play b c3", "play b d3", "undo"], ["C3"]),
        (["play b c3", "play b d3", "undo", "undo"], []),
        # A pass and then a move of the same side: the pass goes, as the other side's after it would end the game.
        (["play b c3", "play w pass", "play w d3"], ["C3", "D3"]),
        (["play b c3", "play w pass", "play w d3", "undo"], ["C3", "pass"]),
        # A pass out of turn changes nothing.
        (["play b c3", "play b pass", "play w d3"], ["C3", "D3"]),
        (["play b c3", "play b pass", "undo", "undo"], []),
        # Two passes end the game; more of them, undo, and moves of either side are possible all the same.
        (["play b c3", "play w pass", "play b pass"], ["C3", "pass", "pass"]),
        (["play b c3", "play w pass", "play b pass", "play w pass", "undo"], ["C3", "pass", "pass"]),
        (["play b c3", "play w pass", "play b pass", "undo"], ["C3", "pass"]),
        (["play b c3", "play w pass", "play b pass", "play w d3"], ["C3", "D3"]),
        (["play b c3", "play w pass", "play b pass", "play b d3"], ["C3", "pass", "D3"]),
        (["play b c3", "play w pass", "play b pass", "play b d3", "undo"], ["C3", "pass", "pass"]),
        (["play b c3", "clear_board"], []),
    ],
)
def test_any_order_of_colours_is_played(lines: list[str], moves: list[str], go5: Agent) -> None:
    assert moves_after(go5, *lines) == moves


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("play b c3", "? illegal move"),
        ("play b c9", "? syntax error: play COLOR VERTEX"),
        ("play b i3", "? syntax error: play COLOR VERTEX"),
        ("play black", "? syntax error: play COLOR VERTEX"),
        ("play red d4", "? syntax error: play COLOR VERTEX"),
        ("play b d4 now", "? syntax error: play COLOR VERTEX"),
        ("genmove", "? syntax error: genmove COLOR"),
        ("undo 1", "? syntax error: undo takes no arguments"),
        ("boardsize", "? syntax error: boardsize SIZE"),
        ("boardsize 4", "? unacceptable size"),
        ("boardsize 20", "? unacceptable size"),
        ("clear_board 5", "? syntax error: clear_board takes no arguments"),
    ],
)
def test_a_failed_command_says_why_and_changes_nothing(line: str, answer: str, go5: Agent) -> None:
    engine, said = engine_after(go5, "play w c3", line)
    assert said == ["=", answer]
    assert engine.moves == [25, 12] and engine.game.board_shape == (5, 5)


def test_nothing_to_undo(go5: Agent) -> None:
    assert talk(go5, "undo", "play b c3", "undo", "undo") == ["? cannot undo", "=", "=", "? cannot undo"]


def test_genmove_plays_for_either_side_and_reg_genmove_for_none(go5: Agent) -> None:
    engine, said = engine_after(go5, "reg_genmove b", "genmove b", "genmove b", "reg_genmove b")
    first, second = said[1].removeprefix("= "), said[2].removeprefix("= ")
    assert said[0] == said[1]
    assert [engine.game.action_names[move] for move in engine.moves] == [first, "pass", second]
    engine, _ = engine_after(go5, "genmove b", "genmove b", "undo", "undo")
    assert engine.moves == []


class Fixed(Engine):
    """An engine that has made up its mind, and notes what it was asked."""

    def __init__(self, agent: Agent, *actions: int, **options: Any) -> None:
        super().__init__(agent, **options)
        self.actions = list(actions)
        self.asked: list[dict[str, Any]] = []

    def choose(self, *, watch: Watch | None = None, **limits: Any) -> Choice:
        self.asked.append(limits)
        return Choice(self.actions.pop(0), None)


def test_resignation_is_told_and_not_played(go5: Agent) -> None:
    engine = Fixed(go5, RESIGN)
    assert talk(engine, "play b c3", "genmove w", "undo", "undo") == ["=", "= resign", "=", "? cannot undo"]


def test_a_pass_chosen_out_of_turn_does_not_end_the_game(go5: Agent) -> None:
    engine = Fixed(go5, 25, 13)
    assert talk(engine, "play b c3", "genmove b", "genmove w") == ["=", "= pass", "= D3"]
    assert engine.moves == [12, 13]
    engine = Fixed(go5, 13)
    assert talk(engine, "play b c3", "play b pass", "genmove w") == ["=", "=", "= D3"]
    assert engine.moves == [12, 13]


@pytest.fixture(scope="module")
def thorough() -> Agent:
    """Looks at every move, the pass included."""
    return small_agent("go5", search={"simulations": 64, "max_considered": 32})


def test_a_search_out_of_turn_does_not_believe_in_the_pass_between(thorough: Agent) -> None:
    """White is ahead by komi: where Black's pass counts, a second one wins at once."""
    believed = Engine(thorough)
    assert talk(believed, "play w c3", "play b pass", "reg_genmove w") == ["=", "=", "= pass"]
    engine = Engine(thorough)
    _, chosen, told = talk(engine, "play w c3", "reg_genmove w", "kata-genmove_analyze w")
    assert chosen != "= pass" and "winrate 1.0" not in told and told.split()[-1] != "pass"

    engine = Engine(thorough)
    engine.skip(25)
    first = engine.choose().analysis
    engine.undo()
    engine.play(25)  # the same moves, of which the tree must not be the other's
    second = engine.choose().analysis
    assert first is not None and second is not None and (first.proven, second.proven) == (None, "win")


@pytest.mark.parametrize("line", ["play b c3", "play b d4\nundo", "reg_genmove b", "lz-analyze b 1"])
def test_a_game_that_passes_have_ended_stays_ended(line: str, thorough: Agent) -> None:
    engine = Engine(thorough)
    talk(engine, "play b c3", "play w pass", "play b pass", *line.split("\n"))
    assert engine.moves == [12, 25, 25] and engine.over


def test_komi_changes_in_the_middle_of_a_game_with_turns_that_were_given(thorough: Agent) -> None:
    engine = Engine(thorough)
    talk(engine, "play w c3", "play w d3", "komi 3")
    assert [skipped for _, skipped in engine.line()] == [True, False, True, False]


def test_what_nobody_foresaw_is_answered_and_the_game_goes_on(go5: Agent, caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine(go5, simulations=4)
    engine.choose = lambda **_: 1 / 0  # type: ignore[method-assign, assignment]
    assert talk(engine, "play b c3", "genmove w", "showboard")[1] == "? internal error: ZeroDivisionError"
    assert engine.moves == [12] and "genmove failed" in caplog.text
    assert talk(engine, "genmove b", "play b d3", "undo")[0].startswith("? internal error")
    assert engine.moves == [12], "also where the turn was given for it"


def test_cleanup_takes_dead_stones_off_before_it_passes(thorough: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    wall = [f"play b {column}{row}" for column in "abcde" for row in (2, 4)]
    owners = np.ones(25, np.float32)
    monkeypatch.setattr(Engine, "ownership", lambda self: owners)  # all Black's: what an untrained network cannot know
    lines = [*wall, "play w c3", "play b d3", "play w pass"]
    engine = Engine(thorough)
    assert talk(engine, *lines, "reg_genmove b")[-1] == "= pass", "Black is ahead as the board stands"
    taken = []
    for _ in range(2):
        taken.append(talk(engine, "kgs-genmove_cleanup b", "play w pass")[0])
    assert taken == ["= B3", "= pass"]
    assert engine.game.render(engine.state).count("O") == 0


def test_after_two_passes_genmove_passes_and_cleanup_plays_on(go5: Agent) -> None:
    ended = ["play b c3", "play w pass", "play b pass"]
    engine = Fixed(go5, 13)
    assert talk(engine, *ended, "genmove w") == ["=", "=", "=", "= pass"]
    assert engine.over and engine.asked == []
    assert talk(engine, "kgs-genmove_cleanup w", "undo") == ["= D3", "="]
    assert engine.asked == [{"cleanup": True}]
    assert engine.moves == [12, 25, 25]


def test_the_longest_game_ends_and_stays_ended() -> None:
    agent = small_agent("go5").on(max_moves=2)
    said = talk(agent, "play b c3", "play w d3", "play b a1", "genmove b", "lz-analyze 10", "final_score")
    assert said == ["=", "=", "? illegal move", "= pass", "? the game is over: white won", "= W+7"]
    said = talk(agent, "play b c3", "lz-analyze b", "play w d3")
    assert said == ["=", "? the game is over: black won", "="], "the turn that was given is the last move"


# Boards


def test_the_same_network_plays_on_other_boards(go5: Agent) -> None:
    engine, said = engine_after(go5, "play b c3", "boardsize 7", "play b g7", "genmove w", "boardsize 7")
    assert [answer[:1] for answer in said] == ["="] * 5
    assert engine.moves == [] and engine.game.board_shape == (7, 7)


def test_a_network_for_one_board_says_so(caplog: pytest.LogCaptureFixture) -> None:
    fixed = small_agent("go5", FLAT)
    assert talk(fixed, "boardsize 7", "boardsize 5", "play b e5") == ["? unacceptable size", "=", "="]
    assert "size mismatch" in caplog.text


def test_name_and_version(go5: Agent) -> None:
    name, version = talk(go5, "name", "version")
    assert name == "= Fuseki" and re.fullmatch(r"= [0-9.]+ weights 7", version)


def test_showboard_draws_the_board(go5: Agent) -> None:
    assert talk(go5, "play b c3", "showboard")[1] == (
        "= \n   A B C D E\n 5 . . . . . 5\n 4 . . . . . 4\n 3 . . X . . 3\n 2 . . . . . 2\n 1 . . . . . 1\n"
        "   A B C D E\n1 moves played, O (white) to move, komi 7"
    )


# Time


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ([], None),
        (["time_settings 0 10 1"], 10 * 0.95 - 0.2),
        (["time_settings 0 10 0"], None),
        (["time_settings 0 0 0"], 0),
        (["time_settings 300 0 0"], 300 / (0.75 * 25 / 2) * 0.95 - 0.2),
        (["time_settings 300 0 0", "time_left b 3 0", "time_left w 100 0"], 3 / (0.75 * 25 / 2) * 0.95 - 0.2),
        (["time_settings 300 30 5", "time_left b 30 5"], 30 / 5 * 0.95 - 0.2),
        (["kgs-time_settings none"], None),
        (["kgs-time_settings absolute 30.5"], 30.5 / (0.75 * 25 / 2) * 0.95 - 0.2),
        (["kgs-time_settings byoyomi 0 20 3"], 20 * 0.95 - 0.2),
        (["kgs-time_settings canadian 0 20 4"], 20 / 4 * 0.95 - 0.2),
    ],
)
def test_the_clock_limits_a_move(lines: list[str], seconds: float | None, go5: Agent) -> None:
    class Warm(Fixed):
        def warm_up(self) -> None:
            pass

    engine = Warm(go5, 12)
    assert set(talk(engine, *lines, "genmove b")) <= {"=", "= C3"}
    [asked] = engine.asked
    if seconds is None:
        assert asked == {"cleanup": False}
    elif seconds == 0:
        assert asked == {"cleanup": False, "simulations": 0}
    else:
        assert asked == {"cleanup": False, "simulations": None, "seconds": pytest.approx(seconds)}


def test_a_move_on_the_clock_takes_about_its_share(go5: Agent) -> None:
    engine = Engine(go5)
    started: list[float] = []
    choose = engine.choose

    def timed(**limits: Any) -> Choice:
        started.append(time.monotonic())
        choice = choose(**limits)
        started.append(time.monotonic())
        return choice

    engine.choose = timed  # type: ignore[method-assign]
    assert talk(engine, "time_settings 0 2 1", "genmove b")[0] == "="
    warm, thought = started[1] - started[0], started[-1] - started[-2]
    assert warm > 0 and 0.5 < thought < 1.9


@pytest.mark.parametrize(
    "line",
    [
        "time_settings 1 2",
        "time_settings -1 0 0",
        "time_settings a b c",
        "time_settings inf 0 0",
        "time_settings 1 2 inf",
        "time_left b",
        "time_left b nan 0",
        "time_left b inf 0",
        "time_left b 3 -1",
        "time_left purple 3 0",
        "kgs-time_settings",
        "kgs-time_settings byoyomi 10 0 3",
        "kgs-time_settings fischer 10 3",
    ],
)
def test_times_that_make_no_sense(line: str, go5: Agent) -> None:
    [said] = talk(go5, line)
    assert said.startswith(f"? syntax error: {line.split(maxsplit=1)[0]} ")


# Analysis


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("", (None, 1.0, 0, None, False, False)),
        ("50", (None, 0.5, 0, None, False, False)),
        ("W 10", (1, 0.1, 0, None, False, False)),
        ("b interval 25 minmoves 3 maxmoves 5 ownership true", (0, 0.25, 3, 5, True, False)),
        ("interval 0 rootInfo true pvVisits true", (None, 0.01, 0, None, False, True)),
        ("rootInfo true ownership true rootInfo false", (None, 1.0, 0, None, True, False)),
    ],
)
def test_what_an_analysis_is_asked_for(words: str, wanted: tuple[Any, ...]) -> None:
    asked = parse_wanted(words.split(), SIDES)
    assert astuple(asked) == wanted


@pytest.mark.parametrize(
    "words", ["b w", "-5", "interval", "interval x", "ownership maybe", "maxmoves ²", "nonsense true"]
)
def test_what_an_analysis_cannot_be_asked_for(words: str) -> None:
    with pytest.raises(WrongArguments):
        parse_wanted(words.split(), SIDES)


def test_moves_cannot_be_kept_out() -> None:
    with pytest.raises(Refused, match="avoid is not supported"):
        parse_wanted(["b", "avoid", "b", "d4", "1"], SIDES)


def found(scores: Scores | None = None) -> Report:
    visits = np.zeros(26, np.int32)
    visits[[12, 13, 25]] = 40, 50, 10
    values = np.full(26, np.nan, np.float32)
    values[[12, 13, 25]] = 0.5, 0.2, -1.0
    prior = np.zeros(26, np.float32)
    prior[[12, 13, 25, 3]] = 0.25, 0.5, 0.05, 0.2
    analysis = Analysis(
        action=12,
        policy=prior,
        value=0.3,
        wdl=np.array([0.65, 0, 0.35], np.float32),
        prior=prior,
        visits=visits,
        action_values=values,
        proven=None,
        principal_variation=(12, 7),
        simulations=100,
        lines={12: (12, 7), 13: (13,), 25: (25,)},
    )
    return Report(analysis, scores)


def test_lines_of_analysis_say_what_was_found() -> None:
    game = envs.make("go5")
    assert moves_line(game, found(), parse_wanted([], SIDES), kata=False) == (
        "info move C3 visits 40 winrate 7500 prior 2500 lcb 6158 order 0 pv C3 C4"
        " info move D3 visits 50 winrate 6000 prior 5000 lcb 4642 order 1 pv D3"
        " info move pass visits 10 winrate 0 prior 500 lcb 0 order 2 pv pass"
    )
    owners = np.linspace(-1, 1, 25)
    kata = moves_line(game, found(), parse_wanted(["maxmoves", "1", "ownership", "true"], SIDES), True, owners)
    assert kata.startswith(
        "info move C3 visits 40 utility 0.500000 winrate 0.750000 prior 0.250000 lcb 0.615808 utilityLcb 0.231616"
        " order 0 pv C3 C4 ownership -1.0000 -0.9167 "
    )
    assert len(kata.split("ownership ")[1].split()) == 25
    more = moves_line(game, found(), parse_wanted(["minmoves", "4"], SIDES), kata=False)
    assert more.endswith("info move D5 visits 0 winrate 6500 prior 2000 lcb 0 order 3 pv D5")


def test_lines_of_analysis_tell_the_score_where_it_is_known() -> None:
    game = envs.make("go5")
    values, leads = np.full(26, np.nan), np.full(26, np.nan)
    values[[12, 13]], leads[[12, 13]] = [0.6, 0.1], [2.5, -1.25]
    told = found(Scores(values, leads, 0.4, 0.75))
    wanted = parse_wanted(["maxmoves", "2", "rootInfo", "true", "ownership", "true"], SIDES)
    line = moves_line(game, told, wanted, True, np.zeros(25))
    assert line.startswith(
        "info move C3 visits 40 utility 0.500000 winrate 0.800000"
        " scoreMean 2.500000 scoreLead 2.500000 scoreSelfplay 2.500000"
        " prior 0.250000 lcb 0.676039 utilityLcb 0.252077 order 0 pv C3 C4"
        " info move D3 visits 50 utility 0.200000 winrate 0.550000"
        " scoreMean -1.250000 scoreLead -1.250000 scoreSelfplay -1.250000 "
    )
    root = "rootInfo visits 101 utility 0.300000 winrate 0.700000"
    score = "scoreMean 0.750000 scoreLead 0.750000 scoreSelfplay 0.750000"
    assert f" pv D3 {root} {score} ownership 0.0000 0.0000" in line
    assert line.count("rootInfo") == 1 and "scoreStdev" not in line
    everything = moves_line(game, told, parse_wanted(["minmoves", "4"], SIDES), kata=True)
    unknown = everything.split(" info ")[2:]
    assert len(unknown) == 2 and "rootInfo" not in everything
    assert all(f" {score} " in line for line in unknown), "a move that was not searched is worth what the position is"
    assert "winrate 0.700000" in unknown[1]
    plain = moves_line(game, found(), parse_wanted(["rootInfo", "true"], SIDES), kata=True)
    assert "score" not in plain and plain.endswith("rootInfo visits 101 utility 0.300000 winrate 0.650000")
    leela = moves_line(game, told, wanted, kata=False)
    assert leela == (
        "info move C3 visits 40 winrate 8000 prior 2500 lcb 6760 order 0 pv C3 C4"
        " info move D3 visits 50 winrate 5500 prior 5000 lcb 4121 order 1 pv D3"
    )


def test_the_bound_comes_up_to_the_mean_with_visits() -> None:
    bounds = [bound(0.6, visits) for visits in (0, 1, 10, 100, 10**9)]
    assert bounds == sorted(bounds) and bounds[0] == 0 and bounds[-1] == pytest.approx(0.6, abs=1e-4)


def streamed(agent: Agent, lines: list[str], command: str) -> tuple[Engine, list[str]]:
    """Answers to ``lines`` and to ``command``, which is interrupted after its second line of analysis."""
    sent = queue.SimpleQueue[bytes]()

    class Watched(io.BytesIO):
        def write(self, data: Any) -> int:
            written = super().write(data)
            if self.getvalue().count(b"\ninfo ") == 2:
                sent.put(b"name\n")
                sent.put(b"")
            return written

    for line in [*lines, command]:
        sent.put(line.encode() + b"\n")
    engine, out = Engine(agent, simulations=4), Watched()
    play(engine, Lines(sent.get), out)
    return engine, answers(out.getvalue().decode())


@pytest.mark.parametrize("command", ["lz-analyze w 2", "kata-analyze interval 2 maxmoves 3"])
def test_an_analysis_streams_and_leaves_the_game_alone(command: str, go5: Agent) -> None:
    engine, said = streamed(go5, ["play b c3"], command)
    first, *lines = said[1].split("\n")
    assert first == "=" and len(lines) >= 2 and said[2:] == ["= Fuseki"]
    visits = [sum(map(int, re.findall(r"visits (\d+)", line))) for line in lines]
    assert visits == sorted(visits) and visits[0] < visits[-1]
    assert all(re.fullmatch(r"(info move \S+ visits \d+ .*? pv( [A-E][1-5]| pass)+ ?)+", line) for line in lines)
    assert engine.moves == [12]


def test_an_analysis_out_of_turn_or_after_the_end_changes_nothing(go5: Agent) -> None:
    engine, said = engine_after(go5, "play b c3", "lz-analyze b", "play w pass", "play b pass", "lz-analyze w")
    assert said == ["="] * 5
    assert engine.moves == [12, 25, 25]


def test_an_analysis_can_begin_only_while_the_game_goes_on(go5: Agent) -> None:
    assert talk(go5, "lz-analyze nonsense true")[0].startswith("? syntax error: lz-analyze [COLOR]")
    toe = small_agent("tic_tac_toe", FLAT)
    won = [f"play {colour} {point}" for colour, point in zip("bwbwb", "03142", strict=True)]
    assert talk(toe, *won, "lz-analyze 10", "genmove w")[5:] == ["? the game is over: black won"] * 2


def test_a_move_comes_with_its_analysis(go5: Agent) -> None:
    engine, [said] = engine_after(go5, "kata-genmove_analyze w 10")
    first, info, move = said.split("\n")
    assert first == "=" and info.startswith("info move ") and "winrate 0." in info
    assert move == f"play {engine.game.action_names[engine.moves[-1]]}"
    assert engine.moves[0] == 25, "Black has passed"


@pytest.mark.parametrize("command", ["lz-genmove_analyze", "kata-genmove_analyze"])
def test_the_analysis_of_a_move_streams_while_it_is_searched(command: str, go5: Agent) -> None:
    """It comes at the interval, and the client's next command does not end it."""
    client = Client(Engine(go5, seconds=1.0))
    assert client.ask("play b c3") == "="
    client.ask("genmove w"), client.ask("undo")  # what the first move waits for is done
    client.send(f"{command} w 10", "name")
    started, times, lines = time.monotonic(), list[float](), list[str]()
    while not (line := client.line()).startswith("play "):
        times.append(time.monotonic() - started)
        lines.append(line)
    assert lines[0] == "=" and all(line.startswith("info move ") for line in lines[1:])
    assert client.line() == "", "the answer ends"
    assert client.answer() == "= Fuseki"
    assert 4 <= len(lines) - 1 <= 11 and times[1] < 0.5 and times[-1] > 0.6
    visits = [sum(map(int, re.findall(r"visits (\d+)", line))) for line in lines[1:]]
    assert visits == sorted(visits) and visits[0] < visits[-1]
    assert client.ask("showboard").endswith("2 moves played, X (black) to move, komi 7")
    client.quit()


def test_a_move_that_needs_no_search_comes_without_analysis(go5: Agent) -> None:
    ended = ["play b c3", "play w pass", "play b pass"]
    assert talk(go5, *ended, "lz-genmove_analyze w 10")[-1] == "=\nplay pass"
    assert talk(small_agent("hex3"), "lz-genmove_analyze w")[0].startswith("? illegal move")


# GoGui


def test_gogui_is_told_of_commands_that_there_are(go5: Agent) -> None:
    for agent in (go5, small_agent("hex3"), small_agent("connect_four", FLAT)):
        told, listed = talk(agent, "gogui-analyze_commands", "list_commands")
        commands = [line.split("/")[2].split()[0] for line in told.removeprefix("= ").split("\n")]
        assert commands and set(commands) <= set(listed.removeprefix("= ").split("\n"))
        for answer in talk(agent, *commands):
            assert answer.startswith("=") or "not over" in answer or "syntax" in answer
    policy, value = talk(go5, "fuseki-policy", "fuseki-value")
    rows = [list(map(float, row.split())) for row in policy.removeprefix("= ").split("\n")]
    assert np.array(rows).shape == (5, 5) and 0.5 < np.sum(rows) <= 1.001
    assert re.fullmatch(r"= [+-]0\.\d{3} for black, without search", value)


# Other games


def test_a_game_without_a_pass_keeps_to_its_turns() -> None:
    agent = small_agent("hex3")
    said = talk(agent, "play b a1", "play w SWAP", "play w b2", "genmove w", "genmove b", "lz-analyze w")
    assert said[:3] == ["=", "=", "? illegal move"]
    assert said[3] == "? illegal move: it is black's turn, who cannot pass"
    assert re.fullmatch("= [a-c][1-3]", said[4])
    assert said[5] == "="


def test_the_winner_is_told_in_words_and_families_have_sizes() -> None:
    agent = small_agent("hex5")
    black = [f"play b {vertex}" for vertex in ("a1", "a2", "a3")]
    white = [f"play w {vertex}" for vertex in ("b1", "b2", "c3")]
    moves = [move for pair in zip(black, white, strict=True) for move in pair][:5]
    said = talk(agent, "boardsize 3", "boardsize 2", "final_score", *moves, "final_score", "komi 5", "loadsgf x")
    assert said[:3] == ["=", "? unacceptable size", "? the game is not over, and Hex 3×3 has no score"]
    assert said[3:8] == ["="] * 5
    assert said[8:] == ["= black won", "=", "? unknown command"]


def test_columns_and_forced_passes() -> None:
    four = small_agent("connect_four", FLAT)
    said = talk(four, "boardsize 7", "boardsize 8", "play b 3", "play w 3", "genmove b", "fuseki-policy", "showboard")
    assert said[:4] == ["=", "? unacceptable size", "=", "="]
    assert re.fullmatch("= [0-6]", said[4]) and said[5].startswith("? the moves of Connect Four are not points")
    assert said[6].endswith("3 moves played, O (white) to move")
    othello = small_agent("othello", FLAT)
    assert talk(othello, "play b d3", "play w pass", "play w c3", "genmove b")[:3] == ["=", "? illegal move", "="]
