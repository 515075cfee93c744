"""Sample games of a run to step through: which ones, and every position of each as the page draws it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import envs
from envs.game import TO_MOVE, Game
from envs.view import planes_for
from rl.curves import Run
from rl.sgf import board_size, family, read_sgf
from rl.storage import Place, reaching

TRAINING = re.compile(r"(\d{8,})-\d+-(.+)")  # games/VERSION-NUMBER-OPPONENT, of an evaluation while training
OTHER = re.compile(r"(.+)-against-(.+)-\d{8}-\d{6}(-\d+)?")  # of fuseki eval
OPENING = re.compile(r"[Tt]he first (?:(\d+) moves were|move was) random")
A_MATCH = 3  # games of a match
MOST = 12  # games of a run
CELLS = 20_000  # of all positions of a game together; longer games are left out of the page
EMPTY, FIRST, SECOND = ".", "X", "O"
LOOKS = {"connect_four": "discs", "tic_tac_toe": "marks"}  # others by their family's rules


@dataclass(frozen=True)
class Sample:
    """One game. Positions are strings of EMPTY, FIRST and SECOND, row by row from the top left."""

    title: str
    first: str
    second: str
    result: str
    random_moves: int
    look: str  # discs, marks, go, othello, gomoku or hex: how the page draws the board; text: as the game renders it
    height: int
    width: int
    moves: list[str]
    positions: list[str] = field(default_factory=list)  # one more than moves
    last: list[int] = field(default_factory=list)  # cell that changed hands by each move and was empty; -1 none


def kept_versions(run: Run) -> list[int]:
    """Versions of the weights whose evaluation games are in the run's folder, the oldest first. Raises OSError."""
    folder = run.folder / "games"
    if not folder.is_dir():
        return []
    with reaching(folder):
        names = [entry.name for entry in folder.iterdir()]
    return sorted({int(match[1]) for name in names if (match := TRAINING.fullmatch(name))})


def samples(run: Run) -> list[Sample]:
    """Games of the run's first and last evaluation, and of the matches that ``fuseki eval`` has left there.

    Raises OSError, of a URL rl.storage.Unreachable, when they cannot be read.
    """
    folder = run.folder / "games"
    if not folder.is_dir():
        return []
    with reaching(folder):
        names = sorted(entry.name for entry in folder.iterdir())
    trained = [match for name in names if (match := TRAINING.fullmatch(name))]
    versions = list(dict.fromkeys(int(match[1]) for match in trained))
    wanted: list[tuple[str, Place, int]] = []
    for version in dict.fromkeys([*versions[-1:], *versions[:1]]):
        which = "last" if version == versions[-1] else "first"
        for match in trained:
            if int(match[1]) == version:
                title = f"{which} evaluation, update {version:,}"
                wanted.append((title, folder / match[0], A_MATCH if which == "last" else 1))
    for name in names[::-1]:
        if match := OTHER.fullmatch(name):
            wanted.append((f"{match[1]} against {match[2]}", folder / name, A_MATCH))
    games: list[Sample] = []
    for title, place, count in wanted:
        games += chosen(list(read_match(title, place)), count)
    return games[:MOST]


def chosen(games: Sequence[Sample], count: int) -> list[Sample]:
    """The first games of a match, and among them one of each result as far as there are some."""
    by_result = {game.result: game for game in reversed(games)}
    kept = list(by_result.values())[:count]
    return [*kept, *(game for game in games if game not in kept)][:count]


def read_match(title: str, folder: Place) -> Iterator[Sample]:
    """The games in a folder, in order; files that are no games of ours are passed by, and so are very long games."""
    with reaching(folder):
        names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith((".sgf", ".json")))
        texts = {name: (folder / name).read_text() for name in names}
    for name, text in texts.items():
        try:
            if name.endswith(".sgf"):
                yield from_sgf(title, text)
            else:
                yield from_json(title, json.loads(text))
        except (ValueError, KeyError, TypeError):
            continue


def from_sgf(title: str, text: str) -> Sample:
    """Raises ValueError when the text is no game of ours."""
    found = read_sgf(text)
    opening = OPENING.search(text)
    random_moves = int(opening[1] or 1) if opening else 0
    result = {"B": "first player won", "W": "second player won"}.get((found.result or "")[:1], "draw")
    told = f"{result} ({found.result})" if found.result and "+" in found.result[:-1] else result
    return sample(title, found.game, found.moves, found.names, told, random_moves)


def from_json(title: str, found: dict[str, Any]) -> Sample:
    """Raises ValueError or KeyError when the object is no game of ours."""
    result = {1: "first player won", 0: "draw", -1: "second player won"}[found["outcome"]]
    names = str(found["first"]), str(found["second"])
    return sample(title, envs.make(found["env"]), found["moves"], names, result, int(found.get("random_moves", 0)))


def sample(
    title: str, game: Game, moves: Sequence[int], names: tuple[str, str], result: str, random_moves: int
) -> Sample:
    """Every position of a game. Raises ValueError when a move is illegal, or the game too long to be shown."""
    look = LOOKS.get(game.env_id, family(game) or "text")
    height, width = game.board_shape
    if look == "go":
        height = width = board_size(game)
    if height * width * len(moves) > CELLS:
        raise ValueError(f"a game of {len(moves)} moves is too long to be shown")
    state = game.initial_state()
    positions, last = [position(game, state, look, height, width)], []
    for move in moves:
        mover = int(state[TO_MOVE])
        state = game.after(state, int(move))
        positions.append(position(game, state, look, height, width))
        last.append(newest(positions[-2], positions[-1], (FIRST, SECOND)[mover]) if look != "text" else -1)
    names_of = [game.action_names[int(m)] for m in moves]
    return Sample(title, *names, result, random_moves, look, height, width, names_of, positions, last)


def position(game: Game, state: np.ndarray, look: str, height: int, width: int) -> str:
    """The board by the first planes, which are the first and the second player's stones in every game of ours."""
    if look == "text":
        return game.render(state)
    own = 1 if look == "go" else 0  # Go's first plane is the board itself
    planes = planes_for(game, state, 0)[own : own + 2, :height, :width].reshape(2, -1)
    return "".join(FIRST if a else SECOND if b else EMPTY for a, b in planes.T)


def newest(before: str, after: str, stone: str) -> int:
    """The cell that was empty and now holds the mover's stone; -1 after a pass."""
    return next((i for i, (a, b) in enumerate(zip(before, after)) if a == EMPTY and b == stone), -1)
