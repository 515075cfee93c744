"""Probes find what is planted, controls are what Hewitt and Liang ask for, and layers come in their order."""

from pathlib import Path

import numpy as np
import pytest
import torch

import envs
from rl import nets
from rl.agent import load_player
from rl.insight.concepts import CONNECT_FOUR, NOT_ASKED, Concept, concepts_of
from rl.insight.positions import Positions, solved
from rl.insight.probes import Task, _around, _fit, _telling, features, probe, tasks_of
from rl.insight.questions import InsightError
from tests.rl.agents_for_tests import save_random_agent, small_config

FOUR = envs.make("connect_four")
CONCEPT = CONNECT_FOUR[2]


def some(count: int) -> Positions:
    found = solved(FOUR)
    assert found is not None
    return found.take(np.random.default_rng(0).permutation(len(found.states))[:count])


def planted(games: int = 150) -> tuple[np.ndarray, Task]:
    rng = np.random.default_rng(0)
    labels = (rng.random(games) < 0.3).astype(np.int8)
    x = rng.normal(size=(games, 6)).astype(np.float32)
    x[:, 2] += 6 * labels
    fitted = np.arange(games) < games // 2
    rows = np.arange(games)
    return x, Task(CONCEPT, rows, labels, labels, fitted, rows)


def test_a_probe_reads_off_what_is_there_and_not_what_is_not() -> None:
    x, task = planted()
    found = _fit(x, task.labels, task)
    assert found.value > 0.95 and found.low <= found.value <= found.high
    nothing = _fit(np.delete(x, 2, 1), task.labels, task)
    assert nothing.low < 0.5 < nothing.high and abs(nothing.value - 0.5) < 0.15


def test_controls_are_random_but_the_same_for_equal_types() -> None:
    positions = some(600)
    tasks = {task.concept.name: task for task in tasks_of(FOUR, positions, CONNECT_FOUR)[0]}
    task = tasks["their threat"]
    from rl.insight.concepts import boards
    from rl.insight.probes import TO_MOVE

    kinds = boards(FOUR, positions.states) * np.where(positions.states[:, TO_MOVE] == 0, 1, -1)[:, None]
    types = _around(kinds, (6, 7)).reshape(-1)[task.rows]
    for kind in np.unique(types)[:300]:
        assert len(set(task.control[types == kind])) == 1
    assert len(np.unique(types)) > 500
    assert abs(task.control.mean() - task.labels.mean()) < 0.05, "as rare as the concept"
    assert abs(np.corrcoef(task.control, task.labels)[0, 1]) < 0.1
    assert not set(task.games[task.fitted]) & set(task.games[~task.fitted]), "no game on both sides"


def test_types_are_told_by_what_stands_around() -> None:
    kinds = np.zeros((3, 12), np.int8)  # 3 × 4 points
    kinds[1, 5], kinds[2, 11] = 1, -1
    around = _around(kinds, (3, 4))
    assert (around[0] != around[1]).tolist() == [True, True, True, False] * 3
    assert np.flatnonzero(around[0] != around[2]).tolist() == [6, 7, 10, 11]
    assert len(np.unique(around[0])) == 9, "the edge is seen: corners, sides and the middle differ"
    told = _telling(kinds)
    assert len({*told.tolist()}) == 3


def test_a_concept_without_enough_of_both_labels_is_left_out_and_said_to_be() -> None:
    rare = Concept("rare", "position", "almost never", lambda game, p: (np.arange(len(p.states)) < 5).astype(np.int8))
    unknown = Concept("unknown", "position", "no label", lambda game, p: np.full(len(p.states), NOT_ASKED, np.int8))
    tasks, left_out = tasks_of(FOUR, some(200), (rare, unknown, CONCEPT))
    assert [task.concept.name for task in tasks] == [CONCEPT.name] and set(left_out) == {"rare", "unknown"}
    assert (
        "holds in 5 positions and not in 195" in left_out["rare"]
        and "in 0 positions and not in 0" in left_out["unknown"]
    )


@pytest.mark.parametrize("kind", ["resnet", "transformer", "mlp"])
def test_features_of_every_layer_in_order(kind: str) -> None:
    encoder = {
        "resnet": {"kind": "resnet", "channels": 8, "blocks": 2},
        "transformer": {"kind": "transformer", "width": 8, "depth": 2, "heads": 2},
        "mlp": {"kind": "mlp", "width": 8, "depth": 2},
    }[kind]
    net = nets.build(small_config("connect_four", net={"encoder": encoder}).net, FOUR).eval()
    planes = FOUR.encode(some(5).states)
    found = features(net, planes)
    last = [] if kind == "resnet" else ["encoder"]
    assert list(found) == ["input", "stem", "block 1", "block 2", *last]
    with torch.no_grad():
        output = net.encoder(torch.from_numpy(planes), None)
    assert torch.equal(found["input"], torch.from_numpy(planes))
    assert torch.equal(list(found.values())[-1], output)
    assert found["block 1"].shape == ((5, 8) if kind == "mlp" else (5, 8, 6, 7))


def test_what_the_planes_show_is_read_off_at_once(tmp_path: Path) -> None:
    agent = load_player(save_random_agent(tmp_path / "four.safetensors", "connect_four"))
    first = Concept(
        "first", "position", "the first player is to move", lambda game, p: 1 - p.states[:, 0].astype(np.int8)
    )
    positions = some(300)
    tasks, _ = tasks_of(FOUR, positions, (first, CONNECT_FOUR[0]))
    rows = probe(agent, tasks, positions)
    told = {(row.concept, row.layer): row for row in rows}
    at_once = told["first", "input"]
    assert at_once.accuracy == 1.0 and at_once.selectivity == 1 - at_once.control > 0.3
    assert 0.3 < at_once.selectivity_low < at_once.selectivity < at_once.selectivity_high
    assert {row.version for row in rows} == {7} and {r.version for r in probe(agent, tasks, positions, fresh=True)} == {
        -1
    }
    # A network without a board has no features of points behind its input.
    assert {layer for concept, layer in told if concept == "own threat"} == {"input"}


def test_games_without_known_concepts() -> None:
    with pytest.raises(InsightError, match="no concepts"):
        concepts_of(envs.make("tic_tac_toe"))
