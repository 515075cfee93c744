"""The page's server: every request, and how it is started.

    GET    /                              the page, and /static/... what it is made of
    GET    /api/agents                    agents and levels to choose from
    POST   /api/rooms                     open a room: a table of a board game, or a show of episodes
    GET    /api/rooms/ID                  its state, which all of the following answer with too
    DELETE /api/rooms/ID                  close it
    POST   /api/rooms/ID/new              a new game at the same table
    POST   /api/rooms/ID/moves            a person's move
    POST   /api/rooms/ID/undo             take moves back
    PATCH  /api/rooms/ID                  settings of a game
    POST   /api/rooms/ID/control          of episodes
    GET    /api/rooms/ID/insight          what the network looks at in a position: ?kind=saliency|attention&ply=N
    GET    /api/rooms/ID/game.sgf, .json  the game as a file
    PUT    /api/rooms/ID/game             go on from one
    WS     /api/rooms/ID/live             state, analysis and pictures as they come; while it is open, the room works

What cannot be granted is answered with a status from 400 on and ``{"error": "one sentence"}``.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from rl.agent import Agent
from rl.evaluation.game_files import file_name
from rl.gym_agent import GymAgent
from rl.play.engine import LEVELS
from rl.play.web.agents import Agents
from rl.play.web.guard import Guard, is_loopback
from rl.play.web.insight import Insights, Sources
from rl.play.web.refusal import Refusal
from rl.play.web.requests import Change, Control, InsightKind, Move, Ply, Start, Undo, Upload
from rl.play.web.rooms import KEPT_SECONDS, Pool, Room, Rooms
from rl.play.web.show import Show
from rl.play.web.table import Limits, Table
from rl.weights import AgentError

log = logging.getLogger(__name__)

STATIC = Path(__file__).with_name("static")
PORT = 8620  # unless asked otherwise, or taken
CLOSING_SECONDS = 2  # for pages to be told that the server ends
View = dict[str, Any]


class Desk:
    """What all requests share."""

    def __init__(self, agents: Agents, limits: Limits, first: Start, kept: float, sampled: bool, insights: Sources):
        self.agents, self.limits, self.first, self.sampled = agents, limits, first, sampled
        self.rooms, self.pool = Rooms(kept), Pool()
        self.insights = Insights(self.pool, insights)

    async def open(self, wanted: Start) -> Room:
        """A new room for the agent. Raises Refusal."""
        found = await self.pool.run(lambda: self.agents.get(wanted.agent), kind="prepare")
        both = self.agents, self.pool
        is_show = isinstance(found, GymAgent)
        room = Show(*both, self.sampled) if is_show else Table(*both, self.limits, self.insights)
        await self.slowly(room, lambda: room.start(wanted))
        self.rooms.add(room)
        return room

    async def slowly(self, room: Room, prepare: Callable[[], Callable[[], None]]) -> None:
        """``prepare`` in a thread, then in the event loop what it has returned."""
        async with room.lock:
            begin = await self.pool.run(prepare, kind="prepare")
            begin()

    async def close(self) -> None:
        await self.rooms.close()
        self.pool.close()


def create_app(
    agents: Sequence[Agent | GymAgent],
    limits: Limits | None = None,
    *,
    start: Start | None = None,
    port: int = PORT,
    token: str | None = None,
    shipped: bool = True,
    kept_seconds: float = KEPT_SECONDS,
    sampled: bool = False,
    insights: Sources | None = None,
) -> FastAPI:
    """The page for these agents and, with ``shipped``, the models that ship.

    ``start`` is what a page begins with (default: the first agent, who moves second). ``token`` as in ``Guard``.
    ``sampled``: episodes begin with actions drawn as in training.
    ``insights``: what Insights can show. ``app.state.desk`` is the Desk.
    """
    first = start or Start(agent=agents[0].name)
    desk = Desk(Agents(agents, shipped), limits or Limits(), first, kept_seconds, sampled, insights or {})

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        sweeper = asyncio.create_task(desk.rooms.keep_swept())
        try:
            yield
        finally:
            sweeper.cancel()
            await desk.close()

    # Documentation pages would load their scripts from elsewhere.
    app = FastAPI(title="Fuseki", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.desk = desk
    app.add_middleware(Guard, port=port, token=token)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(AgentError, _damaged)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _failed)
    app.include_router(api)
    app.mount("/static", Unchanging(directory=STATIC), name="static")
    return app


# Errors, each one sentence


def _error(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"error": sentence}, status)


def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refusal)
    return _error(error.status, error.sentence)


def _damaged(request: Request, error: Exception) -> JSONResponse:
    return _error(422, str(error))


def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _error(400, f"the request's body is no JSON: {first.get('ctx', {}).get('error', first['msg'])}")
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    if not place:
        return _error(422, "the request's body must be a JSON object, sent as application/json")
    return _error(422, f"{place}: {first['msg'][:1].lower()}{first['msg'][1:]}")


def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    sentences = {
        400: "the request's body is no JSON",  # the only thing that ends so
        404: f"there is nothing at {request.url.path[:100]!r}",
        405: f"{request.method} is not for {request.url.path[:100]!r}",
    }
    answer = _error(error.status_code, sentences.get(error.status_code, str(error.detail)))
    answer.headers.update(error.headers or {})
    return answer


def _failed(request: Request, error: Exception) -> JSONResponse:
    return _error(500, "the server has failed at this; its log says why")


# The page

api = APIRouter()


class Unchanging(StaticFiles):
    """Files that a browser asks about each time: a newer version of the package has others."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        response = super().file_response(*args, **options)
        response.headers["cache-control"] = "no-cache"
        return response


