"""The examination that training repeats: solver truth and fixed yardsticks, for the curves."""

from __future__ import annotations

import logging
import time

import envs
from envs.game import Game
from rl.agent import AgentPlayer
from rl.config import GameConfig
from rl.evaluation.arena import MatchGame, count, play_match
from rl.evaluation.examination import Examination
from rl.evaluation.game_files import file_name, match_files
from rl.evaluation.gtp_engine import EngineError
from rl.evaluation.gtp_player import GTPPlayer
from rl.evaluation.players import Player, make_player, release
from rl.evaluation.ratings import Pairing, fit_ratings
from rl.evaluation.truth import TruthSet
from rl.inference import Evaluator
from rl.records import Weights

log = logging.getLogger(__name__)

LANES = 128  # positions searched at once
PREVIOUS = "previous"  # an opponent: the weights of the last examination, at the first one none
ANCHOR = "random"  # the yardstick at 0 Elo, where it is among the opponents


class Examiner:
    """Examines one version of the weights after another, always on the same positions and openings."""

    def __init__(self, config: GameConfig, device: str = "auto"):
        self.config = config
        self.game = envs.make(config.env, **config.env_options)
        self.settings = config.evaluation
        truth = TruthSet.load(config.env, split="tune")
        self.truth = truth.subset(self.settings.positions, seed=0) if truth is not None else None
        self.evaluator = Evaluator(config.net, self.game, config.inference, LANES, device=device)
        self.pairings: list[Pairing] = []
        self._last: Weights | None = None  # of the last examination

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
        files: dict[str, dict[str, str]] = {}
        for number, opponent in enumerate(self.settings.opponents if self.settings.games else ()):
            if opponent == PREVIOUS and self._last is None:
                continue
            try:
                other = self._opponent(opponent, number)
            except EngineError as error:  # it ran when the run began; training does not end because of it
                log.warning("no games against it this time: %s", error)
                continue
            me = self._player(self.settings.simulations)
            try:
                match = play_match(self.game, me, other, self.settings.games, seed=number)
            finally:
                release(other)
            low, high = match.result.interval()
            metrics |= {
                f"eval/score/{opponent}": match.result.score,
                f"eval/score_low/{opponent}": low,
                f"eval/score_high/{opponent}": high,
            }
            sound = count([g for g in match.games if not g.failed])
            if isinstance(other, GTPPlayer):
                metrics[f"eval/forfeits/{opponent}"] = match.result.games - sound.games
            if sound.games:  # a game won because an engine died says nothing about strength
                self.pairings.append(Pairing(me.name, other.name if opponent == PREVIOUS else opponent, sound))
            folder = f"{weights.version:08d}-{number + 1}-{file_name(opponent)}"
            files[folder] = match_files(self.game, match, me.name, opponent)
            for sample in match.games[: self.config.wandb.sample_games]:
                games[f"{file_name(opponent)}-{len(games) + 1}"] = describe(self.game, sample, opponent)
        self._last = weights
        metrics |= self._elo(f"v{weights.version}")
        metrics["eval/seconds"] = time.perf_counter() - started
        return Examination(weights.version, metrics, games, files)

    def _player(self, simulations: int) -> AgentPlayer:
        return self._player_with(self.evaluator, simulations)

    def _player_with(self, evaluator: Evaluator, simulations: int) -> AgentPlayer:
        name = f"v{evaluator.version}"
        return AgentPlayer(self.game, evaluator, self.config.search, simulations, name=name, lanes=LANES)

    def _opponent(self, name: str, seed: int) -> Player:
        if name != PREVIOUS:
            return make_player(name, self.game, seed=seed, lanes=LANES)
        assert self._last is not None
        config = self.config
        # In the format that was measured to be the fastest for the newest weights.
        older = Evaluator(
            config.net,
            self.game,
            config.inference,
            LANES,
            device=self.evaluator.device.type,
            format=self.evaluator.format,
        )
        older.load(self._last)
        return self._player_with(older, self.settings.simulations)

    def _accuracy(self, simulations: int) -> float:
        assert self.truth is not None
        return self.truth.accuracy(self._player(simulations).actions(self.truth.states))

    def _elo(self, name: str) -> dict[str, float]:
        """Elo of this version against all yardsticks and, through them, all earlier versions."""
        if not any(p.b == ANCHOR for p in self.pairings) or not any(p.a == name for p in self.pairings):
            return {}
        rating = next(r for r in fit_ratings(self.pairings, ANCHOR) if r.name == name)
        return {"eval/elo": rating.elo, "eval/elo_low": rating.low, "eval/elo_high": rating.high}


def describe(game: Game, sample: MatchGame, opponent: str) -> str:
    """A game as text: who played which side, the moves by name, the final board and the result."""
    sides = ("agent", opponent) if sample.a_first else (opponent, "agent")
    result = {1: "first player wins", 0: "draw", -1: "second player wins", None: "unfinished"}[sample.outcome]
    moves = " ".join(game.action_names[a] for a in sample.moves)
    board = game.render(game.replay(sample.moves))
    ending = f" ({sample.ending})" if sample.forfeit is not None else ""
    return f"first: {sides[0]}, second: {sides[1]}: {result}{ending}\nmoves: {moves}\n\n{board}\n"
