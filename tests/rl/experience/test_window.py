"""The replay window against a plain list of all rows."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import envs
from envs.game import TO_MOVE, Game
from rl.config import ExperienceConfig
from rl.experience import ReplayWindow
from rl.experience.targets import replay, row_weights, rows_of
from rl.records import Batch, GameRecord, Tensors
from tests.rl.search.two_stones import two_stones
from tests.rl.small import random_record

GAME = envs.make("tic_tac_toe")
NAMES = ("state", "policy", "wdl", "version")


class Stream:
    """Made-up games without end, and the list of all their rows. A row's version is its number in the list."""

    def __init__(self, game: Game = GAME, seed: int = 0, opening: int = 0):
        self.game, self.opening = game, opening
        self.rng = np.random.default_rng(seed)
        self.rows: list[tuple[np.ndarray, ...]] = []

    def games(self, count: int) -> list[GameRecord]:
        records = []
        for _ in range(count):
            record = random_record(self.game, self.rng, self.opening)
            versions = np.full(len(record.actions), -1)
            versions[record.full] = len(self.rows) + np.arange(record.full.sum())
            record = replace(record, weights_version=versions)
            rows = rows_of(self.game, record, 0.5)
            rows["state"] = replay(self.game, record)[record.full]
            self.rows += list(zip(*(rows[name] for name in NAMES)))
            records.append(record)
        return records


def window(
    seed: int = 0, symmetries: bool = False, game: Game = GAME, short_term: bool = False, **fields: Any
) -> ReplayWindow:
    return ReplayWindow(game, ExperienceConfig.model_validate({"min_rows": 1} | fields), seed, symmetries, short_term)


def allowed(rows: int, base: int, exponent: float, largest: int) -> int:
    """The docstring's formula."""
    if rows <= base:
        return min(base, largest)
    return min(int(base * (1 + ((rows / base) ** exponent - 1) / exponent)), largest)


def assert_holds(ours: ReplayWindow, rows: list[tuple[np.ndarray, ...]]) -> None:
    """It holds exactly these rows, oldest first, and no game without any of them."""
    tensors, state = ours.state_dict()
    assert len(tensors["start"]) == len(np.unique(tensors["game"]))
    ends = np.cumsum(tensors["lengths"])
    assert ends[-1] == len(tensors["actions"])
    for row, number, ply in zip(rows, tensors["game"], tensors["ply"], strict=True):
        index = number - (state["next_game"] - len(ends))
        moves = tensors["actions"][ends[index] - tensors["lengths"][index] :][:ply]
        position = tensors["start"][index]
        for move in moves:
            position = ours.game.after(position, int(move))
        np.testing.assert_array_equal(position, row[0])
    for i, name in enumerate(NAMES[1:], 1):
        np.testing.assert_array_equal(tensors[name], np.stack([row[i] for row in rows]))


def assert_rows_of(batch: Batch, stream: Stream, oldest: int) -> None:
    """Every row of a batch drawn without symmetries is one of the stream's, ``oldest`` or newer, complete."""
    assert batch.weights_version.min() >= oldest
    for n, version in enumerate(batch.weights_version):
        state, policy, wdl, _ = stream.rows[version]
        assert (batch.planes[n] == stream.game.encode(state[None])[0]).all()
        assert (batch.legal[n] == stream.game.legal_mask(state)).all()
        assert (batch.policy[n] == policy).all()
        assert (batch.wdl[n] == wdl).all()


@pytest.mark.parametrize(
    ("base", "exponent", "largest"),
    [
        (40, 0.65, 1000),  # grows
        (40, 0.9, 130),  # grows up to the limit
        (40, 1.0, 10_000),  # keeps everything
        (3, 0.5, 50),  # shorter than a game
        (100, 0.5, 30),  # the limit is below the base
    ],
)
def test_the_newest_rows_are_kept(base: int, exponent: float, largest: int) -> None:
    stream = Stream()
    ours = window(window=base, window_exponent=exponent, max_rows=largest)
    for count in (1, 1, 2, 30, 1, 50, 3):
        before = len(stream.rows)
        records = stream.games(count)
        assert ours.add(records) == len(stream.rows) - before
        total = len(stream.rows)
        size = min(total, allowed(total, base, exponent, largest))
        assert (ours.total, ours.size) == (total, size)
        assert_holds(ours, stream.rows[total - size :])
        assert_rows_of(ours.sample(100), stream, total - size)
    assert total > 5 * base or base == 100


