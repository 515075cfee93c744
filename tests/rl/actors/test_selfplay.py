"""Self-play with an evaluator made of arithmetic: what records say is what was played, and streams repeat exactly."""

from __future__ import annotations

import faulthandler
import math
from collections import Counter
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

import envs
from envs.game import DRAW, ONGOING, PLY, STATUS, TO_MOVE, Game, outcome
from rl.actors import SelfPlay
from rl.config import SearchConfig
from rl.experience.targets import replay
from rl.records import Evaluation, GameRecord, SelfPlayReport
from rl.search import Search
from tests.rl.search.fake_networks import constant, hashed
from tests.rl.search.two_stones import two_stones
from tests.rl.small import small_config

TOE = envs.make("tic_tac_toe")
FOUR = envs.make("connect_four")
LANES = 8
ONE_IN_1000 = {4: 18.5, 7: 24.3, 8: 26.1}  # chi-square by degrees of freedom


class Fake:
    """An evaluator that has a version and notes the size of every batch."""

    def __init__(self, game: Game, version: int = 0):
        self.version, self.batches = version, list[int]()
        self.evaluate = hashed(game.num_actions)

    def __call__(self, planes: np.ndarray) -> Evaluation:
        self.batches.append(len(planes))
        return self.evaluate(planes)


class Constant(Fake):
    def __init__(self, game: Game):
        super().__init__(game)
        self.evaluate = constant(game.num_actions, logits=np.linspace(0, 1, game.num_actions))


def selfplay(game: Game = TOE, games: int = LANES, seed: int = 0, search: dict[str, Any] | None = None, **play: Any):
    search = {"simulations": 8} | (search or {})
    config = small_config(search=search, selfplay={"fast_simulations": 3} | play)
    return SelfPlay(game, config, games, seed)


def chi_square(counts: np.ndarray, probabilities: np.ndarray) -> float:
    expected = counts.sum() * probabilities
    return float(((counts - expected) ** 2 / expected).sum())


def assert_share(hits: int, trials: int, probability: float) -> None:
    """Within four standard deviations."""
    assert abs(hits / trials - probability) < 4 * math.sqrt(probability * (1 - probability) / trials)


VARIED: dict[str, Any] = {
    "full_search_fraction": 0.4,
    "random_opening_plies": 4,
    "random_move": 0.1,
    "sampled_plies": 2,
}
SEARCHES: dict[str, dict[str, Any]] = {
    "gumbel": {},
    "lookahead": {"lookahead": True},
    "puct": {"kind": "puct"},
    "reuse": {"reuse_tree": True, "root_symmetries": True},
}


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
@pytest.mark.parametrize("game", [TOE, FOUR, two_stones()], ids=["tic_tac_toe", "connect_four", "two_stones"])
def test_records_replay_to_their_outcome(game: Game, search: dict[str, Any]) -> None:
    report = selfplay(game, search=search, **VARIED).play(Fake(game), moves=800)
    assert len(report.games) > 10
    results = set()
    for record in report.games:
        state = record.start
        assert state[STATUS] == ONGOING
        for t, action in enumerate(record.actions):
            legal = game.legal_mask(state)
            assert (record.policy[t][~legal] == 0).all()
            assert (record.policy[t] >= 0).all()
            state = game.after(state, int(action))  # refuses illegal moves
        assert state[STATUS] != ONGOING
        assert record.outcome == outcome(state)
        results.add(record.outcome)
        length = len(record.actions)
        shapes = {f.name: np.shape(getattr(record, f.name)) for f in fields(record)}
        assert shapes == {
            "start": (game.state_size,),
            "actions": (length,),
            "policy": (length, game.num_actions),
            "wdl": (length, 3),
            "proven": (length,),
            "full": (length,),
            "off_policy": (length,),
            "weights_version": (length,),
            "surprise": (length,),
            "outcome": (),
        }
        np.testing.assert_allclose(record.policy.sum(1), 1, atol=1e-5)
        np.testing.assert_allclose(record.wdl.sum(1), 1, atol=1e-5)
    assert results >= {1, -1}


def test_games_are_of_the_variants_by_their_shares() -> None:
    game = envs.make("go5", max_moves=6, variants=[{"share": 3, "komi": 2}, {"komi": 25}])
    for openings in (0.0, 1.0):
        report = selfplay(game, 32, random_opening_plies=2, random_openings=openings).play(Fake(game), moves=4000)
        komi = [game.encode(r.start[None])[0, 11, 0, 0] * (1 if r.start[TO_MOVE] else -1) * 15 for r in report.games]
        assert Counter(komi).keys() == {2.0, 25.0}
        assert_share(komi.count(2.0), len(komi), 0.75)
        assert all(r.outcome < 1 for r, k in zip(report.games, komi) if k == 25.0)


