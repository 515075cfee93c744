"""The terminal's view of a run: live figures, plain lines, the closing summary."""

from __future__ import annotations

import io
import logging
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from rl.config import Config, parse_config
from rl.runtime import progress as module
from rl.runtime.progress import Progress, clock, next_commands, strength, summary

ROW = {
    "env_steps": 30_000.0,
    "games": 1234.0,
    "learner_steps": 500.0,
    "evaluations": 90_000.0,
    "seconds": 90.0,
    "selfplay/evaluations_per_second": 4321.0,
    "learner/policy_loss": 1.25,
    "learner/value_loss": 0.5,
    "learner/lag_mean": 12.0,
    "learner/lag_max": 40.0,
    "experience/reuse": 2.5,
    "experience/rows_total": 30_000.0,
}
EVALUATION = {
    "eval/accuracy_network": 0.75,
    "eval/accuracy_search": 0.9,
    "eval/score/random": 1.0,
    "eval/score_low/random": 0.91,
    "eval/score_high/random": 1.0,
    "eval/score/mcts:100": 0.55,
    "eval/score_low/mcts:100": 0.4,
    "eval/score_high/mcts:100": 0.69,
    "eval/score/[solver]": 0.1,
    "eval/score_low/[solver]": 0.04,
    "eval/score_high/[solver]": 0.23,
    "eval/elo": 1050.0,
    "eval/elo_low": 990.0,
    "eval/elo_high": 1110.0,
}


def config(**run: object) -> Config:
    data = {"env": "connect_four", "net": {"encoder": {"kind": "mlp"}}, "run": run or {"minutes": 5}}
    return parse_config(data, "test")


def plain(width: int = 200) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=False)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_without_a_terminal_there_is_a_line_every_ten_seconds_and_one_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    console = plain()
    with Progress(config(minutes=5), console) as progress:
        progress.note("actor 3 died and is replaced")
        for second in range(25):
            now[0] = 100.0 + second
            progress.update(ROW | {"seconds": 90.0 + second})
    lines = written(console).splitlines()
    assert lines[0].endswith("actor 3 died and is replaced")
    assert [line.split()[0] for line in lines[1:]] == ["1:30", "1:40", "1:50", "1:54"]
    assert "(30%, 3:30 left)" in lines[1]
    for part in ("games 1,234", "evaluations/s 4,321", "updates 500", "policy 1.250", "lag 12 (max 40)", "reuse 2.50"):
        assert part in lines[1]


def test_the_time_left_follows_the_budget_that_ends_first() -> None:
    console = plain()
    with Progress(config(minutes=60, learner_steps=1000), console) as progress:
        assert progress.left() == 3600
        progress.update(ROW | {"seconds": 100.0, "learner_steps": 400.0})  # a resumed session begins here
        assert progress.left() == 3500
        progress.update({"seconds": 110.0, "learner_steps": 500.0})  # 10 steps a second: 50 s for the other 500
        assert progress.left() == pytest.approx(50)
        assert progress.used() == 0.5


def test_before_training_starts_the_line_says_what_it_waits_for() -> None:
    progress = Progress(config(), plain())
    progress.update({"learner_steps": 0.0, "experience/rows_total": 150.0})
    assert "waits for rows 150 of 2,000" in progress.line()


def test_a_diverged_loss_is_shown_as_it_is() -> None:
    progress = Progress(config(), plain())
    progress.update(ROW | {"learner/policy_loss": float("nan")})
    assert "policy nan" in progress.line()


@pytest.mark.parametrize("width", [50, 80, 160])
def test_on_a_terminal_the_figures_are_live_and_the_log_stays_above_them(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    handler = logging.StreamHandler()
    logging.getLogger().addHandler(handler)
    console = Console(file=io.StringIO(), width=width, force_terminal=True, _environ={"TERM": "xterm"})
    try:
        with Progress(config(), console) as progress:
            progress.update(ROW | EVALUATION)
            progress.note("the examiner died and is replaced")
            logging.getLogger("test").warning("a line of the log")
        assert handler.stream is stderr
    finally:
        logging.getLogger().removeHandler(handler)
    text = written(console)
    for part in ("self-play", "1,234", "90.0%", "vs [solver]", "10% (4–23)", "1,050", "the examiner died"):
        assert part in text
    assert "a line of the log" in text
    assert stderr.getvalue() == ""


def test_a_note_from_a_signal_handler_in_the_middle_of_a_write_is_said_later(monkeypatch: pytest.MonkeyPatch) -> None:
    console = plain()
    progress = Progress(config(), console)
    with monkeypatch.context() as patch:

        def busy(*_: object, **__: object) -> None:
            raise RuntimeError("reentrant call inside <_io.BufferedWriter>")

        patch.setattr(console, "print", busy)
        progress.note("stopping")
    assert written(console) == ""
    progress.update(ROW)
    assert "stopping" in written(console)


def test_the_summary_says_how_good_the_agent_is_and_what_to_type_next(tmp_path: Path) -> None:
    run_dir = tmp_path / ("a long name, with spaces " * 5)
    (run_dir / "wandb" / "offline-run-1-x").mkdir(parents=True)
    console = plain(width=70)
    clock_row = {name: ROW[name] for name in ("env_steps", "games", "learner_steps", "evaluations", "seconds")}
    rows = [clock_row | EVALUATION, ROW | {"learner_steps": 600.0}]
    summary(console, rows, run_dir, "connect_four")
    text = written(console)
    flat = " ".join(text.replace("│", " ").split())
    assert "in 90.0% of positions (the network alone: 75.0%)" in flat
    assert "Beats random: 100% of the points (95 % interval 91% to 100%)." in flat
    assert "Is not clearly better or worse than mcts:100" in flat
    assert "Loses to [solver]" in flat
    assert "Elo 1,050 (95 % interval 990 to 1,110)" in flat
    assert "Measured at update 500" in flat
    for command in ("play", "eval", "plot"):
        # In one line however narrow the terminal, and quoted, so that it can be pasted.
        assert [line for line in text.splitlines() if f"fuseki {command} '{run_dir}'" in line]
    assert f"wandb sync '{run_dir / 'wandb'}'/offline-run-*" in text


def test_a_run_that_was_never_evaluated_says_so(tmp_path: Path) -> None:
    for rows in ([], [ROW]):
        console = plain()
        summary(console, rows, tmp_path, "connect_four")
        assert "not evaluated" in written(console)
    assert strength(ROW) == []
    assert [purpose for purpose, _ in next_commands(tmp_path)] == ["play against it", "measure it", "plot its curves"]


def test_times_read_like_a_clock() -> None:
    assert [clock(s) for s in (0, 65.9, 3599, 3600, 36_065)] == ["0:00", "1:05", "59:59", "1:00:00", "10:01:05"]


def test_the_live_clock_goes_on_between_two_rows() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "xterm"})
    with Progress(config(), console) as progress:
        progress.update(ROW)
        time.sleep(0.05)
        assert progress.elapsed() > ROW["seconds"] + 0.04
