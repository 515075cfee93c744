"""Where the time of a cycle goes: what each process did in the last minute, as a trace for Perfetto or chrome://tracing.

Reads: what the driver is told anyway when a stretch of play, an update or an examination ends, each with the time that
it took. Writes: ``timeline.json`` in the run folder, in the Chrome trace event format
(https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU): one track a process, and a gap in it
where the process waited. Times are the driver's: when it heard of the end, and how long the other says that it took.
"""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rl.storage import replacing

if TYPE_CHECKING:
    from rl.records import RolloutReport, SelfPlayReport

log = logging.getLogger(__name__)

FILE = "timeline.json"
SECONDS = 60.0  # that the file covers
SPANS = 20_000  # at most; a thousand actors end 500 stretches a second


class Span(NamedTuple):
    track: str
    name: str
    begin: float  # seconds since the timeline began
    seconds: float
    told: dict[str, Any]


class Timeline:
    """The last minute of a run."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._spans: deque[Span] = deque(maxlen=SPANS)

    def played(self, actor: str, report: SelfPlayReport | RolloutReport) -> None:
        """Network and search (or environments) take turns thousands of times a second: their sums are shown."""
        told = {"moves or steps": report.env_steps, "evaluations": report.evaluations}
        begin = self._add(actor, "play", report.seconds, told)
        for name, seconds in _shares(report):
            self._spans.append(Span(actor, name, begin, seconds, {}))
            begin += seconds

    def trained(self, seconds: float, publishing: float, steps: int) -> None:
        begin = self._add("learner", "train and publish", seconds + publishing, {"updates so far": steps})
        self._spans.append(Span("learner", "train", begin, seconds, {}))
        self._spans.append(Span("learner", "publish", begin + seconds, publishing, {}))

    def examined(self, seconds: float) -> None:
        self._add("examiner", "examine", seconds, {})

    def _add(self, track: str, name: str, seconds: float, told: dict[str, Any]) -> float:
        end = time.monotonic() - self._began
        self._spans.append(Span(track, name, end - seconds, seconds, told))
        return end - seconds

    def events(self) -> list[dict[str, Any]]:
        """The last SECONDS as trace events; times in microseconds."""
        newest = time.monotonic() - self._began - SECONDS
        spans = [span for span in self._spans if span.begin >= newest]
        tracks = {track: number for number, track in enumerate(sorted({span.track for span in spans}, key=_order))}
        named: list[dict[str, Any]] = [
            {"ph": "M", "name": "thread_name", "pid": 1, "tid": number, "args": {"name": track}}
            for track, number in tracks.items()
        ]
        return named + [
            {
                "ph": "X",
                "name": span.name,
                "pid": 1,
                "tid": tracks[span.track],
                "ts": round(1e6 * span.begin),
                "dur": round(1e6 * span.seconds),
                "args": span.told,
            }
            for span in spans
        ]

    def write(self, run_dir: Path) -> None:
        """Into the run folder, where that can be written: a run does not end for want of a picture."""
        try:
            with replacing(run_dir / FILE) as file:
                file.write(json.dumps({"traceEvents": self.events()}).encode())
        except OSError as error:
            log.warning("cannot write %s: %s", FILE, error)


def _shares(report: SelfPlayReport | RolloutReport) -> list[tuple[str, float]]:
    network, world = report.evaluator_seconds, getattr(report, "environment_seconds", None)
    rest = max(0.0, report.seconds - network - (world or 0.0))
    if world is None:
        return [("network", network), ("search", rest)]
    return [("network", network), ("environments", world), ("rest", rest)]


def _order(track: str) -> tuple[bool, str]:
    return "@" in track, track  # learner and examiner first