def test_batches_are_full_while_searches_need_the_network() -> None:
    # Full and fast searches side by side; too early for a game to end.
    ours, evaluator = selfplay(FOUR, full_search_fraction=0.5), Fake(FOUR)
    ours.play(evaluator, moves=4 * LANES)
    assert ours.flight.length.max() <= 7
    assert set(evaluator.batches) == {LANES}


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
@pytest.mark.parametrize("cache", [0, 65_536])
def test_everything_is_counted(search: dict[str, Any], cache: int) -> None:
    evaluator = Fake(TOE)
    ours = selfplay(search=search | {"cache": cache}, **VARIED)
    in_flight = 0
    for moves in (1, 300, 17):
        evaluator.batches.clear()
        report = ours.play(evaluator, moves)
        # Where answers are recalled, a game plays on while others wait for theirs.
        assert moves <= report.moves < moves + LANES * (TOE.max_moves if cache else 1)
        assert report.evaluations == sum(evaluator.batches)
        finished = sum(len(record.actions) for record in report.games)
        assert report.moves == finished + ours.flight.length.sum() - in_flight
        in_flight = ours.flight.length.sum()
        assert 0 < report.evaluator_seconds < report.seconds
        assert set(evaluator.batches) == {LANES}


def test_play_ends_when_its_time_is_up() -> None:
    ours, evaluator = selfplay(), Fake(TOE)
    assert ours.play(evaluator, moves=10**9, seconds=0).moves == 0
    assert 0.2 < ours.play(evaluator, moves=10**9, seconds=0.2).seconds < 5


class Favouring(Fake):
    """Gives the first player, or whoever is to move, a value of ``value``."""

    def __init__(self, game: Game, value: float, mover: bool = False):
        super().__init__(game)
        self.value, self.mover = value, mover

    def __call__(self, planes: np.ndarray) -> Evaluation:
        first = planes[:, 3, 0, 0] == 1
        value = np.where(first | self.mover, self.value, -self.value)
        wdl = np.stack([(1 + value) / 2, 0 * value, (1 - value) / 2], 1).astype(np.float32)
        return Evaluation(np.zeros((len(planes), 7), np.float32), wdl)


@pytest.mark.parametrize(
    ("value", "mover", "decided"),
    [(0.95, False, True), (-0.95, False, True), (0.85, False, False), (0.95, True, False)],
)
def test_decided_games_are_searched_in_full_less_often(value: float, mover: bool, decided: bool) -> None:
    play: dict[str, Any] = {"full_search_fraction": 0.8, "decided_value": 0.9, "decided_searches": 0.25}
    ours = selfplay(FOUR, games=64, search={"simulations": 6, "solver": False, "c_scale": 1e-3}, **play)
    games = ours.play(Favouring(FOUR, value, mover), moves=8000).games
    early = np.concatenate([record.full[:4] for record in games])
    late = np.concatenate([record.full[4:6] for record in games])  # later, searches see games end
    assert_share(int(early.sum()), len(early), 0.8)
    assert_share(int(late.sum()), len(late), 0.2 if decided else 0.8)


def test_shares_of_full_searches_and_random_moves() -> None:
    ours = selfplay(games=64, full_search_fraction=0.3, random_move=0.15)
    report = ours.play(Fake(TOE), moves=8000)
    full = np.concatenate([record.full for record in report.games])
    off_policy = np.concatenate([record.off_policy for record in report.games])
    assert_share(full.sum(), len(full), 0.3)
    assert_share(off_policy.sum(), len(off_policy), 0.15)
    assert_share((full & off_policy).sum(), len(full), 0.3 * 0.15)


def test_full_marks_the_moves_with_the_full_budget() -> None:
    # One game at a time, with a leaf for the network in every simulation of the first moves: no game can end yet.
    ours = selfplay(FOUR, games=1, search={"simulations": 11, "solver": False, "cache": 0}, full_search_fraction=0.5)
    evaluator = Fake(FOUR)
    seen = set()
    for _ in range(4):
        budgets: list[int] = []
        games: list[GameRecord] = []
        while not games:
            report = ours.play(evaluator, moves=1)
            budgets.append(report.evaluations - 1)  # the root's evaluation is no simulation
            games = report.games
        marked = [(11 if full else 3) for full in games[0].full]
        assert budgets[:5] == marked[:5]
        seen.update(budgets[:5])
    assert seen == {3, 11}


