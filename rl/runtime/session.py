"""What a run is, whoever drives it: its folder, its clock, its metrics and its checkpoints."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from rl.config import Config, ConfigError, EpisodeEvaluationConfig, parse_config
from rl.evaluation.examination import Examination
from rl.records import Tensors, Weights
from rl.runtime.checkpoint import Checkpoint, StorageError, latest_checkpoint, load_checkpoint, save_checkpoint
from rl.runtime.folder import RunFolder
from rl.runtime.kinds import Report, Stretch, check, must_match
from rl.runtime.metrics import FILE, MetricsLog, read_metrics, trim
from rl.runtime.progress import Progress
from rl.storage import is_url, place
from rl.weights import SNAPSHOTS, WEIGHTS_FILE, save_agent

if TYPE_CHECKING:
    from rl.nets.loading import Transfer

T = TypeVar("T")

BEST = "best"  # folder with the agent of the best evaluation so far, of runs that are evaluated by episodes
LOG_SECONDS = (0.5, 5.0)  # between two rows of metrics: at first, so that a short run has curves too, and at last
LOG_SHARE = 0.02  # of the time so far, in between
OUTAGE_SECONDS = 300.0  # that a run waits for the store of its folder


@dataclass
class Clock:
    """The one clock of a run; every row of metrics carries it."""

    env_steps: int = 0  # moves played, or steps of the environments
    games: int = 0  # games, or episodes, finished
    learner_steps: int = 0
    evaluations: int = 0  # positions or observations evaluated by the actors' networks
    seconds: float = 0.0  # wall time, resumed sessions added up


class Session:
    """Opens a run's folder, new or to be resumed, and keeps its books while it is driven."""

    def __init__(self, config: Config, run_dir: str | Path, resume: bool, whole: bool = True):
        """Raises ConfigError, in one sentence, when the folder does not fit what was asked for.

        ``whole``: a checkpoint that is resumed is read with its parts; else others read those.
        """
        self.config, self.folder = config, RunFolder(run_dir)
        self.run_dir, self.checkpoints = self.folder.path, self.folder.checkpoints
        newest = latest_checkpoint(self.checkpoints)
        if resume and newest is None:
            raise ConfigError(f"there is no checkpoint to resume in {self.folder}; leave out --resume to begin anew")
        if newest is not None and not resume:
            raise ConfigError(f"{self.folder} holds a run already; add --resume or choose another --run-dir")
        taken = check(config, new=newest is None)  # whatever is wrong is said before anything is written
        self.restored_from = newest
        self.restored: Checkpoint | None = None
        self.clock = Clock()
        if newest is not None:
            self.restored = load_checkpoint(newest, lambda parts: parts if whole else [])
            self._check_same_run("actors" in self.restored.state)
            self.clock = Clock(**self.restored.state["clock"])
            told = trim(self.run_dir, self.clock.learner_steps, self.clock.env_steps)
            self.clock.seconds = max(self.clock.seconds, told)  # the curves never go back in time
            self._forget_snapshots()
        self.run_dir.mkdir(parents=True, exist_ok=True)
        (self.run_dir / "config.yaml").write_text(config.to_yaml())
        self.folder.send()
        # What was taken over from learner.init_from, told in every checkpoint of the run.
        self.origin = self.restored.state.get("origin") if self.restored else _origin(config, taken)
        wandb_id = self.restored.state["wandb_run_id"] if self.restored else None
        self.metrics = MetricsLog(self.run_dir, config, wandb_id)
        self.progress = Progress(config)
        self._before = self.clock.seconds  # of earlier sessions
        self._checkpointed = self._examined = self._logged = time.monotonic()
        self._snapshots = 0  # parts of the budget after which one was kept
        self._started = math.inf  # nothing is charged before the driver says that everything is in place
        self.stopping = False  # asked to end by Ctrl-C or SIGTERM
        self.over = False  # by evaluation.stop_at or evaluation.patience
        self._best: float | None = None  # mean return of the best examination so far, and
        self._worse = 0  # how many came after it
        self._recall()
        self._handlers: dict[signal.Signals, Any] = {}
        self._stretch = Stretch()
        self._busy = 0.0
        self._latest: dict[str, float] = {}
        self._formats: set[str] = set()  # that actors have reported

    def _check_same_run(self, in_flight: bool) -> None:
        path = self.run_dir / "config.yaml"
        old = parse_config(yaml.safe_load(path.read_text()), str(path))
        differs = must_match(old, self.config, in_flight)
        if differs == "env_options":
            raise ConfigError(
                f"'env_options' give other shapes than the run in {self.folder} has, which cannot be resumed"
            )
        if differs is not None:
            raise ConfigError(f"{differs!r} differs from the run in {self.folder}, which cannot be resumed")

    def __enter__(self) -> Session:
        self.progress.__enter__()
        self.folder.keep_sending()
        if threading.current_thread() is threading.main_thread():
            self._handlers = {s: signal.signal(s, self._stop) for s in (signal.SIGINT, signal.SIGTERM)}
        if self.origin is not None and self.restored is None:
            self.progress.note(self.origin["text"])
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
        try:
            self.folder.close()
        except StorageError:
            if error is None:
                raise  # else what ended the run is the news

    def begin(self) -> None:
        """Everything is in place: the clock starts now. (Imports, compilation and measurements are not charged.)

        Once: a run that went back to a checkpoint on its way is not begun again.
        """
        if self._started < math.inf:
            return
        self._started = time.monotonic()
        self._checkpointed = self._examined = self._logged = self._started
        self._snapshots = math.floor(self.used() * self.config.run.snapshots)

    def tick(self) -> Clock:
        """The clock, brought up to now."""
        self.clock.seconds = self._before + max(0.0, time.monotonic() - self._started)
        return self.clock

    def used(self) -> float:
        """Share of the budget that is used, in [0, 1]; at 1 the run is over."""
        if self.over:
            return 1.0
        return self.config.run.used(asdict(self.tick()))

    def played(self, report: Report) -> None:
        """Count one actor's stretch of play. (Its games may have been taken out by then: see ``Stretch``.)"""
        self.clock.env_steps += report.env_steps
        self.clock.evaluations += report.evaluations
        self._stretch.add(report)
        # A slower one than last time is the first thing to look at when a run is slow.
        number_format = getattr(report, "format", "")
        if number_format and number_format not in self._formats:
            self._formats.add(number_format)
            self.progress.note(f"self-play evaluates positions in {number_format}")

    def finished(self, summary: dict[str, float]) -> None:
        """Count finished games or episodes, given as ``summarise`` gave them."""
        self.clock.games += int(summary["games"])
        self._stretch.add_finished(summary)

    def learned(self, steps: int, measures: dict[str, float], busy_seconds: float) -> None:
        """Count updates; ``busy_seconds``: what the learner has spent in updates since it was started."""
        self.clock.learner_steps = steps
        self._stretch.add_measures(measures, busy_seconds - self._busy)
        self._busy = busy_seconds

    def log_due(self) -> bool:
        now = time.monotonic()
        return now - self._logged >= min(max(LOG_SECONDS[0], LOG_SHARE * (now - self._started)), LOG_SECONDS[1])

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

    def patiently(self, using: Callable[[], T]) -> T:
        """``using()`` the run's folder; where that is a URL, again and again while an outage of its store lasts.

        Training stands still meanwhile. Raises StorageError when it lasts longer than OUTAGE_SECONDS.
        """
        begun, wait = time.monotonic(), 1.0
        while True:
            try:
                return using()
            except StorageError as error:
                left = OUTAGE_SECONDS - (time.monotonic() - begun)
                if not is_url(self.folder.address) or left < wait:
                    raise
                self.progress.note(f"{error}; trying again for {left:.0f} s")
                time.sleep(wait)
                wait = min(2 * wait, 30.0)

    def book(self) -> dict:
        """The JSON-able part of a checkpoint that the session itself needs."""
        return {"clock": asdict(self.tick()), "wandb_run_id": self.metrics.wandb_run_id, "origin": self.origin}

    def checkpoint_done(self) -> None:
        self._checkpointed = time.monotonic()

    def snapshot_due(self) -> bool:
        """Whether another of the ``run.snapshots`` parts of the budget is used up."""
        return math.floor(self.used() * self.config.run.snapshots) > self._snapshots

    def keep_snapshot(self, weights: Weights) -> None:
        """Keep these weights as an agent of its own, whose info is the clock."""
        self._snapshots = math.floor(self.used() * self.config.run.snapshots)
        folder = self.run_dir / SNAPSHOTS
        folder.mkdir(exist_ok=True)
        save_agent(folder / f"{weights.version:08d}.safetensors", weights, self.config, asdict(self.tick()))

    def _forget_snapshots(self) -> int:
        """Remove those beyond the counters, whose updates will be done again; returns how many there were."""
        beyond = set()
        for folder in {self.run_dir, place(self.folder.address)}:  # at a URL, what was sent there too
            for path in (folder / SNAPSHOTS).glob("*.safetensors"):
                if int(path.stem) > self.clock.learner_steps:
                    beyond.add(path.name)
                    path.unlink()
        return len(beyond)

    def examination_due(self) -> bool:
        return time.monotonic() - self._examined >= 60 * self.config.evaluation.minutes

    def examination_begun(self) -> None:
        self._examined = time.monotonic()

    def examined(self, found: Examination) -> bool:
        """Log an examination as a row of its own; whether it was the best so far, by its mean return.

        The run ends where it is good enough (``evaluation.stop_at``), or has not become better for too long
        (``evaluation.patience``).
        """
        self._write(found.metrics)
        mean = found.metrics.get("eval/return_mean")
        better = mean is not None and self._judge(mean)
        for name, text in found.games.items():
            self.metrics.text(f"{found.version:08d}-{name}", text, asdict(self.clock))
        for folder, files in found.files.items():
            self.metrics.files(folder, files)
        for name, content in found.videos.items():
            self.metrics.video(f"{found.version:08d}-{name}", content, asdict(self.clock))
        return better

    def _judge(self, mean: float) -> bool:
        settings = self.config.evaluation
        assert isinstance(settings, EpisodeEvaluationConfig), "others have no return"
        better = self._count(mean)
        if self.over:
            return better
        if settings.stop_at is not None and mean >= settings.stop_at:
            self.over = True
            self.progress.note(f"the mean return has reached {settings.stop_at:g}: the run ends")
        elif settings.patience is not None and self._worse >= settings.patience:
            self.over = True
            self.progress.note(
                f"{self._worse} evaluations in a row brought no better mean return than {self._best:,.1f}: the run "
                f"ends; the best weights are in {self.folder.address}/{BEST}"
            )
        return better

    def _count(self, mean: float) -> bool:
        """Whether this return is better than all before; if not, it is one more in a row that is not."""
        better = self._best is None or mean > self._best
        self._best, self._worse = (mean, 0) if better else (self._best, self._worse + 1)
        return better

    def keep_best(self, weights: Weights) -> None:
        """Keep the weights that ``examined`` has found to be the best, as an agent in the run folder."""
        (self.run_dir / BEST).mkdir(exist_ok=True)
        info = asdict(self.clock) | {"return_mean": self._best}
        save_agent(self.run_dir / BEST / WEIGHTS_FILE, weights, self.config, info)

    def _recall(self) -> None:
        """What the rows say of the examinations so far."""
        self._best, self._worse = None, 0
        for row in read_metrics(self.run_dir) if (self.run_dir / FILE).exists() else ():
            if "eval/return_mean" in row:
                self._count(row["eval/return_mean"])

    def rewind(self, book: dict) -> None:
        """The learner fell back to an older checkpoint: so do the counters and the curves; wall time goes on."""
        seconds = self.tick().seconds
        self.clock = Clock(**book["clock"])
        self.clock.seconds = seconds
        self._stretch, self._busy = Stretch(), 0.0
        trim(self.run_dir, self.clock.learner_steps, self.clock.env_steps)
        self._snapshots -= self._forget_snapshots()  # which are to be kept anew
        self._recall()


def _origin(config: Config, taken: Transfer | None) -> dict[str, Any] | None:
    """What a new run takes over from another agent, for its checkpoints and for people; None where it is nothing."""
    if taken is None:
        return None
    text = f"learner.init_from: took over from {config.learner.init_from} {taken}"
    return {"init_from": config.learner.init_from, "text": text} | asdict(taken)


def write_checkpoint(
    config: Config, root: str, parts: dict[str, Tensors], state: dict, weights: Weights, book: dict
) -> str:
    """Save everything of a run under ``root``; ``weights`` are the ones that actors and players use."""
    info: dict[str, Any] = {"resign_below": state["comebacks"]["resign_below"]} if "comebacks" in state else {}
    info |= {"origin": book["origin"]} if book.get("origin") else {}
    clock = ("games", "env_steps", "evaluations", "seconds")
    info |= {"learner_steps": weights.version, **{k: book["clock"][k] for k in clock}}
    return save_checkpoint(
        root, weights.version, parts, state | book, weights, config, info, keep=config.run.keep_checkpoints
    )
