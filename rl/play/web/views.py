"""Games, positions and analyses as a page draws them: plain JSON values."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

import envs
from envs.connect_four import play as play_connect_four
from envs.game import ONGOING, STATUS, Game
from envs.tic_tac_toe import play as play_tic_tac_toe
from rl.agent import Analysis
from rl.play.engine import Report
from rl.play.marks import marks, placed, shape_of
from rl.play.scoring import dead_chains, margin, stones
from rl.sgf import family, komi, result_of

COORDINATE = re.compile(r"([A-Za-z]+)([0-9]+)")
SIDES = {
    "go": ("Black", "White"),
    "gomoku": ("Black", "White"),
    "othello": ("Black", "White"),
    "hex": ("Red", "Blue"),
    "connect_four": ("Yellow", "Red"),
    "tic_tac_toe": ("X", "O"),
}
LINES = {"connect_four": 4, "tic_tac_toe": 3, "gomoku": 5}  # stones in a row that win
SHOWN_MOVES = 12  # candidates of an analysis that are told with their lines
LONGEST_LINE = 12


def kind_of(game: Game) -> str:
    """Which rules these are, where the page knows them; "" for a game of the user's own."""
    if game.play is play_connect_four:
        return "connect_four"
    if game.play is play_tic_tac_toe:
        return "tic_tac_toe"
    return family(game) or ""


def sides_of(game: Game) -> tuple[str, str]:
    """What the two players are called."""
    return SIDES.get(kind_of(game), ("First", "Second"))


def game_view(game: Game) -> dict[str, Any]:
    """What stays the same throughout a game. ``board`` says how it is drawn:

    "go", "othello", "hex", "cells", "columns" (moves are columns into which discs fall), or "text" where all that is
    known of a position is the text that the game draws.
    """
    rows, columns = shape_of(game)
    kind = kind_of(game)
    drawn = {"go": "go", "gomoku": "go", "othello": "othello", "hex": "hex"}
    board = drawn.get(kind, {"points": "cells", "columns": "columns"}.get(game.action_layout, "text"))
    if marks(game, game.initial_state()) is None:
        board = "text"
    across, down = _labels(game, rows, columns)
    return {
        "kind": kind,
        "board": board,
        "title": game.title,
        "env": game.env_id,
        "rows": rows,
        "columns": columns,
        "stride": game.board_shape[1],  # action of the point (r, c): r · stride + c
        "points": board != "text" and game.action_layout == "points",
        # Actions below this number are chosen on the board, the others (a pass, a swap) beside it.
        "cells": {"points": game.board_shape[0] * game.board_shape[1], "columns": columns}.get(game.action_layout, 0),
        "sides": list(sides_of(game)),
        "names": list(game.action_names),
        "across": across,
        "down": down,
        "size": rows if kind in envs.FAMILIES else None,
        "komi": komi(game),
        "sgf": kind in ("go", "gomoku", "othello", "hex"),
    }


def _labels(game: Game, rows: int, columns: int) -> tuple[list[str], list[str]]:
    """Coordinates along the top or bottom and along the side, as the names of the actions have them."""
    if game.action_layout == "columns":
        return list(game.action_names[:columns]), []
    if game.action_layout != "points":
        return [], []
    stride = game.board_shape[1]
    across = [COORDINATE.fullmatch(game.action_names[c]) for c in range(columns)]
    down = [COORDINATE.fullmatch(game.action_names[r * stride]) for r in range(rows)]
    if not all(across) or not all(down):
        return [], []
    return [found[1] for found in across if found], [found[2] for found in down if found]


def position_view(game: Game, moves: list[int]) -> dict[str, Any]:
    """The position after ``moves``, which are legal."""
    state = game.replay(moves)
    board = marks(game, state)
    before = marks(game, game.replay(moves[:-1])) if moves else None
    last = placed(before, board) if board is not None and before is not None else None
    legal = [int(a) for a in np.flatnonzero(game.legal_mask(state))]
    return {
        "ply": len(moves),
        "marks": board,
        "text": None if board is not None else game.render(state),
        "last": list(last) if last else None,
        "won": _winning_line(game, state, board, last),
        "legal": legal,
    }


