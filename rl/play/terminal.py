"""Play against an agent in the terminal.

Whatever the game, its ``render`` text is what is drawn: the marks X, O and . become coloured stones, and the stone of
the last move stands in brackets. Moves are typed by name. Input may come from a pipe as well as from a keyboard.
"""

from __future__ import annotations

import itertools

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from envs.game import Game
from rl.agent import Analysis
from rl.play.engine import Engine
from rl.play.marks import places
from rl.play.session import Session

STONES = {"X": ("●", "bold yellow"), "O": ("○", "bold red")}  # different without colour too
SHOWN_MOVES = 5
BAR = 30  # characters of the value bar
HELP = "Type a move, or: undo, hint, new (game), sides (change them), help, quit."


def board(game: Game, moves: list[int]) -> Text:
    """The position after ``moves`` as styled text: ``game.render`` with stones for marks, character by character."""
    rendered = game.render(game.replay(moves)).split("\n")
    before = game.render(game.replay(moves[:-1])).split("\n") if moves else rendered
    height, width = game.board_shape
    rows = places(game, rendered)
    labels = list(game.action_names[: height * width]) if game.action_layout == "points" else []
    if sum(map(len, rows)) != height * width or any(len(label) != 1 for label in labels):
        labels = []
    text = Text()
    point = 0
    for number, (line, row) in enumerate(zip(rendered, rows, strict=True)):
        shown, styles = [*f" {line} "], ["dim"] * (len(line) + 2)
        for place in row:
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
    session = Session(engine.game, (None, engine) if human_first else (engine, None))
    console.print(f"[bold]{engine.game.title}[/] against {engine.agent.name} ({engine.limits}). {HELP}")
    try:
        _loop(session, engine, console)
    except (EOFError, KeyboardInterrupt):
        console.print()
    console.print("Goodbye.")


def _loop(session: Session, engine: Engine, console: Console) -> None:
    game = session.game
    _show(session, console)
    while True:
        if session.engine is not None:
            choice = session.reply()
            does = "plays" if session.resigned is None else "resigns"
            what = f" [bold]{game.action_names[choice.action]}[/]" if session.resigned is None else ""
            console.print(f"\nThe agent {does}{what}.")
            if choice.analysis is not None:
                console.print(opinion(game, choice.analysis, "the agent"))
            _show(session, console)
            continue
        side = "●○"[session.side]
        command = console.input("new, undo or quit? " if session.over else f"Your move ({side}): ").strip()
        if not command:
            continue
        word = command.lower()
        if word in ("quit", "exit", "q"):
            return
        if word in ("new", "sides"):
            session.new_game()
            if word == "sides":
                session.seats.reverse()
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
            engine.go_to(session.moves)
            answer = engine.choose(cleanup=True).analysis
            assert answer is not None, "without friendly passes there is a search behind every choice"
            console.print(f"The agent would play [bold]{game.action_names[answer.action]}[/].")
            console.print(opinion(game, answer, "you"))
        else:
            try:
                session.play(session.named(command))
            except ValueError as error:
                sentence = str(error)
                console.print(f"{sentence[:1].upper()}{sentence[1:]}.", markup=False)
                continue
            _show(session, console)


def _show(session: Session, console: Console) -> None:
    console.print()
    console.print(board(session.game, session.moves))
    if session.winner is not None:
        console.print("[bold]You win.[/]" if session.seats[session.winner] is None else "[bold]The agent wins.[/]")
    elif session.over:
        console.print("[bold]The game is a draw.[/]")
