"""Rows go to the file whatever happens; Weights & Biases gets them too and can never end a run."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
from wandb.proto import wandb_internal_pb2

from rl.config import Config, parse_config
from rl.runtime import wandb_run
from rl.runtime.metrics import CLOCK, METRICS, MetricsLog, metric, read_metrics, trim
from rl.runtime.wandb_run import SESSION_STEPS, logged_in

KEY = "0123456789abcdef" * 2 + "01234567"  # of the right shape, and nobody's


def config(wandb_enabled: bool = False) -> Config:
    data = {
        "env": "tic_tac_toe",
        "net": {"encoder": {"kind": "mlp"}},
        "run": {"minutes": 1},
        "wandb": {"enabled": wandb_enabled, "tags": ["a-tag"], "name": "a-name"},
    }
    return parse_config(data, "test")


def row(learner_steps: int = 0, **more: float) -> dict[str, float]:
    return {"env_steps": 9, "games": 1, "learner_steps": learner_steps, "evaluations": 72, "seconds": 1.5, **more}


def test_every_name_of_the_catalogue_has_a_meaning_and_only_those_can_be_looked_up() -> None:
    for name, declared in METRICS.items():
        assert declared.meaning, name
        assert metric(re.sub("<.*>", "mcts:100", name)) == declared
    for name in ("eval/score/", "eval/score", "eval/score/<x", "loss", "learner/losss", "a/b/c"):
        if name == "eval/score/<x":
            assert metric(name).meaning == METRICS["eval/score/<opponent>"].meaning  # an opponent's name is free
        else:
            with pytest.raises(ValueError, match="not declared"):
                metric(name)
    with pytest.raises(ValueError, match="not declared"):
        metric("eval/elo/<opponent>")


def test_rows_come_back_as_they_were_logged(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "run", config())
    assert log.wandb_run_id is None
    numbers: dict[str, Any] = {"learner_steps": np.int64(3), "learner/loss": np.float32(0.5)}
    log.log(row() | numbers | {"learner/gradient_norm": math.inf})
    log.log(row(4) | {"learner/loss": math.nan, 'eval/score/gtp:"gnugo --mode gtp"': 0.25})
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()  # not closed yet: each row is on disk at once
    assert json.loads(lines[0]) == row(3, **{"learner/loss": 0.5}) | {"learner/gradient_norm": None}
    first, second = read_metrics(tmp_path / "run")
    assert first["learner_steps"] == 3
    assert math.isnan(first["learner/gradient_norm"])
    assert math.isnan(second["learner/loss"])
    assert second['eval/score/gtp:"gnugo --mode gtp"'] == 0.25
    log.close()


def test_a_wrong_row_is_refused_and_leaves_no_trace(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, config())
    with pytest.raises(ValueError, match="learner/losss"):
        log.log(row() | {"learner/losss": 1.0})
    for part in CLOCK:
        with pytest.raises(ValueError, match=f"lacks {part}"):
            log.log({name: value for name, value in row().items() if name != part})
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_last_line_cut_short_is_left_out_and_the_next_session_goes_on_after_the_whole_ones(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, config())
    log.log(row(1))
    log.log(row(2))
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-20])  # SIGKILL in the middle of a write
    assert [r["learner_steps"] for r in read_metrics(tmp_path)] == [1]
    MetricsLog(tmp_path, config()).log(row(3))
    assert [r["learner_steps"] for r in read_metrics(tmp_path)] == [1, 3]


@pytest.mark.parametrize("damage", ["{", "3", "\0\0"])
def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path, damage: str) -> None:
    whole = json.dumps(row(1))
    (tmp_path / "metrics.jsonl").write_text(f"{whole}\n{damage}\n{whole}\n")
    with pytest.raises(ValueError, match="line 2 of"):
        read_metrics(tmp_path)


def test_trim_cuts_what_will_be_run_again_and_the_open_log_goes_on_behind_it(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, config())
    for steps in (0, 10, 20, 30):
        log.log(row(steps, **{"learner/loss": math.nan}))
    trim(tmp_path, 10, 10**9)
    log.log(row(15))
    rows = read_metrics(tmp_path)
    assert [r["learner_steps"] for r in rows] == [0, 10, 15]
    assert math.isnan(rows[0]["learner/loss"])
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]  # nothing temporary is left
    log.log(row(15, seconds=77.0))
    log.log(row(15, env_steps=10))
    assert trim(tmp_path, 15, 9) == 77.0, "the time of the last row that stays"
    assert read_metrics(tmp_path)[-1]["env_steps"] == 9, "moves played beyond the checkpoint are cut too"
    assert trim(tmp_path / "nothing", 10, 0) == 0.0
    assert not (tmp_path / "nothing").exists()


def test_texts_are_kept_as_files_with_safe_names(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, config())
    path = log.text('00000400-gtp-"/bin/gnugo --x"/../1', "X wins", row(400))
    assert path.parent == tmp_path / "games"
    assert path.name == "00000400-gtp-bin-gnugo-x-..-1.txt"
    assert path.read_text() == "X wins"


# Weights & Biases, each time in a process of its own: it has a service, hooks at exit and global settings.

HEAD = """
import logging, os, pathlib, signal, subprocess, sys, time
from rl.runtime import wandb_run
from rl.runtime.metrics import MetricsLog, trim
from tests.rl.runtime.test_metrics import config, row
logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
folder = pathlib.Path(sys.argv[1])
"""


def in_a_process(script: str, folder: Path, seconds: float = 60, **environment: str) -> tuple[str, str]:
    """Run ``script`` after HEAD; returns what it wrote to standard output and to standard error."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "NETRC"))}
    done = subprocess.run(
        [sys.executable, "-c", HEAD + script, str(folder)],
        env=clean | {"NETRC": str(folder / "no-netrc")} | environment,
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def records(folder: Path) -> list[Any]:
    """What a W&B folder holds: LevelDB's log format (blocks of 32 KiB, checksum, length, kind) of protobuf records."""
    protobuf: Any = wandb_internal_pb2  # its classes are made when it is imported
    (path,) = folder.glob("*.wandb")
    data, at, part, found = path.read_bytes(), 7, b"", []
    while at < len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        part += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            found.append(protobuf.Record.FromString(part))
            part = b""
    return found


def history(found: list[Any]) -> list[dict[str, Any]]:
    rows = [r.history for r in found if r.WhichOneof("record_type") == "history"]
    return [{"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in h.item} for h in rows]


def test_an_offline_run_holds_config_rows_axes_and_games_and_a_resumed_one_follows_on(tmp_path: Path) -> None:
    script = """
log = MetricsLog(folder, config(wandb_enabled=True))
log.log(row(1, **{"learner/loss": 0.75, "eval/score/mcts:100": 0.5, "learner/gradient_norm": float("nan")}))
log.text("00000001-random-1", "<X> wins", row(1))
log.video("00000001-episode-1.mp4", b"moving", row(1))
log.close()
print(log.wandb_run_id)
"""
    out, err = in_a_process(script, tmp_path, WANDB_MODE="offline", WANDB_API_KEY=KEY)
    run_id = out.strip()
    assert run_id.isalnum()
    assert err == ""
    script = f"""
trim(folder, 0, 10**9)
log = MetricsLog(folder, config(wandb_enabled=True), {run_id!r})
log.log(row(1, **{{"learner/loss": 0.5}}))
log.close()
assert log.wandb_run_id == {run_id!r}
"""
    assert in_a_process(script, tmp_path) == ("", "")  # no WANDB_MODE and nobody logged in: offline again

    folders = sorted((tmp_path / "wandb").glob("offline-run-*"))
    # `wandb sync` makes one run of these. (A second one in the same second is called run_id-1.)
    assert [f.name.split("-")[3] for f in folders] == [run_id, run_id]
    first, second = map(records, folders)
    run = next(r.run for r in first if r.WhichOneof("record_type") == "run")
    settings = {u.key: json.loads(u.value_json) for u in run.config.update}
    assert settings["net"]["encoder"]["kind"] == "mlp"
    assert settings["run"]["minutes"] == 1
    assert (run.run_id, run.project, run.display_name, list(run.tags)) == (run_id, "fuseki", "a-name", ["a-tag"])
    axes = {r.metric.glob_name: r.metric.step_metric for r in first if r.WhichOneof("record_type") == "metric"}
    assert axes["learner/*"] == axes["eval/*"] == "learner_steps"
    assert axes["selfplay/*"] == "seconds"

    logged, page, film = history(first)
    assert {name: logged[name] for name in row(1)} == row(1)
    assert logged["learner/loss"] == 0.75
    assert logged["eval/score/mcts:100"] == 0.5
    assert "learner/gradient_norm" not in logged
    assert page["text/random-1/_type"] == "html-file"
    assert page["learner_steps"] == 1
    (html,) = folders[0].rglob("*.html")
    assert "&lt;X&gt; wins" in html.read_text()
    assert (film["video/episode-1/_type"], film["learner_steps"]) == ("video-file", 1)
    assert axes["video/*"] == axes["eval/*"]
    (mp4,) = folders[0].rglob("*.mp4")
    assert mp4.read_bytes() == (tmp_path / "videos" / "00000001-episode-1.mp4").read_bytes() == b"moving"
    (followed,) = history(second)
    assert followed["learner/loss"] == 0.5
    assert followed["_step"] == SESSION_STEPS > page["_step"]

    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_a_service_that_dies_costs_one_warning(tmp_path: Path) -> None:
    script = """
log = MetricsLog(folder, config(wandb_enabled=True))
log.log(row(1))
children = subprocess.run(["pgrep", "-P", str(os.getpid())], check=True, capture_output=True, text=True).stdout.split()
names = {int(child): pathlib.Path(f"/proc/{child}/comm") for child in children}
(process,) = (child for child, name in names.items() if name.exists() and "wandb-core" in name.read_text())
os.kill(process, signal.SIGKILL)
for steps in range(2, 12):  # the first rows may still fit into the socket
    log.log(row(steps))
    log.text("game", "X wins", row(steps))
    time.sleep(0.1)
log.close()
assert log.wandb_run_id  # stays for the next session
"""
    out, err = in_a_process(script, tmp_path, WANDB_MODE="offline")
    assert out == ""
    (warning,) = err.splitlines()
    assert "the run goes on" in warning
    assert [r["learner_steps"] for r in read_metrics(tmp_path)] == list(range(1, 12))


def test_without_a_connection_the_run_is_recorded_offline(tmp_path: Path) -> None:
    script = """
wandb_run.INIT_SECONDS = 1.0
log = MetricsLog(folder, config(wandb_enabled=True))
log.log(row(1, **{"learner/loss": 0.75}))
log.close()
"""
    nobody = "http://127.0.0.1:9"  # listens there
    out, err = in_a_process(script, tmp_path, WANDB_API_KEY=KEY, WANDB_BASE_URL=nobody)
    assert out == ""
    (warning,) = err.splitlines()
    assert "offline" in warning
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert history(records(folder))[0]["learner/loss"] == 0.75
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_a_start_that_fails_costs_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise ConnectionResetError("Connection lost")

    monkeypatch.setattr(wandb_run, "_start", broken)
    log = MetricsLog(tmp_path, config(wandb_enabled=True), "abcd1234")
    log.log(row(1))
    log.text("game", "X wins", row(1))
    log.close()
    assert len(caplog.records) == 1
    assert len(read_metrics(tmp_path)) == 1
    assert log.wandb_run_id == "abcd1234"


def test_logged_in_means_a_key_in_the_environment_or_in_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(netrc))
    settings = wandb.Settings(base_url="https://wandb.example.org")
    assert not logged_in(settings)
    netrc.write_text("machine other.example.org login user password x\n")
    assert not logged_in(settings)
    netrc.write_text(f"machine wandb.example.org login user password {KEY}\n")
    netrc.chmod(0o600)
    assert logged_in(settings)
    netrc.unlink()
    assert logged_in(wandb.Settings(api_key=KEY))
