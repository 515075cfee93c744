"""The two kinds of run, and what each is made of: board games by self-play, Gymnasium environments by rollouts.

Everything else in this room serves both alike: it knows a worker that plays and reports, a trainer that takes what was
played and trains, an examiner, and what is measured of a stretch of play.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import envs
from rl.config import Config, ConfigError, GameConfig, GymConfig, PPOConfig
from rl.evaluation.examination import Examination
from rl.experience import is_shard, shard_name, shards
from rl.records import RolloutReport, SelfPlayReport, Tensors, Weights
from rl.runtime.checkpoint import load_checkpoint
from rl.runtime.transfer import starting_weights
from rl.weights import AgentError, load_agent, resolve

if TYPE_CHECKING:
    from rl.actors.worker import WorkerEvaluator
    from rl.agent import Agent
    from rl.learner import Learner
    from rl.nets.loading import Transfer

Report = SelfPlayReport | RolloutReport
BACKLOG = 4  # publishing periods of allowed updates beyond which self-play waits for the learner


class Worker(Protocol):
    """Plays with the newest weights that it was given."""

    def use(self, weights: Weights) -> None: ...
    def play(self, moves: int | None = None, seconds: float = ...) -> Any: ...
    def resumable(self) -> bool: ...
    def state(self) -> tuple[Tensors, dict]: ...
    def restore(self, weights: Weights, tensors: Tensors, state: dict) -> None: ...


class Trainer(Protocol):
    """Takes what was played, trains as far as it may."""

    busy_seconds: float

    def add(self, experience: Any) -> None: ...
    def steps_allowed(self) -> int: ...
    def train(self, steps: int, progress: float) -> dict[str, float]: ...
    def status(self) -> dict[str, float]: ...
    def weights(self, progress: float) -> Weights: ...
    def state(self) -> tuple[dict[str, Tensors], dict]: ...
    def shard(self) -> tuple[Tensors, dict]: ...  # of several learners: what only this one has
    def restore(self, parts: dict[str, Tensors], state: dict) -> None: ...


class Examiner(Protocol):
    def examine(self, weights: Weights) -> Examination: ...


def make_worker(config: Config, seed: int, actors: int, served: WorkerEvaluator | None = None) -> Worker:
    """One of ``actors`` workers; ``served``: an evaluator elsewhere, of which several games' workers may share one.

    Raises envs.gym.UnknownWorld or WorldError where the environment cannot be had.
    An environment's every fault is a WorldError, hanging in a step included; numbers that are not finite raise
    FloatingPointError.
    """
    if isinstance(config, GymConfig):
        from envs.gym import Watched
        from rl.actors.rollout import RolloutWorker

        rollouts = config.rollout
        worker: Any = Watched(
            lambda: RolloutWorker(config, seed, rollouts.environments // actors), rollouts.timeout_seconds
        )
        return worker
    game = _game(config)
    if game.selfplay.victim is not None:
        from rl.actors.versus import GAMES, VersusWorker

        victim = _victim(game)
        lanes = GAMES if game.selfplay.games == "auto" else game.selfplay.games
        player = victim.player(game.selfplay.victim_simulations, lanes=lanes, seed=seed)
        return VersusWorker(game, seed, player, victim.evaluator(lanes))
    from rl.actors.worker import SelfPlayWorker

    return SelfPlayWorker(game, seed, served=served)


def _victim(config: GameConfig) -> Agent:
    """The agent in the other seat. Raises ConfigError where there is none, or it plays another game."""
    from rl.agent import load_player

    assert config.selfplay.victim is not None, "asked for only then"
    try:
        victim = load_player(config.selfplay.victim)
    except AgentError as error:
        raise ConfigError(f"selfplay.victim: {error}") from error
    if shapes(victim.config) != shapes(config):
        raise ConfigError(f"selfplay.victim: {config.selfplay.victim!r} plays {victim.game.title}, not {config.env}")
    return victim


def make_trainer(config: Config, new: bool) -> Trainer:
    """The learner's side; a ``new`` run begins with what the configuration says it starts from."""
    if isinstance(config, GymConfig):
        from rl.trainers.rollouts import RolloutTrainer

        rollouts = RolloutTrainer(config)
        if new and (weights := starting_weights(config)) is not None:
            rollouts.learner.begin_with(weights)
        return rollouts
    game = _game(config)
    if game.ppo is not None:
        from rl.trainers.policy_gradients import PolicyGradientTrainer

        moves = PolicyGradientTrainer(game)
        if new and (weights := starting_weights(config)) is not None:
            moves.learner.begin_with(weights)
        return moves
    from rl.trainers.games import GameTrainer

    trainer = GameTrainer(game)
    if new:
        trainer.begin_with(starting_weights(config), starting_window(game) or ())
    return trainer


