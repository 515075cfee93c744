"""The learners of a run: one process, or several that train as one and each hold a shard of the experience.

What actors played goes by reference to one learner, the one that was given least so far. Every update is made by all of
them together, as soon as each has enough for its share of the batch; the first one speaks for all. They live and die
together: where one is lost, all begin anew from the last checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import RayTaskError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from rl.config import Config
from rl.runtime.kinds import together
from rl.runtime.placing import learner_place
from rl.runtime.plan import Plan
from rl.runtime.processes import RayLearner

WAIT_SECONDS = 1.0  # between two looks at whether waiting goes on


class LearnersLost(Exception):
    """Of several learners one was lost."""


def _answers(references: Sequence[Any], waiting: Callable[[], None]) -> list[Any]:
    """What they refer to, once all is there, or what the first of them to fail raises.

    ``waiting`` is called meanwhile, and may raise too.
    """
    while True:
        ready, missing = ray.wait(list(references), num_returns=len(references), timeout=WAIT_SECONDS)
        ray.get(ready)
        if not missing:
            found: list[Any] = ray.get(list(references))
            return found
        waiting()


def lost_each_other(error: BaseException) -> bool:
    """Whether an error is what the others raise when a learner is gone: their exchange with it fails.

    torch.distributed has no class of its own for that; numbers that are not finite are no RuntimeError.
    """
    return isinstance(error, RayTaskError) and isinstance(error.cause, RuntimeError)


class Learners:
    def __init__(
        self,
        config: Config,
        placed: Plan,
        checkpoint: str | None,
        folder: str = "",
        waiting: Callable[[], None] = lambda: None,
    ):
        """Start them, from a checkpoint or anew. Raises LearnersLost, or what Ray raises of a process that was lost.

        ``folder``: the run's, or its URL, in which the first one writes the checkpoints. ``waiting`` is called every
        second until there is room for them and they have started; what it raises ends them.
        """
        self.config, self.placed, self.count = config, placed, placed.learners
        self._folder = folder
        self._gang: PlacementGroup | None = None
        self.processes: list[Any] = []
        try:
            for rank in range(self.count):
                self.processes.append(self._start(rank, checkpoint))
            if self.count > 1:
                [address] = _answers([self.processes[0].hold.remote()], waiting)
                _answers([process.join.remote(address) for process in self.processes], waiting)
        except BaseException as error:
            self.kill()
            if lost_each_other(error):
                raise LearnersLost(f"the learners did not find each other: {error}") from error
            raise
        self._allowed = [0] * self.count
        self._status: list[dict[str, float]] = [{}] * self.count
        self._dealt = [0.0] * self.count  # moves, or stretches, that each was given

    def _start(self, rank: int, checkpoint: str | None) -> Any:
        placed = self.placed
        options: dict[str, Any] = {"num_cpus": placed.learner_cpus, "num_gpus": placed.learner_gpus}
        if self.count > 1 and placed.learner_gpus:
            # All or none, and as near to each other as may be: gradients cross what lies between.
            if self._gang is None:
                bundle = {"CPU": placed.learner_cpus, "GPU": placed.learner_gpus}
                self._gang = placement_group([{k: v for k, v in bundle.items() if v}] * self.count, strategy="PACK")
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(self._gang, rank)
        elif rank == 0:
            options |= learner_place(self._folder)
        return RayLearner.options(**options).remote(self.config, placed.learner_threads, checkpoint, rank, self.count)

    def ask(self, progress: float, waiting: Callable[[], None] = lambda: None) -> tuple[dict[str, Any], Any]:
        """The first one's reply to no update at all, and a reference to its weights; all have told their status.

        ``waiting`` is called every second meanwhile. Raises LearnersLost, or what Ray raises of a lost process.
        """
        calls = self.train(0, progress)
        try:
            replies = _answers([reply for reply, _ in calls], waiting)
        except RayTaskError as error:
            if self.count > 1 and lost_each_other(error):
                raise LearnersLost(str(error)) from error
            raise
        for rank, reply in enumerate(replies):
            self.told(rank, reply["allowed"], reply["status"])
        # A window that was kept counts as dealt. (What waits in a queue is not kept.)
        self._dealt = [status.get("experience/rows", 0.0) for status in self._status]
        return replies[0], calls[0][1]

    def add(self, experience: Any, size: float) -> tuple[Any, int]:
        """Give a reference to games or unrolls to one learner: the reply to come, and to which."""
        rank = min(range(self.count), key=self._dealt.__getitem__)
        self._dealt[rank] += size
        return self.processes[rank].add.remote(experience), rank

    def train(self, steps: int, progress: float) -> list[tuple[Any, Any]]:
        """Have all make up to ``steps`` updates: of each the reply to come, and what refers to its weights."""
        return [process.train.remote(steps, progress) for process in self.processes]

    def told(self, rank: int, allowed: int, status: dict[str, float]) -> None:
        """What a learner has said of itself."""
        self._allowed[rank], self._status[rank] = allowed, self._status[rank] | status

    @property
    def allowed(self) -> int:
        """Updates that all of them permit."""
        return min(self._allowed)

    @property
    def status(self) -> dict[str, float]:
        return together(self._status)

    def checkpoint(self, root: str, book: dict) -> Any:
        """The reply to come of the first one, which writes it, with the shards of all."""
        others = [process.shard.remote() for process in self.processes[1:]]
        return self.processes[0].checkpoint.remote(root, book, others)

    def kill(self) -> None:
        for process in self.processes:
            ray.kill(process)
        if self._gang is not None:
            remove_placement_group(self._gang)
