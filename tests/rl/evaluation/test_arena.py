"""Pairing, counting and openings of matches."""

import time
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest

import envs
from envs.game import ONGOING, STATUS, TO_MOVE, Game, outcome
from rl.evaluation.arena import Match, play_match, varied_openings
from rl.evaluation.players import EvaluationError, Forfeit, RandomPlayer
from rl.records import MatchResult


class Lowest:
    """Plays the lowest legal action; remembers which side it was asked for and how often."""

    def __init__(self, game: Game, name: str = "lowest") -> None:
        self.game, self.name = game, name
        self.calls = 0

    def actions(self, states: np.ndarray, moves: Sequence[Sequence[int]]) -> np.ndarray:
        self.calls += 1
        assert (states[:, STATUS] == ONGOING).all()
        return np.array([np.flatnonzero(self.game.legal_mask(s))[0] for s in states])


@pytest.fixture(scope="module")
def four() -> Game:
    return envs.make("connect_four")


@pytest.fixture(scope="module")
def toe() -> Game:
    return envs.make("tic_tac_toe")


def test_each_opening_is_played_from_both_seats(four: Game) -> None:
    match = play_match(four, RandomPlayer(four, 1), RandomPlayer(four, 2), 20, seed=3)
    for one, other in zip(match.games[::2], match.games[1::2], strict=True):
        assert one.opening == other.opening
        assert one.a_first and not other.a_first
        assert tuple(one.moves[: len(one.opening)]) == one.opening
    assert len({g.opening for g in match.games}) == 10


def test_recorded_moves_replay_to_the_recorded_outcome(four: Game) -> None:
    match = play_match(four, RandomPlayer(four, 1), RandomPlayer(four, 2), 30, seed=4)
    for g in match.games:
        end = four.replay(g.moves)
        assert end[STATUS] != ONGOING
        assert g.outcome == outcome(end)
    assert match.distinct == 30


def test_points_belong_to_player_a_on_either_seat(toe: Game) -> None:
    # From the empty board, the lowest-cell player wins as first: X 0 2 4 6 against O 1 3 5 ends with 2-4-6.
    match = play_match(toe, Lowest(toe), Lowest(toe), 10, openings=0)
    assert match.as_first == MatchResult(wins=5, draws=0, losses=0)
    assert match.as_second == MatchResult(wins=0, draws=0, losses=5)
    assert match.result == MatchResult(wins=5, draws=0, losses=5)
    assert match.distinct == 2, "the same game on each seat"


def test_the_player_to_move_is_asked(toe: Game) -> None:
    sides: dict[str, set[int]] = {"a": set(), "b": set()}

    class Watched(Lowest):
        def actions(self, states: np.ndarray, moves: Sequence[Sequence[int]]) -> np.ndarray:
            sides[self.name] |= set(states[:, TO_MOVE].tolist())
            return super().actions(states, moves)

    play_match(toe, Watched(toe, "a"), Watched(toe, "b"), 3, openings=0, seats="first")
    assert sides == {"a": {0}, "b": {1}}
    play_match(toe, Watched(toe, "a"), Watched(toe, "b"), 2, openings=0)
    assert sides == {"a": {0, 1}, "b": {0, 1}}


@pytest.mark.parametrize("seats", ["first", "second"])
def test_one_seat_only(four: Game, seats: str) -> None:
    match = play_match(four, RandomPlayer(four, 1), RandomPlayer(four, 2), 7, seats=seats)  # type: ignore[arg-type]
    kept, none = (match.as_first, match.as_second) if seats == "first" else (match.as_second, match.as_first)
    assert (kept.games, none.games) == (7, 0)


def test_games_advance_together(four: Game) -> None:
    player = Lowest(four)
    play_match(four, player, RandomPlayer(four, 2), 50)
    assert player.calls <= four.max_moves, "one call a ply, not one a game"


def test_an_odd_number_of_games_is_played_as_asked(four: Game) -> None:
    counted: list[int] = []
    match = play_match(four, RandomPlayer(four, 1), RandomPlayer(four, 2), 5, progress=counted.append)
    assert match.result.games == 5
    assert counted == sorted(set(counted)) and counted[-1] == 5


def test_the_seed_decides_the_match(four: Game) -> None:
    def moves(seed: int) -> list[list[int]]:
        return [g.moves for g in play_match(four, Lowest(four), Lowest(four), 12, seed=seed).games]

    assert moves(1) == moves(1) != moves(2)


