"""Tic-tac-toe with unusual turns: sound games, which tell whether a door takes the turn from the header."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from numba import njit

from envs import make
from envs.game import HEADER, INIT, PLAY, PLY, TO_MOVE, Game
from envs.tic_tac_toe import init, play

CORNER = 8


@njit(PLAY)
def play_in_pairs(state, action):
    play(state, action)
    state[TO_MOVE] = (state[PLY] + 1) // 2 % 2


@njit(PLAY)
def play_until_the_corner(state, action):
    play(state, action)
    if state[HEADER + CORNER] == 0:
        state[TO_MOVE] = 0


@njit(INIT)
def init_second_begins(state, params):
    init(state, params)
    state[TO_MOVE] = 1


def tic_tac_toe_with(**changes: Any) -> Game:
    return replace(make("tic_tac_toe"), point_symmetries=None, action_symmetries=None, **changes)


IN_PAIRS = tic_tac_toe_with(env_id="in_pairs", play=play_in_pairs)  # X, then O O, X X, O O, X X
# The first player keeps the move until it plays the corner, and may win before.
UNTIL_THE_CORNER = tic_tac_toe_with(env_id="until_the_corner", play=play_until_the_corner)
SECOND_BEGINS = tic_tac_toe_with(env_id="second_begins", init=init_second_begins)