@pytest.mark.parametrize(
    ("rows", "exponent", "size"),
    [
        (0, 0.5, 100),
        (100, 0.5, 100),
        (400, 0.5, 300),  # 100 · (1 + (2 - 1) / 0.5)
        (900, 0.5, 500),
        (1600, 0.5, 600),  # max_rows
        (350, 1.0, 350),
        (800, 1 / 3, 400),  # 100 · (1 + (2 - 1) · 3)
        (900, 0.0, 100),  # never grows
    ],
)
def test_growth_formula(rows: int, exponent: float, size: int) -> None:
    ours = window(window=100, window_exponent=exponent, max_rows=600)
    ours.total = rows
    assert ours.window == size


def test_an_empty_list_of_games_adds_nothing() -> None:
    ours = window()
    assert ours.add([]) == ours.total == ours.size == 0


def chi_square(counts: np.ndarray) -> float:
    expected = counts.sum() / len(counts)
    return float(((counts - expected) ** 2 / expected).sum())


def test_every_row_is_drawn_equally_often() -> None:
    stream = Stream()
    ours = window(window=50, window_exponent=0.0)
    ours.add(stream.games(40))
    assert ours.size == 50
    drawn = ours.sample(50_000).weights_version - (len(stream.rows) - 50)
    assert chi_square(np.bincount(drawn, minlength=50)) < 85.4  # 49 degrees of freedom, 1 in 1000


