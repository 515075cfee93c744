"""How strong the agents are that a run kept on its way, and the last ones against each other.

What strength is follows from the environment: where solved positions are known, the share in which the network alone
keeps the game-theoretic value; in other board games Elo, by games against fixed yardsticks, against the run's previous
agent and between the contenders' last ones; elsewhere the mean return of whole episodes. Whatever is measured is kept
in a file, so that it is measured once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import envs
from envs.game import Game
from rl.agent import AgentPlayer
from rl.compare.plan import Contender, Plan
from rl.compare.running import snapshots
from rl.config import GameConfig, GymConfig
from rl.evaluation.arena import play_match
from rl.evaluation.episodes import evaluate_episodes
from rl.evaluation.examiner import PREVIOUS
from rl.evaluation.game_files import save_match
from rl.evaluation.players import Player, make_player, release
from rl.evaluation.ratings import Pairing
from rl.evaluation.truth import TruthSet
from rl.gym_agent import GymAgent
from rl.inference import Evaluator
from rl.records import MatchResult
from rl.runtime.metrics import CLOCK
from rl.storage import replacing
from rl.weights import load_agent

MEASURED = "measured.json"  # in the folder of a run: what was measured of it
MATCHES = "matches.json"  # in the folder of the comparison: matches between runs
GAMES = "games"  # in the folder of a run or of the comparison: the games of all matches
LANES = 128  # positions searched at once
Step = Callable[[str], None]  # told what is measured next


@dataclass(frozen=True)
class Effort:
    """How much is played and asked to measure one agent."""

    positions: int = 1000  # solved ones, at most
    games: int = 40  # of each match
    episodes: int = 100


def strength_kind(contender: Contender) -> str:
    """accuracy, elo or return: what strength is in the contender's environment."""
    if isinstance(contender.config, GymConfig):
        return "return"
    return "accuracy" if TruthSet.load(contender.config.env, "tune") is not None else "elo"


def yardsticks(plan: Plan, environment: str) -> list[str]:
    """Opponents of all contenders of a board game, "random", the anchor of ratings, among them."""
    named = [
        opponent
        for c in plan.contenders
        if c.environment == environment and isinstance(c.config, GameConfig)
        for opponent in c.config.evaluation.opponents
        if opponent != PREVIOUS
    ]
    return list(dict.fromkeys(["random", *named]))


def measure_run(plan: Plan, contender: Contender, seed: int, out: Path, effort: Effort, step: Step) -> dict[str, Any]:
    """Everything about one run: ``points``, of each kept agent its clock and strength; ``final``, of the last one.

    Of a board game without solved positions a point has no strength yet, but ``pairings``: see ``ratings``.
    """
    path = contender.folder(out, seed) / MEASURED
    wanted = asdict(effort)
    if path.is_file():
        known = json.loads(path.read_text())
        if known.get("effort") == wanted:
            return known
    step(f"measuring {contender.label}, seed {seed}")
    files = snapshots(contender, seed, out)
    if isinstance(contender.config, GymConfig):
        found = _episodes(contender, files, effort)
    elif strength_kind(contender) == "accuracy":
        found = _Board(contender).accuracies(files, effort)
    else:
        opponents = yardsticks(plan, contender.environment)
        found = _Board(contender).ladder(files, effort, opponents, seed, contender.folder(out, seed) / GAMES)
    return _keep(path, {"effort": wanted} | found)


def measure_match(
    a: Contender, b: Contender, seed: int, searching: bool, out: Path, effort: Effort, step: Step
) -> MatchResult:
    """The last agents of two contenders' runs with one seed against each other, counted for a.

    By their networks alone, or ``searching`` each with its own simulations.
    """
    path, key = out / MATCHES, f"{a.environment}|{a.label}|{b.label}|{seed}|{searching}|{effort.games}"
    known = json.loads(path.read_text()) if path.is_file() else {}
    if key not in known:
        step(f"{a.label} against {b.label}, seed {seed}")
        first, second = (
            _Board(c).player(snapshots(c, seed, out)[-1], c.simulations if searching else 0, 0) for c in (a, b)
        )
        names = f"{a.label}-{seed}", f"{b.label}-{seed}"
        known[key] = _played(_game(a), first, second, effort.games, seed, out / GAMES, names)
        _keep(path, known)
    return MatchResult(*known[key])


