"""What users type: ``fuseki train | eval | play | analyse | bench | export | plot | models | envs``.

torch and ray are imported by the commands that need them, after the input has been checked as far as it can be without
them. ``console.py`` holds what the commands share: output, progress, errors and exit statuses.
"""

from __future__ import annotations

import contextlib
import enum
import importlib.util
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rl.console import (
    Commands,
    WrongInput,
    check_writable,
    fail,
    progress_bar,
    show,
    unused,
    unwritable,
    user_input,
    while_running,
)

if TYPE_CHECKING:
    from envs.game import Game
    from rl.agent import Agent
    from rl.gym_agent import GymAgent

app = typer.Typer(
    cls=Commands, add_completion=False, pretty_exceptions_enable=False, help="Reinforcement learning by self-play."
)

AgentArgument = Annotated[
    str, typer.Argument(metavar="AGENT", help="Run folder, checkpoint folder, .safetensors file, or a model's name.")
]
Simulations = Annotated[
    int | None, typer.Option(min=0, help="Simulations a move; 0: the network alone; default: as in training.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else, on standard output.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


def load_any(name: str, device: str = "auto") -> Agent | GymAgent:
    from rl.agent import load

    with while_running():
        agent = load(name, device)
    import torch

    torch.set_num_threads(idle_cores())
    return agent


def load_agent(name: str, device: str = "auto") -> Agent:
    """An agent of a board game."""
    from rl.gym_agent import GymAgent

    agent = load_any(name, device)
    if isinstance(agent, GymAgent):
        raise WrongInput(f"agent {name!r} acts in {agent.config.env}, which is no board game: fuseki eval --episodes N")
    return agent


def idle_cores() -> int:
    """Cores that nobody uses, at least 1. Torch's threads wait for each other, so one that shares its core with another
    busy process holds up all: 28 to 77 s instead of 3.6 s for 4,520 searches on two cores under load."""
    cores = allowed = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return max(1, min(allowed, round(cores - load)))


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


@app.callback()
def setup(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more on standard error.")] = False,
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
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[key.sub=value]...", help="Settings that replace the file's.")
    ] = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="Folder of the run; default: runs/CONFIG-DATE-TIME.", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --run-dir.")] = False,
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
    folder = run_dir or unused(Path("runs") / f"{config.stem}-{time.strftime('%Y%m%d-%H%M%S')}")
    if resume and not folder.is_dir():
        raise WrongInput(f"there is no run to resume: the folder {str(folder)!r} does not exist")
    check_writable(folder)
    from envs.gym import WorldError
    from rl import runtime
    from rl.runtime.checkpoint import CheckpointError, StorageError
    from rl.runtime.faults import RunFailed

    try:
        with while_running():
            runtime.train(resolved, folder, resume=resume, serial=serial)
    except CheckpointError as error:
        # A damaged checkpoint is the user's to replace; a disk that cannot be written is not a wrong input.
        fail(error, 1 if isinstance(error, StorageError) else 2)
    except (RunFailed, WorldError) as error:  # of which the latter comes before there is a run
        fail(error, 1)


class Seats(enum.StrEnum):
    both = "both"
    first = "first"
    second = "second"


@app.command("eval")
def evaluate(
    context: typer.Context,
    agent: AgentArgument,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="OPPONENT",
            help='random, mcts:400, solver, gnugo:10, gtp:"COMMAND" (any engine that speaks GTP), another AGENT, '
            "or truth (solved positions). Board games.",
        ),
    ] = None,
    episodes: Annotated[
        int | None, typer.Option(min=1, help="Whole episodes to play. Gymnasium environments; default: 100.")
    ] = None,
    sampled: Annotated[
        bool, typer.Option("--sampled", help="Draw actions as in training, not the likeliest. With --episodes.")
    ] = False,
    video: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for mp4 videos of the first 3 episodes evaluated. With --episodes."),
    ] = None,
    games: Annotated[int, typer.Option(min=1, help="Games to play; each opening is played from both seats.")] = 100,
    simulations: Simulations = None,
    openings: Annotated[
        str, typer.Option(metavar="varied|PLIES", help="Random moves before the players take over.")
    ] = "varied",
    seats: Annotated[Seats, typer.Option(help="Seat of the agent.")] = Seats.both,
    split: Annotated[str, typer.Option(help="Part of the truth set, for --against truth.")] = "test",
    move_seconds: Annotated[
        float | None, typer.Option(help="Time of an engine for a move, in seconds.", show_default="60")
    ] = None,
    save: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|none",
            help="Folder for the games, as SGF where the game has it.",
            show_default="games/ of the run, or fuseki-games/",
        ),
    ] = None,
    seed: int = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Measure an agent: games against an opponent, moves against solver truth, or whole episodes."""
    if against is None:
        evaluate_episodes(context, agent, episodes, sampled, video, seed, device, as_json)
        return
    refuse(context, EPISODE_OPTIONS, "is for episodes of Gymnasium environments and --against for board games")
    from rl.evaluation.players import check_opponent

    if openings != "varied" and not (openings.isascii() and openings.isdigit()):
        raise WrongInput(f"--openings must be 'varied' or a number of random moves, not {openings!r}")
    if move_seconds is not None and not move_seconds > 0:
        raise WrongInput(f"--move-seconds must be above 0, not {move_seconds}")
    if against != "truth":
        with user_input():
            check_opponent(against)
    loaded = load_agent(agent, device)
    folder = None
    if against != "truth" and save != "none":
        run = Path(agent)
        folder = Path(save) if save else run / "games" if (run / "checkpoints").is_dir() else Path("fuseki-games")
        check_writable(folder)
    from rl.evaluation.evaluate import evaluate as measure

    with while_running(), progress_bar(f"{agent} against {against}", games, hidden=against == "truth") as progress:
        result = measure(
            loaded,
            against,
            games=games,
            simulations=simulations,
            seed=seed,
            openings="varied" if openings == "varied" else int(openings),
            seats=seats.value,
            split=split,
            move_seconds=move_seconds,
            save=folder,
            progress=progress,
        )
    show(result, as_json)


GAME_OPTIONS = ("games", "simulations", "openings", "seats", "split", "move_seconds", "save")
EPISODE_OPTIONS = ("episodes", "sampled", "video")
PLAY_GAME_OPTIONS = ("gtp", "simulations", "seconds", "level", "friendly", "second")


def refuse(context: typer.Context, options: Sequence[str], why: str) -> None:
    """Raises WrongInput naming the first of these options that was typed; ``why`` goes on from its name."""
    for name in options:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise WrongInput(f"--{name.replace('_', '-')} {why}: leave it out")


def evaluate_episodes(
    context: typer.Context,
    agent: str,
    episodes: int | None,
    sampled: bool,
    video: Path | None,
    seed: int,
    device: str,
    as_json: bool,
) -> None:
    from rl.gym_agent import GymAgent

    loaded = load_any(agent, device)
    if not isinstance(loaded, GymAgent):
        title = loaded.game.title
        refuse(
            context, EPISODE_OPTIONS, f"is for Gymnasium environments and {agent!r} plays {title} --against somebody"
        )
        raise WrongInput(f"agent {agent!r} plays {title}: say --against whom")
    refuse(context, GAME_OPTIONS, f"is for board games and {agent!r} acts in {loaded.config.env}")
    if video is not None:
        check_writable(video)
    from envs.gym import WorldError
    from rl.evaluation.episodes import evaluate_episodes as measure
    from rl.evaluation.video import VideoError

    count = episodes or 100
    try:
        with while_running(), progress_bar(f"{agent} in {loaded.config.env}", count, hidden=False) as progress:
            result = measure(loaded, count, deterministic=not sampled, seed=seed, progress=progress, video=video)
    except (WorldError, VideoError) as error:
        fail(error, 1)
    if not as_json:
        del result["returns"], result["lengths"]
    show(result, as_json)


@app.command()
def play(
    context: typer.Context,
    agent: AgentArgument,
    gtp: Annotated[bool, typer.Option("--gtp", help="Serve a program that speaks GTP, such as Sabaki.")] = False,
    simulations: Simulations = None,
    seconds: Annotated[float | None, typer.Option(help="Time of the agent for a move, instead of simulations.")] = None,
    level: Annotated[int | None, typer.Option(help="Limit its strength, from 1 (weakest) to 10.")] = None,
    friendly: Annotated[bool, typer.Option("--friendly", help="Pass when all is decided, as people do.")] = False,
    second: Annotated[bool, typer.Option("--second", help="The agent moves first.")] = False,
    episodes: Annotated[
        int | None, typer.Option(min=1, help="Episodes to watch; default: until Ctrl-C. Gymnasium environments.")
    ] = None,
    sampled: Annotated[
        bool, typer.Option("--sampled", help="Draw actions as in training. Gymnasium environments.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Play a board game against an agent, in the terminal or by GTP; or watch it in its Gymnasium environment."""
    if gtp and second:
        raise WrongInput("--second is for the terminal: a GTP client says who moves first")
    from rl.gym_agent import GymAgent
    from rl.play.gtp import private_output, standard_input

    with private_output() if gtp else contextlib.nullcontext() as answers:
        loaded = load_any(agent, device)
        if isinstance(loaded, GymAgent):
            refuse(context, PLAY_GAME_OPTIONS, f"is for board games and {agent!r} acts in {loaded.config.env}")
            watch(loaded, episodes, sampled)
            return
        refuse(context, EPISODE_OPTIONS, f"is for Gymnasium environments and {agent!r} plays {loaded.game.title}")
        from rl.play.engine import Engine

        with user_input():
            engine = Engine(loaded, simulations=simulations, seconds=seconds, level=level, friendly=friendly)
        with while_running():
            if seconds is not None:
                engine.warm_up()
            if answers is not None:
                loaded.network()  # weights that do not fit are told of now, not in the middle of a game
                from rl.play.gtp_go import play as serve

                serve(engine, standard_input(), answers)
            else:
                from rl.play.terminal import play as run

                run(engine, human_first=not second)


