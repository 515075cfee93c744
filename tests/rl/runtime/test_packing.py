"""What a job is sent: a folder from which another machine trains, without anything of this one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rl.config import ConfigError, load_config
from rl.runtime.packing import packed
from tests.rl.runtime.runs import write_config

ROOT = Path(__file__).resolve().parents[3]
WORLD = """
import gymnasium, numpy as np

class Corridor(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 9, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 5
        return np.array([self.at], np.float32), {}

    def step(self, action):
        self.at += 1 if action else -1
        return np.array([self.at], np.float32), float(self.at == 9), self.at in (0, 9), False, {}
"""


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_code_and_configuration_and_nothing_else(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path / "small.yaml", learner_steps=2), ["seed=7"])
    with packed(config) as sent:
        assert files(sent.folder) == {"run.yaml"}
        found = files(sent.code)
        assert {name.split("/")[0] for name in found} == {"rl", "envs"}
        assert {"rl/cli/__main__.py", "rl/models/connect_four.safetensors", "envs/go.py"} <= found
        assert not [name for name in found if "__pycache__" in name or name.endswith((".nbi", ".nbc"))]
        assert sum((sent.code / name).stat().st_size for name in found) < 50e6, "Ray takes no more than 500 MB"
        assert load_config(sent.folder / "run.yaml") == config and sent.words == []
    assert not sent.code.exists() and not sent.folder.exists()


@pytest.mark.slow
def test_the_folder_trains_by_itself(tmp_path: Path) -> None:
    """With none of our code on the path but the folder's own, and an environment of the user's own."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "world.py").write_text(WORLD)
    config = write_config(tmp_path / "small.yaml", "ppo", learner_steps=2)
    program = (
        "import sys, subprocess\n"
        "from rl.config import load_config\n"
        "from rl.runtime.packing import packed\n"
        "config = load_config(sys.argv[1], ['env=world.py:Corridor'])\n"
        "with packed(config) as sent:\n"
        "    command = [sys.executable, '-m', 'rl.cli', 'train', 'run.yaml', '--serial', '--run-dir', sys.argv[2]]\n"
        "    env = {'PATH': '/usr/bin:/bin', 'HOME': sys.argv[3], 'PYTHONPATH': str(sent.code)}\n"
        "    done = subprocess.run(command, cwd=sent.folder, env=env)\n"
        "    code = 'import rl; print(rl.__file__)'\n"
        "    subprocess.run([sys.executable, '-c', code], cwd=sent.folder, env=env)\n"
        "sys.exit(done.returncode)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(config), str(tmp_path / "run"), str(tmp_path)],
        cwd=tmp_path / "here",
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "fuseki-job-" in done.stdout, "it was the sent code that ran"
    assert (tmp_path / "run" / "metrics.jsonl").exists()


def test_modules_of_the_user_s_own_go_along_and_installed_ones_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "my_worlds" / "maze"
    package.mkdir(parents=True)
    (tmp_path / "my_worlds" / "__init__.py").touch()
    (package / "__init__.py").write_text(
        "import gymnasium\n"
        "class Maze(gymnasium.Env):\n"
        "    observation_space = action_space = gymnasium.spaces.Discrete(2)\n"
        "def slowly(env) -> gymnasium.Env:\n"
        "    return env\n"
    )
    (tmp_path / "wrap.py").write_text("import gymnasium\ndef wrap(env) -> gymnasium.Env:\n    return env\n")
    monkeypatch.syspath_prepend(tmp_path)
    small = write_config(tmp_path / "small.yaml", "ppo", learner_steps=2)
    wrappers = f"rollout.wrappers=[{{name: '{tmp_path}/wrap.py:wrap'}}, {{name: 'my_worlds.maze:slowly'}}]"
    with packed(load_config(small, ["env=my_worlds.maze:Maze", wrappers])) as sent:
        assert files(sent.folder) == {"my_worlds/__init__.py", "my_worlds/maze/__init__.py", "wrap.py", "run.yaml"}
        there = load_config(sent.folder / "run.yaml")
        assert [wrapper["name"] for wrapper in there.rollout.wrappers] == ["wrap.py:wrap", "my_worlds.maze:slowly"]  # type: ignore[attr-defined]
    with packed(load_config(small, ["env=gymnasium.envs.classic_control:CartPoleEnv"])) as sent:
        assert files(sent.folder) == {"run.yaml"}


def test_what_only_this_machine_has_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    small = write_config(tmp_path / "small.yaml", learner_steps=2)
    for key in ("learner.init_from=run", "experience.start_from=run", "evaluation.opponents=[random, run]"):
        with (
            pytest.raises(ConfigError, match=rf"^{key.split('=')[0]}: 'run' lies on this machine"),
            packed(load_config(small, [key])),
        ):
            pass
    for there in ("s3://bucket/run", "/disk/run", "connect_four"):
        with packed(load_config(small, [f"learner.init_from={there}"])):
            pass


def test_programs_as_opponents_go_by_the_command_line(tmp_path: Path) -> None:
    small = write_config(tmp_path / "small.yaml", learner_steps=2)
    config = load_config(small, ["evaluation.opponents=[random, 'gtp:engine --level 3']"])
    with packed(config) as sent:
        assert load_config(sent.folder / "run.yaml", sent.words) == config
        assert "gtp" not in (sent.folder / "run.yaml").read_text()