class _Board:
    """One contender's network, for whose agents the number format is measured once."""

    def __init__(self, contender: Contender):
        self.contender, self.game = contender, _game(contender)
        self._evaluators: list[Evaluator] = []

    def player(self, file: Path, simulations: int, place: int) -> AgentPlayer:
        """The agent in ``file`` as a player; of each ``place`` there is one at a time."""
        config = self.contender.config
        assert isinstance(config, GameConfig), "it plays a board game"
        while len(self._evaluators) <= place:
            inference = config.inference.model_copy(update={"compile": False})
            settled = self._evaluators[0].format if self._evaluators else None
            self._evaluators.append(Evaluator(config.net, self.game, inference, LANES, format=settled))
        self._evaluators[place].load(load_agent(file).weights)
        return AgentPlayer(self.game, self._evaluators[place], config.search, simulations, name=file.stem, lanes=LANES)

    def accuracies(self, files: Sequence[Path], effort: Effort) -> dict[str, Any]:
        """By solved positions: those for tuning on the way, those for results at the end."""
        tune, test = (self._truth(split, effort) for split in ("tune", "test"))
        points = []
        for file in files:
            network = self.player(file, 0, 0)
            points.append(_clock(file) | {"strength": tune.accuracy(network.actions(tune.states))})
        final: dict[str, float] = {"accuracy_network": test.accuracy(network.actions(test.states))}
        if self.contender.simulations:
            search = self.player(files[-1], self.contender.simulations, 0)
            final["accuracy_search"] = test.accuracy(search.actions(test.states))
        return {"points": points, "final": final}

    def _truth(self, split: str, effort: Effort) -> TruthSet:
        truth = TruthSet.load(self.game.env_id, split)
        assert truth is not None, "it is asked for first"
        return truth.subset(effort.positions)

    def ladder(
        self, files: Sequence[Path], effort: Effort, opponents: Sequence[str], seed: int, games: Path
    ) -> dict[str, Any]:
        """By games: of each agent against every yardstick, and against the agent before it; saved in ``games``."""
        points = []
        for number, file in enumerate(files):
            me = self.player(file, self.contender.simulations, 0)
            played = {}
            for opponent in opponents:
                other = make_player(opponent, self.game, seed=seed + 1, lanes=LANES)
                played[opponent] = _played(self.game, me, other, effort.games, number, games)
                release(other)
            if number:
                before = self.player(files[number - 1], self.contender.simulations, 1)
                played[PREVIOUS] = _played(self.game, me, before, effort.games, number, games)
            points.append(_clock(file) | {"pairings": played})
        return {"points": points, "final": {}}


def _played(
    game: Game, me: Player, other: Player, games: int, seed: int, saved: Path, names: tuple[str, str] | None = None
) -> list[int]:
    """My wins, draws and losses; the games are saved in ``saved``, by the players' own names or these."""
    match = play_match(game, me, other, games, seed)
    save_match(game, match, *(names or (me.name, other.name)), saved)
    return [match.result.wins, match.result.draws, match.result.losses]


def pairings_of(label: str, seed: int, measured: dict[str, Any]) -> list[Pairing]:
    """The games of one run's agents, which are called by ``rated``."""
    found = []
    for number, point in enumerate(measured["points"]):
        for opponent, counts in point["pairings"].items():
            other = rated(label, seed, number - 1) if opponent == PREVIOUS else opponent
            found.append(Pairing(rated(label, seed, number), other, MatchResult(*counts)))
    return found


def rated(label: str, seed: int, number: int) -> str:
    """The name in ratings of the agent that a run kept as its ``number``-th."""
    return f"{label}|{seed}|{number}"


def _episodes(contender: Contender, files: Sequence[Path], effort: Effort) -> dict[str, Any]:
    config = contender.config
    assert isinstance(config, GymConfig), "it has episodes"
    points = []
    for file in files:
        agent = GymAgent(file.stem, load_agent(file).weights, config, {})
        deterministic = config.evaluation.deterministic
        found = evaluate_episodes(agent, effort.episodes, deterministic=deterministic, seed=0)
        points.append(_clock(file) | {"strength": found["return_mean"]})
    return {"points": points, "final": {"return": points[-1]["strength"]}}


def _game(contender: Contender) -> Game:
    assert isinstance(contender.config, GameConfig), "only board games have positions and matches"
    return envs.make(contender.config.env, **contender.config.played_options)


def _clock(file: Path) -> dict[str, float]:
    info = load_agent(file).info
    return {name: info[name] for name in CLOCK}


def _keep(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    with replacing(path) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())
    return content
