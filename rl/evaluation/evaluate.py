"""How good is this agent? One call for ``fuseki eval`` and ``rl.evaluate``: a match, or solver truth."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rl.evaluation.arena import Seats, play_match
from rl.evaluation.game_files import save_match
from rl.evaluation.players import EvaluationError, make_player, release
from rl.records import MatchResult

if TYPE_CHECKING:
    from rl.agent import Agent
    from rl.evaluation.truth import TruthSet

log = logging.getLogger(__name__)

MAX_LANES = 128  # games searched at once; more gain little speed and cost memory


def evaluate(
    agent: Agent,
    against: str,
    *,
    games: int = 100,
    simulations: int | None = None,
    seed: int = 0,
    openings: Literal["varied"] | int = "varied",
    seats: Seats = "both",
    split: str = "test",
    move_seconds: float | None = None,
    save: str | Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Measure ``agent`` against an opponent (see ``players.parse_opponent``) or against ``"truth"``.

    ``simulations`` is the search budget of the agent, and of an opponent that is an agent too: None as in training,
    0 the network alone. The rest is explained at ``play_match``; ``split`` names the truth set's part.
    ``move_seconds`` is the time that an engine has for a move (None: a minute). The games of a match are written to a
    new folder in ``save``, as SGF or, where the game has none, as JSON (None: nowhere).

    Returns plain JSON values. Of a match, counted for the agent: games, wins, draws, losses, score and its 95 %
    interval score_low and score_high, as_first and as_second, distinct_games (fewer than games: some were repeated,
    and the interval is too narrow), forfeits (how many games each side resigned or forfeited, by kind), seconds_a_move
    (mean wall seconds of the agent for one move, many games being searched at once), saved (the folder of the games),
    and for an engine opponent_engine, its name and version. Of truth: positions, accuracy (the share in which the move
    keeps the game-theoretic value) with accuracy_low and accuracy_high, and the same of the network alone.
    Raises EvaluationError or rl.weights.AgentError, in one sentence, when the input is wrong.
    """
    if simulations is not None and simulations < 0:
        raise EvaluationError(f"simulations must be 0 (the network alone) or more, not {simulations}")
    start = time.perf_counter()
    budget = agent.config.search.simulations if simulations is None else simulations
    about: dict[str, Any] = {
        "agent": agent.name,
        "env": agent.game.env_id,
        "weights_version": agent.weights.version,
        "against": against,
        "simulations": budget,
        "seed": seed,
    }
    if against == "truth":
        from rl.evaluation.truth import TruthSet

        try:
            truth = TruthSet.load(agent.game.env_id, split=split)
        except ValueError as error:
            raise EvaluationError(str(error)) from error
        if truth is None:
            raise EvaluationError(f"no solved positions are known for {agent.game.env_id}; name an opponent instead")
        about |= {"split": split} | truth_report(agent, truth, budget, seed)
    else:
        lanes = min(MAX_LANES, max(1, games))
        player = agent.player(budget, lanes=lanes, seed=seed)
        opponent = make_player(
            against,
            agent.game,
            simulations=simulations,
            seed=seed + 1,
            lanes=lanes,
            device=agent.device,
            move_seconds=move_seconds,
        )
        try:
            match = play_match(
                agent.game, player, opponent, games, seed, openings=openings, seats=seats, progress=progress
            )
        finally:
            release(opponent)
        about |= summary(match.result) | {
            "as_first": summary(match.as_first) if match.as_first.games else None,
            "as_second": summary(match.as_second) if match.as_second.games else None,
            "openings": openings,
            "seats": seats,
            "distinct_games": match.distinct,
            "forfeits": {"agent": match.forfeits(by_a=True), "opponent": match.forfeits(by_a=False)},
            "seconds_a_move": match.a_seconds / match.a_moves if match.a_moves else None,
            "saved": save and save_match(agent.game, match, player.name, opponent.name, Path(save)),
        }
        if (title := getattr(opponent, "title", None)) is not None:
            about["opponent_engine"] = title
    return about | {"seconds": round(time.perf_counter() - start, 2)}


def summary(result: MatchResult) -> dict[str, Any]:
    """Counts, score and its 95 % interval as plain JSON values."""
    low, high = result.interval()
    return {
        "games": result.games,
        "wins": result.wins,
        "draws": result.draws,
        "losses": result.losses,
        "score": result.score,
        "score_low": low,
        "score_high": high,
    }


def truth_report(agent: Agent, truth: TruthSet, simulations: int, seed: int = 0) -> dict[str, Any]:
    """Share of the truth set's positions in which the agent keeps the value, with search and by its network alone."""
    lanes = min(MAX_LANES, len(truth.states))
    report: dict[str, Any] = {"positions": len(truth.states)}
    for prefix, budget in (("", simulations), ("network_", 0)):
        keeps = truth.keeps(agent.player(budget, lanes=lanes, seed=seed).actions(truth.states))
        kept = int(keeps.sum())
        low, high = MatchResult(wins=kept, draws=0, losses=len(truth.states) - kept).interval()
        report |= {
            f"{prefix}accuracy": float(keeps.mean()),
            f"{prefix}accuracy_low": low,
            f"{prefix}accuracy_high": high,
        }
    return report
