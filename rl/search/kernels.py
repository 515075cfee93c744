"""Simulate → expand → back up, compiled once for every game.

The rules come in as typed first-class functions (envs.game), so these kernels are compiled for their types,
not for a game, and numba's cache serves all processes. Each kernel loops over lanes; lanes never touch each
other's memory.
"""

from __future__ import annotations

import math

import numpy as np
from numba import float32, int32, int64, njit, uint8, void

from envs.game import DRAW, FIRST_WON, ONGOING, STATUS, TO_MOVE, LegalFn, PlanesFn, PlayFn
from rl.records import PROVEN_DRAW, PROVEN_LOSS, PROVEN_WIN, UNPROVEN
from rl.search.policies import (
    child_result,
    child_value,
    child_visits,
    exact_value,
    gumbel_interior,
    gumbel_root,
    puct,
    root_decision,
)
from rl.search.tree import DONE, GUMBEL, LEAF, ROOT, SEARCHING, KnobsType, LanesType, TreeType


@njit(cache=True)
def terminal_result(state):
    """Proven result of an ended position for its side to move."""
    if state[STATUS] == DRAW:
        return PROVEN_DRAW
    winner = 0 if state[STATUS] == FIRST_WON else 1
    return PROVEN_WIN if winner == state[TO_MOVE] else PROVEN_LOSS


@njit(cache=True)
def clear_node(tree, b, node, parent):
    tree.parent[b, node] = parent
    tree.child[b, node, :] = -1
    tree.visits[b, node] = 0
    tree.value_sum[b, node] = 0.0
    tree.draw_sum[b, node] = 0.0
    tree.net_value[b, node] = 0.0
    tree.proven[b, node] = UNPROVEN


@njit(cache=True)
def mark_legal(tree, b, node, legal, mask):
    """Log prior uniform over the legal actions until the network has spoken; -inf elsewhere."""
    legal(tree.state[b, node], mask)
    count = 0
    for a in range(mask.shape[0]):
        count += mask[a]
    for a in range(mask.shape[0]):
        tree.log_prior[b, node, a] = -math.log(count) if mask[a] else -np.inf


@njit(cache=True)
def create_child(tree, lanes, b, node, action, play, legal, mask):
    """Append the child that ``action`` leads to and return its index."""
    child = lanes.size[b]
    lanes.size[b] += 1
    clear_node(tree, b, child, node)
    tree.child[b, node, action] = child
    tree.state[b, child, :] = tree.state[b, node, :]
    play(tree.state[b, child], action)
    if tree.state[b, child, STATUS] != ONGOING:
        tree.proven[b, child] = terminal_result(tree.state[b, child])
        tree.log_prior[b, child, :] = -np.inf
    else:
        mark_legal(tree, b, child, legal, mask)
    return child


@njit(cache=True)
def wins_at_once(tree, b, node, play, scratch):
    """True when some move of the side to move ends the game in its favour."""
    for a in range(tree.log_prior.shape[2]):
        if tree.log_prior[b, node, a] == -np.inf:
            continue
        scratch[:] = tree.state[b, node, :]
        play(scratch, a)
        if scratch[STATUS] == FIRST_WON + tree.state[b, node, TO_MOVE]:
            return True
    return False


@njit(cache=True)
def prove_from_children(tree, b, node):
    """Set what the node's children prove of it; True when it is proven."""
    best = PROVEN_LOSS
    complete = True
    for a in range(tree.child.shape[2]):
        if tree.log_prior[b, node, a] == -np.inf:
            continue
        child = tree.child[b, node, a]
        result = child_result(tree, b, node, child) if child >= 0 else UNPROVEN
        if result == PROVEN_WIN:
            tree.proven[b, node] = PROVEN_WIN
            return True
        if result == UNPROVEN:
            complete = False
        best = max(best, result)
    if complete:
        tree.proven[b, node] = best
    return complete


