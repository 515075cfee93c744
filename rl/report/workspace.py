"""The report's layout as a workspace of a Weights & Biases project (wandb-workspaces, the extra ``workspaces``)."""

from __future__ import annotations

import re
from typing import Any

from rl.curves import LEARNING, SELF_PLAY, SPEED, Panel
from rl.runtime.wandb_run import AXES, logged_in

NAME = "Fuseki report"
# Strength, whose opponents only a run knows: W&B matches their metrics by a pattern.
STRENGTH: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("Best move played, by solver truth", ("eval/accuracy_search", "eval/accuracy_network"), ""),
    ("Elo", ("eval/elo", "eval/elo_low", "eval/elo_high"), ""),
    ("Score against each opponent", (), r"^eval/score/.*"),
    ("Return of evaluation episodes", ("eval/return_mean", "eval/return_low", "eval/return_high"), ""),
)


def workspace(entity: str, project: str) -> Any:
    """The layout, not saved anywhere: a ``wandb_workspaces.workspaces.Workspace``.

    Raises ValueError, in one sentence, where the package is missing.
    """
    try:
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
    except ImportError as error:
        raise ValueError("a workspace needs wandb-workspaces: pip install 'fuseki[workspaces]'") from error

    def plot(title: str, metrics: tuple[str, ...], pattern: str, group: str) -> Any:
        chosen: dict[str, Any] = {"metric_regex": pattern} if pattern else {"y": list(metrics)}
        return wr.LinePlot(title=title, x=AXES.get(group, "seconds"), **chosen)

    def section(title: str, panels: list[Any]) -> Any:
        return ws.Section(name=title, panels=panels, is_open=True)

    def of(panels: tuple[Panel, ...]) -> list[Any]:
        return [plot(p.title, tuple(c.metric for c in p.curves), "", p.curves[0].metric.split("/")[0]) for p in panels]

    strength = [plot(title, metrics, pattern, "eval") for title, metrics, pattern in STRENGTH]
    return ws.Workspace(
        name=NAME,
        entity=entity,
        project=project,
        sections=[
            section("Strength", strength),
            section("Learning", of(LEARNING)),
            section("Play", of(SELF_PLAY)),
            section("Speed", of(SPEED)),
        ],
    )


def save_workspace(where: str) -> str:
    """Save the layout in the project ``where`` ("ENTITY/PROJECT"); returns its address.

    Raises ValueError, in one sentence, for another name, without an account, and for what Weights & Biases refuses.
    """
    found = re.fullmatch(r"([\w.-]+)/([\w.-]+)", where)
    if not found:
        raise ValueError(f"--wandb {where!r}: write ENTITY/PROJECT, as in your project's address")
    layout = workspace(*found.groups())
    import wandb

    if not logged_in(wandb.setup().settings):
        raise ValueError("a workspace is saved in your Weights & Biases account, and nobody is logged in: wandb login")
    try:
        return str(layout.save().url)
    except Exception as error:  # W&B raises anything from its own errors to those of HTTP libraries
        raise ValueError(f"Weights & Biases did not take the workspace for {where!r}: {error}") from error
