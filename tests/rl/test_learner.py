"""The learner against a plain re-implementation of its update, and what it promises around it."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import envs
from rl.config import AuxiliaryConfig, ExperienceConfig, LearnerConfig
from rl.experience import ReplayWindow
from rl.learner import GameLearner, learning_rate
from rl.learner import base as module
from rl.losses import alphazero_loss
from rl.nets import build
from rl.records import Tensors
from rl.storage import read_tensors, write_tensors
from tests.rl.small import MLP, RESNET, random_batch, random_records, small_config

GAME = envs.make("connect_four")
TRANSFORMER = {"kind": "transformer", "width": 16, "depth": 1, "heads": 2}
EXACT = {"precision": "float32"}


def learner(encoder: dict[str, Any] | None = None, seed: int = 0, mode: str = "async", **fields: Any) -> GameLearner:
    run = {"mode": mode, "learner_steps": 1000}
    config = small_config("connect_four", encoder, seed=seed, learner=EXACT | fields, run=run)
    return GameLearner(GAME, config, device="cpu")


def snapshot(ours: GameLearner) -> Tensors:
    """Everything that an update changes, apart from torch's random stream."""
    tensors, _ = ours.state_dict()
    del tensors["torch_rng"]
    return tensors


def assert_same(a: Tensors, b: Tensors) -> None:
    assert a.keys() == b.keys()
    for name, array in a.items():
        np.testing.assert_array_equal(array, b[name], err_msg=name)


# --- one update ------------------------------------------------------------------------------------------------------


class Plain:
    """The update written out: clipping, AdamW or Nesterov's SGD, and the average, one tensor at a time."""

    def __init__(self, net: nn.Module, config: LearnerConfig):
        self.net, self.config = copy.deepcopy(net), config
        self.average = {name: tensor.clone() for name, tensor in self.net.state_dict().items()}
        self.memory: dict[str, list[torch.Tensor]] = {}
        self.steps = 0

    def update(self, batch: Any, rate: float) -> dict[str, float]:
        config = self.config
        planes, legal, policy, wdl = (torch.from_numpy(x) for x in list(vars(batch).values())[:4])
        # The loss has tests of its own; the planes have the layout that the learner gives them.
        policy_logits, wdl_logits = self.net(planes.contiguous(memory_format=torch.channels_last))
        loss = alphazero_loss(policy_logits, wdl_logits, legal, policy, wdl, config.value_weight)["loss"]
        named = dict(self.net.named_parameters())
        gradients = dict(zip(named, torch.autograd.grad(loss, list(named.values()))))
        norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients.values()))
        self.steps += 1
        with torch.no_grad():
            for name, p in named.items():
                gradient = gradients[name] * min(1.0, config.clip_norm / norm)
                decay = config.weight_decay if p.ndim > 1 else 0.0
                if config.optimizer == "adamw":
                    self._adamw(name, p, gradient, decay, rate)
                else:
                    self._sgd(name, p, gradient, decay, rate)
            kept = min(config.ema, self.steps / (self.steps + 10))
            for name, tensor in self.net.state_dict().items():
                if tensor.is_floating_point():
                    self.average[name] = kept * self.average[name] + (1 - kept) * tensor
                else:
                    self.average[name] = tensor.clone()
        return {"loss": float(loss.detach()), "gradient_norm": norm}

    def mattered(self, name: str) -> torch.Tensor:
        """Where a gradient was more than rounding errors, of which Adam makes full steps too.

        Biases that softmax or a normalisation does not see have no other.
        """
        if self.config.optimizer == "adamw" and name in self.memory:
            return self.memory[name][1].sqrt() > 1e-6
        return torch.ones_like(self.average[name], dtype=torch.bool)

    def _adamw(self, name: str, p: torch.Tensor, gradient: torch.Tensor, decay: float, rate: float) -> None:
        mean, square = self.memory.setdefault(name, [torch.zeros_like(p), torch.zeros_like(p)])
        mean.copy_(0.9 * mean + 0.1 * gradient)
        square.copy_(0.999 * square + 0.001 * gradient**2)
        p *= 1 - rate * decay
        unbiased = square / (1 - 0.999**self.steps)
        p -= rate * (mean / (1 - 0.9**self.steps)) / (unbiased.sqrt() + 1e-8)

    def _sgd(self, name: str, p: torch.Tensor, gradient: torch.Tensor, decay: float, rate: float) -> None:
        gradient = gradient + decay * p
        momentum = self.config.momentum
        [velocity] = self.memory.setdefault(name, [torch.zeros_like(p)])
        velocity.copy_(momentum * velocity + gradient)
        p -= rate * (gradient + momentum * velocity)


