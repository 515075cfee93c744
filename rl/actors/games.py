"""Games in flight as arrays, and the compiled code that plays them on between two network batches."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import boolean, float32, float64, int8, int16, int32, int64, njit, types, uint64, void

from envs.game import ONGOING, STATUS
from envs.playout import random_openings
from envs.stream import draw_below, draw_uniform
from rl.search.handles import view_rules, viewer
from rl.search.kernels import Handles
from rl.search.lane import ask, decide
from rl.search.roots import begin, keep_subtree
from rl.search.tree import DONE, IDLE, view_knobs, view_lanes, view_tree, view_workspace

# As in rl/search/kernels.py: what numba compiles into this file from others.
COMPILED_IN = "25bc341d5302420b"


DECIDED_MOVES = 4  # searches in a row, of both sides, that must agree before a game counts as decided


class Games(NamedTuple):
    """One row a game in flight; the first ``length[b]`` entries of the move axis are filled."""

    start: np.ndarray  # [B, S] int64, the position in which the record begins
    state: np.ndarray  # [B, S] int64, the position of now
    length: np.ndarray  # [B] int64, moves played since start
    actions: np.ndarray  # [B, T] int16, and so on as in rl.records.GameRecord
    policy: np.ndarray  # [B, T, A] float32
    wdl: np.ndarray  # [B, T, 3] float32
    proven: np.ndarray  # [B, T] int8
    full: np.ndarray  # [B, T] bool
    off_policy: np.ndarray  # [B, T] bool
    version: np.ndarray  # [B, T] int64
    surprise: np.ndarray  # [B, T] float32
    full_search: np.ndarray  # [B] bool, the search under way has the full budget (of when it began)


class Habits(NamedTuple):
    """What decides over moves and budgets, in the form that compiled code takes (SelfPlayConfig)."""

    full_simulations: int
    fast_simulations: int
    full_search_fraction: float
    sampled_plies: int
    random_move: float
    reuse_tree: int
    random_opening_plies: int
    random_openings: float
    decided_value: float
    decided_searches: float


GamesType = types.NamedTuple(
    (
        int64[:, ::1],
        int64[:, ::1],
        int64[::1],
        int16[:, ::1],
        float32[:, :, ::1],
        float32[:, :, ::1],
        int8[:, ::1],
        boolean[:, ::1],
        boolean[:, ::1],
        int64[:, ::1],
        float32[:, ::1],
        boolean[::1],
    ),
    Games,
)
view_games = viewer(GamesType)
HabitsType = types.NamedTuple((int64, int64, float64, int64, float64, int64, int64, float64, float64, float64), Habits)
view_habits = viewer(HabitsType)


@njit(error_model="numpy")
def draw_by(stream, weights):
    """One index, drawn by its share of ``weights`` [A]."""
    total = 0.0
    for weight in weights:
        total += weight
    point = draw_uniform(stream) * total
    last = 0
    for a in range(weights.shape[0]):
        if weights[a] > 0.0:
            last = a
            point -= weights[a]
            if point < 0.0:
                break
    return last


@njit(error_model="numpy")
def draw_budget(stream, habits, decided):
    """Playout-cap randomisation (Wu 2019, §3.1), with fewer full searches where the game is decided."""
    share = habits.full_search_fraction
    if decided:
        share *= habits.decided_searches
    return habits.full_simulations if draw_uniform(stream) < share else habits.fast_simulations


@njit(error_model="numpy")
def is_decided(games, b, habits):
    """Whether the last ``DECIDED_MOVES`` searches all gave the same side a value beyond ``decided_value``.

    Of two moves in a row, one is the winner's: in a game whose sides do not alternate, nothing is ever decided.
    """
    moves = games.length[b]
    if moves < DECIDED_MOVES or habits.decided_value >= 1.0:
        return False
    later = np.float32(0.0)
    for t in range(moves - 1, moves - 1 - DECIDED_MOVES, -1):
        value = games.wdl[b, t, 0] - games.wdl[b, t, 2]
        if abs(value) < habits.decided_value or value * later > 0.0:
            return False
        later = value
    return True


@njit(
    void(int64[::1], int64[::1], int64[:, ::1], int32[::1], int64[:, ::1], float64[::1], uint64[::1], int64),
    cache=True,
    error_model="numpy",
    nogil=True,
)
def draw_games(rules, habits, openings, budgets, variants, shares, stream, actions):
    """First positions [K, S] and budgets [K] of new games, each of one of the ``variants`` [V, S] by their shares."""
    rules, habits = view_rules(rules), view_habits(habits)
    starts = np.empty_like(openings)
    for i in range(starts.shape[0]):
        starts[i] = variants[draw_by(stream, shares) if shares.shape[0] > 1 else 0]
    random_openings(openings, habits.random_opening_plies, starts, stream, actions, rules.legal, rules.play)
    for i in range(openings.shape[0]):
        if draw_uniform(stream) >= habits.random_openings:
            openings[i] = starts[i]
        budgets[i] = draw_budget(stream, habits, False)


@njit(error_model="numpy")
def divergence(policy, log_prior):
    """KL(policy ‖ prior) in nats: how much the search has surprised the network."""
    total = 0.0
    for a in range(policy.shape[0]):
        share = np.float32(policy[a])
        if share > 0.0:
            total += share * (math.log(share) - log_prior[a])
    return max(0.0, total)  # rounding


@njit(error_model="numpy")
def play_found(tree, lanes, b, knobs, rules, work, games, habits, stream, version):
    """Play the move that the lane's ended search found, or a random one, and note it; returns the move."""
    action, policy, wdl = decide(tree, lanes, b, knobs, work), work.policy, work.wdl
    ply = games.length[b]
    if ply < habits.sampled_plies:
        action = draw_by(stream, policy)
    prior = tree.prior[b, 0]
    off_policy = draw_uniform(stream) < habits.random_move
    if off_policy:
        legal = 0
        for a in range(prior.shape[0]):
            legal += prior[a] > 0.0
        skip = draw_below(stream, legal)
        for a in range(prior.shape[0]):
            if prior[a] > 0.0:
                if skip == 0:
                    action = a
                    break
                skip -= 1
    games.actions[b, ply] = action
    for a in range(prior.shape[0]):
        games.policy[b, ply, a] = policy[a]
    for i in range(3):
        games.wdl[b, ply, i] = wdl[i]
    games.proven[b, ply] = tree.proven[b, 0]
    games.full[b, ply] = games.full_search[b]
    games.off_policy[b, ply] = off_policy
    games.version[b, ply] = version
    # A win at once is seen before the network is asked (lookahead), and the prior is then only a placeholder.
    games.surprise[b, ply] = divergence(policy, lanes.log_prior[b]) if lanes.done[b] > 0 else np.nan
    games.length[b] += 1
    rules.play(games.state[b], action)
    return action


