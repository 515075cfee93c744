"""Gumbel AlphaZero and PUCT written down as slowly and plainly as the papers have them: nodes, dicts, recursion.

Shares no code with rl.search. Values at a node are for its side to move. No solver, no symmetries.
``margin`` is the smallest distance between the best and the second-best score of any choice: where it is within
rounding, another arithmetic may rightly choose otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from envs.game import ONGOING, STATUS, TO_MOVE, Game, outcome
from rl.search import Evaluate


@dataclass
class Node:
    state: np.ndarray
    value: float  # the network's, or the outcome of an ended game
    prior: dict[int, float]  # legal actions; empty when the game has ended
    returns: list[float] = field(default_factory=list)  # of the simulations through here, its own evaluation first
    children: dict[int, Node] = field(default_factory=dict)

    def visits(self, action: int) -> int:
        return len(self.children[action].returns) if action in self.children else 0

    def q(self, action: int) -> float:
        """Mean return of a visited action, for the side to move here."""
        child = self.children[action]
        sign = 1 if child.state[TO_MOVE] == self.state[TO_MOVE] else -1
        return sign * sum(child.returns) / len(child.returns)


@dataclass
class Found:
    visits: np.ndarray
    action: int
    policy: np.ndarray
    value: float
    margin: float


def softmax(scores: dict[int, float]) -> dict[int, float]:
    top = max(scores.values())
    total = sum(math.exp(s - top) for s in scores.values())
    return {a: math.exp(s - top) / total for a, s in scores.items()}


class SlowSearch:
    """One search of one position. Subclasses say how to choose."""

    def __init__(self, game: Game, evaluate: Evaluate, state: np.ndarray, noise: np.ndarray):
        self.game, self.evaluate, self.noise = game, evaluate, noise
        self.margin = math.inf
        self.root = self.expand(state)

    def expand(self, state: np.ndarray) -> Node:
        if state[STATUS] != ONGOING:
            value = float(outcome(state)) * (1 if state[TO_MOVE] == 0 else -1)
            return Node(state, value, {}, [value])
        answer = self.evaluate(self.game.encode(state[None]))
        legal = [int(a) for a in np.flatnonzero(self.game.legal_mask(state))]
        prior = softmax({a: float(answer.logits[0, a]) for a in legal})
        value = float(answer.wdl[0, 0]) - float(answer.wdl[0, 2])
        return Node(state, value, prior, [value])

    def best(self, scores: dict[int, float]) -> int:
        ranked = sorted(scores.values(), reverse=True)
        if len(ranked) > 1:
            self.margin = min(self.margin, ranked[0] - ranked[1])
        return max(scores, key=scores.__getitem__)

    def simulate(self, node: Node, action: int) -> float:
        """Follow ``action`` and then this class's choices to a leaf; the return, for the side to move at ``node``."""
        if action in node.children:
            child = node.children[action]
            value = child.value if not child.prior else self.simulate(child, self.choose(child))
            if not child.prior:
                child.returns.append(value)
        else:
            child = node.children[action] = self.expand(self.game.after(node.state, action))
            value = child.value
        if child.state[TO_MOVE] != node.state[TO_MOVE]:
            value = -value
        node.returns.append(value)
        return value

    def choose(self, node: Node) -> int:
        raise NotImplementedError

    def root_value(self, policy: dict[int, float]) -> float:
        return sum(self.root.returns) / len(self.root.returns)

    def found(self, action: int, policy: dict[int, float]) -> Found:
        actions = range(self.game.num_actions)
        return Found(
            visits=np.array([self.root.visits(a) for a in actions]),
            action=action,
            policy=np.array([policy.get(a, 0.0) for a in actions]),
            value=self.root_value(policy),
            margin=self.margin,
        )


