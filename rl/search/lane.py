"""Simulate → expand → back up, in the tree of one game.

Compiled into the kernels (kernels.py, rl/actors) for the types of the rules, not for a game. A lane's memory is its
own; ``b`` is its number.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from rl.records import PROVEN_DRAW, PROVEN_LOSS, PROVEN_WIN, UNPROVEN
from rl.search.cache import recall
from rl.search.nodes import (
    create_child,
    draw_in_hand,
    note_refuted_moves,
    other_mover,
    prove,
    prove_from_children,
    winning_move,
)
from rl.search.policies import (
    completed_values,
    exact_value,
    gumbel_interior,
    gumbel_root,
    puct,
    root_decision,
)
from rl.search.tree import DONE, GUMBEL, LEAF_ASKED, ROOT, ROOT_ASKED, SEARCHING

# A legal action's prior never rounds to 0, which marks illegal ones: what is less likely than this counts as if it were
# this likely. It is smaller by 10⁷ than what float32's own rounding leaves of a softmax.
SMALLEST_PRIOR = 1e-30
STAY = -2  # in place of an action that led to a position: none did, it is the root


@njit(error_model="numpy")
def reserve(tree, b, node, value):
    """Count a simulation whose result is still awaited, as if it had brought ``value`` (for the side to move).

    So the next simulation of the same tree goes elsewhere, by its visits and not by a feigned loss (Liu et al. 2020,
    "Watch the Unobserved"). The node's NaN tells that it cannot be walked through yet.
    """
    tree.net_value[b, node] = np.nan
    while True:
        tree.visits[b, node] += 1
        tree.value_sum[b, node] += value
        parent = tree.parent[b, node]
        if parent < 0:
            return
        if other_mover(tree, b, node, parent):
            value = -value
        action = tree.action[b, node]
        tree.edge_visits[b, parent, action] += 1
        tree.edge_value[b, parent, action] += value
        node = parent


@njit(error_model="numpy")
def back_up(tree, b, node, value, draw, knobs, visit, expected):
    """Add one simulation's result to the node and its ancestors, and propagate what it proves.

    ``value`` and ``draw`` are for the side to move at ``node``. ``visit`` is 1, or 0 where ``reserve`` has counted the
    simulation already, with the value ``expected`` (else 0). A proven node on the way replaces what is
    backed up from there on by its exact value; a side that has a proven draw in hand accepts nothing worse
    (score bounds, Cazenave and Saffidine 2010).
    """
    proving = tree.proven[b, node] != UNPROVEN
    while True:
        if proving:
            value = exact_value(tree.proven[b, node])
            draw = np.float32(tree.proven[b, node] == PROVEN_DRAW)
        elif knobs.solver == 1 and value < 0.0 and draw_in_hand(tree, b, node):
            value, draw = np.float32(0.0), np.float32(1.0)
        tree.visits[b, node] += visit
        tree.value_sum[b, node] += value - expected
        tree.draw_sum[b, node] += draw
        parent = tree.parent[b, node]
        if parent < 0:
            return
        if other_mover(tree, b, node, parent):
            value, expected = -value, -expected
        action = tree.action[b, node]
        tree.edge_visits[b, parent, action] += visit
        tree.edge_value[b, parent, action] += value - expected
        proving = proving and knobs.solver == 1 and prove_from_children(tree, b, parent)
        node = parent


@njit(error_model="numpy")
def select_leaf(tree, lanes, b, knobs, rules, work):
    """Run simulations in one lane until one needs the network: its leaf is returned.

    -1 when the search is over, or when the next simulation leads into a leaf whose evaluation is still awaited.
    """
    children, net_value, proven = tree.child[b], tree.net_value[b], tree.proven[b]
    while lanes.done[b] < lanes.budget[b] and proven[0] == UNPROVEN:
        node = 0
        while True:
            if knobs.kind != GUMBEL:
                action = puct(tree, lanes, b, node, knobs)
            elif node == 0:
                action = gumbel_root(tree, lanes, b, knobs, work)
            else:
                action = gumbel_interior(tree, b, node, knobs, work)
            child = children[node, action]
            new = child < 0
            if new:
                child = create_child(tree, lanes, b, node, action, rules, work)
                if knobs.lookahead == 1 and proven[child] == UNPROVEN:
                    if winning_move(tree.state[b, child], tree.prior[b, child], 0, rules, work.after) >= 0:
                        prove(tree, b, child, PROVEN_WIN)
                    elif note_refuted_moves(tree, b, child, knobs, rules, work):
                        prove(tree, b, child, PROVEN_LOSS)
            if new or proven[child] != UNPROVEN:
                break
            if math.isnan(net_value[child]):
                return -1
            node = child
        lanes.done[b] += 1
        if proven[child] == UNPROVEN:
            return child
        back_up(tree, b, child, np.float32(0.0), np.float32(0.0), knobs, 1, np.float32(0.0))
    return -1


@njit(error_model="numpy")
def write_planes(tree, b, node, symmetry, rules, work, out):
    """Network input of a node under a symmetry of the board."""
    if symmetry == 0:
        rules.planes(tree.state[b, node], out)
        return
    planes, points = work.planes, work.point_symmetries
    rules.planes(tree.state[b, node], planes)
    width = out.shape[2]
    for c in range(out.shape[0]):
        for i in range(points.shape[1]):
            source = points[symmetry, i]
            out[c, i // width, i % width] = planes[c, source // width, source % width]


@njit(error_model="numpy")
def waits(lanes, b):
    """For how many answers of the network the lane waits."""
    return lanes.pending[b] if lanes.phase[b] == LEAF_ASKED or lanes.phase[b] == ROOT_ASKED else 0


@njit(error_model="numpy")
def store_policy(tree, lanes, b, logits, row, symmetry, weight, work):
    """Add ``weight`` · logits[row], an answer about the root under a symmetry, to the root's log prior."""
    log_prior, prior, actions_of = lanes.log_prior[b], tree.prior[b, 0], work.action_symmetries
    for a in range(prior.shape[0]):
        action = actions_of[symmetry, a]
        if prior[action] > 0.0:
            log_prior[action] += weight * logits[row, a]


