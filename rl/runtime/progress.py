"""What a person at the terminal sees of a run: live figures while it lasts, a summary and the next commands after.

Everything goes to standard error, which leaves standard output to results. Where standard error is no terminal (a
file, a cluster's log) there is one plain line about every ten seconds instead.
"""

from __future__ import annotations

import logging
import math
import shlex
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rl.config import Config, GameConfig
from rl.config.sections import BUDGETS
from rl.storage import is_url

LINE_SECONDS = 10.0  # between two plain lines
REFRESH = 2  # live frames a second


class Progress:
    """Live figures of a run, between ``__enter__`` and ``__exit__``."""

    def __init__(self, config: Config, console: Console | None = None):
        self.config = config
        self.console = console or Console(stderr=True)
        self.live: Live | None = None
        self._row: dict[str, float] = {}
        self._first: dict[str, float] | None = None  # the clock where this session began
        self._at = time.monotonic()  # of the newest row
        self._line_at = -float("inf")
        self._unsaid = False  # the newest row was not printed as a line yet
        self._notes: deque[str] = deque()
        self._redirected: list[tuple[logging.StreamHandler, object]] = []

    def __enter__(self) -> Progress:
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            stderr = sys.stderr
            live = Live(
                console=self.console,
                get_renderable=self._render,
                refresh_per_second=REFRESH,
                redirect_stdout=sys.stdout.isatty(),
            )
            live.start()
            self.live = live
            # The log's handlers hold the real standard error and would write into the middle of the live figures.
            for handler in logging.getLogger().handlers:
                if isinstance(handler, logging.StreamHandler) and handler.stream is stderr:
                    self._redirected.append((handler, handler.stream))
                    handler.setStream(sys.stderr)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self._say_notes()
        for handler, stream in self._redirected:
            handler.setStream(stream)
        self._redirected.clear()
        if self.live is not None:
            self.live.stop()
            self.live = None
        elif self._unsaid:
            self._say_line()

    def update(self, row: Mapping[str, float]) -> None:
        """Show the newest numbers, under the metrics' names; those that ``row`` lacks stay as they were."""
        self._row |= row
        self._at = time.monotonic()
        if self._first is None:
            self._first = {name: self._get(name) for name in BUDGETS.values()}
        self._say_notes()
        if self.live is None:
            self._unsaid = True
            if self._at - self._line_at >= LINE_SECONDS:
                self._say_line()

    def note(self, text: str) -> None:
        """One line that stays, such as "actor 3 died and is replaced". Safe inside a signal handler."""
        self._notes.append(text)
        self._say_notes()

    def _say_notes(self) -> None:
        while self._notes:
            text = self._notes.popleft()
            try:
                self.console.print(Text(f"{time.strftime('%H:%M:%S')} {text}"), highlight=False, soft_wrap=True)
            except RuntimeError:
                # A signal handler that interrupted a write to the same stream must not write ("reentrant call"):
                # the next update says it.
                self._notes.appendleft(text)
                return

    def _say_line(self) -> None:
        self.console.print(Text(self.line()), highlight=False, soft_wrap=True)
        self._line_at, self._unsaid = time.monotonic(), False

    # What is shown.

    def _get(self, name: str) -> float:
        return self._row.get(name, 0.0)

    def _has(self, *names: str) -> bool:
        return all(name in self._row for name in names)

    def elapsed(self) -> float:
        """Seconds of the run until now, those since the newest row included."""
        if self.live is None or not self._row:
            return self._get("seconds")
        return self._get("seconds") + time.monotonic() - self._at

    def _clock(self) -> dict[str, float]:
        return {name: self._get(name) for name in BUDGETS.values()} | {"seconds": self.elapsed()}

    def used(self) -> float:
        """Share of the budget used, in [0, 1]: of the part that will be used up first."""
        return self.config.run.used(self._clock())

    def left(self) -> float | None:
        """Seconds until the budget is used up; None while the pace is unknown."""
        now, guesses = self._clock(), []
        for name, end in self.config.run.budgets().items():
            if name == "seconds":
                guesses.append(max(0.0, end - now[name]))
            elif self._first is not None:
                seconds, steps = self._get("seconds") - self._first["seconds"], now[name] - self._first[name]
                if steps > 0:
                    guesses.append(max(0.0, (end - now[name]) * seconds / steps))
        return min(guesses) if guesses else None

    def line(self) -> str:
        """The state of the run in one plain line."""
        left = self.left()
        parts = [
            f"{clock(self.elapsed())} ({self.used():.0%}" + (f", {clock(left)} left)" if left is not None else ")"),
            *(f"{name} {value}" if value else name for _, name, value in self._figures()),
        ]
        return " | ".join(parts)

    def _figures(self) -> list[tuple[str, str, str]]:
        """(column, name, value) of everything worth showing now."""
        get, has = self._get, self._has
        if isinstance(self.config, GameConfig):
            figures = [("self-play", "games", f"{get('games'):,.0f}")]
        else:
            figures = [
                ("rollouts", "steps", f"{get('env_steps'):,.0f}"),
                ("rollouts", "episodes", f"{get('games'):,.0f}"),
            ]
        if has("selfplay/evaluations_per_second"):
            figures.append(("self-play", "evaluations/s", f"{get('selfplay/evaluations_per_second'):,.0f}"))
        if has("selfplay/game_length"):
            figures.append(("self-play", "moves a game", f"{get('selfplay/game_length'):.1f}"))
        if has("rollout/steps_per_second"):
            figures.append(("rollouts", "steps/s", f"{get('rollout/steps_per_second'):,.0f}"))
        if has("rollout/return"):
            figures.append(("rollouts", "return", f"{get('rollout/return'):,.1f}"))
        games = self.config if isinstance(self.config, GameConfig) else None
        rows, needed = get("experience/rows_total"), 0
        if games:
            needed = games.experience.min_rows if games.ppo is None else games.ppo.rows
        if get("learner_steps") == 0 and rows < needed:
            figures.append(("learner", "waits for rows", f"{rows:,.0f} of {needed:,}"))
        else:
            figures.append(("learner", "updates", f"{get('learner_steps'):,.0f}"))
        if has("learner/policy_loss", "learner/value_loss"):
            losses = f"policy {get('learner/policy_loss'):.3f}, value {get('learner/value_loss'):.3f}"
            figures.append(("learner", "loss", losses))
        if has("learner/lag_mean"):
            oldest = f" (max {get('learner/lag_max'):,.0f})" if has("learner/lag_max") else ""
            figures.append(("learner", "lag", f"{get('learner/lag_mean'):,.0f}{oldest}"))
        if games and has("experience/reuse"):
            most = games.experience.reuse
            figures.append(("learner", "reuse", f"{get('experience/reuse'):.2f} of {most:g}"))
        shares = [
            f"{who} {get(name):.1%}"
            for who, name in (("network", "eval/accuracy_network"), ("search", "eval/accuracy_search"))
            if has(name)
        ]
        if shares:
            figures.append(("evaluation", "best moves", ", ".join(shares)))
        for opponent in opponents(self._row):
            figures.append(("evaluation", f"vs {opponent}", score_text(self._row, opponent)))
        if has("eval/return_mean"):
            low, high = get("eval/return_low"), get("eval/return_high")
            figures.append(("evaluation", "return", f"{get('eval/return_mean'):,.1f} ({low:,.1f}–{high:,.1f})"))
        if has("eval/elo"):
            figures.append(("evaluation", "Elo", f"{get('eval/elo'):,.0f}"))
        return figures

    def _render(self) -> RenderableType:
        left = self.left()
        head = Table.grid(padding=(0, 2), expand=True)
        head.add_column(ratio=1)
        for _ in range(3):
            head.add_column(no_wrap=True)
        head.add_row(
            ProgressBar(total=1.0, completed=self.used()),
            Text(f"{self.used():.0%}", style="bold"),
            Text(clock(self.elapsed())),
            Text(f"{clock(left)} left" if left is not None else "", style="dim"),
        )
        figures = self._figures()
        titles = [t for t in ("self-play", "rollouts", "learner", "evaluation") if any(f[0] == t for f in figures)]
        boxes = []
        for title in titles:
            box = Table.grid(padding=(0, 1))
            box.add_column(style="dim", no_wrap=True)
            box.add_column()
            for column, name, value in figures:
                if column == title:
                    box.add_row(Text(name), Text(value, style="bold" if title == "evaluation" else ""))
            boxes.append(Group(Text(title, style="bold cyan"), box))
        side_by_side = Table.grid(padding=(0, 3))
        side_by_side.add_row(*boxes)
        unlimited = self.console.options.update(max_width=1000)
        if self.console.measure(side_by_side, options=unlimited).maximum <= self.console.width:
            return Group(head, side_by_side)
        return Group(head, *boxes)


