"""Games as SGF, the Smart Game Format FF[4], read and written with sgfmill: Go, Othello, Gomoku and Hex.

The grammar, escapes and Go's points are sgfmill's. What each game's moves look like follows
https://www.red-bean.com/sgf/: Go's points are two letters, column then row from the top left; Hex's a letter and a
number from the top left, and the swap is "swap-pieces" (ours mirrors the stone); no page exists for Othello (GM[2])
and Gomoku (GM[4]), whose files in the wild use Go's points, so those are written, and Othello's usual d3 is read too.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from sgfmill import sgf_grammar
from sgfmill.sgf_properties import Presenter, interpret_go_point, serialise_go_point

import envs
from envs.game import ONGOING, STATUS, TO_MOVE, Game, outcome
from envs.go import play as play_go
from envs.gomoku import play as play_gomoku
from envs.hex import play as play_hex
from envs.othello import SIZE as OTHELLO_SIZE
from envs.othello import play as play_othello

NUMBERS = {"go": 1, "othello": 2, "gomoku": 4, "hex": 11}  # of the property GM
RULES = {"go": play_go, "othello": play_othello, "gomoku": play_gomoku, "hex": play_hex}
DEFAULT_SIZE = {"go": 19, "othello": OTHELLO_SIZE, "gomoku": 15, "hex": 11}
COLOURS = ("B", "W")  # of the first and the second player
SIDES = ("black", "white")  # the same in words, as GTP has them
SUICIDE_RULES = ("nz", "goe", "tromp-taylor")  # values of RU under which several stones may commit suicide
SETUP = ("AB", "AW", "AE")
WORDS = {"swap": "swap-pieces"}  # names of ours that files and programs know by another


@dataclass(frozen=True)
class SgfGame:
    """The main line of an SGF game."""

    game: Game
    numbers: tuple[int, ...]  # of the file's move that each of ``moves`` is or stands before; 0 for what is set up
    moves: tuple[int, ...]  # from the initial position; stones that are set up are moves too, with passes between them
    names: tuple[str, str]  # of the first and the second player; "" where the file has none
    result: str | None  # as the file has it: "B+3.5", "W+R", "0", ...


def family(game: Game) -> str | None:
    """ "go", "othello", "gomoku" or "hex" where the game has those rules, else None: it has no SGF."""
    return next((name for name, rules in RULES.items() if game.play is rules), None)


def words(game: Game) -> list[str]:
    """What files and programs call each action."""
    return [WORDS.get(name, name) for name in game.action_names]


def actions_by_word(game: Game) -> dict[str, int]:
    """The action for each word, in lower case, that files and programs or we ourselves have for one."""
    return {name.lower(): action for names in (game.action_names, words(game)) for action, name in enumerate(names)}


def board_size(game: Game) -> int:
    """Lines of a square board; Go's may be smaller than the array of its states. Raises ValueError when not square."""
    height, width = game.board_shape
    if height != width:
        raise ValueError(f"{game.env_id} has no square board: it has {height} rows and {width} columns")
    return game.params[1] if family(game) == "go" else height


def komi(game: Game) -> float | None:
    """Points that the second player has in advance; None in a game that has no such thing."""
    return game.params[2] / 2 if family(game) == "go" else None


def result_of(game: Game, state: np.ndarray) -> str:
    """An ended game's result as SGF's RE has it: "B+3.5" where points are counted, "W+" elsewhere, "0" for a draw."""
    won = outcome(state)
    if won == 0:
        return "0"
    margin = f"{abs(game.territory(state, np.zeros(_cells(game), np.int8))):g}" if game.territory is not None else ""
    return f"{COLOURS[won < 0]}+{margin}"


def _cells(game: Game) -> int:
    return game.board_shape[0] * game.board_shape[1]


