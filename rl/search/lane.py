"""Simulate → expand → back up, in the tree of one game.

Compiled into the kernels (kernels.py, rl/actors) for the types of the rules, not for a game. A lane's memory is its
own; ``b`` is its number.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from envs.game import DRAW, FIRST_WON, ONGOING, STATUS, TO_MOVE
from rl.records import PROVEN_DRAW, PROVEN_LOSS, PROVEN_WIN, UNPROVEN
from rl.search.cache import recall
from rl.search.noise import draw_gamma, draw_gumbel
from rl.search.policies import (
    completed_values,
    exact_value,
    gumbel_interior,
    gumbel_root,
    puct,
    root_decision,
    turned,
    visit_schedule,
)
from rl.search.tree import DONE, GUMBEL, LEAF_ASKED, ROOT, ROOT_ASKED, SEARCHING

# A legal action's prior never rounds to 0, which marks illegal ones: what is less likely than this counts as if it were
# this likely. It is smaller by 10⁷ than what float32's own rounding leaves of a softmax.
SMALLEST_PRIOR = 1e-30
STAY = -2  # in place of an action that led to a position: none did, it is the root


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
