"""What goes through a handle comes out of it in compiled code."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from numba import boolean, float32, float64, int8, int64, njit, types

import envs
from rl.search.handles import handle_of, handle_of_rules, view_rules, viewer


class Box(NamedTuple):
    flags: np.ndarray  # [4] bool
    share: float
    cube: np.ndarray  # [2, 3, 5] float32
    whole: int
    small: np.ndarray  # [2, 7] int8


BoxType = types.NamedTuple((boolean[::1], float64, float32[:, :, ::1], int64, int8[:, ::1]), Box)
view_box = viewer(BoxType)


def box() -> Box:
    cube = np.arange(30, dtype=np.float32).reshape(2, 3, 5)
    small = np.arange(14, dtype=np.int8).reshape(2, 7)
    return Box(np.array([True, False, True, True]), 0.375, cube, -3, small)


@njit
def look(handle, numbers, cube, small):
    view = view_box(handle)
    numbers[0], numbers[1], numbers[2], numbers[3] = view.share, view.whole, view.flags.sum(), view.small.shape[1]
    for i in range(2):
        for j in range(3):
            for k in range(5):
                cube[i, j, k] = view.cube[i, j, k]
                view.cube[i, j, k] = -1.0
    small[:] = view.small[1]
    view.flags[1] = True


def test_arrays_and_numbers_arrive_and_can_be_written() -> None:
    ours = box()
    numbers, cube, small = np.zeros(4), np.zeros((2, 3, 5), np.float32), np.zeros(7, np.int8)
    look(handle_of(ours, BoxType), numbers, cube, small)
    assert numbers.tolist() == [0.375, -3.0, 3.0, 7.0]
    np.testing.assert_array_equal(cube, box().cube)
    np.testing.assert_array_equal(small, box().small[1])
    assert (ours.cube == -1).all()
    assert ours.flags.all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"cube": np.zeros((2, 3, 5))},
        {"cube": np.zeros((2, 3), np.float32)},
        {"cube": np.zeros((5, 3, 2), np.float32).T},
        {"share": 1},
    ],
    ids=["type", "axes", "order", "number"],
)
def test_what_compiled_code_would_misread_is_refused(wrong: dict) -> None:
    with pytest.raises(AssertionError, match="is not Box"):
        handle_of(box()._replace(**wrong), BoxType)


@njit
def play_and_look(handle, state, action, mask, out):
    rules = view_rules(handle)
    rules.play(state, action)
    rules.legal(state, mask)
    rules.planes(state, out)


def test_rules_arrive() -> None:
    game = envs.make("connect_four")
    state = game.initial_state()
    mask, out = np.zeros(7, np.uint8), np.zeros(game.plane_shape, np.float32)
    for action in (3, 3, 3, 3, 3, 3):
        expected = game.after(state, action)
        play_and_look(handle_of_rules(game), state, action, mask, out)
        np.testing.assert_array_equal(state, expected)
        np.testing.assert_array_equal(mask.astype(bool), game.legal_mask(state))
        np.testing.assert_array_equal(out, game.encode(state[None])[0])
    assert mask.tolist() == [1, 1, 1, 0, 1, 1, 1]
