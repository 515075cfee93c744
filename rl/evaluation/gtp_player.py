"""A GTP engine as a player of matches. The referee is ours: an engine's move counts only where our rules allow it."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from envs.game import PLY, TO_MOVE, Game
from rl.evaluation.gtp_engine import EngineError, GTPEngine
from rl.evaluation.players import Forfeit
from rl.sgf import SIDES, actions_by_word, board_size, komi, words

log = logging.getLogger(__name__)

MOVE_SECONDS = 60.0
STARTUP_SECONDS = 30.0  # for the first commands, or a move's time if longer: engines with networks load them then
# In a row and for each process, after which the engine is given up: a match of 100 games must not take 100 time limits,
# nor must one moment in which the machine stalls, and all processes with it, end a match.
TIMEOUTS = 3


class Table:
    """One engine process and the game on its board."""

    def __init__(self) -> None:
        self.engine: GTPEngine | None = None
        self.moves: list[int] | None = None  # None when nobody knows what it has on its board
        self.used = 0  # when it was last asked, counted in questions

    def continues(self, moves: Sequence[int]) -> bool:
        """Whether ``moves`` go on from what is on the board."""
        return self.moves is not None and self.moves == list(moves[: len(self.moves)])


class GTPPlayer:
    """Several processes of one engine, which think in parallel: as many as there are games, at most one a core.

    A process plays a game on from what it has on its board, or replays the game from the start. Resigning, an illegal
    move (by our rules), dying, not answering in time and not speaking GTP each forfeit the game in question only; a
    process that failed is replaced.
    """

    def __init__(
        self,
        game: Game,
        command: Sequence[str],
        name: str,
        *,
        lanes: int = 1,
        move_seconds: float = MOVE_SECONDS,
        startup_seconds: float | None = None,
    ):
        """``lanes``: games at once, at most. Raises EngineError when the engine does not start or refuses the game."""
        self.name, self.game, self.command = name, game, tuple(command)
        self.move_seconds = move_seconds
        self.startup_seconds = max(STARTUP_SECONDS, move_seconds) if startup_seconds is None else startup_seconds
        self._vertex = words(game)
        self._action = actions_by_word(game)
        self._timeouts = 0  # in a row, of all processes
        self._counting = threading.Lock()
        self._questions = 0
        self._stopping = False
        self._tables = [Table() for _ in range(max(1, min(lanes, cores())))]
        self._start(self._tables[0])
        self.title = self._introduction(self._tables[0])

    def actions(self, states: np.ndarray, moves: Sequence[Sequence[int]]) -> list[int | Forfeit]:
        """Moves for ongoing positions [N, S], each reached by its ``moves``; see ``players.Player``."""
        seated = self._seat(moves)
        waiting = [row for row in range(len(states)) if row not in seated.values()]
        answers: list[int | Forfeit] = [-1] * len(states)
        lock = threading.Lock()

        def serve(table: Table, row: int) -> None:
            while True:
                self._questions += 1
                table.used = self._questions
                answers[row] = self._reply(table, states[row], moves[row])
                with lock:
                    if not waiting:
                        return
                    row = next((row for row in waiting if table.continues(moves[row])), waiting[0])
                    waiting.remove(row)

        with ThreadPoolExecutor(len(seated)) as pool:
            served = [pool.submit(serve, table, row) for table, row in seated.items()]
            try:
                for future in served:
                    future.result()
            except BaseException:  # Ctrl-C: nobody waits for moves any more
                self._stopping = True
                with lock:
                    waiting.clear()
                for engine in [table.engine for table in seated]:
                    if engine is not None:
                        engine.interrupt()
                raise
        return answers

    def _seat(self, moves: Sequence[Sequence[int]]) -> dict[Table, int]:
        """The row with which each table begins: the one that goes on with its game, else one for tables left over.

        Of those left over, the one that was not asked for longest is the likeliest to hold an ended game.
        """
        seated: dict[Table, int] = {}
        for row, played in enumerate(moves):
            for table in self._tables:
                if table not in seated and table.moves and table.continues(played):
                    seated[table] = row
                    break
        left = sorted((t for t in self._tables if t not in seated), key=lambda t: (bool(t.moves), t.used))
        rows = (row for row in range(len(moves)) if row not in set(seated.values()))
        return seated | dict(zip(left, rows, strict=False))

    def close(self) -> None:
        """End all processes; the next question would start new ones."""
        for table in self._tables:
            self._drop(table)

    def _start(self, table: Table) -> None:
        """A new process for the table, set up for the game. Raises EngineError."""
        table.engine = engine = GTPEngine(self.command, self.name)
        table.moves = []
        height, width = self.game.board_shape
        size = f"{width} {height}" if height != width else f"{board_size(self.game)}"
        points = komi(self.game)
        try:
            engine.ask(f"boardsize {size}", self.startup_seconds)
            engine.ask("clear_board", self.startup_seconds)
            if points is not None:
                engine.ask(f"komi {points:g}", self.startup_seconds)
        except EngineError as error:
            self._drop(table)
            raise EngineError(error.kind, f"{error} (setting up {self.game.title})") from error

    def _drop(self, table: Table) -> None:
        if table.engine is not None:
            table.engine.close()
        table.engine = table.moves = None

    def _introduction(self, table: Table) -> str:
        """The engine's own name and version, such as "GNU Go 3.8"; as the user wrote it where it has none."""
        assert table.engine is not None
        try:
            told = " ".join(table.engine.ask(word, self.startup_seconds) for word in ("name", "version"))
            return " ".join(told.split()) or self.name
        except EngineError as error:
            if error.kind != "refused":
                self._drop(table)
                raise
            return self.name

    def _reply(self, table: Table, state: np.ndarray, moves: Sequence[int]) -> int | Forfeit:
        """The engine's move, or how it forfeits the game."""
        if self._timeouts >= TIMEOUTS * len(self._tables):
            return Forfeit("time-out", f"is given up: it did not answer in time {self._timeouts} times in a row")
        try:
            word = self._generate(table, state, moves)
        except EngineError as error:
            with self._counting:
                self._timeouts += error.kind == "time-out"
            self._drop(table)
            if not self._stopping:
                log.warning("%s", error)
            return Forfeit(error.kind, f"failed: {error}")
        with self._counting:
            self._timeouts = 0
        table.moves = None  # until its move is known to be one
        if word.casefold() == "resign":
            table.moves = list(moves)
            return Forfeit("resigned", "resigned")
        action = self._action.get(word.lower())
        number = int(state[PLY]) + 1
        if action is None or not self.game.legal_mask(state)[action]:
            fault = "no move of this game" if action is None else "not legal"
            log.warning("%s answered move %d with %r, which is %s", self.name, number, word[:40], fault)
            return Forfeit("illegal move", f"answered move {number} with {word[:40]!r}, which is {fault}")
        table.moves = [*moves, action]
        return action

    def _generate(self, table: Table, state: np.ndarray, moves: Sequence[int]) -> str:
        """What the engine answers to "genmove" after ``moves``. Raises EngineError."""
        if table.engine is None:
            self._start(table)
        assert table.engine is not None
        if not table.continues(moves):
            table.engine.ask("clear_board", self.move_seconds)
            table.moves = []
        assert table.moves is not None
        walked, known = self.game.initial_state(), len(table.moves)
        for number, move in enumerate(moves):
            if number >= known:
                self._tell(table.engine, walked, int(move))
            self.game.play(walked, int(move))
        return table.engine.ask(f"genmove {SIDES[state[TO_MOVE]]}", self.move_seconds)

    def _tell(self, engine: GTPEngine, state: np.ndarray, move: int) -> None:
        """The move in this position. Raises EngineError, but not where an engine passes by itself when it must.

        Engines of Othello do (GRhino, say), and take a pass that they are told for no move.
        """
        try:
            engine.ask(f"play {SIDES[state[TO_MOVE]]} {self._vertex[move]}", self.move_seconds)
        except EngineError as error:
            forced_pass = self._vertex[move] == "pass" and self.game.legal_mask(state).sum() == 1
            if error.kind != "refused" or not forced_pass:
                raise


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
