"""What users type: ``fuseki train | submit | status | eval | play | analyse | compare | report | plot | bench | ...``.

torch and ray are imported by the commands that need them, after the input has been checked as far as it can be without
them. Commands with much to say have a file each, the others are here. ``rl/console.py`` holds what they share: output,
progress, errors and exit statuses.
"""

from __future__ import annotations

import enum
import importlib.metadata
import importlib.util
import json
import logging
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rl.cli import compare, evaluate, insight, play, robustness, status, submit
from rl.cli.agents import AgentArgument, Device, Json, Overrides, Resume, Simulations, load_agent
from rl.console import (
    Commands,
    WrongInput,
    check_writable,
    fail,
    show,
    unused,
    unwritable,
    user_input,
    while_running,
)
from rl.storage import is_url

if TYPE_CHECKING:
    from envs.game import Game

app = typer.Typer(
    cls=Commands, add_completion=False, pretty_exceptions_enable=False, help="Reinforcement learning by self-play."
)


def parse_moves(text: str, game: Game) -> list[int]:
    """Moves from "3,3,2" or from the game's own names ("d4,pass")."""
    names = {name.lower(): action for action, name in enumerate(game.action_names)}
    moves = []
    for word in (w.strip() for w in text.split(",") if w.strip()):
        if word.lower() in names:
            moves.append(names[word.lower()])
        elif word.isascii() and word.lstrip("-").isdigit():
            moves.append(int(word))
        else:
            raise WrongInput(f"--moves: {word!r} is not a move of {game.title}; write numbers such as 3,3,2")
    return moves


def _version(asked: bool) -> None:
    if asked:
        names = ("fuseki", "torch", "ray", "gymnasium", "numpy", "numba")
        typer.echo("\n".join(f"{name} {importlib.metadata.version(name)}" for name in names))
        raise typer.Exit


@app.callback()
def setup(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more on standard error.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Versions of all that a run rests on."),
    ] = False,
) -> None:
    """Reinforcement learning by self-play: train, evaluate and play agents."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        stream=sys.stderr,
        format="%(asctime)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )


@app.command()
def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Configuration file.")],
    overrides: Overrides = None,
    run_dir: Annotated[
        str | None,
        typer.Option(
            help="Folder of the run, or its URL (s3://...); default: runs/CONFIG-DATE-TIME.", show_default=False
        ),
    ] = None,
    resume: Resume = False,
    serial: Annotated[bool, typer.Option("--serial", help="The whole cycle in this process, without Ray.")] = False,
) -> None:
    """Train an agent."""
    from rl.config import GameConfig, load_config

    with user_input():
        resolved = load_config(config, overrides or [])
        if isinstance(resolved, GameConfig):
            import envs

            envs.make(resolved.env, **resolved.env_options)
    if resume and run_dir is None:
        raise WrongInput("--resume needs --run-dir, the folder of the run to go on with")
    folder = run_dir or str(unused(Path("runs") / f"{config.stem}-{time.strftime('%Y%m%d-%H%M%S')}"))
    if not is_url(folder):
        if resume and not Path(folder).is_dir():
            raise WrongInput(f"there is no run to resume: the folder {folder!r} does not exist")
        check_writable(Path(folder))
    from envs.gym import WorldError
    from rl import runtime
    from rl.runtime.checkpoint import CheckpointError, StorageError
    from rl.runtime.faults import RunFailed

    try:
        with while_running():
            here = runtime.train(resolved, folder, resume=resume, serial=serial)
        if is_url(folder):
            shutil.rmtree(here.parent)  # the copy of what is at the URL by now
    except CheckpointError as error:
        # A damaged checkpoint is the user's to replace; a disk that cannot be written is not a wrong input.
        fail(error, 1 if isinstance(error, StorageError) else 2)
    except (RunFailed, WorldError) as error:  # of which the latter comes before there is a run
        fail(error, 1)


app.command()(submit.submit)
app.command()(status.status)
app.command("eval")(evaluate.evaluate)
app.command()(play.play)
app.command()(compare.compare)
app.add_typer(insight.app, name="insight")
app.command()(robustness.robustness)


@app.command()
def analyse(
    agent: AgentArgument,
    moves: Annotated[str, typer.Option(help="Moves from the initial position, such as 3,3,2.")] = "",
    simulations: Simulations = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """An agent's move, policy and value (for the side to move) in a position."""
    loaded = load_agent(agent, device)
    with user_input():
        state = loaded.position(parse_moves(moves, loaded.game))
    with while_running():
        result = loaded.analyse_state(state, simulations).to_dict(loaded.game)
    if not as_json:
        print(loaded.game.render(state), end="\n\n")
    show(result, as_json)


class BenchKind(enum.StrEnum):
    selfplay = "selfplay"
    learner = "learner"
    broadcast = "broadcast"
    search = "search"
    rules = "rules"
    rollout = "rollout"


