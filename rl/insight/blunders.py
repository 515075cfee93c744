"""Positions in which an agent's search and solver truth disagree most: a set of its own weaknesses.

Candidates are the committed truth set and, with a solver at hand, positions that the agent comes to itself, from where
its own errors come. A blunder is a move that gives away game-theoretic value; blunders are ranked by how much they give
away, then by how sure the search was of the better result.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from envs.game import PLY
from rl.agent import Agent
from rl.evaluation.solver import ILLEGAL, SolverError, solver_for
from rl.evaluation.solver import action_values as signs
from rl.evaluation.truth import TruthSet
from rl.insight.intervals import share
from rl.insight.positions import visited
from rl.insight.questions import InsightError
from rl.insight.symmetry import _answers
from rl.storage import replacing

SLOW_PLIES = range(12, 17)  # of Connect Four, which the solver takes up to a second for each


def blunders(
    agent: Agent,
    simulations: int,
    *,
    own: int = 0,
    most: int = 50,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """The worst ``most`` blunders among solved positions and ``own`` of the agent's own, as plain JSON values.

    Each has the moves that lead to it, the board as text, the agent's move with the value that its search saw, the best
    moves, and the truth of both. Raises InsightError where the game has neither truth set nor solver.
    """
    game = agent.game
    truth = TruthSet.load(game.env_id, "test")
    states, moves, values, sources, games = [], [], [], [], []
    if truth is not None and truth.moves is not None:
        states, moves, values = list(truth.states), list(truth.moves), list(truth.action_values)
        sources, games = ["truth set"] * len(states), list(range(len(states)))
    if own or truth is None or truth.moves is None:
        try:
            solver = solver_for(game)
        except SolverError as error:
            raise InsightError(f"without a truth set a solver is needed, and {error}") from error
        found = visited(agent, max(own, 1), seed)
        first = len(states)
        for i, (state, line, owner) in enumerate(zip(found.states, found.moves, found.games, strict=True)):
            if progress is not None:
                progress(i + 1)
            if game.env_id == "connect_four" and int(state[PLY]) in SLOW_PLIES:
                continue
            states.append(state)
            moves.append(line)
            values.append(signs(solver.scores(state)))
            sources.append("own play")
            games.append(first + int(owner))
    answers = _answers(agent, np.stack(states), simulations, seed)
    truths = np.stack(values).astype(int)
    rows = np.arange(len(states))
    best, played = truths.max(1), truths[rows, answers.action]
    searched = answers.wdl[:, 0] - answers.wdl[:, 2]
    lost = best - played
    order = np.lexsort((-np.abs(searched - played), -lost))
    worst = [int(i) for i in order if lost[i] > 0][:most]
    own_rows = np.array([source == "own play" for source in sources])
    report: dict[str, Any] = {"env": game.env_id, "agent": agent.name, "simulations": simulations}
    for name, part in (("truth", ~own_rows), ("own", own_rows)):
        if part.any():
            wrong = lost[part] > 0
            found_share, low, high = share(wrong, np.array(games)[part])
            report |= {
                f"{name}_positions": int(part.sum()),
                f"{name}_blunders": int(wrong.sum()),
                f"{name}_share": found_share,
                f"{name}_share_low": low,
                f"{name}_share_high": high,
                f"{name}_value_error": float(np.abs(searched - best)[part].mean()),
            }
    report["blunders"] = [
        {
            "moves": list(moves[i]),
            "source": sources[i],
            "board": game.render(states[i]),
            "played": int(answers.action[i]),
            "played_name": game.action_names[int(answers.action[i])],
            "searched_value": float(searched[i]),
            "truth_of_position": int(best[i]),
            "truth_of_move": int(played[i]),
            "best": [int(a) for a in np.flatnonzero(truths[i] == best[i])],
            "truth_of_moves": [None if v == ILLEGAL else int(v) for v in truths[i]],
        }
        for i in worst
    ]
    return report


def write_set(report: dict[str, Any], path: Path) -> None:
    """The blunders as a JSON file, whole or not at all. Raises OSError when it cannot be written."""
    with replacing(path) as file:
        file.write(json.dumps(report, indent=1).encode() + b"\n")