@njit(cache=True)
def back_up(tree, b, node, value, draw, knobs):
    """Add one simulation's result to the node and its ancestors, and propagate what it proves.

    ``value`` and ``draw`` are for the side to move at ``node``. From the first proven ancestor on, its exact
    value is what is backed up.
    """
    proving = tree.proven[b, node] != UNPROVEN
    while True:
        if proving:
            value = exact_value(tree.proven[b, node])
            draw = np.float32(tree.proven[b, node] == PROVEN_DRAW)
        tree.visits[b, node] += 1
        tree.value_sum[b, node] += value
        tree.draw_sum[b, node] += draw
        parent = tree.parent[b, node]
        if parent < 0:
            return
        if tree.state[b, parent, TO_MOVE] != tree.state[b, node, TO_MOVE]:
            value = -value
        proving = proving and knobs.solver == 1 and prove_from_children(tree, b, parent)
        node = parent


@njit(cache=True)
def select_leaf(tree, lanes, b, knobs, schedule, play, legal, mask, scratch, q, policy):
    """Run simulations in one lane until one needs the network (True) or the search is over (False)."""
    while lanes.done[b] < lanes.budget[b] and tree.proven[b, 0] == UNPROVEN:
        node = 0
        while True:
            if knobs.kind != GUMBEL:
                action = puct(tree, lanes, b, node, knobs)
            elif node == 0:
                action = gumbel_root(tree, lanes, b, knobs, schedule[b], q)
            else:
                action = gumbel_interior(tree, b, node, knobs, q, policy)
            child = tree.child[b, node, action]
            new = child < 0
            if new:
                child = create_child(tree, lanes, b, node, action, play, legal, mask)
                if (
                    knobs.lookahead == 1
                    and tree.proven[b, child] == UNPROVEN
                    and wins_at_once(tree, b, child, play, scratch)
                ):
                    tree.proven[b, child] = PROVEN_WIN
            if new or tree.proven[b, child] != UNPROVEN:
                break
            node = child
        lanes.done[b] += 1
        if tree.proven[b, child] == UNPROVEN:
            lanes.leaf[b] = child
            return True
        back_up(tree, b, child, np.float32(0.0), np.float32(0.0), knobs)
    return False


