"""The server driven by GTP clients that other people wrote, and against GNU Go.

They need programs from outside, so these tests are slow ones and skip where a program is missing:

* ``node``, ``npm`` and ``gnugo`` for @sabaki/gtp, the library of the Sabaki GUI (npm fetches it);
* ``python2.7`` and ``gnugo`` for the ringmaster of gomill, a tool for matches between engines (pip fetches it).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.rl.play.gtp_for_tests import RESNET, save, small_agent

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FUSEKI = str(Path(sys.executable).parent / "fuseki")


def needed(program: str, *try_with: str) -> str:
    """The program's path; skips the test where it is not there or does not run."""
    found = shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/games"]))
    if found is None:
        pytest.skip(f"{program} is not installed")
    done = subprocess.run([found, *try_with], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{program} does not run here: {done.stderr.strip()[:200]}")
    return found


def fetched(command: list[str], folder: Path) -> None:
    """Runs a package manager; skips the test where there is no network."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{' '.join(command[:3])} failed: {done.stderr.strip()[-300:]}")


@pytest.fixture(scope="module")
def agent_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    agent = small_agent("go9", RESNET)
    return save(agent, tmp_path_factory.mktemp("agents") / "go9.safetensors")


def gnugo() -> list[str]:
    return [needed("gnugo", "--version"), "--mode", "gtp", "--level", "1", "--chinese-rules"]


def test_sabakis_library_plays_a_game_analyses_and_asks(agent_file: Path, tmp_path: Path) -> None:
    node, npm, opponent = needed("node", "--version"), needed("npm", "--version"), gnugo()
    packages = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(tmp_path)]
    fetched([npm, "install", *packages, "@sabaki/gtp@3.0.0"], tmp_path)
    library = tmp_path / "node_modules" / "@sabaki" / "gtp"
    ours = [FUSEKI, "play", str(agent_file), "--gtp", "--simulations", "16"]
    script = Path(__file__).with_name("sabaki_client.js")
    command = [node, str(script), str(library), "7", json.dumps(ours), json.dumps(opponent)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {"genmove", "lz-analyze", "kata-analyze", "final_status_list", "loadsgf"} <= set(told["commands"])
    assert len(told["analysis"]["lines"]) >= 2 and told["analysis"]["next"] == "Fuseki"
    assert not told["analysis"]["error"]
    assert told["refused"] == [9999, True, "unacceptable size"]
    assert len(told["moves"]) > 4
    assert "A B C D E F G" in told["board"] and "komi 6.5" in told["board"]
    assert all(re.fullmatch(r"0|[BW]\+[0-9.]+", score) for score in told["scores"])
    assert all("unacceptable" in line or "5 to 19 lines" in line for line in told["complaints"]), told["complaints"]


MATCH = """
competition_type = 'playoff'
players = {{
    'fuseki': Player({ours!r}, startup_gtp_commands=[('time_settings', '60', '0', '0')]),
    'gnugo': Player({theirs!r}),
}}
board_size = 7
komi = 6.5
matchups = [Matchup('fuseki', 'gnugo', alternating=True, number_of_games=2, scorer='players')]
"""


def test_gomills_ringmaster_plays_a_match(agent_file: Path, tmp_path: Path) -> None:
    python2, opponent = needed("python2.7", "-c", "pass"), gnugo()
    fetched([sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "gomill==0.8.3"], tmp_path)
    with tarfile.open(tmp_path / "gomill-0.8.3.tar.gz") as packed:
        packed.extractall(tmp_path, filter="data")
    ours = [FUSEKI, "play", str(agent_file), "--gtp", "--simulations", "8"]
    (tmp_path / "match.ctl").write_text(MATCH.format(ours=ours, theirs=opponent))
    ringmaster = [python2, str(tmp_path / "gomill-0.8.3" / "ringmaster"), "match.ctl"]
    for step in (["check"], ["run"], ["report"]):
        done = subprocess.run([*ringmaster, *step], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    report = (tmp_path / "match.report").read_text()
    assert "fuseki v gnugo (2/2 games)" in report
    assert "forfeit" not in report and "error" not in report.lower(), report
    assert "player fuseki: Fuseki:" in report
