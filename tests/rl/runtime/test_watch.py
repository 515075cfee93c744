"""Who does how much, and the timeline: numbers that can be checked by hand."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from rl.records import RolloutReport, SelfPlayReport
from rl.runtime import watch
from rl.runtime.metrics import declared, metric
from rl.runtime.timeline import FILE, Timeline
from rl.runtime.watch import Watch


def report(moves: int, seconds: float = 2.0, network: float = 1.5) -> SelfPlayReport:
    return SelfPlayReport([], moves, 10 * moves, 0, seconds, network, 8)


def test_each_actor_s_and_node_s_part(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    seen = Watch()
    nodes = {0: "10.0.0.1", 1: "10.0.0.2"}  # the third has not said yet where it is
    seen.played(0, "10.0.0.1", report(30))
    seen.played(1, "10.0.0.2", report(50))
    seen.played(1, "10.0.0.2", report(50))
    seen.played(2, "?", report(70))
    now[0] += 9
    assert seen.row(nodes, {}, {0: 1, 1: 3}, 0) == {}, "too short a time to measure stretches of two seconds by"
    now[0] += 1
    assert seen.row(nodes, {}, {0: 1, 1: 3}, 6) == {
        "experience/waiting": 6,
        "actors/slowest_steps_per_second": 3.0,
        "nodes/actors/10.0.0.1": 1,
        "nodes/steps_per_second/10.0.0.1": 3.0,
        "nodes/evaluations_per_second/10.0.0.1": 30.0,
        "nodes/actors/10.0.0.2": 1,
        "nodes/steps_per_second/10.0.0.2": 10.0,
        "nodes/evaluations_per_second/10.0.0.2": 100.0,
        "actors/steps_per_second/0@10.0.0.1": 3.0,
        "actors/restarts/0@10.0.0.1": 0,
        "actors/lag/0@10.0.0.1": 1,
        "actors/steps_per_second/1@10.0.0.2": 10.0,
        "actors/restarts/1@10.0.0.2": 0,
        "actors/lag/1@10.0.0.2": 3,
    }
    # The first is replaced by one on the other machine.
    seen.played(0, "10.0.0.2", report(20))
    now[0] += 20
    row = seen.row({0: "10.0.0.2", 1: "10.0.0.2"}, {0: 1}, {1: 0}, 0)
    assert row["nodes/actors/10.0.0.2"] == 2 and "nodes/actors/10.0.0.1" not in row
    assert row["actors/restarts/0@10.0.0.2"] == 1 and "actors/lag/0@10.0.0.2" not in row
    assert row["actors/steps_per_second/0@10.0.0.2"] == 1.0, "nothing is counted twice"
    assert row["actors/slowest_steps_per_second"] == 0.0
    for name in row:
        assert metric(name).meaning


def test_many_actors_are_told_of_by_node_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SECONDS", 0.0)
    nodes = dict.fromkeys(range(watch.NAMED_ACTORS + 1), "10.0.0.1")
    row = Watch().row(nodes, {}, {}, 0)
    assert row["nodes/actors/10.0.0.1"] == watch.NAMED_ACTORS + 1
    assert not any("@" in name for name in row)
    assert "actors/slowest_steps_per_second" in row


def test_names_of_metrics_of_one_of_several() -> None:
    assert declared("actors/lag/3@10.0.0.7") == ("actors/lag/<actor>", "3@10.0.0.7")
    assert declared("eval/score/gtp:a/b c") == ("eval/score/<opponent>", "gtp:a/b c")
    assert declared("games") == ("games", "")
    for wrong in ("actors/lag", "actors/lag/", "actors/lag/<actor>", "nodes/lag/x", "actors"):
        with pytest.raises(ValueError, match="is not declared"):
            declared(wrong)


def test_the_timeline_shows_what_the_last_minute_went_into(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    line = Timeline()
    now[0] += 5
    line.played("actor 0@10.0.0.1", report(30, seconds=2.0, network=1.5))  # too old when it is written
    now[0] += 70
    line.played("actor 0@10.0.0.1", report(30, seconds=2.0, network=1.5))
    line.played("actor 1@10.0.0.2", RolloutReport([], 64, [], [], 64, 4.0, 1.0, 2.0))
    now[0] += 1
    line.trained(0.5, 0.25, 7)
    line.examined(3.0)
    line.write(tmp_path)
    events = json.loads((tmp_path / FILE).read_text())["traceEvents"]
    names = {event["tid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
    spans = [
        (names[event["tid"]], event["name"], event["ts"] / 1e6, event["dur"] / 1e6)
        for event in events
        if event["ph"] == "X"
    ]
    assert spans == [
        ("actor 0@10.0.0.1", "play", 73.0, 2.0),
        ("actor 0@10.0.0.1", "network", 73.0, 1.5),
        ("actor 0@10.0.0.1", "search", 74.5, 0.5),
        ("actor 1@10.0.0.2", "play", 71.0, 4.0),
        ("actor 1@10.0.0.2", "network", 71.0, 1.0),
        ("actor 1@10.0.0.2", "environments", 72.0, 2.0),
        ("actor 1@10.0.0.2", "rest", 74.0, 1.0),
        ("learner", "train and publish", 75.25, 0.75),
        ("learner", "train", 75.25, 0.5),
        ("learner", "publish", 75.75, 0.25),
        ("examiner", "examine", 73.0, 3.0),
    ]
    assert list(names.values()) == ["examiner", "learner", "actor 0@10.0.0.1", "actor 1@10.0.0.2"]
