"""An agent: one network's weights with their game and configuration, ready to analyse and to play."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import envs
from envs.game import ONGOING, PLY, STATUS, TO_MOVE, Game
from rl import models
from rl.config import GameConfig, GymConfig, SearchConfig
from rl.gym_agent import GymAgent
from rl.records import PROVEN_DRAW, PROVEN_LOSS, PROVEN_WIN, Evaluation, SearchResult, Weights
from rl.search import Search, Tree
from rl.storage import Place, is_url
from rl.weights import AgentError, load_agent, resolve

if TYPE_CHECKING:
    from rl.inference import Evaluator
    from rl.nets import PolicyValueNet

COMPILED_BATCH = 64  # positions evaluated at once from which on compiling may pay
PROVEN = {PROVEN_LOSS: "loss", PROVEN_DRAW: "draw", PROVEN_WIN: "win"}


@dataclass(frozen=True)
class Analysis:
    """An agent's opinion of one position. Values and win/draw/loss chances are for the side to move."""

    action: int  # the move it would play
    policy: np.ndarray  # [A] float32, sums to 1, 0 where illegal: the search's improved policy, or the network's
    value: float  # in [-1, 1]: P(win) - P(loss)
    wdl: np.ndarray  # [3] float32, sums to 1
    prior: np.ndarray  # [A] float32, the network's policy before any search
    visits: np.ndarray  # [A] int32, simulations through each move; zeros for the network alone
    action_values: np.ndarray  # [A] float32 in [-1, 1]; NaN where never visited
    proven: str | None  # "win", "draw" or "loss" when the search proved it
    principal_variation: tuple[int, ...]  # the line that the search expects, beginning with ``action``
    simulations: int
    lines: dict[int, tuple[int, ...]] = field(
        default_factory=dict
    )  # of each visited move, the line that begins with it

    def to_dict(self, game: Game) -> dict[str, Any]:
        """The same as plain JSON values; moves carry their names too."""
        return {
            "action": self.action,
            "action_name": game.action_names[self.action],
            "policy": [float(p) for p in self.policy],
            "value": self.value,
            "wdl": [float(p) for p in self.wdl],
            "prior": [float(p) for p in self.prior],
            "visits": [int(v) for v in self.visits],
            "action_values": [None if np.isnan(v) else float(v) for v in self.action_values],
            "proven": self.proven,
            "principal_variation": list(self.principal_variation),
            "simulations": self.simulations,
        }


class AgentPlayer:
    """A network with search, or alone when ``simulations`` is 0."""

    def __init__(
        self,
        game: Game,
        evaluator: Callable[[np.ndarray], Evaluation],
        search: SearchConfig,
        simulations: int,
        *,
        name: str = "agent",
        lanes: int = 64,
        seed: int = 0,
    ) -> None:
        """``lanes`` is the number of positions searched at once: the evaluator's batch."""
        self.name = name
        self.simulations = simulations
        self._evaluator = evaluator
        self._search = Search(game, search, lanes, seed, max_simulations=max(simulations, 1))

    def actions(self, states: np.ndarray, moves: Sequence[Sequence[int]] = ()) -> np.ndarray:
        """Moves [N] int64 for ongoing positions [N, S] int64; ``moves`` as in ``evaluation.players``, not needed."""
        return self._search.run(states, self._evaluator, simulations=self.simulations, forget=False).action


