"""The examination that training repeats: solver truth and fixed yardsticks, for the curves."""

from __future__ import annotations

import time
from dataclasses import dataclass

import envs
from envs.game import Game
from rl.agent import AgentPlayer
from rl.config import Config
from rl.evaluation.arena import MatchGame, play_match
from rl.evaluation.players import make_player
from rl.evaluation.ratings import Pairing, fit_ratings
from rl.evaluation.truth import TruthSet
from rl.inference import Evaluator
from rl.records import Weights

LANES = 128  # positions searched at once
ANCHOR = "random"  # the yardstick at 0 Elo, where it is among the opponents


@dataclass(frozen=True)
class Examination:
    """One version's results: metrics under the catalogue's names, and sample games as text."""

    version: int
    metrics: dict[str, float]
    games: dict[str, str]


class Examiner:
    """Examines one version of the weights after another, always on the same positions and openings."""

    def __init__(self, config: Config, device: str = "auto"):
        self.config = config
        self.game = envs.make(config.env, **config.env_options)
        self.settings = config.evaluation
        truth = TruthSet.load(config.env, split="tune")
        self.truth = truth.subset(self.settings.positions, seed=0) if truth is not None else None
        self.evaluator = Evaluator(config.net, self.game, config.inference, LANES, device=device)
        self.pairings: list[Pairing] = []

    def examine(self, weights: Weights) -> Examination:
        """Measure these weights. The network alone and the search use the same weights as actors do."""
        started = time.perf_counter()
        self.evaluator.load(weights)
        metrics: dict[str, float] = {}
        if self.truth is not None:
            metrics["eval/accuracy_network"] = self._accuracy(0)
            if self.settings.simulations:
                metrics["eval/accuracy_search"] = self._accuracy(self.settings.simulations)
        games: dict[str, str] = {}
        for number, opponent in enumerate(self.settings.opponents if self.settings.games else ()):
            other = make_player(opponent, self.game, seed=number, lanes=LANES)
            me = self._player(self.settings.simulations)
            match = play_match(self.game, me, other, self.settings.games, seed=number)
            low, high = match.result.interval()
            metrics |= {
                f"eval/score/{opponent}": match.result.score,
                f"eval/score_low/{opponent}": low,
                f"eval/score_high/{opponent}": high,
            }
            self.pairings.append(Pairing(me.name, opponent, match.result))
            for sample in match.games[: self.config.wandb.sample_games]:
                games[f"{opponent.replace(':', '-')}-{len(games) + 1}"] = describe(self.game, sample, opponent)
        metrics |= self._elo(f"v{weights.version}")
        metrics["eval/seconds"] = time.perf_counter() - started
        return Examination(weights.version, metrics, games)

    def _player(self, simulations: int) -> AgentPlayer:
        name = f"v{self.evaluator.version}"
        return AgentPlayer(self.game, self.evaluator, self.config.search, simulations, name=name, lanes=LANES)

    def _accuracy(self, simulations: int) -> float:
        assert self.truth is not None
        return self.truth.accuracy(self._player(simulations).actions(self.truth.states))

    def _elo(self, name: str) -> dict[str, float]:
        """Elo of this version against all yardsticks and, through them, all earlier versions."""
        if not any(p.b == ANCHOR for p in self.pairings):
            return {}
        rating = next(r for r in fit_ratings(self.pairings, ANCHOR) if r.name == name)
        return {"eval/elo": rating.elo, "eval/elo_low": rating.low, "eval/elo_high": rating.high}


def describe(game: Game, sample: MatchGame, opponent: str) -> str:
    """A game as text: who played which side, the moves by name, the final board and the result."""
    sides = ("agent", opponent) if sample.a_first else (opponent, "agent")
    result = {1: "first player wins", 0: "draw", -1: "second player wins", None: "unfinished"}[sample.outcome]
    moves = " ".join(game.action_names[a] for a in sample.moves)
    board = game.render(game.replay(sample.moves))
    return f"first: {sides[0]}, second: {sides[1]}: {result}\nmoves: {moves}\n\n{board}\n"
