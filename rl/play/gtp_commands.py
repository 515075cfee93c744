"""The commands of GTP that make sense for every game; ``gtp_go.py`` adds Go's own.

Black ("b") is the first player; vertices are the game's own names of its actions. Players alternate by our rules, but
not by GTP's: where a client plays out of turn, the other side passes in between, by a pass that does not count towards
the end of the game. Two passes end our game of Go, and where the client plays on, both are taken back. Neither changes
what is on the board.
"""

from __future__ import annotations

import logging
import re
import time
from functools import partial
from importlib import metadata
from typing import Any

import numpy as np

from envs.game import DRAW, FIRST_WON, PLY, STATUS, TO_MOVE
from rl.agent import Analysis
from rl.play.clock import Clock, Kind
from rl.play.engine import RESIGN, Engine, Line, Report, Watch
from rl.play.gtp import Answer, Command, Refused, WrongArguments, without_arguments
from rl.play.gtp_analysis import USAGE, Wanted, board_of_numbers, moves_line, parse_wanted
from rl.sgf import actions_by_word, words

log = logging.getLogger(__name__)

SIDES = {"b": 0, "black": 0, "w": 1, "white": 1}
COLOURS = ("black", "white")
LEAST_SECONDS = 0.02  # with less for a move, the network plays alone
WHOLE = re.compile(r"-?[0-9]{1,9}")
KGS_TIMES = "none | absolute MAIN | canadian MAIN PERIOD STONES | byoyomi MAIN PERIOD PERIODS"


