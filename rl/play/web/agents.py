"""The agents that a page offers, by their names: those of the command line, and the models that ship."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import envs
from envs.game import Game
from rl import models
from rl.agent import Agent, load, locate
from rl.config import GameConfig, GymConfig
from rl.gym_agent import GymAgent
from rl.play.web.refusal import Refusal
from rl.sgf import family, komi
from rl.weights import load_agent

MOST_VARIANTS = 8  # networks on other boards or with other komi that are kept ready


class Agents:
    """Each is loaded once, when it is first asked for, and shared by all rooms. Usable from any thread.

    Nothing else can be loaded over the network: a name that a request gives is looked up and never a path.
    """

    def __init__(self, given: Sequence[Agent | GymAgent], shipped: bool = True) -> None:
        """``given``, the first of which a page opens with, come before those that ship."""
        self._loaded: dict[str, Agent | GymAgent] = {agent.name: agent for agent in given}
        self._variants: OrderedDict[tuple[str, str], Agent] = OrderedDict()
        self._lock = threading.RLock()
        self.names = [*self._loaded, *(n for n in models.names() if shipped and n not in self._loaded)]

    def get(self, name: str) -> Agent | GymAgent:
        """Raises Refusal where there is none of that name here, rl.weights.AgentError where it is damaged."""
        if name not in self.names:
            raise Refusal(404, f"there is no agent {name[:80]!r} here; there are {', '.join(self.names)}")
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = load(name)
            return self._loaded[name]

    def player(self, name: str, **options: Any) -> Agent:
        """An agent of a board game, on the board and with the komi that ``options`` give.

        Raises Refusal where it is none, or cannot play there.
        """
        agent = self.get(name)
        if isinstance(agent, GymAgent):
            raise Refusal(422, f"{name} acts in {agent.config.env}, which is no board game")
        options = {key: value for key, value in options.items() if value != own_option(agent.game, key)}
        if not options:
            return agent
        key = name, repr(sorted(options.items()))
        with self._lock:
            if key not in self._variants:
                try:
                    self._variants[key] = agent.on(**options)
                except ValueError as error:
                    raise Refusal(422, f"{name}: {error}") from error
            self._variants.move_to_end(key)
            while len(self._variants) > MOST_VARIANTS:
                self._variants.popitem(last=False)
            return self._variants[key]

    def list(self) -> list[dict[str, Any]]:
        """What a page's menus show of each."""
        return [self._described(name) for name in self.names]

    def _described(self, name: str) -> dict[str, Any]:
        agent = self._loaded.get(name)
        config = agent.config if agent is not None else load_agent(locate(name)).config
        if isinstance(config, GymConfig):
            return {"name": name, "kind": "episodes", "title": config.env}
        assert isinstance(config, GameConfig), "there are two kinds"
        game = agent.game if isinstance(agent, Agent) else envs.make(config.env, **config.played_options)
        kind = family(game)
        # A multilayer perceptron is made for one board; which others the rest can play, the game's family says.
        sizes = list(envs.sizes(kind)) if kind in envs.FAMILIES and config.net.encoder.kind != "mlp" else []
        return {
            "name": name,
            "kind": "game",
            "title": envs_title(game),
            "env": game.env_id,
            "size": own_option(game, "size"),
            "sizes": sizes,
            "komi": komi(game),
        }


def own_option(game: Game, name: str) -> Any:
    """What the game has for the option ``size`` or ``komi`` already; None where there is no such thing."""
    kind = family(game)
    if name == "komi":
        return komi(game)
    return game.board_shape[0] if name == "size" and kind in envs.FAMILIES else None


def envs_title(game: Game) -> str:
    """The game's title without the board's size, which the page lets people choose."""
    return game.title.rsplit(" ", 1)[0] if family(game) in envs.FAMILIES else game.title
