"""Ratings of a run's versions and its yardsticks, from the scores that its evaluations logged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rl.curves import Run
from rl.evaluation.examiner import ANCHOR, PREVIOUS
from rl.evaluation.ratings import Pairing, Rating, fit_ratings
from rl.records import MatchResult
from rl.report.games import kept_versions

SCORE, FORFEITS = "eval/score/", "eval/forfeits/"
MOST = 14  # versions in the ladder: the last and, evenly, some before


def ratings_of(run: Run) -> list[Rating]:
    """The ladder, the strongest first; empty where the run played nobody, or never against the anchor."""
    pairings = list(pairings_of(run.rows, games_a_match(run.config), versions_of(run)))
    versions = list(dict.fromkeys(p.a for p in pairings))
    if not any(p.b == ANCHOR for p in pairings):
        return []
    try:
        found = fit_ratings(pairings, ANCHOR)
    except ValueError:  # versions of a resumed run that no games connect
        return []
    step = -(-len(versions) // MOST)
    shown = {*versions[::-1][::step]}
    return [rating for rating in found if rating.name in shown or rating.name not in versions]


def versions_of(run: Run) -> list[int]:
    """Versions whose games the run has kept, the oldest first; empty where they cannot be looked at."""
    try:
        return kept_versions(run)
    except OSError:
        return []


def games_a_match(config: Mapping[str, Any]) -> int:
    """As the configuration says, 0 where it does not."""
    evaluation = config.get("evaluation")
    games = evaluation.get("games") if isinstance(evaluation, dict) else None
    return games if isinstance(games, int) else 0


def pairings_of(rows: list[dict[str, float]], games: int, versions: Sequence[int] = ()) -> list[Pairing]:
    """The matches behind the scores. A row does not tell wins from pairs of draws, and ratings need not know.

    A row's clock is that of the evaluation's end, by when the learner is further on than what was evaluated; where
    there is one of the ``versions`` for each row, they are named by those.
    """
    scored = [row for row in rows if any(n.startswith(SCORE) and math.isfinite(v) for n, v in row.items())]
    numbers = versions if len(versions) == len(scored) else [int(row["learner_steps"]) for row in scored]
    found, previous = [], ""
    for row, number in zip(scored, numbers):
        scores = {n.removeprefix(SCORE): v for n, v in row.items() if n.startswith(SCORE) and math.isfinite(v)}
        if not games:
            break
        version = f"v{number}"
        for opponent, score in scores.items():
            if row.get(FORFEITS + opponent, 0) or (opponent == PREVIOUS and not previous):
                continue  # games that an engine's fault decided are not rated
            points = round(2 * score * games)
            result = MatchResult(wins=points // 2, draws=points % 2, losses=games - points // 2 - points % 2)
            found.append(Pairing(version, previous if opponent == PREVIOUS else opponent, result))
        previous = version
    return found


def rows_of(ratings: list[Rating]) -> list[dict[str, Any]]:
    """The ladder for the page: where each rating lies on its scale, in per cent, beside the numbers."""
    if not ratings:
        return []
    low, high = min(r.low for r in ratings), max(r.high for r in ratings)
    span = max(1.0, high - low)
    return [
        {
            "name": r.name,
            "yardstick": not (r.name.startswith("v") and r.name[1:].isdigit()),
            "elo": r.elo,
            "low": r.low,
            "high": r.high,
            "games": r.games,
            "at": 100 * (r.elo - low) / span,
            "left": 100 * (r.low - low) / span,
            "width": 100 * (r.high - r.low) / span,
        }
        for r in ratings
    ]
