"""A second process loads the compiled rules from numba's cache: a new run, or one more actor, compiles nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

CONNECT_THREE = Path(__file__).parents[1] / "examples" / "connect_three.py"

COUNT = """
import json, sys
import envs
found = {}
for env_id in sys.argv[1:]:
    game = envs.make(env_id)
    stats = [getattr(game, rule).stats for rule in ("init", "legal", "play", "planes")]
    state = game.replay([0, 1])
    hits, misses = (sum(sum(count.values()) for count in counts) for counts in (
        [s.cache_hits for s in stats], [s.cache_misses for s in stats]))
    found[game.env_id] = [hits, misses, *game.encode(state[None]).sum(axis=(0, 2, 3)).tolist()]
print(json.dumps(found))
"""


def count_in_a_new_process(*env_ids: str, folder: Path | None = None) -> dict[str, list[float]]:
    """Cache hits, cache misses and sums of planes of each game."""
    command = [sys.executable, "-W", "error", "-c", COUNT, *env_ids]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_second_process_compiles_nothing(tmp_path: Path) -> None:
    """Neither where the folder was copied with its times, as rsync or a Ray working directory does."""
    here = tmp_path / "here"
    here.mkdir()
    (here / "rules.py").write_text(CONNECT_THREE.read_text())
    assert count_in_a_new_process("rules.py:connect_three", folder=here) == {"connect_three": [0, 4, 1, 1, 20]}
    shutil.copytree(here, tmp_path / "there")
    found = count_in_a_new_process("there/rules.py:connect_three", "tic_tac_toe", "connect_four", folder=tmp_path)
    assert found["connect_three"] == [4, 0, 1, 1, 20]
    assert found["tic_tac_toe"][:2] == found["connect_four"][:2] == [4, 0]  # compiled when this test was collected

    # As part of a package the module has another name, which the cache does not know: compiled anew, no error.
    assert count_in_a_new_process("here.rules:connect_three", folder=tmp_path) == {"connect_three": [0, 4, 1, 1, 20]}
