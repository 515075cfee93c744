"""Memory, open files and the object store of a run stay flat; ``soak.py`` does the same for hours."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rl.runtime.runs import write_config
from tests.rl.runtime.soak import soak, summary


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_memory_and_files_stay_flat(tmp_path: Path) -> None:
    config = write_config(tmp_path / "small.yaml", minutes=6, checkpoint_minutes=0.1, actors=2)
    rows = summary(soak(config, tmp_path / "run", 6, ["experience.reuse=2"]))
    names = {row["process"] for row in rows}
    assert {
        "fuseki",
        "ActorProcess",
        "LearnerProcess",
        "ExaminerProcess",
        "raylet",
        "gcs_server",
        "object store",
    } <= names
    for row in rows:
        assert row["rss_mb_last"] < 1.1 * row["rss_mb_then"] + 20, row
        assert row["files_last"] < row["files_then"] + 10, row
        assert row["spilled_mb"] == 0, row
