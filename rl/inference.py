"""The evaluator handed to search, actors and players: batches of planes in, logits and values out.

The same network runs at very different speeds in different number formats and memory layouts, and which one wins
depends on the machine. So at its first load the evaluator times its candidates on this machine, with these weights,
at its own batch size; drops those whose probabilities stray from float32 by more than the tolerance; keeps the
fastest of the others; and logs the choice. A format's name pins it, for reproducible runs.

The tolerance is for the mean over positions. The largest gap of all is that of one position in which the network
wavers, and would throw out bfloat16 for nearly every network that is trained well.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from envs.game import ONGOING, STATUS, Game
from rl.config import ConfigError, InferenceConfig, NetConfig
from rl.nets import build
from rl.nets.formats import EXACT, Format, Runner, formats
from rl.nets.loading import copy_weights, device_of
from rl.records import Evaluation, Weights

log = logging.getLogger(__name__)

CHECK_ROWS = 256  # positions on which a format is held against float32
SCOUT_ROWS = 16  # rows of the first, cheap timing
SCOUT_LIMIT = 3.0  # slower than the best by this factor there: not timed at the full batch
ROUND_LIMIT = 1.3  # slower than the best by this factor after a round at the full batch: out
ROUNDS = 10  # at most, of interleaved timings
TIMING_SECONDS = 0.15  # a candidate, on average
GOOD_ENOUGH = 0.95  # of the best throughput: smaller batches are answered sooner
FIRST_CHECK = 100  # learner steps after which the chosen format is checked again, then whenever they have doubled


class Evaluator:
    """Evaluates positions of one game with one network, whose weights are replaced by ``load``.

    Attributes:
        version: of the loaded weights; -1 before the first ``load``.
        format: name of the format in use; "auto" before the first ``load`` unless pinned.
        timings: positions/s by format name, as measured for the choice; empty when pinned.
        seconds, evaluations: accumulated over calls.

    ``device`` is auto, cpu or cuda; ``threads`` sets torch's (the process's) if given; ``format`` overrides the
    config's; ``score_utility`` is explained at ``nets.formats.Answer``. Raises ValueError for a format or a device that
    does not exist here, and for a score utility without a score head.
    """

    def __init__(
        self,
        net_config: NetConfig,
        game: Game,
        config: InferenceConfig,
        batch_size: int,
        device: str = "auto",
        *,
        threads: int | None = None,
        format: str | None = None,
        score_utility: float = 0.0,
    ):
        if threads is not None:
            torch.set_num_threads(threads)
        self.game = game
        self.config = config
        self.batch_size = batch_size
        self.device = device_of(device)
        with torch.random.fork_rng(devices=[]):  # the initial weights are never used: leave the caller's draws alone
            self._net = build(net_config, game).requires_grad_(False).eval()
        if score_utility and "score" not in self._net.auxiliary:
            raise ValueError("a score utility needs a network with a score head: net.auxiliary.score above 0")
        self._score_utility = score_utility
        self._state = self._net.state_dict()
        self._formats = {f.name: f for f in formats(self._net, self.device)}
        self.format = format or config.format
        if self.format != "auto" and self.format not in self._formats:
            raise ConfigError(
                f"unknown inference format {self.format!r} (inference.format): this network and machine offer auto, "
                f"{', '.join(self._formats)}"
            )
        self._pinned = self.format != "auto"
        self._runner: Runner | None = None
        self._eager: Runner | None = None  # twin of a compiled one, for batches that are mostly empty
        self._ranking: list[str] = []  # format names, fastest first
        self._check_at = 0  # version at which the format is held against float32 again
        self._staging = _Staging(batch_size, game) if self.device.type == "cuda" else None
        self.version = -1
        self.timings: dict[str, float] = {}
        self.seconds = 0.0
        self.evaluations = 0

    def load(self, weights: Weights) -> None:
        """Use these weights from now on. They are copied.

        Raises ValueError, naming the first tensor at fault, when they are another network's or not finite; the
        weights in use then stay.
        """
        copy_weights(weights, self._state)
        self.version = weights.version
        if self._runner is None:
            self._start()
        else:
            self._runner.update(self._net)
            if self._eager is not None:
                self._eager.update(self._net)
            if self.version >= self._check_at:
                self._check()

    def __call__(self, planes: np.ndarray) -> Evaluation:
        """Evaluate planes [n, C, H, W] float32, any n. The arrays returned are the caller's to keep.

        Raises RuntimeError before the first ``load``, ValueError for planes of another shape.
        """
        start = time.perf_counter()
        if planes.shape[1:] != self.game.plane_shape:
            raise ValueError(f"planes must be [n, {', '.join(map(str, self.game.plane_shape))}], not {planes.shape}")
        n = len(planes)
        if 0 < n <= self.batch_size:
            answer = Evaluation(*self._evaluate(planes))
        else:
            parts = [self._evaluate(planes[i : i + self.batch_size]) for i in range(0, n, self.batch_size)]
            answer = Evaluation(*(np.concatenate(arrays) for arrays in zip(self._nothing(), *parts, strict=True)))
        self.seconds += time.perf_counter() - start
        self.evaluations += n
        return answer

    def bare_throughput(self, seconds: float = 1.0) -> float:
        """Positions/s of the network alone, in the same format and batch size, without conversion or copies."""
        runner = self._loaded()
        planes, _ = random_positions(self.game, self.batch_size)
        with torch.inference_mode():
            x = runner.convert(torch.from_numpy(planes))
            runner.bare(x)
            calls, start = 0, time.perf_counter()
            while (spent := time.perf_counter() - start) < seconds:
                runner.bare(x)
                calls += 1
                if self.device.type == "cuda":
                    torch.cuda.synchronize(self.device)
        return calls * self.batch_size / spent

    def gap(self) -> float:
        """Largest difference to float32 in any policy or wdl probability, on average over random positions, now."""
        planes, legal = random_positions(self.game, CHECK_ROWS)
        return _gap(self._loaded(), self._new_runner(EXACT), planes, legal, self.batch_size)

    def _loaded(self) -> Runner:
        if self._runner is None:
            raise RuntimeError("the evaluator has no weights yet: call load first")
        return self._runner

    def _runner_for(self, rows: int) -> Runner:
        """A compiled format computes whole batches; few rows, as when most games of a match have ended, go without."""
        runner = self._loaded()
        if not runner.format.compiled or rows > self.batch_size // 2:
            return runner
        if self._eager is None:
            self._eager = self._new_runner(replace(runner.format, compiled=False))
        return self._eager

    @torch.inference_mode()
    def _evaluate(self, planes: np.ndarray) -> tuple[np.ndarray, ...]:
        """1 to ``batch_size`` rows: the fields of an Evaluation that there are."""
        runner = self._runner_for(len(planes))
        if self._staging is not None:
            return self._staging.evaluate(planes, runner, self.batch_size)
        planes = np.ascontiguousarray(planes, np.float32)
        if not planes.flags.writeable:  # from_numpy warns of it
            planes = planes.copy()
        return tuple(t.numpy() for t in _forward(runner, torch.from_numpy(planes), self.batch_size))

    def _nothing(self) -> list[np.ndarray]:
        """The answer about no positions, in as many fields as one about some has."""
        shapes: list[tuple[int, ...]] = [(0, self.game.num_actions), (0, 3)]
        shapes += [(0,), (0,)] if self._score_utility else []
        return [np.zeros(shape, np.float32) for shape in shapes]

    def _start(self) -> None:
        """Choose the format, with the weights just loaded, or build the pinned one."""
        if self._pinned:
            self._use(self.format)
            self._check()
            return
        planes, legal = random_positions(self.game, self.batch_size)
        eager = [f for f in self._formats.values() if not f.compiled]
        runners = {f.name: self._new_runner(f) for f in eager}
        timings, gaps = self._measure(runners, planes, legal)
        if self.config.compile:
            self._try_compiled(timings, gaps, runners, planes, legal)
        self.timings, self._check_at = timings, max(FIRST_CHECK, 2 * self.version)
        self._ranking = sorted(timings, key=timings.__getitem__, reverse=True)
        self._runner = runners[self._ranking[0]]
        self.format = self._ranking[0]
        speeds = ", ".join(f"{name} {timings[name]:,.0f}" for name in self._ranking)
        out = ", ".join(f"{name} ({gap:.3g})" for name, gap in gaps.items() if not gap <= self.config.tolerance)
        log.info(
            "inference format %s, the fastest of (positions/s at batch %d on %s): %s%s",
            *(self.format, self.batch_size, self.device.type, speeds),
            f"; beyond the tolerance of {self.config.tolerance:g}: {out}" if out else "",
        )

    def _try_compiled(
        self,
        timings: dict[str, float],
        gaps: dict[str, float],
        runners: dict[str, Runner],
        planes: np.ndarray,
        legal: np.ndarray,
    ) -> None:
        """Add the fastest format's compiled twin to the three dicts; warn where this machine cannot compile it."""
        eager = max(timings, key=timings.__getitem__)
        fmt = replace(self._formats[eager], compiled=True)
        if fmt.name not in self._formats:
            log.warning("inference.compile is on, but there is no compiler here: not tried")
            return
        try:
            runner = self._new_runner(fmt)
            pair, pair_gaps = self._measure({eager: runners[eager], fmt.name: runner}, planes, legal)
        except RuntimeError as error:  # what torch raises for a compiler that is broken or lacks its headers
            log.warning("torch.compile failed, %s is not used: %s", fmt.name, str(error).splitlines()[0])
            return
        gaps.update(pair_gaps)
        if fmt.name in pair:
            runners[fmt.name] = runner
            # Only the ratio counts: since the first timings the machine may have become busier. An eager twin that
            # the first look threw out is slower by the limit at least.
            timings[fmt.name] = timings[eager] * pair[fmt.name] / pair.get(eager, pair[fmt.name] / SCOUT_LIMIT)

    def _measure(
        self, runners: dict[str, Runner], planes: np.ndarray, legal: np.ndarray
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Positions/s of the formats within the tolerance, and the gaps to float32 of all that were fast enough."""
        rows = torch.from_numpy(planes).to(self.device)
        with torch.inference_mode():
            # A format can be ten times slower than the best (bfloat16 on a CPU without it): find out cheaply.
            few = rows if any(r.format.compiled for r in runners.values()) else rows[:SCOUT_ROWS]
            for runner in runners.values():
                _timed(runner, few)  # the first call compiles, plans and allocates
            scout = {name: min(_timed(runner, few), _timed(runner, few)) for name, runner in runners.items()}
            alive = [name for name, seconds in scout.items() if seconds <= SCOUT_LIMIT * min(scout.values())]
            exact = self._new_runner(EXACT)
            check = (planes[:CHECK_ROWS], legal[:CHECK_ROWS], self.batch_size)
            gaps = {name: _gap(runners[name], exact, *check) for name in alive}
            alive = [name for name in alive if gaps[name] <= self.config.tolerance]
            if not alive and EXACT.name in runners:  # only formats that stray were fast
                alive = [EXACT.name]
            for name in alive:
                _timed(runners[name], rows)
            best: dict[str, float] = {}
            deadline = time.perf_counter() + TIMING_SECONDS * len(runners)
            for _ in range(ROUNDS):  # interleaved, so that a disturbance of the machine meets all alike
                for name in alive:
                    best[name] = min(best.get(name, float("inf")), _timed(runners[name], rows))
                alive = [name for name in alive if best[name] <= ROUND_LIMIT * min(best.values())]
                if len(alive) < 2 or time.perf_counter() > deadline:
                    break
        return {name: len(planes) / seconds for name, seconds in best.items()}, gaps

    def _check(self) -> None:
        """Hold the format against float32 with the weights of now: trained ones stray further than the first did.

        A pinned format stays; another gives way to the next slower one that is within the tolerance.
        """
        self._check_at = max(FIRST_CHECK, 2 * self.version)
        while not (gap := self.gap()) <= self.config.tolerance:
            strayed = f"inference format {self.format} strays {gap:.3g} from float32 at version {self.version}"
            if self._pinned or self.format == EXACT.name:
                log.warning("%s", strayed)
                return
            slower = self._ranking[self._ranking.index(self.format) + 1 :] if self.format in self._ranking else []
            self._use(slower[0] if slower else EXACT.name)
            log.warning("%s: %s from now on", strayed, self.format)

    def _new_runner(self, fmt: Format) -> Runner:
        return Runner(fmt, self._net, self.device, self._score_utility)

    def _use(self, name: str) -> None:
        self.format = name
        self._runner, self._eager = self._new_runner(self._formats[name]), None


class _Staging:
    """Pinned host buffers, through which copies to and from a CUDA device overlap and need no allocation."""

    def __init__(self, batch_size: int, game: Game):
        self._lock = threading.Lock()  # the buffers serve one thread at a time
        self.planes = torch.empty((batch_size, *game.plane_shape), pin_memory=True)
        self.answers: list[torch.Tensor] = []

    def evaluate(self, planes: np.ndarray, runner: Runner, batch_size: int) -> tuple[np.ndarray, ...]:
        with self._lock:
            return self._evaluate(planes, runner, batch_size)

    def _evaluate(self, planes: np.ndarray, runner: Runner, batch_size: int) -> tuple[np.ndarray, ...]:
        n = len(planes)
        np.copyto(self.planes.numpy()[:n], planes)
        answers = _forward(runner, self.planes[:n].to(runner.device, non_blocking=True), batch_size)
        if not self.answers:
            self.answers = [torch.empty((batch_size, *a.shape[1:]), pin_memory=True) for a in answers]
        for mine, answer in zip(self.answers, answers, strict=True):
            mine[:n].copy_(answer, non_blocking=True)
        torch.cuda.current_stream(runner.device).synchronize()
        return tuple(mine[:n].numpy().copy() for mine in self.answers)


def smallest_good(sizes: Sequence[int], speed: Callable[[int], float]) -> tuple[int, dict[int, float]]:
    """The smallest of the rising ``sizes`` whose speed is nearly the best one's, and the speeds that were measured."""
    speeds: dict[int, float] = {}
    for size in sizes:
        speeds[size] = speed(size)
        # Past the peak by two sizes, larger ones will not win, and each costs more to try.
        if size >= 4 * max(speeds, key=speeds.__getitem__):
            break
    return min(size for size, found in speeds.items() if found >= GOOD_ENOUGH * max(speeds.values())), speeds


def random_positions(game: Game, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Planes [n, C, H, W] float32 and legal masks [n, A] bool of unfinished positions from random legal play."""
    rng = np.random.default_rng(seed)
    states: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    state = game.initial_state()
    while len(states) < n:
        if state[STATUS] != ONGOING:
            state = game.initial_state()
        mask = game.legal_mask(state)
        states.append(state.copy())
        masks.append(mask)
        game.play(state, rng.choice(np.flatnonzero(mask)))
    return game.encode(np.stack(states)), np.stack(masks)


def _forward(runner: Runner, planes: torch.Tensor, batch_size: int) -> tuple[torch.Tensor, ...]:
    """The fields of an Evaluation that this runner answers, float32, of float32 planes."""
    n = len(planes)
    if runner.format.compiled and n != batch_size:  # compiled for one shape only
        padded = planes.new_zeros((batch_size, *planes.shape[1:]))
        padded[:n] = planes
        return tuple(answer[:n] for answer in runner.answer(padded))
    return runner.answer(planes)


def _gap(runner: Runner, exact: Runner, planes: np.ndarray, legal: np.ndarray, batch_size: int) -> float:
    """Largest difference in any legal action's or outcome's probability, on average over the positions; NaN stays."""
    mask = torch.from_numpy(legal)
    total = 0.0
    with torch.inference_mode():
        for i in range(0, len(planes), batch_size):
            rows = torch.from_numpy(planes[i : i + batch_size])
            answers = []
            for r in (runner, exact):
                logits, wdl = (t.cpu() for t in _forward(r, rows.to(r.device), batch_size)[:2])
                policy = logits.masked_fill(~mask[i : i + batch_size], -torch.inf).softmax(1)
                answers.append(torch.cat((policy, wdl), 1))
            total += float((answers[0] - answers[1]).abs().amax(1).sum())
    return total / len(planes)


def _timed(runner: Runner, rows: torch.Tensor) -> float:
    """Seconds to evaluate a batch of float32 planes that is on the device already."""
    start = time.perf_counter()
    _forward(runner, rows, len(rows))
    if runner.device.type == "cuda":
        torch.cuda.synchronize(runner.device)
    return time.perf_counter() - start