@njit(
    types.UniTuple(int64, 2)(
        *Handles,
        int64[::1],
        int64[::1],
        uint64[::1],
        int64,
        int32[::1],
    ),
    cache=True,
    error_model="numpy",
    nogil=True,
)
def advance(rules, tree, lanes, knobs, work, games, habits, stream, version, asked):
    """Play on in every game until it needs the network or has ended (its lane is then idle).

    Writes the planes of a lane's question to it, and the lanes that wait for an answer to ``asked`` [≤B];
    returns how many they are, and how many moves were played. ``version`` signs the moves.
    """
    tree, lanes, knobs, rules = view_tree(tree), view_lanes(lanes), view_knobs(knobs), view_rules(rules)
    work, games, habits = view_workspace(work), view_games(games), view_habits(habits)
    waiting = played = 0
    for b in range(lanes.phase.shape[0]):
        while True:
            if ask(tree, lanes, b, knobs, rules, work) > 0:
                asked[waiting] = b
                waiting += 1
                break
            if lanes.phase[b] != DONE:
                break
            action = play_found(tree, lanes, b, knobs, rules, work, games, habits, stream, version)
            played += 1
            lanes.phase[b] = IDLE
            state = games.state[b]
            if state[STATUS] != ONGOING:
                break
            kept = habits.reuse_tree == 1 and keep_subtree(tree, lanes, b, action, work)
            budget = draw_budget(stream, habits, is_decided(games, b, habits))
            games.full_search[b] = budget == habits.full_simulations
            begin(tree, lanes, b, knobs, rules, work, state, kept, budget, True, stream)
    return waiting, played
