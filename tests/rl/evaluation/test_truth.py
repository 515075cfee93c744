"""The truth sets are true, well spread, and counted rightly."""

from collections import Counter
from importlib.resources import files

import numpy as np
import pytest
from numba import njit

import envs
from envs.connect_four import COLUMNS, FIRST, ROWS, SECOND, STRIDE, has_four
from envs.game import ONGOING, PLY, STATUS, TO_MOVE
from rl.evaluation.solver import ILLEGAL
from rl.evaluation.truth import SPLITS, TruthSet, data_file, solve_all

SIZES = {"test": 4000, "tune": 1500}


@pytest.fixture(scope="module")
def four() -> dict[str, TruthSet]:
    sets = {split: TruthSet.load("connect_four", split) for split in SPLITS}
    return {split: truth for split, truth in sets.items() if truth is not None}


@pytest.fixture(scope="module")
def toe() -> TruthSet:
    return solve_all(envs.make("tic_tac_toe"))


def grid(stones: int) -> np.ndarray:
    """A bitboard as [6, 7] int, the bottom row first."""
    return np.array([[stones >> (c * STRIDE + r) & 1 for c in range(COLUMNS)] for r in range(ROWS)])


def up_to_mirror(state: np.ndarray) -> bytes:
    board = grid(int(state[FIRST])) + 2 * grid(int(state[SECOND]))
    return min(board.tobytes(), board[:, ::-1].tobytes())


@njit
def best_result(own, other, alpha, beta):
    """Alpha-beta over wins (1), draws (0) and losses (-1) for the owner of ``own``, who is to move."""
    top = 1 << (ROWS - 1)
    moved = False
    for i in range(COLUMNS):
        column = COLUMNS // 2 + (i + 1) // 2 * (1 - 2 * (i % 2))  # the middle first: more cut-offs
        stones = own | other
        if stones & (top << (column * STRIDE)):
            continue
        moved = True
        bottom = 1 << (column * STRIDE)
        after = own | ((stones + bottom) & (((1 << ROWS) - 1) << (column * STRIDE)))
        value = 1 if has_four(after) else -best_result(other, after, -beta, -alpha)
        alpha = max(alpha, value)
        if alpha >= beta:
            break
    return alpha if moved else 0


def searched_values(state: np.ndarray) -> list[int]:
    """Values [7] of the actions by exhaustive search, which shares nothing with the solver that made the data."""
    game = envs.make("connect_four")
    values = [ILLEGAL] * COLUMNS
    for action in np.flatnonzero(game.legal_mask(state)):
        after = game.after(state, int(action))
        if after[STATUS] != ONGOING:
            values[action] = 0 if has_four(after[FIRST + state[TO_MOVE]]) == 0 else 1
        else:
            mover, other = after[FIRST + after[TO_MOVE]], after[SECOND - after[TO_MOVE]]
            values[action] = -best_result(mover, other, -1, 1)
    return values


@pytest.mark.parametrize("split", SPLITS)
def test_the_committed_values_are_those_of_exhaustive_search(four: dict[str, TruthSet], split: str) -> None:
    truth = four[split]
    late = np.flatnonzero(truth.ply >= 24)  # earlier ones take seconds each
    assert len(late) > len(truth) / 3
    for row in late:
        assert searched_values(truth.states[row]) == truth.action_values[row].tolist()


@pytest.mark.parametrize("split", SPLITS)
def test_connect_four_positions_are_well_chosen(four: dict[str, TruthSet], split: str) -> None:
    truth = four[split]
    game = envs.make("connect_four")
    assert len(truth) == SIZES[split] and truth.env_id == "connect_four"
    assert truth.states.dtype == np.int64 and truth.states.shape == (len(truth), game.state_size)
    assert truth.action_values.dtype == np.int8 and truth.action_values.shape == (len(truth), 7)
    assert (truth.states[:, STATUS] == ONGOING).all() and (truth.states[:, PLY] == truth.ply).all()
    legal = np.stack([game.legal_mask(state) for state in truth.states])
    assert ((truth.action_values == ILLEGAL) == ~legal).all()
    assert set(np.unique(truth.action_values).tolist()) == {ILLEGAL, -1, 0, 1}
    worst = np.where(legal, truth.action_values, 2).min(axis=1)
    assert (worst < truth.values()).all(), "a position in which every move has the same result measures nothing"


@pytest.mark.parametrize("split", SPLITS)
def test_connect_four_plies_have_equal_shares_where_positions_exist(four: dict[str, TruthSet], split: str) -> None:
    count = Counter(four[split].ply.tolist())
    share = max(count.values())
    assert share <= 1.25 * len(four[split]) / 41
    # Up to the mirror the first plies have 1, 4, 25, ... positions; the last is seldom reached.
    assert all(count[ply] >= 0.75 * share for ply in range(5, 40))
    assert count[40] >= 0.3 * share


def test_no_position_or_mirror_image_appears_twice(four: dict[str, TruthSet]) -> None:
    keys = [up_to_mirror(state) for truth in four.values() for state in truth.states]
    assert len(keys) == sum(SIZES.values()) == len(set(keys))