@njit(error_model="numpy")
def exponentiate(logits, prior):
    """Turn the prior of legal actions into softmax(logits [A]), at least SMALLEST_PRIOR; returns log Σ exp(logits)."""
    top = np.float32(-np.inf)
    for a in range(prior.shape[0]):
        if prior[a] > 0.0:
            top = max(top, logits[a])
    total = 0.0
    for a in range(prior.shape[0]):
        if prior[a] > 0.0:
            weight = math.exp(logits[a] - top)
            prior[a] = weight + SMALLEST_PRIOR
            total += weight
    factor = np.float32(1.0 / total)
    for a in range(prior.shape[0]):
        if prior[a] > 0.0:  # not the others, which a factor that is no number would make legal
            prior[a] *= factor
    return top + math.log(total)


@njit(error_model="numpy")
def expand(tree, b, node, logits, row, value):
    """Give a new node the network's policy and value."""
    exponentiate(logits[row], tree.prior[b, node])
    tree.net_value[b, node] = value


@njit(error_model="numpy")
def answer(tree, lanes, b, which, knobs, work, logits, wdl, row):
    """Expand the asked node, ``which`` of the lane's, with an answer (row of logits [n, A], wdl [n, 3]); back it up."""
    node = lanes.leaf[b, which]
    value, draw = wdl[row, 0] - wdl[row, 2], wdl[row, 1]
    if lanes.phase[b] == ROOT_ASKED:
        rounds = work.action_symmetries.shape[0] if knobs.root_symmetries == 1 else 1
        store_policy(tree, lanes, b, logits, row, lanes.symmetry[b], 1.0 / rounds, work)
        tree.net_value[b, node] += value / rounds
        tree.value_sum[b, node] += value / rounds
        tree.draw_sum[b, node] += draw / rounds
        lanes.symmetry[b] += 1
        if lanes.symmetry[b] < rounds:
            lanes.phase[b] = ROOT
            return
        log_prior = lanes.log_prior[b]
        shift = np.float32(exponentiate(log_prior, tree.prior[b, node]))
        for a in range(log_prior.shape[0]):
            log_prior[a] -= shift
        tree.visits[b, node] += 1
    else:
        expand(tree, b, node, logits, row, value)
        reserved = lanes.leaf.shape[1] > 1
        expected = lanes.expected[b, which] if reserved else np.float32(0.0)
        back_up(tree, b, node, value, draw, knobs, 1 - int(reserved), expected)
        if which + 1 < lanes.pending[b]:
            return
    # Said here rather than in the next ask, so that the lane can start its next search before it.
    over = lanes.done[b] >= lanes.budget[b] or tree.proven[b, 0] != UNPROVEN
    lanes.phase[b] = DONE if over else SEARCHING


