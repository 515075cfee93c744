"""Play against an agent in the terminal.

Whatever the game, its ``render`` text is what is drawn: the marks X, O and . become coloured stones, and the stone of
the last move stands in brackets. Moves are typed by name. Input may come from a pipe as well as from a keyboard.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from envs.game import DRAW, FIRST_WON, STATUS, TO_MOVE, Game
from rl.agent import Analysis
from rl.play.engine import RESIGN, Choice, Engine

STONES = {"X": ("●", "bold yellow"), "O": ("○", "bold red")}  # different without colour too
MARK = re.compile(r"(?<!\S)[XO.](?!\S)")
SHOWN_MOVES = 5
BAR = 30  # characters of the value bar
HELP = "Type a move, or: undo, hint, new (game), swap (seats), help, quit."


@dataclass
class Session:
    """A person against an agent: who sits where, and whether the agent has given up. No input or output in here."""

    engine: Engine
    human_first: bool = True
    resigned: bool = False

    @property
    def game(self) -> Game:
        return self.engine.game

    @property
    def over(self) -> bool:
        return self.resigned or self.engine.over

    @property
    def human_to_move(self) -> bool:
        return bool((self.engine.state[TO_MOVE] == 0) == self.human_first)

    def play(self, text: str) -> None:
        """The person's move by its name. Raises ValueError when there is no such move or it is illegal."""
        names = [name.lower() for name in self.game.action_names]
        if text.lower() not in names:
            mask = self.game.legal_mask(self.engine.state)
            legal = ", ".join(self.game.action_names[int(a)] for a in np.flatnonzero(mask))
            raise ValueError(f"{text!r} is neither a move nor a command; legal moves are: {legal}")
        self.engine.play(names.index(text.lower()))

    def reply(self) -> Choice:
        """The agent moves or resigns; what it thought comes back."""
        choice = self.engine.choose()
        self.resigned = choice.action == RESIGN
        if not self.resigned:
            self.engine.play(choice.action)
        return choice

    def undo(self) -> bool:
        """Back to the person's last choice; False when there is none to take back."""
        engine = self.engine
        mine = [ply for ply in range(len(engine.moves)) if self._mover(ply) == (0 if self.human_first else 1)]
        if not mine:
            return False
        self.resigned = False
        while len(engine.moves) > mine[-1]:
            engine.undo()
        return True

    def new_game(self) -> None:
        self.resigned = False
        self.engine.new_game()

    def _mover(self, ply: int) -> int:
        return int(self.game.replay(self.engine.moves[:ply])[TO_MOVE])


def board(game: Game, moves: list[int]) -> Text:
    """The position after ``moves`` as styled text: ``game.render`` with stones for marks, character by character."""
    rendered = game.render(game.replay(moves)).split("\n")
    before = game.render(game.replay(moves[:-1])).split("\n") if moves else rendered
    height, width = game.board_shape
    # A line of coordinates may hold the letters X and O too; a row of the board holds ``width`` marks.
    rows = [[m.start() for m in MARK.finditer(line)] for line in rendered]
    rows = [places if len(places) == width else [] for places in rows]
    labels = list(game.action_names[: height * width]) if game.action_layout == "points" else []
    if sum(map(len, rows)) != height * width or any(len(label) != 1 for label in labels):
        labels = []
    text = Text()
    point = 0
    for number, (line, places) in enumerate(zip(rendered, rows, strict=True)):
        shown, styles = [*f" {line} "], ["dim"] * (len(line) + 2)
        for place in places:
            mark = line[place]
            shown[place + 1], styles[place + 1] = STONES.get(mark, (labels[point] if labels else "·", "dim"))
            # Only a stone put on an empty point is the last move; turned stones had an owner before.
            if mark != "." and before[number][place : place + 1] == ".":
                shown[place], shown[place + 2] = "(", ")"
                styles[place : place + 3] = [styles[place + 1]] * 3
            point += 1
        for style, pairs in itertools.groupby(zip(shown, styles, strict=True), key=lambda pair: pair[1]):
            text.append("".join(character for character, _ in pairs), style)
        text.append("\n")
    text.right_crop(1)
    return text


def opinion(game: Game, answer: Analysis, whose: str) -> Table:
    """The agent's view of a position: its value as a bar and its favourite moves. ``whose`` is the side to move."""
    table = Table.grid(padding=(0, 2))
    filled = round((answer.value + 1) / 2 * BAR)
    proven = f" proven {answer.proven}" if answer.proven else ""
    table.add_row(
        f"value for {whose}", Text("█" * filled + "░" * (BAR - filled), style="cyan"), f"{answer.value:+.2f}{proven}"
    )
    best = [int(a) for a in np.argsort(-answer.policy)[:SHOWN_MOVES] if answer.policy[a] > 0.005]
    favourites = "  ".join(f"{game.action_names[a]} {answer.policy[a]:.0%}" for a in best)
    line = " ".join(game.action_names[a] for a in answer.principal_variation[:8])
    table.add_row("moves", favourites, f"line {line}")
    return table


def play(engine: Engine, human_first: bool = True, console: Console | None = None) -> None:
    """Play in the terminal until quit, end of input or Ctrl-C."""
    console = console or Console(highlight=False)
    session = Session(engine, human_first)
    console.print(f"[bold]{engine.game.title}[/] against {engine.agent.name} ({engine.limits}). {HELP}")
    try:
        _loop(session, console)
    except (EOFError, KeyboardInterrupt):
        console.print()
    console.print("Goodbye.")


def _loop(session: Session, console: Console) -> None:
    game, engine = session.game, session.engine
    _show(session, console)
    while True:
        if not session.over and not session.human_to_move:
            choice = session.reply()
            does = "resigns" if session.resigned else f"plays [bold]{game.action_names[choice.action]}[/]"
            console.print(f"\nThe agent {does}.")
            if choice.analysis is not None:
                console.print(opinion(game, choice.analysis, "the agent"))
            _show(session, console)
            continue
        side = "●" if engine.state[TO_MOVE] == 0 else "○"
        command = console.input("new, undo or quit? " if session.over else f"Your move ({side}): ").strip()
        if not command:
            continue
        word = command.lower()
        if word in ("quit", "exit", "q"):
            return
        if word in ("new", "swap"):
            session.new_game()
            session.human_first ^= word == "swap"
            _show(session, console)
        elif word == "help":
            console.print(HELP)
        elif word == "undo":
            if session.undo():
                _show(session, console)
            else:
                console.print("There is no move of yours to take back.")
        elif session.over:
            console.print("The game has ended; type new, undo or quit.")
        elif word == "hint":
            answer = engine.choose(cleanup=True).analysis
            assert answer is not None, "without friendly passes there is a search behind every choice"
            console.print(f"The agent would play [bold]{game.action_names[answer.action]}[/].")
            console.print(opinion(game, answer, "you"))
        else:
            try:
                session.play(command)
            except ValueError as error:
                sentence = str(error)
                console.print(f"{sentence[:1].upper()}{sentence[1:]}.", markup=False)
                continue
            _show(session, console)


def _show(session: Session, console: Console) -> None:
    status = session.engine.state[STATUS]
    console.print()
    console.print(board(session.game, session.engine.moves))
    if status == DRAW:
        console.print("[bold]The game is a draw.[/]")
    elif session.over:
        won = session.resigned or (status == FIRST_WON) == session.human_first
        console.print("[bold]You win.[/]" if won else "[bold]The agent wins.[/]")
