"""Rules and worlds. This package knows nothing of learning: no torch, no ray.

``make("connect_four")`` gives a shipped game, ``make("go9")`` one of a family on a board of that size,
``make("go9", komi=6.5)`` one with options, ``make("my_game.py:connect_three")`` or
``make("my_package.my_game:connect_three")`` a game of the user's own.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from traceback import walk_tb
from types import ModuleType
from typing import Any, NamedTuple, get_origin, get_type_hints

from envs.game import Game


class Rules(NamedTuple):
    """Where the rules of a shipped game are. Only those of the game that is asked for are imported, and compiled."""

    module: str  # envs.module
    factory: str
    size: int | None = None  # of the board, which a family's factory takes first

    def load(self) -> Callable[..., Game]:
        factory = getattr(importlib.import_module(f"envs.{self.module}"), self.factory)
        return factory if self.size is None else partial(factory, self.size)


# A name that ends in a number is a family's: its factory takes the board's size.
FAMILIES = {"go": Rules("go", "go"), "hex": Rules("hex", "hex_game"), "gomoku": Rules("gomoku", "gomoku")}
GAMES = {
    "tic_tac_toe": Rules("tic_tac_toe", "tic_tac_toe"),
    "connect_four": Rules("connect_four", "connect_four"),
    "go9": FAMILIES["go"]._replace(size=9),
    "othello": Rules("othello", "othello"),
    "hex7": FAMILIES["hex"]._replace(size=7),
    "gomoku9": FAMILIES["gomoku"]._replace(size=9),
}


def sizes(family: str) -> Sequence[int]:
    """The boards that a family of ``FAMILIES`` is played on."""
    found: Sequence[int] = importlib.import_module(f"envs.{FAMILIES[family].module}").SIZES
    return found


def make(env_id: str, **options: Any) -> Game:
    """The game named by ``env_id``: a shipped name, ``module:attribute`` or ``path/to/file.py:attribute``.

    The attribute is a :class:`Game` or a function declared to return one (``-> Game``), which is handed the
    ``options``: else a configuration, or a stranger's agent, could have any function of any library called.
    Raises ValueError, naming the id and the remedy, when there is no such game or option. What the user's own code
    raises while it runs passes through, except that a file which cannot be parsed or lacks an import is a ValueError
    too.
    """
    family = re.fullmatch(r"([a-z_]+?)([1-9][0-9]*)", env_id)
    if env_id in GAMES:
        return _made(env_id, GAMES[env_id].load(), options)
    if family and family[1] in FAMILIES:
        return _made(env_id, FAMILIES[family[1]]._replace(size=int(family[2])).load(), options)
    if ":" not in env_id:
        families = ", ".join(f"{name}N for a board of N lines" for name in FAMILIES)
        raise ValueError(
            f"unknown environment {env_id!r}: choose one of {', '.join(GAMES)}, {families}, "
            "or give your own as 'file.py:attribute' or 'module:attribute'"
        )
    place, _, attribute = env_id.rpartition(":")
    if not place or not attribute:
        raise ValueError(f"environment {env_id!r} must be 'file.py:attribute' or 'module:attribute'")
    module = import_place(place)
    if not hasattr(module, attribute):
        raise ValueError(f"environment {env_id!r}: {place} defines no {attribute!r}")
    factory = getattr(module, attribute)
    if callable(factory) and not makes(factory, Game):
        raise ValueError(
            f"environment {env_id!r}: {attribute} is not called, for it is not declared to make a game: write "
            f"`def {attribute}(...) -> Game`"
        )
    made = _made(env_id, factory, options)
    if not isinstance(made, Game):
        raise ValueError(f"environment {env_id!r}: {attribute} gave a {type(made).__name__}, not an envs.game.Game")
    return made


def makes(factory: Callable[..., Any], kind: type) -> bool:
    """Whether this is a class derived from ``kind``, or a function whose annotation says that it returns one."""
    if not isinstance(factory, type):
        try:
            hints = get_type_hints(factory.func if isinstance(factory, partial) else factory)
        except (TypeError, NameError):  # a builtin, or an annotation that cannot be resolved
            return False
        factory = hints.get("return", object)
        factory = get_origin(factory) or factory
    return isinstance(factory, type) and issubclass(factory, kind)


def _made(env_id: str, factory: Any, options: dict[str, Any]) -> Any:
    """The factory's game. Raises ValueError naming an option that it does not have."""
    known = [] if not callable(factory) else list(inspect.signature(factory).parameters)
    for option in options:
        if option not in known:
            raise ValueError(f"{env_id} has no option {option!r}: it has {', '.join(known) or 'none'}")
    if not callable(factory):
        return factory
    try:
        return factory(**options)
    except TypeError as error:
        if not options:
            raise
        given = ", ".join(f"{name}={value!r}" for name, value in options.items())
        raise ValueError(f"{env_id} cannot be made with {given}: {error}") from error


def import_place(place: str) -> ModuleType:
    """The module ``package.module`` or ``path/to/file.py``. Raises ValueError, in one sentence, where there is none."""
    remedy = ""
    if place.endswith(".py"):
        kind, path = "file", Path(place).resolve()
        if not path.is_file():
            raise ValueError(f"environment file {place!r} does not exist in {Path.cwd()}")
        load = partial(_load, _module_name(path), path)
    else:
        kind, load = "module", partial(importlib.import_module, place)
        file = Path(*place.split(".")).with_suffix(".py")
        if file.is_file():
            remedy = f"; to load the file, write '{file}:attribute'"
    try:
        try:
            return load()
        except ImportError as error:
            # Numba's cache names the module that its functions were compiled in, and fails where there is none of that
            # name: the file was once imported as part of a package, say, and now by itself. Compile it anew.
            stale = _behind_numba_cache(error)
            if stale is None:
                raise
            for cached in stale.parent.glob(f"__pycache__/{stale.stem}.*.nb[ic]"):
                cached.unlink(missing_ok=True)
            return load()
    except (SyntaxError, ImportError) as error:
        raise ValueError(f"environment {kind} {place!r} cannot be imported: {error}{remedy}") from error


def _module_name(path: Path) -> str:
    """The file's own name, so that numba's cache serves a plain ``import`` of it too, unless another module has it."""
    loaded = sys.modules.get(path.stem)
    if loaded is not None:
        free = getattr(loaded, "__file__", None) == str(path)
    elif path.stem.isidentifier():
        spec = importlib.util.find_spec(path.stem)
        free = spec is None or spec.origin == str(path)
    else:
        free = False
    return path.stem if free else f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def _load(name: str, path: Path) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # numba's cache looks the module up by name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]  # or the next call would get a half-made module
        raise
    return module


def _behind_numba_cache(error: BaseException) -> Path | None:
    """The file whose cached functions could not be loaded, where that is what the error says."""
    caller = None
    for frame, _ in walk_tb(error.__traceback__):
        module = frame.f_globals.get("__name__", "")
        if module == "numba.core.caching":
            return caller
        if not module.startswith("numba."):
            caller = Path(frame.f_code.co_filename)
    return None
