"""Plain UCT with random rollouts, compiled once for every game: the learning-free yardstick.

Kocsis and Szepesvári 2006 (UCT) with one uniformly random rollout a simulation, as in the ladder of opponents of
OpenSpiel's AlphaZero. It knows the rules and nothing else, so "beats ``mcts:1000``" means the same in every run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numba import boolean, float64, int32, int64, njit, uint8, uint64, void

from envs.game import FIRST_WON, ONGOING, SECOND_WON, STATUS, TO_MOVE, Game, LegalFn, PickFn, PlayFn
from envs.playout import draw_below, play_out, playout_rules

ROLLOUTS_A_CALL = 200_000  # a kernel does not notice Ctrl-C: come up for air every few tenths of a second

COMPILED_IN = "e409c9929d129466"  # of other files: see rl/search/kernels.py


@njit(int64(uint8[::1], int32[::1], uint64[::1]), cache=True)
def pick_untried(mask, children, stream):
    """A random legal action [A] without a child, or -1 when all have one."""
    untried = 0
    for action in range(mask.shape[0]):
        untried += mask[action] != 0 and children[action] < 0
    if untried == 0:
        return -1
    skip = draw_below(stream, untried)
    for action in range(mask.shape[0]):
        if mask[action] != 0 and children[action] < 0:
            if skip == 0:
                return action
            skip -= 1
    return -1


@njit(float64(int64[::1], uint8[::1], uint64[::1], LegalFn, PlayFn, PickFn, boolean), cache=True)
def rollout(state, mask, stream, legal, play, pick, has_pick):
    """Play uniformly random moves to the end, in place; points of the FIRST player: 1, ½ or 0."""
    play_out(state, mask, stream, legal, play, pick, has_pick)
    if state[STATUS] == FIRST_WON:
        return 1.0
    if state[STATUS] == SECOND_WON:
        return 0.0
    return 0.5


@njit(
    void(
        int64[:, ::1],
        uint64[::1],
        int64,
        float64,
        LegalFn,
        PlayFn,
        PickFn,
        boolean,
        int64[:, ::1],
        float64[:, ::1],
    ),
    cache=True,
    nogil=True,
)
def uct(states, seeds, simulations, exploration, legal, play, pick, has_pick, visits, points):
    """Search N ongoing positions, one after the other.

    states [N, S]; seeds [N]; writes visits [N, A], simulations through each root action, and points [N, A], their
    summed points for the side to move at the root.
    """
    words, actions = states.shape[1], visits.shape[1]
    capacity = simulations + 1
    children = np.empty((capacity, actions), np.int32)
    count = np.empty(capacity, np.int64)  # simulations through the node
    total = np.empty(capacity, np.float64)  # their points for the player who moved INTO the node
    path = np.empty(capacity, np.int64)
    mover = np.empty(capacity, np.int64)  # who moved into path[i]
    state = np.empty(words, np.int64)
    mask = np.empty(actions, np.uint8)
    stream = np.empty(1, np.uint64)
    for row in range(states.shape[0]):
        stream[0] = seeds[row]
        children[0, :] = -1
        count[0] = 0
        total[0] = 0.0
        nodes = 1
        for _ in range(simulations):
            state[:] = states[row]
            node, depth = 0, 0
            path[0] = 0
            mover[0] = 1 - state[TO_MOVE]
            while state[STATUS] == ONGOING:
                legal(state, mask)
                action = pick_untried(mask, children[node], stream)
                fresh = action >= 0
                if fresh:
                    children[node, action] = nodes
                    children[nodes, :] = -1
                    count[nodes] = 0
                    total[nodes] = 0.0
                    nodes += 1
                else:
                    best = -1.0
                    log_count = math.log(count[node])
                    for candidate in range(actions):
                        if mask[candidate] != 0:
                            child = children[node, candidate]
                            bound = total[child] / count[child] + exploration * math.sqrt(log_count / count[child])
                            if bound > best:
                                best, action = bound, candidate
                depth += 1
                mover[depth] = state[TO_MOVE]
                play(state, action)
                node = children[node, action]
                path[depth] = node
                if fresh:
                    break
            first = rollout(state, mask, stream, legal, play, pick, has_pick)
            for i in range(depth + 1):
                count[path[i]] += 1
                total[path[i]] += first if mover[i] == 0 else 1.0 - first
        for action in range(actions):
            child = children[0, action]
            visits[row, action] = count[child] if child >= 0 else 0
            points[row, action] = total[child] if child >= 0 else 0.0


class RolloutMCTS:
    """A player that spends ``budget`` rollouts on each move and plays the most visited one."""

    def __init__(self, game: Game, budget: int, seed: int = 0, exploration: float = math.sqrt(2.0)) -> None:
        if budget < 1:
            raise ValueError(f"mcts needs a budget of at least 1 rollout a move, not {budget}")
        self.name = f"mcts:{budget}"
        self.game, self.budget, self.exploration = game, budget, exploration
        self._random = np.random.default_rng(seed)

    def actions(self, states: np.ndarray, moves: Sequence[Sequence[int]] = ()) -> np.ndarray:
        """Moves [N] int64 for ongoing positions [N, S] int64; ``moves`` as in ``players.Player``, not needed."""
        visits, points = self.search(states)
        # Most visits first; points (at most the visits) break ties.
        return np.argmax(visits + points / (2.0 * self.budget), axis=1)

    def search(self, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Root statistics of ongoing positions [N, S]: visits [N, A] int64 and points [N, A] of the side to move."""
        shape = (len(states), self.game.num_actions)
        visits, points = np.zeros(shape, np.int64), np.zeros(shape, np.float64)
        seeds = self._random.integers(0, 2**64, len(states), dtype=np.uint64)
        states = np.ascontiguousarray(states, np.int64)
        rows = max(1, ROLLOUTS_A_CALL // self.budget)
        for i in range(0, len(states), rows):
            part = slice(i, i + rows)
            uct(
                states[part],
                seeds[part],
                self.budget,
                self.exploration,
                *playout_rules(self.game),
                visits[part],
                points[part],
            )
        return visits, points
