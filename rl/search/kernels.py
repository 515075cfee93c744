"""Entry points of the compiled search: loops over the lanes of a batch of games.

The rules come in as typed first-class functions (envs.game), so these kernels are compiled for their types,
not for a game, and numba's cache serves all processes. Arguments named ``rules``, ``tree``, ``lanes``, ``knobs`` and
``work`` are handles (handles.py). Lanes never touch each other's memory.
"""

from __future__ import annotations

import numpy as np
from numba import boolean, float32, int32, int64, njit, uint64, void

from rl.search.cache import remember
from rl.search.handles import view_rules
from rl.search.lane import STAY, answer, ask, decide, waits
from rl.search.policies import edge_mean
from rl.search.roots import begin, keep_subtree, keep_tree
from rl.search.tree import view_knobs, view_lanes, view_tree, view_workspace

# numba compiles other files into these kernels but looks only at this one when it decides whether its cached machine
# code is still valid. Their digest stands here so that a change of theirs is one of this file too;
# tests/test_compiled_in.py compares it and says what to write.
COMPILED_IN = "87b93a0187db71a6"

Handles = (int64[::1],) * 5  # of rules, tree, lanes, knobs and workspace


@njit(
    void(
        *Handles,
        int64[:, ::1],
        int64[::1],
        int32[::1],
        int32[::1],
        boolean,
        uint64[::1],
    ),
    cache=True,
    error_model="numpy",
    nogil=True,
)
def start(rules, tree, lanes, knobs, work, states, actions, chosen, budgets, explore, stream):
    """Begin searches of ``states`` [K, S] in the ``chosen`` lanes.

    ``actions[i]`` ≥ 0 led to states[i] from the lane's root: that child's subtree is kept where it can be. STAY:
    states[i] is the lane's root, and the whole tree is.
    """
    tree, lanes, knobs, work = view_tree(tree), view_lanes(lanes), view_knobs(knobs), view_workspace(work)
    for i in range(chosen.shape[0]):
        b = chosen[i]
        if actions[i] == STAY:
            kept = keep_tree(tree, lanes, b)
        else:
            kept = actions[i] >= 0 and keep_subtree(tree, lanes, b, actions[i], work)
        begin(tree, lanes, b, knobs, view_rules(rules), work, states[i], kept, budgets[i], explore, stream)


@njit(
    int64(*Handles, int32[::1]),
    cache=True,
    error_model="numpy",
    nogil=True,
)
def select(rules, tree, lanes, knobs, work, asked):
    """Advance every lane to its next evaluation or to the end of its search.

    Writes what a lane asks about to its rows of ``planes``, and the rows that wait for an answer to
    ``asked`` [≤B·L]; returns how many they are. A lane that already waits keeps its planes.
    """
    tree, lanes, knobs, work = view_tree(tree), view_lanes(lanes), view_knobs(knobs), view_workspace(work)
    count = 0
    for b in range(lanes.phase.shape[0]):
        rows = ask(tree, lanes, b, knobs, view_rules(rules), work)
        for i in range(rows):
            asked[count] = b * lanes.leaf.shape[1] + i
            count += 1
    return count


@njit(
    boolean(*Handles[1:], float32[:, ::1], float32[:, ::1]),
    cache=True,
    error_model="numpy",
    nogil=True,
)
def update(tree, lanes, knobs, work, logits, wdl):
    """Hand the network's answers (logits [n, A], wdl [n, 3]) to the lanes that wait, in their order.

    False, with nothing done, where they do not wait for exactly n, or A is another number of actions.
    """
    tree, lanes, knobs, work = view_tree(tree), view_lanes(lanes), view_knobs(knobs), view_workspace(work)
    count = 0
    for b in range(lanes.phase.shape[0]):
        count += waits(lanes, b)
    if count != logits.shape[0] or logits.shape[1] != tree.child.shape[2]:
        return False
    i = 0
    for b in range(lanes.phase.shape[0]):
        for which in range(waits(lanes, b)):
            remember(lanes, b * lanes.leaf.shape[1] + which, logits, wdl, i)
            answer(tree, lanes, b, which, knobs, work, logits, wdl, i)
            i += 1
    return True


@njit(
    void(
        *Handles[1:],
        int32[::1],
        int64[::1],
        float32[:, ::1],
        int32[:, ::1],
        float32[:, ::1],
        float32[:, ::1],
    ),
    cache=True,
    error_model="numpy",
    nogil=True,
)
def collect(tree, lanes, knobs, work, chosen, action, policy, visits, action_value, wdl):
    """Fill the fields of SearchResult for the ``chosen`` lanes."""
    tree, lanes, knobs, work = view_tree(tree), view_lanes(lanes), view_knobs(knobs), view_workspace(work)
    improved = work.policy
    for i in range(chosen.shape[0]):
        b = chosen[i]
        action[i] = decide(tree, lanes, b, knobs, work)
        for k in range(3):
            wdl[i, k] = work.wdl[k]
        edge_visits, edge_value, edge_proven = tree.edge_visits[b, 0], tree.edge_value[b, 0], tree.edge_proven[b, 0]
        for a in range(improved.shape[0]):
            policy[i, a] = improved[a]
            visits[i, a] = edge_visits[a]
            seen = edge_visits[a] > 0
            action_value[i, a] = edge_mean(edge_visits[a], edge_value[a], edge_proven[a]) if seen else np.nan