def parts_of(parts: Sequence[str], rank: int, learners: int) -> list[str]:
    """The parts of a checkpoint that learner ``rank`` of ``learners`` needs: not those of actors, and of the window
    its own shard alone where it is in so many; else it is dealt anew from all of them."""
    needed = [part for part in parts if not part.startswith("actor-")]
    windows = [part for part in needed if is_shard(part)]
    if len(windows) != learners:
        return needed
    return [part for part in needed if part not in windows or part == shard_name(rank)]


def make_examiner(config: Config) -> Examiner:
    if isinstance(config, GymConfig):
        from envs.gym import Watched
        from rl.evaluation.episodes import EpisodeExaminer

        examiner: Any = Watched(lambda: EpisodeExaminer(config), config.rollout.timeout_seconds)
        return examiner
    from rl.evaluation.examiner import Examiner as MatchExaminer

    return MatchExaminer(_game(config))


def updates_a_call(config: Config) -> int:
    """Updates between two looks at the learner; trainers without a window take a whole batch at once."""
    return config.learner.publish_every if isinstance(config, GameConfig) and config.ppo is None else 1


def may_play(config: Config, handed: int, waiting: int, actors: int, trained: int, allowed: int) -> bool:
    """Whether an idle actor gets its next stretch.

    ``handed``: stretches that it was given so far; ``waiting``: stretches of all ``actors`` that were not trained on
    yet; ``trained``: batches that the learners have trained on; ``allowed``: updates that wait to be done.
    """
    if isinstance(config, GameConfig):
        # PPO trains on all that waits at once, so what is played meanwhile is one batch behind at most.
        return config.ppo is not None or allowed < BACKLOG * config.learner.publish_every
    assert isinstance(config, GymConfig), "there are two kinds"
    if isinstance(config.algorithm, PPOConfig):  # at most one batch behind
        return handed <= trained + int(config.algorithm.overlap)
    return waiting < actors + config.algorithm.queue


def elastic(config: Config) -> bool:
    """Whether actors may come and go while a run goes on.

    Not with PPO: its batch is a stretch of each environment, which are dealt out to the actors at the start.
    """
    return not (isinstance(config, GymConfig) and isinstance(config.algorithm, PPOConfig))


def check(config: Config, new: bool) -> Transfer | None:
    """Say what is wrong with a run before anything is written. Raises ConfigError, in one sentence.

    Returns what a new run takes over from the agent that learner.init_from names, where it names one.
    """
    learner: Learner[Any] | None = None
    if isinstance(config, GymConfig):
        from envs.gym import UnknownWorld
        from rl.trainers.rollouts import RolloutTrainer

        try:
            learner = RolloutTrainer(config, "cpu").learner
        except (UnknownWorld, ValueError) as error:
            raise ConfigError(str(error)) from error
        if config.evaluation.videos:
            from rl.evaluation.episodes import check_videos
            from rl.evaluation.players import EvaluationError

            try:
                check_videos(config)
            except EvaluationError as error:
                raise ConfigError(f"evaluation.videos: {error}") from error
    else:
        from rl.evaluation.examiner import PREVIOUS
        from rl.evaluation.players import EvaluationError, check_opponent
        from rl.learner import GameLearner

        game = _game(config)
        for opponent in game.evaluation.opponents if game.evaluation.games else ():
            try:
                if opponent != PREVIOUS:
                    check_opponent(opponent)
            except EvaluationError as error:
                raise ConfigError(f"evaluation.opponents: {error}") from error
        if game.selfplay.victim is not None:
            _victim(game).network()
        if new:
            starting_window(game)
        if config.learner.init_from is not None or config.learner.freeze:
            learner = GameLearner(envs.make(config.env, **config.env_options), game, "cpu")
    weights = starting_weights(config) if new else None
    if weights is None:
        return None
    assert learner is not None, "it was made above"
    try:
        return learner.begin_with(weights)
    except ValueError as error:
        raise ConfigError(f"learner.init_from: {config.learner.init_from!r}: {error}") from error


def must_match(old: Config, new: Config, in_flight: bool) -> str | None:
    """The first setting that a resumed run may not change but does; ``in_flight``: its checkpoint holds games."""
    # The shapes in a checkpoint depend on these.
    names = ["env", "net"]
    if isinstance(old, GymConfig):
        names += ["algorithm", "rollout"] if in_flight else []
    else:
        names += ["search", "selfplay"] if in_flight else []
    if type(old) is not type(new):
        return "algorithm"
    different = [name for name in names if getattr(old, name) != getattr(new, name)]
    if different:
        return different[0]
    return "env_options" if shapes(old) != shapes(new) else None


def shapes(config: Config) -> tuple[Any, ...]:
    """What experience and a network's weights depend on. (Another komi is no other game.)"""
    if isinstance(config, GymConfig):
        from rl.worlds import spec_of

        return (spec_of(config),)
    game = envs.make(config.env, **config.env_options)
    return config.env, game.plane_shape, game.num_actions, game.state_size


