"""The agents that a run has kept on its way: for looking back at what it learned when."""

from __future__ import annotations

from rl.storage import Place, place, reaching
from rl.weights import CHECKPOINTS, SNAPSHOTS, WEIGHTS_FILE, AgentError, is_complete, newest_first


def is_run(name: str) -> bool:
    """Whether this is the folder or URL of a run."""
    with reaching(name, passing=AgentError):
        return (place(name) / CHECKPOINTS).is_dir()


def versions_of(run: str) -> list[Place]:
    """The agent files of a run's snapshots and complete checkpoints, one for each learner step, the oldest first.

    Raises AgentError where there are none.
    """
    with reaching(run, passing=AgentError):
        root, kept = place(run) / CHECKPOINTS, place(run) / SNAPSHOTS
        if not root.is_dir():
            raise AgentError(f"{run!r} is no run folder: it has no {CHECKPOINTS}/")
        found = {}
        if kept.is_dir():
            found = {
                int(file.name.split(".")[0]): file for file in kept.iterdir() if file.name.endswith(".safetensors")
            }
        for name in reversed(newest_first([entry.name for entry in root.iterdir()])):
            if is_complete(root / name):
                found[int(name.split("-")[1].split(".")[0])] = root / name / WEIGHTS_FILE
    if not found:
        raise AgentError(f"run folder {run!r} has no complete checkpoint yet; train until the first is written")
    return [found[step] for step in sorted(found)]
