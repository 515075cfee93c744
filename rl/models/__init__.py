"""Models that ship with the package: NAME.safetensors, with its measured result in NAME.json beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Names of the models that ship, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def path(name: str) -> Path:
    """The file of a model that ships. Raises KeyError when there is none of this name."""
    if name not in names():
        raise KeyError(name)
    return FOLDER / f"{name}.safetensors"


def card(name: str) -> dict[str, Any]:
    """What was measured of a model that ships: the content of its JSON, {} when it has none."""
    beside = path(name).with_suffix(".json")
    return json.loads(beside.read_text()) if beside.is_file() else {}
