"""Who died, and whether that is an accident; what learners say of themselves, together."""

from __future__ import annotations

import pytest

from rl.runtime import crew as module
from rl.runtime.crew import MAX_DEATHS_IN_A_ROW, MAX_RESTARTS_A_MINUTE, Crew
from rl.runtime.kinds import parts_of, together


@pytest.fixture
def crew(monkeypatch: pytest.MonkeyPatch) -> Crew:
    """Four actors in a cluster whose node "here" lives; "gone" has left."""
    monkeypatch.setattr(module, "alive", lambda: {"here"})
    monkeypatch.setattr(module, "NODE_DEATH_SECONDS", 0.0)
    found = Crew()
    for index in range(4):
        found.add(index, None)
    return found


def test_one_that_keeps_dying_is_told(crew: Crew) -> None:
    for _ in range(MAX_DEATHS_IN_A_ROW):
        assert crew.died(3, "here") == ""
    assert crew.died(2, "here") == ""
    assert crew.died(3, "here") == "has died 5 times without finishing anything"


def test_not_one_that_finishes_something_in_between(crew: Crew) -> None:
    for number in range(3 * MAX_DEATHS_IN_A_ROW):
        assert crew.died(3, "here") == ""
        if number % 3 == 2:
            crew.finished(3)


def test_nor_where_it_was_the_nodes_that_left(crew: Crew) -> None:
    for index in range(10 * MAX_RESTARTS_A_MINUTE):
        assert crew.died(index % 4, "gone") == ""
    for _ in range(MAX_DEATHS_IN_A_ROW):
        assert crew.died(3, "here") == ""
    assert crew.died(3, "here").startswith("has died 5 times")


def test_too_many_deaths_in_a_minute_are_no_accident_either(crew: Crew) -> None:
    for index in range(MAX_RESTARTS_A_MINUTE):
        assert crew.died(index, "here") == ""
    assert crew.died(MAX_RESTARTS_A_MINUTE, "here") == "has died, as 21 processes have in a minute"


def test_a_number_is_taken_again_as_another_life(crew: Crew) -> None:
    assert crew.vacant() == 4
    assert crew.lost(1).node == ""
    crew.lost(3)
    assert not crew.settled() and len(crew) == 2
    assert crew.vacant() == 1
    crew.add(1, None)
    assert crew.vacant() == 3
    assert (crew.lives[1], crew.lives[0]) == (1, 0)


def test_the_status_of_all_learners_sums_their_rows() -> None:
    rows = [{"experience/rows_total": 300.0, "experience/rows": 200.0, "experience/reuse": 4.0, "weights/version": 7.0}]
    rows += [{"experience/rows_total": 100.0, "experience/rows": 100.0, "experience/reuse": 2.0}]
    found = together(rows)
    assert found == {
        "experience/rows_total": 400.0,
        "experience/rows": 300.0,
        "experience/reuse": 3.5,
        "weights/version": 7.0,
    }


@pytest.mark.parametrize(
    ("learners", "rank", "needed"),
    [
        (2, 0, ["learner", "experience"]),
        (2, 1, ["learner", "experience-1"]),
        (1, 0, ["learner", "experience", "experience-1"]),
        (3, 2, ["learner", "experience", "experience-1"]),
    ],
)
def test_a_learner_reads_its_own_shard_unless_all_are_dealt_anew(learners: int, rank: int, needed: list[str]) -> None:
    parts = ["actor-0", "learner", "experience", "experience-1"]
    assert parts_of(parts, rank, learners) == needed
