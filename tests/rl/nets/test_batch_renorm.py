"""Batch norm where the policy that acts must be the one that learns: batch renormalisation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rl.actors.rollout import RolloutWorker
from rl.config import GymConfig
from rl.nets import actor_critic
from rl.nets.layers import D_MAX, R_MAX, SHARE, BatchRenorm1d, BatchRenorm2d, renormalise
from rl.trainers.rollouts import RolloutTrainer


def plain(norm: Any, x: torch.Tensor) -> torch.Tensor:
    """Algorithm 1 of Ioffe 2017, line by line, channel by channel."""
    channels = []
    for c in range(x.shape[1]):
        mu, sigma = norm.running_mean[c], (norm.running_var[c] + norm.eps).sqrt()
        mu_b = x[:, c].mean()
        sigma_b = ((x[:, c] - mu_b).square().mean() + norm.eps).sqrt()
        r = (sigma_b / sigma).clamp(1 / R_MAX, R_MAX).detach()
        d = ((mu_b - mu) / sigma).clamp(-D_MAX, D_MAX).detach()
        channels.append(norm.weight[c] * ((x[:, c] - mu_b) / sigma_b * r + d) + norm.bias[c])
    return torch.stack(channels, 1)


@pytest.mark.parametrize("spread", [1.0, 40.0], ids=["within the bounds", "beyond them"])
@pytest.mark.parametrize(("kind", "shape"), [(BatchRenorm1d, (12, 5)), (BatchRenorm2d, (6, 5, 3, 2))])
def test_it_is_the_algorithm(kind: Any, shape: tuple[int, ...], spread: float) -> None:
    torch.manual_seed(0)
    norm = kind(5)
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)
    norm.num_batches_tracked.fill_(999)
    x = (spread * torch.randn(shape) + 3 * spread).requires_grad_()
    target = torch.randn(shape)
    mean, variance = norm.running_mean.clone(), norm.running_var.clone()
    slow = plain(norm, x)
    wanted = torch.autograd.grad((slow * target).sum(), (x, norm.weight, norm.bias))
    fast = norm(x)
    found = torch.autograd.grad((fast * target).sum(), (x, norm.weight, norm.bias))
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-4)
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)
    others = [i for i in range(x.ndim) if i != 1]
    torch.testing.assert_close(norm.running_mean, (1 - SHARE) * mean + SHARE * x.detach().mean(others))
    torch.testing.assert_close(
        norm.running_var, (1 - SHARE) * variance + SHARE * x.detach().var(others, correction=0), rtol=1e-4, atol=1e-4
    )
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    close = torch.allclose(norm.eval()(x), fast, rtol=1e-3, atol=1e-3)
    assert close == (spread == 1.0), "the same in evaluation mode, as long as the bounds are not reached"


def test_the_first_batches_count_alike() -> None:
    norm = BatchRenorm1d(2)
    chunks = torch.randn(4, 50, 2, generator=torch.Generator().manual_seed(0)) + 5
    for chunk in chunks:
        norm(chunk)
    torch.testing.assert_close(norm.running_mean, chunks.mean((0, 1)))


def test_every_batch_norm_is_replaced_and_keeps_what_it_had() -> None:
    net = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Flatten(), nn.ModuleDict({"a": nn.BatchNorm1d(3)}))
    nn.init.zeros_(net[1].weight)  # type: ignore[arg-type]
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    renormalise(net)
    assert [type(net[1]), type(net[3]["a"])] == [BatchRenorm2d, BatchRenorm1d]  # type: ignore[index]
    assert before.keys() == net.state_dict().keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def first_and_later(algorithm: str) -> tuple[list[float], list[float]]:
    """Divergence of the policy in training from that which acted: in the first minibatch of each batch, and later."""
    config = GymConfig.model_validate(
        {
            "env": "CartPole-v1",
            "algorithm": {"kind": algorithm} | ({"epochs": 2} if algorithm == "ppo" else {}),
            "net": {"encoder": {"kind": "mlp", "width": 16, "residual": False, "normalisation": "batch"}},
            "rollout": {"environments": 8, "steps": 32, "vectorization": "vector_entry_point"},
            "learner": {"batch_size": 64, "schedule": "constant"},
            "run": {"learner_steps": 1000, "mode": "sync"},
        }
    )
    trainer = RolloutTrainer(config, "cpu")
    with torch.no_grad():
        trainer.learner.net.policy.weight.mul_(100)  # else the policy would be even, whatever lies below
    worker = RolloutWorker(config, 1, 8, "cpu")
    measured: list[dict[str, float]] = []
    step_on = trainer.learner.step_on

    def recorded(rows: Any, progress: float) -> dict[str, float]:
        measured.append(step_on(rows, progress))
        return measured[-1]

    trainer.learner.step_on = recorded  # type: ignore[method-assign]
    first, later = [], []
    for _ in range(6):
        worker.use(trainer.weights(0.0))
        trainer.add(worker.play().take())
        measured.clear()
        trainer.train(10**6, 0.0)
        first.append(abs(measured[0]["rho_mean"] - 1) + abs(measured[0]["policy_kl"]))
        later += [abs(m["rho_mean"] - 1) + abs(m["policy_kl"]) for m in measured[1:]]
    worker.close()
    return first[2:], later  # the first statistics are far from those of any batch


@pytest.mark.parametrize("algorithm", ["ppo", "impala"])
def test_before_anything_is_learned_the_policy_is_the_one_that_acted(
    algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, later = first_and_later(algorithm)
    assert max(first) < 1e-5, first
    if algorithm == "ppo":
        assert max(later) > 1e-3, "a policy that never moves would pass"
    monkeypatch.setattr(actor_critic, "renormalise", lambda net: None)
    assert max(first_and_later(algorithm)[0]) > 1e-3, "batch norm itself is another policy in training"


def test_actors_get_the_statistics_and_act_by_them() -> None:
    config = GymConfig.model_validate(
        {
            "env": "CartPole-v1",
            "algorithm": {"kind": "ppo"},
            "net": {"encoder": {"kind": "mlp", "width": 8, "normalisation": "batch"}},
            "rollout": {"environments": 4, "steps": 16, "vectorization": "vector_entry_point"},
            "learner": {"batch_size": 32},
            "run": {"learner_steps": 100, "mode": "sync"},
        }
    )
    trainer, worker = RolloutTrainer(config, "cpu"), RolloutWorker(config, 1, 4, "cpu")
    worker.use(trainer.weights(0.0))
    trainer.add(worker.play().take())
    trainer.train(10**6, 0.0)
    weights = trainer.weights(0.0)
    names = [name for name in weights.tensors if name.endswith("running_mean")]
    assert names and all(weights.tensors[name].any() for name in names)
    worker.use(weights)
    before = {name: tensor.clone() for name, tensor in worker.net.state_dict().items()}
    for name in names:
        np.testing.assert_array_equal(before[name].numpy(), trainer.learner.net.state_dict()[name].numpy())
    seen = {"observation": np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)}
    together = worker.net.act(seen, {}, np.ones(4, bool))[0]
    alone = worker.net.act({"observation": seen["observation"][:1]}, {}, np.ones(1, bool))[0]
    np.testing.assert_allclose(alone[0], together[0], rtol=1e-4, atol=1e-6)
    worker.play()
    assert all(torch.equal(tensor, before[name]) for name, tensor in worker.net.state_dict().items()), (
        "acting only reads"
    )
    worker.net.state_dict()[names[0]].add_(1.0)
    assert not np.allclose(worker.net.act(seen, {}, np.ones(4, bool))[0], together, rtol=1e-4)
    worker.close()
