"""What the positions of a search tree say about the score.

The tree keeps one number a position, which in play is a utility: mostly the chance to win, with a small share of the
score (rl.nets.formats: score_utility). People want to see the two apart, so both are kept here beside the tree, node by
node; their means over the simulations through each move are what the tree's own number is for the utility.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from envs.game import ONGOING, STATUS, TO_MOVE
from rl.records import PROVEN_LOSS, PROVEN_WIN, UNPROVEN, Evaluation
from rl.search import Search

EXACT = np.zeros(PROVEN_WIN + 1)  # value of a proven result for the side to move
EXACT[PROVEN_WIN], EXACT[PROVEN_LOSS] = 1.0, -1.0


@dataclass(frozen=True)
class Scores:
    """Of a searched position, for the side to move; NaN for moves that nothing is known of."""

    values: np.ndarray  # [A] float64 in [-1, 1]: P(win) - P(loss) by each move, without a share of the score
    leads: np.ndarray  # [A] float64, points by which the game will be won by each move, komi included
    value: float  # the same of the position: of its moves, as the search's policy would play them
    lead: float


class TreeScores:
    """The network's opinion of each position in lane 0 of a search whose evaluator has a score utility."""

    def __init__(self, search: Search) -> None:
        self._search = search
        nodes = search.tree.parent.shape[1]
        self._value = np.full(nodes, np.nan)  # [N], for the side to move at the node; NaN: the network was not asked
        self._lead = np.full(nodes, np.nan)  # [N], for the same side

    def clear(self) -> None:
        """The search begins a new tree."""
        self._value[:] = self._lead[:] = np.nan

    def note(self, evaluation: Evaluation) -> None:
        """The answer about the rows of the last ``select``; the search itself is given it after that."""
        lane = self._search.lane
        nodes = lane.leaf[0, : lane.pending[0]]
        for known, told in ((self._value, evaluation.value), (self._lead, evaluation.lead)):
            assert told is not None, "an evaluator with a score utility"
            if nodes[0] == 0 and lane.symmetry[0]:  # the root again, turned or mirrored: the mean counts
                known[0] += (told[0] - known[0]) / (lane.symmetry[0] + 1)
            else:
                known[nodes] = told

    def follow(self, action: int | None, advance: Callable[[], None]) -> None:
        """``advance`` makes the root's child by ``action`` the search's root, or (None) lets the root stay.

        What lies below it moves down in the tree's arrays and stays in order (rl.search.lane: keep_subtree), or the
        search finds it not worth keeping and begins a new tree.
        """
        tree, branches = self._search.tree, self._branches()
        kept = np.flatnonzero(branches == tree.child[0, 0, action] if action is not None else branches >= 0)
        advance()
        if len(kept) != self._search.lane.size[0] or tree.visits[0, 0] == 0:
            self.clear()
            return
        for known in (self._value, self._lead):
            known[: len(kept)] = known[kept]
            known[len(kept) :] = np.nan

    def of(self, policy: np.ndarray) -> Scores:
        """What is known now. ``policy`` [A]: how the search would play. The root must have been evaluated."""
        tree, size = self._search.tree, int(self._search.lane.size[0])
        side, visits, proven = tree.state[0, :size, TO_MOVE], tree.visits[0, :size], tree.proven[0, :size]
        self._count_ended(size)
        value, lead = self._value[:size], self._lead[:size]
        own = visits - np.bincount(tree.parent[0, 1:size], visits[1:], size)  # simulations that ended at the node
        # They bring the network's value once; those that come back once the result is proven bring that.
        asked = ~np.isnan(value)
        exact = own - asked
        values = np.where(asked, value, 0.0) + np.where(exact > 0, exact, 0.0) * EXACT[proven]
        sign = np.where(side == side[0], 1.0, -1.0)
        branch = self._branches()
        moves = tree.action[0, branch[1:]]

        def means(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
            """[A], over the nodes below each move."""
            over = np.bincount(moves, counts[1:], len(policy))
            total = np.bincount(moves, (sign * sums)[1:], len(policy))
            return np.where(over > 0, total / np.maximum(over, 1), np.nan)

        by_move = means(values, own)
        result = tree.edge_proven[0, 0]
        by_move = np.where(np.isnan(by_move) | (result == UNPROVEN), by_move, EXACT[result])
        told = np.where(np.isnan(lead), 0.0, own)
        leads = means(np.nan_to_num(lead) * told, told)
        return Scores(by_move, leads, _mixed(by_move, policy, value[0]), _mixed(leads, policy, lead[0]))

    def _branches(self) -> np.ndarray:
        """For each node in use [size] the root's child above it or itself; 0 for the root."""
        parent = self._search.tree.parent[0, : self._search.lane.size[0]]
        above = np.where(parent > 0, parent, np.arange(len(parent)))
        while not np.array_equal(higher := above[above], above):
            above = higher
        return above

    def _count_ended(self, size: int) -> None:
        """Positions in which the game is over have their score by the rules."""
        states, game = self._search.tree.state[0], self._search.game
        points = np.zeros(game.board_shape[0] * game.board_shape[1], np.int8)
        for node in np.flatnonzero((states[:size, STATUS] != ONGOING) & np.isnan(self._lead[:size])):
            margin = game.territory(states[node], points)
            self._lead[node] = margin if states[node, TO_MOVE] == 0 else -margin


def _mixed(moves: np.ndarray, policy: np.ndarray, alone: float) -> float:
    """The mean of what is known of ``moves`` [A], as ``policy`` plays them; ``alone`` where it plays none of these."""
    weights = np.where(np.isnan(moves), 0.0, policy)
    return float(np.nan_to_num(moves) @ weights / weights.sum()) if weights.sum() > 0 else float(alone)