@pytest.mark.parametrize("name", ["tic_tac_toe", "connect_four", "two_stones"])
def test_a_row_under_a_symmetry_is_that_of_the_transformed_game(name: str) -> None:
    game = two_stones() if name == "two_stones" else envs.make(name)
    assert game.action_symmetries is not None
    stream = Stream(game)
    ours = window(symmetries=True, game=game)
    records = stream.games(4)
    ours.add(records)
    # Candidates: each game played over again with every move transformed.
    images: dict[int, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
    for record in records:
        for to_old in game.action_symmetries:
            to_new = np.argsort(to_old)
            state = game.initial_state()
            for t, action in enumerate(record.actions):
                if record.full[t]:
                    image = (game.encode(state[None])[0], game.legal_mask(state), record.policy[t][to_old])
                    images.setdefault(int(record.weights_version[t]), []).append(image)
                state = game.after(state, int(to_new[action]))
    batch = ours.sample(4000)
    counts = np.zeros(len(game.action_symmetries), np.int64)
    for n, version in enumerate(batch.weights_version):
        row = batch.planes[n], batch.legal[n], batch.policy[n]
        found = [
            k
            for k, image in enumerate(images[int(version)])
            if all((one == other).all() for one, other in zip(row, image, strict=True))
        ]
        assert found
        if len(found) == 1:  # else the position is symmetric itself
            counts[found[0]] += 1
        np.testing.assert_array_equal(batch.wdl[n], stream.rows[version][2])
    assert counts.sum() > 3000
    if len(counts) > 1:
        assert chi_square(counts) < {2: 10.8, 8: 24.3}[len(counts)]  # 1 in 1000


def test_what_followed_and_the_end_of_the_game_come_along_under_the_same_symmetry() -> None:
    game = envs.make("go5", komi=0.5)
    assert game.action_symmetries is not None and game.point_symmetries is not None
    stream = Stream(game)
    ours = window(symmetries=True, game=game)
    records = stream.games(3)
    ours.add(records)
    where = {int(v): (r, t) for r in records for t, v in enumerate(r.weights_version) if v >= 0}
    batch = ours.sample(400)
    restored = window(symmetries=True, game=game)
    restored.load_state_dict(*saved(ours))
    assert_same_batches(ours, restored)
    assert batch.ownership is not None and batch.margin is not None
    used = set()
    for n, version in enumerate(batch.weights_version):
        record, t = where[int(version)]
        state = replay(game, record)[t]
        ownership = np.zeros(25, np.int8)
        last = game.after(replay(game, record)[-1], int(record.actions[-1]))
        margin = game.territory(last, ownership)
        side = 1 if state[TO_MOVE] == 0 else -1
        assert batch.margin[n] == side * margin
        matches = []
        for k, (points, actions) in enumerate(zip(game.point_symmetries, game.action_symmetries)):
            planes = game.encode(state[None])[0].reshape(game.num_planes, 25)[:, points]
            policy = np.zeros(game.num_actions)
            if t + 1 < len(record.actions):
                policy[record.actions[t + 1]] = 1.0
            reply = int(policy[actions].argmax()) if policy.any() else -1
            same = (planes == batch.planes[n].reshape(game.num_planes, 25)).all()
            same = same and (record.policy[t][actions] == batch.policy[n]).all()
            if same and (side * ownership[points] == batch.ownership[n]).all() and reply == batch.reply[n]:
                matches.append(k)
        assert matches
        used |= set(matches[:1])
    assert len(used) == 8


def test_surprising_rows_are_written_as_often_as_they_weigh() -> None:
    stream = Stream(envs.make("connect_four"))
    [record] = stream.games(1)
    weights = row_weights(record.surprise[record.full], 0.5)
    assert len(set(weights.tolist())) >= 5 and weights.max() > 1.5
    ours = window(game=stream.game, window=100_000, surprise_weight=0.5)
    times = []
    for _ in range(2000):
        before = ours.total
        assert ours.add([record]) == ours.total - before
        written = ours.rows["version"][before : ours.total]
        assert (np.diff(written) >= 0).all()
        times.append(np.bincount(written, minlength=len(weights)))
    assert (np.min(times, 0) == np.floor(weights)).all()
    assert (np.max(times, 0) == np.ceil(weights)).all()
    spread = np.sqrt((weights % 1) * (1 - weights % 1) / 2000)
    assert (np.abs(np.mean(times, 0) - weights) < 4 * spread + 1e-9).all()
    assert ours.total == pytest.approx(2000 * len(weights), rel=0.01)  # reuse counts rows: it stays what it was
    assert_rows_of(ours.sample(200), stream, 0)


def test_short_term_targets_come_with_their_rows() -> None:
    stream = Stream(envs.make("connect_four"))
    ours = window(symmetries=True, game=stream.game, short_term=True, window=50, window_exponent=0.6)
    records = stream.games(10)
    ours.add(records)
    wanted: dict[int, np.ndarray] = {}
    for record in records:
        rows = rows_of(stream.game, record, 0.5, short_term=True)
        wanted |= dict(zip(rows["version"].tolist(), rows["short_term_value"]))
    batch = ours.sample(200)
    assert batch.short_term_value is not None
    assert len(set(batch.weights_version.tolist())) > 30
    for version, target in zip(batch.weights_version.tolist(), batch.short_term_value):
        assert (target == wanted[version]).all()
    assert batch.short_term_value.shape == (200, 3, 3)


def test_a_window_with_short_term_targets_may_begin_with_one_without_and_the_other_way_round() -> None:
    stream = Stream()
    without, having = window(), window(short_term=True)
    without.add(stream.games(10))
    old = without.total
    having.load_state_dict(*saved(without))
    assert_holds(having, stream.rows)
    having.add(stream.games(10))
    batch = having.sample(500)
    assert batch.short_term_value is not None
    unknown = np.isnan(batch.short_term_value).any((1, 2))
    assert (unknown == (batch.weights_version < old)).all() and unknown.any() and not unknown.all()
    back = window()
    back.load_state_dict(*saved(having))
    assert_holds(back, stream.rows)
    assert back.sample(50).short_term_value is None
    tensors, state = saved(back)
    assert "short_term_value" not in tensors
    del tensors["policy"]
    with pytest.raises(KeyError, match="policy"):
        window().load_state_dict(tensors, state)


def test_without_symmetries_rows_stay_as_they_are() -> None:
    stream = Stream()
    ours = window(symmetries=False)
    ours.add(stream.games(30))
    assert_rows_of(ours.sample(500), stream, 0)


def test_reuse_rule() -> None:
    stream = Stream()
    ours = window(min_rows=60, reuse=2.5, window=20, window_exponent=0.0)  # rows that have left the window count too
    while ours.total < 60:
        assert ours.trainable_rows == 0
        ours.add(stream.games(1))
    assert ours.trainable_rows == 2.5 * ours.total
    total = ours.total
    ours.sample(40)
    ours.sample(7)
    assert ours.trainable_rows == 2.5 * total - 47
    ours.add(stream.games(5))
    assert ours.total > total
    assert ours.trainable_rows == 2.5 * ours.total - 47


def saved(ours: ReplayWindow) -> tuple[Tensors, dict]:
    """The state as it comes back from a checkpoint."""
    tensors, state = ours.state_dict()
    return {name: array.copy() for name, array in tensors.items()}, json.loads(json.dumps(state))


def assert_same_batches(a: ReplayWindow, b: ReplayWindow) -> None:
    assert (a.size, a.window, a.trainable_rows) == (b.size, b.window, b.trainable_rows)
    for count in (1, 200):
        for x, y in zip(vars(a.sample(count)).values(), vars(b.sample(count)).values(), strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(("surprise", "short_term"), [(0.0, False), (0.5, True)])
@pytest.mark.parametrize("before", [1, 8, 30, 120])  # games: hardly anything, about full, grown, at its largest
def test_a_restored_window_draws_and_grows_as_if_never_interrupted(
    before: int, surprise: float, short_term: bool
) -> None:
    fields: dict[str, Any] = {"window": 25, "window_exponent": 0.8, "max_rows": 200, "surprise_weight": surprise}
    stream = Stream()
    fields["short_term"] = short_term
    whole = window(seed=5, symmetries=True, **fields)
    whole.add(stream.games(before))
    whole.sample(33)
    restored = window(seed=6, symmetries=True, **fields)
    tensors, state = saved(whole)
    restored.load_state_dict(tensors, state)
    for tensor in tensors.values():
        tensor[...] = 0  # they are copied
    assert_same_batches(whole, restored)
    for count in (1, 20, 100):
        records = stream.games(count)
        assert whole.add(records) == restored.add(records)
        assert_same_batches(whole, restored)
        if not surprise:
            assert_holds(restored, stream.rows[len(stream.rows) - whole.size :])
    assert whole.size == 200


def test_what_was_saved_stays_when_the_window_goes_on() -> None:
    stream = Stream()
    ours = window(window=20, window_exponent=0.0)
    ours.add(stream.games(30))
    tensors, state = ours.state_dict()
    held = stream.rows[-20:]
    ours.add(stream.games(30))
    ours.sample(10)
    restored = window(window=20, window_exponent=0.0)
    restored.load_state_dict(tensors, state)
    assert_holds(restored, held)
    assert restored.sampled == 0


def test_a_window_that_was_enlarged_on_resume_fills_up_with_new_rows_only() -> None:
    stream = Stream()
    small = window(window=20, window_exponent=0.0)
    small.add(stream.games(60))
    first = len(stream.rows) - 20
    larger = window(window=300, window_exponent=0.0)
    larger.load_state_dict(*saved(small))
    for _ in range(4):
        assert_holds(larger, stream.rows[first:])
        assert_rows_of(larger.sample(300), stream, first)
        larger.add(stream.games(3))
    larger.add(stream.games(200))
    assert larger.size == 300
    assert_holds(larger, stream.rows[-300:])


def test_a_window_that_was_made_smaller_on_resume_keeps_the_newest() -> None:
    stream = Stream()
    large = window(window=200, window_exponent=0.0)
    large.add(stream.games(30))
    smaller = window(window=20, window_exponent=0.0)
    smaller.load_state_dict(*saved(large))
    assert_holds(smaller, stream.rows[-20:])
    smaller.add(stream.games(10))
    assert_holds(smaller, stream.rows[-20:])
    assert_rows_of(smaller.sample(300), stream, len(stream.rows) - 20)


def test_a_window_that_begins_with_anothers_rows_may_train_on_them_as_on_new_ones() -> None:
    stream = Stream()
    theirs = window(window=60, max_rows=60, window_exponent=0.0)
    while theirs.total < 200:
        theirs.add(stream.games(4))
    theirs.sample(50)
    ours = window(seed=1, window=40, max_rows=40, reuse=3)
    ours.begin_with(*theirs.state_dict())
    assert ours.trainable_rows == 3 * 40
    tensors, _ = ours.state_dict()
    assert (tensors["version"] == 0).all()
    np.testing.assert_array_equal(tensors["policy"], np.stack([row[1] for row in stream.rows[-40:]]))
    new = Stream(seed=2)
    ours.add(new.games(1))
    assert ours.trainable_rows == 3 * (40 + len(new.rows))
    ours.sample(20)
    assert ours.trainable_rows == 3 * (40 + len(new.rows)) - 20