@pytest.mark.parametrize("clip", [0.2, 100.0], ids=["clipped", "unclipped"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("encoder", [MLP, RESNET], ids=["mlp", "resnet"])
def test_updates_equal_the_plain_ones(encoder: dict[str, Any], optimizer: str, clip: float) -> None:
    ours = learner(
        encoder,
        optimizer=optimizer,
        clip_norm=clip,
        learning_rate=0.01 if optimizer == "adamw" else 0.5,
        weight_decay=0.05,
        warmup_steps=3,
        value_weight=1.7,
        ema=0.2,
    )
    plain = Plain(ours.net, ours.config)
    start = copy.deepcopy(plain.average)
    norms = []
    for step in range(5):
        batch = random_batch(GAME, 24, seed=step)
        progress = step / 5
        rate = learning_rate(ours.config, step, progress)
        measured, expected = ours.update(batch, progress), plain.update(batch, rate)
        assert measured["learning_rate"] == rate
        for name, value in expected.items():
            assert measured[name] == pytest.approx(value, rel=1e-4), name
        norms.append(measured["gradient_norm"])
    assert (max(norms) < 100) if clip == 100 else (min(norms) > 0.2)
    assert ours.step == 5
    moved = []
    trained, average = ours.net.state_dict(), ours.weights().tensors
    for name, tensor in plain.net.state_dict().items():
        scale = float((tensor - start[name]).abs().max())
        moved.append(scale)
        tolerance = max(1e-3 * scale, 1e-6)
        mattered = plain.mattered(name)
        differences = (trained[name] - tensor).abs(), (torch.from_numpy(average[name]) - plain.average[name]).abs()
        assert all((d[mattered] <= tolerance).all() for d in differences), name
    assert np.median(moved) > 0.003, "they would agree however wrong the updates were"


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_l1_takes_its_step_towards_zero_behind_each_update(optimizer: str) -> None:
    """From the same weights and gradients, every matrix is that without L1, moved by rate · l1 and stopped at 0."""
    ours, without = (learner(RESNET, optimizer=optimizer, warmup_steps=0, l1=l1) for l1 in (2.0, 0.0))
    measured, plain = (part.update(random_batch(GAME, 16), 0.0) for part in (ours, without))
    assert measured == plain
    theirs, zeros = dict(without.net.named_parameters()), 0
    for name, parameter in ours.net.named_parameters():
        expected = theirs[name].detach().numpy().copy()
        if expected.ndim > 1:
            for index, w in np.ndenumerate(expected):
                expected[index] = math.copysign(max(abs(float(w)) - 2.0 * measured["learning_rate"], 0.0), w)
            zeros += int((parameter == 0).sum())
        np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=1e-6, atol=1e-8, err_msg=name)
    assert zeros > 50


def test_without_averaging_the_plain_weights_are_published() -> None:
    ours = learner(RESNET, ema=0.0)
    ours.update(random_batch(GAME, 16), 0.0)
    assert_same(ours.weights().tensors, {name: t.numpy() for name, t in ours.net.state_dict().items()})


def test_published_weights_are_copies_with_the_number_of_updates() -> None:
    ours = learner(RESNET)
    assert ours.weights().version == 0
    ours.update(random_batch(GAME, 16), 0.0)
    published = ours.weights()
    before = copy.deepcopy(published.tensors)
    ours.update(random_batch(GAME, 16), 0.0)
    assert_same(published.tensors, before)
    assert (published.version, ours.weights().version) == (1, 2)
    assert any((array != before[name]).any() for name, array in ours.weights().tensors.items())
    assert all(array.flags.c_contiguous for array in published.tensors.values())


def test_the_seed_alone_decides_the_first_weights() -> None:
    torch.manual_seed(1)
    one = snapshot(learner(RESNET, seed=3))
    torch.manual_seed(2)
    assert_same(one, snapshot(learner(RESNET, seed=3)))
    other = snapshot(learner(RESNET, seed=4))
    assert any((array != other[name]).any() for name, array in one.items())


def test_lag_counts_from_the_weights_that_played_a_row() -> None:
    ours = learner()
    batch = random_batch(GAME, 4)
    measured = ours.update(batch, 0.0)
    assert (measured["lag_mean"], measured["lag_max"]) == (0, 0)  # the very weights that are updated
    for _ in range(9):
        ours.update(batch, 0.0)
    measured = ours.update(replace(batch, weights_version=np.array([10, 9, 4, 3])), 0.0)
    assert (measured["lag_mean"], measured["lag_max"]) == (3.5, 7)


# --- learning rate ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "step", "progress", "rate"),
    [
        ("constant", 0, 0.9, 0.25),  # a quarter of the warm-up
        ("constant", 2, 0.0, 0.75),
        ("constant", 3, 0.0, 1.0),
        ("constant", 99, 1.0, 1.0),
        ("linear", 99, 0.0, 1.0),
        ("linear", 99, 0.25, 0.8),
        ("linear", 99, 1.0, 0.2),
        ("linear", 99, 1.5, 0.2),
        ("linear", 1, 0.5, 0.3),  # half of 0.6
        ("cosine", 99, 0.0, 1.0),
        ("cosine", 99, 0.5, 0.6),
        ("cosine", 99, 0.25, 0.2 + 0.8 * (2 + math.sqrt(2)) / 4),
        ("cosine", 99, 1.0, 0.2),
        ("cosine", 99, -0.5, 1.0),
    ],
)
def test_learning_rate(schedule: Any, step: int, progress: float, rate: float) -> None:
    config = LearnerConfig(schedule=schedule, learning_rate=1.0, final_learning_rate=0.2, warmup_steps=4)
    assert learning_rate(config, step, progress) == pytest.approx(rate)


