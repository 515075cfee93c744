"""What other libraries see of a board game: spaces, observations and text. The doors share it, so that they agree."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import logger, spaces

from envs import make
from envs.game import TO_MOVE, Game

RENDER_MODES = ["ansi", "human"]
RENDER_FPS = 1  # asked for wherever a render mode is declared; text needs no clock


def game_of(game: Game | str, options: dict[str, Any]) -> Game:
    """The game itself, or the one that :func:`envs.make` makes of an env_id and options.

    Raises ValueError as ``make`` does, and when options come with a game that is made already.
    """
    if isinstance(game, str):
        return make(game, **options)
    if options:
        raise ValueError(f"{game.env_id} is made already and takes no options, but got {', '.join(options)}")
    return game


def check_render_mode(render_mode: str | None) -> None:
    """Raises ValueError unless the mode is None or one of RENDER_MODES."""
    if render_mode is not None and render_mode not in RENDER_MODES:
        raise ValueError(f"render_mode {render_mode!r} is none of {', '.join(RENDER_MODES)}")


def planes_space(game: Game) -> spaces.Box:
    """Space of :func:`planes_for`: [C, H, W] float32.

    The contract promises finite numbers and no narrower range (komi is a plane in Go), so the bounds are float32's own:
    infinite ones are warned of by the libraries' checks, narrower ones would be wrong for some game.
    """
    largest = np.finfo(np.float32).max
    return spaces.Box(-largest, largest, game.plane_shape, np.float32)


def planes_for(game: Game, state: np.ndarray, side: int) -> np.ndarray:
    """The position as ``side`` (0 or 1) sees it, [C, H, W] float32, newly made.

    That is what the network sees when ``side`` is to move. While the other side is to move, and at the end, it is the
    same board seen by ``side`` as if it were to move: a learner's next observation keeps its point of view.
    """
    seen = state.copy()
    seen[TO_MOVE] = side
    return game.encode(seen[None])[0]


def mask_of(game: Game, state: np.ndarray) -> np.ndarray:
    """Legal actions [A] int8, newly made; all 0 when the game has ended."""
    return game.legal_mask(state).astype(np.int8)


def show(game: Game, state: np.ndarray, render_mode: str | None) -> str | None:
    """The board as text: given back in mode "ansi", printed in mode "human"; without a mode, a warning."""
    if render_mode is None:
        logger.warn("render() does nothing without a render_mode: give render_mode='ansi' or 'human'")
        return None
    text = game.render(state.copy())
    if render_mode == "ansi":
        return text
    print(text, end="\n\n", flush=True)
    return None
