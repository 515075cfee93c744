"""Labels against slow definitions: every stone tried on the board, ladders of the books."""

from pathlib import Path

import numpy as np

import envs
from envs.connect_four import COLUMNS, ROWS, STRIDE, has_four
from envs.game import HEADER
from rl.agent import load_player
from rl.insight.concepts import CONNECT_FOUR, NOT_ASKED, boards, playable, threats
from rl.insight.go_concepts import GO, Reader
from rl.insight.positions import Positions, mirrored, solved, visited
from tests.rl.agents_for_tests import save_random_agent

FOUR = envs.make("connect_four")


def bit(cell: int) -> int:
    return cell % COLUMNS * STRIDE + ROWS - 1 - cell // COLUMNS


def test_threats_are_cells_whose_stone_would_win() -> None:
    found = solved(FOUR)
    assert found is not None
    rows = np.random.default_rng(0).permutation(len(found.states))[:150]
    board = boards(FOUR, found.states[rows])
    for player, seat in ((1, 0), (-1, 1)):
        told = threats(board, player)
        for row, state in enumerate(found.states[rows]):
            for cell in np.flatnonzero(board[row] == 0):
                assert told[row, cell] == has_four(int(state[HEADER + seat]) | 1 << bit(int(cell)))
        assert told.sum() > 0 and not told[board != 0].any()


def test_stones_fall_into_playable_cells() -> None:
    found = solved(FOUR)
    assert found is not None
    for state, moves in zip(found.states[:50], found.moves[:50], strict=True):
        board = boards(FOUR, state[None])
        cells = set(np.flatnonzero(playable(board)[0]))
        fallen = set()
        for move in np.flatnonzero(FOUR.legal_mask(state)):
            [cell] = np.flatnonzero(boards(FOUR, FOUR.replay([*moves, int(move)])[None])[0] != board[0])
            fallen.add(cell)
        assert cells == fallen


def labels(moves: list[int]) -> dict[str, list[int]]:
    positions = Positions(
        FOUR.replay(moves)[None], (tuple(moves),), np.zeros(1, np.int64), values=np.array([1], np.int8)
    )
    told = {concept.name: concept.label(FOUR, positions)[0] for concept in CONNECT_FOUR}
    return {name: np.flatnonzero(label == 1).tolist() if label.ndim else [int(label)] for name, label in told.items()}


def test_concepts_of_a_position_by_hand() -> None:
    told = labels([3, 0, 3, 0, 3])  # X has three in column 3, O two in column 0 and is to move
    assert told["must block"] == [1] and told["wins at once"] == [0]
    assert told["their threat"] == [2 * 7 + 3] and told["own threat"] == []
    assert told["odd threat"] == [0] and told["won"] == [1]
    # X: b1, c1, d1 against stones elsewhere; a1 and e1 complete four at once, and nothing hangs in the air.
    assert labels([1, 1, 2, 2, 3, 3])["wins at once"] == [1]


def test_odd_and_even_threats_belong_to_a_side() -> None:
    # Rows 1 and 3 of columns 1 to 3 are X's, row 2 is O's: with column 0 empty, its cells complete four for both.
    moves = [1, 1, 2, 2, 3, 3, 1, 6, 2, 6, 3]
    told = labels(moves)
    board = boards(FOUR, FOUR.replay(moves)[None])
    for player, row in ((1, 3), (-1, 4)):  # from the top
        hanging = np.flatnonzero(threats(board, player)[0] & ~playable(board)[0])
        assert hanging.tolist() == [row * 7, row * 7 + 4]
    assert told["odd threat"] == [1] and told["even threat"] == [1] and told["must block"] == [1]


def reader(text: str) -> tuple[Reader, dict[tuple[int, int], int]]:
    lines = text.split()
    stones = np.array([{"X": 1, "O": -1, ".": 0}[c] for line in lines for c in line])
    made = Reader(stones, (len(lines), len(lines[0])))
    return made, {(r, c): made.points[r * len(lines[0]) + c] for r in range(len(lines)) for c in range(len(lines[0]))}


def test_a_ladder_on_an_empty_board_catches_and_a_breaker_saves() -> None:
    text = "\n".join(["........."] * 2 + ["..XX.....", ".XO......", "..X......"] + ["........."] * 4)
    chased, at = reader(text)
    stone = at[(3, 2)]
    assert len(chased.chain(stone)[1]) == 1
    before = list(chased.board)
    assert chased.caught(stone, attacker_moves=False), "the ladder runs into the corner"
    assert chased.board == before, "reading leaves the board as it was"
    rows = [list(line) for line in text.split()]
    rows[6][6] = "O"
    broken, at = reader("\n".join("".join(row) for row in rows))
    assert not broken.caught(at[(3, 2)], attacker_moves=False), "a stone in its way"


def test_the_last_liberty_is_death_and_capturing_out_is_not() -> None:
    chased, at = reader("XO...\nO....\n.....\n.....\n.....")  # X in the corner has no liberty left but none to play
    assert chased.chain(at[(0, 0)])[1] == set()
    edge, at = reader("OX...\n.....\n.....\n.....\n.....")
    assert edge.caught(at[(0, 0)], attacker_moves=True)
    assert edge.caught(at[(0, 0)], attacker_moves=False), "it can extend along the edge only, and is still caught"
    # X surrounds the corner stone with a stone that is itself in atari: capturing it saves the corner.
    saved, at = reader("OXO..\n.O...\n.....\n.....\n.....")
    assert not saved.caught(at[(0, 0)], attacker_moves=False)


def test_go_labels_are_of_stones_and_of_who_owns_what(tmp_path: Path) -> None:
    agent = load_player(save_random_agent(tmp_path / "five.safetensors", "go5"))
    found = visited(agent, 40)
    told = {concept.name: concept.label(agent.game, found) for concept in GO}
    board = boards(agent.game, found.states)
    planes = agent.game.encode(found.states).reshape(40, -1, 25)
    one = agent.game.plane_names.index("stones of chains with one liberty")
    assert np.array_equal(told["atari"] == 1, planes[:, one] == 1), "as the rules count liberties"
    assert ((told["atari"] != NOT_ASKED) == (board != 0)).all()
    few = (planes[:, one] == 1) | (planes[:, one + 1] == 1)
    assert ((told["ladder"] != NOT_ASKED) == few).all()
    # Whose move it is: a chain in atari of the side not to move is caught for sure.
    theirs = (planes[:, one] == 1) & (planes[:, 2] == 1)
    assert theirs.any() and (told["ladder"][theirs] == 1).all()
    finals = np.stack([agent.game.replay(m)[:2] for m in found.moves])
    assert len(finals) == 40 and set(np.unique(told["owned"])) <= {NOT_ASKED, 0, 1} and (told["owned"] == 1).any()


def test_mirrored_moves_reach_the_mirror_image() -> None:
    rng = np.random.default_rng(0)
    for env_id in ("connect_four", "tic_tac_toe", "go5", "othello"):
        game = envs.make(env_id)
        assert game.point_symmetries is not None
        state, moves = game.initial_state(), []
        for _ in range(5):
            moves.append(int(rng.choice(np.flatnonzero(game.legal_mask(state)))))
            state = game.after(state, moves[-1])
        planes = game.encode(state[None])[0].reshape(game.num_planes, -1)
        for k, order in enumerate(game.point_symmetries):
            image = game.replay(mirrored(game, tuple(moves), k))
            assert np.array_equal(game.encode(image[None])[0].reshape(game.num_planes, -1), planes[:, order])
