"""One self-play actor, whole: games, search and evaluator, ready to be wrapped in a process or called in this one."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Protocol

import envs
from rl.actors.selfplay import SelfPlay, SelfPlayEvaluator
from rl.config import GameConfig
from rl.inference import EXACT, Evaluator, smallest_good
from rl.records import SelfPlayReport, Tensors, Weights

log = logging.getLogger(__name__)

LOCKSTEP_GAMES = 64  # in sync mode nothing may depend on a measurement
BATCH_CANDIDATES = (32, 64, 128, 256, 512, 1024, 2048)
FIRST_CANDIDATE = 128  # with which the number format is chosen
TRIAL_SECONDS = 0.3  # timing of each candidate


class WorkerEvaluator(SelfPlayEvaluator, Protocol):
    """An evaluator whose weights are replaced by ``load``."""

    format: str  # of numbers, as a report names it

    def load(self, weights: Weights) -> None: ...


class SelfPlayWorker:
    """Plays with the newest weights that it was given; sizes itself to the machine that it runs on.

    With ``served``, an evaluator elsewhere that has its weights from elsewhere, those that are given here may be empty:
    they tell the version and how far on the run is.
    """

    def __init__(self, config: GameConfig, seed: int, device: str = "auto", served: WorkerEvaluator | None = None):
        self.config = config
        self.game = envs.make(config.env, **config.env_options)
        self.seed, self.device, self.served = seed, device, served
        self.evaluator: WorkerEvaluator | None = None
        self.selfplay: SelfPlay | None = None

    def use(self, weights: Weights) -> None:
        """Play with these weights from now on, as far on in the schedule of budgets as they are.

        The first ones also settle number format and games at once.
        """
        if self.evaluator is None:
            games = self.config.selfplay.games
            self.evaluator, chosen = self._size(weights, None if games == "auto" else games)
            self.selfplay = self._games(chosen, weights.progress)
        else:
            assert self.selfplay is not None, "it comes with the evaluator"
            self.evaluator.load(weights)
            self.selfplay.schedule(weights.progress)

    def play(self, moves: int | None = None, seconds: float = float("inf")) -> SelfPlayReport:
        """Continue all games for ``moves`` moves a game on average, or for ``seconds``."""
        assert self.evaluator is not None, "use(weights) first"
        assert self.selfplay is not None, "use(weights) first"
        total = 2**62 if moves is None else moves * self.selfplay.games
        report = self.selfplay.play(self.evaluator, total, seconds)
        return replace(report, format=self.evaluator.format)

    def _size(self, weights: Weights, games: int | None) -> tuple[WorkerEvaluator, int]:
        """An evaluator with the weights, and the number of games at once (measured where it is not given)."""
        settled = None
        if self.config.run.mode == "sync":
            settled = EXACT.name if self.config.inference.format == "auto" else None
            games = games or LOCKSTEP_GAMES
        if games is not None:
            return self._evaluator(games, weights, settled), games
        first = self._evaluator(FIRST_CANDIDATE, weights)
        # Compiling takes seconds a size, and hardly moves the best one: sizes are compared without it.
        eager = first.format.removesuffix("-compiled")
        chosen, speeds = smallest_good(BATCH_CANDIDATES, lambda size: self._trial(size, weights, eager))
        log.info("%d games at once: evaluations/s by number %s", chosen, {k: round(v) for k, v in speeds.items()})
        return first if chosen == FIRST_CANDIDATE else self._evaluator(chosen, weights, first.format), chosen

    def _trial(self, games: int, weights: Weights, format: str) -> float:
        """Evaluations/s of self-play itself: what a step costs beside the network matters most in small batches."""
        evaluator, selfplay = self._evaluator(games, weights, format), self._games(games, 1.0)
        selfplay.play(evaluator, moves=1)  # what is compiled or allocated once; and the games part
        report = selfplay.play(evaluator, moves=2**62, seconds=TRIAL_SECONDS)
        return report.evaluations / report.seconds

    def _games(self, count: int, progress: float) -> SelfPlay:
        return SelfPlay(self.game, self.config, count, self.seed, progress)

    def _evaluator(self, batch: int, weights: Weights, format: str | None = None) -> WorkerEvaluator:
        """``format`` pins one; None leaves it to the config."""
        if self.served is not None:
            return self.served
        inference = self.config.inference
        evaluator = Evaluator(self.config.net, self.game, inference, batch, device=self.device, format=format)
        evaluator.load(weights)
        return evaluator

    def resumable(self) -> bool:
        """Whether ``state`` holds all there is: of games, always."""
        return True

    def state(self) -> tuple[Tensors, dict]:
        """Games, searches and random streams in flight; and, JSON-able, what was settled at the start."""
        assert self.evaluator is not None and self.selfplay is not None, "use(weights) first"
        return self.selfplay.state_dict(), {"format": self.evaluator.format, "games": self.selfplay.games}

    def restore(self, weights: Weights, tensors: Tensors, state: dict) -> None:
        """Continue where ``state`` was taken, with the weights that were in use then."""
        self.evaluator = self._evaluator(state["games"], weights, state["format"])
        self.selfplay = self._games(state["games"], weights.progress)
        self.selfplay.load_state_dict(tensors)
