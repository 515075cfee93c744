"""Whole comparisons, small: what is trained and measured, that nothing is done twice, and what is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from rl.compare import compare, make_plan
from rl.compare.measuring import Effort
from rl.compare.plan import Matches, Plan, Wrong
from rl.compare.results import pairs, table
from rl.compare.running import Interrupted, run
from rl.curves import student_interval
from rl.runtime import train
from tests.rl.runtime.runs import write_config

EFFORT = Effort(positions=200, games=4, episodes=3)


def plan_of(tmp_path: Path, kind: str, *changes: str, seeds: int = 2, budget: str = "learner_steps=12") -> Plan:
    path = write_config(tmp_path / "base.yaml", kind, minutes=1, sync_moves=4)
    return make_plan([f"{path} {change}".strip() for change in changes], seeds, budget, snapshots=2)


@pytest.mark.parametrize(
    ("kind", "changes", "strength"),
    [
        ("games", ("label=small", "net.encoder.width=48 label=wide"), "accuracy"),
        ("games", ("env=hex3 label=small", "env=hex3 net.encoder.width=48 label=wide"), "elo"),
        ("ppo", ("label=small", "net.encoder.width=24 label=wide"), "return"),
    ],
)
def test_a_comparison_trains_measures_and_goes_on_where_it_was(
    kind: str, changes: tuple[str, ...], strength: str, tmp_path: Path
) -> None:
    plan, out = plan_of(tmp_path, kind, *changes), tmp_path / "out"
    said: list[str] = []
    result = compare(plan, out, serial=True, effort=EFFORT, step=said.append)
    [found] = result["environments"]
    assert found["strength"] == strength
    assert [row["label"] for row in found["contenders"]] == ["small", "wide"]
    for row in found["contenders"]:
        assert len(row["runs"]) == 2 and row["compute"]["learner_steps"] >= 12
        for seeded in row["runs"]:
            assert seeded["points"][-1]["learner_steps"] >= 12
            assert all(np.isfinite(point["strength"]) for point in seeded["points"])
        for outcome in row["final"].values():
            mean, low, high = student_interval(outcome["values"])
            assert outcome["mean"] == pytest.approx(mean)
            if strength != "accuracy":  # whose ends stay within 0 and 1
                assert (outcome["low"], outcome["high"]) == (pytest.approx(low), pytest.approx(high))
    assert found["contenders"][0]["parameters"] < found["contenders"][1]["parameters"]
    if strength != "return":
        alone, searching = found["matches"]
        assert alone["games"] == searching["games"] == 8 and searching["simulations"] == [4, 4]
        points = [(w + d / 2) / 4 for w, d, _ in alone["results"]]
        assert len(list((out / "games").glob("*/*"))) == 2 * 8
        assert alone["score"] == pytest.approx(np.mean(points))
    small, wide = found["contenders"]
    assert "change" not in small
    for name, change in wide["change"].items():
        differences = np.subtract(wide["final"][name]["values"], small["final"][name]["values"])
        assert (change["mean"], change["low"], change["high"]) == pytest.approx(student_interval(list(differences)))
    assert json.loads((out / "compare.json").read_text()) == json.loads(json.dumps(result))
    assert (out / "compare.md").read_text() == table(result) and "small" in table(result)
    assert (out / "compare.png").stat().st_size > 10_000
    # Once more: nothing is trained or measured again, and all is as before.
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.parent != out}
    matches = (out / "matches.json").stat().st_mtime_ns if strength != "return" else 0
    again = compare(plan, out, serial=True, effort=EFFORT, step=said.append)
    assert again == result
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    assert not matches or (out / "matches.json").stat().st_mtime_ns == matches
    assert sum("measuring" in text for text in said) == 4


def test_a_run_that_was_stopped_goes_on(tmp_path: Path) -> None:
    plan, out = plan_of(tmp_path, "games", "label=a", "label=b seed=3", seeds=1), tmp_path / "out"
    contender = plan.contenders[0]
    config, folder = plan.config(contender, 0), contender.folder(out, 0)
    # As Ctrl-C leaves it: half of the budget used, and a configuration that says the whole.
    half = config.model_copy(update={"run": config.run.model_copy(update={"learner_steps": 6})})
    train(half, folder, serial=True)
    (folder / "config.yaml").write_text(config.to_yaml())
    run(plan, contender, 0, out, serial=True)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["learner_steps"] == 12 and any(row["learner_steps"] <= 6 for row in rows)


def test_a_folder_of_another_comparison_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    plan = plan_of(tmp_path, "games", "label=a", "label=b seed=3", seeds=1)
    folder = plan.contenders[0].folder(out, 0)
    folder.mkdir(parents=True)
    other = plan.config(plan.contenders[0], 0).model_dump(mode="json")
    other["learner"]["learning_rate"] = 0.5
    (folder / "config.yaml").write_text(yaml.safe_dump(other))
    with pytest.raises(Wrong, match=r"learner.learning_rate 0.5 there, 0.002 here"):
        run(plan, plan.contenders[0], 0, out, serial=True)


def test_a_run_that_ends_early_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rl.runtime.session import Session

    monkeypatch.setattr(Session, "snapshot_due", lambda self: False)  # ..., as if it had been stopped before the first
    plan = plan_of(tmp_path, "games", "label=a", "label=b seed=3", seeds=1)
    with pytest.raises(Interrupted, match="a, seed 0"):
        run(plan, plan.contenders[0], 0, tmp_path / "out", serial=True)


def test_who_plays_whom_is_chosen(tmp_path: Path) -> None:
    changes = ("label=a", "label=b seed=3", "label=c seed=4")
    plan = plan_of(tmp_path, "games", *changes, seeds=1)
    expected: dict[Matches, list[str]] = {"all": ["ab", "ac", "bc"], "first": ["ab", "ac"], "none": []}
    for matches, wanted in expected.items():
        chosen = replace(plan, matches=matches)
        assert ["".join(c.label for c in pair) for pair in pairs(chosen.contenders, chosen)] == wanted


def test_the_table_tells_a_single_seed_from_several(tmp_path: Path) -> None:
    final = {"accuracy_network": {"values": [0.5], "mean": 0.5, "low": None, "high": None}}
    clock = {"env_steps": 1e6, "games": 5, "learner_steps": 7, "evaluations": 2.5e6, "seconds": 60}
    row = {"label": "a", "simulations": 0, "parameters": 1234, "compute": clock, "final": final, "runs": []}
    one = {"environment": "connect_four", "strength": "accuracy", "contenders": [row], "matches": []}
    result = {"budget": {"minutes": 5}, "seeds": [0], "environments": [one]}
    text = table(result)
    assert "no intervals" in text and "| a | 50.0 % | 1,234 | 2,500,000 | 1,000,000 | 7 | 60 s |" in text
    final["accuracy_network"] |= {"low": 0.4, "high": 0.625}
    assert "50.0 % (40.0 to 62.5)" in table(result | {"seeds": [0, 1]})
    change = {"accuracy_network": {"values": [-0.02], "mean": -0.02, "low": -0.04, "high": 0.0}}
    two = one | {"contenders": [row, row | {"label": "b", "change": change}]}
    lines = table(result | {"environments": [two]}).splitlines()
    assert any(line.startswith("| a | 50.0 % (40.0 to 62.5) |  | 1,234") for line in lines)
    assert any(line.startswith("| b | 50.0 % (40.0 to 62.5) | -2.0 (-4.0 to +0.0) | 1,234") for line in lines)