@api.get("/")
async def page() -> FileResponse:
    return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})


@api.get("/favicon.ico")
async def icon() -> FileResponse:
    return FileResponse(STATIC / "icon.svg")


# Rooms


def _desk(connection: HTTPConnection) -> Desk:
    desk = connection.app.state.desk
    assert isinstance(desk, Desk)
    return desk


ADesk = Annotated[Desk, Depends(_desk)]


def _room(room: str, desk: ADesk) -> Room:
    return desk.rooms.get(room)


ARoom = Annotated[Room, Depends(_room)]


def _table(room: ARoom) -> Table:
    if not isinstance(room, Table):
        raise Refusal(409, "this is no board game: episodes are watched here")
    return room


def _show(room: ARoom) -> Show:
    if not isinstance(room, Show):
        raise Refusal(409, "there are no episodes to watch here: this is a board game")
    return room


ATable = Annotated[Table, Depends(_table)]
AShow = Annotated[Show, Depends(_show)]


@api.get("/api/agents")
async def agents(desk: ADesk) -> View:
    levels = [{"level": n, "simulations": limit.simulations} for n, limit in LEVELS.items()]
    listed = await desk.pool.run(desk.agents.list, kind="prepare")
    return {"agents": listed, "levels": levels, "start": desk.first.model_dump(exclude_none=True)}


@api.post("/api/rooms", status_code=201)
async def open_room(wanted: Start, desk: ADesk) -> View:
    return (await desk.open(wanted)).view()


@api.get("/api/rooms/{room}")
async def look(room: ARoom) -> View:
    return room.view()


@api.delete("/api/rooms/{room}", status_code=204)
async def close(room: ARoom, desk: ADesk) -> None:
    desk.rooms.remove(room)


@api.post("/api/rooms/{room}/new")
async def new_game(wanted: Start, table: ATable, desk: ADesk) -> View:
    await desk.slowly(table, lambda: table.start(wanted))
    return table.view()


@api.post("/api/rooms/{room}/moves")
async def move(wanted: Move, table: ATable) -> View:
    async with table.lock:
        table.play(wanted.action, wanted.ply)
    return table.view()