def test_without_variety_every_search_is_full_and_every_move_its_own() -> None:
    report = selfplay().play(Fake(TOE), moves=500)
    for record in report.games:
        assert record.full.all()
        assert not record.off_policy.any()
        assert (record.start == TOE.initial_state()).all()


def test_random_moves_are_uniform_over_the_legal_ones() -> None:
    report = selfplay(random_move=1.0, games=64).play(Fake(TOE), moves=9000)
    assert all(record.off_policy.all() for record in report.games)
    first = np.bincount([record.actions[0] for record in report.games], minlength=9)
    assert first.sum() > 1000
    assert chi_square(first, np.full(9, 1 / 9)) < ONE_IN_1000[8]
    # The second of the empty cells is as likely as any other.
    second = np.bincount([r.actions[1] - (r.actions[1] > r.actions[0]) for r in report.games], minlength=8)
    assert chi_square(second, np.full(8, 1 / 8)) < ONE_IN_1000[7]


def test_each_game_draws_for_itself_whether_a_move_is_random() -> None:
    ours = selfplay(FOUR, games=64, random_move=0.5)
    ours.play(Fake(FOUR), moves=64)  # all first moves at once
    assert ours.flight.length.tolist() == [1] * 64
    assert_share(ours.flight.off_policy[:, 0].sum(), 64, 0.5)


def test_what_the_search_found_is_recorded() -> None:
    # PUCT without noise is deterministic: asked again, it finds the same.
    config = SearchConfig(kind="puct", dirichlet_fraction=0.0, simulations=8)
    ours = selfplay(search=config.model_dump(), random_opening_plies=3)
    records = ours.play(Fake(TOE), moves=200).games
    moves = [(state, record, t) for record in records for t, state in enumerate(replay(TOE, record))]
    assert len(moves) > 100
    again = Search(TOE, config, 16, seed=1).run(np.stack([state for state, _, _ in moves]), Fake(TOE))
    for i, (_, record, t) in enumerate(moves):
        assert record.actions[t] == again.action[i]
        assert (record.policy[t] == again.policy[i]).all()
        assert (record.wdl[t] == again.wdl[i]).all()
        assert record.proven[t] == again.proven[i]
        pairs = [(p, q) for p, q in zip(again.policy[i].tolist(), again.prior[i].tolist()) if p > 0]
        divergence = sum(p * math.log(p / q) for p, q in pairs)
        assert record.surprise[t] == pytest.approx(divergence, rel=1e-4, abs=1e-5)
    assert (again.policy != again.prior).any() and (again.proven > 0).any()


def test_a_win_that_needs_no_network_surprises_nobody() -> None:
    # The rules alone find it (lookahead), so that there is no network's policy to compare with.
    records = selfplay(search={"lookahead": True}, random_opening_plies=5).play(Fake(TOE), moves=800).games
    unknown = 0
    for record in records:
        for state, surprise in zip(replay(TOE, record), record.surprise):
            after = [TOE.after(state, int(a)) for a in np.flatnonzero(TOE.legal_mask(state))]
            assert np.isnan(surprise) == any(s[STATUS] not in (ONGOING, DRAW) for s in after)
            unknown += np.isnan(surprise)
    assert 50 < unknown < sum(len(record.actions) for record in records) - 50


def test_sampled_plies_are_drawn_from_the_improved_policy() -> None:
    # PUCT without noise is deterministic, so that all games share the first policy.
    search = {"kind": "puct", "dirichlet_fraction": 0.0, "simulations": 32, "cache": 0}
    report = selfplay(games=64, search=search, sampled_plies=1).play(Constant(TOE), moves=8000)
    policy = report.games[0].policy[0]
    assert all((record.policy[0] == policy).all() for record in report.games)
    drawn = np.bincount([record.actions[0] for record in report.games], minlength=9)
    assert (policy > 0.02).all()
    assert drawn.sum() > 800
    assert chi_square(drawn, policy) < ONE_IN_1000[8]
    for first in range(9):
        assert len({r.actions[1] for r in report.games if r.actions[0] == first}) == 1
    assert not any(record.off_policy.any() for record in report.games)


