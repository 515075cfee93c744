"""Every board game as a PettingZoo AEC environment.

    from envs.pettingzoo import aec_env
    env = aec_env("connect_four")
    env.reset()
    for agent in env.agent_iter():
        observation, reward, termination, truncation, info = env.last()
        done = termination or truncation
        env.step(None if done else env.action_space(agent).sample(observation["action_mask"]))

The conventions are those of ``pettingzoo.classic`` (connect_four_v3): agents "player_0", who is the first player, and
"player_1"; observations are dictionaries of "observation" and "action_mask"; rewards 1, 0 or -1 come at the end; an
illegal move ends the game with -1 for its player and 0 for the other.

One thing differs: "observation" is planes [C, H, W] float32, not [H, W, C]. PettingZoo's interface asks for no order,
and these are exactly the planes that our networks are trained on and that :mod:`envs.versus` gives.

Needs ``pip install 'fuseki[pettingzoo]'``. Importing this module without it raises ImportError, which says so.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from envs.game import ONGOING, STATUS, TO_MOVE, Game, outcome
from envs.view import RENDER_FPS, RENDER_MODES, check_render_mode, game_of, mask_of, planes_for, planes_space, show

try:
    from pettingzoo import AECEnv
    from pettingzoo.utils import wrappers
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "pettingzoo":
        raise  # PettingZoo is there, but broken
    raise ImportError("envs.pettingzoo needs PettingZoo: pip install 'fuseki[pettingzoo]'", name=error.name) from error

AGENTS = ("player_0", "player_1")  # the first and the second player: state[TO_MOVE] is an index into it


def aec_env(game: Game | str, render_mode: str | None = None, **options: Any) -> AECEnv:
    """The game, or the one named by an env_id and its options, in PettingZoo's usual wrappers.

    They end the game at an illegal move (-1 for its player), and raise AssertionError at an action outside the action
    space or at a call before ``reset``. ``render_mode``: None, "ansi" (``render`` gives text) or "human" (every
    position is printed). Raises ValueError, in one sentence, for an unknown game, option or render mode.
    """
    env: AECEnv = BoardGame(game, render_mode, **options)
    env = wrappers.TerminateIllegalWrapper(env, illegal_reward=-1)
    env = wrappers.AssertOutOfBoundsWrapper(env)
    return wrappers.OrderEnforcingWrapper(env)


class BoardGame(AECEnv):
    """The environment without wrappers; arguments as for :func:`aec_env`. An illegal move raises ValueError."""

    def __init__(self, game: Game | str, render_mode: str | None = None, **options: Any) -> None:
        super().__init__()
        check_render_mode(render_mode)
        self.game = game_of(game, options)
        self.render_mode = render_mode
        self.metadata = {
            "name": f"{self.game.env_id}_v0",
            "render_modes": list(RENDER_MODES),
            "render_fps": RENDER_FPS,
            "is_parallelizable": False,  # players take turns
        }
        self.possible_agents = list(AGENTS)
        self.agents = list(AGENTS)
        # One object an agent: PettingZoo seeds spaces through them.
        self.observation_spaces = {
            agent: spaces.Dict(
                {
                    "observation": planes_space(self.game),
                    "action_mask": spaces.Box(0, 1, (self.game.num_actions,), np.int8),
                }
            )
            for agent in AGENTS
        }
        self.action_spaces = {agent: spaces.Discrete(self.game.num_actions) for agent in AGENTS}

    def observation_space(self, agent: str) -> spaces.Dict:
        """Dict of "observation" [C, H, W] float32 and "action_mask" [A] int8; the same object at every call."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Discrete:
        """Discrete(A); the same object at every call."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Begin a new game. Both arguments belong to the interface and change nothing: nothing here is random."""
        self.agents = list(AGENTS)
        self._state = self.game.initial_state()
        self.rewards = dict.fromkeys(AGENTS, 0.0)
        self._cumulative_rewards = dict.fromkeys(AGENTS, 0.0)
        self.terminations = dict.fromkeys(AGENTS, False)
        self.truncations = dict.fromkeys(AGENTS, False)
        self.infos: dict[str, dict[str, Any]] = {agent: {} for agent in AGENTS}
        self.agent_selection = AGENTS[self._state[TO_MOVE]]
        if self.render_mode == "human":
            self.render()

    def step(self, action: int | None) -> None:
        """Play the selected agent's action; None for an agent whose game has ended.

        The header says who acts next, which may be the same agent again. Raises ValueError when the action is illegal.
        """
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        if action is None:
            raise ValueError(f"{agent} is to move, but its action is None")
        self._state = self.game.after(self._state, int(action))
        if self._state[STATUS] == ONGOING:
            self.agent_selection = AGENTS[self._state[TO_MOVE]]
        else:
            won = float(outcome(self._state))
            self.rewards = dict(zip(AGENTS, (won, -won), strict=True))
            self._accumulate_rewards()  # into what `last` shows; until now there was no reward
            self.terminations = dict.fromkeys(AGENTS, True)
            self.agent_selection = AGENTS[1 - AGENTS.index(agent)]  # as in a game of alternating turns
        if self.render_mode == "human":
            self.render()

    def observe(self, agent: str) -> dict[str, np.ndarray]:
        """The position from the agent's point of view, whoever is to move; its mask is all 0 when it is not to move."""
        side = AGENTS.index(agent)
        to_move = self._state[TO_MOVE] == side
        mask = mask_of(self.game, self._state) if to_move else np.zeros(self.game.num_actions, np.int8)
        return {"observation": planes_for(self.game, self._state, side), "action_mask": mask}

    def render(self) -> str | None:
        """The board as text in mode "ansi"; in mode "human" it is printed."""
        return show(self.game, self._state, self.render_mode)

    def close(self) -> None:
        """Nothing is held that would have to be released."""