@njit(error_model="numpy")
def ask(tree, lanes, b, knobs, rules, work):
    """Advance the lane to its next evaluations, whose planes are written, or to the end of its search.

    Returns for how many answers it waits, 0 at the end; one that waits already keeps its planes. What the network has
    been asked before it is not asked again (``recall``).
    """
    leaves = lanes.leaf.shape[1]
    while lanes.phase[b] == ROOT:
        out = lanes.planes[b * leaves]
        write_planes(tree, b, 0, lanes.symmetry[b], rules, work, out)
        lanes.leaf[b, 0] = 0
        lanes.pending[b] = 1
        lanes.phase[b] = ROOT_ASKED
        place = recall(lanes, work, b * leaves)
        if place >= 0:
            answer(tree, lanes, b, 0, knobs, work, lanes.cache_logits, lanes.cache_wdl, place)
    if lanes.phase[b] == SEARCHING:
        count = 0
        while count < leaves:
            leaf = select_leaf(tree, lanes, b, knobs, rules, work)
            if leaf < 0:
                break
            out = lanes.planes[b * leaves + count]
            write_planes(tree, b, leaf, 0, rules, work, out)
            place = recall(lanes, work, b * leaves + count)
            if place >= 0:
                wdl = lanes.cache_wdl
                value = wdl[place, 0] - wdl[place, 2]
                expand(tree, b, leaf, lanes.cache_logits, place, value)
                back_up(tree, b, leaf, value, wdl[place, 1], knobs, 1, np.float32(0.0))
                continue
            lanes.leaf[b, count] = leaf
            if leaves > 1:
                parent = tree.parent[b, leaf]
                seen = tree.net_value[b, parent]
                lanes.expected[b, count] = -seen if other_mover(tree, b, leaf, parent) else seen
                reserve(tree, b, leaf, lanes.expected[b, count])
            count += 1
        lanes.pending[b] = count
        lanes.phase[b] = LEAF_ASKED if count > 0 else DONE
    return waits(lanes, b)


@njit(error_model="numpy")
def worth(tree, b, knobs, work):
    """Value and draw probability of the root under ``work.policy``; a move never visited counts as v_mix says."""
    policy, q = work.policy, work.q
    edge_visits, edge_proven, children = tree.edge_visits[b, 0], tree.edge_proven[b, 0], tree.child[b, 0]
    scale = completed_values(tree, b, 0, knobs, work)
    value, draw = 0.0, 0.0
    for a in range(policy.shape[0]):
        if policy[a] == 0.0:
            continue
        value += policy[a] * (q[a] / scale - 1.0)
        if edge_visits[a] == 0:
            draw += policy[a] * tree.draw_sum[b, 0] / tree.visits[b, 0]
        elif edge_proven[a] != UNPROVEN:
            draw += policy[a] * (edge_proven[a] == PROVEN_DRAW)
        else:
            draw += policy[a] * tree.draw_sum[b, children[a]] / tree.visits[b, children[a]]
    return np.float32(value), np.float32(draw)


@njit(error_model="numpy")
def decide(tree, lanes, b, knobs, work):
    """The action to play (returned), the improved policy and the searched value of the root (in work.policy and wdl).

    Of PUCT the value is the mean over all simulations, whose visits follow the policy. Sequential halving begins by
    visiting good and bad moves alike, so Gumbel's value is what the improved policy is worth (cf. Willemsen et al.
    2020, "Value targets in off-policy AlphaZero", who find greedy backups the better targets).
    """
    action = root_decision(tree, lanes, b, knobs, work)
    if tree.proven[b, 0] != UNPROVEN:
        value = exact_value(tree.proven[b, 0])
        draw = np.float32(tree.proven[b, 0] == PROVEN_DRAW)
    elif knobs.kind == GUMBEL and lanes.done[b] > 0:
        value, draw = worth(tree, b, knobs, work)
    else:
        value = tree.value_sum[b, 0] / tree.visits[b, 0]
        draw = tree.draw_sum[b, 0] / tree.visits[b, 0]
    win, loss = max(0.0, 0.5 * (1.0 - draw + value)), max(0.0, 0.5 * (1.0 - draw - value))
    total = win + draw + loss
    wdl = work.wdl
    wdl[0], wdl[1], wdl[2] = win / total, draw / total, loss / total
    return action
