"""``fuseki status RUN_DIR``: the newest figures, whatever the file's end looks like."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rl.cli import app
from rl.runtime import status

CLOCK: dict[str, float | None] = {"env_steps": 10, "games": 2, "learner_steps": 5, "evaluations": 100, "seconds": 65.0}


def fuseki(*words: str) -> Result:
    return CliRunner().invoke(app, words, env={"COLUMNS": "120"})


def write(run: Path, *rows: dict[str, float | None], end: str = "") -> Path:
    run.mkdir(exist_ok=True)
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + end)
    return run


NODES: dict[str, float | None] = {
    "nodes/actors/10.0.0.1": 1,
    "nodes/steps_per_second/10.0.0.1": 12.5,
    "nodes/actors/10.0.0.2": 1,
    "nodes/steps_per_second/10.0.0.2": 1000.0,
    "actors/steps_per_second/0@10.0.0.1": 12.5,
    "actors/lag/0@10.0.0.1": 3,
    "actors/restarts/0@10.0.0.1": 1,
    "actors/slowest_steps_per_second": 12.5,
}


def test_the_newest_figures_by_node_and_actor(tmp_path: Path) -> None:
    gone = CLOCK | {"nodes/actors/10.0.0.9": 4, "actors/lag/7@10.0.0.9": 1, "learner/lag_mean": 2.5}
    last = CLOCK | {
        "learner_steps": 6,
        "selfplay/moves_per_second": 80.0,
        "experience/waiting": 2,
        "weights/bytes": None,
    }
    run = write(tmp_path / "run", gone, CLOCK | NODES, last, end='{"env_steps": 11, "gam')
    found = json.loads(fuseki("status", str(run), "--json").stdout)
    assert found["learner_steps"] == 6 and found["steps_per_second"] == 80.0 and found["queue"] == 2
    assert found["lag_mean"] == 2.5, "what the last row lacks is as it was"
    assert found["weights_bytes"] is None and found["games_per_second"] is None
    assert 0 <= found["silent_seconds"] < 60
    assert found["nodes"] == {
        "10.0.0.1": {"actors": 1, "steps_per_second": 12.5},
        "10.0.0.2": {"actors": 1, "steps_per_second": 1000.0},
    }, "a node that has left is not shown"
    assert found["actors"] == {"0@10.0.0.1": {"steps_per_second": 12.5, "lag": 3, "restarts": 1}}
    shown = fuseki("status", str(run)).stdout
    assert "1:05 of training, 2 games, 6 updates" in shown
    for part in ("10.0.0.1", "10.0.0.2", "0@10.0.0.1", "12.50", "1,000"):
        assert part in shown


def test_only_the_end_of_a_long_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "TAIL_BYTES", 400)
    rows = [CLOCK | {"learner_steps": step} for step in range(200)]
    assert status.run_status(str(write(tmp_path / "run", *rows)))["learner_steps"] == 199


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "give the folder of a run, or a cluster by --address"),
        (("run", "--address", "http://x:8265"), "give the folder of a run, or a cluster by --address"),
        (("nowhere",), "there is no run in 'nowhere'"),
        (("empty",), "has no metrics yet"),
        (("strange",), "lack games, learner_steps, evaluations, seconds"),
        (("foo://bucket/run",), "foo://bucket/run"),
        (("--address", "ray://head:10001"), "must be the cluster's dashboard"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    words: tuple[str, ...], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("empty"))
    write(Path("strange"), {"env_steps": 3})
    done = fuseki("status", *words)
    assert done.exit_code == 2 and done.stdout == ""
    assert why in done.stderr and len(done.stderr.strip().splitlines()) == 1
