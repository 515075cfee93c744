"""Broken games: tic-tac-toe with one thing changed, and the sentence that must name it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, objmode

from envs.game import HEADER, INIT, LEGAL, PLANES, PLAY, PLY, STATUS, TO_MOVE
from envs.tic_tac_toe import legal, planes, play

CELLS = np.arange(9)


def rule(signature: Any) -> Callable[[Callable], Any]:
    return njit(signature)  # not cached: these live for one test run


@rule(INIT)
def init_not_reset(state, params):
    state[: HEADER + 8] = 0


@rule(INIT)
def init_third_player(state, params):
    state[:] = 0
    state[TO_MOVE] = 2


@rule(INIT)
def init_changes_params(state, params):
    state[:] = 0
    params[:] = 5


@rule(LEGAL)
def legal_fives(state, mask):
    for cell in range(9):
        mask[cell] = 5 * (state[HEADER + cell] == 0)


@rule(LEGAL)
def legal_only_ones(state, mask):
    for cell in range(9):
        if state[HEADER + cell] == 0:
            mask[cell] = 1


@rule(LEGAL)
def legal_nothing(state, mask):
    for cell in range(9):
        mask[cell] = state[HEADER + cell] == 0 and state[PLY] < 4


@rule(LEGAL)
def legal_marks_state(state, mask):
    legal(state, mask)
    state[HEADER + 8] += 4


@rule(LEGAL)
def legal_one_more(state, mask):
    for cell in range(10):
        mask[cell] = cell == 9 or state[HEADER + cell] == 0


@rule(LEGAL)
def legal_lopsided(state, mask):
    legal(state, mask)
    if state[PLY] == 3:
        mask[0] = 0


@rule(PLANES)
def planes_unwritten(state, out):
    for cell in range(9):
        for side in (0, 1):
            out[side, cell // 3, cell % 3] = state[HEADER + cell] == side + 1
        if state[HEADER + cell] > 0:
            out[2, cell // 3, cell % 3] = 1.0


@rule(PLANES)
def planes_infinite(state, out):
    planes(state, out)
    out[2, 1, 1] = np.inf


@rule(PLANES)
def planes_random(state, out):
    planes(state, out)
    out[2, 1, 1] = np.random.random()


@rule(PLANES)
def planes_one_more(state, out):
    planes(state, out)
    out[3, 0, 0] = 7.0


@rule(PLANES)
def planes_lopsided(state, out):
    planes(state, out)
    out[2, 0, 1] = 2.0


@rule(PLANES)
def planes_of_x_and_o(state, out):
    for cell in range(9):
        out[0, cell // 3, cell % 3] = state[HEADER + cell] == 1
        out[1, cell // 3, cell % 3] = state[HEADER + cell] == 2
        out[2, cell // 3, cell % 3] = 1.0


@rule(PLAY)
def play_uncounted(state, action):
    play(state, action)
    state[PLY] = 1


@rule(PLAY)
def play_third_player(state, action):
    to_move = state[TO_MOVE]
    play(state, action)
    state[TO_MOVE] = to_move + 1


@rule(PLAY)
def play_odd_status(state, action):
    play(state, action)
    if state[STATUS] != 0:
        state[STATUS] = 4


@rule(PLAY)
def play_past_the_state(state, action):
    play(state, action)
    state[HEADER + 9] = 9


@rule(PLAY)
def play_one_side_only(state, action):
    state[HEADER + action] = 1
    state[PLY] += 1
    if state[PLY] == 9:
        state[STATUS] = 3


@rule(PLAY)
def play_random(state, action):
    play(state, action)
    if state[STATUS] == 0:
        state[TO_MOVE] = np.random.randint(0, 2)


@rule(PLAY)
def play_reads_outside(state, action):
    play(state, action)
    if state[HEADER + 9] == 1 and state[STATUS] == 0:
        state[STATUS] = 3


@rule(PLAY)
def play_raises(state, action):
    if state[PLY] == 4:
        raise ZeroDivisionError("oh")
    play(state, action)


@rule(PLAY)
def play_lopsided(state, action):
    play(state, action)
    if action == 0:
        state[STATUS] = 3


CALLS: list[int] = []


def calls_so_far() -> int:
    CALLS.append(len(CALLS))
    return len(CALLS)


@rule(PLAY)
def play_counts_calls(state, action):
    with objmode(calls="int64"):
        calls = calls_so_far()
    play(state, action)
    if calls > 20 and state[STATUS] == 0:
        state[STATUS] = 3


@njit
def play_of_any_type(state, action):
    play(state, action)


def legal_in_python(state, mask):
    mask[:] = 1


# Tic-tac-toe's own rotation by a quarter turn, applied to the points only.
TURNED = np.rot90(CELLS.reshape(3, 3)).ravel()
SHIFTED = np.roll(CELLS, 1)

BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("no title", {"title": ""}, "env_id and title must not be empty"),
    ("no actions", {"num_actions": 0}, "num_actions must be positive"),
    ("no moves", {"max_moves": 0}, "max_moves must be positive"),
    ("short state", {"state_size": 2}, "state_size is 2, less than the 3 header words"),
    (
        "python rule",
        {"legal": legal_in_python},
        "legal is a function, not a compiled rule: decorate it with @njit(LEGAL",
    ),
    ("lazy rule", {"play": play_of_any_type}, "play is compiled for [], not for"),
    ("names missing", {"action_names": ("a", "b")}, "action_names has 2 names for 9 actions"),
    ("names repeated", {"action_names": tuple("abcdefghA")}, "action_names must differ"),
    ("plane names", {"plane_names": ("own",)}, "plane_names has 1 names for 3 planes"),
    ("layout", {"action_layout": "cells"}, "action_layout 'cells' is none of"),
    ("columns", {"action_layout": "columns"}, "layout columns needs 3 actions, not 9"),
    ("points", {"board_shape": (3, 4)}, "layout points needs 12 actions or more, not 9"),
    ("symmetry shape", {"point_symmetries": CELLS, "action_symmetries": CELLS}, "point_symmetries must be integers of"),
    ("no identity", {"action_symmetries": TURNED[None]}, "action_symmetries[0] must be the identity"),
    (
        "no permutation",
        {"point_symmetries": np.stack([CELLS, CELLS // 2])},
        "point_symmetries[1] is not a permutation of 0..8",
    ),
    ("unpaired", {"point_symmetries": CELLS[None]}, "1 point_symmetries but 8 action_symmetries"),
    (
        "actions stay while points move",
        {"point_symmetries": np.stack([CELLS, TURNED]), "action_symmetries": np.stack([CELLS, CELLS])},
        "layout points, but an action does not move with its point",
    ),
    (
        "actions stay while points move, unknown to the layout",
        {
            "point_symmetries": np.stack([CELLS, TURNED]),
            "action_symmetries": np.stack([CELLS, CELLS]),
            "action_layout": "flat",
        },
        "symmetry 1 does not hold: the transformed game has other planes",
    ),
    (
        "not a symmetry of the rules",
        {"point_symmetries": np.stack([CELLS, SHIFTED]), "action_symmetries": np.stack([CELLS, SHIFTED])},
        "and its image end differently",
    ),
    ("init leaves a word", {"init": init_not_reset}, "init must write every word of the state vector, but state[11]"),
    (
        "third player starts",
        {"init": init_third_player},
        "must start with TO_MOVE 0 or 1, ONGOING, PLY 0, not (2, 0, 0)",
    ),
    ("init changes params", {"init": init_changes_params, "params": (3, 4)}, "init changes its params"),
    ("mask of fives", {"legal": legal_fives}, "legal must write 0 or 1, but mask[0] is 5"),
    ("mask half written", {"legal": legal_only_ones}, "legal must write every entry of the mask, but mask["),
    ("nothing legal", {"legal": legal_nothing}, "the game is ongoing but no action is legal"),
    ("legal changes state", {"legal": legal_marks_state}, "legal changes the state vector"),
    ("mask overrun", {"legal": legal_one_more}, "legal writes outside the mask"),
    ("legal lopsided", {"legal": legal_lopsided}, "does not hold: the transformed game has other legal actions"),
    (
        "planes half written",
        {"planes": planes_unwritten},
        "planes must write every entry, but out[2, 0, 0] is left over",
    ),
    ("planes infinite", {"planes": planes_infinite}, "planes must write finite numbers, but out[2, 1, 1]"),
    ("planes random", {"planes": planes_random}, "planes gives different results for two copies of one state"),
    ("planes overrun", {"planes": planes_one_more}, "planes writes outside the planes"),
    ("planes lopsided", {"planes": planes_lopsided}, "does not hold: the transformed game has other planes"),
    ("planes hide the side", {"planes": planes_of_x_and_o}, "planes are the same whichever side is to move"),
    ("ply uncounted", {"play": play_uncounted}, "state[PLY] must count the moves: 2 by now, not 1"),
    ("third player", {"play": play_third_player}, "state[TO_MOVE] must be 0 or 1, not 2"),
    ("odd status", {"play": play_odd_status}, "state[STATUS] must be ONGOING, FIRST_WON, SECOND_WON or DRAW, not 4"),
    ("state overrun", {"play": play_past_the_state}, "writes outside the state vector"),
    ("one side only", {"play": play_one_side_only}, "state[TO_MOVE] stays 0 in every game"),
    ("play random", {"play": play_random}, "play gives different results for two copies of one state"),
    (
        "play reads outside",
        {"play": play_reads_outside},
        "the state vector must hold everything that the rules depend on",
    ),
    ("play raises", {"play": play_raises}, "play raised ZeroDivisionError: oh"),
    ("play lopsided", {"play": play_lopsided}, "and its image end differently"),
    ("too long", {"max_moves": 6}, "the game goes on, although max_moves is 6"),
    ("render empty", {"render": lambda state: " "}, "render must give text, not ' '"),
    ("render changes state", {"render": lambda state: str(state.sort())}, "render changes the state"),
]
