"""How search chooses actions: Gumbel AlphaZero (Danihelka et al. 2022) and PUCT (Silver et al. 2018).

All functions look at one node of one lane, ``b``. Action values q are from the side to move at that node.
Scores are computed in the workspace, so that nothing is allocated inside a simulation.
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
def completion(tree, b, node, knobs, work):
    """What completes the Q-values of a node: (number of visited actions, value of all others, scale of σ).

    Fills ``work.visited`` with the visited actions, in their order, and ``work.q`` with the values of these. The others
    share the mixed value v_mix (Danihelka et al. 2022, equation 33 in appendix D); σ is their equation 8, of values
    mapped to [0, 1]: σ(q) = scale · (q + 1).
    """
    edge_visits, edge_value, edge_proven = (
        tree.edge_visits[b, node],
        tree.edge_value[b, node],
        tree.edge_proven[b, node],
    )
    prior, q, visited = tree.prior[b, node], work.q, work.visited
    count = 0
    for a in range(q.shape[0]):
        if edge_visits[a] > 0:
            visited[count] = a
            count += 1
    visits_sum = 0
    visits_max = 0
    prior_sum = 0.0
    weighted = 0.0
    for i in range(count):
        a = visited[i]
        visits = edge_visits[a]
        visits_sum += visits
        visits_max = max(visits_max, visits)
        q[i] = edge_mean(visits, edge_value[a], edge_proven[a])
        prior_sum += prior[a]
        weighted += prior[a] * q[i]
    mixed = np.float64(tree.net_value[b, node])
    if prior_sum > 0.0:
        mixed = (mixed + visits_sum * weighted / prior_sum) / (1 + visits_sum)
    return count, mixed, 0.5 * (knobs.c_visit + visits_max) * knobs.c_scale


@njit(error_model="numpy")
def completed_values(tree, b, node, knobs, work):
    """Fill work.q [A] with σ(completed q) (Danihelka et al. 2022, equation 10); returns the scale of σ."""
    count, mixed, scale = completion(tree, b, node, knobs, work)
    q, visited = work.q, work.visited
    unseen = scale * (mixed + 1.0)
    a = q.shape[0]
    for i in range(count - 1, -1, -1):  # spread in place: visited[i] ≥ i
        for other in range(visited[i] + 1, a):
            q[other] = unseen
        a = visited[i]
        q[a] = scale * (q[i] + 1.0)
    for other in range(a):
        q[other] = unseen
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
def gumbel_root(tree, lanes, b, knobs, work):
    """Sequential halving: among the actions whose visit count is due, the best by noise + log prior + σ(q).

    Visits inherited from tree reuse do not count; what is due is in ``visit_schedule``.
    """
    completed_values(tree, b, 0, knobs, work)
    edge_visits, edge_proven, prior, q = tree.edge_visits[b, 0], tree.edge_proven[b, 0], tree.prior[b, 0], work.q
    noise, log_prior, base, due = lanes.noise[b], lanes.log_prior[b], lanes.base[b], lanes.schedule[b, lanes.done[b]]
    best, best_score = -1, -np.inf
    for a in range(q.shape[0]):
        if edge_visits[a] - base[a] != due or prior[a] == 0.0 or edge_proven[a] == PROVEN_LOSS:
            continue
        score = noise[a] + log_prior[a] + q[a]
        if best < 0 or score > best_score:
            best, best_score = a, score
    if best >= 0:
        return best
    for a in range(q.shape[0]):  # proofs can empty the halving's bracket; then any move that is not lost
        if prior[a] == 0.0 or edge_proven[a] == PROVEN_LOSS:
            continue
        score = noise[a] + log_prior[a] + q[a]
        if best < 0 or score > best_score:
            best, best_score = a, score
    return best if best >= 0 else most_likely(prior)


@njit(error_model="numpy")
def gumbel_interior(tree, b, node, knobs, work):
    """Deterministic choice that makes visits follow the improved policy (Danihelka et al. 2022, equation 14).

    That is argmax π'(a) - N(a) / (1 + ΣN), π' = softmax(log prior + σ(q)). Actions not visited have one value in
    common, so that π' of them is their prior times one factor, and the likeliest is the best of them: exponentials are
    taken of the visited ones only.
    """
    count, mixed, scale = completion(tree, b, node, knobs, work)
    edge_visits, edge_proven, prior = tree.edge_visits[b, node], tree.edge_proven[b, node], tree.prior[b, node]
    q, visited = work.q, work.visited
    top = mixed
    for i in range(count):
        if not settled(edge_proven[visited[i]], knobs):
            top = max(top, q[i])
    best, most = -1, np.float32(0.0)
    total = 0.0
    for a in range(q.shape[0]):
        if edge_visits[a] == 0 and not settled(edge_proven[a], knobs):
            total += prior[a]  # 0 where illegal
            if prior[a] > most:
                best, most = a, prior[a]
    common = math.exp(scale * (mixed - top))
    total *= common
    for i in range(count):
        a = visited[i]
        q[i] = 0.0 if settled(edge_proven[a], knobs) else prior[a] * math.exp(scale * (q[i] - top))
        total += q[i]
    share = 1.0 / tree.visits[b, node]  # the sum of the edges' visits, and 1 for the node's own evaluation
    best_score = common * most / total
    for i in range(count):
        a = visited[i]
        if settled(edge_proven[a], knobs):
            continue
        score = q[i] / total - edge_visits[a] * share
        if best < 0 or score > best_score or (score == best_score and a < best):
            best, best_score = a, score
    # Without the solver, a node whose actions all lose is not proven and may come here.
    return best if best >= 0 else most_likely(prior)


@njit(error_model="numpy")
def puct(tree, lanes, b, node, knobs):
    """PUCT with first-play urgency; in self-play the root mixes Dirichlet noise into its prior."""
    edge_visits, edge_value, edge_proven = (
        tree.edge_visits[b, node],
        tree.edge_value[b, node],
        tree.edge_proven[b, node],
    )
    prior, noise, visits = tree.prior[b, node], lanes.noise[b], tree.visits[b, node]
    noisy = node == 0 and lanes.explore[b] == 1
    seen = 0.0
    for a in range(noise.shape[0]):
        if edge_visits[a] > 0:
            seen += prior[a]
    mean = tree.value_sum[b, node] / max(1, visits)
    unseen = mean - knobs.fpu_reduction * math.sqrt(seen)
    factor = knobs.c_puct * math.sqrt(max(1, visits - 1))
    best, best_score = -1, -np.inf
    for a in range(noise.shape[0]):
        proven = edge_proven[a]
        if prior[a] == 0.0 or proven == PROVEN_LOSS or (node > 0 and settled(proven, knobs)):
            continue
        share = np.float64(prior[a])
        if noisy:
            share += knobs.dirichlet_fraction * (noise[a] - share)
        count = edge_visits[a]
        value = np.float64(edge_mean(count, edge_value[a], proven)) if count > 0 else unseen
        score = value + factor * share / (1 + count)
        if best < 0 or score > best_score:
            best, best_score = a, score
    return best if best >= 0 else most_likely(prior)


@njit(error_model="numpy")
def most_likely(prior):
    """The legal action with the largest prior: the choice where every action is proven to lose."""
    best = -1
    for a in range(prior.shape[0]):
        if prior[a] != 0.0 and (best < 0 or prior[a] > prior[best]):
            best = a
    return best


@njit(error_model="numpy")
def root_decision(tree, lanes, b, knobs, work):
    """The action to play (returned) and the improved policy (in ``work.policy``) of a searched root.

    Ordering rules:
    * a proven win is played, and the policy is spread over proven wins only, as the prior has them;
    * of a root proven drawn, only proven draws are played;
    * proven losses are neither played nor in the policy, unless every legal action loses;
    * among the rest Gumbel plays the best of noise + log prior + σ(q) with the most visits of this search (those
      inherited by tree reuse had no part in the halving), and its policy is softmax(log prior + σ(q)); PUCT plays
      the most visited action, and its policy is the share of visits.
    """
    edge_visits, edge_proven = tree.edge_visits[b, 0], tree.edge_proven[b, 0]
    log_prior, prior, noise, base = lanes.log_prior[b], tree.prior[b, 0], lanes.noise[b], lanes.base[b]
    proven = tree.proven[b, 0]
    only = proven if proven in (PROVEN_WIN, PROVEN_DRAW) else UNPROVEN
    completed_values(tree, b, 0, knobs, work)
    policy, q = work.policy, work.q
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
