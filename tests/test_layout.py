"""The layout is kept: what lies at the top, who may import whom, and what importing costs."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOP = {"pyproject.toml", "README.md", "rl", "envs", "configs", "tests", "cluster"}

# Imports go from a higher layer to a lower one, wherever in a file they stand (inside functions and under
# TYPE_CHECKING too); within a room anything goes. A new file beside these names is to be given its place here.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("envs",),
    ("rl.records", "rl.config", "rl.sgf", "rl.acting"),
    ("rl.nets", "rl.search", "rl.losses", "rl.distributions", "rl.storage", "rl.models", "rl.worlds"),
    ("rl.inference", "rl.weights", "rl.experience", "rl.learner"),
    ("rl.gym_agent", "rl.serving"),
    ("rl.actors", "rl.trainers", "rl.agent"),
    ("rl.evaluation",),
    ("rl.play", "rl.insight", "rl.export", "rl.runtime"),
    ("rl.curves",),
    ("rl.bench", "rl.plot"),
    ("rl.report", "rl.compare"),
    ("rl.console",),
    ("rl.cli", "rl"),  # "rl" is rl/__init__.py, the public functions
)
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}
KEPT_OUT = {"torch": ("envs", "rl.search", "rl.acting"), "ray": tuple(room for room in RANK if room != "rl.runtime")}


def room_of(module: str) -> str:
    """The room of a dotted module name of ours: "rl.nets.mlp" → "rl.nets"."""
    parts = module.split(".")
    return parts[0] if parts[0] == "envs" else ".".join(parts[:2])


def imports(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of every import in a file; of ``from rl import nets``, "rl.nets"."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                package = path.relative_to(root).with_suffix("").parts[: -node.level]
                module = ".".join([*package, module]).rstrip(".")
            for alias in node.names:
                inner = root.joinpath(*module.split("."), alias.name)
                is_module = inner.with_suffix(".py").exists() or inner.is_dir()
                yield node.lineno, f"{module}.{alias.name}" if module == "rl" and is_module else module


def violations(root: Path) -> list[tuple[str, str, str]]:
    """(file, module or room, complaint) of every import under ``root`` that goes the wrong way."""
    found = []
    for path in sorted([*root.glob("envs/**/*.py"), *root.glob("rl/**/*.py")]):
        name = path.relative_to(root)
        own = room_of(".".join(name.with_suffix("").parts))
        own = "rl" if own == "rl.__init__" else own
        if own not in RANK:
            found.append((str(name), own, f"{name}: {own} has no place in LAYERS of {Path(__file__).name}"))
            continue
        for line, module in imports(path, root):
            top = module.split(".")[0]
            if top in ("rl", "envs"):
                other = room_of(module)
                if other != own and RANK.get(other, len(RANK)) >= RANK[own]:
                    found.append((str(name), other, f"{name}:{line}: {own} must not import {other}"))
            elif own in KEPT_OUT.get(top, ()):
                found.append((str(name), top, f"{name}:{line}: {own} must not import {top}"))
    return found


def test_imports_go_one_way() -> None:
    found = violations(ROOT)
    assert not found, "\n".join(complaint for _, _, complaint in found)


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("envs/go.py", "import torch", "envs must not import torch"),
        ("envs/go.py", "from rl.records import Batch", "envs must not import rl.records"),
        ("envs/go.py", "def lazy():\n    import ray.util", "envs must not import ray"),
        ("rl/search/tree.py", "from torch import nn", "rl.search must not import torch"),
        ("rl/search/tree.py", "from rl.nets import build", "rl.search must not import rl.nets"),
        ("rl/nets/mlp.py", "from rl import nets, learner", "rl.nets must not import rl.learner"),
        ("rl/nets/mlp.py", "from rl import load", "rl.nets must not import rl"),
        ("rl/nets/mlp.py", "from ..learner import Learner", "rl.nets must not import rl.learner"),
        ("rl/learner.py", "def lazy():\n    import ray", "rl.learner must not import ray"),
        ("rl/learner.py", "def lazy():\n    from rl.runtime import loop", "rl.learner must not import rl.runtime"),
        ("rl/learner.py", "if TYPE_CHECKING:\n    from rl.cli import app", "rl.learner must not import rl.cli"),
        ("rl/learner.py", "import rl.nonsense", "rl.learner must not import rl.nonsense"),
        ("rl/cli/play.py", "import ray", "rl.cli must not import ray"),
        ("rl/new_room/file.py", "import numpy", "rl.new_room has no place"),
    ],
)
def test_an_import_the_wrong_way_is_found(file: str, line: str, complaint: str, tmp_path: Path) -> None:
    for sound in ("envs/game.py", "rl/__init__.py", "rl/runtime/on_ray.py", "rl/learner.py", "rl/nets/mlp.py"):
        (tmp_path / sound).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / sound).touch()
    (tmp_path / "rl/__init__.py").write_text("def train():\n    from rl.runtime import on_ray\n")
    (tmp_path / "rl/runtime/on_ray.py").write_text("import ray, torch, envs\nfrom rl import learner\n")
    (tmp_path / "rl/learner.py").write_text("import torch\nfrom envs import game\nfrom rl.nets.mlp import x\n")
    assert violations(tmp_path) == []
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(line + "\n")
    [(_, _, found)] = violations(tmp_path)
    assert complaint in found and file in found


def test_nothing_else_lies_at_the_top() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("what belongs to the project is known to git, and this copy has none")
    # -c: a checkout may belong to somebody else, as on many build machines.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    names = {entry.split("/")[0] for entry in listed.split("\0") if entry}
    assert {"pyproject.toml", "README.md", "rl", "envs", "tests"} <= names
    extra = {name for name in names - TOP if not name.startswith(".")}
    assert not extra, f"beside {sorted(TOP)} and dotfiles there is {sorted(extra)}"


CHEAP = ("rl", "envs", "rl.search", "rl.records", "rl.config", "rl.weights", "rl.runtime.checkpoint", "rl.cli")


def test_importing_is_cheap() -> None:
    """What users and Ray's workers import first loads neither torch nor ray, nor what is optional."""
    program = (
        "import importlib, json, sys\n"
        "loaded = {}\n"
        "optional = ('torch', 'ray', 'wandb', 'pettingzoo', 'gymnasium')\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    loaded[name] = [heavy for heavy in optional if heavy in sys.modules]\n"
        "print(json.dumps(loaded))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *CHEAP], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {name: [] for name in CHEAP}
