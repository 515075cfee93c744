"""GTP's commands for Go: what every game has, and komi, handicap, scores, SGF."""

from __future__ import annotations

import itertools
import json
import sys
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO

from envs.game import Game
from rl.agent import Agent
from rl.play.engine import Engine
from rl.play.gtp import Command, Lines, Refused, WrongArguments, serve, without_arguments
from rl.play.gtp_analysis import board_of_numbers
from rl.play.gtp_commands import WHOLE, Session, number, whole
from rl.play.scoring import chains, dead_chains, margin, stones
from rl.sgf import SgfGame, after_turn, komi, read_sgf, write_sgf

RULES = {"hasButton": False, "ko": "POSITIONAL", "scoring": "AREA", "tax": "NONE", "whiteHandicapBonus": "0"}


def play(engine: Engine, lines: Lines, out: BinaryIO) -> None:
    """Serve a client of GTP until it quits or goes away."""
    session = Session(engine) if engine.game.territory is None else GoSession(engine)
    serve(session.commands(), lines, out)


def komi_of(game: Game) -> float:
    """Points that White has in advance."""
    points = komi(game)
    assert points is not None, "Go has it"
    return points


class GoSession(Session):
    """A game of Go that a client steers."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._own_komi = komi_of(engine.game)

    def _resized(self) -> list[dict[str, Any]]:
        own = self._own_komi  # that of now may be more than there are points
        return [{}] if own == komi_of(self.engine.game) else [{}, {"komi": own}]

    def commands(self) -> dict[str, Command]:
        return super().commands() | {
            "kgs-genmove_cleanup": Command("COLOR", partial(self._genmove, cleanup=True)),
            "fixed_handicap": Command("NUMBER_OF_STONES", self._fixed_handicap),
            "place_free_handicap": Command("NUMBER_OF_STONES", self._place_free_handicap),
            "set_free_handicap": Command("VERTEX...", self._set_free_handicap),
            "final_status_list": Command("alive|dead|seki", self._final_status_list),
            "loadsgf": Command("FILENAME [MOVE_NUMBER]", self._loadsgf),
            "printsgf": without_arguments(self._printsgf),
            "kata-get-rules": without_arguments(lambda: json.dumps(self._rules())),
            "kata-set-rules": Command("RULES", self._set_rules),
            "fuseki-ownership": without_arguments(self._ownership),
        }

    def _komi(self, arguments: list[str]) -> str:
        self._set_komi(number(arguments))
        return ""

    def _set_komi(self, komi: float) -> None:
        """Also in the middle of a game: its moves are then played again in one with that komi."""
        if komi == komi_of(self.engine.game):
            return
        line, set_up = self.engine.line(), self.engine.set_up
        try:
            self.engine.new_game(komi=komi)
        except ValueError as error:
            raise Refused(str(error)) from error
        self.engine.restore(line)
        self.engine.set_up = set_up
        self._warmed_up()

    def _rules(self) -> dict[str, object]:
        return RULES | {"suicide": bool(self.engine.agent.config.env_options.get("suicide", False))}

    def _set_rules(self, arguments: list[str]) -> str:
        """Our rules are Tromp and Taylor's; whether several stones may be taken from oneself is the agent's to say."""
        text = " ".join(arguments)
        rules = self._rules()
        if text.lower() == "tromp-taylor" and rules["suicide"]:
            return ""
        try:
            wanted = json.loads(text)
        except (ValueError, RecursionError):
            wanted = None
        if not arguments:
            raise WrongArguments
        if not isinstance(wanted, dict) or not wanted.items() <= rules.items():
            name = "tromp-taylor" if rules["suicide"] else "tromp-taylor without suicide"
            raise Refused(f"the rules are fixed: {name}, {json.dumps(rules)}")
        return ""

    def _fixed_handicap(self, arguments: list[str]) -> str:
        count = whole(arguments)
        points = self._star_points(count)
        if count < 2 or len(points) != count:
            raise Refused("invalid number of stones")
        return self._placed(points)

    def _place_free_handicap(self, arguments: list[str]) -> str:
        """The star points: no more of them than there are, which the specification allows."""
        count = whole(arguments)
        most = self._star_points(9) or self._star_points(4)
        if count < 2 or not most:
            raise Refused("invalid number of stones")
        return self._placed(self._star_points(min(count, len(most))))

    def _set_free_handicap(self, arguments: list[str]) -> str:
        try:
            points = [self._vertex(word) for word in arguments]
        except WrongArguments as error:
            raise Refused("bad vertex list") from error
        if len(points) < 2 or len(set(points)) < len(points) or self._pass in points:
            raise Refused("bad vertex list")
        self._placed(points)
        return ""

    def _placed(self, points: list[int]) -> str:
        if self.engine.moves:
            raise Refused("board not empty")
        try:
            for point in points:
                self._give_turn(0)
                self.engine.play(point)
        except ValueError as error:  # the last point of a board: a stone without a liberty
            self.engine.go_to([])
            raise Refused("bad vertex list") from error
        self.engine.set_up = len(self.engine.moves)
        self._turns.append([])
        return " ".join(self.engine.game.action_names[point] for point in points)

    def _star_points(self, count: int) -> list[int]:
        """``count`` handicap stones by §4.1.1; none where the board has no place for so many."""
        size = self.engine.game.board_shape[0]
        most = 0 if size < 7 else 4 if size == 7 or size % 2 == 0 else 9
        if not 2 <= count <= most:
            return []
        near, middle = 3 if size > 12 else 2, size // 2
        far = size - 1 - near
        corners = [(far, near), (near, far), (near, near), (far, far)]
        sides = [(middle, near), (middle, far), (far, middle), (near, middle)]
        centre = [(middle, middle)] if count in (5, 7, 9) else []
        chosen = [*corners[: min(count, 4)], *sides[: 0 if count < 6 else 2 if count < 8 else 4], *centre]
        return [row * size + column for row, column in chosen]

    def _margin(self) -> float:
        """Points by which Black is ahead, as the board stands, less the stones that final_status_list calls dead."""
        game, state = self.engine.game, self.engine.state
        return margin(game, state, dead_chains(stones(game, state), self.engine.ownership()))

    def _final_score(self) -> str:
        margin = self._margin()
        return "0" if margin == 0 else f"{'B' if margin > 0 else 'W'}+{abs(margin):g}"

    def _final_status_list(self, arguments: list[str]) -> str:
        """Of stones as they will be when the game has been played to its end, by the network's ownership.

        ``seki`` is always empty, as KataGo's is, and its stones are alive: by area scoring they count as such. Nothing
        here could tell a seki soundly: neutral liberties may just as well be ones that nobody has filled yet, and the
        network's ownership is near 0 for both, as it is for what is undecided.
        """
        if len(arguments) != 1 or arguments[0].lower() not in ("alive", "dead", "seki"):
            raise WrongArguments
        board = stones(self.engine.game, self.engine.state)
        dead = dead_chains(board, self.engine.ownership())
        wanted = {"dead": dead, "alive": [c for c in chains(board) if c not in dead], "seki": []}[arguments[0].lower()]
        size, names = board.shape[1], self.engine.game.action_names
        return "\n".join(" ".join(names[row * size + column] for row, column in chain) for chain in wanted)

    def _loadsgf(self, arguments: list[str]) -> str:
        last = sys.maxsize
        match arguments:
            case [*name, count] if name and WHOLE.fullmatch(count):  # the position before that move
                path, last = Path(" ".join(name)), max(int(count), 1)
            case [_, *_]:
                path = Path(" ".join(arguments))
            case _:
                raise WrongArguments
        try:
            if path.exists() and not path.is_file():
                raise ValueError("it is not a file")
            read = read_sgf(path.read_bytes())
            agent = self._for_game(read)
            state = agent.game.initial_state()
            for move, given in zip(read.moves, read.given, strict=True):
                state = after_turn(agent.game, state, move, given)  # by the agent's rules, which need not be the file's
        except OSError as error:
            raise Refused(f"cannot load file: {error.strerror or error}") from error
        except ValueError as error:
            raise Refused(f"cannot load file: {error}") from error
        self.engine.use(agent)
        self._begin()
        steps = zip(read.numbers, read.moves, read.given, strict=True)
        for ply, moves in itertools.groupby(steps, key=itemgetter(0)):
            if ply >= last:
                break
            if ply:  # what is set up is there from the beginning
                self._turns.append(self.engine.line())
            for _, move, given in moves:
                (self.engine.skip if given else self.engine.play)(move)
            if not ply:
                self.engine.set_up = len(self.engine.moves)
        return ""

    def _for_game(self, read: SgfGame) -> Agent:
        """The agent for the game's board, komi and length. Raises ValueError when the network cannot play there."""
        game = read.game
        if game.territory is None:
            raise ValueError(f"it holds a game of {game.title}")
        ours = self.engine.game
        options: dict[str, Any] = {"komi": komi_of(game)} if komi_of(game) != komi_of(ours) else {}
        if game.board_shape != ours.board_shape:
            options["size"] = game.board_shape[0]
        options |= self._own_length()
        agent = self.engine.agent.on(**options) if options else self.engine.agent
        if len(read.moves) >= agent.game.max_moves:
            agent = agent.on(max_moves=len(read.moves) + agent.game.max_moves)
        return agent

    def _printsgf(self) -> str:
        result = self._final_score() if self.engine.over else None
        return write_sgf(self.engine.game, self.engine.moves, names=("Black", "White"), result=result)

    def _showboard(self) -> str:
        return f"{super()._showboard()}, komi {komi_of(self.engine.game):g}"

    def _gogui(self) -> str:
        told = [super()._gogui(), "plist/Dead stones/final_status_list dead"]
        if self.engine.agent.config.net.auxiliary.ownership:
            told.append("dboard/Ownership/fuseki-ownership")
        return "\n".join(told)

    def _ownership(self) -> str:
        owners = self.engine.ownership()
        if owners is None:
            raise Refused("this network has no ownership head")
        return board_of_numbers(self.engine.game, owners)
