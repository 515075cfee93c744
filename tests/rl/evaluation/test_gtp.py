"""Other engines as opponents: sound ones play on, and whatever a bad one does ends in a result and a clear line."""

import logging
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import envs
from envs.game import Game
from rl.evaluation import gtp_player
from rl.evaluation.arena import play_match
from rl.evaluation.game_files import match_files
from rl.evaluation.gtp_engine import EngineError, GTPEngine
from rl.evaluation.gtp_player import GTPPlayer
from rl.evaluation.players import EvaluationError, Forfeit, RandomPlayer, make_player, parse_opponent, release
from rl.play.engine import Engine
from rl.records import MatchResult
from rl.sgf import read_sgf
from tests.rl.play.gtp_for_tests import save, small_agent, talk

PROGRAM = Path(__file__).with_name("engines.py")
HAS_GNUGO = any(os.access(place, os.X_OK) for place in ("/usr/games/gnugo", "/usr/bin/gnugo", "/usr/local/bin/gnugo"))


def command(way: str, *words: object) -> list[str]:
    return [sys.executable, "-S", str(PROGRAM), way, *map(str, words)]


@pytest.fixture(scope="module")
def five() -> Game:
    return envs.make("go5", max_moves=30)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Straight:
    """Plays the first free vertex from the bottom right; passes when only the pass is left."""

    name = "straight"

    def __init__(self, game: Game) -> None:
        self.game = game

    def actions(self, states: np.ndarray, moves: object) -> np.ndarray:
        return np.array([max(np.flatnonzero(self.game.legal_mask(s))[:-1], default=25) for s in states])


# What engines do wrong, in a match


@pytest.mark.parametrize(
    ("way", "kind", "parts"),
    [
        ("dies", "crash", ["died with exit status 3", "'genmove", "segmentation fault in the reading code"]),
        ("closes its output", "crash", ["closed its output when asked"]),
        ("hangs", "time-out", ["did not answer 'genmove", "within 1.5 s"]),
        ("illegal", "illegal move", ["answered move", "which is not legal"]),
        ("garbage move", "illegal move", ["'the corner', which is no move of this game"]),
        ("garbage", "not GTP", ["'I think that I am losing', which is not GTP"]),
        ("wrong number", "not GTP", ["which is not GTP"]),
        ("refuses moves", "refused", ["refuses 'play", "illegal move"]),
        ("resigns", "resigned", ["resigned"]),
    ],
)
def test_a_bad_engine_loses_its_games(
    way: str, kind: str, parts: list[str], five: Game, caplog: pytest.LogCaptureFixture
) -> None:
    player = GTPPlayer(five, command(way), way, lanes=2, move_seconds=1.5)
    with caplog.at_level(logging.WARNING):
        match = play_match(five, Straight(five), player, 2, openings=0)
    player.close()
    assert match.result == MatchResult(wins=2, draws=0, losses=0)
    assert match.forfeits(by_a=False) == {kind: 2} and match.forfeits(by_a=True) == {}
    assert [g.failed for g in match.games] == [kind != "resigned"] * 2
    for g, colour in zip(match.games, ("white", "black"), strict=True):
        assert g.ending.startswith(f"{way} ({colour}) ") and "\n" not in g.ending
        for part in parts:
            assert part in g.ending
        assert len(g.moves) < 12, "both have made a few moves"
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == (0 if kind == "resigned" else 2) and all("\n" not in line for line in said)
    letter = {"resigned": "R", "time-out": "T"}.get(kind, "F")
    files = match_files(five, match, "straight", way)
    assert [read_sgf(text).result for text in files.values()] == [f"B+{letter}", f"W+{letter}"]
    assert [read_sgf(text).moves for text in files.values()] == [tuple(g.moves) for g in match.games]


