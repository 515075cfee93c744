"""The streams that GUIs draw: what ``lz-analyze`` and ``kata-analyze`` are asked and how their lines look.

Fields and options are those of KataGo's docs/GTP_Extensions.md. Everything is from the point of view of the side whose
moves are analysed. Where the network has a score head, ``utility`` is what the search maximises, the chance to win with
a share of the score, and ``winrate`` that chance alone; else they are the same.

``scoreSelfplay`` is what the head was trained on: the final margin of games with itself, komi included. ``scoreLead``
(the komi that would make the game even) and its older name ``scoreMean``, which GUIs draw, are given the same number:
the best estimate of a lead that there is. Fields that nothing here has an answer for, such as the score's deviation,
are left out, and so are options that ask for more of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from envs.game import Game
from rl.play.engine import Report
from rl.play.gtp import Refused, WrongArguments
from rl.sgf import words

SPREAD = 1.96  # standard errors below the mean at which the bound of a win rate lies
INTERVAL = 1.0  # seconds, where the client names none
# Asked for by clients, and answered as far as we can: with nothing, as clients of KataGo must expect anyway.
MORE = ("movesownership", "movesownershipstdev", "ownershipstdev", "pvvisits", "pvedgevisits", "nocache")
NUMBER = re.compile("[0-9]{1,9}")
USAGE = (
    "[COLOR] [CENTISECONDS] [interval CENTISECONDS] [minmoves N] [maxmoves N]"
    " [ownership true|false] [rootInfo true|false]"
)


@dataclass(frozen=True)
class Wanted:
    side: int | None  # 0 or 1; None: whose turn it is
    interval: float = INTERVAL  # seconds
    min_moves: int = 0
    max_moves: int | None = None
    ownership: bool = False
    root: bool = False


def parse_wanted(arguments: list[str], sides: dict[str, int]) -> Wanted:
    """The arguments of an analyse command. Raises WrongArguments, or Refused for an option that is KataGo's alone."""
    words = [word.lower() for word in arguments]
    side = sides[words.pop(0)] if words and words[0] in sides else None
    centiseconds, least, most = round(100 * INTERVAL), 0, None
    asked = {"ownership": False, "rootinfo": False}
    if words and NUMBER.fullmatch(words[0]):
        centiseconds = int(words.pop(0))
    while words:
        match words:
            case ["interval", number, *words] if NUMBER.fullmatch(number):
                centiseconds = int(number)
            case ["minmoves", number, *words] if NUMBER.fullmatch(number):
                least = int(number)
            case ["maxmoves", number, *words] if NUMBER.fullmatch(number):
                most = int(number)
            case ["ownership" | "rootinfo" as name, "true" | "false" as given, *words]:
                asked[name] = given == "true"
            case [name, "true" | "false", *words] if name in MORE:
                pass
            case ["avoid" | "allow" as name, *_]:
                raise Refused(f"{name} is not supported: all legal moves are analysed")
            case _:
                raise WrongArguments
    return Wanted(side, max(centiseconds, 1) / 100, least, most, asked["ownership"], asked["rootinfo"])


def bound(mean: float, visits: int) -> float:
    """A lower bound of a mean in [0, 1] over ``visits`` evaluations.

    The search keeps no variances; none of numbers in [0, 1] is above mean · (1 - mean), which gives the widest bound.
    """
    return max(0.0, mean - SPREAD * float(np.sqrt(mean * (1 - mean) / max(visits, 1))))


def moves_line(game: Game, report: Report, wanted: Wanted, kata: bool, ownership: np.ndarray | None = None) -> str:
    """One line of analysis, best move first: by visits, then by the network's opinion.

    ``ownership`` [H·W] is for the side to move. ``kata``: rates as fractions, else in units of 1/10,000.
    """
    found, scores = report.analysis, report.scores
    searched = found.visits if found.visits.any() else found.policy
    ranked = sorted(np.flatnonzero(searched).tolist(), key=lambda a: (-found.visits[a], -found.policy[a]))
    more = [a for a in np.argsort(-found.prior).tolist() if found.prior[a] > 0 and a not in ranked]
    ranked += more[: max(0, wanted.min_moves - len(ranked))]
    if found.action in ranked:  # the move that would be played, which need not be the one with the most visits
        ranked.remove(found.action)
        ranked.insert(0, found.action)
    parts, names = [], words(game)
    for order, action in enumerate(ranked[: wanted.max_moves]):
        visits = int(found.visits[action])
        utility = _known(found.action_values[action], found.value)
        rate = _rate(utility if scores is None else _known(scores.values[action], scores.value))
        low, prior = bound(rate, visits), float(found.prior[action])
        line = " ".join(names[a] for a in found.lines.get(action, (action,)))
        name = names[action]
        if kata:
            # Before anything is known of the move itself, the position's, as for its rate.
            score = _score_fields(np.nan if scores is None else _known(scores.leads[action], scores.lead))
            parts.append(
                f"info move {name} visits {visits} utility {utility:.6f} winrate {rate:.6f}{score} prior {prior:.6f}"
                f" lcb {low:.6f} utilityLcb {utility - 2 * (rate - low):.6f} order {order} pv {line}"
            )
        else:
            rates = f"winrate {round(10_000 * rate)} prior {round(10_000 * prior)} lcb {round(10_000 * low)}"
            parts.append(f"info move {name} visits {visits} {rates} order {order} pv {line}")
    if kata and wanted.root:
        rate = _rate(found.value if scores is None else scores.value)
        score = _score_fields(np.nan if scores is None else scores.lead)
        visits = int(found.visits.sum()) + 1  # the position's own evaluation counts
        parts.append(f"rootInfo visits {visits} utility {found.value:.6f} winrate {rate:.6f}{score}")
    if kata and wanted.ownership and ownership is not None:
        parts.append("ownership " + " ".join(f"{owner:.4f}" for owner in ownership))
    return " ".join(parts)


def _known(number: float, otherwise: float) -> float:
    return otherwise if np.isnan(number) else float(number)


def _rate(value: float) -> float:
    return min(1.0, max(0.0, (value + 1) / 2))


def _score_fields(lead: float) -> str:
    """What KataGo says of a score; nothing of one that is not known (NaN)."""
    if np.isnan(lead):
        return ""
    return f" scoreMean {lead:.6f} scoreLead {lead:.6f} scoreSelfplay {lead:.6f}"


def board_of_numbers(game: Game, numbers: np.ndarray) -> str:
    """[H·W] as rows of the board: what GoGui calls a dboard."""
    height, width = game.board_shape
    return "\n".join(" ".join(f"{x:.3f}" for x in row) for row in numbers[: height * width].reshape(height, width))
