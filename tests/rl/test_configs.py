"""The configurations that come with Fuseki: each loads, fits its environment, and says how it is launched."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from envs.gym import UnknownWorld
from rl.config import GymConfig, load_config
from rl.nets.actor_critic import build_actor_critic
from rl.worlds import spec_of

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(path for path in (ROOT / "configs").glob("*.yaml") if not path.name.startswith("sweep_"))
GYM = [path for path in CONFIGS if "\nalgorithm:" in path.read_text()]  # the others are board games


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_loads_and_says_how_it_is_launched(path: Path) -> None:
    load_config(path)
    header = path.read_text().split("\nenv:")[0]
    assert all(line.startswith("#") for line in header.splitlines() if line), "what a reader wants first stands first"
    assert f"configs/{path.name}" in header, "its launch line names it"
    assert re.search(r"^# Hardware:  \S", header, re.MULTILINE)


# Box2D warns while it is imported (SWIG), and made an error the warning crashes the interpreter.
@pytest.mark.filterwarnings("ignore:builtin type .* has no __module__ attribute:DeprecationWarning")
@pytest.mark.parametrize("path", GYM, ids=lambda path: path.stem)
def test_its_network_fits_its_environment(path: Path) -> None:
    config = load_config(path)
    assert isinstance(config, GymConfig)
    try:
        spec = spec_of(config)
    except UnknownWorld as missing:
        if re.search(r"pip install 'fuseki\[\w+\]'$", str(missing)):
            pytest.skip(str(missing))
        raise  # whatever else is wrong is ours
    build_actor_critic(config.net, spec)
