"""`fuseki report` and `fuseki compare` at the command line: what is written, and wrong input in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rl.cli import app
from tests.rl.runtime.runs import write_config
from tests.rl.test_plot import write_run


def fuseki(*words: object) -> Result:
    return CliRunner().invoke(app, [str(w) for w in words])


def refused(result: Result, *parts: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stdout == "" and len(result.stderr.splitlines()) == 1, result.stderr
    for part in parts:
        assert part in result.stderr


def test_a_report_is_written_where_it_was_asked_for(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    result = fuseki("report", run, "--out", tmp_path / "new" / "page.html")
    assert result.exit_code == 0, result.output
    assert "Policy loss" in (tmp_path / "new" / "page.html").read_text() and "page.html" in result.stdout


def test_a_run_may_be_a_url(tmp_path: Path) -> None:
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.put(str(write_run(tmp_path / "run")) + "/", "/report/far/", recursive=True)
    result = fuseki("report", "memory://report/far", "--out", tmp_path / "page.html")
    assert result.exit_code == 0, result.output
    assert "<h1>far</h1>" in (tmp_path / "page.html").read_text()


def test_what_cannot_be_reported_on(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (tmp_path / "file").touch()
    refused(fuseki("report"), "at least one run folder")
    refused(fuseki("report", tmp_path / "none"), "none", "metrics.jsonl")
    refused(fuseki("report", run, "--out", tmp_path), "is a folder", "report.html")
    refused(fuseki("report", run, "--out", tmp_path / "file" / "page.html"), "cannot write", "file")
    refused(fuseki("report", "nowhere://a/b", "--out", tmp_path / "page.html"), "nowhere")
    refused(fuseki("report", "--wandb", "project"), "ENTITY/PROJECT")
    (run / "metrics.jsonl").write_text("not json\n" + (run / "metrics.jsonl").read_text())
    refused(fuseki("report", run, "--out", tmp_path / "page.html"), "line 1", "damaged")


def test_a_comparison_prints_its_table_or_json(tmp_path: Path) -> None:
    config = write_config(tmp_path / "toe.yaml", minutes=1, sync_moves=4)
    words = ["compare", f"{config} label=a", f"{config} label=b search.simulations=4", "--seeds", 1, "--serial"]
    words += ["--budget", "learner_steps=6", "--games", 2, "--positions", 50, "--snapshots", 2]
    result = fuseki(*words, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "| a |" in result.stdout and "compare.png" in result.stdout
    again = fuseki(*words, "--out", tmp_path / "out", "--json")
    found = json.loads(again.stdout)
    assert found == json.loads((tmp_path / "out" / "compare.json").read_text())
    assert [row["label"] for row in found["environments"][0]["contenders"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{toe}", "--budget", "minutes=1"], "nothing to compare with"),
        (["{toe}", "{toe} seed=1", "--budget", "hours=1"], "minutes=NUMBER"),
        (["{toe}", "none.yaml", "--budget", "minutes=1"], "none.yaml"),
        (["{toe}", "{toe} label=b", "--budget", "minutes=1", "--fit"], "measured by accuracy"),
        (["{toe}", "{toe} label=b", "--budget", "minutes=1", "--out", "{toe}"], "cannot write"),
        (["{toe}", "{toe} label=b"], "budget"),
    ],
)
def test_what_cannot_be_compared(words: list[str], said: str, tmp_path: Path) -> None:
    config = write_config(tmp_path / "toe.yaml", minutes=1)
    given = [word.format(toe=config) for word in words]
    if "--out" not in given:
        given += ["--out", str(tmp_path / "out")]
    refused(fuseki("compare", *given), said)
    assert not (tmp_path / "out" / "runs").exists()
