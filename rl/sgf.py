"""Games as SGF, the Smart Game Format FF[4], read and written with sgfmill: Go, Othello, Gomoku and Hex.

The grammar, escapes and Go's points are sgfmill's. What each game's moves look like follows
https://www.red-bean.com/sgf/: Go's points are two letters, column then row from the top left; Hex's a letter and a
number from the top left, and the swap is "swap-pieces" (ours mirrors the stone); no page exists for Othello (GM[2])
and Gomoku (GM[4]), whose files in the wild use Go's points, so those are written, and Othello's usual d3 is read too.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from sgfmill import sgf_grammar
from sgfmill.sgf_properties import Presenter, interpret_go_point, serialise_go_point

import envs
from envs.game import ONGOING, STATUS, TO_MOVE, Game, outcome
from envs.go import forget_pass
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
IN_STONES = (2.75, 3.25, 3.75)  # komi as Chinese counting has it, half of the points
HUNDREDTHS = (275, 325, 375, 550, 650, 750)  # komi as Fox and others write it
WORDS = {"swap": "swap-pieces"}  # names of ours that files and programs know by another


@dataclass(frozen=True)
class SgfGame:
    """The main line of an SGF game."""

    game: Game
    numbers: tuple[int, ...]  # of the file's move that each of ``moves`` is or stands before; 0 for what is set up
    moves: tuple[int, ...]  # from the initial position; stones that are set up are moves too, with passes between them
    given: tuple[bool, ...]  # which of ``moves`` are passes that only give the other side the turn (``after_turn``)
    names: tuple[str, str]  # of the first and the second player; "" where the file has none
    result: str | None  # as the file has it: "B+3.5", "W+R", "0", ...


def family(game: Game) -> str | None:
    """ "go", "othello", "gomoku" or "hex" where the game has those rules, else None: it has no SGF."""
    return next((name for name, rules in RULES.items() if game.play is rules), None)


def after_turn(game: Game, state: np.ndarray, action: int, given: bool) -> np.ndarray:
    """The position after a move, or after a pass that only gives the other side the turn: it counts towards no end.

    Raises ValueError when the move is illegal.
    """
    state = game.after(state, action)
    if given and family(game) == "go":
        forget_pass(state)
    return state


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
    tree.sequence = [{name: [_escaped(value)] for name, value in node.items()} for node in nodes]
    return sgf_grammar.serialise_game_tree(tree).decode()


def _escaped(text: str) -> bytes:
    return sgf_grammar.escape_text(text.encode(errors="replace"))  # a player's path may hold bytes that are no UTF-8


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
    beginning become moves, passes are put in between two moves of one side, and passes after which the game went on
    with the same side's move, or that would have ended it before its time, are left out. Raises ValueError, in one
    sentence, when the text is no SGF, the game is none of ours, or a move breaks our rules.
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
    line = _MainLine(game, root.kind, root.encoding)
    for node in nodes:
        if not line.add(node):
            break
    names = root.text("PB") or "", root.text("PW") or ""
    return SgfGame(game, *line.columns(), names, root.text("RE") or None)


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

    def komi(self) -> float:
        """Points that KM tells, as several servers write them. Raises ValueError where it is no number."""
        text = self.text("KM") or "0"
        if not re.fullmatch(r"[+-]?[0-9]{1,4}([.,][0-9]*)?", text):
            raise ValueError(f"KM[{text}] is no number of points")
        points = float(text.replace(",", "."))
        if points in HUNDREDTHS:
            points /= 100
        return 2 * points if points in IN_STONES else points

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
            set_up = 2 * size * size if sets_up else 0  # stones and passes, at most
            longest = None if moves + set_up <= 3 * size * size else moves + set_up
            return envs.make(f"go{size}", komi=self.komi(), suicide=rules in SUICIDE_RULES, max_moves=longest)
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


class _MainLine:
    """The moves of a file's nodes, one node after the other."""

    def __init__(self, game: Game, kind: str, encoding: str):
        self.game, self.kind, self.encoding = game, kind, encoding
        self.passing = _cells(game)
        self.number = 0  # of the file's move
        self.states = [game.initial_state()]
        self.line: list[tuple[int, int, bool]] = []  # number, action and whether it only gives the turn
        self.stones: tuple[list[int], list[int]] = [], []  # set up before the first move: black, white
        self.turn: int | None = None  # whose turn it is after that, where the file says so

    def columns(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[bool, ...]]:
        """Numbers, actions and turns given."""
        if not self.number:
            self._set_up()
        return tuple(n for n, *_ in self.line), tuple(a for _, a, _ in self.line), tuple(g for *_, g in self.line)

    def add(self, node: dict[str, list[bytes]]) -> bool:
        """Take the node's stones and moves in; False where the game ends with it.

        Raises ValueError at the first that cannot be played.
        """
        if any(name in node for name in SETUP):
            if self.kind != "go" or self.number > 0 or "AE" in node:
                raise ValueError("SGF: stones are set up or taken off, which is read only before the first move of Go")
            for name, side in zip(("AB", "AW"), self.stones, strict=True):
                side.extend(_points(self.game, node.get(name, []), self.encoding))
        if self.kind == "go" and not self.number and "PL" in node:
            turn = self._text(node, "PL").upper()
            self.turn = COLOURS.index(turn) if turn in COLOURS else self.turn
        for name in (n for n in node if n in COLOURS):
            if not self.number:
                self._set_up()
            self.number += 1
            value = self._text(node, name)
            if self.kind == "hex" and value.lower() in ("resign", "forfeit"):
                return False
            self._move(COLOURS.index(name), value, f"move {self.number} ({name}[{value}])")
        return True

    def _text(self, node: dict[str, list[bytes]], name: str) -> str:
        return sgf_grammar.simpletext_value(node[name][0]).decode("ascii", "replace").strip()

    @property
    def _over(self) -> bool:
        return bool(self.states[-1][STATUS] != ONGOING)

    def _move(self, mover: int, value: str, what: str) -> None:
        action = _action(self.game, self.kind, value, what)
        # A third pass, as some servers ask for, changes nothing, and neither does one of the side whose turn it is not.
        if action == self.passing and (self._over or (self.kind == "go" and self._turn != mover)):
            return
        self._give_turn(mover, what)
        self._play(action, what)

    @property
    def _turn(self) -> int:
        return int(self.states[-1][TO_MOVE])

    def _give_turn(self, mover: int, what: str) -> None:
        """As the format allows one side to move twice, and the game to go on after two passes."""
        if self.kind == "go" and self._over and [a for _, a, _ in self.line[-2:]] == [self.passing] * 2:
            self._take_back()
            self._take_back()
        if self._over or self._turn == mover:
            return
        if self.kind != "go":
            raise ValueError(f"SGF: {what} is out of turn: it is {SIDES[1 - mover]}'s move")
        if self.line and self.line[-1][1] == self.passing:
            self._take_back()  # a pass of this side itself, or one that gave the other side the turn
        else:
            self._play(self.passing, f"a pass before {what}", given=True)

    def _take_back(self) -> None:
        self.states.pop()
        self.line.pop()

    def _play(self, action: int, what: str, given: bool = False) -> None:
        try:
            self.states.append(after_turn(self.game, self.states[-1], action, given))
        except ValueError as error:
            raise ValueError(f"SGF: {what}: {error}") from error
        self.line.append((self.number, action, given))

    def _set_up(self) -> None:
        """Play the stones that were set up, in turns as far as they go.

        As moves they take nothing off: a chain that is not yet whole has a liberty where its next stone will be.
        """
        for pair in itertools.zip_longest(*self.stones):
            for mover, action in enumerate(pair):
                if action is not None:
                    what = f"setting up {self.game.action_names[action]}"
                    self._give_turn(mover, what)
                    self._play(action, what)
        if self.turn is not None and not self._over:
            self._give_turn(self.turn, "the side to move")


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