def starting_window(config: GameConfig) -> list[tuple[Tensors, dict]] | None:
    """The replay window, in its shards, of the run that ``experience.start_from`` names.

    Raises ConfigError when it is none, or of another game, or CheckpointError when it is damaged.
    """
    source = config.experience.start_from
    if source is None:
        return None
    try:
        file = resolve(source)
        theirs = load_agent(file).config
    except AgentError as error:
        raise ConfigError(f"experience.start_from: {error}") from error
    if shapes(theirs) != shapes(config):
        raise ConfigError(f"experience.start_from: {source!r} is a run of another game, or one of other shapes")
    found = load_checkpoint(str(file.parent))
    if "experience" not in found.parts:
        raise ConfigError(f"experience.start_from: {source!r} holds no replay window; give a run or its checkpoint")
    return shards(found.parts, found.state)


def _game(config: Config) -> GameConfig:
    assert isinstance(config, GameConfig), "the other kind was served before"
    return config


def summarise(report: Report) -> dict[str, float]:
    """Sums over what a report finished, small enough to travel everywhere.

    "games" counts games, or episodes; "records" what the learner gets: games, or unrolls.
    """
    if isinstance(report, RolloutReport):
        returns, lengths = report.episode_returns, report.episode_lengths
        return {
            "games": len(returns),
            "records": len(report.unrolls),
            "returns": sum(returns),
            "lengths": sum(lengths),
        }
    games = report.games
    return {
        "games": len(games),
        "records": len(games),
        "moves": sum(len(g.actions) for g in games),
        "first_points": sum((g.outcome + 1) / 2 for g in games),
        "draws": sum(g.outcome == 0 for g in games),
        "proven": sum(int((g.proven != 0).sum()) for g in games),
    }


def together(statuses: list[dict[str, float]]) -> dict[str, float]:
    """The status of all learners, of which each has told its own: sums of rows, and the reuse of all of them."""
    found = dict(statuses[0])
    for name in ("experience/rows", "experience/rows_total", "experience/window", "experience/queue"):
        if name in found:
            found[name] = sum(status[name] for status in statuses)
    if "experience/reuse" in found:
        sampled = sum(status["experience/reuse"] * status["experience/rows_total"] for status in statuses)
        found["experience/reuse"] = sampled / max(1, found["experience/rows_total"])
    return found


class Stretch:
    """What happened between two rows of metrics."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = defaultdict(float)  # of reports
        self.totals: dict[str, float] = defaultdict(float)  # of what was finished
        self.last: Report | None = None
        self.busy = 0.0
        self.measures: list[dict[str, float]] = []

    def add(self, report: Report) -> None:
        self.last = report
        for name in ("env_steps", "evaluations", "recalled", "seconds", "evaluator_seconds", "environment_seconds"):
            self.sums[name] += getattr(report, name, 0.0)

    def add_finished(self, summary: dict[str, float]) -> None:
        for name, value in summary.items():
            self.totals[name] += value

    def add_measures(self, measures: dict[str, float], busy: float) -> None:
        self.busy += busy
        if measures:
            self.measures.append(measures)

    def metrics(self, elapsed: float) -> dict[str, float]:
        row: dict[str, float] = {}
        if self.sums["env_steps"]:
            row |= self._rollouts(elapsed) if isinstance(self.last, RolloutReport) else self._selfplay(elapsed)
        if self.measures:
            row["learner/wait_fraction"] = max(0.0, 1.0 - self.busy / elapsed)
            for name in dict.fromkeys(name for measured in self.measures for name in measured):
                values = [m[name] for m in self.measures if name in m]  # some are not measured in every update
                row[name] = max(values) if name == "learner/lag_max" else sum(values) / len(values)
        return row

    def _selfplay(self, elapsed: float) -> dict[str, float]:
        assert isinstance(self.last, SelfPlayReport)
        row = {
            "selfplay/games_per_second": self.totals["games"] / elapsed,
            "selfplay/evaluations_per_second": self.sums["evaluations"] / elapsed,
            "selfplay/moves_per_second": self.sums["env_steps"] / elapsed,
            "selfplay/simulations": self.last.simulations,
            "selfplay/recalled_share": self.sums["recalled"] / max(1, self.sums["recalled"] + self.sums["evaluations"]),
            "selfplay/evaluator_share": self.sums["evaluator_seconds"] / self.sums["seconds"],
        }
        if games := self.totals["games"]:
            row |= {
                "selfplay/game_length": self.totals["moves"] / games,
                "selfplay/first_player_score": self.totals["first_points"] / games,
                "selfplay/draw_share": self.totals["draws"] / games,
                "selfplay/proven_share": self.totals["proven"] / self.totals["moves"],
            }
        return row

    def _rollouts(self, elapsed: float) -> dict[str, float]:
        row = {
            "rollout/steps_per_second": self.sums["env_steps"] / elapsed,
            "rollout/evaluator_share": self.sums["evaluator_seconds"] / self.sums["seconds"],
            "rollout/environment_share": self.sums["environment_seconds"] / self.sums["seconds"],
        }
        if episodes := self.totals["games"]:
            row["rollout/return"] = self.totals["returns"] / episodes
            row["rollout/length"] = self.totals["lengths"] / episodes
        return row