def test_openings_are_distinct_positions_of_the_asked_length(four: Game) -> None:
    openings = varied_openings(four, 150, seed=0, plies=4)
    assert {len(o) for o in openings} == {4}
    assert len({four.replay(o).tobytes() for o in openings}) == 150


def test_varied_openings_go_on_and_come_back_only_when_used_up(toe: Game) -> None:
    openings = varied_openings(toe, 60, seed=0)
    states = [toe.replay(o) for o in openings]
    assert all(s[STATUS] == ONGOING for s in states)
    assert len({s.tobytes() for s in states}) == 60
    assert varied_openings(toe, 3, seed=0, plies=0) == [(), (), ()]
    nine = varied_openings(toe, 20, seed=0, plies=1)
    assert len(set(nine)) == 9 and len(nine) == 20


def test_an_opening_longer_than_every_game_is_refused(toe: Game) -> None:
    with pytest.raises(EvaluationError, match="ask for fewer"):
        varied_openings(toe, 1, seed=0, plies=9)
    with pytest.raises(EvaluationError, match="at least 1 game"):
        play_match(toe, Lowest(toe), Lowest(toe), 0)


def test_a_player_that_breaks_the_rules_is_named(toe: Game) -> None:
    class Cheat(Lowest):
        def actions(self, states: np.ndarray, moves: Sequence[Sequence[int]]) -> np.ndarray:
            return np.zeros(len(states), np.int64)

    with pytest.raises(ValueError, match="player cheat broke the rules: move 2"):
        play_match(toe, Cheat(toe, "cheat"), Lowest(toe), 2, openings=0)


def test_players_are_told_the_moves_so_far(toe: Game) -> None:
    class Listens(Lowest):
        def actions(self, states: np.ndarray, moves: Sequence[Sequence[int]]) -> np.ndarray:
            for state, played in zip(states, moves, strict=True):
                assert (toe.replay(played) == state).all()
            return super().actions(states, moves)

    match = play_match(toe, Listens(toe), Listens(toe), 8, seed=2)
    assert any(g.opening for g in match.games)


def test_a_forfeit_is_the_loss_of_the_one_who_made_it(four: Game) -> None:
    class GivesUp:
        name = "quitter"

        def __init__(self, kind: Literal["resigned", "crash"]) -> None:
            self.kind: Literal["resigned", "crash"] = kind

        def actions(self, states: np.ndarray, moves: Sequence[Sequence[int]]) -> list[int | Forfeit]:
            return [Forfeit(self.kind, "had enough") if len(played) >= 2 else 3 for played in moves]

    match = play_match(four, RandomPlayer(four, 1), GivesUp("resigned"), 6, openings=0)
    assert match.result == MatchResult(wins=6, draws=0, losses=0)
    assert match.forfeits(by_a=False) == {"resigned": 6} and match.forfeits(by_a=True) == {}
    other = play_match(four, GivesUp("crash"), RandomPlayer(four, 1), 4, openings=0)
    assert other.result == MatchResult(wins=0, draws=0, losses=4)
    assert other.forfeits(by_a=True) == {"crash": 4} and other.forfeits(by_a=False) == {}
    assert [g.failed for g in (*match.games, *other.games)] == [False] * 6 + [True] * 4
    assert [g.ending for g in other.games[:2]] == [
        "quitter (first player) had enough",
        "quitter (second player) had enough",
    ]
    assert [len(g.moves) for g in other.games[:2]] == [2, 3]
    ended = play_match(four, Lowest(four), Lowest(four), 2).games
    assert {g.ending for g in ended} == {"played out"}


def test_the_time_counted_is_that_of_player_a(toe: Game) -> None:
    class Slow(Lowest):
        def actions(self, states: np.ndarray, moves: Sequence[Sequence[int]]) -> np.ndarray:
            time.sleep(0.02)
            return super().actions(states, moves)

    fast, slow = Lowest(toe), Slow(toe)
    match = play_match(toe, slow, fast, 4, openings=0)
    assert match.a_seconds >= 0.02 * slow.calls
    assert match.a_moves == sum(len(g.moves) // 2 + (len(g.moves) % 2 and g.a_first) for g in match.games)
    swapped = play_match(toe, Lowest(toe), Slow(toe), 4, openings=0)
    assert swapped.a_seconds < 0.02 * swapped.a_moves


def test_an_empty_match_counts_nothing() -> None:
    assert Match([]).result == MatchResult(0, 0, 0)