def test_an_engine_that_always_hangs_is_given_up(five: Game) -> None:
    player = GTPPlayer(five, command("hangs"), "hangs", lanes=1, move_seconds=0.4)
    started = time.monotonic()
    match = play_match(five, Straight(five), player, 12, openings=0)
    player.close()
    assert match.forfeits(by_a=False) == {"time-out": 12}
    # Three time limits, and three starts of a process, not twelve.
    assert time.monotonic() - started < 3 * (0.4 + 2.5)
    assert sum("given up" in g.ending for g in match.games) == 9


@pytest.mark.parametrize(
    ("way", "parts"),
    [
        ("never starts", ["died with exit status 1", "no network file: giving up"]),
        ("refuses size", ["refuses 'boardsize 5': unacceptable size", "setting up Go 5×5"]),
    ],
)
def test_an_engine_that_cannot_begin_is_refused_before_any_game(way: str, parts: list[str], five: Game) -> None:
    with pytest.raises(EngineError) as refused:
        make_player(f"gtp:{shlex.join(command(way))}", five)
    assert all(part in str(refused.value) for part in parts) and "\n" not in str(refused.value)


# What sound engines get


@pytest.mark.parametrize("way", ["sound", "flood", "nameless"])
def test_a_sound_engine_plays_to_the_end(way: str, five: Game) -> None:
    player = GTPPlayer(five, command(way), "engine", lanes=2, move_seconds=30)
    match = play_match(five, Straight(five), player, 2, openings=0)
    player.close()
    assert {g.ending for g in match.games} == {"played out"}
    assert player.title == ("engine" if way == "nameless" else "Tester 1.0")
    assert match.a_moves == sum(len(g.moves) for g in match.games) // 2 and match.a_seconds > 0


def test_only_missing_moves_are_played_and_undone_ones_start_again(five: Game, tmp_path: Path) -> None:
    record = tmp_path / "asked"

    def asked() -> list[str]:
        lines = [line.split(" ", 1)[1] for line in record.read_text().splitlines()]
        record.write_text("")
        return lines

    def ask(player: GTPPlayer, moves: list[int]) -> int | Forfeit:
        return player.actions(five.replay(moves)[None], [moves])[0]

    player = GTPPlayer(five, command("sound", record), "engine")
    assert asked() == ["boardsize 5", "clear_board", "komi 7", "name", "version"]
    assert ask(player, []) == 0
    assert asked() == ["genmove black"]
    assert ask(player, [0, 24]) == 1
    assert asked() == ["play white E1", "genmove black"]
    assert ask(player, [0, 24, 1, 25]) == 2
    assert asked() == ["play white pass", "genmove black"]
    assert ask(player, [0, 23]) == 1  # a move was taken back
    assert asked() == ["clear_board", "play black A5", "play white D1", "genmove black"]
    player.close()


PASSING = "d3 c3 f5 d2 d1 e1 b3 c1 pass"  # of Othello: black has no move at the end


def test_a_pass_that_must_be_may_be_refused(five: Game, tmp_path: Path) -> None:
    othello, record = envs.make("othello"), tmp_path / "asked"
    moves = [othello.action_names.index(name) for name in PASSING.split()]
    player = GTPPlayer(othello, command("passes by itself", record), "engine")
    [answer] = player.actions(othello.replay(moves)[None], [moves])
    player.close()
    # It was asked all the same; this one knows no rules, so that its move may well be illegal.
    assert record.read_text().splitlines()[-2].split()[2:] == ["black", "pass"]
    assert not isinstance(answer, Forfeit) or answer.kind == "illegal move"

    player = GTPPlayer(five, command("passes by itself"), "engine")
    [answer] = player.actions(five.replay([0, 25])[None], [[0, 25]])
    player.close()
    assert isinstance(answer, Forfeit) and answer.kind == "refused", "nobody must pass in Go"