def test_no_warmup() -> None:
    assert learning_rate(LearnerConfig(learning_rate=0.5, warmup_steps=0), 0, 0.0) == 0.5


# --- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["planes", "policy", "wdl"])
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_batch_that_is_not_finite_changes_nothing(where: str, poison: float) -> None:
    ours, twin = learner(RESNET), learner(RESNET)
    good = [random_batch(GAME, 16, seed) for seed in range(3)]
    for part in (ours, twin):
        part.update(good[0], 0.0)
    bad = copy.deepcopy(good[1])
    getattr(bad, where)[3] = poison
    before = snapshot(ours)
    with pytest.raises(FloatingPointError, match="not finite at learner step 1"):
        ours.update(bad, 0.0)
    assert_same(snapshot(ours), before)
    assert ours.step == 1
    assert ours.update(good[2], 0.1) == twin.update(good[2], 0.1)
    assert_same(snapshot(ours), snapshot(twin))


# --- saved and restored ----------------------------------------------------------------------------------------------


def through_a_file(ours: GameLearner, path: Path) -> tuple[Tensors, dict]:
    """The state as a checkpoint gives it back: arrays from a file, row-major whatever they were."""
    tensors, state = ours.state_dict()
    with path.open("wb") as file:
        write_tensors(file, tensors)
    return read_tensors(path)[0], state


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize(
    "encoder",
    [MLP | {"dropout": 0.3}, RESNET, RESNET | {"dropout": 0.3}, TRANSFORMER | {"dropout": 0.3}],
    ids=["mlp, dropout", "resnet", "resnet, dropout", "transformer, dropout"],
)
def test_restored_updates_are_bit_identical(encoder: dict[str, Any], optimizer: str, tmp_path: Path) -> None:
    whole = learner(encoder, optimizer=optimizer, learning_rate=0.01)
    batches = [random_batch(GAME, 16, seed) for seed in range(6)]
    for batch in batches[:3]:
        whole.update(batch, 0.1)
    tensors, state = through_a_file(whole, tmp_path / "state")
    measured = [whole.update(batch, 0.2) for batch in batches[3:]]
    restored = learner(encoder, seed=5, optimizer=optimizer, learning_rate=0.01)
    restored.update(batches[0], 0.0)  # leaves nothing behind
    restored.load_state_dict(tensors, state)
    for tensor in tensors.values():
        tensor[...] = 0  # they are copied
    assert [restored.update(batch, 0.2) for batch in batches[3:]] == measured
    assert_same(snapshot(restored), snapshot(whole))
    assert restored.step == whole.step == 6


