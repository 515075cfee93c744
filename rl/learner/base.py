"""One update of a network after another, and the averaged weights that actors use: what all algorithms share.

Reads: rows of training data, by name. Writes: Weights whose version is the number of updates behind them.

Several learners (``rl.nets.collective``) make each update together: each takes its share of the batch, and what
DistributedDataParallel averages is weighted by how many rows each had, so that the update is that of one learner with
all the rows. Batch norm and running statistics count all rows too, and the measures are means over all. Three things
differ from one learner: dropout and shifted pictures draw other numbers, dead_units is a mean over the learners, and
an auxiliary head whose target only some rows have (reply, short_term_value) weighs each learner's mean by all its rows.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from rl.config import Config, LearnerConfig
from rl.learner.diagnostics import MEASURED_EVERY, Diagnostics
from rl.learner.memory import keep_freed_memory
from rl.nets import collective
from rl.nets.freezing import freeze
from rl.nets.layers import share_batch_norms
from rl.nets.loading import Transfer, device_of, take_over
from rl.records import Tensors, Weights

log = logging.getLogger(__name__)

PRECISION_ROUNDS = 3  # timings of each precision at the first update
WORTHWHILE = 1.15  # bfloat16 rounds, so it must gain this factor to be chosen

Net = TypeVar("Net", bound=nn.Module)
Rows = dict[str, torch.Tensor]  # what a loss reads, by name, on the learner's device


class Learner(Generic[Net]):
    """A network, its optimiser and its averaged weights. Subclasses say what the ``loss`` is."""

    def __init__(self, make_net: Callable[[], Net], config: Config, device: str):
        """``make_net`` gives a network with new weights, from torch's global stream, on the CPU.

        Raises rl.config.ConfigError when learner.freeze does not fit the network.
        """
        keep_freed_memory()
        self.config, self.device = config.learner, device_of(device)
        # A generator of its own would not reach nn.Module initialisers; fork so that nobody else's stream moves.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            net = make_net()
            if collective.members() > 1:
                share_batch_norms(net)
            net = net.to(self.device)
        # Convolutions are faster with channels last on every device that was measured; others do not care.
        self.net: Net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.net.train()
        freeze(self.net, self.config.freeze)
        # None: to be measured at the first update. In sync mode nothing may depend on a measurement.
        self.precision = self._settled_precision(reproducible=config.run.mode == "sync")
        self.optimizer = make_optimizer(self.net, self.config)
        # Statistics are shared where they are made; DistributedDataParallel would copy those of the first learner.
        self._together = (
            DistributedDataParallel(_Loss(self), broadcast_buffers=False) if collective.members() > 1 else None
        )
        self.diagnostics = Diagnostics(self.net)
        # Kept, since walking through the modules costs as much as a small layer.
        self._parameters, self._buffers = list(self.net.parameters()), list(self.net.buffers())
        # Without averaging these are the network's own tensors.
        self.average = dict(self.net.state_dict())
        if self.config.ema:
            self.average = {name: tensor.detach().clone() for name, tensor in self.average.items()}
        self.step = 0
        self._seed = config.seed + 1
        self._begin_stream()

    def _begin_stream(self) -> None:
        """Dropout draws from torch's global stream, which is saved with the state; of the first learner, that is."""
        torch.manual_seed(self._seed + collective.rank() * (self.step + 1_000_003))

    def loss(self, net: Net, rows: Rows, precision: str) -> Rows:
        """``loss`` of the rows, to be differentiated, and its other measures: scalars."""
        raise NotImplementedError

    def forward_backward(self, net: Net, rows: Rows, precision: str) -> Rows:
        """Add the gradients of the loss of ``rows`` to ``net``; returns ``loss`` and the loss's other measures."""
        measures = self.loss(net, rows, precision)
        measures["loss"].backward()
        return measures

    def _gradients(self, rows: Rows, weight: torch.Tensor) -> Rows:
        """The gradients of this update, and the measures of the rows that are here.

        ``weight``: rows here, for one on average over the learners.
        """
        assert self.precision is not None, "it was measured before"
        if self._together is None:
            return self.forward_backward(self.net, rows, self.precision)
        measures: Rows = self._together(rows, self.precision)
        (measures["loss"] * weight).backward()
        return measures

    def step_on(self, rows: Rows, progress: float) -> dict[str, float]:
        """One optimiser step. ``progress`` in [0, 1] is the share of the run's budget that is used.

        Of several learners each is given its share of the rows, and all make the step together.
        Returns the loss's measures, gradient_norm and learning_rate; of one in MEASURED_EVERY updates also those of
        ``rl.learner.diagnostics``.
        Raises FloatingPointError when the loss is not finite: weights and running statistics stay as they were.
        """
        rate = learning_rate(self.config, self.step, progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self.precision is None:
            self.precision = self._measure_precision(rows)
        for parameter in self._parameters:
            parameter.grad = None
        before = [buffer.clone() for buffer in self._buffers]  # batch norm moves its statistics in the forward pass
        weight = self._weight(rows)
        if self.step % MEASURED_EVERY == 0:
            with self.diagnostics.watching() as found:
                measures = self._gradients(rows, weight)
            measures |= found | self.diagnostics.gradient_norms()
        else:
            measures = self._gradients(rows, weight)
        norm = clip_gradients(self._parameters, self.config.clip_norm)
        # One transfer for all numbers: each .item() on its own would wait for the device.
        own = torch.stack([*(m.detach().float() for m in measures.values()), norm.detach().float()])
        numbers = (collective.total(own * weight) / collective.members()).tolist()
        named = dict(zip([*measures, "gradient_norm"], numbers))
        if not (math.isfinite(named["loss"]) and math.isfinite(named["gradient_norm"])):
            for buffer, value in zip(self._buffers, before):
                buffer.copy_(value)
            told = ", ".join(f"{name} {value:.4g}" for name, value in named.items())
            wrong = " and ".join(name for name, value in named.items() if not math.isfinite(value) and name != "loss")
            raise FloatingPointError(
                f"{wrong or 'loss'} not finite at learner step {self.step}, learning rate {rate:.3g} ({told})"
            )
        self.optimizer.step()
        self._shrink(rate)
        self.step += 1
        self._average()
        return named | {"learning_rate": rate}

    def count(self, rows: Rows) -> torch.Tensor:
        """How many of the rows count."""
        return torch.tensor(len(next(iter(rows.values()))))

    def _weight(self, rows: Rows) -> torch.Tensor:
        """How many of the rows that count are here; 1 on average over the learners."""
        if collective.members() == 1:
            return torch.ones((), device=self.device)
        count = self.count(rows).to(self.device, torch.float32)
        return count * collective.members() / collective.total(count).clamp(min=1)

    @torch.no_grad()
    def _shrink(self, rate: float) -> None:
        """Soft-threshold matrices and kernels by rate · l1: see ``LearnerConfig.l1``."""
        if self.config.l1:
            for parameter in self._parameters:
                if parameter.requires_grad and parameter.ndim > 1:
                    parameter.copy_(nn.functional.softshrink(parameter, rate * self.config.l1))

    def begin_with(self, weights: Weights) -> Transfer:
        """Begin with what another agent's weights have in common with the network (``rl.nets.loading.take_over``).

        Raises ValueError, with nothing changed, when that is nothing.
        """
        taken = take_over(weights, self.net)
        for name, tensor in self.net.state_dict().items():
            self.average[name].copy_(tensor)
        return taken

    def weights(self) -> Weights:
        """The averaged weights (or the plain ones without averaging), as version ``step``."""
        return Weights(self.step, {name: tensor.cpu().numpy().copy() for name, tensor in self.average.items()})

    def _average(self) -> None:
        if not self.config.ema:
            return
        # The averaging horizon grows with the run: an average over 1/(1-ema) steps would begin as mostly noise.
        decay = min(self.config.ema, self.step / (self.step + 10.0))
        with torch.no_grad():
            current = self.net.state_dict()
            floating = [name for name, tensor in current.items() if tensor.is_floating_point()]
            torch._foreach_lerp_([self.average[n] for n in floating], [current[n] for n in floating], 1.0 - decay)
            for name in current.keys() - set(floating):
                self.average[name].copy_(current[name])

    def to_device(self, array: np.ndarray) -> torch.Tensor:
        """The array on the learner's device; planes in the layout of the network."""
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":
            tensor = tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor

    def _settled_precision(self, reproducible: bool) -> str | None:
        if self.config.precision != "auto":
            return self.config.precision
        if reproducible:
            return "float32"
        return "bfloat16" if self.device.type == "cuda" else None

    def _measure_precision(self, rows: Rows) -> str:
        """The faster precision on this machine, timed in turn on a copy of the network.

        bfloat16 is several times slower on a CPU without AVX512-BF16 or AMX and up to twice as fast with them.
        """
        net = copy.deepcopy(self.net)
        precisions = ("float32", "bfloat16")
        best = dict.fromkeys(precisions, math.inf)
        with torch.random.fork_rng(devices=[]):  # dropout in the trial must not move the run's stream
            for _ in range(PRECISION_ROUNDS):
                for precision in precisions:
                    start = time.perf_counter()
                    self.forward_backward(net, rows, precision)
                    best[precision] = min(best[precision], time.perf_counter() - start)
        # Of several learners all compute alike, and so none in bfloat16 where one of them would lose by it.
        pays = collective.least(int(best["bfloat16"] * WORTHWHILE < best["float32"]))
        chosen = "bfloat16" if pays else "float32"
        log.info("learner precision %s; seconds a batch: %s", chosen, {k: round(v, 4) for k, v in best.items()})
        return chosen

    def state_dict(self) -> tuple[Tensors, dict]:
        """Network, averaged weights, optimiser state and torch's random stream; and the step (JSON-able)."""
        tensors = {f"net.{k}": v.cpu().numpy() for k, v in self.net.state_dict().items()}
        tensors |= {f"average.{k}": v.cpu().numpy() for k, v in self.average.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            for name, value in state.items():
                if value is not None:
                    tensors[f"optimizer.{index}.{name}"] = torch.as_tensor(value).cpu().numpy()
        tensors["torch_rng"] = torch.get_rng_state().numpy()
        if self.device.type == "cuda":  # where dropout then draws
            tensors["cuda_rng"] = torch.cuda.get_rng_state(self.device).numpy()
        return {k: np.array(v) for k, v in tensors.items()}, {"step": self.step}

    def load_state_dict(self, tensors: Tensors, state: dict) -> None:
        """Restore what ``state_dict`` gave. The precision is not part of it: it belongs to the machine."""
        self.step = state["step"]
        self.net.load_state_dict(_below(tensors, "net."))
        if self.config.ema:
            for name, value in _below(tensors, "average.").items():
                self.average[name].copy_(value)
        self._load_optimizer(_below(tensors, "optimizer."))
        if collective.rank() > 0:  # only the first one's stream is saved
            self._begin_stream()
            return
        torch.set_rng_state(torch.from_numpy(tensors["torch_rng"].copy()))
        if self.device.type == "cuda" and "cuda_rng" in tensors:
            torch.cuda.set_rng_state(torch.from_numpy(tensors["cuda_rng"].copy()), self.device)

    def _load_optimizer(self, tensors: dict[str, torch.Tensor]) -> None:
        saved: dict[int, dict[str, torch.Tensor]] = {}
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        for key, value in tensors.items():
            index, _, name = key.partition(".")
            parameter = parameters[int(index)]
            if value.shape == parameter.shape:
                # In memory as the parameter is: fused optimisers pair them up by address, whatever their strides,
                # and files hold every array row-major, whereas kernels lie channels last.
                placed = torch.empty_like(parameter, requires_grad=False).copy_(value)
            else:
                placed = value  # a counter
            saved.setdefault(int(index), {})[name] = placed
        moments = MOMENTS[self.config.optimizer]
        if not all(moments in state for state in saved.values()):
            log.info("the checkpoint is of another optimizer than %s, which begins anew", self.config.optimizer)
            saved = {}
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": saved})


class _Loss(nn.Module):
    """A learner's loss as the module that DistributedDataParallel wants."""

    def __init__(self, learner: Learner[Net]):
        super().__init__()
        self.net, self.loss = learner.net, learner.loss

    def forward(self, rows: Rows, precision: str) -> Rows:
        return self.loss(self.net, rows, precision)


def _below(tensors: Tensors, prefix: str) -> dict[str, torch.Tensor]:
    found = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    return {k: torch.from_numpy(np.array(v)) for k, v in found.items()}


def make_optimizer(net: nn.Module, config: LearnerConfig) -> torch.optim.Optimizer:
    """The optimiser that ``config`` names; weight decay on matrices and kernels, not on biases and gains.

    Frozen parameters are among its own: without a gradient it passes them by, and the numbers by which a checkpoint
    knows all others stay the same, whatever is frozen.

    Adam's epsilon is 1e-5 as in the published PPO runs, AdamW's torch's own.
    """
    decayed = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    if not config.weight_decay:  # each group costs an update as much as a small network's arithmetic
        groups = [{"params": [*decayed, *plain], "weight_decay": 0.0}]
    match config.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
        case "adam":
            return torch.optim.Adam(groups, lr=config.learning_rate, eps=1e-5, fused=True)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=config.learning_rate, alpha=0.99, momentum=config.momentum)
        case "sgd":
            return torch.optim.SGD(
                groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0
            )


@torch.no_grad()
def clip_gradients(parameters: Sequence[nn.Parameter], most: float) -> torch.Tensor:
    """Scale all gradients alike so that their norm is at most ``most``; the norm before (Pascanu et al. 2013).

    As torch.nn.utils.clip_grad_norm_, whose bookkeeping takes longer than a small network's gradients.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    torch._foreach_mul_(gradients, (most / (norm + 1e-6)).clamp(max=1.0))
    return norm


def mean_measures(measures: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each measure over the updates that have it."""
    names = dict.fromkeys(name for measured in measures for name in measured)
    return {name: float(np.mean([m[name] for m in measures if name in m])) for name in names}


# What each optimiser keeps of a parameter, by which a checkpoint is told from one of another optimiser.
MOMENTS = {"adamw": "exp_avg", "adam": "exp_avg", "rmsprop": "square_avg", "sgd": "momentum_buffer"}


def learning_rate(config: LearnerConfig, step: int, progress: float) -> float:
    """Linear warm-up by steps, then the schedule over the run's budget, down to ``final_learning_rate``."""
    warmup = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.schedule == "constant":
        return config.learning_rate * warmup
    used = min(max(progress, 0.0), 1.0)
    left = 0.5 * (1 + math.cos(math.pi * used)) if config.schedule == "cosine" else 1 - used
    return warmup * (config.final_learning_rate + (config.learning_rate - config.final_learning_rate) * left)
