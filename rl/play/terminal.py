"""Play against an agent in the terminal.

Whatever the game, its ``render`` text is what is drawn: the marks X, O and . become coloured stones, and the stone of
the last move stands in brackets. Moves are typed by name. Input may come from a pipe as well as from a keyboard.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from envs.game import DRAW, FIRST_WON, ONGOING, STATUS, TO_MOVE, Game
from rl.agent import Agent, Analysis

STONES = {"X": ("●", "bold yellow"), "O": ("○", "bold red")}  # different without colour too
MARK = re.compile(r"(?<!\S)[XO.](?!\S)")
SHOWN_MOVES = 5
BAR = 30  # characters of the value bar
HELP = "Type a move, or: undo, hint, new (game), swap (seats), help, quit."


@dataclass
class Session:
    """A person against an agent: the moves so far and who sits where. No input or output in here."""

    agent: Agent
    simulations: int | None
    human_first: bool = True
    moves: list[int] = field(default_factory=list)

    @property
    def game(self) -> Game:
        return self.agent.game

    @property
    def state(self) -> np.ndarray:
        return self.game.replay(self.moves)

    @property
    def human_to_move(self) -> bool:
        return (self.state[TO_MOVE] == 0) == self.human_first

    def play(self, text: str) -> None:
        """The person's move by its name. Raises ValueError when there is no such move or it is illegal."""
        names = [name.lower() for name in self.game.action_names]
        if text.lower() not in names:
            legal = ", ".join(self.game.action_names[int(a)] for a in np.flatnonzero(self.game.legal_mask(self.state)))
            raise ValueError(f"{text!r} is neither a move nor a command; legal moves are: {legal}")
        action = names.index(text.lower())
        self.game.after(self.state, action)
        self.moves.append(action)

    def reply(self) -> Analysis:
        """The agent moves; what it thought comes back."""
        answer = self.agent.analyse(self.moves, self.simulations)
        self.moves.append(answer.action)
        return answer

    def undo(self) -> bool:
        """Back to the person's last choice; False when there is none to take back."""
        mine = [ply for ply in range(len(self.moves)) if self._mover(ply) == (0 if self.human_first else 1)]
        if not mine:
            return False
        del self.moves[mine[-1] :]
        return True

    def _mover(self, ply: int) -> int:
        return int(self.game.replay(self.moves[:ply])[TO_MOVE])


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


def play(
    agent: Agent, simulations: int | None = None, human_first: bool = True, console: Console | None = None
) -> None:
    """Play in the terminal until quit, end of input or Ctrl-C."""
    console = console or Console(highlight=False)
    session = Session(agent, simulations, human_first)
    budget = agent.config.search.simulations if simulations is None else simulations
    with_search = f"{budget} simulations a move" if budget else "the network alone"
    console.print(f"[bold]{agent.game.title}[/] against {agent.name} ({with_search}). {HELP}")
    try:
        _loop(session, console)
    except (EOFError, KeyboardInterrupt):
        console.print()
    console.print("Goodbye.")


def _loop(session: Session, console: Console) -> None:
    game = session.game
    _show(session, console)
    while True:
        if session.state[STATUS] == ONGOING and not session.human_to_move:
            answer = session.reply()
            console.print(f"\nThe agent plays [bold]{game.action_names[answer.action]}[/].")
            console.print(opinion(game, answer, "the agent"))
            _show(session, console)
            continue
        ended = session.state[STATUS] != ONGOING
        side = "●" if session.state[TO_MOVE] == 0 else "○"
        command = console.input("new, undo or quit? " if ended else f"Your move ({side}): ").strip()
        if not command:
            continue
        word = command.lower()
        if word in ("quit", "exit", "q"):
            return
        if word in ("new", "swap"):
            session.moves.clear()
            session.human_first ^= word == "swap"
            _show(session, console)
        elif word == "help":
            console.print(HELP)
        elif word == "undo":
            if session.undo():
                _show(session, console)
            else:
                console.print("There is no move of yours to take back.")
        elif ended:
            console.print("The game has ended; type new, undo or quit.")
        elif word == "hint":
            answer = session.agent.analyse(session.moves, session.simulations)
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
    state = session.state
    console.print()
    console.print(board(session.game, session.moves))
    if state[STATUS] == DRAW:
        console.print("[bold]The game is a draw.[/]")
    elif state[STATUS] != ONGOING:
        won = (state[STATUS] == FIRST_WON) == session.human_first
        console.print("[bold]You win.[/]" if won else "[bold]The agent wins.[/]")