def test_the_empty_board_is_in_one_set_with_its_known_values(four: dict[str, TruthSet]) -> None:
    empty = [truth.action_values[truth.ply == 0] for truth in four.values()]
    assert np.concatenate(empty).tolist() == [[-1, -1, 0, 1, 0, -1, -1]]


def test_the_data_is_small_and_holds_no_pickle() -> None:
    paths = [files("rl.evaluation") / "data" / data_file("connect_four", split) for split in SPLITS]
    assert sum(len(path.read_bytes()) for path in paths) < 1_000_000
    for path in paths:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            assert all(data[name].dtype == np.int8 for name in ("moves", "action_values"))


def test_tic_tac_toe_is_complete_and_the_same_in_both_splits(toe: TruthSet) -> None:
    test, tune = (TruthSet.load("tic_tac_toe", split) for split in ("test", "tune"))
    assert test is not None and tune is not None
    assert len(test) == 4520 and (test.states == tune.states).all() and (test.states == toe.states).all()
    assert Counter(test.ply.tolist()) == {0: 1, 1: 9, 2: 72, 3: 252, 4: 756, 5: 1140, 6: 1372, 7: 696, 8: 222}
    values = test.values()
    assert values[0] == 0 and (values >= -1).all()
    assert test.states.flags.writeable, "compiled rules take no read-only states"


def test_unknown_games_and_splits() -> None:
    assert TruthSet.load("go9") is None
    with pytest.raises(ValueError, match="unknown split 'train'"):
        TruthSet.load("connect_four", "train")


def test_accuracy_counts_actions_that_keep_the_value(toe: TruthSet) -> None:
    best = toe.action_values.argmax(axis=1)
    worst = np.where(toe.action_values == ILLEGAL, 2, toe.action_values).argmin(axis=1)
    assert toe.accuracy(best) == 1.0
    lost = toe.keeps(worst)  # only where every legal action is as good
    assert toe.accuracy(worst) == lost.mean() < 0.5
    assert set(toe.accuracy_by_ply(best)) == set(range(9)) and set(toe.accuracy_by_ply(best).values()) == {1.0}
    mixed = np.where(toe.ply == 3, worst, best)
    by_ply = toe.accuracy_by_ply(mixed)
    assert by_ply[3] == lost[toe.ply == 3].mean() < 1 and by_ply[4] == 1
    # After a corner opening only the centre keeps the draw.
    corner = TruthSet(toe.env_id, toe.states[1:2], toe.ply[1:2], toe.action_values[1:2])
    assert [corner.accuracy(np.array([a])) for a in (1, 4)] == [0.0, 1.0]


def test_illegal_or_missing_actions_are_refused(toe: TruthSet) -> None:
    best = toe.action_values.argmax(axis=1)
    illegal = best.copy()
    illegal[5] = np.flatnonzero(toe.action_values[5] == ILLEGAL)[0]
    with pytest.raises(ValueError, match="not legal in position 5"):
        toe.accuracy(illegal)
    illegal[5] = 9
    with pytest.raises(ValueError, match="action 9 is not legal in position 5"):
        toe.accuracy(illegal)
    illegal[5] = -1  # would count from the end
    with pytest.raises(ValueError, match="action -1 is not legal in position 5"):
        toe.accuracy(illegal)
    with pytest.raises(ValueError, match="one action for each of 4520 positions"):
        toe.accuracy(best[:-1])


def test_a_subset_is_spread_over_plies_nested_and_repeatable(toe: TruthSet) -> None:
    small, large = toe.subset(90, seed=1), toe.subset(300, seed=1)
    assert len(small) == 90 and len(large) == 300
    # One of ply 0 and nine of ply 1; the other 80 in rounds over seven plies.
    count = Counter(small.ply.tolist())
    assert count[0] == 1 and count[1] == 9 and all(count[ply] in (11, 12) for ply in range(2, 9))
    assert {s.tobytes() for s in small.states} < {s.tobytes() for s in large.states}
    assert (toe.subset(90, seed=1).states == small.states).all()
    assert (toe.subset(90, seed=2).states != small.states).any()
    assert len(toe.subset(10_000)) == len(toe)
    rows = {state.tobytes(): row for row, state in enumerate(toe.states)}
    for state, ply, values in zip(small.states, small.ply, small.action_values, strict=True):
        row = rows[state.tobytes()]
        assert ply == toe.ply[row] and (values == toe.action_values[row]).all()


def test_the_tool_makes_sets_that_share_nothing_and_repeat() -> None:
    pytest.importorskip("bitbully")
    from rl.evaluation.make_connect_four_truth import Key, TruthMaker

    def make() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        taken: set[Key] = set()
        moves, values = TruthMaker("test", 8, seed=1, taken=taken).make(progress=lambda text: None)
        others, _ = TruthMaker("tune", 8, seed=1, taken=taken).make(progress=lambda text: None)
        assert len(taken) >= 16
        return moves, values, others

    moves, values, others = make()
    assert moves.shape == (8, 42) and values.shape == (8, 7)
    assert not {tuple(m) for m in moves.tolist()} & {tuple(m) for m in others.tolist()}
    again = make()
    assert (moves == again[0]).all() and (values == again[1]).all() and (others == again[2]).all()