def test_each_process_goes_on_with_its_own_game(five: Game, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gtp_player, "cores", lambda: 2)
    record = tmp_path / "asked"
    player = GTPPlayer(five, command("sound", record), "engine", lanes=4)
    play_match(five, Straight(five), player, 2, openings=0)
    lines = [line.split() for line in record.read_text().splitlines()]
    assert len({line[0] for line in lines}) == 2, "one process a game"
    assert sum(line[1] == "clear_board" for line in lines) == 2, "no game is replayed"
    record.write_text("")
    play_match(five, Straight(five), player, 4, openings=0)
    assert len({line.split()[0] for line in record.read_text().splitlines()}) == 2, "never more than there are cores"
    player.close()


def test_engines_think_at_the_same_time(five: Game, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gtp_player, "cores", lambda: 3)
    waits = (
        "import sys, time\nfor line in sys.stdin:\n time.sleep(0.5 * ('gen' in line))\n print('=pass\\n', flush=True)"
    )
    player = GTPPlayer(five, [sys.executable, "-S", "-c", waits], "slow", lanes=3)
    states = np.repeat(five.initial_state()[None], 3, 0)
    assert player.actions(states, [()] * 3) == [25] * 3  # starts the other two
    started = time.monotonic()
    assert player.actions(states, [()] * 3) == [25] * 3
    assert time.monotonic() - started < 1.2, "three times half a second, side by side"
    player.close()


def test_one_moment_that_stalls_all_processes_ends_no_match(five: Game, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gtp_player, "cores", lambda: 3)
    hangs = "import sys, time\nfor line in sys.stdin:\n time.sleep(9 * ('gen' in line))\n print('=\\n', flush=True)"
    player = GTPPlayer(five, [sys.executable, "-S", "-c", hangs], "hangs", lanes=3, move_seconds=0.3)
    states = np.repeat(five.initial_state()[None], 10, 0)
    told = [answer.reason for answer in player.actions(states[:9], [()] * 9) if isinstance(answer, Forfeit)]
    assert len(told) == 9 and all("did not answer 'genmove" in reason for reason in told), (
        "each process has three turns"
    )
    [late] = player.actions(states[9:], [()])
    player.close()
    assert isinstance(late, Forfeit) and late.reason == "is given up: it did not answer in time 9 times in a row"


def test_other_games_are_played_too() -> None:
    hexed = envs.make("hex5")
    accepts = "import sys\nfor line in sys.stdin:\n print('=swap-pieces\\n' if 'gen' in line else '=\\n', flush=True)"
    for word in ("swap-pieces", "swap"):
        player = GTPPlayer(hexed, [sys.executable, "-S", "-c", accepts.replace("swap-pieces", word)], "swaps")
        assert player.actions(hexed.replay([3])[None], [[3]]) == [25]
        player.close()


def test_our_own_server_understands_our_player(tmp_path: Path) -> None:
    hexed = envs.make("hex5")
    file = save(small_agent("hex5"), tmp_path / "hex.safetensors")
    served = [sys.executable, "-m", "rl.cli", "play", str(file), "--gtp", "--simulations", "0"]
    player = GTPPlayer(hexed, served, "ourselves")
    told = player.actions(hexed.replay([3, 25])[None], [[3, 25]])  # it is told of a swap
    assert isinstance(told[0], int)
    assert player._vertex[25] == "swap-pieces"
    player.close()
    engine = Engine(small_agent("hex5"), simulations=0)
    assert talk(engine, "play b a1", "play w swap", "undo", "play w swap-pieces") == ["="] * 4
    assert engine.moves == [0, 25]


# Processes


@pytest.fixture
def stubborn(tmp_path: Path) -> Iterator[tuple[GTPEngine, list[int]]]:
    """An engine that ignores "quit", and the processes of its group: itself and a child."""
    record = tmp_path / "asked"
    engine = GTPEngine(command("ignores quit", record), "stubborn")
    engine.ask("name", 20)
    leader = int(record.read_text().split()[0])
    group = [int(p.name) for p in Path("/proc").glob("[0-9]*") if _group(p) == leader]
    yield engine, group
    engine.close()


def _group(process: Path) -> int | None:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[2])
    except (FileNotFoundError, ProcessLookupError):
        return None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
