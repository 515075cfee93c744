"""Uniformly random play, compiled once for every game: openings, rollouts, benchmarks.

Numba's own generator is global to a thread; here a stream is an array [1] uint64 of the caller's, so that whoever
owns it can seed it, save it and repeat what it gave.
"""

from __future__ import annotations

import numpy as np
from numba import int64, njit, uint8, uint64, void

from envs.game import ONGOING, PLY, STATUS, LegalFn, PlayFn

ATTEMPTS = 100


@njit(int64(uint64[::1], int64), cache=True)
def draw_below(stream, limit):
    """Uniform integer in [0, limit) and one step of the stream [1] (splitmix64, Steele et al. 2014)."""
    stream[0] += uint64(0x9E3779B97F4A7C15)
    z = stream[0]
    z = (z ^ (z >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> uint64(27))) * uint64(0x94D049BB133111EB)
    z = z ^ (z >> uint64(31))
    # The bias of the remainder is below limit / 2**63.
    return int64((z >> uint64(1)) % uint64(limit))


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


@njit(void(int64[:, ::1], int64, int64[::1], uint64[::1], int64, LegalFn, PlayFn), cache=True)
def random_openings(out, limit, start, stream, actions, legal, play):
    """Fill out [K, S] with ongoing positions 0 to ``limit`` random moves after ``start``, all lengths alike.

    A game that ends on the way is tried again; only a length that hardly any game survives is drawn anew.
    """
    mask = np.zeros(actions, np.uint8)
    for k in range(out.shape[0]):
        tries = ATTEMPTS
        while True:
            if tries == ATTEMPTS:
                plies, tries = draw_below(stream, limit + 1), 0
            out[k] = start
            play_random(out[k], plies, mask, stream, legal, play)
            tries += 1
            if out[k, STATUS] == ONGOING:
                break


@njit(int64(int64[::1], int64, int64, uint64[::1], LegalFn, PlayFn), cache=True)
def count_moves(start, games, actions, stream, legal, play):
    """Play ``games`` random games from ``start`` to their ends; the number of moves made, for benchmarks."""
    state, mask = start.copy(), np.zeros(actions, np.uint8)
    moves = 0
    for _ in range(games):
        state[:] = start
        play_random(state, np.iinfo(np.int64).max, mask, stream, legal, play)
        moves += state[PLY] - start[PLY]
    return moves
