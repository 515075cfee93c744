"""How search chooses actions: Gumbel AlphaZero (Danihelka et al. 2022) and PUCT (Silver et al. 2018).

All functions look at one node of one lane. Action values q are from the side to move at that node.
Scores are computed into caller-provided scratch vectors, so that nothing is allocated inside a simulation.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from envs.game import TO_MOVE
from rl.records import PROVEN_DRAW, PROVEN_LOSS, PROVEN_WIN, UNPROVEN
from rl.search.tree import GUMBEL


@njit(cache=True)
def exact_value(proven):
    """Value of a proven result for the side to move."""
    if proven == PROVEN_WIN:
        return np.float32(1.0)
    return np.float32(-1.0) if proven == PROVEN_LOSS else np.float32(0.0)


@njit(cache=True)
def turned(proven):
    """A proven result seen from the other side."""
    if proven == PROVEN_WIN:
        return PROVEN_LOSS
    return PROVEN_WIN if proven == PROVEN_LOSS else proven


@njit(cache=True)
def child_result(tree, b, node, child):
    """What is proven of a child, for the side to move at ``node``."""
    proven = tree.proven[b, child]
    if tree.state[b, node, TO_MOVE] != tree.state[b, child, TO_MOVE]:
        return turned(proven)
    return proven


@njit(cache=True)
def child_value(tree, b, node, child):
    """Value of a visited child for the side to move at ``node``: exact when proven, else the mean."""
    if tree.proven[b, child] != UNPROVEN:
        value = exact_value(tree.proven[b, child])
    else:
        value = tree.value_sum[b, child] / tree.visits[b, child]
    return -value if tree.state[b, node, TO_MOVE] != tree.state[b, child, TO_MOVE] else value


@njit(cache=True)
def completed_values(tree, b, node, knobs, q):
    """Fill q[a] with σ(completed q): visited actions by their value, others by the mixed value v_mix.

    Danihelka et al. 2022, equations 8, 10 and 33 (v_mix in appendix D). Values are mapped to [0, 1] before σ.
    """
    visits_sum = 0
    visits_max = 0
    prior_sum = 0.0
    weighted = 0.0
    for a in range(q.shape[0]):
        child = tree.child[b, node, a]
        if child >= 0 and tree.visits[b, child] > 0:
            visits = tree.visits[b, child]
            visits_sum += visits
            visits_max = max(visits_max, visits)
            prior = math.exp(tree.log_prior[b, node, a])
            prior_sum += prior
            q[a] = child_value(tree, b, node, child)
            weighted += prior * q[a]
    mixed = tree.net_value[b, node]
    if prior_sum > 0.0:
        mixed = (mixed + visits_sum * weighted / prior_sum) / (1 + visits_sum)
    scale = (knobs.c_visit + visits_max) * knobs.c_scale
    for a in range(q.shape[0]):
        child = tree.child[b, node, a]
        visited = child >= 0 and tree.visits[b, child] > 0
        q[a] = scale * 0.5 * ((q[a] if visited else mixed) + 1.0)


@njit(cache=True)
def loses(tree, b, node, action):
    """True when the action is proven to lose."""
    child = tree.child[b, node, action]
    return child >= 0 and child_result(tree, b, node, child) == PROVEN_LOSS


@njit(cache=True)
def softmax(scores, out):
    """out = softmax(scores); entries of -inf get 0."""
    top = -np.inf
    for a in range(scores.shape[0]):
        top = max(top, scores[a])
    total = 0.0
    for a in range(scores.shape[0]):
        out[a] = math.exp(scores[a] - top) if scores[a] > -np.inf else 0.0
        total += out[a]
    for a in range(scores.shape[0]):
        out[a] /= total


@njit(cache=True)
def child_visits(tree, b, node, action):
    child = tree.child[b, node, action]
    return tree.visits[b, child] if child >= 0 else 0


@njit(cache=True)
def gumbel_root(tree, lanes, b, knobs, schedule, q):
    """Sequential halving: among the actions whose visit count is due, the best by noise + log prior + σ(q).

    ``schedule`` [budget] is the visit count that is due at each simulation (``visit_schedule``).
    """
    completed_values(tree, b, 0, knobs, q)
    due = schedule[lanes.done[b]]
    best, best_score = -1, -np.inf
    spare, spare_score = -1, -np.inf  # proofs can empty the halving's bracket; then any move that is not lost
    for a in range(q.shape[0]):
        if tree.log_prior[b, 0, a] == -np.inf or loses(tree, b, 0, a):
            continue
        score = lanes.noise[b, a] + tree.log_prior[b, 0, a] + q[a]
        if child_visits(tree, b, 0, a) - lanes.base[b, a] == due and (best < 0 or score > best_score):
            best, best_score = a, score
        if spare < 0 or score > spare_score:
            spare, spare_score = a, score
    if best >= 0:
        return best
    return spare if spare >= 0 else most_likely(tree, b, 0)


@njit(cache=True)
def gumbel_interior(tree, b, node, knobs, q, policy):
    """Deterministic choice that makes visits follow the improved policy (Danihelka et al. 2022, equation 14)."""
    completed_values(tree, b, node, knobs, q)
    for a in range(q.shape[0]):
        lost = tree.log_prior[b, node, a] == -np.inf or loses(tree, b, node, a)
        q[a] = -np.inf if lost else tree.log_prior[b, node, a] + q[a]
    softmax(q, policy)
    total = 1 + tree.visits[b, node]
    best, best_score = -1, -np.inf
    for a in range(q.shape[0]):
        if q[a] == -np.inf:
            continue
        score = policy[a] - child_visits(tree, b, node, a) / total
        if best < 0 or score > best_score:
            best, best_score = a, score
    return best if best >= 0 else most_likely(tree, b, node)


@njit(cache=True)
def puct(tree, lanes, b, node, knobs):
    """PUCT with first-play urgency; the root mixes Dirichlet noise into its prior when exploring."""
    seen = 0.0
    for a in range(tree.child.shape[2]):
        if child_visits(tree, b, node, a) > 0:
            seen += math.exp(tree.log_prior[b, node, a])
    mean = tree.value_sum[b, node] / max(1, tree.visits[b, node])
    unseen = mean - knobs.fpu_reduction * math.sqrt(seen)
    noisy = node == 0 and lanes.explore[b] == 1
    factor = knobs.c_puct * math.sqrt(max(1, tree.visits[b, node] - 1))
    best, best_score = -1, -np.inf
    for a in range(tree.child.shape[2]):
        if tree.log_prior[b, node, a] == -np.inf or loses(tree, b, node, a):
            continue
        prior = math.exp(tree.log_prior[b, node, a])
        if noisy:
            prior += knobs.dirichlet_fraction * (lanes.noise[b, a] - prior)
        visits = child_visits(tree, b, node, a)
        value = child_value(tree, b, node, tree.child[b, node, a]) if visits > 0 else unseen
        score = value + factor * prior / (1 + visits)
        if best < 0 or score > best_score:
            best, best_score = a, score
    return best if best >= 0 else most_likely(tree, b, node)


@njit(cache=True)
def most_likely(tree, b, node):
    """The legal action with the largest prior: the choice where every action is proven to lose."""
    best = -1
    for a in range(tree.child.shape[2]):
        if tree.log_prior[b, node, a] > -np.inf and (
            best < 0 or tree.log_prior[b, node, a] > tree.log_prior[b, node, best]
        ):
            best = a
    return best


@njit(cache=True)
def root_decision(tree, lanes, b, knobs, policy, q):
    """The action to play (returned) and the improved policy (written to ``policy``) of a searched root.

    Ordering rules:
    * a proven win is played, and the policy is spread over proven wins only, as the prior has them;
    * of a root proven drawn, only proven draws are played;
    * proven losses are neither played nor in the policy, unless every legal action loses;
    * among the rest Gumbel plays the best of noise + log prior + σ(q) with the most visits, and its policy is
      softmax(log prior + σ(q)); PUCT plays the most visited action, and its policy is the share of visits.
    """
    actions = policy.shape[0]
    only = UNPROVEN
    if tree.proven[b, 0] == PROVEN_WIN or tree.proven[b, 0] == PROVEN_DRAW:
        only = tree.proven[b, 0]
    lost = tree.proven[b, 0] == PROVEN_LOSS
    completed_values(tree, b, 0, knobs, q)
    most = -1
    for a in range(actions):
        child = tree.child[b, 0, a]
        result = child_result(tree, b, 0, child) if child >= 0 else UNPROVEN
        allowed = tree.log_prior[b, 0, a] > -np.inf
        if only != UNPROVEN:
            allowed = allowed and result == only
        elif not lost:
            allowed = allowed and result != PROVEN_LOSS
        if not allowed:
            q[a] = -np.inf
            policy[a] = -np.inf
            continue
        most = max(most, child_visits(tree, b, 0, a))
        policy[a] = tree.log_prior[b, 0, a] + (0.0 if only == PROVEN_WIN else q[a])
    best, best_score = -1, -np.inf
    total = 0
    for a in range(actions):
        if q[a] == -np.inf:
            continue
        visits = child_visits(tree, b, 0, a)
        total += visits
        if knobs.kind == GUMBEL:
            score = lanes.noise[b, a] + tree.log_prior[b, 0, a] + q[a] if visits == most else -np.inf
        else:
            score = visits + 0.5 * math.exp(tree.log_prior[b, 0, a])  # the prior decides between equals
        if best < 0 or score > best_score:
            best, best_score = a, score
    if knobs.kind == GUMBEL or total == 0 or only == PROVEN_WIN:
        softmax(policy, policy)
    else:
        for a in range(actions):
            policy[a] = child_visits(tree, b, 0, a) / total if q[a] > -np.inf else 0.0
    return best


def visit_schedule(considered: int, simulations: int) -> np.ndarray:
    """Visit count that is due at each simulation of sequential halving: [simulations] int32.

    Karnin et al. 2013 as used at the Gumbel root: ``considered`` actions share the budget equally in each of
    about log2(considered) phases, after each of which the better half stays. An action is eligible at a
    simulation when its visit count equals the entry.
    """
    if considered <= 1:
        return np.arange(simulations, dtype=np.int32)
    phases = math.ceil(math.log2(considered))
    visits = [0] * considered
    schedule: list[int] = []
    left = considered
    while len(schedule) < simulations:
        for _ in range(max(1, simulations // (phases * left))):
            schedule.extend(visits[:left])
            visits[:left] = [v + 1 for v in visits[:left]]
        left = max(2, left // 2)
    return np.array(schedule[:simulations], np.int32)