def test_a_process_is_ended_with_its_children_whatever_it_wants(stubborn: tuple[GTPEngine, list[int]]) -> None:
    engine, group = stubborn
    assert len(group) >= 2 and all(map(alive, group))
    started = time.monotonic()
    engine.close()
    assert time.monotonic() - started < 10
    deadline = time.monotonic() + 5
    while any(map(alive, group)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, group))
    with pytest.raises(EngineError, match="is not running any more"):
        engine.ask("name", 1)


def test_ctrl_c_does_not_wait_for_engines(five: Game, caplog: pytest.LogCaptureFixture) -> None:
    player = GTPPlayer(five, command("hangs"), "hangs", move_seconds=60)
    moves = [0, 24, 1, 23]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    threading.Timer(0.5, signal.pthread_kill, (threading.get_ident(), signal.SIGINT)).start()
    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            player.actions(np.repeat(five.replay(moves)[None], 3, 0), [moves] * 3)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - started < 30
    assert not caplog.records, "what the user ended did not fail"
    player.close()


def test_an_interrupted_question_ends_in_an_error(five: Game) -> None:
    engine = GTPEngine(command("hangs"), "hangs")
    for vertex in ("A9", "B9", "C9", "D9"):
        engine.ask(f"play black {vertex}", 20)
    threading.Timer(0.3, engine.interrupt).start()
    with pytest.raises(EngineError, match="died by signal 9"):
        engine.ask("genmove black", 60)
    engine.close()


# Names


def test_names_of_engines_are_taken_apart(tmp_path: Path) -> None:
    found = parse_opponent(f"gtp:{sys.executable} -c 'a b' --level 3")
    assert (found.kind, found.command) == ("engine", (sys.executable, "-c", "a b", "--level", "3"))
    if HAS_GNUGO:
        line = " ".join(parse_opponent("gnugo:10").command)
        wanted = "--mode gtp --chinese-rules --play-out-aftermath --capture-all-dead --positional-superko --level 10"
        assert line.endswith(f"gnugo {wanted}")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("gtp", "write gtp:COMMAND"),
        ("gtp:", "write gtp:COMMAND"),
        ("gtp:  ", "write gtp:COMMAND"),
        ("gtp:gnugo 'half", "no closing quotation"),
        ("gtp:no-such-engine --mode gtp", "there is no program 'no-such-engine'"),
        ("gnugo", "write gnugo:LEVEL"),
        ("gnugo:strong", "write gnugo:LEVEL"),
    ],
)
def test_miswritten_engines_are_refused_in_one_line(text: str, part: str) -> None:
    with pytest.raises(EvaluationError) as refused:
        make_player(text, envs.make("go5"))
    assert part in str(refused.value) and repr(text) in str(refused.value) and "\n" not in str(refused.value)


def test_a_missing_gnu_go_has_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rl.evaluation.players.GNUGO_PLACES", ("no-such-gnugo",))
    with pytest.raises(EvaluationError, match="apt install gnugo"):
        parse_opponent("gnugo:10")


# GNU Go itself


@pytest.mark.skipif(not HAS_GNUGO, reason="needs GNU Go (apt install gnugo)")
@pytest.mark.parametrize("env_id", ["go5", "go7"])
def test_gnu_go_plays_by_our_rules_and_beats_random_play(env_id: str) -> None:
    game = envs.make(env_id)
    player = make_player("gnugo:1", game, lanes=4)
    try:
        match = play_match(game, RandomPlayer(game, 1), player, 4, seed=1)
    finally:
        release(player)
    assert getattr(player, "title", "").startswith("GNU Go 3")
    assert {g.ending for g in match.games} <= {"played out", "gnugo:1 (white) resigned", "gnugo:1 (black) resigned"}
    assert match.forfeits(by_a=True) == {} and not any(g.failed for g in match.games)
    assert match.result.losses >= 3
    for text in match_files(game, match, "random", "gnugo:1").values():
        found = read_sgf(text)
        assert (found.game.env_id, found.game.params) == (env_id, game.params)
