"""Uniformly random play, compiled once for every game: openings, rollouts, benchmarks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import boolean, int64, njit, uint8, uint64, void

from envs.game import ONGOING, PICK, PLY, STATUS, Game, LegalFn, PickFn, PlayFn
from envs.stream import draw_below

ATTEMPTS = 100

COMPILED_IN = "feaf9c58c3580108"  # of other files: see rl/search/kernels.py


@njit(void(int64[::1], int64, uint8[::1], uint64[::1], LegalFn, PlayFn), cache=True)
def play_random(state, plies, mask, stream, legal, play):
    """Play up to ``plies`` uniformly random moves in place, fewer when the game ends. ``mask`` [A] is scratch."""
    for _ in range(plies):
        if state[STATUS] != ONGOING:
            return
        legal(state, mask)
        count = 0
        for action in range(mask.shape[0]):
            count += mask[action] != 0
        skip = draw_below(stream, count)
        for action in range(mask.shape[0]):
            if mask[action] != 0:
                if skip == 0:
                    play(state, action)
                    break
                skip -= 1


@njit(void(int64[:, ::1], int64, int64[:, ::1], uint64[::1], int64, LegalFn, PlayFn), cache=True)
def random_openings(out, limit, starts, stream, actions, legal, play):
    """Fill out [K, S] with ongoing positions 0 to ``limit`` random moves after ``starts`` [K, S], all lengths alike.

    A game that ends on the way is tried again; only a length that hardly any game survives is drawn anew.
    """
    mask = np.zeros(actions, np.uint8)
    for k in range(out.shape[0]):
        tries = ATTEMPTS
        while True:
            if tries == ATTEMPTS:
                plies, tries = draw_below(stream, limit + 1), 0
            out[k] = starts[k]
            play_random(out[k], plies, mask, stream, legal, play)
            tries += 1
            if out[k, STATUS] == ONGOING:
                break


@njit(PICK, cache=True)
def no_pick(state, stream):
    """Stands in for the ``pick`` that a game does not have."""
    return -1


def playout_rules(game: Game) -> tuple[Any, Any, Any, bool]:
    """What ``play_out`` needs of a game: legal, play, pick, and whether the game has the last."""
    return game.legal, game.play, game.pick or no_pick, game.pick is not None


@njit(void(int64[::1], uint8[::1], uint64[::1], LegalFn, PlayFn, PickFn, boolean), cache=True)
def play_out(state, mask, stream, legal, play, pick, has_pick):
    """Play uniformly random moves in place to the end of the game. ``mask`` [A] is scratch."""
    if not has_pick:
        play_random(state, np.iinfo(np.int64).max, mask, stream, legal, play)
    while state[STATUS] == ONGOING:
        play(state, pick(state, stream))


@njit(int64(int64[::1], int64, int64, uint64[::1], LegalFn, PlayFn, PickFn, boolean), cache=True)
def count_moves(start, games, actions, stream, legal, play, pick, has_pick):
    """Play ``games`` random games from ``start`` to their ends; the number of moves made, for benchmarks."""
    state, mask = start.copy(), np.zeros(actions, np.uint8)
    moves = 0
    for _ in range(games):
        state[:] = start
        play_out(state, mask, stream, legal, play, pick, has_pick)
        moves += state[PLY] - start[PLY]
    return moves
