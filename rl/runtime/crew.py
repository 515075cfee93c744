"""The actors of a run: who is there and where, what each has and was given, who died, and with which node."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import ray

MAX_RESTARTS_A_MINUTE = 20  # more than this (or than there are actors) is no accident: give up instead of looping
MAX_DEATHS_IN_A_ROW = 4  # of what finishes nothing in between: then what it runs is to blame
NODE_DEATH_SECONDS = 15.0  # until the cluster surely knows that a node has left
SETTLE_SECONDS = 1.0  # until it mostly does: a dead actor is not replaced before


@dataclass
class Actor:
    process: Any
    node: str = ""  # id of the node that it is on, and
    address: str = ""  # that node's address; "" while it is starting
    held: int = -1  # the version of the weights that it has


class Crew:
    """Actors by their numbers. A number is taken again when its actor has died, as a new life."""

    def __init__(self) -> None:
        self.actors: dict[int, Actor] = {}
        self.lives: Counter[int] = Counter()
        self.handed: Counter[int] = Counter()  # stretches that each number was given
        self._deaths: dict[Any, list[str]] = defaultdict(list)  # nodes where each died since it last finished something
        self._recent: list[tuple[float, str]] = []  # deaths of all processes: when, and on which node
        self._settled = 0.0  # when it is known why the last ones died

    def __len__(self) -> int:
        return len(self.actors)

    def add(self, index: int, process: Any) -> None:
        self.actors[index] = Actor(process)

    def started(self, index: int, node: str) -> None:
        """An actor has started, on ``node``."""
        self.actors[index].node, self.actors[index].address = node, addresses().get(node, "")

    def vacant(self) -> int:
        """The lowest number that is free."""
        return next(index for index in range(len(self.actors) + 1) if index not in self.actors)

    def settled(self) -> bool:
        """Whether the cluster should know by now whether the last deaths were those of whole nodes."""
        return time.monotonic() >= self._settled

    def lost(self, index: int) -> Actor:
        """An actor has died: its number is free."""
        actor = self.actors.pop(index)
        self.lives[index] += 1
        self._settled = time.monotonic() + SETTLE_SECONDS
        return actor

    def finished(self, who: Any) -> None:
        """An actor (its number), or another process, has finished what it does: it is not what makes it die."""
        self._deaths.pop(who, None)

    def died(self, who: Any, node: str) -> str:
        """Note a death, on ``node``. What to say of it where it is no accident, else nothing.

        Nodes that leave take their processes with them, which is nobody's fault.
        """
        now = time.monotonic()
        self._deaths[who].append(node)
        self._recent = [(at, where) for at, where in self._recent if now - at < 60] + [(now, node)]
        while (found := self._complaint(who)) and time.monotonic() - now < NODE_DEATH_SECONDS:
            time.sleep(0.5)
        return found

    def _complaint(self, who: Any) -> str:
        own, recent = self._deaths[who], [where for _, where in self._recent]
        limit = max(MAX_RESTARTS_A_MINUTE, len(self.actors))
        if len(own) <= MAX_DEATHS_IN_A_ROW and len(recent) <= limit:
            return ""
        nodes = alive()
        faults, others = (sum(not where or where in nodes for where in deaths) for deaths in (own, recent))
        if faults > MAX_DEATHS_IN_A_ROW:
            return f"has died {faults} times without finishing anything"
        return f"has died, as {others} processes have in a minute" if others > limit else ""


def alive() -> set[str]:
    """The ids of the cluster's nodes."""
    return set(addresses())


def addresses() -> dict[str, str]:
    """Id → address of the cluster's nodes."""
    return {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
