"""A run that ends because what it is made of failed: the environment, or the numbers; what is said then."""

from __future__ import annotations

import math

from rl.config import GymConfig
from rl.runtime.checkpoint import latest_checkpoint
from rl.runtime.metrics import read_metrics
from rl.runtime.session import Session

REPORTED_ROWS = 3  # of metrics, before the one that went wrong
REPORTED = ("learner/", "rollout/return", "selfplay/game_length")


class RunFailed(RuntimeError):
    """A run cannot go on; its checkpoints are intact. The message is one sentence with the remedy."""


def world_failed(session: Session, fault: str) -> RunFailed:
    """``fault``: what an environment did, with its name, lane and actor."""
    return RunFailed(f"the environment failed: {fault}; {_resume(session, 'once it is mended')}")


def numbers_failed(session: Session, fault: str) -> RunFailed:
    """The learner or a network gave numbers that are none; notes the rows of metrics that led there.

    ``fault`` says which term, at which learner step and learning rate.
    """
    rows = [row for row in read_metrics(session.run_dir) if "learner/loss" in row or "learner/policy_loss" in row]
    for row in rows[-REPORTED_ROWS:]:
        told = [f"{name.removeprefix('learner/')} {_short(v)}" for name, v in row.items() if name.startswith(REPORTED)]
        session.progress.note(f"before, at update {row['learner_steps']:,.0f}: {', '.join(told)}")
    remedies = ["learner.learning_rate", "learner.clip_norm"]
    hint = f"lower {' or '.join(remedies)}"
    if isinstance(session.config, GymConfig):
        if not session.config.algorithm.normalise_rewards:
            hint += ", or set algorithm.normalise_rewards=true where rewards are large"
        if not session.config.net.normalise_observations:
            hint += ", or net.normalise_observations=true where observations are"
    # The newest weights are saved as long as they are numbers, which is not yet to say that they are any good.
    older = "; should it diverge at once, remove that checkpoint, and it goes on from the one before"
    return RunFailed(f"training diverged: {fault}; {hint}; {_resume(session, 'with that', older)}")


def _resume(session: Session, when: str, more: str = "") -> str:
    if latest_checkpoint(session.checkpoints) is None:
        return f"nothing was learned yet: start the run anew {when}"
    return f"the run is saved in {session.folder}: --resume goes on from its last checkpoint {when}{more}"


def _short(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "not finite"
