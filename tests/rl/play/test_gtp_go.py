"""What only Go has in GTP: komi, handicap, scores, dead stones, SGF."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import envs
from envs.game import ONGOING, STATUS, TO_MOVE
from rl.agent import Agent
from rl.play.engine import Engine
from rl.play.scoring import chains, dead_chains, margin, stones
from rl.sgf import read_sgf, write_sgf
from tests.envs.slow_go import SlowGo
from tests.rl.play.gtp_for_tests import RESNET, small_agent, talk


@pytest.fixture(scope="module")
def go5() -> Agent:
    return small_agent("go5")


class Owned(Engine):
    """An engine whose network says who owns what."""

    owners: np.ndarray | None = None

    def ownership(self) -> np.ndarray | None:
        return self.owners


def plays(*vertices: str) -> list[str]:
    return [f"play {'bw'[i % 2]} {vertex}" for i, vertex in enumerate(vertices)]


# Komi


def test_komi_may_change_in_the_middle_of_a_game(go5: Agent) -> None:
    engine = Engine(go5, simulations=4)
    said = talk(engine, "final_score", "komi 0", *plays("c3", "d3"), "komi -3.5", "showboard")
    assert said[0] == "= W+7" and said[-1].endswith("2 moves played, X (black) to move, komi -3.5")
    assert engine.moves == [12, 13]
    assert talk(engine, "final_score") == ["= B+3.5"]


@pytest.mark.parametrize("komi", ["0.3", "nan", "inf", "-inf", "1e9", "26"])
def test_komi_in_other_steps_or_out_of_range(komi: str, go5: Agent) -> None:
    engine = Engine(go5)
    [_, refused] = talk(engine, "play b c3", f"komi {komi}")
    assert refused.startswith("? ") and "must be a whole or half number" in refused
    assert engine.moves == [12]


def test_komi_stays_on_a_new_board(go5: Agent) -> None:
    assert talk(go5, "komi 5.5", "boardsize 7", "clear_board", "final_score")[-1] == "= W+5.5"


def test_a_board_on_which_the_komi_is_too_much_gets_the_agents_own(go5: Agent) -> None:
    said = talk(go5, "boardsize 9", "komi 60", "boardsize 5", "final_score", "boardsize 4", "komi 3", "boardsize 7")
    assert said == ["=", "=", "=", "= W+7", "? unacceptable size", "=", "="]


# Handicap


def test_nobody_resigns_for_the_handicap_alone() -> None:
    """Its stones and the turns between them are no moves of the game."""
    agent = small_agent("go9", RESNET)
    agent.info["resign_below"] = 1.01
    engine = Engine(agent, simulations=4)
    first = talk(engine, "fixed_handicap 5", "komi 0.5", "genmove w")
    assert first[-1] != "= resign" and len(first) == 3
    later = talk(engine, *["genmove b", "genmove w"] * 5)
    assert later[-1] == "= resign" and later[0] != "= resign"


@pytest.mark.parametrize(
    ("size", "count", "vertices"),
    [
        (7, 2, "C3 E5"),
        (7, 4, "C3 E5 C5 E3"),
        (9, 3, "C3 G7 C7"),
        (9, 5, "C3 G7 C7 G3 E5"),
        (13, 6, "D4 K10 D10 K4 D7 K7"),
        (19, 7, "D4 Q16 D16 Q4 D10 Q10 K10"),
        (19, 8, "D4 Q16 D16 Q4 D10 Q10 K4 K16"),
        (19, 9, "D4 Q16 D16 Q4 D10 Q10 K4 K16 K10"),
    ],
)
def test_fixed_handicap_is_that_of_the_specification(size: int, count: int, vertices: str, go5: Agent) -> None:
    engine = Engine(go5)
    for command in ("fixed_handicap", "place_free_handicap"):
        assert talk(engine, f"boardsize {size}", f"{command} {count}")[1] == f"= {vertices}"
        board = stones(engine.game, engine.state)
        names = {engine.game.action_names[i] for i in np.flatnonzero(board == 1).tolist()}
        assert names == set(vertices.split()) and not (board == -1).any()
        assert len(engine.moves) % 2 == 1, "White moves next"


@pytest.mark.parametrize(
    ("size", "line", "refusal"),
    [
        (5, "fixed_handicap 2", "invalid number of stones"),
        (7, "fixed_handicap 5", "invalid number of stones"),
        (8, "fixed_handicap 5", "invalid number of stones"),
        (9, "fixed_handicap 1", "invalid number of stones"),
        (9, "fixed_handicap 10", "invalid number of stones"),
        (5, "place_free_handicap 2", "invalid number of stones"),
        (9, "place_free_handicap 1", "invalid number of stones"),
        (9, "fixed_handicap two", "syntax error: fixed_handicap NUMBER_OF_STONES"),
        (9, "set_free_handicap a1", "bad vertex list"),
        (9, "set_free_handicap a1 a1", "bad vertex list"),
        (9, "set_free_handicap a1 pass", "bad vertex list"),
        (9, "set_free_handicap a1 z1", "bad vertex list"),
    ],
)
def test_handicap_that_cannot_be(size: int, line: str, refusal: str, go5: Agent) -> None:
    engine = Engine(go5)
    assert talk(engine, f"boardsize {size}", line) == ["=", f"? {refusal}"]
    assert engine.moves == []


def test_free_handicap_undo_and_a_board_that_is_not_empty(go5: Agent) -> None:
    engine = Engine(go5)
    assert talk(engine, "set_free_handicap a1 e5 C3", "set_free_handicap a2 a3") == ["=", "? board not empty"]
    assert engine.moves == [20, 25, 4, 25, 12]
    assert talk(engine, "boardsize 9", "place_free_handicap 40", "undo", "undo") == [
        "=",
        "= C3 G7 C7 G3 C5 G5 E3 E7 E5",
        "=",
        "? cannot undo",
    ]
    everywhere = " ".join(envs.make("go5").action_names[:25])
    assert talk(go5, f"set_free_handicap {everywhere}", "play b a1") == ["? bad vertex list", "="]


# The end


@pytest.mark.parametrize(("size", "board"), [(7, 7), (9, 6)])
def test_the_score_is_that_of_the_board_without_dead_stones(size: int, board: int) -> None:
    game, slow = envs.make(f"go{size}", board=board, komi=6.5), SlowGo(board, komi=6.5)
    rng = np.random.default_rng(0)
    moved = 0
    for _ in range(20):
        state = game.initial_state()
        for _ in range(int(rng.integers(10, 60))):
            moves = np.flatnonzero(game.legal_mask(state))
            state = game.after(state, int(rng.choice(moves[:-1] if len(moves) > 1 else moves)))
            if state[STATUS] != ONGOING:
                break
        before, standing = state.copy(), stones(game, state)
        found = chains(standing)
        for dead in ([], [c for c in found if rng.random() < 0.3], found):
            left = {point for chain in found if chain not in dead for point in chain}
            slow.board = {point: int(standing[point] == -1) for point in left}
            assert margin(game, state, dead) == slow.margin
            moved += slow.margin != margin(game, state, [])
        assert (state == before).all()
    assert moved > 20, "dead stones count"


def test_chains_are_connected_stones_of_one_colour() -> None:
    board = np.array([[1, 1, 0], [0, -1, 0], [1, -1, 2]])
    assert sorted(sorted(chain) for chain in chains(board)) == [[(0, 0), (0, 1)], [(1, 1), (2, 1)], [(2, 0)]]


def test_what_the_other_side_will_own_is_dead() -> None:
    board = np.array([[1, 1, 0], [0, -1, 0], [1, -1, -1]])
    assert dead_chains(board, None) == []
    owners = np.array([[-0.9, -0.2, 0], [0, -1, -1], [-0.4, -1, -1]])
    assert dead_chains(board, owners.ravel()) == [[(0, 0), (0, 1)]]


def test_the_end_is_told_with_dead_stones_and_without(go5: Agent) -> None:
    # White's stone on E5 stands in Black's corner, behind a wall on the D file; nobody has anything else.
    wall = plays("d1", "e5", "d2", "pass", "d3", "pass", "d4", "pass", "d5")
    engine = Owned(go5)
    asked = [
        "final_score",
        "final_status_list alive",
        "final_status_list dead",
        "final_status_list seki",
        "final_score x",
    ]
    told = talk(engine, *wall, *asked)[len(wall) :]
    assert told == ["= B+12", "= D5 D4 D3 D2 D1\nE5", "=", "=", "? syntax error: final_score takes no arguments"]
    engine = Owned(go5)
    engine.owners = np.ones(25, np.float32)
    told = talk(engine, *wall, *asked, "final_status_list", "fuseki-ownership")[len(wall) :]
    assert told[:4] == ["= B+18", "= D5 D4 D3 D2 D1", "= E5", "="]
    assert told[5] == "? syntax error: final_status_list alive|dead|seki"
    assert told[6] == "= " + "\n".join(["1.000 1.000 1.000 1.000 1.000"] * 5)


def test_an_ownership_head_is_asked_where_there_is_one(go5: Agent) -> None:
    seer = small_agent("go5", RESNET | {"auxiliary": {"ownership": 1.0}})
    assert talk(go5, "fuseki-ownership") == ["? this network has no ownership head"]
    assert len(talk(seer, "fuseki-ownership")[0].split()) == 26
    assert "fuseki-ownership" in talk(seer, "gogui-analyze_commands")[0]
    [moved] = talk(seer, "kata-genmove_analyze b 10 ownership true")
    assert len(moved.split("ownership ")[1].split("\n")[0].split()) == 25


def test_rules_are_told_and_fixed(go5: Agent) -> None:
    told, suicide, part, other, broken, deep, none = talk(
        go5,
        "kata-get-rules",
        "kata-set-rules tromp-taylor",
        'kata-set-rules {"ko": "POSITIONAL", "scoring": "AREA"}',
        'kata-set-rules {"scoring": "TERRITORY"}',
        "kata-set-rules {japanese",
        f"kata-set-rules {'[' * 100_000}",
        "kata-set-rules",
    )
    assert json.loads(told.removeprefix("= "))["ko"] == "POSITIONAL"
    assert (part, none) == ("=", "? syntax error: kata-set-rules RULES")
    assert suicide == other == broken == deep
    assert suicide.startswith("? the rules are fixed: tromp-taylor without suicide, {")
    assert talk(go5.on(suicide=True), "kata-set-rules tromp-taylor") == ["="]


# SGF


def written(folder: Path, text: str) -> Path:
    path = folder / "a game.sgf"
    path.write_text(text)
    return path


def test_a_game_is_loaded_up_to_a_move_and_printed(go5: Agent, tmp_path: Path) -> None:
    path = written(tmp_path, "(;GM[1]SZ[7]KM[3.5];B[dd];W[ee];B[];W[])")
    engine = Engine(go5, simulations=4)
    assert talk(engine, "play b a1", f"loadsgf {path}") == ["=", "="]
    assert engine.game.env_id == "go7" and engine.moves == [24, 32, 49, 49]
    *_, printed = talk(engine, "printsgf")
    read = read_sgf(printed.removeprefix("= "))
    assert (read.moves, read.result) == ((24, 32, 49, 49), "W+3.5") and read.game.params == engine.game.params
    assert talk(engine, f"loadsgf {path} 3", "genmove b", "undo", "undo")[1][:2] == "= "
    assert engine.moves == [24]
    assert talk(engine, f"loadsgf {path} 1", "undo") == ["=", "? cannot undo"]


def test_a_game_longer_than_ours_is_loaded(go5: Agent, tmp_path: Path) -> None:
    game, random = envs.make("go5", max_moves=200), np.random.default_rng(0)
    state, moves = game.initial_state(), list[int]()
    while len(moves) < 90:
        legal = np.flatnonzero(game.legal_mask(state))
        moves.append(int(random.choice(legal[:-1] if len(legal) > 1 else legal)))
        state = game.after(state, moves[-1])
    path = written(tmp_path, write_sgf(game, moves, names=("", ""), result=None))
    engine = Engine(go5, simulations=4)
    assert engine.game.max_moves == 75
    assert talk(engine, f"loadsgf {path}") == ["="]
    assert engine.moves == moves and not engine.over, "it goes on"
    engine = Engine(go5, simulations=4)
    assert talk(engine, f"loadsgf {path}", "undo") == ["=", "="] and engine.moves == moves[:-1]
    engine = Engine(go5, simulations=4)
    assert talk(engine, f"loadsgf {path}", "boardsize 7") == ["=", "="] and engine.game.max_moves == 3 * 49


def test_a_problem_is_loaded(go5: Agent, tmp_path: Path) -> None:
    path = written(tmp_path, "(;GM[1]SZ[5]AB[aa][bb][cc]AW[ee];W[dd];W[de])")
    engine = Engine(go5, simulations=4)
    assert talk(engine, f"loadsgf {path}") == ["="]
    drawn = [line[3:-2].replace(" ", "") for line in engine.game.render(engine.state).split("\n")[1:-1]]
    assert drawn == ["X....", ".X...", "..X..", "...O.", "...OO"]
    assert engine.state[TO_MOVE] == 0
    assert talk(engine, f"loadsgf {path} 1")[0] == "=" and len(engine.moves) == 5, "all that was set up, and no move"
    assert talk(engine, f"loadsgf {path} 2", "undo")[1] == "=" and len(engine.moves) == 5
    turn = written(tmp_path, "(;GM[1]SZ[5]AB[aa][bb][cc]AW[ee][de]PL[B])")
    assert talk(engine, f"loadsgf {turn}") == ["="] and engine.state[TO_MOVE] == 0
    assert talk(engine, "play b pass") == ["="] and not engine.over, "a turn that was given is no pass"
    assert talk(engine, "play w pass") == ["="] and engine.over


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "this is no readable SGF: no SGF data found"),
        ("(;GM[1]SZ[9];B[", "this is no readable SGF: unexpected end of SGF data"),
        ("(;GM[1]SZ[99])", "SGF: go is played on 5 to 19 lines, not 99"),
        ("(;GM[1]SZ[3])", "SGF: go is played on 5 to 19 lines, not 3"),
        ("(;GM[1]SZ[5];B[aa];W[aa])", "SGF: move 2 (W[aa]): move 2 (A5) is not legal here"),
        # A suicide of two stones, which the file's rules allow and the agent's do not.
        ("(;GM[1]SZ[5]RU[NZ];B[ae];W[ad];B[cc];W[bd];B[dd];W[ce];B[be])", "move 7 (B1) is not legal here"),
        ("\x00\xff\x1b", "this is no readable SGF"),
    ],
)
def test_a_broken_sgf_leaves_the_game_as_it_was(text: str, reason: str, go5: Agent, tmp_path: Path) -> None:
    engine = Engine(go5)
    _, refused = talk(engine, "play b c3", f"loadsgf {written(tmp_path, text)}")
    assert refused.startswith(f"? cannot load file: {reason}")
    assert engine.moves == [12] and engine.game.board_shape == (5, 5)


def test_an_sgf_for_a_board_that_the_network_cannot_do(tmp_path: Path) -> None:
    path = written(tmp_path, "(;GM[1]SZ[7];B[dd])")
    engine = Engine(small_agent("go5", {"encoder": {"kind": "mlp", "width": 16, "depth": 1}}))
    _, refused = talk(engine, "play b c3", f"loadsgf {path}")
    assert refused.startswith("? cannot load file: ") and "size mismatch" in refused
    assert engine.moves == [12]


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("", "? syntax error: loadsgf FILENAME [MOVE_NUMBER]"),
        ("/no/such/file.sgf", "? cannot load file: No such file or directory"),
        ("/", "? cannot load file: it is not a file"),
        ("/dev/zero", "? cannot load file: it is not a file"),
    ],
)
def test_a_file_that_cannot_be_read(words: str, answer: str, go5: Agent) -> None:
    assert talk(go5, f"loadsgf {words}") == [answer]