@app.command()
def bench(
    kind: BenchKind,
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG.yaml]", help="Default: Connect Four or CartPole.")
    ] = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Measure throughput against what this machine can do at best."""
    from rl.config import load_config, parse_config

    with user_input():
        if config is None:
            default = ROLLOUT_BENCH_CONFIG if kind == BenchKind.rollout else BENCH_CONFIG
            resolved = parse_config(default, "the benchmark's default")
        else:
            resolved = load_config(config, overrides or [])
    from rl import bench as benchmarks
    from rl.runtime.kinds import shapes

    with user_input():
        benchmarks.named(kind.value, resolved)
        shapes(resolved)  # the environment exists
    with while_running():
        result = benchmarks.run(kind.value, resolved)
    show(result, as_json)


ROLLOUT_BENCH_CONFIG: dict[str, Any] = {
    "env": "CartPole-v1",
    "algorithm": {"kind": "ppo"},
    "net": {"encoder": {"kind": "mlp", "width": 64, "residual": False, "normalisation": "none", "activation": "tanh"}},
    "run": {"env_steps": 1_000_000},
}
BENCH_CONFIG: dict[str, Any] = {
    "env": "connect_four",
    "net": {"encoder": {"kind": "resnet"}},
    "search": {"lookahead": True},
    "run": {"minutes": 1},
}


class ExportFormat(enum.StrEnum):
    onnx = "onnx"
    safetensors = "safetensors"


@app.command()
def export(
    agent: AgentArgument,
    out: Annotated[Path, typer.Option(help="File to write.")],
    format: Annotated[
        ExportFormat, typer.Option("--format", help="onnx: checked against torch; safetensors: an AGENT.")
    ],
) -> None:
    """Write an agent to one file."""
    loaded = load_agent(agent)
    check_writable(out.parent)
    try:
        if format is ExportFormat.safetensors:
            from rl.weights import save_agent

            save_agent(out, loaded.weights, loaded.config, loaded.info)
        else:
            from rl.export import export_onnx

            with while_running():
                export_onnx(loaded.network(), loaded.game, out)
    except ImportError as error:
        raise WrongInput(str(error)) from error
    except OSError as error:
        raise unwritable(out, error) from error
    print(f"wrote {out} ({out.stat().st_size:,} bytes)")


@app.command()
def plot(
    run_dirs: Annotated[
        list[str], typer.Argument(metavar="RUN_DIR...", help="Folders or URLs of one or several runs.")
    ],
    out: Annotated[Path, typer.Option(help="Picture to write.")] = Path("curves.png"),
) -> None:
    """Draw the learning curves of runs into one picture."""
    check_writable(out.parent)
    if importlib.util.find_spec("matplotlib") is None:
        raise WrongInput("plotting needs matplotlib: pip install 'fuseki[plot]'")
    from rl.plot import plot_runs

    with user_input():
        plot_runs(run_dirs, out)
    print(f"wrote {out}")


@app.command()
def report(
    run_dirs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN_DIR...", help="Folders or URLs of one or several runs.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Page to write.")] = Path("report.html"),
    wandb: Annotated[
        str | None,
        typer.Option(
            metavar="ENTITY/PROJECT",
            help="Save the same layout as a workspace of this Weights & Biases project, instead of a page.",
        ),
    ] = None,
) -> None:
    """Show runs in one HTML page that needs nothing else: curves, ratings, games to step through, settings."""
    if wandb is not None:
        from rl.report.workspace import save_workspace

        with user_input():
            print(save_workspace(wandb))
        if not run_dirs:
            return
    if not run_dirs:
        raise WrongInput("give at least one run folder to report on")
    if out.is_dir():
        raise WrongInput(
            f"cannot write {str(out)!r}: it is a folder; name a file, such as {str(out / 'report.html')!r}"
        )
    check_writable(out.parent)
    from rl.report import write_report

    try:
        with user_input():
            written = write_report(run_dirs, out)
    except ImportError as error:
        raise WrongInput(str(error)) from error
    except OSError as error:
        raise unwritable(out, error) from error
    print(f"wrote {written} ({written.stat().st_size:,} bytes)")


@app.command("models")
def list_models(as_json: Json = False) -> None:
    """Models that ship with the package, with what was measured of each."""
    from rl import models

    cards = {name: models.card(name) for name in models.names()}
    if as_json:
        print(json.dumps(cards))
        return
    if not cards:
        print("no models ship with this version", file=sys.stderr)
    for name, card in cards.items():
        print(f"{name}: {card.get('result', 'no measured result')}")


@app.command("envs")
def list_envs() -> None:
    """Games that ship with the package."""
    import envs

    for env_id in envs.GAMES:
        game = envs.make(env_id)
        print(f"{env_id:15} {game.title}, board {'×'.join(map(str, game.board_shape))}, {game.num_actions} actions")
    for family in envs.FAMILIES:
        sizes = envs.sizes(family)
        print(f"{family + 'N':15} the same on a board of N × N, N from {sizes[0]} to {sizes[-1]}")