class Agent:
    """Weights with their game. The network is built when a position is first evaluated.

    Several threads may play with one agent, each through an engine of its own (rl.play.engine).
    """

    def __init__(
        self, name: str, weights: Weights, config: GameConfig, info: dict[str, Any], device: str = "auto"
    ) -> None:
        """Raises AgentError when the game that the configuration names does not exist here."""
        try:  # a board that fills the array needs no mask, as variants would
            self.game: Game = envs.make(config.env, **config.played_options)
        except ValueError as error:
            raise AgentError(f"agent {name!r}: {error}") from error
        self.name, self.weights, self.config, self.info = name, weights, config, info
        self.device = device
        self.lock = threading.RLock()  # while something is made that all who use the agent share
        self.speed: tuple[int, float] | None = None  # of one search, as rl.play.engine has measured it
        self._evaluators: dict[tuple[int, float], Evaluator] = {}
        self._heads: PolicyValueNet | None = None
        self._search: Search | None = None

    def evaluator(self, batch_size: int, score_utility: float = 0.0) -> Evaluator:
        """The network for batches of up to ``batch_size`` positions; one is kept for each size.

        ``score_utility``: share of the score in its values, see ``nets.formats.Answer``. Raises AgentError when the
        weights do not fit the network that the configuration describes, or when the device does not exist.
        """
        key = batch_size, score_utility
        with self.lock:
            if key not in self._evaluators:
                self._evaluators[key] = self._new_evaluator(batch_size, score_utility)
            return self._evaluators[key]

    def _new_evaluator(self, batch_size: int, score_utility: float) -> Evaluator:
        from rl.inference import EXACT, Evaluator

        # A format pinned for the training machine may not exist here. One position at a time gains little from
        # the choice, and an analysis should come out the same on every run.
        format = EXACT.name if batch_size == 1 else "auto"
        # Compiling takes half a minute, which only matches of many games at once win back.
        compile = self.config.inference.compile and batch_size >= COMPILED_BATCH
        inference = self.config.inference.model_copy(update={"compile": compile})
        try:
            evaluator = Evaluator(
                self.config.net,
                self.game,
                inference,
                batch_size,
                device=self.device,
                format=format,
                score_utility=score_utility,
            )
            evaluator.load(self.weights)
        except ValueError as error:
            raise AgentError(f"agent {self.name!r} ({self.game.env_id}): {error}") from error
        return evaluator

    def network(self) -> PolicyValueNet:
        """The torch network with these weights, on the CPU, in evaluation mode; AgentError when they do not fit."""
        import torch

        from rl import nets

        try:
            net = nets.build(self.config.net, self.game)
            net.load_state_dict({name: torch.from_numpy(np.array(t)) for name, t in self.weights.tensors.items()})
        except (ValueError, RuntimeError) as error:
            raise AgentError(f"agent {self.name!r} ({self.game.env_id}): {error}") from error
        return net.eval()

    def ownership(self, state: np.ndarray) -> np.ndarray | None:
        """Who will own each point of a position [S], [H·W] float32 in [-1, 1] for the first player; None without such a
        head."""
        if not self.config.net.auxiliary.ownership:
            return None
        import torch

        with self.lock:
            if self._heads is None:
                self._heads = self.network()
        with torch.inference_mode():
            _, _, extra = self._heads.all_heads(torch.from_numpy(self.game.encode(state[None])))
        mine = np.tanh(extra["ownership"][0].numpy() / 2)  # 2 · P(mine) - 1
        return mine if state[TO_MOVE] == 0 else -mine

    def player(self, simulations: int | None = None, *, lanes: int = 64, seed: int = 0) -> AgentPlayer:
        """This agent as a player of many games at once; ``simulations`` 0 is the network alone, None the config's."""
        budget = self.config.search.simulations if simulations is None else simulations
        return AgentPlayer(
            self.game, self.evaluator(lanes), self.config.search, budget, name=self.name, lanes=lanes, seed=seed
        )

    def analyse(self, moves: Sequence[int] = (), simulations: int | None = None) -> Analysis:
        """The agent's opinion after ``moves`` from the initial position.

        ``simulations``: None means as many as in training, 0 the network alone. Raises ValueError, in one sentence,
        when a move is illegal, the game has ended, or ``simulations`` is negative.
        """
        return self.analyse_state(self.position(moves), simulations)

    def position(self, moves: Sequence[int]) -> np.ndarray:
        """The state [S] after ``moves``. Raises ValueError when one is illegal or the game has ended."""
        state = self.game.replay(moves)
        if state[STATUS] != ONGOING:
            raise ValueError(f"the game has ended after {int(state[PLY])} moves; there is no move to choose")
        return state

    def analyse_state(self, state: np.ndarray, simulations: int | None = None) -> Analysis:
        """The same for the state vector [S] int64 of an ongoing game."""
        budget = self.config.search.simulations if simulations is None else simulations
        if budget < 0:
            raise ValueError(f"simulations must be 0 (the network alone) or more, not {budget}")
        if self._search is None or self._search.max_simulations < budget:
            self._search = Search(self.game, self.config.search, lanes=1, seed=0, max_simulations=max(budget, 1))
        found = self._search.run(state[None], self.evaluator(1), simulations=budget)
        return analysis(self._search.tree, found, budget)

    def on(self, **options: Any) -> Agent:
        """The same network for the same game with other options of its environment: another komi, another board.

        ``size`` makes a game of the same family on a board of that size. Raises ValueError, in one sentence, when there
        is no such game or the network cannot play it.
        """
        env = self.config.env
        if "size" in options:
            env, size = env.rstrip("0123456789"), options.pop("size")
            if env not in envs.FAMILIES:
                raise ValueError(f"{self.game.env_id} is played on one board only, not on one of size {size}")
            env += str(size)
        config = self.config.model_copy(update={"env": env, "env_options": self.config.env_options | options})
        other = Agent(self.name, self.weights, config, self.info, self.device)
        if other.game.plane_shape != self.game.plane_shape:
            other.network()  # or say now that it does not fit
        return other