def summary(
    console: Console, rows: Sequence[Mapping[str, float]], run_dir: Path, env_id: str, address: str = ""
) -> None:
    """Print how good the agent is, in plain words, and the commands to play, measure and plot it.

    ``rows`` are the run's metrics, as ``read_metrics`` returns them; ``address`` is the run's URL where it has one.
    """
    latest: dict[str, float] = {}
    examined: Mapping[str, float] = {}
    for row in rows:
        latest |= {name: value for name, value in row.items() if math.isfinite(value)}
        if any(name.startswith("eval/") for name in row):
            examined = row
    lines = Text()
    if latest:
        played = f"{latest['games']:,.0f} games, {latest['learner_steps']:,.0f} updates and "
        played += f"{latest['evaluations']:,.0f} evaluated positions"
        if "rollout/steps_per_second" in latest:
            played = f"{latest['env_steps']:,.0f} steps in {latest['games']:,.0f} episodes and "
            played += f"{latest['learner_steps']:,.0f} updates"
        lines.append(f"{played} in {clock(latest['seconds'])}.\n\n")
    words = strength(latest)
    for text in words:
        lines.append("• ", style="cyan")
        lines.append(text + "\n")
    if not words:
        lines.append("It was not evaluated: the run ended before its first evaluation.\n")
    elif examined and examined["learner_steps"] < latest["learner_steps"]:
        lines.append(f"\nMeasured at update {examined['learner_steps']:,.0f}; training went on after.\n", style="dim")
    lines.rstrip()
    title = Text(f" {env_id} agent: {address or run_dir} ", style="bold")
    console.print()
    console.print(Panel(lines, title=title, title_align="left", border_style="green", padding=(1, 2)))
    # Outside the panel and never wrapped, so that a long one can be copied.
    commands = next_commands(run_dir, episodes="rollout/steps_per_second" in latest, address=address)
    width = max(len(purpose) for purpose, _ in commands)
    for purpose, command in commands:
        line = Text.assemble("  ", (f"{purpose:{width}}  ", "dim"), (command, "bold"))
        console.print(line, soft_wrap=True, highlight=False)


