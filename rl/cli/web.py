"""``fuseki play AGENT --web``: the page's options, checked, and the server."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from rl.cli.agents import PLAY_GAME_OPTIONS, load_any, refuse
from rl.console import WrongInput, user_input, while_running

if TYPE_CHECKING:
    import numpy as np

    from rl.agent import Agent
    from rl.gym_agent import GymAgent
    from rl.play.web.insight import Insight

NEEDED = ("fastapi", "uvicorn", "websockets", "PIL")


@dataclass(frozen=True)
class Page:
    """What was typed for the page."""

    names: list[str]  # of agents; it opens with the first
    host: str
    port: int | None
    simulations: int | None
    seconds: float | None
    level: int | None
    friendly: bool
    second: bool  # the agent moves first
    sampled: bool
    device: str


def serve_page(context: typer.Context, page: Page) -> None:
    """Serve until Ctrl-C. Raises WrongInput."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise WrongInput(f"the page needs {', '.join(missing)}: pip install 'fuseki[web]'")
    agents = [load_any(name, page.device) for name in dict.fromkeys(page.names)]
    import torch

    from rl.gym_agent import GymAgent
    from rl.play.engine import Engine
    from rl.play.web.requests import Seat, Start
    from rl.play.web.server import bind, serve
    from rl.play.web.table import Limits

    first = agents[0]
    if isinstance(first, GymAgent):
        refuse(context, PLAY_GAME_OPTIONS, f"is for board games and {first.name!r} acts in {first.config.env}")
        start = Start(agent=first.name)
    else:
        refuse(context, ("sampled",), f"is for Gymnasium environments and {first.name!r} plays {first.game.title}")
        with user_input():
            Engine(
                first, simulations=page.simulations, seconds=page.seconds, level=page.level
            )  # limits that make sense
        seats = [Seat(), Seat(agent=first.name, level=page.level or 10)]
        start = Start(agent=first.name, seats=seats[::-1] if page.second else seats)
    # Several searches at once each have a core; one search on several cores would wait for those of others.
    torch.set_num_threads(1)
    with while_running():
        warm_up(agents)
        try:
            listening = bind(page.host, page.port)
        except OSError as error:
            place = page.host if page.port is None else f"{page.host}:{page.port}"
            raise WrongInput(f"cannot serve at {place}: {error.strerror or error}") from error
        limits = Limits(page.simulations, page.seconds, page.friendly)
        host, found = page.host, insights()
        serve(agents, limits, start, listening, host, sampled=page.sampled, insights=found, say=announce)


def warm_up(agents: list[Agent | GymAgent]) -> None:
    """Do now what the first moves would wait for."""
    from rl.gym_agent import GymAgent
    from rl.play.engine import Engine

    for agent in agents:
        if isinstance(agent, GymAgent):
            agent.network()
        else:
            Engine(agent).warm_up()


def insights() -> dict[str, Insight]:
    """What rl.insight has to show of positions, for the page, whose room lies beside its own."""

    def saliency(agent: Agent, state: np.ndarray, action: int) -> np.ndarray:
        from rl.insight.saliency import of_position

        return of_position(agent, state, "occlusion", "policy", action)[0]

    def attention(agent: Agent, state: np.ndarray, action: int) -> np.ndarray:
        import numpy as np

        from rl.insight.attention import looked_at

        return looked_at(agent, state[None], np.array([action]))[0].reshape(agent.game.board_shape)

    return {"saliency": saliency, "attention": attention}


def announce(url: str) -> None:
    print(f"Open {url} in a browser. Ctrl-C ends the page.", flush=True)