def analysis(tree: Tree, found: SearchResult, simulations: int) -> Analysis:
    """What a search of one position found; ``tree`` holds it in lane 0, unless ``simulations`` is 0."""
    action, wdl = int(found.action[0]), found.wdl[0]
    tried = [int(a) for a in np.flatnonzero(found.visits[0])]
    return Analysis(
        action=action,
        policy=found.policy[0],
        value=float(np.clip(wdl[0] - wdl[2], -1.0, 1.0)),
        wdl=wdl,
        prior=found.prior[0],
        visits=found.visits[0],
        action_values=found.action_value[0],
        proven=PROVEN.get(int(found.proven[0])),
        principal_variation=_principal_variation(tree, action) if simulations else (action,),
        simulations=simulations,
        lines={a: _principal_variation(tree, a) for a in tried} if simulations else {},
    )


def _principal_variation(tree: Tree, action: int) -> tuple[int, ...]:
    """``action`` and the most visited moves after it in lane 0."""
    line = [action]
    node = int(tree.child[0, 0, action])
    while node >= 0:
        children = tree.child[0, node]
        visits = np.where(children >= 0, tree.visits[0, children], 0)
        if visits.max() == 0:
            break
        line.append(int(visits.argmax()))
        node = int(children[line[-1]])
    return tuple(line)


def locate(name: str | Path) -> Place:
    """The file behind an agent's name: a model that ships, a run folder, a checkpoint folder or a .safetensors file.

    All but the first may be local or any fsspec URL.

    Raises AgentError, in one sentence, when there is none.
    """
    if isinstance(name, str) and name in models.names():
        return models.path(name)
    if not is_url(name) and not Path(name).exists():
        shipped = f"a model that ships ({', '.join(models.names())})" if models.names() else "a model that ships"
        raise AgentError(
            f"no agent {str(name)!r}: it is neither {shipped} nor a run folder, checkpoint folder or .safetensors file"
        )
    return resolve(name)


def load(name: str | Path, device: str = "auto") -> Agent | GymAgent:
    """The agent of this name, run folder, checkpoint folder or file. Raises AgentError, in one sentence."""
    loaded = load_agent(locate(name))
    if isinstance(loaded.config, GymConfig):
        return GymAgent(str(name), loaded.weights, loaded.config, loaded.info, device)
    assert isinstance(loaded.config, GameConfig), "there are two kinds"
    return Agent(str(name), loaded.weights, loaded.config, loaded.info, device)


def load_player(name: str | Path, device: str = "auto") -> Agent:
    """The same where only an agent of a board game will do. Raises AgentError for another."""
    agent = load(name, device)
    if isinstance(agent, GymAgent):
        raise AgentError(f"agent {agent.name!r} acts in {agent.config.env}, which is no board game")
    return agent
