"""Positions that an agent comes to in games against itself, with how they came about and how they ended."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.game import ONGOING, STATUS, Game
from rl.agent import Agent
from rl.evaluation.truth import TruthSet

LANES = 128  # games at once
PER_GAME = 4  # positions taken from one game
RANDOM_MOVE = 0.1  # share of the moves that are random, so that not all games go the same way


@dataclass(frozen=True)
class Positions:
    """N distinct ongoing positions."""

    states: np.ndarray  # [N, S] int64
    moves: tuple[tuple[int, ...], ...]  # that lead to each from the initial position
    games: np.ndarray  # [N] int64, equal where they are of one game
    finals: np.ndarray | None = None  # [N, S] int64, how that game ended
    values: np.ndarray | None = None  # [N] int8, solver truth for the side to move: 1 won, 0 drawn, -1 lost

    def take(self, rows: np.ndarray) -> Positions:
        """These rows alone."""
        return Positions(
            self.states[rows],
            tuple(self.moves[i] for i in rows),
            self.games[rows],
            None if self.finals is None else self.finals[rows],
            None if self.values is None else self.values[rows],
        )


def visited(agent: Agent, count: int, seed: int = 0) -> Positions:
    """``count`` positions of games in which the network alone draws its moves from its policy, some at random.

    Fewer where the game has fewer; none of them twice.
    """
    game, evaluate = agent.game, agent.evaluator(LANES)
    rng = np.random.default_rng(seed)
    states: list[np.ndarray] = []
    moves: list[tuple[int, ...]] = []
    games: list[int] = []
    finals: list[np.ndarray] = []
    seen: set[bytes] = set()
    played = 0
    for _ in range(1 + 4 * count // LANES):  # a tiny game runs out of positions
        for line in _games(game, evaluate, rng):
            played += 1
            final = game.replay(line)
            for length in sorted(rng.choice(len(line), min(PER_GAME, len(line)), replace=False)):
                state = game.replay(line[:length])
                if state.tobytes() in seen or len(states) == count:
                    continue
                seen.add(state.tobytes())
                states.append(state)
                moves.append(line[:length])
                games.append(played)
                finals.append(final)
        if len(states) == count:
            break
    return Positions(np.stack(states), tuple(moves), np.array(games), np.stack(finals))


def solved(game: Game, split: str = "test") -> Positions | None:
    """The positions of a committed truth set; None where the game has none."""
    truth = TruthSet.load(game.env_id, split)
    if truth is None or truth.moves is None:
        return None
    return Positions(truth.states, truth.moves, np.arange(len(truth)), values=truth.values())


def _games(game: Game, evaluate: object, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """LANES games, played together to their ends: their moves."""
    states = [game.initial_state() for _ in range(LANES)]
    lines: list[list[int]] = [[] for _ in range(LANES)]
    ongoing = list(range(LANES))
    while ongoing:
        batch = np.stack([states[i] for i in ongoing])
        legal = np.stack([game.legal_mask(state) for state in batch])
        logits = np.where(legal, evaluate(game.encode(batch)).logits, -np.inf)  # type: ignore[operator]
        logits = np.where(rng.random((len(batch), 1)) < RANDOM_MOVE, np.where(legal, 0.0, -np.inf), logits)
        actions = np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)
        for i, action in zip(ongoing, actions, strict=True):
            game.play(states[i], int(action))
            lines[i].append(int(action))
        ongoing = [i for i in ongoing if states[i][STATUS] == ONGOING]
    return [tuple(line) for line in lines]


def mirrored(game: Game, moves: tuple[int, ...], symmetry: int) -> tuple[int, ...]:
    """The same moves under one of the board's symmetries (see envs.game.Game)."""
    assert game.action_symmetries is not None
    inverse = np.argsort(game.action_symmetries[symmetry])
    return tuple(int(inverse[move]) for move in moves)


def some(agent: Agent, count: int, seed: int) -> np.ndarray:
    """At most ``count`` states [N, S], drawn from the solved positions or, where there are none, the agent's games."""
    found = solved(agent.game, "test") or visited(agent, count, seed)
    return found.states[np.random.default_rng(seed).permutation(len(found.states))[:count]]
