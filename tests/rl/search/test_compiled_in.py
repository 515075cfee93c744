"""numba's cache must not go on with machine code of policies and arrays that have changed since."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rl.search import kernels


def test_the_kernels_know_what_is_compiled_into_them() -> None:
    folder = Path(kernels.__file__).parent
    sources = b"".join((folder / name).read_bytes() for name in ("policies.py", "tree.py"))
    digest = hashlib.sha256(sources).hexdigest()[:16]
    assert digest == kernels.COMPILED_IN, f'write COMPILED_IN = "{digest}" in {kernels.__file__}'
