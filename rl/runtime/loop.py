"""READ FIRST: the whole cycle in one process.

    envs ──► actors ──► experience ──► learner ──► weights ──┐
               ▲                                             │
               └────────────── newest version ◄──────────────┘

``run_lockstep`` is the cycle: play, add, train, publish, again. With ``LocalActors`` everything happens in this
process; ``processes.RayActors`` gives it actors in other processes, in lock step all the same. Nothing in it depends on
time or on the order in which anything else happens, so a run that was killed and resumed ends with bit-identical
weights. ``on_ray.run_async`` is the same cycle without the lock step.
"""

from __future__ import annotations

from typing import Protocol

from rl.actors.seeds import actor_seed
from rl.config import Config
from rl.records import Tensors, Weights
from rl.runtime.kinds import Examiner, Report, Trainer, make_examiner, make_trainer, make_worker, summarise
from rl.runtime.session import Session, write_checkpoint


class Actors(Protocol):
    """Some actors that play in lock step."""

    def __len__(self) -> int: ...
    def use(self, weights: Weights) -> None: ...
    def play(self, moves: int) -> list[Report]: ...
    def resumable(self) -> bool: ...
    def state(self) -> list[tuple[Tensors, dict]]: ...
    def restore(self, weights: Weights, states: list[tuple[Tensors, dict]]) -> None: ...


class LocalActors:
    """One actor, in this process."""

    def __init__(self, config: Config):
        self.worker = make_worker(config, actor_seed(config.seed, 0), 1)

    def __len__(self) -> int:
        return 1

    def use(self, weights: Weights) -> None:
        self.worker.use(weights)

    def play(self, moves: int) -> list[Report]:
        return [self.worker.play(moves)]

    def resumable(self) -> bool:
        return self.worker.resumable()

    def state(self) -> list[tuple[Tensors, dict]]:
        return [self.worker.state()]

    def restore(self, weights: Weights, states: list[tuple[Tensors, dict]]) -> None:
        self.worker.restore(weights, *states[0])


def run_lockstep(session: Session, actors: Actors) -> None:
    """Drive a run to the end of its budget, or from where its checkpoint stands."""
    config = session.config
    saved = session.restored
    trainer = make_trainer(config, new=saved is None)
    examiner = make_examiner(config)
    if saved is not None:
        trainer.restore(saved.parts, saved.state)
    weights = trainer.weights(session.used())
    in_flight = saved.state.get("actors", []) if saved is not None else []
    if saved is not None and len(in_flight) == len(actors):
        actors.restore(weights, [(saved.parts[f"actor-{i}"], s) for i, s in enumerate(in_flight)])
    else:
        if saved is not None:
            session.progress.note(f"{len(in_flight)} actors were saved and {len(actors)} play now: new games begin")
        actors.use(weights)
        checkpoint(session, trainer, actors, weights)  # whatever happens, there is one to come back to
    session.begin()
    while session.used() < 1.0 and not session.stopping:
        for report in actors.play(config.run.sync_moves):
            session.played(report)
            session.finished(summarise(report))
            trainer.add(report.take())
        measures = trainer.train(trainer.steps_allowed(), session.used())
        if measures:
            weights = trainer.weights(session.used())
            actors.use(weights)
        session.learned(weights.version, measures, trainer.busy_seconds)
        session.log(trainer.status() | {"weights/version": weights.version})
        if session.checkpoint_due() and actors.resumable():
            checkpoint(session, trainer, actors, weights)
        if session.examination_due():
            session.examination_begun()
            examine(session, examiner, weights)
    checkpoint(session, trainer, actors, weights)
    if not session.stopping:
        examine(session, examiner, weights)


def examine(session: Session, examiner: Examiner, weights: Weights) -> None:
    """Measure these weights, and keep them where none were better."""
    if session.examined(examiner.examine(weights)):
        session.keep_best(weights)


def checkpoint(session: Session, trainer: Trainer, actors: Actors, weights: Weights) -> None:
    """Everything between two iterations: learner, experience, games in flight, random streams, the book."""
    parts, state = trainer.state()
    states = actors.state()
    parts |= {f"actor-{i}": tensors for i, (tensors, _) in enumerate(states)}
    state["actors"] = [rest for _, rest in states]
    write_checkpoint(session.config, session.checkpoints, parts, state, weights, session.book())
    session.checkpoint_done()
