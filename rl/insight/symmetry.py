"""Whether an agent gives one position and its mirror image the same answer, by its network and with search."""

from __future__ import annotations

from typing import Any

import numpy as np

from rl.agent import Agent
from rl.insight.intervals import mean, share
from rl.insight.positions import Positions, mirrored

LANES = 64


def symmetry_report(agent: Agent, positions: Positions, simulations: int, seed: int = 0) -> dict[str, Any]:
    """How often mirrored and rotated positions get the mirrored move, and how far policy and value move.

    Plain JSON values: pairs (of a position and one of its images, those that are their own image left out), and, of
    the network alone and of ``simulations`` a move, each with its 95 % interval: the share of pairs with the
    ``same_move``, the mean total variation between the policies, and the mean difference of the values. Without
    symmetries: pairs 0.
    """
    game = agent.game
    assert game.action_symmetries is not None
    originals, images, symmetries = [], [], []
    for row, moves in enumerate(positions.moves):
        for k in range(1, len(game.action_symmetries)):
            image = game.replay(mirrored(game, moves, k))
            if np.array_equal(game.encode(image[None]), game.encode(positions.states[row][None])):
                continue
            originals.append(row)
            images.append(image)
            symmetries.append(k)
    report: dict[str, Any] = {"positions": len(positions.moves), "pairs": len(images)}
    if not images:
        return report
    which, order = np.array(originals), game.action_symmetries[np.array(symmetries)]
    games = positions.games[which]
    for name, budget in (("network", 0), ("search", simulations)):
        if name == "search" and not budget:
            continue
        first = _answers(agent, positions.states, budget, seed)
        second = _answers(agent, np.stack(images), budget, seed + 1)
        # Symmetry k turns a vector p over actions into p[order]: what the image should have got.
        expected = np.take_along_axis(first.policy[which], order, 1)
        inverse = np.argsort(order, 1)
        same = np.take_along_axis(inverse, first.action[which][:, None], 1)[:, 0] == second.action
        value = [found.wdl[:, 0] - found.wdl[:, 2] for found in (first, second)]
        for measure, told in (
            ("same_move", share(same, games)),
            ("policy_distance", mean(0.5 * np.abs(expected - second.policy).sum(1), games)),
            ("value_difference", mean(np.abs(value[0][which] - value[1]), games)),
        ):
            report |= dict(zip((f"{name}_{measure}{end}" for end in ("", "_low", "_high")), told, strict=True))
    return report | {"simulations": simulations}


def _answers(agent: Agent, states: np.ndarray, simulations: int, seed: int) -> Any:
    from rl.search import Search

    lanes = min(LANES, len(states))
    search = Search(agent.game, agent.config.search, lanes, seed, max_simulations=max(simulations, 1))
    return search.run(states, agent.evaluator(lanes), simulations=simulations)