class SlowGumbel(SlowSearch):
    """Danihelka et al. 2022, "Policy improvement by planning with Gumbel"."""

    c_visit, c_scale = 50.0, 1.0

    def completed_q(self, node: Node) -> dict[int, float]:
        """Equation 10; v_mix is equation 33."""
        counts = {a: node.visits(a) for a in node.prior}
        visited = [a for a in node.prior if counts[a]]
        total = sum(counts.values())
        v_mix = node.value
        if visited:
            mass = sum(node.prior[a] for a in visited)
            v_mix = (node.value + total * sum(node.prior[a] * node.q(a) for a in visited) / mass) / (1 + total)
        return {a: node.q(a) if counts[a] else v_mix for a in node.prior}

    def sigma_of_completed_q(self, node: Node) -> dict[int, float]:
        """Equation 8. The paper's q lies in [0, 1]."""
        scale = (self.c_visit + max(node.visits(a) for a in node.prior)) * self.c_scale
        return {a: scale * (q + 1) / 2 for a, q in self.completed_q(node).items()}

    def root_value(self, policy: dict[int, float]) -> float:
        completed = self.completed_q(self.root)
        return sum(p * completed[a] for a, p in policy.items())

    def improved_policy(self, node: Node) -> dict[int, float]:
        """Equation 11."""
        sigma = self.sigma_of_completed_q(node)
        return softmax({a: math.log(p) + sigma[a] for a, p in node.prior.items()})

    def choose(self, node: Node) -> int:
        """Equation 14."""
        total = sum(node.visits(a) for a in node.prior)
        return self.best({a: p - node.visits(a) / (1 + total) for a, p in self.improved_policy(node).items()})

    def scores(self, actions: list[int]) -> dict[int, float]:
        sigma = self.sigma_of_completed_q(self.root)
        return {a: float(self.noise[a]) + math.log(self.root.prior[a]) + sigma[a] for a in actions}

    def run(self, simulations: int, max_considered: int) -> Found:
        """Sequential halving (algorithm 2). In each round every surviving action is visited once, the best first;
        a phase has as many rounds as fit an equal share of the budget; then the better half survives."""
        left = simulations
        considered = min(max_considered, len(self.root.prior))
        phases = math.ceil(math.log2(considered)) if considered > 1 else 1
        candidates, survivors = list(self.root.prior), considered
        while left:
            rounds = max(1, simulations // (phases * survivors))
            for _ in range(rounds):
                visited: list[int] = []
                while left and len(visited) < survivors:
                    action = self.best(self.scores([a for a in candidates if a not in visited]))
                    visited.append(action)
                    self.simulate(self.root, action)
                    left -= 1
                if left:
                    candidates = visited
            survivors = max(2, survivors // 2) if considered > 1 else 1
        most = max(self.root.visits(a) for a in self.root.prior)
        finalists = [a for a in self.root.prior if self.root.visits(a) == most]
        return self.found(self.best(self.scores(finalists)), self.improved_policy(self.root))


class SlowPuct(SlowSearch):
    """Silver et al. 2018, with first-play urgency: an unvisited action is worth the node's mean less a reduction
    that grows with the prior already visited."""

    c_puct, fpu_reduction, dirichlet_fraction = 1.5, 0.2, 0.25
    explore = False

    def choose(self, node: Node) -> int:
        total = sum(node.visits(a) for a in node.prior)
        mean = sum(node.returns) / len(node.returns)
        seen = sum(p for a, p in node.prior.items() if node.visits(a))
        scores = {}
        for a, p in node.prior.items():
            prior = p
            if self.explore and node is self.root:
                prior = (1 - self.dirichlet_fraction) * p + self.dirichlet_fraction * float(self.noise[a])
            q = node.q(a) if node.visits(a) else mean - self.fpu_reduction * math.sqrt(seen)
            scores[a] = q + self.c_puct * prior * math.sqrt(max(1, total)) / (1 + node.visits(a))
        return self.best(scores)

    def run(self, simulations: int) -> Found:
        for _ in range(simulations):
            self.simulate(self.root, self.choose(self.root))
        visits = {a: self.root.visits(a) for a in self.root.prior}
        policy = {a: n / simulations for a, n in visits.items()}
        return self.found(self.best({a: n + 0.5 * self.root.prior[a] for a, n in visits.items()}), policy)
