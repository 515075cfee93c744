"""The nodes of one game's tree: how they come to be, and what is proven of them.

Compiled into the kernels (kernels.py, rl/actors) for the types of the rules, not for a game. ``b`` is the number of
the lane.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from envs.game import DRAW, FIRST_WON, ONGOING, STATUS, TO_MOVE
from rl.records import PROVEN_DRAW, PROVEN_LOSS, PROVEN_WIN, UNPROVEN
from rl.search.policies import turned


@njit(error_model="numpy")
def terminal_result(state):
    """Proven result of an ended position for its side to move."""
    if state[STATUS] == DRAW:
        return PROVEN_DRAW
    winner = 0 if state[STATUS] == FIRST_WON else 1
    return PROVEN_WIN if winner == state[TO_MOVE] else PROVEN_LOSS


@njit(error_model="numpy")
def copy(source, target):
    """target[:] = source, whose slices numba copies an element at a time, with a check of each."""
    for i in range(target.shape[0]):
        target[i] = source[i]


@njit(error_model="numpy")
def clear_node(tree, b, node, parent, action):
    tree.parent[b, node] = parent
    tree.action[b, node] = action
    tree.visits[b, node] = 0
    tree.value_sum[b, node] = 0.0
    tree.draw_sum[b, node] = 0.0
    tree.net_value[b, node] = 0.0
    tree.proven[b, node] = UNPROVEN
    child, visits, value, proven = (
        tree.child[b, node],
        tree.edge_visits[b, node],
        tree.edge_value[b, node],
        tree.edge_proven[b, node],
    )
    for a in range(child.shape[0]):
        child[a] = -1
        visits[a] = 0
        value[a] = 0.0
        proven[a] = UNPROVEN


@njit(error_model="numpy")
def mark_legal(tree, b, node, rules, work):
    """Prior uniform over the legal actions until the network has spoken."""
    mask = work.mask
    rules.legal(tree.state[b, node], mask)
    count = 0
    for a in range(mask.shape[0]):
        count += mask[a]
    prior, uniform = tree.prior[b, node], np.float32(1.0 / count)
    for a in range(mask.shape[0]):
        prior[a] = uniform if mask[a] else np.float32(0.0)


@njit(error_model="numpy")
def other_mover(tree, b, node, parent):
    """True when node and parent have different sides to move, so that values turn their sign between them."""
    return tree.state[b, node, TO_MOVE] != tree.state[b, parent, TO_MOVE]


@njit(error_model="numpy")
def prove(tree, b, node, result):
    """Note a proven result (for the node's side to move) at the node and at the edge that leads to it."""
    tree.proven[b, node] = result
    parent = tree.parent[b, node]
    if parent >= 0:
        seen = turned(result) if other_mover(tree, b, node, parent) else result
        tree.edge_proven[b, parent, tree.action[b, node]] = seen


@njit(error_model="numpy")
def create_child(tree, lanes, b, node, action, rules, work):
    """Append the child that ``action`` leads to and return its index."""
    child = lanes.size[b]
    lanes.size[b] += 1
    clear_node(tree, b, child, node, action)
    tree.child[b, node, action] = child
    copy(tree.state[b, node], tree.state[b, child])
    rules.play(tree.state[b, child], action)
    if tree.state[b, child, STATUS] != ONGOING:
        tree.prior[b, child, :] = 0.0
        prove(tree, b, child, terminal_result(tree.state[b, child]))
    else:
        mark_legal(tree, b, child, rules, work)
    return child


@njit(error_model="numpy")
def winning_move(state, legal, first, rules, after):
    """The first action from ``first`` on that ends the game in favour of the side to move; -1 if none does.

    ``legal`` [A] is positive where an action is legal; ``after`` [S] is for the positions tried.
    """
    for a in range(first, legal.shape[0]):
        if legal[a] > 0:
            copy(state, after)
            rules.play(after, a)
            if after[STATUS] == FIRST_WON + state[TO_MOVE]:
                return a
    return -1


@njit(error_model="numpy")
def note_refuted_moves(tree, b, node, knobs, rules, work):
    """Note as lost every move that the opponent can answer by winning at once; True when all moves are such."""
    state, prior, edge_proven = tree.state[b, node], tree.prior[b, node], tree.edge_proven[b, node]
    after, reply, mask = work.after, work.reply, work.mask
    hopeless = True
    if knobs.monotone == 1:
        # What would win if the side to move passed; most often nothing does.
        copy(state, after)
        after[TO_MOVE] = 1 - state[TO_MOVE]
        threat = winning_move(after, prior, 0, rules, reply)
        if threat < 0:
            return False
        mask[:] = 0
        while threat >= 0:
            mask[threat] = 1
            threat = winning_move(after, prior, threat + 1, rules, reply)
    for a in range(prior.shape[0]):
        if prior[a] == 0.0:
            continue
        copy(state, after)
        rules.play(after, a)
        refuted = False
        if after[STATUS] == ONGOING and after[TO_MOVE] != state[TO_MOVE]:
            threat = mask[a]
            if knobs.monotone == 1:
                mask[a] = 0  # taken
            else:
                rules.legal(after, mask)
            refuted = winning_move(after, mask, 0, rules, reply) >= 0
            if knobs.monotone == 1:
                mask[a] = threat
        if refuted:
            edge_proven[a] = PROVEN_LOSS
        else:
            hopeless = False
    return hopeless


@njit(error_model="numpy")
def prove_from_children(tree, b, node):
    """Set what the node's edges prove of it; True when it is proven."""
    prior, edge_proven = tree.prior[b, node], tree.edge_proven[b, node]
    best = PROVEN_LOSS
    complete = True
    for a in range(prior.shape[0]):
        if prior[a] == 0.0:
            continue
        result = edge_proven[a]
        if result == PROVEN_WIN:
            prove(tree, b, node, PROVEN_WIN)
            return True
        if result == UNPROVEN:
            complete = False
        best = max(best, result)
    if complete:
        prove(tree, b, node, best)
    return complete


@njit(error_model="numpy")
def draw_in_hand(tree, b, node):
    """True when one of the node's moves is a proven draw."""
    found = False
    for result in tree.edge_proven[b, node]:
        found |= result == PROVEN_DRAW
    return found