def write_sgf(
    game: Game,
    moves: Sequence[int],
    *,
    names: tuple[str, str],
    result: str | None,
    opening: int = 0,
    comment: str = "",
) -> str:
    """One game as SGF text; ``names`` are the first and the second player's.

    The first ``opening`` moves were random, which a comment at the last of them says; ``comment`` belongs to the whole
    game. Raises ValueError when a move is illegal or the game has no SGF number.
    """
    kind = family(game)
    if kind is None:
        raise ValueError(f"{game.env_id} has no SGF: games that have are {', '.join(NUMBERS)}")
    root = {
        "FF": "4",
        "GM": str(NUMBERS[kind]),
        "CA": "UTF-8",
        "AP": f"Fuseki:{_version()}",
        "SZ": str(board_size(game)),
        "PB": names[0],
        "PW": names[1],
    }
    if kind == "go":
        root |= {"KM": f"{komi(game):g}", "RU": "NZ" if game.params[3] else "Chinese"}
    elif kind == "gomoku":
        root |= {"RU": "standard" if game.params[1] else "freestyle"}
    elif kind == "hex":
        root |= {"RU": "swap-pieces" if game.params[1] else "no swap"}
    if result is not None:
        root |= {"RE": result}
    if comment:
        root |= {"C": comment}
    nodes = [root]
    state = game.initial_state()
    for number, move in enumerate(moves, 1):
        node = {COLOURS[state[TO_MOVE]]: _point(game, kind, int(move))}
        if number == opening:
            node |= {"C": f"The first {opening} moves were random." if opening > 1 else "The first move was random."}
        nodes.append(node)
        state = game.after(state, int(move))
    tree = sgf_grammar.Coarse_game_tree()
    tree.sequence = [{name: [sgf_grammar.escape_text(v.encode())] for name, v in node.items()} for node in nodes]
    return sgf_grammar.serialise_game_tree(tree).decode()


def _version() -> str:
    try:
        return version("fuseki")
    except PackageNotFoundError:  # run from a source tree
        return "0"


