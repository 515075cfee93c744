"""numba's cache must not go on with machine code of functions that have changed since.

It looks only at the file of the function that it is asked for, not at those of the functions compiled into it. So
files that compile others into theirs carry a digest of them, by which a change of those becomes one of their own.
"""

from __future__ import annotations

import ast
import hashlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def compiled(path: Path) -> bool:
    return re.search(r"^@njit|^\w+Type = |\bintrinsic\(", path.read_text(), re.MULTILINE) is not None


def compiled_imports(path: Path) -> set[Path]:
    """The project's files with compiled code that ``path`` imports, directly or through each other."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("rl", "envs"):
            source = ROOT / (node.module.replace(".", "/") + ".py")
            if source.exists() and compiled(source) and source not in found:
                found |= {source} | compiled_imports(source)
    return found


FILES = sorted(p for folder in ("rl", "envs") for p in (ROOT / folder).rglob("*.py"))
ENTRIES = [p for p in FILES if "cache=True" in p.read_text() and compiled_imports(p)]


def test_the_files_are_found() -> None:
    names = {str(p.relative_to(ROOT)) for p in ENTRIES}
    assert {"rl/search/kernels.py", "rl/actors/games.py", "envs/playout.py"} <= names


def test_only_functions_with_signatures_are_cached() -> None:
    """The others are compiled where they are called, and cached with the caller."""
    for path in FILES:
        assert not re.search(r"^@njit\((error_model=\S+, )?cache=True", path.read_text(), re.MULTILINE), path


@pytest.mark.parametrize("path", ENTRIES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_knows_what_is_compiled_into_it(path: Path) -> None:
    digest = hashlib.sha256(b"".join(p.read_bytes() for p in sorted(compiled_imports(path)))).hexdigest()[:16]
    assert f'COMPILED_IN = "{digest}"' in path.read_text(), f'write COMPILED_IN = "{digest}" in {path}'
