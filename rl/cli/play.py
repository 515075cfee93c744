"""``fuseki play``: a board game against an agent, or an agent to watch in its environment."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from rl.cli.agents import (
    EPISODE_OPTIONS,
    PLAY_GAME_OPTIONS,
    WEB_OPTIONS,
    AgentArgument,
    Device,
    Simulations,
    load_any,
    refuse,
)
from rl.cli.web import Page, serve_page
from rl.console import WrongInput, fail, user_input, while_running

if TYPE_CHECKING:
    from rl.gym_agent import GymAgent


def play(
    context: typer.Context,
    agent: AgentArgument,
    gtp: Annotated[bool, typer.Option("--gtp", help="Serve a program that speaks GTP, such as Sabaki.")] = False,
    web: Annotated[bool, typer.Option("--web", help="Serve a page to play, watch and explain in a browser.")] = False,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Of the page; default: 8620, or a free one.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address of the page; any but this machine's own (127.0.0.1) needs the printed token.")
    ] = "127.0.0.1",
    with_: Annotated[
        list[str] | None, typer.Option("--with", metavar="AGENT", help="Another agent for the page; may be repeated.")
    ] = None,
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
    """Play a board game against an agent, in the terminal, in a browser or by GTP; or watch it in its Gymnasium
    environment."""
    if gtp and second:
        raise WrongInput("--second is for the terminal: a GTP client says who moves first")
    if gtp and web:
        raise WrongInput("--gtp and --web are two doors: leave one out")
    if web:
        if episodes is not None:
            raise WrongInput("--episodes is for the terminal: the page shows them until it is closed")
        names = [agent, *(with_ or [])]
        serve_page(context, Page(names, host, port, simulations, seconds, level, friendly, second, sampled, device))
        return
    refuse(context, WEB_OPTIONS, "is for the page of --web")
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
