"""Random shifts of pictures against padding and cropping one picture after another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from envs.gym import ActionSpec, Part, WorldSpec
from rl.config import ConfigError, GymConfig
from rl.learner import RolloutLearner
from rl.learner import rollouts as module
from rl.learner.augmentation import PAD, random_shift
from rl.learner.base import Rows
from rl.runtime.kinds import check

HEIGHT, WIDTH = 9, 12
PARTS = {
    "channels first": Part(name="observation", kind="image", shape=(3, HEIGHT, WIDTH), dtype="uint8"),
    "channels last": Part(
        name="observation", kind="image", shape=(HEIGHT, WIDTH, 3), dtype="uint8", channels_last=True
    ),
    "grey": Part(name="observation", kind="image", shape=(HEIGHT, WIDTH), dtype="float32"),
}


def pictures(part: Part, steps: int, lanes: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (steps, lanes, *part.shape)).astype(part.dtype))


def plain(part: Part, picture: torch.Tensor) -> np.ndarray:
    """One picture as [H, W, C]."""
    array = picture.numpy()
    if len(part.shape) == 2:
        return array[:, :, None]
    return array if part.channels_last else array.transpose(1, 2, 0)


def crop(picture: np.ndarray, down: int, right: int) -> np.ndarray:
    """Pad by PAD, repeating the edge, and crop where an offset of 0 is the corner of the padding."""
    padded = np.pad(picture, ((PAD, PAD), (PAD, PAD), (0, 0)), mode="edge")
    return padded[down : down + HEIGHT, right : right + WIDTH]


@pytest.mark.parametrize("name", PARTS)
def test_each_lane_is_one_crop_of_its_padded_pictures(name: str) -> None:
    part, steps, lanes = PARTS[name], 4, 60
    before = pictures(part, steps, lanes)
    kept = before.clone()
    after = random_shift(part, before)
    assert torch.equal(before, kept)
    assert after.shape == before.shape
    assert after.dtype == before.dtype
    seen = set()
    for b in range(lanes):
        offsets = [
            (down, right)
            for down in range(2 * PAD + 1)
            for right in range(2 * PAD + 1)
            if all(
                np.array_equal(plain(part, after[t, b]), crop(plain(part, before[t, b]), down, right))
                for t in range(steps)
            )
        ]
        assert len(offsets) == 1, "the same shift for all steps of the lane"
        seen.add(offsets[0])
    assert len(seen) > 30, "lanes are shifted apart from each other"
    assert {axis for pair in seen for axis in pair} == set(range(2 * PAD + 1))


ACTIONS = ActionSpec(kind="categorical", sizes=(3,), shape=(), dtype="int64", start=(0,))
VECTOR = Part(name="speed", kind="vector", shape=(2,), dtype="float32")
SPEC = WorldSpec("pictures", (PARTS["channels first"], VECTOR), ACTIONS, None)
CONV = {"kind": "conv", "layers": [[4, 3, 2]], "width": 8}
MLP = {"kind": "mlp", "width": 8, "depth": 1}


def config(algorithm: str = "ppo", core: Any = None, env: str = "CartPole-v1", **learner: Any) -> GymConfig:
    net = {"encoder": CONV, "parts": {"speed": MLP}, "core": core} if env != "CartPole-v1" else {"encoder": MLP}
    return GymConfig.model_validate(
        {"env": env, "algorithm": {"kind": algorithm}, "net": net, "learner": learner, "run": {"learner_steps": 9}}
    )


def rows(learner: RolloutLearner, steps: int, lanes: int, impala: bool) -> Rows:
    rng = np.random.default_rng(1)
    seen, shape = steps + int(impala), (steps, lanes)
    found: dict[str, Any] = {
        "observation/observation": pictures(PARTS["channels first"], seen, lanes).numpy(),
        "observation/speed": rng.normal(size=(seen, lanes, 2)).astype(np.float32),
        "first": rng.random((seen, lanes)) < 0.2,
        "actions": rng.integers(0, 3, shape),
        "valid": np.ones(shape, bool),
        "terminated": rng.random(shape) < 0.1,
        "truncated": np.zeros(shape, bool),
    }
    for name in ("log_probs", "advantages", "returns", "rewards", "final_values", "values"):
        found[name] = rng.normal(size=shape).astype(np.float32)
    found["final_values"][...] = np.nan
    state = {f"state/{name}": t for name, t in learner.net.initial_state(lanes).items()}
    return {name: torch.from_numpy(value) for name, value in found.items()} | state


@pytest.mark.parametrize("core", [None, {"kind": "gru", "width": 8}], ids=["no memory", "memory"])
@pytest.mark.parametrize("algorithm", ["ppo", "impala"])
def test_the_loss_is_that_of_the_shifted_pictures(algorithm: str, core: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the step behind the last too, whose value V-trace bootstraps from; vectors are left alone."""
    drawn: list[torch.Tensor] = []

    def recorded(part: Part, seen: torch.Tensor) -> torch.Tensor:
        assert part.name == "observation"
        drawn.append(random_shift(part, seen))
        return drawn[-1]

    monkeypatch.setattr(module, "random_shift", recorded)
    ours = RolloutLearner(SPEC, config(algorithm, core, "pictures", augmentation="random_shift"), "cpu")
    without = RolloutLearner(SPEC, config(algorithm, core, "pictures"), "cpu")
    batch = rows(ours, 5, 6, algorithm == "impala")
    measured = ours.step_on(batch, 0.0)
    [shifted] = drawn
    assert shifted.shape == batch["observation/observation"].shape
    assert not torch.equal(shifted, batch["observation/observation"])
    assert without.step_on(batch | {"observation/observation": shifted}, 0.0) == pytest.approx(measured, rel=1e-4)
    for name, tensor in without.net.state_dict().items():
        torch.testing.assert_close(tensor, ours.net.state_dict()[name], rtol=1e-3, atol=1e-5)


def test_shifts_go_on_where_a_checkpoint_left_them() -> None:
    settings = config(env="pictures", augmentation="random_shift")
    whole = RolloutLearner(SPEC, settings, "cpu")
    batch = rows(whole, 5, 6, impala=False)
    whole.step_on(batch, 0.0)
    saved = whole.state_dict()
    measured = whole.step_on(batch, 0.0)
    again = RolloutLearner(SPEC, settings, "cpu")
    again.load_state_dict(*saved)
    assert again.step_on(batch, 0.0) == measured


def test_without_a_picture_it_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"learner.augmentation: CartPole-v1 shows no picture .* \(vector\); set it"):
        check(config(augmentation="random_shift"), new=True)
