"""How search chooses actions: Gumbel AlphaZero (Danihelka et al. 2022) and PUCT (Silver et al. 2018).

All functions look at one node of one lane. Action values q are from the side to move at that node.
Scores are computed into caller-provided scratch vectors, so that nothing is allocated inside a simulation.
The hot ones take one lane's arrays ([N, A] and [N]) rather than the tree: reading an array out of a tuple costs
two atomic operations, which inside the loops over actions was most of the search's time.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from rl.records import PROVEN_DRAW, PROVEN_LOSS, PROVEN_WIN, UNPROVEN
from rl.search.tree import GUMBEL


@njit(error_model="numpy")
def exact_value(proven):
    """Value of a proven result for the side to move."""
    if proven == PROVEN_WIN:
        return np.float32(1.0)
    return np.float32(-1.0) if proven == PROVEN_LOSS else np.float32(0.0)


@njit(error_model="numpy")
def turned(proven):
    """A proven result seen from the other side."""
    if proven == PROVEN_WIN:
        return PROVEN_LOSS
    return PROVEN_WIN if proven == PROVEN_LOSS else proven


@njit(error_model="numpy")
def edge_mean(visits, value, proven):
    """Value of a visited edge: exact when proven, else the mean."""
    return exact_value(proven) if proven != UNPROVEN else np.float32(value / visits)


@njit(error_model="numpy")
def settled(proven, knobs):
    """True of a move inside the tree that is not worth another simulation.

    A proven loss is not played; a proven draw is kept in hand (``back_up`` counts it as the least that the node is
    worth) while the simulations look for better. Otherwise they would end in the same draw again and again.
    """
    return proven == PROVEN_LOSS or (proven != UNPROVEN and knobs.solver == 1)


@njit(error_model="numpy")
def completed_values(node, edge_visits, edge_value, edge_proven, prior, net_value, knobs, q):
    """Fill q[a] with σ(completed q), visited actions by value, others by the mixed value v_mix; returns the scale of σ.

    Danihelka et al. 2022, equations 8, 10 and 33 (v_mix in appendix D). Values are mapped to [0, 1] before σ.
    """
    visits_sum = 0
    visits_max = 0
    prior_sum = 0.0
    weighted = 0.0
    for a in range(q.shape[0]):
        visits = edge_visits[node, a]
        if visits > 0:
            visits_sum += visits
            visits_max = max(visits_max, visits)
            q[a] = edge_mean(visits, edge_value[node, a], edge_proven[node, a])
            prior_sum += prior[node, a]
            weighted += prior[node, a] * q[a]
    mixed = np.float64(net_value[node])
    if prior_sum > 0.0:
        mixed = (mixed + visits_sum * weighted / prior_sum) / (1 + visits_sum)
    scale = 0.5 * (knobs.c_visit + visits_max) * knobs.c_scale
    for a in range(q.shape[0]):
        q[a] = scale * ((q[a] if edge_visits[node, a] > 0 else mixed) + 1.0)
    return scale


@njit(error_model="numpy")
def softmax(scores, out):
    """out = softmax(scores); entries of -inf get 0."""
    top = -np.inf
    for a in range(scores.shape[0]):
        top = max(top, scores[a])
    total = 0.0
    for a in range(scores.shape[0]):
        out[a] = math.exp(scores[a] - top) if scores[a] > -np.inf else 0.0
        total += out[a]
    inverse = 1.0 / total
    for a in range(scores.shape[0]):
        out[a] *= inverse


@njit(error_model="numpy")
def gumbel_root(edge_visits, edge_value, edge_proven, prior, log_prior, net_value, noise, base, due, knobs, q):
    """Sequential halving: among the actions whose visit count is ``due``, the best by noise + log prior + σ(q).

    ``base`` [A] are visits inherited from tree reuse, which do not count; ``due`` is from ``visit_schedule``.
    """
    completed_values(0, edge_visits, edge_value, edge_proven, prior, net_value, knobs, q)
    best, best_score = -1, -np.inf
    spare, spare_score = -1, -np.inf  # proofs can empty the halving's bracket; then any move that is not lost
    for a in range(q.shape[0]):
        if prior[0, a] == 0.0 or edge_proven[0, a] == PROVEN_LOSS:
            continue
        score = noise[a] + log_prior[0, a] + q[a]
        if edge_visits[0, a] - base[a] == due and (best < 0 or score > best_score):
            best, best_score = a, score
        if spare < 0 or score > spare_score:
            spare, spare_score = a, score
    if best >= 0:
        return best
    return spare if spare >= 0 else most_likely(prior[0])


@njit(error_model="numpy")
def gumbel_interior(node, edge_visits, edge_value, edge_proven, prior, log_prior, net_value, visits, knobs, q, policy):
    """Deterministic choice that makes visits follow the improved policy (Danihelka et al. 2022, equation 14)."""
    completed_values(node, edge_visits, edge_value, edge_proven, prior, net_value, knobs, q)
    for a in range(q.shape[0]):
        closed = prior[node, a] == 0.0 or settled(edge_proven[node, a], knobs)
        q[a] = -np.inf if closed else log_prior[node, a] + q[a]
    softmax(q, policy)
    share = 1.0 / visits[node]  # visits: the sum of the edges' visits, and 1 for the node's own evaluation
    best, best_score = -1, -np.inf
    for a in range(q.shape[0]):
        if q[a] == -np.inf:
            continue
        score = policy[a] - edge_visits[node, a] * share
        if best < 0 or score > best_score:
            best, best_score = a, score
    # Without the solver, a node whose actions all lose is not proven and may come here.
    return best if best >= 0 else most_likely(prior[node])


@njit(error_model="numpy")
def puct(node, edge_visits, edge_value, edge_proven, prior, noise, visits, value_sum, noisy, knobs):
    """PUCT with first-play urgency; with ``noisy`` the root mixes Dirichlet noise into its prior."""
    seen = 0.0
    for a in range(noise.shape[0]):
        if edge_visits[node, a] > 0:
            seen += prior[node, a]
    mean = value_sum[node] / max(1, visits[node])
    unseen = mean - knobs.fpu_reduction * math.sqrt(seen)
    factor = knobs.c_puct * math.sqrt(max(1, visits[node] - 1))
    best, best_score = -1, -np.inf
    for a in range(noise.shape[0]):
        proven = edge_proven[node, a]
        if prior[node, a] == 0.0 or proven == PROVEN_LOSS or (node > 0 and settled(proven, knobs)):
            continue
        share = np.float64(prior[node, a])
        if noisy and node == 0:
            share += knobs.dirichlet_fraction * (noise[a] - share)
        count = edge_visits[node, a]
        value = np.float64(edge_mean(count, edge_value[node, a], proven)) if count > 0 else unseen
        score = value + factor * share / (1 + count)
        if best < 0 or score > best_score:
            best, best_score = a, score
    return best if best >= 0 else most_likely(prior[node])


@njit(error_model="numpy")
def most_likely(prior):
    """The action with the largest prior: the choice where every action is proven to lose."""
    best = 0
    for a in range(prior.shape[0]):
        if prior[a] > prior[best]:
            best = a
    return best


@njit(error_model="numpy")
def root_decision(tree, lanes, b, knobs, policy, q):
    """The action to play (returned) and the improved policy (written to ``policy``) of a searched root.

    Ordering rules:
    * a proven win is played, and the policy is spread over proven wins only, as the prior has them;
    * of a root proven drawn, only proven draws are played;
    * proven losses are neither played nor in the policy, unless every legal action loses;
    * among the rest Gumbel plays the best of noise + log prior + σ(q) with the most visits of this search (those
      inherited by tree reuse had no part in the halving), and its policy is softmax(log prior + σ(q)); PUCT plays
      the most visited action, and its policy is the share of visits.
    """
    edge_visits, edge_proven = tree.edge_visits[b, 0], tree.edge_proven[b, 0]
    log_prior, prior, noise, base = tree.log_prior[b, 0], tree.prior[b, 0], lanes.noise[b], lanes.base[b]
    proven = tree.proven[b, 0]
    only = proven if proven in (PROVEN_WIN, PROVEN_DRAW) else UNPROVEN
    completed_values(
        0, tree.edge_visits[b], tree.edge_value[b], tree.edge_proven[b], tree.prior[b], tree.net_value[b], knobs, q
    )
    lost = True
    for a in range(prior.shape[0]):
        if prior[a] > 0.0 and edge_proven[a] != PROVEN_LOSS:
            lost = False
    most = -1
    for a in range(prior.shape[0]):
        result = edge_proven[a]
        allowed = prior[a] > 0.0
        if only != UNPROVEN:
            allowed = allowed and result == only
        elif not lost:
            allowed = allowed and result != PROVEN_LOSS
        if not allowed:
            q[a] = -np.inf
            policy[a] = -np.inf
            continue
        most = max(most, edge_visits[a] - base[a])
        policy[a] = log_prior[a] + (0.0 if only == PROVEN_WIN else q[a])
    best, best_score = -1, -np.inf
    total = 0
    for a in range(prior.shape[0]):
        if q[a] == -np.inf:
            continue
        visits = edge_visits[a]
        total += visits
        if knobs.kind == GUMBEL:
            score = noise[a] + log_prior[a] + q[a] if visits - base[a] == most else -np.inf
        else:
            score = visits + 0.5 * prior[a]  # the prior decides between equals
        if best < 0 or score > best_score:
            best, best_score = a, score
    if knobs.kind == GUMBEL or total == 0 or only == PROVEN_WIN:
        softmax(policy, policy)
    else:
        for a in range(prior.shape[0]):
            policy[a] = edge_visits[a] / total if q[a] > -np.inf else 0.0
    return best


@njit
def visit_schedule(considered, visits, schedule):
    """Visit count that is due at each simulation of sequential halving: fills schedule [simulations].

    Karnin et al. 2013 as used at the Gumbel root: ``considered`` actions share the budget equally in each of
    about log2(considered) phases, after each of which the better half stays. An action is eligible at a
    simulation when its visit count equals the entry. ``visits`` [≥ considered] is scratch.
    """
    simulations = schedule.shape[0]
    if considered <= 1:
        for i in range(simulations):
            schedule[i] = i
        return
    phases = 0
    while 1 << phases < considered:
        phases += 1
    visits[:considered] = 0
    left, done = considered, 0
    while done < simulations:
        for _ in range(max(1, simulations // (phases * left))):
            for a in range(left):
                if done < simulations:
                    schedule[done] = visits[a]
                    done += 1
                visits[a] += 1
        left = max(2, left // 2)
