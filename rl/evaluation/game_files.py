"""The games of a match as files: SGF where the game has it, else JSON."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envs.game import Game
from rl.evaluation.arena import Match, MatchGame
from rl.sgf import COLOURS, family, result_of, write_sgf

log = logging.getLogger(__name__)

# How SGF's RE says what ended a game early.
ENDINGS = {"resigned": "R", "time-out": "T"}
FORFEIT = "F"


def match_files(game: Game, match: Match, a: str, b: str) -> dict[str, str]:
    """Name and content of a file for each game between the players named a and b."""
    digits = len(str(len(match.games)))
    suffix, text = ("sgf", sgf_text) if family(game) else ("json", json_text)
    files = {}
    for number, played in enumerate(match.games, 1):
        names = (a, b) if played.a_first else (b, a)
        files[f"{number:0{digits}d}.{suffix}"] = text(game, played, names)
    return files


def sgf_text(game: Game, played: MatchGame, names: tuple[str, str]) -> str:
    """One ended game as SGF; its comment tells how it ended."""
    if played.forfeit is None:
        result = result_of(game, game.replay(played.moves))
    else:
        result = f"{COLOURS[played.outcome == -1]}+{ENDINGS.get(played.forfeit.kind, FORFEIT)}"
    return write_sgf(
        game, played.moves, names=names, result=result, opening=len(played.opening), comment=f"Ending: {played.ending}"
    )


def json_text(game: Game, played: MatchGame, names: tuple[str, str]) -> str:
    """One ended game as a JSON object: outcome 1 is a win of the first player, -1 of the second, 0 a draw."""
    content: dict[str, Any] = {
        "env": game.env_id,
        "first": names[0],
        "second": names[1],
        "outcome": played.outcome,
        "ending": played.ending,
        "random_moves": len(played.opening),
        "moves": played.moves,
        "move_names": [game.action_names[a] for a in played.moves],
    }
    return json.dumps(content) + "\n"


def save_match(game: Game, match: Match, a: str, b: str, parent: Path) -> str | None:
    """Write the games between the players named a and b into a new folder in ``parent``; returns the folder.

    None when that fails, with a warning: a result of hours is worth more than its games.
    """
    try:
        folder = match_folder(parent, a, b)
        write_files(folder, match_files(game, match, a, b))
    except OSError as error:
        log.warning("the games cannot be saved in %r: %s", str(parent), error.strerror or error)
        return None
    return str(folder)


def match_folder(parent: Path, a: str, b: str) -> Path:
    """A new folder in ``parent`` for one match, named after the players and the time. Raises OSError."""
    stem = f"{file_name(a)}-against-{file_name(b)}-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in range(1, 1000):
        folder = parent / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(f"{stem!r} and 998 more exist in {str(parent)!r}")


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write the texts into an existing folder. Raises OSError."""
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", errors="replace")  # a path may hold any byte


def file_name(text: str) -> str:
    """A player's name as part of a file name: no separators, at most 60 characters, never empty."""
    return re.sub(r"[^\w.=]+", "-", text).strip(".-")[-60:].lstrip(".-") or "player"