def test_what_was_saved_stays_when_the_learner_goes_on() -> None:
    ours = learner(RESNET)
    ours.update(random_batch(GAME, 16), 0.0)
    tensors, _ = ours.state_dict()
    before = copy.deepcopy(tensors)
    ours.update(random_batch(GAME, 16), 0.0)
    assert_same(tensors, before)


@pytest.mark.parametrize(("saved", "resumed"), [("adamw", "sgd"), ("sgd", "adamw")])
def test_another_optimizer_on_resume_begins_anew(saved: str, resumed: str) -> None:
    before = learner(optimizer=saved)
    for seed in range(2):
        before.update(random_batch(GAME, 16, seed), 0.0)
    after = learner(seed=1, optimizer=resumed)
    after.load_state_dict(*before.state_dict())
    fresh = learner(seed=2, optimizer=resumed)
    fresh.net.load_state_dict(before.net.state_dict())
    fresh.step = 2  # of the warm-up
    batch = random_batch(GAME, 16, 9)
    assert after.update(batch, 0.0) == fresh.update(batch, 0.0) | {"lag_mean": 2, "lag_max": 2}
    for name, tensor in fresh.net.state_dict().items():
        assert torch.equal(after.net.state_dict()[name], tensor)


# --- precision -------------------------------------------------------------------------------------------------------


def test_bfloat16_is_close_and_keeps_float32_weights() -> None:
    batch = random_batch(GAME, 32)
    exact, rounded = learner(RESNET), learner(RESNET, precision="bfloat16")
    for _ in range(3):
        a, b = exact.update(batch, 0.0), rounded.update(batch, 0.0)
    assert a["loss"] != b["loss"]
    assert b["loss"] == pytest.approx(a["loss"], rel=0.02)
    assert {p.dtype for p in rounded.net.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in rounded.net.parameters() if p.grad is not None} == {torch.float32}


def test_in_lock_step_the_precision_is_not_measured() -> None:
    assert learner(precision="auto", mode="sync").precision == "float32"


@pytest.mark.parametrize(("worthwhile", "chosen"), [(math.inf, "float32"), (0.0, "bfloat16")])
def test_measuring_the_precision_leaves_no_trace(
    worthwhile: float, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WORTHWHILE", worthwhile)  # the gain to ask for decides, not this machine
    results = []
    for precision in ("auto", chosen):
        ours = learner(RESNET | {"dropout": 0.3}, precision=precision)
        assert ours.precision == (None if precision == "auto" else chosen)
        measured = [ours.update(random_batch(GAME, 16, seed), 0.0) for seed in range(2)]
        assert ours.precision == chosen
        results.append((measured, ours.state_dict()[0]))
    assert results[0][0] == results[1][0]
    assert_same(results[0][1], results[1][1])


def test_the_faster_precision_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, seconds = [0.0], dict[str, float]()
    real = GameLearner.forward_backward

    def timed(self: GameLearner, net: Any, rows: dict[str, torch.Tensor], precision: str) -> dict[str, torch.Tensor]:
        clock[0] += seconds[precision]
        return real(self, net, rows, precision)

    monkeypatch.setattr(GameLearner, "forward_backward", timed)
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])
    for rounded, chosen in ((0.8, "bfloat16"), (0.95, "float32"), (8.0, "float32")):  # 5 % are too little to round for
        seconds |= {"float32": 1.0, "bfloat16": rounded}
        ours = learner(precision="auto")
        ours.update(random_batch(GAME, 8), 0.0)
        assert ours.precision == chosen


