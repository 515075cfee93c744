"""The agents that a run has kept on its way: for looking back at what it learned when."""

from __future__ import annotations

from rl.storage import Place, place, reaching
from rl.weights import CHECKPOINTS, SNAPSHOTS, STEP_FOLDER, WEIGHTS_FILE, AgentError, is_complete, newest_first


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
        if not is_run(run):
            raise AgentError(f"{run!r} is no run folder: it has no {CHECKPOINTS}/")
        files = [file for file in kept.iterdir() if file.suffix == ".safetensors"] if kept.is_dir() else []
        found = {int(file.stem): file for file in files}
        for name in reversed(newest_first([entry.name for entry in root.iterdir()])):
            if (step := STEP_FOLDER.fullmatch(name)) and is_complete(root / name):
                found[int(step[1])] = root / name / WEIGHTS_FILE
    if not found:
        raise AgentError(f"run folder {run!r} has no complete checkpoint yet; train until the first is written")
    return [found[step] for step in sorted(found)]
