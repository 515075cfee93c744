"""How a search begins: a new tree, or what is kept of the one before; then its budget and its noise.

Compiled into the kernels (kernels.py, rl/actors) for the types of the rules, not for a game. ``b`` is the number of
the lane.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from rl.records import PROVEN_WIN, UNPROVEN
from rl.search.lane import back_up
from rl.search.nodes import clear_node, copy, create_child, mark_legal, note_refuted_moves, prove, winning_move
from rl.search.noise import draw_gamma, draw_gumbel
from rl.search.policies import visit_schedule
from rl.search.tree import DONE, GUMBEL, ROOT, SEARCHING


@njit(error_model="numpy")
def note_root(tree, lanes, b):
    """Set the lane's log prior to that of the node that has become its root."""
    prior, log_prior = tree.prior[b, 0], lanes.log_prior[b]
    for a in range(prior.shape[0]):
        log_prior[a] = math.log(prior[a]) if prior[a] > 0.0 else np.float32(-np.inf)


@njit(error_model="numpy")
def plant(tree, lanes, b, knobs, rules, work, state):
    """A new tree of one node, the position ``state`` [S].

    With lookahead, moves that win at once are created, which proves the root and ends the search before any
    evaluation. A root whose moves are all refuted at once is still searched, for the network's choice among them.
    """
    clear_node(tree, b, 0, -1, -1)
    copy(state, tree.state[b, 0])
    lanes.size[b] = 1
    lanes.done[b] = 0
    lanes.symmetry[b] = 0
    lanes.pending[b] = 0
    lanes.base[b, :] = 0
    lanes.phase[b] = ROOT
    mark_legal(tree, b, 0, rules, work)
    note_root(tree, lanes, b)
    if knobs.lookahead == 0:
        return
    action = winning_move(tree.state[b, 0], tree.prior[b, 0], 0, rules, work.after)
    while action >= 0:
        child = create_child(tree, lanes, b, 0, action, rules, work)
        prove(tree, b, 0, PROVEN_WIN)
        back_up(tree, b, child, np.float32(0.0), np.float32(0.0), knobs, 1, np.float32(0.0))
        lanes.phase[b] = DONE
        action = winning_move(tree.state[b, 0], tree.prior[b, 0], action + 1, rules, work.after)
    if lanes.phase[b] == ROOT:
        note_refuted_moves(tree, b, 0, knobs, rules, work)


@njit(error_model="numpy")
def keep_tree(tree, lanes, b):
    """Go on in the lane's tree with a new budget; False where there is no room, or nothing to search."""
    if tree.proven[b, 0] != UNPROVEN or tree.visits[b, 0] == 0 or lanes.size[b] > tree.parent.shape[1] // 2:
        return False
    lanes.done[b] = 0
    lanes.pending[b] = 0
    lanes.phase[b] = SEARCHING
    for a in range(tree.child.shape[2]):
        lanes.base[b, a] = tree.edge_visits[b, 0, a]
    return True


@njit(error_model="numpy")
def keep_subtree(tree, lanes, b, action, work):
    """Make the root's child by ``action`` the root, with its subtree; False where there is none worth keeping.

    Children have larger indices than their parents, so the subtree is moved down in place.
    """
    moved = work.moved
    root = tree.child[b, 0, action]
    # Half the room is for the new search; a subtree that fills more is not worth its memory.
    if root < 0 or tree.proven[b, root] != UNPROVEN or tree.visits[b, root] == 0:
        return False
    size = 0
    for node in range(root, lanes.size[b]):
        parent = tree.parent[b, node]
        if node == root:
            moved[node] = 0
        elif parent >= root and moved[parent] >= 0:
            moved[node] = size
        else:
            moved[node] = -1
            continue
        size += 1
    if size > tree.parent.shape[1] // 2:
        return False
    for node in range(root, lanes.size[b]):
        target = moved[node]
        if target < 0:
            continue
        tree.parent[b, target] = -1 if node == root else moved[tree.parent[b, node]]
        tree.action[b, target] = -1 if node == root else tree.action[b, node]
        for a in range(tree.child.shape[2]):
            child = tree.child[b, node, a]
            tree.child[b, target, a] = moved[child] if child >= 0 else -1
        copy(tree.prior[b, node], tree.prior[b, target])
        copy(tree.edge_visits[b, node], tree.edge_visits[b, target])
        copy(tree.edge_value[b, node], tree.edge_value[b, target])
        copy(tree.edge_proven[b, node], tree.edge_proven[b, target])
        copy(tree.state[b, node], tree.state[b, target])
        tree.visits[b, target] = tree.visits[b, node]
        tree.value_sum[b, target] = tree.value_sum[b, node]
        tree.draw_sum[b, target] = tree.draw_sum[b, node]
        tree.net_value[b, target] = tree.net_value[b, node]
        tree.proven[b, target] = tree.proven[b, node]
    lanes.size[b] = size
    note_root(tree, lanes, b)
    return keep_tree(tree, lanes, b)


@njit(error_model="numpy")
def begin(tree, lanes, b, knobs, rules, work, state, kept, budget, explore, stream):
    """Begin a search of ``budget`` simulations from ``state``; with ``kept`` the root stands already (keep_subtree).

    ``explore`` draws the root noise of self-play: Gumbel, or Dirichlet over the legal moves for PUCT.
    """
    if not kept:
        plant(tree, lanes, b, knobs, rules, work, state)
    lanes.budget[b] = budget
    lanes.explore[b] = explore
    prior, noise = tree.prior[b, 0], lanes.noise[b]
    actions, considered = prior.shape[0], 0
    for a in range(actions):
        considered += prior[a] > 0.0
    if knobs.kind == GUMBEL:
        for a in range(actions):
            noise[a] = draw_gumbel(stream) if explore and prior[a] > 0.0 else 0.0
        visit_schedule(min(considered, knobs.max_considered), work.counts, lanes.schedule[b, :budget])
    elif explore:
        total = 0.0
        for a in range(actions):
            # Draws of a small shape can vanish; a sum of 0 could not be divided by.
            noise[a] = draw_gamma(stream, knobs.dirichlet_total / considered) + 1e-30 if prior[a] > 0.0 else 0.0
            total += noise[a]
        for a in range(actions):
            noise[a] /= total
