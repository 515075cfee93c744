"""A board game against an opponent, as a one-player Gymnasium environment.

    import gymnasium
    env = gymnasium.make("envs.versus:fuseki/connect_four-v0", seat="random")
    observation, info = env.reset(seed=1)
    action = env.action_space.sample(info["action_mask"])
    observation, reward, terminated, truncated, info = env.step(action)

Importing this module registers ``fuseki/<env_id>-v0`` for every shipped game, with the options of the game as further
arguments (``komi=6.5``); for a game of your own, ``VersusEnv("my_game.py:my_game")``. Any function that chooses a move
can be the opponent, an agent of ours among them::

    agent = rl.load("connect_four")
    def opponent(state, legal, rng):
        return agent.analyse_state(state, simulations=32).action
    env = gymnasium.make("envs.versus:fuseki/connect_four-v0", opponent=opponent)
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded

from envs import GAMES
from envs.game import ONGOING, STATUS, TO_MOVE, Game, outcome
from envs.view import RENDER_FPS, RENDER_MODES, check_render_mode, game_of, mask_of, planes_for, planes_space, show

# opponent(state [S] int64, legal [A] bool, rng) -> a legal action. State and mask are copies, free to be changed.
Opponent = Callable[[np.ndarray, np.ndarray, np.random.Generator], int]

SIDES = {"first": (0,), "second": (1,), "random": (0, 1)}
ATTEMPTS = 100


class VersusEnv(gymnasium.Env[np.ndarray, np.int64]):
    """One side of a board game; the opponent's moves are made within ``reset`` and ``step``.

    * Observation: planes [C, H, W] float32 from this side's point of view, exactly what our networks see.
    * Action: Discrete(A).
    * Reward: 1 won, 0 drawn, -1 lost, at the end; 0 before. ``terminated`` at the end; never ``truncated``.
    * Info: "action_mask" [A] int8, the legal actions, all 0 at the end; "side", 0 where this side is the game's first
      player, else 1.

    The same seed and actions give the same episode, as long as the opponent draws from the ``rng`` it is given only.
    """

    metadata = {"render_modes": RENDER_MODES, "render_fps": RENDER_FPS}  # noqa: RUF012, typed by gymnasium.Env

    def __init__(
        self,
        game: Game | str,
        opponent: Literal["random"] | Opponent = "random",
        seat: Literal["first", "second", "random"] = "first",
        illegal: Literal["lose", "raise"] = "lose",
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        """``game`` is a Game, or an env_id with its ``options``.

        ``opponent``: "random", or a function of (state [S] int64, legal [A] bool, rng) that returns a legal action.
        ``seat``: which player this side is, "random" drawn anew at every reset. ``illegal``: an illegal move loses
        the game at once (-1), or raises ValueError and leaves the game as it was; learners that do not know masks
        need the first. ``render_mode``: None, "ansi" (``render`` gives text) or "human" (every position with this side
        to move, and the last, is printed). Raises ValueError, in one sentence, when an argument is none of these.
        """
        if opponent != "random" and not callable(opponent):
            raise ValueError(f"opponent {opponent!r} is neither 'random' nor a function of (state, legal, rng)")
        if seat not in SIDES:
            raise ValueError(f"seat {seat!r} is none of {', '.join(SIDES)}")
        if illegal not in ("lose", "raise"):
            raise ValueError(f"illegal {illegal!r} is neither 'lose' nor 'raise'")
        check_render_mode(render_mode)
        self.game = game_of(game, options)
        self.seat, self.illegal, self.render_mode = seat, illegal, render_mode
        self._opponent: Opponent = play_randomly if opponent == "random" else opponent
        self.observation_space = planes_space(self.game)
        self.action_space = spaces.Discrete(self.game.num_actions)
        self._side = 0
        self._state = self.game.initial_state()
        self._running = False  # false before the first reset, once the game has ended, and after the opponent failed

    @property
    def state(self) -> np.ndarray:
        """A copy of the game's state vector [S] int64."""
        return self._state.copy()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """A new game, played until this side is to move. ``options`` belongs to the interface and changes nothing.

        Raises ValueError when the opponent's move is illegal, and RuntimeError when game after game ends before this
        side's first move; a single such game is played anew.
        """
        super().reset(seed=seed)
        self._running = False
        self._side = int(self.np_random.choice(SIDES[self.seat]))
        for _ in range(ATTEMPTS):
            self._state = self.game.initial_state()
            self._reply()
            if self._running:
                return self._shown()
        seat = "first" if self._side == 0 else "second"
        raise RuntimeError(
            f"{self.game.env_id}: {ATTEMPTS} games in a row ended before the {seat} player's first move, "
            "so there is no episode for this seat"
        )

    def step(self, action: int | np.integer) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Play an action and the opponent's answer: observation [C, H, W], reward, terminated, truncated, info.

        After an illegal move that loses, the observation is the position in which it was made. Raises ValueError when
        the action is outside the action space, when it is illegal and ``illegal`` is "raise", and when the opponent's
        move is illegal; gymnasium.error.ResetNeeded when no game is running.
        """
        if not self._running:
            raise ResetNeeded("no game is running: call reset() first")
        if not self.action_space.contains(action):
            raise ValueError(f"action {action!r} is not a whole number from 0 to {self.game.num_actions - 1}")
        if self.illegal == "lose" and not self.game.legal_mask(self._state)[action]:
            self._running = False
            reward = -1.0
        else:
            self._state = self.game.after(self._state, int(action))
            self._reply()
            reward = 0.0 if self._running else float(outcome(self._state) * (1, -1)[self._side])
        observation, info = self._shown()
        return observation, reward, not self._running, False, info

    def render(self) -> str | None:
        """The board as text in mode "ansi"; in mode "human" it is printed."""
        return show(self.game, self._state, self.render_mode)

    def _reply(self) -> None:
        """The opponent's moves until this side is to move or the game has ended; there may be none, or several."""
        self._running = False
        while self._state[STATUS] == ONGOING and self._state[TO_MOVE] != self._side:
            action = self._opponent(self._state.copy(), self.game.legal_mask(self._state), self.np_random)
            name = getattr(self._opponent, "__name__", type(self._opponent).__name__)
            try:
                action = operator.index(action)
            except TypeError:
                raise ValueError(f"the opponent {name} must return the number of an action, not {action!r}") from None
            try:
                self._state = self.game.after(self._state, action)
            except ValueError as error:
                raise ValueError(f"the opponent {name} made an illegal move: {error}") from None
        self._running = bool(self._state[STATUS] == ONGOING)

    def _shown(self) -> tuple[np.ndarray, dict[str, Any]]:
        """Observation and info of the present position."""
        if self.render_mode == "human":
            self.render()
        mask = mask_of(self.game, self._state) if self._running else np.zeros(self.game.num_actions, np.int8)
        return planes_for(self.game, self._state, self._side), {"action_mask": mask, "side": self._side}


def play_randomly(state: np.ndarray, legal: np.ndarray, rng: np.random.Generator) -> int:
    """The opponent "random": every legal move with equal chance."""
    actions = np.flatnonzero(legal)
    return int(actions[rng.integers(len(actions))])


for _env_id in GAMES:
    # Asked for first, since registering an id twice is warned of, and a module may be loaded again.
    if f"fuseki/{_env_id}-v0" not in gymnasium.registry:
        gymnasium.register(f"fuseki/{_env_id}-v0", entry_point="envs.versus:VersusEnv", kwargs={"game": _env_id})