def _point(game: Game, kind: str, action: int) -> str:
    """A legal action as SGF writes it."""
    columns = game.board_shape[1]
    if kind == "hex":
        return words(game)[action]
    size = board_size(game)
    cell = None if action == _cells(game) else (size - 1 - action // columns, action % columns)  # rows from the bottom
    return serialise_go_point(cell, size).decode()


def read_sgf(text: str | bytes) -> SgfGame:
    """The first game in ``text``: its main line, replayed by our rules.

    Bytes are decoded as the file's CA says. Variations and comments are left out. In Go, stones that are set up at the
    beginning become moves, and passes stand between two moves of one side. Raises ValueError, in one sentence, when the
    text is no SGF, the game is none of ours, or a move breaks our rules.
    """
    try:
        tree = sgf_grammar.parse_sgf_game(text.encode() if isinstance(text, str) else text)
    except ValueError as error:
        raise ValueError(f"this is no readable SGF: {error}") from error
    nodes = list(sgf_grammar.main_sequence_iter(tree))
    root = _Root(nodes[0], "UTF-8" if isinstance(text, str) else None)
    movers = [colour for node in nodes for colour in COLOURS if colour in node]
    passes = sum(a == b for a, b in itertools.pairwise(["W", *movers]))  # that are left out
    game = root.game(len(movers) + passes, any(name in node for node in nodes for name in SETUP))
    found = list(_moves(game, root.kind, nodes, root.encoding))
    numbers, moves = (tuple(column) for column in zip(*found, strict=True)) if found else ((), ())
    return SgfGame(game, numbers, moves, (root.text("PB") or "", root.text("PW") or ""), root.text("RE") or None)


class _Root:
    """The first node's properties."""

    def __init__(self, node: dict[str, list[bytes]], encoding: str | None):
        self.node = node
        self.encoding = encoding or _codec(node)
        number = self.text("GM") or "1"
        kinds = {str(n): kind for kind, n in NUMBERS.items()}
        if number not in kinds:
            known = ", ".join(f"{n} ({kind})" for n, kind in kinds.items())
            raise ValueError(f"SGF: GM[{number}] is no game of ours; known are {known}")
        self.kind = kinds[number]

    def text(self, name: str) -> str | None:
        """A property's value, None where it is absent."""
        values = self.node.get(name)
        return sgf_grammar.simpletext_value(values[0]).decode(self.encoding, "replace").strip() if values else None

    def size(self) -> int:
        value = self.text("SZ") or str(DEFAULT_SIZE[self.kind])
        found = re.fullmatch(r"([0-9]{1,3})(?::([0-9]{1,3}))?", value)
        if not found or found[2] not in (None, found[1]):
            raise ValueError(f"SGF: SZ[{value}] is no square board's size")
        return int(found[1])

    def game(self, moves: int, sets_up: bool) -> Game:
        """The game that the properties describe, long enough for so many moves, and stones that are set up."""
        size, rules = self.size(), (self.text("RU") or "").lower()
        try:
            if self.kind == "othello":
                if size != OTHELLO_SIZE:
                    raise ValueError(f"othello is played on {OTHELLO_SIZE} lines, not {size}")
                return envs.make("othello")
            if self.kind == "gomoku":
                return envs.make(f"gomoku{size}", exact=rules == "standard")
            if self.kind == "hex":
                return envs.make(f"hex{size}", swap=rules != "no swap")
            points = self.text("KM") or "0"
            if not re.fullmatch(r"[+-]?[0-9]{1,4}(\.[0-9]*)?", points):
                raise ValueError(f"KM[{points}] is no number of points")
            set_up = 2 * size * size if sets_up else 0  # stones and passes, at most
            longest = None if moves + set_up <= 3 * size * size else moves + set_up
            return envs.make(f"go{size}", komi=float(points), suicide=rules in SUICIDE_RULES, max_moves=longest)
        except ValueError as error:
            raise ValueError(f"SGF: {error}") from error


def _codec(node: dict[str, list[bytes]]) -> str:
    """The encoding that CA names; UTF-8 where it names none that Python knows."""
    name = node.get("CA", [b"UTF-8"])[0].decode("ascii", "replace").strip()
    try:
        "".encode(name)
    except (LookupError, ValueError):
        return "UTF-8"
    return name


def _moves(game: Game, kind: str, nodes: list[dict[str, list[bytes]]], encoding: str) -> Iterator[tuple[int, int]]:
    """Number (see SgfGame) and action of the main line. Raises ValueError at the first that cannot be played."""
    state, number, set_up = game.initial_state(), 0, False
    passing = _cells(game)

    def play(action: int, what: str) -> tuple[int, int]:
        nonlocal state
        try:
            state = game.after(state, action)
        except ValueError as error:
            raise ValueError(f"SGF: {what}: {error}") from error
        return number, action

    for node in nodes:
        if any(name in node for name in SETUP):
            if kind != "go" or number > 0 or set_up or "AE" in node:
                raise ValueError("SGF: stones are set up or taken off, which is read only before the first move of Go")
            set_up = True
            for mover, action in _setup(game, node, encoding):
                if state[TO_MOVE] != mover:
                    yield play(passing, "a pass between stones that are set up")
                yield play(action, f"setting up {game.action_names[action]}")
            value = sgf_grammar.simpletext_value(node["PL"][0]).decode("ascii", "replace") if "PL" in node else ""
            turn = value.strip().upper()
            if turn in COLOURS and state[STATUS] == ONGOING and state[TO_MOVE] != COLOURS.index(turn):
                yield play(passing, "a pass before the side to move")
        for name in (n for n in node if n in COLOURS):
            number += 1
            value = sgf_grammar.simpletext_value(node[name][0]).decode("ascii", "replace").strip()
            what = f"move {number} ({name}[{value}])"
            if kind == "hex" and value.lower() in ("resign", "forfeit"):
                return
            action = _action(game, kind, value, what)
            over, mover = state[STATUS] != ONGOING, COLOURS.index(name)
            if over and action == passing:
                continue  # a third pass, as some servers ask for
            if not over and state[TO_MOVE] != mover:
                if kind != "go":
                    raise ValueError(f"SGF: {what} is out of turn: it is {SIDES[1 - mover]}'s move")
                if action == passing:
                    continue  # it changes nothing
                yield play(passing, f"a pass before {what}")  # as the format allows one side to move twice
            yield play(action, what)


def _setup(game: Game, node: dict[str, list[bytes]], encoding: str) -> Iterator[tuple[int, int]]:
    """Mover and action for each stone that AB and AW set up, in turns as far as they go.

    As moves they take nothing off: a chain that is not yet whole has a liberty where its next stone will be.
    """
    black, white = (_points(game, node.get(name, []), encoding) for name in ("AB", "AW"))
    for one, other in itertools.zip_longest(black, white):
        if one is not None:
            yield 0, one
        if other is not None:
            yield 1, other


def _points(game: Game, values: list[bytes], encoding: str) -> list[int]:
    """Actions of points to set up, lists such as aa:cc included, from the top left."""
    size = board_size(game)
    try:
        points = Presenter(size, encoding).interpret("AB", values) if values else set()
    except ValueError as error:
        raise ValueError(f"SGF: AB or AW holds what is no point of a {size}×{size} board") from error
    return sorted((size - 1 - row) * size + column for row, column in points)


def _action(game: Game, kind: str, value: str, what: str) -> int:
    """The action that a move's value names; legality is for the rules to say."""
    names = actions_by_word(game)
    if kind == "hex":
        if value.lower() in names:
            return names[value.lower()]
    elif kind == "othello" and value.lower() in names:
        return names[value.lower()]
    else:
        size = board_size(game)
        try:
            cell = interpret_go_point(value.encode(), size)
        except ValueError:
            cell = (-1, -1)
        if cell is None and "pass" in names:
            return _cells(game)
        if cell is not None and cell[0] >= 0:
            return (size - 1 - cell[0]) * size + cell[1]
    raise ValueError(f"SGF: {what} is no move of {game.title}")