def test_openings_have_every_length_up_to_the_limit() -> None:
    # Where answers are recalled, a game may end, and the next begin, while others wait for theirs.
    report = selfplay(games=64, random_opening_plies=4, search={"cache": 0}).play(Fake(TOE), moves=4000)
    # The first games to end are the short ones; all that were begun together are needed.
    plies = Counter(int(record.start[PLY]) for record in report.games[:600])
    counts = np.array([plies[ply] for ply in range(5)])
    assert counts.sum() == 600
    assert chi_square(counts, np.full(5, 1 / 5)) < ONE_IN_1000[4]
    assert len({record.start.tobytes() for record in report.games}) > 100


def test_a_share_of_the_games_begins_at_the_initial_position() -> None:
    # Without recalled answers, which let the games that repeat others end first.
    ours = selfplay(games=64, search={"cache": 0}, random_opening_plies=4, random_openings=0.5)
    report = ours.play(Fake(TOE), moves=6000)
    initial = sum(record.start[PLY] == 0 for record in report.games[:600])
    assert_share(initial, 600, 0.5 + 0.5 / 5)  # some random openings have no move


def test_openings_longer_than_any_game_are_drawn_again(capfd: pytest.CaptureFixture[str]) -> None:
    # Compiled code that runs for ever hears no signal and lets no other thread run; this timer needs neither.
    with capfd.disabled():  # so that its traceback is seen
        faulthandler.dump_traceback_later(60, exit=True)
        try:
            report = selfplay(random_opening_plies=30).play(Fake(TOE), moves=200)
        finally:
            faulthandler.cancel_dump_traceback_later()
    assert {int(record.start[PLY]) for record in report.games} >= {0, 1, 2, 3, 4}


def test_moves_carry_the_version_that_chose_them() -> None:
    ours, evaluator = selfplay(random_opening_plies=3), Fake(TOE)
    played: Counter[int] = Counter()
    seen: Counter[int] = Counter()
    for version, moves in ((3, 30), (10, 20), (11, 200)):
        evaluator.version = version
        report = ours.play(evaluator, moves)
        played[version] = report.moves
        assert not len(ours.search.finished())  # else the next version would sign for these moves
        for record in report.games:
            assert (np.diff(record.weights_version) >= 0).all()  # a long game may have seen all three
            seen.update(record.weights_version.tolist())
    for lane, length in enumerate(ours.flight.length):
        seen.update(ours.flight.version[lane, :length].tolist())
    assert seen == played


def assert_same(a: SelfPlayReport, b: SelfPlayReport) -> None:
    assert (a.moves, a.evaluations, len(a.games)) == (b.moves, b.evaluations, len(b.games))
    for one, other in zip(a.games, b.games, strict=True):
        for name, value in vars(one).items():
            np.testing.assert_array_equal(value, getattr(other, name), err_msg=name)


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
@pytest.mark.parametrize("game", [TOE, FOUR], ids=["tic_tac_toe", "connect_four"])
def test_restored_games_go_on_as_if_never_interrupted(game: Game, search: dict[str, Any]) -> None:
    whole = selfplay(game, search=search, **VARIED)
    whole.play(Fake(game), moves=101)
    tensors = whole.state_dict()
    uninterrupted = whole.play(Fake(game), moves=400)  # which must not touch what was saved
    assert len(uninterrupted.games) > 5
    restored = selfplay(game, seed=99, search=search, **VARIED)
    restored.play(Fake(game), moves=50)  # leaves nothing behind
    restored.load_state_dict(tensors)
    assert_same(restored.play(Fake(game), moves=400), uninterrupted)
    assert_same(restored.play(Fake(game), moves=100), whole.play(Fake(game), moves=100))


def test_games_of_another_shape_are_refused() -> None:
    saved = selfplay().state_dict()
    for name in ("search.lane.done", "length"):
        with pytest.raises(ValueError, match=name.replace(".", r"\.")):
            selfplay().load_state_dict(saved | {name: saved[name][:1]})


def test_one_seed_repeats_and_another_does_not() -> None:
    first, again, other = (selfplay(seed=seed, **VARIED).play(Fake(TOE), moves=300) for seed in (1, 1, 2))
    assert_same(first, again)
    assert [r.actions.tolist() for r in first.games] != [r.actions.tolist() for r in other.games]


def test_games_differ_from_each_other() -> None:
    ours = selfplay(FOUR)
    ours.play(Constant(FOUR), moves=LANES)  # all moves are worth the same, so that the noise decides
    assert ours.flight.length.tolist() == [1] * LANES
    assert len(set(ours.flight.actions[:, 0].tolist())) > 1
    report = ours.play(Fake(FOUR), moves=700)
    assert len({tuple(record.actions.tolist()) for record in report.games}) > 2 * LANES