class Session:
    """A game that a client steers, turn by turn as the client sees it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.clock = Clock()
        self._max_moves = engine.agent.config.env_options.get("max_moves")
        self._turns: list[Line] = []  # the engine's moves before each turn: what undo goes back to

    def commands(self) -> dict[str, Command]:
        """Those that make sense for the game."""
        return {
            "name": without_arguments(lambda: "Fuseki"),
            "version": without_arguments(self._version),
            "boardsize": Command("SIZE", self._boardsize),
            "clear_board": without_arguments(self._clear_board),
            "komi": Command("NEW_KOMI", self._komi),
            "play": Command("COLOR VERTEX", self._play),
            "genmove": Command("COLOR", self._genmove),
            "reg_genmove": Command("COLOR", self._reg_genmove),
            "undo": without_arguments(self._undo),
            "time_settings": Command("MAIN_TIME BYO_YOMI_TIME BYO_YOMI_STONES", self._time_settings),
            "time_left": Command("COLOR TIME STONES", self._time_left),
            "kgs-time_settings": Command(KGS_TIMES, self._kgs_time_settings),
            "final_score": without_arguments(self._final_score),
            "showboard": without_arguments(self._showboard),
            "lz-analyze": Command(USAGE, partial(self._analyze, False), streams=True),
            "kata-analyze": Command(USAGE, partial(self._analyze, True), streams=True),
            "lz-genmove_analyze": Command(USAGE, partial(self._genmove_analyze, False), streams=True),
            "kata-genmove_analyze": Command(USAGE, partial(self._genmove_analyze, True), streams=True),
            "stop": without_arguments(lambda: ""),  # that it is sent has ended the analysis
            "gogui-analyze_commands": without_arguments(self._gogui),
            "fuseki-policy": without_arguments(self._policy),
            "fuseki-value": without_arguments(self._value),
        }

    def _version(self) -> str:
        return f"{metadata.version('fuseki')} weights {self.engine.agent.weights.version}"

    # Board and moves

    def _boardsize(self, arguments: list[str]) -> str:
        size = whole(arguments)
        shape = self.engine.game.board_shape
        if size != shape[1]:
            for options in self._resized():
                try:
                    self.engine.new_game(size=size, **options, **self._own_length())
                    break
                except ValueError as error:
                    log.warning("boardsize %d: %s", size, error)
            else:
                raise Refused("unacceptable size")
            self._warmed_up()
        return self._clear_board()

    def _resized(self) -> list[dict[str, Any]]:
        """Options of a game on another board that are tried one after the other."""
        return [{}]

    def _clear_board(self) -> str:
        self.engine.new_game(**self._own_length())
        self._begin()
        return ""

    def _begin(self) -> None:
        """What goes with a game that begins anew."""
        self._turns.clear()
        self.clock.reset()

    def _own_length(self) -> dict[str, Any]:
        """Options for a game as long as the agent's own, after a longer one that was loaded."""
        now = self.engine.agent.config.env_options.get("max_moves")
        return {} if now == self._max_moves else {"max_moves": self._max_moves}

    def _komi(self, arguments: list[str]) -> str:
        """Every engine has to take it; where no points are counted, it changes nothing."""
        number(arguments)
        return ""

    @property
    def _pass(self) -> int | None:
        names = self.engine.game.action_names
        return names.index("pass") if "pass" in names else None

    @property
    def _side(self) -> int:
        return int(self.engine.state[TO_MOVE])

    @property
    def _is_go(self) -> bool:
        """Whether a pass is always allowed, two of them end the game, and the board is counted then."""
        return self.engine.game.territory is not None

    def _vertex(self, text: str) -> int:
        action = actions_by_word(self.engine.game).get(text.lower())
        if action is None:
            raise WrongArguments
        return action

    def _ended_by_passes(self) -> bool:
        return self._is_go and self.engine.over and self.engine.moves[-2:] == [self._pass] * 2

    def _give_turn(self, side: int) -> None:
        """Make it ``side``'s turn, and the game go on where two passes have ended it.

        Raises Refused where the other side cannot pass.
        """
        if self._ended_by_passes():
            self.engine.undo()
            self.engine.undo()
        if self._side == side:
            return
        game = self.engine.game
        if self._is_go and self.engine.moves[-1:] == [self._pass]:
            self.engine.undo()  # a pass of ``side``: another one after it would end the game
            return
        passing = self._pass
        if passing is None or self.engine.over or not game.legal_mask(self.engine.state)[passing]:
            raise Refused(f"illegal move: it is {COLOURS[1 - side]}'s turn, who cannot pass")
        self.engine.skip(passing)

    def _play(self, arguments: list[str]) -> str:
        match [word.lower() for word in arguments]:
            case [colour, vertex] if colour in SIDES:
                self._played(SIDES[colour], self._vertex(vertex))
            case _:
                raise WrongArguments
        return ""

    def _played(self, side: int, action: int) -> None:
        """A client's move. Raises Refused when it is illegal; the game then stays as it was."""
        before = self.engine.line()
        try:
            if not (action == self._pass and self._idle(side)):
                self._give_turn(side)
                self.engine.play(action)
        except (ValueError, Refused) as error:
            self.engine.restore(before)
            log.info("%s", error)
            raise Refused("illegal move") from error
        self._turns.append(before)

    def _idle(self, side: int) -> bool:
        """Whether a pass of ``side`` changes nothing: the game has ended by passes, or it is the other side's turn."""
        return self._is_go and (self._ended_by_passes() or (not self.engine.over and self._side != side))

    def _undo(self) -> str:
        if not self._turns:
            raise Refused("cannot undo")
        self.engine.restore(self._turns.pop())
        return ""

    # Thinking

    def _genmove(self, arguments: list[str], cleanup: bool = False) -> str:
        return self._chosen(side_of(arguments), cleanup)

    def _reg_genmove(self, arguments: list[str]) -> str:
        return self._chosen(side_of(arguments), keep=False)

    def _chosen(self, side: int, cleanup: bool = False, keep: bool = True, watch: Watch | None = None) -> str:
        """The agent's move for ``side``; played on the clock, unless ``keep`` is False."""
        before = self.engine.line()
        if self._is_go and self.engine.over and not (cleanup and self._ended_by_passes()):
            name = "pass"
        else:
            self._ongoing()
            try:
                name = self._thought_of(side, before, cleanup, keep, watch)
            except BaseException:
                self.engine.restore(before)
                raise
        if keep and name != "resign":
            self._turns.append(before)
        return name

    def _thought_of(self, side: int, before: Line, cleanup: bool, keep: bool, watch: Watch | None) -> str:
        """What a search says ``side`` should do, which is then done if ``keep``."""
        idle = self._idle(side)
        self._give_turn(side)
        if self.engine.over:  # the turn that was given was the game's last move
            self.engine.restore(before)
            return "pass"
        started = time.monotonic()
        choice = self.engine.choose(**(self._limits(side) if keep else {}), cleanup=cleanup, watch=watch)
        if keep:
            self.clock.spend(side, time.monotonic() - started)
        name = "resign" if choice.action == RESIGN else words(self.engine.game)[choice.action]
        if keep and name != "resign" and not (name == "pass" and idle):
            self.engine.play(choice.action)
        else:
            self.engine.restore(before)
        return name

    def _limits(self, side: int) -> dict[str, Any]:
        """Simulations and seconds of one move: the engine's own, and the clock's where one is running."""
        height, width = self.engine.game.board_shape
        allotted = self.clock.allotted(side, height * width, int(self.engine.state[PLY]))
        if allotted is None:
            return {}
        if allotted < LEAST_SECONDS:
            return {"simulations": 0}
        own = self.engine.seconds
        return {
            "simulations": self.engine.simulations,
            "seconds": allotted if own is None else min(own, allotted),
        }

    def _ongoing(self) -> None:
        """Raises Refused when the game is over, unless two passes ended it and it may go on."""
        if self.engine.over and not self._ended_by_passes():
            raise Refused(f"the game is over: {self._outcome()}")

    def _outcome(self) -> str:
        status = self.engine.state[STATUS]
        return "it is a draw" if status == DRAW else f"{COLOURS[0 if status == FIRST_WON else 1]} won"

    def _analyze(self, kata: bool, arguments: list[str], answer: Answer) -> str:
        """Searches until the client sends more. Out of turn, the other side passes first, and that is taken back."""
        wanted = parse_wanted(arguments, SIDES)
        before = self.engine.line()
        self._ongoing()
        try:
            self._give_turn(self._side if wanted.side is None else wanted.side)
            self._ongoing()  # a turn that was given may have been the game's last move
            answer.line()
            self.engine.analyse(self._watch(wanted, kata, answer), answer.interrupted)
        finally:
            self.engine.restore(before)
        return ""

    def _genmove_analyze(self, kata: bool, arguments: list[str], answer: Answer) -> str:
        """The analysis comes as the search goes on, and once more when it has ended; no other command ends it."""
        wanted = parse_wanted(arguments, SIDES)
        side = self._side if wanted.side is None else wanted.side
        name = self._chosen(side, watch=self._watch(wanted, kata, answer))
        answer.line()
        return f"play {name}"

    def _watch(self, wanted: Wanted, kata: bool, answer: Answer) -> Watch:
        """Who tells the client of a search of the position that the engine will have then."""
        owners: list[np.ndarray | None] = []

        def tell(report: Report) -> None:
            if wanted.ownership and kata and not owners:
                owners.append(self._owners(self._side))
            answer.line(moves_line(self.engine.game, report, wanted, kata, owners[0] if owners else None))

        return Watch(tell, wanted.interval)

    def _owners(self, side: int) -> np.ndarray | None:
        """Ownership [H·W] in favour of ``side``; None without such a head."""
        owners = self.engine.ownership()
        return owners if owners is None or side == 0 else -owners

    # Time

    def _time_settings(self, arguments: list[str]) -> str:
        try:
            main, period, count = map(float, arguments)
        except ValueError as error:
            raise WrongArguments from error
        if period > 0 and count == 0:
            self.clock = Clock()  # no limit, by the specification
        else:
            self.clock = clock("canadian" if period > 0 else "absolute", main, period, count)
        self._warmed_up()
        return ""

    def _kgs_time_settings(self, arguments: list[str]) -> str:
        match arguments:
            case ["none"]:
                self.clock = Clock()
            case ["absolute", main]:
                self.clock = clock("absolute", main)
            case ["byoyomi" | "canadian" as kind, main, period, count]:
                self.clock = clock(kind, main, period, count)
            case _:
                raise WrongArguments
        self._warmed_up()
        return ""

    def _time_left(self, arguments: list[str]) -> str:
        match arguments:
            case [colour, seconds, count] if colour.lower() in SIDES:
                try:
                    self.clock.set_left(SIDES[colour.lower()], float(seconds), int(count))
                except ValueError as error:
                    raise WrongArguments from error
            case _:
                raise WrongArguments
        return ""

    def _warmed_up(self) -> None:
        """With a clock, what the first move would wait for is done before it starts."""
        if self.clock.kind != "none" and not self.engine.over:
            self.engine.warm_up()

    # Looking

    def _final_score(self) -> str:
        """In words: most games have a winner and no score."""
        if not self.engine.over:
            raise Refused(f"the game is not over, and {self.engine.game.title} has no score")
        return self._outcome()

    def _showboard(self) -> str:
        now = self._outcome() if self.engine.over else f"{'XO'[self._side]} ({COLOURS[self._side]}) to move"
        board = self.engine.game.render(self.engine.state)
        return f"\n{board}\n{len(self.engine.moves)} moves played, {now}"

    def _network(self) -> Analysis:
        if self.engine.over:
            raise Refused(f"the game is over: {self._outcome()}")
        return self.engine.agent.analyse_state(self.engine.state, 0)

    def _policy(self) -> str:
        if self.engine.game.action_layout != "points":
            raise Refused(f"the moves of {self.engine.game.title} are not points of its board")
        return board_of_numbers(self.engine.game, self._network().policy)

    def _value(self) -> str:
        found = self._network()
        return f"{found.value:+.3f} for {COLOURS[self._side]}, without search"

    def _gogui(self) -> str:
        """What GoGui draws: lines of type/label/command."""
        told = ["string/Value/fuseki-value", "string/Final score/final_score"]
        if self.engine.game.action_layout == "points":
            told.append("dboard/Policy/fuseki-policy")
        return "\n".join(told)


def whole(arguments: list[str]) -> int:
    """The only argument, a whole number. Raises WrongArguments."""
    if len(arguments) != 1 or not WHOLE.fullmatch(arguments[0]):
        raise WrongArguments
    return int(arguments[0])


def number(arguments: list[str]) -> float:
    """The only argument, a number. Raises WrongArguments."""
    try:
        [text] = arguments
        return float(text)
    except ValueError as error:
        raise WrongArguments from error


def side_of(arguments: list[str]) -> int:
    """The only argument, a colour. Raises WrongArguments."""
    if len(arguments) != 1 or arguments[0].lower() not in SIDES:
        raise WrongArguments
    return SIDES[arguments[0].lower()]


def clock(kind: Kind, main: str | float, period: str | float = 0, count: str | float = 0) -> Clock:
    """A clock of what a client has typed. Raises WrongArguments."""
    try:
        return Clock(kind, float(main), float(period), int(count))
    except (ValueError, OverflowError) as error:
        raise WrongArguments from error
