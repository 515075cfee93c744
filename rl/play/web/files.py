"""Games in and out: SGF where the game has it, and JSON for every game, with the keys that a match's files have."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import envs
from envs.game import Game
from rl.play.web.agents import own_option
from rl.sgf import family, komi, read_sgf


@dataclass(frozen=True)
class Read:
    """A game from a file: on which board of the same rules it was played, and its moves, which need not be legal."""

    options: dict[str, Any]  # size and komi, where the game has them
    moves: tuple[int, ...]


def read_game(text: str, game: Game) -> Read:
    """A game by the rules of ``game``. Raises ValueError, in one sentence, where the text holds none."""
    return _read_json(text, game) if text.lstrip()[:1] == "{" else _read_sgf(text, game)


def _read_sgf(text: str, game: Game) -> Read:
    read = read_sgf(text)
    if family(read.game) != family(game):
        raise ValueError(f"the file holds a game of {read.game.title}, and this is {game.title}")
    options = {name: own_option(read.game, name) for name in ("size", "komi")}
    return Read({name: value for name, value in options.items() if value is not None}, read.moves)


def _read_json(text: str, game: Game) -> Read:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"this is no readable JSON: {error}") from error
    env, moves = content.get("env"), content.get("moves")
    if not isinstance(env, str) or not isinstance(moves, list):
        raise ValueError("a game in JSON needs 'env', the name of the game, and 'moves', a list of numbers")
    # A name is compared and never made into a game: it could name a file.
    kind = family(game)
    sized = re.fullmatch(rf"{kind}([1-9][0-9]?)", env) if kind in envs.FAMILIES else None
    if env != game.env_id and not sized:
        raise ValueError(f"the file holds a game of {env[:60]!r}, and this is {game.env_id}")
    if not all(type(move) is int and 0 <= move < 2**31 for move in moves):
        raise ValueError("'moves' must be whole numbers from 0 on")
    options: dict[str, Any] = {"size": int(sized[1])} if sized else {}
    points = content.get("komi")
    if points is not None and komi(game) is not None:
        if type(points) not in (int, float):
            raise ValueError("'komi' must be a number")
        try:
            options["komi"] = float(points)
        except OverflowError:
            raise ValueError("'komi' is too large a number") from None
    return Read(options, tuple(moves))


def write_json(game: Game, moves: Sequence[int], names: tuple[str, str], winner: int | None, over: bool) -> str:
    """``outcome`` is 1 for a win of the first player, -1 of the second, 0 for a draw, null while the game goes on."""
    content: dict[str, Any] = {
        "env": game.env_id,
        "first": names[0],
        "second": names[1],
        "outcome": {0: 1, 1: -1, None: 0}[winner] if over else None,
        "moves": list(moves),
        "move_names": [game.action_names[a] for a in moves],
    }
    if (points := komi(game)) is not None:
        content["komi"] = points
    return json.dumps(content) + "\n"
