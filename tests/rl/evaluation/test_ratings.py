"""Elo from tables whose answer is known."""

import math

import numpy as np
import pytest

import envs
from rl.evaluation.players import Player, RandomPlayer
from rl.evaluation.ratings import ELO, Pairing, fit_ratings, round_robin
from rl.evaluation.rollout_mcts import RolloutMCTS
from rl.records import MatchResult


def test_two_players_have_the_closed_form_difference_and_interval() -> None:
    table = [Pairing("a", "b", MatchResult(wins=70, draws=10, losses=20))]
    a, b = fit_ratings(table, anchor="b", prior_draws=0)
    # Bradley–Terry of two: the odds are the score's odds, the variance of their logarithm 1 / (n p (1 - p)).
    assert a.elo == pytest.approx(400 * math.log10(75 / 25), abs=0.01)
    assert a.high - a.elo == pytest.approx(1.96 * ELO / math.sqrt(100 * 0.75 * 0.25), rel=1e-4)
    assert (b.name, b.elo, b.low, b.high) == ("b", 0.0, 0.0, 0.0)
    assert (a.games, b.games) == (100, 100)


def test_known_strengths_are_recovered_and_covered() -> None:
    true = {"weak": 0.0, "middle": 150.0, "strong": 420.0, "best": 500.0}
    random = np.random.default_rng(0)
    names = list(true)
    covered, errors = 0, []
    for _ in range(150):
        table = []
        for i, a in enumerate(names):
            for b in names[i + 1 :]:
                wins = int(random.binomial(60, 1 / (1 + 10 ** ((true[b] - true[a]) / 400))))
                table.append(Pairing(a, b, MatchResult(wins, 0, 60 - wins)))
        for rating in fit_ratings(table, anchor="weak"):
            if rating.name != "weak":
                covered += rating.low <= true[rating.name] <= rating.high
                errors.append(rating.elo - true[rating.name])
    assert 0.91 <= covered / 450 <= 0.99
    assert -25 < np.mean(errors) < 5  # the imagined draw a pair pulls large differences in a little


def test_a_clean_sheet_is_large_but_finite_and_sorted_first() -> None:
    table = [Pairing("zero", "hero", MatchResult(0, 0, 40)), Pairing("zero", "other", MatchResult(20, 0, 20))]
    ratings = fit_ratings(table, anchor="zero", anchor_elo=1000.0)
    assert ratings[0].name == "hero"
    assert 400 < ratings[0].elo - 1000 < 1200
    assert ratings[0].high - ratings[0].low > 200


def test_tables_that_cannot_be_rated_are_refused() -> None:
    even = MatchResult(1, 0, 1)
    with pytest.raises(ValueError, match="'c' played no game"):
        fit_ratings([Pairing("a", "b", even)], anchor="c")
    with pytest.raises(ValueError, match="no chain of games connects 'a' with c, d"):
        fit_ratings([Pairing("a", "b", even), Pairing("c", "d", even)], anchor="a")
    with pytest.raises(ValueError, match="against itself"):
        fit_ratings([Pairing("a", "a", even)], anchor="a")


def test_a_ladder_of_rollout_budgets_is_rated_in_order() -> None:
    game = envs.make("connect_four")
    players: list[Player] = [RandomPlayer(game, 1), RolloutMCTS(game, 10, 2), RolloutMCTS(game, 300, 3)]
    pairings = round_robin(game, players, 40, seed=1)
    assert len(pairings) == 3
    assert [r.name for r in fit_ratings(pairings, anchor="random")] == ["mcts:300", "mcts:10", "random"]