def strength(latest: Mapping[str, float]) -> list[str]:
    """What the newest evaluation says about the agent, in sentences; nothing where it was never evaluated."""
    said = []
    network, search = latest.get("eval/accuracy_network"), latest.get("eval/accuracy_search")
    if search is not None:
        alone = f" (the network alone: {network:.1%})" if network is not None else ""
        said.append(f"Plays a best move, by solver truth, in {search:.1%} of positions{alone}.")
    elif network is not None:
        said.append(f"Plays a best move, by solver truth, in {network:.1%} of positions, without search.")
    for opponent in opponents(latest):
        low, high = latest.get(f"eval/score_low/{opponent}", 0.0), latest.get(f"eval/score_high/{opponent}", 1.0)
        verdict = "Beats" if low > 0.5 else "Loses to" if high < 0.5 else "Is not clearly better or worse than"
        score = latest[f"eval/score/{opponent}"]
        said.append(f"{verdict} {opponent}: {score:.0%} of the points (95 % interval {low:.0%} to {high:.0%}).")
    if "eval/return_mean" in latest:
        low, high = latest.get("eval/return_low", -math.inf), latest.get("eval/return_high", math.inf)
        said.append(
            f"Returns {latest['eval/return_mean']:,.1f} an episode (95 % interval {low:,.1f} to {high:,.1f}, "
            f"{latest.get('eval/episodes', 0):,.0f} episodes)."
        )
    if "eval/elo" in latest:
        bounds = "{eval/elo_low:,.0f} to {eval/elo_high:,.0f}"
        known = "eval/elo_low" in latest and "eval/elo_high" in latest
        interval = f" (95 % interval {bounds.format_map(latest)})" if known else ""
        said.append(f"Elo {latest['eval/elo']:,.0f}{interval}, where a random player has 0.")
    return said


def next_commands(run_dir: Path, episodes: bool = False, address: str = "") -> list[tuple[str, str]]:
    """(purpose, command) of what to do with a run now; each can be pasted into a shell."""
    folder = shlex.quote(address or str(run_dir))
    curves = shlex.quote("curves.png" if is_url(address) else str(Path(run_dir) / "curves.png"))
    measure = "--episodes 100" if episodes else "--against mcts:400 --games 100"
    commands = [
        *([] if episodes else [("play against it", f"fuseki play {folder}")]),
        ("measure it", f"fuseki eval {folder} {measure}"),
        ("plot its curves", f"fuseki plot {folder} --out {curves}"),
    ]
    folders = sorted((Path(run_dir) / "wandb").glob("offline-run-*"))
    if folders:
        pattern = f"{shlex.quote(str(Path(run_dir) / 'wandb'))}/offline-run-*"
        commands.append(("upload to W&B", f"wandb sync {pattern}"))
    return commands


def opponents(row: Mapping[str, float]) -> list[str]:
    """Names of the opponents that a row has scores against."""
    return [name.removeprefix("eval/score/") for name in row if name.startswith("eval/score/")]


def score_text(row: Mapping[str, float], opponent: str) -> str:
    """A score with its interval: "85% (71–93)"."""
    low, high = row.get(f"eval/score_low/{opponent}"), row.get(f"eval/score_high/{opponent}")
    interval = f" ({100 * low:.0f}–{100 * high:.0f})" if low is not None and high is not None else ""
    return f"{row[f'eval/score/{opponent}']:.0%}{interval}"


def clock(seconds: float) -> str:
    """Seconds as 4:05 or 1:04:05."""
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
