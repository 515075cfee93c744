"""Elo ratings with intervals from a table of match results (Bradley–Terry).

The fit is choix's iterative Luce spectral ranking (Maystre and Grossglauser 2015), which reaches the maximum of the
Bradley–Terry likelihood; draws count as half a win for each side. The interval comes from the Fisher information
there. Draws make points less variable than the model assumes, so with many draws the interval is too wide, not too
narrow.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from envs.game import Game
from rl.evaluation.arena import play_match
from rl.evaluation.players import Player
from rl.records import MatchResult

ELO = 400.0 / math.log(10.0)  # Elo points per unit of log odds


@dataclass(frozen=True)
class Pairing:
    """One match between two named players, counted for ``a``."""

    a: str
    b: str
    result: MatchResult


@dataclass(frozen=True)
class Rating:
    """Elo of a player relative to the anchor, with a 95 % interval of that difference."""

    name: str
    elo: float
    low: float
    high: float
    games: int


def fit_ratings(
    pairings: Sequence[Pairing], anchor: str, *, anchor_elo: float = 0.0, prior_draws: float = 1.0
) -> list[Rating]:
    """Ratings of all players in ``pairings``, the strongest first.

    ``anchor`` is held at ``anchor_elo`` without an interval. ``prior_draws`` imagined draws are added to every pair
    that met, so that 20 : 0 gives a large but finite difference (KataGo's ratings do the same).
    Raises ValueError when the anchor never played or some players are not connected to it by games.
    """
    import choix

    names = sorted({p.a for p in pairings} | {p.b for p in pairings})
    if anchor not in names:
        raise ValueError(f"the anchor {anchor!r} played no game; players are: {', '.join(names) or 'none'}")
    index = {name: i for i, name in enumerate(names)}
    wins = np.zeros((len(names), len(names)))  # [P, P] points of the row's player against the column's
    played = np.zeros(len(names), int)
    for p in pairings:
        a, b = index[p.a], index[p.b]
        if a == b:
            raise ValueError(f"{p.a!r} cannot be rated by games against itself")
        wins[a, b] += p.result.wins + 0.5 * p.result.draws
        wins[b, a] += p.result.losses + 0.5 * p.result.draws
        played[[a, b]] += p.result.games
    met = (wins + wins.T) > 0
    lost = _unreachable(met, index[anchor])
    if lost:
        raise ValueError(f"no chain of games connects {anchor!r} with {', '.join(names[i] for i in lost)}")
    if len(names) == 1:
        return [Rating(anchor, anchor_elo, anchor_elo, anchor_elo, 0)]
    wins += met * prior_draws / 2
    strength = choix.ilsr_pairwise_dense(wins)  # [P] log odds, up to a constant
    strength = strength - strength[index[anchor]]

    chance = 1.0 / (1.0 + np.exp(strength[None, :] - strength[:, None]))  # [P, P] of the row's player
    information = -(wins + wins.T) * chance * (1.0 - chance)
    np.fill_diagonal(information, 0.0)
    np.fill_diagonal(information, -information.sum(1))
    free = [i for i in range(len(names)) if i != index[anchor]]
    deviation = np.zeros(len(names))
    deviation[free] = np.sqrt(np.diag(np.linalg.inv(information[np.ix_(free, free)])))
    elo, half = anchor_elo + ELO * strength, 1.96 * ELO * deviation
    ratings = [
        Rating(name, float(elo[i]), float(elo[i] - half[i]), float(elo[i] + half[i]), int(played[i]))
        for name, i in index.items()
    ]
    return sorted(ratings, key=lambda r: -r.elo)


def _unreachable(met: np.ndarray, start: int) -> list[int]:
    """Players that no chain of pairs in ``met`` [P, P] bool connects with ``start``."""
    reached, frontier = {start}, [start]
    while frontier:
        new = set(np.flatnonzero(met[frontier.pop()]).tolist()) - reached
        reached |= new
        frontier.extend(new)
    return [i for i in range(len(met)) if i not in reached]


def round_robin(
    game: Game,
    players: Sequence[Player],
    games: int,
    seed: int = 0,
    progress: Callable[[Pairing], None] | None = None,
) -> list[Pairing]:
    """Each player against each other, ``games`` games a pair with paired seats and varied openings."""
    pairings = []
    for number, (a, b) in enumerate(itertools.combinations(players, 2)):
        pairing = Pairing(a.name, b.name, play_match(game, a, b, games, seed + number).result)
        pairings.append(pairing)
        if progress is not None:
            progress(pairing)
    return pairings
