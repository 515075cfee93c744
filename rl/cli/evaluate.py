"""``fuseki eval``: games against an opponent, moves against solver truth, whole episodes."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from rl.cli.agents import (
    EPISODE_OPTIONS,
    GAME_OPTIONS,
    MATCH_OPTIONS,
    AgentArgument,
    Device,
    Json,
    Simulations,
    games_folder,
    load_agent,
    load_any,
    refuse,
)
from rl.console import WrongInput, check_writable, fail, progress_bar, show, user_input, while_running

MOST_MOVE_SECONDS = 86_400  # a day


class Seats(enum.StrEnum):
    both = "both"
    first = "first"
    second = "second"


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
    size: Annotated[
        int | None, typer.Option(min=1, help="Another board, for networks that play several. Go, Hex, Gomoku.")
    ] = None,
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
    if against == "truth":
        refuse(context, MATCH_OPTIONS, "is for matches and the truth set no opponent")
    else:
        refuse(context, ["split"], f"is for the truth set and {against!r} an opponent")
    from rl.evaluation.players import check_opponent

    if openings != "varied" and not (openings.isascii() and openings.isdigit()):
        raise WrongInput(f"--openings must be 'varied' or a number of random moves, not {openings!r}")
    if move_seconds is not None and not 0 < move_seconds <= MOST_MOVE_SECONDS:
        raise WrongInput(f"--move-seconds must be above 0 and at most {MOST_MOVE_SECONDS:,}, not {move_seconds}")
    if against != "truth":
        with user_input():
            check_opponent(against)
    loaded = load_agent(agent, device)
    if size is not None:
        with user_input():
            loaded = loaded.on(size=size)
    folder = None
    if against != "truth" and save != "none":
        folder = Path(save) if save else games_folder(agent)
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
