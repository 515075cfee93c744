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

from collections import Counter
from typing import Protocol

from envs.gym import WorldError
from rl.actors.seeds import actor_seed
from rl.config import Config
from rl.records import Tensors, Weights
from rl.runtime.checkpoint import Checkpoint, latest_checkpoint, load_checkpoint
from rl.runtime.faults import RunFailed, numbers_failed, world_failed
from rl.runtime.kinds import Examiner, Report, Trainer, make_examiner, make_trainer, make_worker, summarise
from rl.runtime.session import Session, write_checkpoint

MAX_RETURNS = 5  # to one checkpoint, before actors that die are no accident


class ActorsLost(Exception):
    """Processes of actors have died; the message says which."""


class Actors(Protocol):
    """Some actors that play in lock step."""

    def __len__(self) -> int: ...
    def use(self, weights: Weights) -> None: ...
    def play(self, moves: int) -> list[Report]: ...  # raises ActorsLost
    def replace(self) -> None: ...  # new ones in the place of those that died
    def resumable(self) -> bool: ...
    def state(self) -> list[tuple[Tensors, dict]]: ...
    def restore(self, weights: Weights, states: list[tuple[Tensors, dict]]) -> None: ...


class LocalActors:
    """One actor, in this process."""

    def __init__(self, config: Config, begun: int = 0):
        """``begun``: see ``actor_seed``."""
        self.worker = make_worker(config, actor_seed(config.seed, 0, begun), 1)

    def __len__(self) -> int:
        return 1

    def use(self, weights: Weights) -> None:
        self.worker.use(weights)

    def play(self, moves: int) -> list[Report]:
        return [self.worker.play(moves)]

    def replace(self) -> None:
        raise AssertionError("it lives as long as this process")

    def resumable(self) -> bool:
        return self.worker.resumable()

    def state(self) -> list[tuple[Tensors, dict]]:
        return [self.worker.state()]

    def restore(self, weights: Weights, states: list[tuple[Tensors, dict]]) -> None:
        self.worker.restore(weights, *states[0])


def run_lockstep(session: Session, actors: Actors) -> None:
    """Drive a run to the end of its budget, or from where its checkpoint stands.

    When actors die, everything goes back to the last checkpoint, so that the run stays the one it would have been.
    Raises RunFailed when the environment or the numbers fail, with a checkpoint of what was learned until then. (Not in
    sync mode for an environment: the checkpoint before leads there again, step by step.)
    """
    saved = session.restored
    returns: Counter[str] = Counter()
    while True:
        try:
            return cycle(session, actors, saved)
        except ActorsLost as lost:
            newest = latest_checkpoint(session.checkpoints)
            if newest is None or returns[newest] == MAX_RETURNS:
                raise RunFailed(
                    f"{lost}, {MAX_RETURNS + 1} times from the same checkpoint on, so it is no accident"
                ) from lost
            returns[newest] += 1
            session.progress.note(f"{lost}: the run goes back to {newest}")
            saved = load_checkpoint(newest)
            session.rewind(saved.state)
            actors.replace()


def cycle(session: Session, actors: Actors, saved: Checkpoint | None) -> None:
    """A run from its beginning, or from what was ``saved``, to its end. Raises ActorsLost."""
    config = session.config
    examiner = make_examiner(config)
    trainer, weights = begin(session, actors, saved)
    if saved is None:
        checkpoint(session, trainer, actors, weights)  # whatever happens, there is one to come back to
    session.begin()
    try:
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
            checkpointing = session.checkpoint_due() and actors.resumable()
            if checkpointing or session.log_due():
                log(session, trainer, weights)  # before a checkpoint, so that a resumed run lacks nothing
            if checkpointing:
                checkpoint(session, trainer, actors, weights)
            if session.snapshot_due():
                session.keep_snapshot(weights)
            if session.examination_due():
                session.examination_begun()
                examine(session, examiner, weights)
        if session.snapshot_due():  # the one at the end of the budget
            session.keep_snapshot(weights)
        log(session, trainer, weights)
        checkpoint(session, trainer, actors, weights)
        if not session.stopping:
            examine(session, examiner, weights)
    except WorldError as error:
        log(session, trainer, weights)
        if config.run.mode != "sync":
            checkpoint(session, trainer, None, weights)
        raise world_failed(session, str(error)) from error
    except FloatingPointError as error:
        weights = trainer.weights(session.used())  # an update that fails changes nothing; those before it count
        session.learned(weights.version, {}, trainer.busy_seconds)
        log(session, trainer, weights)
        checkpoint(session, trainer, None, weights)
        raise numbers_failed(session, str(error)) from error


def begin(session: Session, actors: Actors, saved: Checkpoint | None) -> tuple[Trainer, Weights]:
    """The trainer and its weights, in use by the actors: new, or as they were ``saved``."""
    trainer = make_trainer(session.config, new=saved is None)
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
    return trainer, weights


def examine(session: Session, examiner: Examiner, weights: Weights) -> None:
    """Measure these weights, and keep them where none were better."""
    if session.examined(examiner.examine(weights)):
        session.keep_best(weights)


def log(session: Session, trainer: Trainer, weights: Weights) -> None:
    session.log(trainer.status() | {"weights/version": weights.version})


def checkpoint(session: Session, trainer: Trainer, actors: Actors | None, weights: Weights) -> None:
    """Everything between two iterations: learner, experience, random streams, the book; and games in flight.

    Without ``actors``, which have failed, new games begin from there.
    """
    parts, state = trainer.state()
    if actors is not None:
        states = actors.state()
        parts |= {f"actor-{i}": tensors for i, (tensors, _) in enumerate(states)}
        state["actors"] = [rest for _, rest in states]
    book = session.book()
    session.patiently(lambda: write_checkpoint(session.config, session.checkpoints, parts, state, weights, book))
    session.checkpoint_done()