def watch(agent: GymAgent, episodes: int | None, sampled: bool) -> None:
    from envs.gym import WorldError
    from rl.play.episodes import fresh_seed, render_mode, show_episodes

    try:
        with while_running(), contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how one leaves
            mode = render_mode(agent)
            show_episodes(agent, mode, episodes, deterministic=not sampled, seed=fresh_seed(), out=sys.stdout)
    except WorldError as error:
        fail(error, 1)


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
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[key.sub=value]...")] = None,
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
    run_dirs: Annotated[list[Path], typer.Argument(metavar="RUN_DIR...", help="Folders of one or several runs.")],
    out: Annotated[Path, typer.Option(help="Picture to write.")] = Path("curves.png"),
) -> None:
    """Draw the learning curves of runs into one picture."""
    for folder in run_dirs:
        if not (folder / "metrics.jsonl").is_file():
            raise WrongInput(f"{str(folder)!r} is no run folder: it holds no metrics.jsonl")
    check_writable(out.parent)
    if importlib.util.find_spec("matplotlib") is None:
        raise WrongInput("plotting needs matplotlib: pip install 'fuseki[plot]'")
    from rl.plot import plot_runs

    with user_input():
        plot_runs(run_dirs, out)
    print(f"wrote {out}")


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
        sizes = envs.SIZES[family]
        print(f"{family + 'N':15} the same on a board of N × N, N from {sizes[0]} to {sizes[-1]}")
