"""What a page may send. Unknown keys, wrong types and numbers out of range are refused, with a sentence each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(max_length=1000)]
InsightKind = Literal["saliency", "attention"]
Ply = Annotated[int, Field(ge=0, le=100_000)]


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Seat(Request):
    agent: Name | None = None  # None: a person
    level: Annotated[int, Field(ge=1, le=10)] = 10


class Start(Request):
    """Open a room, or begin a new game at a table. Of a Gymnasium environment only ``agent`` counts."""

    agent: Name  # whose game it is, and who explains
    seats: Annotated[list[Seat], Field(min_length=2, max_length=2)] | None = None  # default: a person against it
    size: Annotated[int, Field(ge=1, le=100)] | None = None
    komi: Annotated[float, Field(ge=-1000, le=1000, strict=False)] | None = None
    explain: bool | None = None
    simulations: Annotated[int, Field(ge=1, le=5000)] | None = None


class Move(Request):
    action: Annotated[int, Field(ge=0, le=100_000)]
    ply: Ply  # how many moves were played before: a page that has missed something is told


class Undo(Request):
    to: Ply | None = None  # take back moves from this number on; None: to the latest choice of a person


class Change(Request):
    """Settings of a game in progress; those left out stay."""

    seats: Annotated[list[Seat], Field(min_length=2, max_length=2)] | None = None
    shown: Ply | None = None  # look at the position after so many moves
    explain: bool | None = None
    simulations: Annotated[int, Field(ge=1, le=5000)] | None = None  # of an explanation
    paused: bool | None = None
    pace: Annotated[float, Field(ge=0, le=60, strict=False)] | None = None  # seconds a move between two agents


class Upload(Request):
    text: str  # SGF or JSON


class Control(Request):
    """Of episodes in progress; what is left out stays."""

    paused: bool | None = None
    speed: Annotated[float, Field(ge=0.05, le=20, strict=False)] | None = None  # 1: the environment's own
    sampled: bool | None = None  # draw actions as in training; an episode begins anew
    step: bool = False  # one step, while paused
    restart: bool = False  # a new episode
