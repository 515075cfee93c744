"""``fuseki compare``: ways of learning at equal compute."""

from __future__ import annotations

import enum
import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from rl.cli.agents import Json
from rl.console import WrongInput, check_writable, fail, note, show, user_input, while_running


class Matches(enum.StrEnum):
    all = "all"
    first = "first"
    none = "none"


def compare(
    configs: Annotated[
        list[str],
        typer.Argument(
            metavar="'CONFIG.yaml [key.sub=value]... [label=NAME]'...",
            help="Configurations, each in quotes with the settings that replace its own and what to call it.",
        ),
    ],
    budget: Annotated[
        str,
        typer.Option(
            metavar="NAME=NUMBER", help="Of each run: minutes=5, evaluations=N, env_steps=N or learner_steps=N."
        ),
    ],
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each configuration.")] = 3,
    vary: Annotated[
        list[str] | None,
        typer.Option(metavar="key.sub=VALUE,VALUE...", help="Every configuration with each of these values."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the runs and the results.")] = Path("comparison"),
    snapshots: Annotated[int, typer.Option(min=2, help="Agents measured on the way of each run.")] = 8,
    games: Annotated[int, typer.Option(min=2, help="Games of each match.")] = 40,
    positions: Annotated[int, typer.Option(min=1, help="Solved positions, where some are known.")] = 1000,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes an agent, in other environments.")] = 100,
    matches: Annotated[
        Matches, typer.Option(help="Which last agents of board games play each other; first: the first and each other.")
    ] = Matches.all,
    fit: Annotated[
        bool, typer.Option("--fit", help="Fit strength against compute over sizes of board and network (Jones 2021).")
    ] = False,
    serial: Annotated[bool, typer.Option("--serial", help="Each run in this process, without Ray.")] = False,
    as_json: Json = False,
) -> None:
    """Train several configurations with several seeds at equal compute, and measure them side by side."""
    from rl.compare.plan import make_plan

    with user_input():
        plan = make_plan(configs, seeds, budget, snapshots, vary or [], matches.value)
        if fit:
            from rl.compare.scaling import check

            check(plan)
    check_writable(out)
    if importlib.util.find_spec("matplotlib") is None:
        raise WrongInput("the curves need matplotlib: pip install 'fuseki[plot]'")
    from envs.gym import WorldError
    from rl.compare.measuring import Effort
    from rl.compare.plan import Wrong
    from rl.compare.results import compare as run
    from rl.compare.results import table
    from rl.compare.running import Interrupted
    from rl.runtime.checkpoint import CheckpointError, StorageError
    from rl.runtime.faults import RunFailed

    effort = Effort(positions, games, episodes)
    try:
        with while_running():
            result = run(plan, out, serial=serial, effort=effort, step=note)
            if fit:
                from rl.compare.scaling import add_fit

                result = add_fit(result, plan, out)
    except Wrong as error:
        raise WrongInput(str(error)) from error
    except Interrupted as error:
        fail(f"interrupted at {error}; the same command goes on from there", 1)
    except CheckpointError as error:
        fail(error, 1 if isinstance(error, StorageError) else 2)
    except (RunFailed, WorldError) as error:
        fail(error, 1)
    if as_json:
        show(result, as_json)
        return
    print(table(result))
    print(f"wrote {out / 'compare.md'}, {out / 'compare.json'} and {out / 'compare.png'}")
