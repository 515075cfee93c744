"""What a network looks at: shares of a position's points in its choice there, computed aside and kept for a while."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from envs.game import ONGOING, STATUS
from rl.agent import Agent
from rl.play.marks import shape_of
from rl.play.web.refusal import Refusal
from rl.play.web.rooms import Pool

# Shares [H, W] of the points of a state [S] in an agent's action there. Raises ImportError, in one sentence, where a
# package is missing. rl.insight has them; it lies beside this room, so whoever starts the server hands them over.
Insight = Callable[[Agent, np.ndarray, int], np.ndarray]
Sources = Mapping[str, Insight]  # "saliency" and "attention", or what there is of them
KEPT = 300  # answers


class Insights:
    """Shared by all tables."""

    def __init__(self, pool: Pool, sources: Sources) -> None:
        self._pool, self._sources = pool, sources
        self._known: OrderedDict[tuple[Any, ...], dict[str, Any]] = OrderedDict()

    def kinds(self, agent: Agent) -> list[str]:
        """What can be shown of the agent's positions."""
        looks = agent.config.net.encoder.kind == "transformer"
        return [kind for kind in self._sources if kind != "attention" or looks]

    async def of(self, kind: str, agent: Agent, moves: Sequence[int]) -> dict[str, Any]:
        """``shares`` of the points, rows from the top, in the ``action`` that the network alone prefers after ``moves``
        and gives the ``probability``. Saliency's are signed, attention's sum to 1. Raises Refusal.
        """
        if kind not in self.kinds(agent):
            raise Refusal(422, f"{agent.name} has no {kind} to show: its network has no transformer encoder")
        game = agent.game
        key = kind, agent.name, game.env_id, game.params, tuple(moves)
        if key not in self._known:
            self._known[key] = await self._pool.run(lambda: self._found(kind, agent, moves), kind="insight")
        self._known.move_to_end(key)
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        return self._known[key]

    def _found(self, kind: str, agent: Agent, moves: Sequence[int]) -> dict[str, Any]:
        state = agent.game.replay(moves)
        if state[STATUS] != ONGOING:
            raise Refusal(409, "the game is over there, and no choice is left to look into")
        alone = agent.analyse_state(state, 0)
        try:
            shares = self._sources[kind](agent, state, alone.action)
        except ImportError as error:
            raise Refusal(501, str(error)) from error
        rows, columns = shape_of(agent.game)
        return {
            "kind": kind,
            "ply": len(moves),
            "action": alone.action,
            "probability": round(float(alone.prior[alone.action]), 4),
            "shares": [[round(float(x), 5) for x in row[:columns]] for row in shares[:rows]],
        }
