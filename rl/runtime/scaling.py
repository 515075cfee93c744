"""``fuseki bench selfplay`` and ``learner`` of several processes: what N of them do at once, against N times one alone.

One alone and all of them are timed in turn, in the same processes, so that a machine that others share slows both
alike: ``compare`` takes what measures all of them, what measures the ceiling, and their unit (``rl.bench``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import ray

from rl.actors.seeds import actor_seed
from rl.config import GameConfig
from rl.records import GameRecord
from rl.runtime import cluster
from rl.runtime.kinds import make_trainer
from rl.runtime.learners import Learners
from rl.runtime.plan import plan_now
from rl.runtime.processes import RayActor

Compare = Callable[[Callable[[], float], Callable[[], float], str], dict[str, Any]]


def actors(config: GameConfig, compare: Compare, seconds: float) -> dict[str, Any]:
    """Evaluations/s, recalled ones too, of ``run.actors`` actors at once; the ceiling is so many times one alone."""
    count = config.run.actors
    assert count != "auto", "else the plain benchmark is asked for"
    with cluster():
        stored = ray.put(make_trainer(config, new=True).weights(0.0))
        crew: list[Any] = [
            RayActor.options(num_cpus=0).remote(config, actor_seed(config.seed, index), count) for index in range(count)
        ]
        ray.get([actor.use.remote(stored) for actor in crew])

        def play(some: list[Any]) -> float:
            calls = [actor.play.remote(None, None, seconds)[0] for actor in some]
            # Of each by its own clock: how long the call and its way here take is no part of it.
            reports = [report for report, _ in ray.get(calls)]
            return sum((r.evaluations + r.recalled) / r.seconds for r in reports)

        play(crew)  # games apart from each other
        found = compare(lambda: play(crew), lambda: count * play(crew[:1]), "evaluations/s")
    return found | {"times_one": round(count * found["share"], 3), "actors": count}


def learners(config: GameConfig, games: Sequence[GameRecord], compare: Compare, seconds: float) -> dict[str, Any]:
    """Rows/s of ``run.learners`` learners; the ceiling is so many times one, which has the whole batch to itself.

    ``games`` are what all of them learn from.
    """
    count, batch = config.run.learners, config.learner.batch_size
    with cluster():
        placed = replace(plan_now(config), learner_cpus=0)
        alone = _begun(config.model_copy(update={"run": config.run.model_copy(update={"learners": 1})}), placed, games)
        joined = _begun(config, placed, games)

        def train(which: Learners, steps: int) -> float:
            started = time.perf_counter()
            ray.get([reply for reply, _ in which.train(steps, 0.5)])
            return steps * batch / (time.perf_counter() - started)

        for which in (alone, joined):
            train(which, 2)  # what is measured or allocated once
        steps = max(2, round(seconds * train(alone, 4) / batch))
        found = compare(lambda: train(joined, steps), lambda: count * train(alone, steps), "rows/s")
    times = {"times_one": round(count * found["share"], 3)}
    return found | times | {"learners": count, "batch_size": batch, "updates_a_round": steps}


def _begun(config: GameConfig, placed: Any, games: Sequence[GameRecord]) -> Learners:
    found = Learners(config, replace(placed, learners=config.run.learners), None)
    stored = ray.put(list(games))
    ray.get([process.add.remote(stored) for process in found.processes])
    return found
