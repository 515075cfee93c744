"""Games of Go as SGF (file format 4, game 1): written for other programs, read from them. Needs sgfmill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import envs
from envs.game import Game

COLOURS = ("b", "w")
MISSING = "SGF needs sgfmill: pip install 'fuseki[sgf]'"


@dataclass(frozen=True)
class SgfGame:
    """A game read from SGF. Players alternate in ``moves``: where the file has two of one colour, a pass between."""

    game: Game
    moves: list[int]
    names: tuple[str, str]  # of the first player and the second
    result: str  # as in the file: "B+3.5", "W+R", "0", or "" where it tells none


def write_sgf(
    game: Game, moves: Sequence[int], *, names: tuple[str, str], result: str, opening: int = 0, comment: str = ""
) -> str:
    """A game of Go as SGF text. The first ``opening`` moves were not the players' own, which a comment says.

    Raises ValueError for another game, or where sgfmill is missing.
    """
    if game.territory is None:
        raise ValueError(f"{game.title} cannot be written as SGF, only Go can")
    try:
        from sgfmill import sgf
    except ImportError as error:
        raise ValueError(MISSING) from error
    size = game.board_shape[0]
    record = sgf.Sgf_game(size, encoding="UTF-8")
    root = record.get_root()
    properties = {"KM": komi_of(game), "RU": "Tromp-Taylor", "PB": names[0], "PW": names[1], "RE": result, "C": comment}
    for name, value in properties.items():
        if value != "":
            root.set(name, value)
    for ply, action in enumerate(moves):
        point = None if action == size * size else (size - 1 - action // size, action % size)
        node = record.extend_main_sequence()
        node.set_move(COLOURS[ply % 2], point)
        if ply + 1 == opening:
            node.set("C", "here the players take over")
    return record.serialise().decode()


def komi_of(game: Game) -> float:
    """Komi of a game with territory: what the second player is ahead by on the empty board."""
    return -float(game.territory(game.initial_state(), np.zeros(game.board_shape[0] * game.board_shape[1], np.int8)))


def read_sgf(text: str) -> SgfGame:
    """The main line of an SGF game of Go. Raises ValueError, in one sentence, for anything else."""
    try:
        from sgfmill import sgf
    except ImportError as error:
        raise ValueError(MISSING) from error
    try:
        record = sgf.Sgf_game.from_string(text)
        root = record.get_root()
        played = [node.get_move() for node in record.get_main_sequence()]
        black, white, empty = root.get_setup_stones()
        options = {"komi": record.get_komi()} if root.has_property("KM") else {}
    except ValueError as error:
        raise ValueError(f"not an SGF game of Go: {str(error) or 'it holds an invalid value'}") from error
    if white or empty or any(node.has_setup_stones() for node in record.get_main_sequence()[1:]):
        raise ValueError("the SGF sets up stones other than a handicap, which cannot be played from")
    game = envs.make(f"go{record.get_size()}", **options)
    size = record.get_size()
    moves: list[int] = []
    state = game.initial_state()
    for colour, point in [*(("b", stone) for stone in sorted(black)), *played]:
        if colour is None:
            continue
        if COLOURS[len(moves) % 2] != colour:
            state = game.after(state, size * size)
            moves.append(size * size)
        moves.append(size * size if point is None else (size - 1 - point[0]) * size + point[1])
        state = game.after(state, moves[-1])
    names = (record.get_player_name("b") or "", record.get_player_name("w") or "")
    return SgfGame(game, moves, names, str(root.get("RE")) if root.has_property("RE") else "")