@njit(cache=True)
def write_planes(tree, b, node, symmetry, point_symmetries, planes, scratch_planes, out):
    """Network input of a node under a symmetry of the board."""
    if symmetry == 0:
        planes(tree.state[b, node], out)
        return
    planes(tree.state[b, node], scratch_planes)
    width = out.shape[2]
    for c in range(out.shape[0]):
        for i in range(point_symmetries.shape[1]):
            source = point_symmetries[symmetry, i]
            out[c, i // width, i % width] = scratch_planes[c, source // width, source % width]


@njit(
    int64(
        TreeType,
        LanesType,
        KnobsType,
        int32[:, ::1],
        int64[:, ::1],
        PlayFn,
        LegalFn,
        PlanesFn,
        float32[:, :, :, ::1],
        int32[::1],
    ),
    cache=True,
    nogil=True,
)
def select(tree, lanes, knobs, schedule, point_symmetries, play, legal, planes, out, pending):
    """Advance every lane to its next evaluation or to the end of its search.

    Writes the awaited positions' planes to ``out`` [≤B, C, H, W] and their lanes to ``pending`` [≤B];
    returns how many there are.
    """
    actions = tree.child.shape[2]
    mask = np.zeros(actions, np.uint8)
    scratch = np.zeros(tree.state.shape[2], np.int64)
    q = np.zeros(actions, np.float64)
    policy = np.zeros(actions, np.float64)
    scratch_planes = np.zeros(out.shape[1:], np.float32)
    count = 0
    for b in range(lanes.phase.shape[0]):
        if lanes.phase[b] == SEARCHING:
            found = select_leaf(tree, lanes, b, knobs, schedule, play, legal, mask, scratch, q, policy)
            lanes.phase[b] = LEAF if found else DONE
        if lanes.phase[b] == LEAF or lanes.phase[b] == ROOT:
            symmetry = lanes.symmetry[b] if lanes.phase[b] == ROOT else 0
            write_planes(tree, b, lanes.leaf[b], symmetry, point_symmetries, planes, scratch_planes, out[count])
            pending[count] = b
            count += 1
    return count


@njit(cache=True)
def store_policy(tree, b, node, logits, actions_of, weight):
    """Add ``weight`` · logits to the node's log prior; ``actions_of`` maps the evaluation's actions to the node's."""
    for a in range(logits.shape[0]):
        action = actions_of[a]
        if tree.log_prior[b, node, action] > -np.inf:
            tree.log_prior[b, node, action] += weight * logits[a]


@njit(cache=True)
def normalise(tree, b, node):
    """Turn legal logits into log probabilities."""
    top = -np.inf
    for a in range(tree.log_prior.shape[2]):
        top = max(top, tree.log_prior[b, node, a])
    total = 0.0
    for a in range(tree.log_prior.shape[2]):
        total += math.exp(tree.log_prior[b, node, a] - top)
    shift = top + math.log(total)
    for a in range(tree.log_prior.shape[2]):
        tree.log_prior[b, node, a] -= shift


@njit(
    void(TreeType, LanesType, KnobsType, int64[:, ::1], float32[:, ::1], float32[:, ::1], int32[::1]),
    cache=True,
    nogil=True,
)
def update(tree, lanes, knobs, action_symmetries, logits, wdl, pending):
    """Expand the awaited nodes with the network's answers (logits [n, A], wdl [n, 3]) and back them up."""
    for i in range(pending.shape[0]):
        b = pending[i]
        node = lanes.leaf[b]
        value = wdl[i, 0] - wdl[i, 2]
        if lanes.phase[b] == ROOT:
            rounds = action_symmetries.shape[0] if knobs.root_symmetries == 1 else 1
            store_policy(tree, b, node, logits[i], action_symmetries[lanes.symmetry[b]], 1.0 / rounds)
            tree.net_value[b, node] += value / rounds
            # The root's draw share is kept in draw_sum until the last symmetry, then the visit is counted.
            tree.value_sum[b, node] += value / rounds
            tree.draw_sum[b, node] += wdl[i, 1] / rounds
            lanes.symmetry[b] += 1
            if lanes.symmetry[b] < rounds:
                continue
            normalise(tree, b, node)
            tree.visits[b, node] += 1
        else:
            store_policy(tree, b, node, logits[i], action_symmetries[0], 1.0)
            normalise(tree, b, node)
            tree.net_value[b, node] = value
            back_up(tree, b, node, value, wdl[i, 1], knobs)
        lanes.phase[b] = SEARCHING


@njit(cache=True)
def back_up_terminal(tree, b, child):
    tree.proven[b, 0] = PROVEN_WIN
    tree.visits[b, child] += 1
    tree.value_sum[b, child] += exact_value(tree.proven[b, child])
    tree.visits[b, 0] += 1
    tree.value_sum[b, 0] += 1.0


@njit(cache=True)
def look_for_wins(tree, lanes, b, play, legal, mask):
    """Create the root's immediately winning children; the search is then over."""
    for a in range(tree.child.shape[2]):
        if tree.log_prior[b, 0, a] == -np.inf:
            continue
        child = create_child(tree, lanes, b, 0, a, play, legal, mask)
        if child_result(tree, b, 0, child) == PROVEN_WIN:
            back_up_terminal(tree, b, child)
        else:
            tree.child[b, 0, a] = -1
            lanes.size[b] -= 1
    if tree.proven[b, 0] != UNPROVEN:
        lanes.phase[b] = DONE


@njit(
    void(TreeType, LanesType, KnobsType, int64[:, ::1], int32[::1], PlayFn, LegalFn, int32[::1]),
    cache=True,
    nogil=True,
)
def plant(tree, lanes, knobs, states, chosen, play, legal, considered):
    """Start new trees in the ``chosen`` lanes from ``states`` [K, S].

    Writes to ``considered`` [K] how many actions are legal. With lookahead, moves that win at once are
    created, which proves the root before any evaluation.
    """
    mask = np.zeros(tree.child.shape[2], np.uint8)
    for i in range(chosen.shape[0]):
        b = chosen[i]
        clear_node(tree, b, 0, -1)
        tree.state[b, 0, :] = states[i]
        lanes.size[b] = 1
        lanes.done[b] = 0
        lanes.symmetry[b] = 0
        lanes.leaf[b] = 0
        lanes.base[b, :] = 0
        lanes.phase[b] = ROOT
        mark_legal(tree, b, 0, legal, mask)
        legal_actions = 0
        for a in range(mask.shape[0]):
            legal_actions += mask[a]
        considered[i] = legal_actions
        if knobs.lookahead == 1:
            look_for_wins(tree, lanes, b, play, legal, mask)


@njit(void(TreeType, LanesType, int32[::1], int64[::1], uint8[::1]), cache=True, nogil=True)
def advance_root(tree, lanes, chosen, actions, kept):
    """Make the child that ``actions[i]`` leads to the root of lane ``chosen[i]``, with its subtree.

    ``kept[i]`` becomes 1 where there was such a child with an evaluation; other lanes are left for ``plant``.
    Children have larger indices than their parents, so the subtree is moved down in place.
    """
    capacity = tree.parent.shape[1]
    moved = np.full(capacity, -1, np.int32)
    for i in range(chosen.shape[0]):
        b = chosen[i]
        root = tree.child[b, 0, actions[i]]
        kept[i] = 0
        # Half the room is for the new search; a subtree that fills more is not worth its memory.
        if root < 0 or tree.proven[b, root] != UNPROVEN or tree.visits[b, root] == 0:
            continue
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
        if size > capacity // 2:
            continue
        kept[i] = 1
        for node in range(root, lanes.size[b]):
            target = moved[node]
            if target < 0:
                continue
            tree.parent[b, target] = -1 if node == root else moved[tree.parent[b, node]]
            for a in range(tree.child.shape[2]):
                child = tree.child[b, node, a]
                tree.child[b, target, a] = moved[child] if child >= 0 else -1
            tree.state[b, target, :] = tree.state[b, node, :]
            tree.log_prior[b, target, :] = tree.log_prior[b, node, :]
            tree.visits[b, target] = tree.visits[b, node]
            tree.value_sum[b, target] = tree.value_sum[b, node]
            tree.draw_sum[b, target] = tree.draw_sum[b, node]
            tree.net_value[b, target] = tree.net_value[b, node]
            tree.proven[b, target] = tree.proven[b, node]
        lanes.size[b] = size
        lanes.done[b] = 0
        lanes.leaf[b] = 0
        lanes.phase[b] = SEARCHING
        for a in range(tree.child.shape[2]):
            lanes.base[b, a] = child_visits(tree, b, 0, a)


@njit(
    void(
        TreeType,
        LanesType,
        KnobsType,
        int32[::1],
        int64[::1],
        float32[:, ::1],
        int32[:, ::1],
        float32[:, ::1],
        float32[:, ::1],
    ),
    cache=True,
    nogil=True,
)
def decide(tree, lanes, knobs, chosen, action, policy, visits, action_value, wdl):
    """Fill the fields of SearchResult for the ``chosen`` lanes."""
    actions = tree.child.shape[2]
    q = np.zeros(actions, np.float64)
    improved = np.zeros(actions, np.float64)
    for i in range(chosen.shape[0]):
        b = chosen[i]
        action[i] = root_decision(tree, lanes, b, knobs, improved, q)
        for a in range(actions):
            policy[i, a] = improved[a]
            visits[i, a] = child_visits(tree, b, 0, a)
            child = tree.child[b, 0, a]
            seen = child >= 0 and tree.visits[b, child] > 0
            action_value[i, a] = child_value(tree, b, 0, child) if seen else np.nan
        if tree.proven[b, 0] != UNPROVEN:
            value = exact_value(tree.proven[b, 0])
            draw = np.float32(tree.proven[b, 0] == PROVEN_DRAW)
        else:
            value = tree.value_sum[b, 0] / tree.visits[b, 0]
            draw = tree.draw_sum[b, 0] / tree.visits[b, 0]
        wdl[i, 0] = max(0.0, 0.5 * (1.0 - draw + value))
        wdl[i, 1] = draw
        wdl[i, 2] = max(0.0, 0.5 * (1.0 - draw - value))