@api.post("/api/rooms/{room}/undo")
async def undo(wanted: Undo, table: ATable) -> View:
    async with table.lock:
        table.undo(wanted.to)
    return table.view()


@api.patch("/api/rooms/{room}")
async def change(wanted: Change, table: ATable, desk: ADesk) -> View:
    if wanted.seats is None:  # nothing to load
        async with table.lock:
            table.change(wanted)()
    else:
        await desk.slowly(table, lambda: table.change(wanted))
    return table.view()


@api.post("/api/rooms/{room}/control")
async def control(wanted: Control, show: AShow) -> View:
    show.control(wanted)
    return show.view()


@api.get("/api/rooms/{room}/insight")
async def insight(kind: InsightKind, ply: Ply, table: ATable) -> View:
    return await table.insight(kind, ply)


@api.get("/api/rooms/{room}/game.{suffix}")
async def save(suffix: str, table: ATable) -> Response:
    if suffix not in ("sgf", "json"):
        raise Refusal(404, "a game is saved as game.sgf or game.json")
    text = table.sgf() if suffix == "sgf" else table.json()
    name = f"{file_name(table.session.game.env_id)}.{suffix}"
    kind = "application/x-go-sgf" if suffix == "sgf" else "application/json"
    return Response(
        text, headers={"content-disposition": f"attachment; filename*=UTF-8''{quote(name)}"}, media_type=kind
    )


@api.put("/api/rooms/{room}/game")
async def load(wanted: Upload, table: ATable, desk: ADesk) -> View:
    await desk.slowly(table, lambda: table.load(wanted.text))
    return table.view()


@api.websocket("/api/rooms/{room}/live")
async def live(socket: WebSocket, room: str, desk: ADesk) -> None:
    await socket.accept()
    try:
        async with desk.rooms.get(room).viewer() as viewer:

            async def tell() -> None:
                while True:
                    for message in await viewer.messages():
                        if isinstance(message, str):
                            await socket.send_text(message)
                        else:
                            await socket.send_bytes(message)

            telling = asyncio.create_task(tell())
            try:
                while (await socket.receive())["type"] != "websocket.disconnect":
                    pass  # a page has nothing to say here
            finally:
                telling.cancel()
    except Refusal as error:
        await socket.send_json({"type": "refused", "error": error.sentence})
        await socket.close(1008, error.sentence)
    except (WebSocketDisconnect, RuntimeError):  # gone while it was told something
        log.debug("a page has gone")


# Starting


def bind(host: str, port: int | None) -> socket.socket:
    """A socket that listens. ``port`` None: PORT, or a free one where that is taken. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for number in [port] if port is not None else [PORT, 0]:
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, number))
            listening.listen(128)
        except OSError as error:
            listening.close()
            if port is None and number and error.errno == errno.EADDRINUSE:
                continue
            raise
        return listening
    raise AssertionError("the last number is tried without a second one")


def serve(
    agents: Sequence[Agent | GymAgent],
    limits: Limits,
    start: Start,
    listening: socket.socket,
    host: str,
    *,
    sampled: bool = False,
    insights: Sources,
    say: Callable[[str], None],
) -> None:
    """Serve the page until Ctrl-C; ``say`` is told its URL. Off loopback a token is needed, which the URL holds."""
    port = listening.getsockname()[1]
    token = None if is_loopback(host) else secrets.token_urlsafe(24)
    app = create_app(agents, limits, start=start, port=port, token=token, sampled=sampled, insights=insights)
    name = host if host not in ("0.0.0.0", "::", "") else socket.gethostname()
    say(f"http://{f'[{name}]' if ':' in name else name}:{port}/" + (f"?token={token}" if token else ""))
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        ws="websockets-sansio",
        ws_max_size=1024,  # pages have nothing to say there
        timeout_graceful_shutdown=CLOSING_SECONDS,
    )
    with contextlib.suppress(KeyboardInterrupt):  # which is how one ends it; raised once all is closed
        uvicorn.Server(config).run(sockets=[listening])