def _winning_line(
    game: Game, state: np.ndarray, board: list[str] | None, last: tuple[int, int] | None
) -> list[list[int]]:
    """The stones in a row that the last one has completed."""
    wanted = LINES.get(kind_of(game), 0)
    if not wanted or state[STATUS] == ONGOING or board is None or last is None:
        return []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        line = [list(last)]
        for sign in (1, -1):
            r, c = last[0] + sign * down, last[1] + sign * right
            while 0 <= r < len(board) and 0 <= c < len(board[0]) and board[r][c] == board[last[0]][last[1]]:
                line.append([r, c])
                r, c = r + sign * down, c + sign * right
        if len(line) >= wanted:
            return line
    return []


def result_view(game: Game, state: np.ndarray, winner: int | None, resigned: int | None) -> dict[str, Any]:
    """How an ended game ended."""
    sides = sides_of(game)
    if resigned is not None:
        return {"winner": winner, "text": f"{sides[resigned]} resigns. {sides[1 - resigned]} wins."}
    if winner is None:
        return {"winner": None, "text": "The game is a draw."}
    text = f"{sides[winner]} wins."
    if game.territory is not None:
        points = float(result_of(game, state)[2:])
        text = f"{sides[winner]} wins by {points:g} point{'s' if points != 1 else ''}."
    return {"winner": winner, "text": text}


def sgf_result(game: Game, state: np.ndarray, resigned: int | None) -> str | None:
    """The same as SGF has it; None while the game goes on."""
    if resigned is not None:
        return f"{'WB'[resigned]}+R"
    return None if state[STATUS] == ONGOING else result_of(game, state)


def count_view(game: Game, state: np.ndarray, ownership: np.ndarray | None) -> dict[str, Any] | None:
    """Go as people count it: without the chains that the ownership head calls dead. None without that head."""
    if game.territory is None or ownership is None:
        return None
    dead = dead_chains(stones(game, state), ownership)
    ahead = margin(game, state, dead)
    side = sides_of(game)[0 if ahead > 0 else 1]
    text = f"{side} is ahead by {abs(ahead):g}" if ahead else "Level"
    return {"text": text, "dead": [[r, c] for chain in dead for r, c in chain]}


def analysis_view(game: Game, report: Report | Analysis, side: int) -> dict[str, Any]:
    """What was found of a position. Values and chances are for the first player, so that a game's make one curve;
    those of single moves are for ``side``, the side to move."""
    found = report.analysis if isinstance(report, Report) else report
    scores = report.scores if isinstance(report, Report) else None
    sign = 1 if side == 0 else -1
    value = found.value if scores is None else scores.value
    values = found.action_values if scores is None else scores.values
    draw = float(found.wdl[1])
    # With a score utility in it the network's own chances are shifted; those that belong to ``value`` are shown.
    wdl = [(1 - draw + value) / 2, draw, (1 - draw - value) / 2]
    wdl = [round(min(max(p, 0.0), 1.0), 4) for p in wdl]
    order = sorted(range(len(found.policy)), key=lambda a: (-found.visits[a], -found.policy[a]))
    order = [a for a in order if found.visits[a] > 0 or found.policy[a] >= 0.005]
    # What the agent would play stands first, whatever the visits.
    order = [found.action, *(a for a in order if a != found.action)]
    return {
        "simulations": found.simulations,
        "action": found.action,
        "value": round(sign * value, 4),
        "wdl": wdl if side == 0 else wdl[::-1],
        "lead": None if scores is None else round(sign * scores.lead, 2),
        "proven": found.proven,
        "line": [int(a) for a in found.principal_variation[:LONGEST_LINE]],
        "policy": {a: round(float(p), 4) for a, p in enumerate(found.policy) if p >= 0.0005},
        "prior": {a: round(float(p), 4) for a, p in enumerate(found.prior) if p >= 0.0005},
        "visits": {a: int(n) for a, n in enumerate(found.visits) if n},
        "moves": [
            {
                "action": a,
                "policy": round(float(found.policy[a]), 4),
                "prior": round(float(found.prior[a]), 4),
                "visits": int(found.visits[a]),
                "value": None if np.isnan(values[a]) else round(float(values[a]), 4),
                "lead": None if scores is None or np.isnan(scores.leads[a]) else round(float(scores.leads[a]), 2),
                "line": [int(b) for b in found.lines.get(a, (a,))[:LONGEST_LINE]],
            }
            for a in order[:SHOWN_MOVES]
        ],
    }
