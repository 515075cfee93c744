"""What a run is, whoever drives it: its folder, its clock, its metrics and its checkpoints."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import yaml

import envs
from rl.agent import locate
from rl.config import Config, ConfigError, parse_config
from rl.evaluation.examiner import PREVIOUS, Examination
from rl.evaluation.players import EvaluationError, check_opponent
from rl.learner import Learner
from rl.records import GameRecord, SelfPlayReport, Tensors, Weights
from rl.runtime.checkpoint import Checkpoint, latest_checkpoint, load_checkpoint, save_checkpoint
from rl.runtime.metrics import MetricsLog, trim
from rl.runtime.progress import Progress
from rl.weights import AgentError, load_agent, resolve

# Sections that a resumed run may not change, since the shapes in its checkpoint depend on them.
MUST_MATCH = ("env", "net")
MUST_MATCH_IN_FLIGHT = ("search", "selfplay")  # where the checkpoint holds games and searches in flight
LOG_SECONDS = 5.0  # between two rows of metrics in async mode


@dataclass
class Clock:
    """The one clock of a run; every row of metrics carries it."""

    env_steps: int = 0  # moves played
    games: int = 0  # games finished
    learner_steps: int = 0
    evaluations: int = 0  # positions evaluated by self-play networks
    seconds: float = 0.0  # wall time, resumed sessions added up


class Session:
    """Opens a run's folder, new or to be resumed, and keeps its books while it is driven."""

    def __init__(self, config: Config, run_dir: Path, resume: bool):
        """Raises ConfigError, in one sentence, when the folder does not fit what was asked for."""
        self.config, self.run_dir = config, Path(run_dir)
        self.checkpoints = self.run_dir / "checkpoints"
        for opponent in config.evaluation.opponents if config.evaluation.games else ():
            try:
                if opponent != PREVIOUS:
                    check_opponent(opponent)
            except EvaluationError as error:
                raise ConfigError(f"evaluation.opponents: {error}") from error
        newest = latest_checkpoint(self.checkpoints)
        if resume and newest is None:
            raise ConfigError(f"there is no checkpoint to resume in {str(run_dir)!r}; leave out --resume to begin anew")
        if newest is not None and not resume:
            raise ConfigError(f"{str(run_dir)!r} holds a run already; add --resume or choose another --run-dir")
        self.restored_from = newest
        self.restored: Checkpoint | None = None
        self.clock = Clock()
        if newest is not None:
            self.restored = load_checkpoint(newest)
            self._check_same_run("actors" in self.restored.state)
            self.clock = Clock(**self.restored.state["clock"])
            told = trim(self.run_dir, self.clock.learner_steps, self.clock.env_steps)
            self.clock.seconds = max(self.clock.seconds, told)  # the curves never go back in time
        else:
            # Whatever is wrong with what the run begins with is said before anything is written.
            starting_window(config)
            if (weights := starting_weights(config)) is not None:
                try:
                    Learner(envs.make(config.env, **config.env_options), config, "cpu").begin_with(weights)
                except ValueError as error:
                    raise ConfigError(f"learner.start_from: {config.learner.start_from!r}: {error}") from error
        self.run_dir.mkdir(parents=True, exist_ok=True)
        (self.run_dir / "config.yaml").write_text(config.to_yaml())
        wandb_id = self.restored.state["wandb_run_id"] if self.restored else None
        self.metrics = MetricsLog(self.run_dir, config, wandb_id)
        self.progress = Progress(config)
        self._before = self.clock.seconds  # of earlier sessions
        self.begin()
        self._started = math.inf  # nothing is charged before the driver says that everything is in place
        self.stopping = False  # asked to end by Ctrl-C or SIGTERM
        self._handlers: dict[signal.Signals, Any] = {}
        self._stretch = Stretch()
        self._busy = 0.0
        self._latest: dict[str, float] = {}

    def _check_same_run(self, in_flight: bool) -> None:
        path = self.run_dir / "config.yaml"
        old = parse_config(yaml.safe_load(path.read_text()), str(path))
        for section in MUST_MATCH + (MUST_MATCH_IN_FLIGHT if in_flight else ()):
            if getattr(old, section) != getattr(self.config, section):
                raise ConfigError(f"{section!r} differs from the run in {str(self.run_dir)!r}, which cannot be resumed")
        if _shapes(old) != _shapes(self.config):  # another komi is no other game
            raise ConfigError(
                f"'env_options' give other shapes than the run in {str(self.run_dir)!r} has, which cannot be resumed"
            )

    def __enter__(self) -> Session:
        self.progress.__enter__()
        if threading.current_thread() is threading.main_thread():
            self._handlers = {s: signal.signal(s, self._stop) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """The first Ctrl-C (or SIGTERM) lets the iteration end and saves a checkpoint; the second leaves at once."""
        if self.stopping:
            raise KeyboardInterrupt
        self.stopping = True
        self.progress.note("stopping: saving a checkpoint (once more to leave at once)")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self.progress.__exit__(kind, error, trace)
        self.metrics.close()

    def begin(self) -> None:
        """Everything is in place: the clock starts now. (Imports, compilation and measurements are not charged.)"""
        self._started = time.monotonic()
        self._checkpointed = self._examined = self._logged = self._started

    def tick(self) -> Clock:
        """The clock, brought up to now."""
        self.clock.seconds = self._before + max(0.0, time.monotonic() - self._started)
        return self.clock

    def used(self) -> float:
        """Share of the budget that is used, in [0, 1]; at 1 the run is over."""
        clock, run = self.tick(), self.config.run
        by_clock = clock.seconds / (60 * run.minutes) if run.minutes else 0.0
        by_steps = clock.learner_steps / run.learner_steps if run.learner_steps else 0.0
        return min(1.0, max(by_clock, by_steps))

    def played(self, report: SelfPlayReport) -> None:
        """Count one actor's stretch of play. (Its games may have been taken out by then: see ``Stretch``.)"""
        self.clock.env_steps += report.moves
        self.clock.evaluations += report.evaluations
        self._stretch.add(report)

    def finished(self, summary: dict[str, float]) -> None:
        """Count finished games, given as ``summarise`` gave them."""
        self.clock.games += int(summary["games"])
        self._stretch.add_games(summary)

    def learned(self, steps: int, measures: dict[str, float], busy_seconds: float) -> None:
        """Count updates; ``busy_seconds``: what the learner has spent in updates since it was started."""
        self.clock.learner_steps = steps
        self._stretch.add_measures(measures, busy_seconds - self._busy)
        self._busy = busy_seconds

    def log_due(self) -> bool:
        return time.monotonic() - self._logged >= LOG_SECONDS

    def log(self, extra: dict[str, float]) -> None:
        """Write one row: the clock, what happened since the last one, and ``extra``."""
        now = time.monotonic()
        measured = self._stretch.metrics(now - self._logged) | extra
        self._logged, self._stretch = now, Stretch()
        self._write(measured)

    def _write(self, measured: dict[str, float]) -> None:
        row = asdict(self.tick()) | measured
        self.metrics.log(row)
        self._latest |= row
        self.progress.update(self._latest)

    def checkpoint_due(self) -> bool:
        return time.monotonic() - self._checkpointed >= 60 * self.config.run.checkpoint_minutes

    def book(self) -> dict:
        """The JSON-able part of a checkpoint that the session itself needs."""
        return {"clock": asdict(self.tick()), "wandb_run_id": self.metrics.wandb_run_id}

    def checkpoint_done(self) -> None:
        self._checkpointed = time.monotonic()

    def examination_due(self) -> bool:
        return time.monotonic() - self._examined >= 60 * self.config.evaluation.minutes

    def examination_begun(self) -> None:
        self._examined = time.monotonic()

    def examined(self, found: Examination) -> None:
        """Log an examination as a row of its own."""
        self._write(found.metrics)
        for name, text in found.games.items():
            self.metrics.text(f"{found.version:08d}-{name}", text, asdict(self.clock))
        for folder, files in found.files.items():
            self.metrics.files(folder, files)

    def rewind(self, book: dict) -> None:
        """The learner fell back to an older checkpoint: so do the counters and the curves; wall time goes on."""
        seconds = self.tick().seconds
        self.clock = Clock(**book["clock"])
        self.clock.seconds = seconds
        self._stretch, self._busy = Stretch(), 0.0
        trim(self.run_dir, self.clock.learner_steps, self.clock.env_steps)


class Stretch:
    """What happened between two rows of metrics."""

    def __init__(self) -> None:
        self.moves = self.evaluations = self.simulations = 0
        self.seconds = self.inside = self.busy = 0.0
        self.totals: dict[str, float] = defaultdict(float)
        self.measures: list[dict[str, float]] = []

    def add(self, report: SelfPlayReport) -> None:
        self.moves += report.moves
        self.evaluations += report.evaluations
        self.simulations = report.simulations
        self.seconds += report.seconds
        self.inside += report.evaluator_seconds

    def add_games(self, summary: dict[str, float]) -> None:
        for name, value in summary.items():
            self.totals[name] += value

    def add_measures(self, measures: dict[str, float], busy: float) -> None:
        self.busy += busy
        if measures:
            self.measures.append(measures)

    def metrics(self, elapsed: float) -> dict[str, float]:
        row: dict[str, float] = {}
        if self.moves:
            row |= {
                "selfplay/games_per_second": self.totals["games"] / elapsed,
                "selfplay/evaluations_per_second": self.evaluations / elapsed,
                "selfplay/moves_per_second": self.moves / elapsed,
                "selfplay/simulations": self.simulations,
                "selfplay/evaluator_share": self.inside / self.seconds,
            }
        if games := self.totals["games"]:
            row |= {
                "selfplay/game_length": self.totals["moves"] / games,
                "selfplay/first_player_score": self.totals["first_points"] / games,
                "selfplay/draw_share": self.totals["draws"] / games,
                "selfplay/proven_share": self.totals["proven"] / self.totals["moves"],
            }
        if self.measures:
            row["learner/wait_fraction"] = max(0.0, 1.0 - self.busy / elapsed)
            for name in self.measures[0]:
                values = [m[name] for m in self.measures]
                row[name] = max(values) if name == "learner/lag_max" else sum(values) / len(values)
        return row


def _shapes(config: Config) -> tuple[Any, ...]:
    """What games in a window and a network's weights depend on."""
    game = envs.make(config.env, **config.env_options)
    return config.env, game.plane_shape, game.num_actions, game.state_size


def starting_weights(config: Config) -> Weights | None:
    """The weights that ``learner.start_from`` names. Raises ConfigError when there are none."""
    if config.learner.start_from is None:
        return None
    try:
        return load_agent(locate(config.learner.start_from)).weights
    except AgentError as error:
        raise ConfigError(f"learner.start_from: {error}") from error


def starting_window(config: Config) -> tuple[Tensors, dict] | None:
    """The replay window of the run that ``experience.start_from`` names.

    Raises ConfigError when it is none, or of another game, or CheckpointError when it is damaged.
    """
    source = config.experience.start_from
    if source is None:
        return None
    try:
        file = resolve(source)
        theirs = load_agent(file).config
    except AgentError as error:
        raise ConfigError(f"experience.start_from: {error}") from error
    if _shapes(theirs) != _shapes(config):
        raise ConfigError(f"experience.start_from: {source!r} is a run of another game, or one of other shapes")
    found = load_checkpoint(file.parent)
    if "experience" not in found.parts:
        raise ConfigError(f"experience.start_from: {source!r} holds no replay window; give a run or its checkpoint")
    return found.parts["experience"], found.state["experience"]


def summarise(games: list[GameRecord]) -> dict[str, float]:
    """Sums over finished games, small enough to travel everywhere: games, moves, first_points, draws, proven."""
    return {
        "games": len(games),
        "moves": sum(len(g.actions) for g in games),
        "first_points": sum((g.outcome + 1) / 2 for g in games),
        "draws": sum(g.outcome == 0 for g in games),
        "proven": sum(int((g.proven != 0).sum()) for g in games),
    }


def write_checkpoint(
    config: Config, root: Path, parts: dict[str, Tensors], state: dict, weights: Weights, book: dict
) -> str:
    """Save everything of a run under ``root``; ``weights`` are the ones that actors and players use."""
    info: dict[str, Any] = {"resign_below": state["comebacks"]["resign_below"]}
    info |= {"learner_steps": weights.version, **{k: book["clock"][k] for k in ("games", "env_steps", "seconds")}}
    return save_checkpoint(
        root, weights.version, parts, state | book, weights, config, info, keep=config.run.keep_checkpoints
    )