# --- learning --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", [MLP | {"width": 64}, RESNET], ids=["mlp", "resnet"])
def test_a_small_batch_is_learned_by_heart(encoder: dict[str, Any]) -> None:
    batch = random_batch(GAME, 16)
    assert len({planes.tobytes() for planes in batch.planes}) == 16, "no position may have two targets"
    ours = learner(encoder, learning_rate=0.01, schedule="constant", warmup_steps=10)
    first = ours.update(batch, 0.0)
    for _ in range(250):
        last = ours.update(batch, 0.0)
    entropy = -np.where(batch.wdl > 0, batch.wdl * np.log(np.maximum(batch.wdl, 1e-30)), 0).sum(1).mean()
    assert first["policy_kl"] > 0.3
    assert first["value_loss"] > entropy + 0.3
    assert last["policy_kl"] < 0.02
    assert last["value_loss"] < entropy + 0.02


def test_auxiliary_heads_learn_and_their_losses_are_weighed_in() -> None:
    game = envs.make("go5", komi=0.5)
    window = ReplayWindow(game, ExperienceConfig(min_rows=1), seed=0, short_term=True)
    window.add(random_records(game, 3, seed=1))
    batch = window.sample(16)
    weights = {"ownership": 1.5, "score": 0.5, "reply": 0.15, "soft_policy": 4.0, "short_term_value": 0.7}
    config = small_config(
        "go5", RESNET, learner={"learning_rate": 0.01, "schedule": "constant", "precision": "float32"}
    )
    net = config.net.model_copy(update={"auxiliary": AuxiliaryConfig(**weights)})
    ours = GameLearner(game, config.model_copy(update={"net": net}))
    first = ours.update(batch, 0.0)
    parts = sum(weight * first[f"{name}_loss"] for name, weight in weights.items())
    assert first["loss"] == pytest.approx(first["policy_loss"] + first["value_loss"] + parts, rel=1e-5)
    for _ in range(150):
        last = ours.update(batch, 0.0)
    assert first["ownership_loss"] == pytest.approx(math.log(2), abs=0.05)
    assert last["ownership_loss"] < 0.35
    assert last["score_loss"] < 0.3 * first["score_loss"]
    assert last["reply_loss"] < 0.6 * first["reply_loss"]
    assert batch.short_term_value is not None
    entropy = float(torch.special.entr(torch.from_numpy(batch.short_term_value)).sum(2).mean())
    assert first["short_term_value_loss"] == pytest.approx(math.log(3), abs=0.1)
    assert last["short_term_value_loss"] < 0.3 * math.log(3) + 0.7 * entropy
    weights_alone = build(config.net, game)
    missing, unexpected = weights_alone.load_state_dict(ours.net.state_dict(), strict=False)
    assert not missing
    assert all(name.startswith("auxiliary.") for name in unexpected)


@pytest.mark.parametrize(
    ("env", "encoder", "head", "message"),
    [
        ("connect_four", RESNET, "ownership", "net.auxiliary.ownership: connect_four has no territory; set it to 0"),
        ("go5", MLP, "score", "net.auxiliary.score needs an encoder over board points, not mlp"),
    ],
)
def test_an_auxiliary_head_that_cannot_be_is_refused(env: str, encoder: dict, head: str, message: str) -> None:
    config = small_config(env, encoder)
    net = config.net.model_copy(update={"auxiliary": AuxiliaryConfig(**{head: 1.0})})
    with pytest.raises(ValueError, match=message):
        build(net, envs.make(env))
