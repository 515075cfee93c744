"""Time settings, and how much of the clock a move may take."""

from __future__ import annotations

import pytest

from rl.play.clock import LAG, RESERVE, Clock, Kind


def test_no_clock_sets_no_limit() -> None:
    assert Clock().allotted(0, 81, 0) is None


def test_main_time_is_shared_among_the_moves_to_come() -> None:
    clock = Clock("absolute", 300)
    assert clock.allotted(0, 81, 0) == pytest.approx(300 / (0.75 * 81 / 2) * (1 - RESERVE) - LAG)
    clock.set_left(0, 30, 0)
    assert clock.allotted(0, 81, 80) == pytest.approx(30 / (81 / 12) * (1 - RESERVE) - LAG)
    assert clock.allotted(1, 81, 80) == pytest.approx(300 / (81 / 12) * (1 - RESERVE) - LAG)


@pytest.mark.parametrize("size", [5, 9, 19])
def test_a_whole_game_stays_within_absolute_time(size: int) -> None:
    clock = Clock("absolute", 60)
    spent = 0.0
    for ply in range(0, 3 * size * size, 2):  # the longest game there is
        allotted = clock.allotted(0, size * size, ply) or 0.0
        spent += allotted
        clock.spend(0, allotted)
    assert 30 < spent < 60


@pytest.mark.parametrize(
    ("kind", "count", "share"), [("canadian", 5, 30 / 5), ("byoyomi", 3, 30)], ids=["canadian", "byoyomi"]
)
def test_overtime_gives_each_move_its_share(kind: Kind, count: int, share: float) -> None:
    clock = Clock(kind, 0, 30, count)
    assert clock.allotted(0, 81, 0) == pytest.approx(share * (1 - RESERVE) - LAG)
    main = Clock(kind, 300, 30, count)
    allotted = main.allotted(0, 81, 0)
    assert allotted == pytest.approx((300 / (0.75 * 81 / 2) + share) * (1 - RESERVE) - LAG)


def test_canadian_overtime_counts_moves_and_begins_anew() -> None:
    clock = Clock("canadian", 10, 30, 2)
    clock.spend(0, 12)  # main time runs over
    assert (clock.left[0], clock.counts[0]) == (28, 1)
    clock.spend(0, 20)
    assert (clock.left[0], clock.counts[0]) == (30, 2)
    assert (clock.left[1], clock.counts[1]) == (10, 0)


def test_byoyomi_loses_a_period_when_a_move_takes_it_whole() -> None:
    clock = Clock("byoyomi", 10, 30, 3)
    clock.spend(0, 12)
    assert (clock.left[0], clock.counts[0]) == (30, 3)
    clock.spend(0, 29)
    assert (clock.left[0], clock.counts[0]) == (30, 3)
    clock.spend(0, 65)
    assert (clock.left[0], clock.counts[0]) == (30, 1)
    clock.spend(0, 10)
    assert (clock.left[0], clock.counts[0]) == (30, 1)


def test_the_referee_has_the_last_word() -> None:
    clock = Clock("absolute", 100)
    clock.set_left(1, -3, 0)
    assert clock.allotted(1, 81, 0) == 0
    clock.set_left(1, 50, 0)
    clock.spend(1, 20)
    assert clock.left[1] == 30
    clock.reset()
    assert clock.left == [100, 100]


@pytest.mark.parametrize(
    ("kind", "main", "period", "count"),
    [
        ("absolute", -1, 0, 0),
        ("absolute", float("inf"), 0, 0),
        ("absolute", float("nan"), 0, 0),
        ("canadian", 10, 0, 5),
        ("byoyomi", 10, 30, 0),
        ("byoyomi", 10, float("nan"), 1),
    ],
)
def test_settings_that_make_no_sense(kind: Kind, main: float, period: float, count: int) -> None:
    with pytest.raises(ValueError, match=r"times must be finite|overtime needs"):
        Clock(kind, main, period, count)


def test_a_clock_cannot_show_anything() -> None:
    for seconds, count in ((float("nan"), 0), (float("inf"), 0), (3, -1)):
        with pytest.raises(ValueError, match="cannot show"):
            Clock("absolute", 10).set_left(0, seconds, count)
