"""Rules and worlds. This package knows nothing of learning: no torch, no ray.

``make("connect_four")`` gives a shipped game, ``make("my_game.py:connect_three")`` or
``make("my_package.my_game:connect_three")`` a game of the user's own.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

from envs.connect_four import connect_four
from envs.game import Game
from envs.tic_tac_toe import tic_tac_toe

GAMES: dict[str, Callable[[], Game]] = {
    "tic_tac_toe": tic_tac_toe,
    "connect_four": connect_four,
}


def make(env_id: str) -> Game:
    """The game named by ``env_id``: a shipped name, ``module:attribute`` or ``path/to/file.py:attribute``.

    The attribute is a :class:`Game` or a function without arguments that returns one.
    Raises ValueError, naming the id and the remedy, when there is no such game.
    """
    if env_id in GAMES:
        return GAMES[env_id]()
    if ":" not in env_id:
        raise ValueError(
            f"unknown environment {env_id!r}: choose one of {', '.join(GAMES)}, "
            "or give your own as 'file.py:attribute' or 'module:attribute'"
        )
    place, _, attribute = env_id.rpartition(":")
    module = _import(place)
    if not hasattr(module, attribute):
        raise ValueError(f"environment {env_id!r}: {place} defines no {attribute!r}")
    made = getattr(module, attribute)
    game = made if isinstance(made, Game) else made()
    if not isinstance(game, Game):
        raise ValueError(f"environment {env_id!r}: {attribute} gave a {type(game).__name__}, not an envs.game.Game")
    return game


def _import(place: str):
    if not place.endswith(".py"):
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as error:
            raise ValueError(f"environment module {place!r} cannot be imported: {error}") from error
    path = Path(place).resolve()
    if not path.is_file():
        raise ValueError(f"environment file {place!r} does not exist")
    name = path.stem
    if name in sys.modules and getattr(sys.modules[name], "__file__", None) == str(path):
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # numba's cache looks the module up by name
    spec.loader.exec_module(module)
    return module
