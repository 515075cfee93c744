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
from rl.runtime.driver import Driver
from rl.runtime.faults import RunFailed, numbers_failed, world_failed
from rl.runtime.session import Session


def run_async(session: Session) -> None:
    """Drive a run on the cluster until its budget is used or it is asked to stop. All edges are here.

    Raises RunFailed, with a checkpoint, when the environment or the numbers fail, or processes keep dying.

    actor ──(summary)──────────────► driver: counts, and gives the actor its next stretch
    actor ──(games, by reference)──► learner.add ──(updates allowed)──► driver: lets the learner train
    learner.train ──(measures)─────► driver: logs
    learner.train ──(weights, by reference)──► actors, examiner
    """
    if session.restored is not None:
        session.restored.parts.clear()  # which are the learners' to read
    drive = Driver(session)
    drive.save()  # whatever dies first, there is a checkpoint to come back to
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
