"""The cycle on a Ray cluster: the parts of ``loop.py`` as processes, every edge wired in ``run_async``.

Data never passes through the driver. An actor's finished games go by reference from the actor to a learner, the
learners' weights by reference from the object store of their node to the actors', one copy a node.

Backpressure, both ways: the learners train only as far as their trainers allow (``steps_allowed``: the reuse rule, or
what lies in the queue), and actors are not given new work while too much waits for it (``kinds.may_play``).

Deaths: a dead actor (or examiner) is replaced and plays on with the newest weights; when a learner dies, all come back
from the last checkpoint, and the counters and curves with them. What is raised is no accident and would be raised
again: an environment that fails (or hangs: ``envs.gym.Watched``) and numbers that are not finite end the run, with a
checkpoint.

Nodes come and go: actors that a node takes with it are replaced where there is room, and new ones begin on nodes that
join, except where a configuration says how many there are.
"""

from __future__ import annotations

from envs.gym import WorldError
from rl.config import ConfigError
from rl.runtime.checkpoint import latest_checkpoint
from rl.runtime.driver import Driver
from rl.runtime.faults import RunFailed, numbers_failed, world_failed
from rl.runtime.session import Session


def must_be_here(session: Session) -> None:
    """Raises ConfigError where the learner, on another machine, has saved to a disk that the driver does not see."""
    if latest_checkpoint(session.checkpoints) is None:
        raise ConfigError(
            f"the checkpoint that was just written to {session.folder} is not there as the driver sees it, since the "
            "learner is on another machine: give --run-dir a URL, or a folder on a disk that all machines share"
        )


def run_async(session: Session) -> None:
    """Drive a run on the cluster until its budget is used or it is asked to stop. All edges are here.

    Raises RunFailed, with a checkpoint, when the environment or the numbers fail, or processes keep dying; ConfigError
    where checkpoints are written to another machine's disk.

    actor ──(summary)──────────────► driver: counts, and gives the actor its next stretch
    actor ──(games, by reference)──► learner.add ──(updates allowed)──► driver: lets the learner train
    learner.train ──(measures)─────► driver: logs
    learner.train ──(weights, by reference)──► actors, examiner
    """
    drive = Driver(session)
    drive.save()  # whatever dies first, there is a checkpoint to come back to
    must_be_here(session)
    try:
        drive.wait_until_ready()
        session.begin()
        saved = False
        while not saved:
            while session.used() < 1.0 and not session.stopping:
                drive.look_around()
                drive.hand_out_work()
                for call in drive.wait():
                    match call.kind:
                        case "play":
                            drive.take_play(call)
                        case "add":
                            drive.take_allowance(call)
                        case "train":
                            drive.take_training(call)
                        case "examine":
                            drive.take_examination(call)
                if session.snapshot_due():
                    drive.keep_snapshot()
                if session.log_due():
                    session.log(drive.status())
                if session.checkpoint_due():
                    session.log(drive.status())  # so that a resumed run lacks nothing
                    drive.save()
            if session.snapshot_due():  # the one at the end of the budget, which ends the loop above
                drive.keep_snapshot()
            session.log(drive.status())
            saved = drive.save()  # else the learner died just now, and what it has lost is trained anew
        if not session.stopping:
            drive.examine()
    except WorldError as error:
        drive.save_at_fault()
        raise world_failed(session, str(error)) from error
    except FloatingPointError as error:
        drive.save_at_fault()
        raise numbers_failed(session, str(error)) from error
    except RunFailed:
        drive.save_at_fault()
        raise
