"""A board game in progress: people and agents in its seats, and an agent that explains each position."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from envs.game import DRAW, FIRST_WON, ONGOING, STATUS, TO_MOVE
from rl.agent import Agent
from rl.play.engine import Choice, Engine, Report, Watch
from rl.play.session import Session
from rl.play.web.agents import Agents
from rl.play.web.files import read_game, write_json
from rl.play.web.insight import Insights
from rl.play.web.refusal import Refusal
from rl.play.web.requests import Change, Seat, Start
from rl.play.web.rooms import Pool, Room
from rl.play.web.views import analysis_view, count_view, game_view, position_view, result_view, sgf_result, sides_of
from rl.sgf import family, komi, write_sgf

PROGRESS_SECONDS = 0.12  # between two looks at a search under way
EXPLAINED = 400  # simulations of an explanation, unless asked otherwise


@dataclass(frozen=True)
class Limits:
    """Of agents at level 10, as the command line has them."""

    simulations: int | None = None
    seconds: float | None = None
    friendly: bool = False


@dataclass(frozen=True)
class Sitter:
    """Who has a seat: a person where there is no agent."""

    agent: Agent | None
    level: int

    def on(self, agents: Agents, options: dict[str, Any]) -> Sitter:
        """The same on another board."""
        return self if self.agent is None else Sitter(agents.player(self.agent.name, **options), self.level)


class Table(Room):
    """One game; ``agent`` explains it, and need not have a seat."""

    def __init__(self, agents: Agents, pool: Pool, limits: Limits, insights: Insights) -> None:
        super().__init__()
        self._agents, self._pool, self._limits, self._insights = agents, pool, limits, insights
        self.explain, self.simulations = True, EXPLAINED
        self.paused, self.pace = False, 0.7  # seconds a move where agents play each other
        self.version = 0  # of the game: goes up with each move made or taken back
        self._stop = threading.Event()  # ends the search under way
        self._drawn: tuple[tuple[int, int], dict[str, Any]] | None = None  # the position shown, and which that is

    # What a page sees

    def view(self) -> dict[str, Any]:
        session, shown = self.session, self.shown
        over = session.over
        return {
            "type": "state",
            "kind": "game",
            "id": self.id,
            "version": self.version,
            "changes": self.changes,
            "agent": self.agent.name,
            "game": self._game_view,
            "seats": [{"agent": s.agent.name if s.agent else None, "level": s.level} for s in self._sitters],
            "strength": self._strength,
            "moves": [{"action": a, "side": s} for a, s in zip(session.moves, session.movers, strict=True)],
            "shown": shown,
            "position": self._position(shown),
            "side": session.side,
            "waits": None if over else "person" if session.person_to_move else "agent",
            "result": result_view(session.game, session.state, session.winner, session.resigned) if over else None,
            "paused": self.paused,
            "pace": self.pace,
            "explain": self.explain,
            "simulations": self.simulations,
            "values": [self._values.get(ply) for ply in range(len(session.moves) + 1)],
            "analysis": self._analyses.get(shown),
            "insights": self._insights.kinds(self.agent),
        }

    @property
    def shown(self) -> int:
        """How many moves were played before the position that is looked at."""
        return len(self.session.moves) if self._shown is None else self._shown

    def _position(self, ply: int) -> dict[str, Any]:
        key = self.version, ply
        if self._drawn is None or self._drawn[0] != key:
            self._drawn = key, position_view(self.session.game, self.session.moves[:ply])
        return self._drawn[1]

    # What a page's user does

    def start(self, wanted: Start) -> Callable[[], None]:
        """A new game: loads agents, which may take long, and returns what begins it. Raises Refusal."""
        options = {key: value for key, value in (("size", wanted.size), ("komi", wanted.komi)) if value is not None}
        agent = self._agents.player(wanted.agent, **options)
        seats = wanted.seats or [Seat(), Seat(agent=wanted.agent)]
        sitters = [self._sitter(seat, agent, options) for seat in seats]

        def begin() -> None:
            self.explain = self.explain if wanted.explain is None else wanted.explain
            self.simulations = wanted.simulations or self.simulations
            self.paused = False
            self._begin(agent, sitters, ())

        return begin

    def _sitter(self, seat: Seat, agent: Agent, options: dict[str, Any]) -> Sitter:
        sitter = Sitter(None if seat.agent is None else self._agents.player(seat.agent, **options), seat.level)
        game = agent.game if sitter.agent is None else sitter.agent.game
        if (game.env_id, game.params) != (agent.game.env_id, agent.game.params):
            raise Refusal(422, f"{seat.agent} plays {game.title}, and {agent.name} {agent.game.title}")
        return sitter

    def _begin(self, agent: Agent, sitters: Sequence[Sitter], moves: Sequence[int]) -> None:
        self.agent, self._sitters = agent, list(sitters)
        self.session = Session(agent.game, (None, None))
        for move in moves:
            self.session.play(move)
        self._game_view = game_view(agent.game)
        # What limits agents at level 10, in words.
        self._strength = Engine(agent, simulations=self._limits.simulations, seconds=self._limits.seconds).limits
        self._drawn = None
        # By the number of moves before them: values for the first player, of searches or the network alone; analyses as
        # they are drawn; and positions whose explanation is complete.
        self._values: dict[int, float] = {}
        self._analyses: dict[int, dict[str, Any]] = {}
        self._explained: dict[int, int] = {}
        self._shown: int | None = None
        self._seat()
        self._moved()

    def _seat(self) -> None:
        """New engines in the seats, without trees. A thread that still thinks keeps the old ones to itself."""
        limits = self._limits
        self.session.seats = [
            None
            if sitter.agent is None
            else Engine(
                sitter.agent,
                simulations=limits.simulations,
                seconds=limits.seconds,
                level=sitter.level,
                friendly=limits.friendly,
                seed=secrets.randbits(32),
            )
            for sitter in self._sitters
        ]
        self._explainer = Engine(self.agent)

    def _moved(self) -> None:
        """The game is another one: what is being thought is in vain."""
        self.version += 1
        self._stop.set()
        self.touch()

    def play(self, action: int, ply: int) -> None:
        """A person's move number ``ply``, from 0. Raises Refusal when it is out of turn or illegal."""
        session = self.session
        if session.over:
            raise Refusal(409, "the game is over: begin a new one, or take moves back")
        if ply != len(session.moves):
            raise Refusal(409, f"this was meant as move {ply + 1}, and move {len(session.moves) + 1} is next")
        if not session.person_to_move:
            raise Refusal(409, f"it is the turn of {sides_of(session.game)[session.side]}, whom an agent plays")
        try:
            session.play(action)
        except ValueError as error:
            raise Refusal(422, str(error)) from error
        self._shown = None
        self._moved()

    def undo(self, to: int | None) -> None:
        """Take back moves from number ``to`` on, or (None) to the latest choice of a person. Raises Refusal."""
        session = self.session
        ply = session.last_choice() if to is None else to
        if ply is None:
            raise Refusal(409, "there is no move of yours to take back")
        if ply > len(session.moves) or (ply == len(session.moves) and session.resigned is None):
            raise Refusal(409, f"there is no move {ply + 1} to take back: {len(session.moves)} were played")
        session.go_to(ply)
        self._forget_after(ply)
        self._shown = None
        if not session.person_to_move:
            self.paused = True  # or the same agent would play on at once
        self._moved()

    def _forget_after(self, ply: int) -> None:
        self._values = {p: v for p, v in self._values.items() if p <= ply}
        self._analyses = {p: a for p, a in self._analyses.items() if p <= ply}
        self._explained = {p: n for p, n in self._explained.items() if p <= ply}

    def change(self, wanted: Change) -> Callable[[], None]:
        """Settings: loads agents, which may take long, and returns what changes them. Raises Refusal."""
        sitters = [self._sitter(seat, self.agent, self._board()) for seat in wanted.seats or ()]

        def apply() -> None:
            session = self.session
            if wanted.shown is not None:
                self._reached(wanted.shown)
            seated = bool(sitters) and sitters != self._sitters
            if seated:
                self._sitters = sitters
                self._seat()
            if wanted.shown is not None:
                self._shown = None if wanted.shown == len(session.moves) else wanted.shown
            self.explain = self.explain if wanted.explain is None else wanted.explain
            self.simulations = wanted.simulations or self.simulations
            self.paused = self.paused if wanted.paused is None else wanted.paused
            self.pace = self.pace if wanted.pace is None else wanted.pace
            if seated or self.paused or session.engine is None:  # a reply under way goes on, whatever is looked at
                self._stop.set()
            self.touch()

        return apply

    def _reached(self, ply: int) -> list[int]:
        """The moves up to a position. Raises Refusal where the game has not come so far."""
        moves = self.session.moves
        if ply > len(moves):
            raise Refusal(422, f"there is no position after {ply} moves: {len(moves)} were played")
        return moves[:ply]

    async def insight(self, kind: str, ply: int) -> dict[str, Any]:
        """What the explaining agent's network looks at after ``ply`` moves, as Insights tells it. Raises Refusal."""
        return await self._insights.of(kind, self.agent, self._reached(ply))

    def _board(self) -> dict[str, Any]:
        """The options that make the board of now."""
        known = {"size": self._game_view["size"], "komi": komi(self.session.game)}
        return {name: value for name, value in known.items() if value is not None}

    # Games in and out

    def sgf(self) -> str:
        """Raises Refusal where the game has no SGF."""
        session = self.session
        if family(session.game) is None:
            raise Refusal(422, f"{session.game.title} has no SGF: take JSON")
        result = sgf_result(session.game, session.state, session.resigned)
        return write_sgf(session.game, session.moves, names=self._names(), result=result)

    def json(self) -> str:
        session = self.session
        return write_json(session.game, session.moves, self._names(), session.winner, session.over)

    def _names(self) -> tuple[str, str]:
        first, second = ("person" if sitter.agent is None else sitter.agent.name for sitter in self._sitters)
        return first, second

    def load(self, text: str) -> Callable[[], None]:
        """Go on from a game as SGF or JSON: reads it, which may take long, and returns what does. Raises Refusal."""
        try:
            read = read_game(text, self.session.game)
        except ValueError as error:
            raise Refusal(422, str(error)) from error
        agent = self._agents.player(self.agent.name, **read.options)
        sitters = [sitter.on(self._agents, read.options) for sitter in self._sitters]
        try:
            agent.game.replay(read.moves)
        except ValueError as error:
            raise Refusal(422, f"the file breaks the rules by which {agent.name} plays: {error}") from error

        def begin() -> None:
            self.paused = True  # the file's game is looked at first
            self._begin(agent, sitters, read.moves)

        return begin

    # Work

    async def work(self) -> None:
        try:
            while True:
                self.changed.clear()
                self._stop = threading.Event()
                if self.session.engine is not None and not self.paused:
                    await self._reply(self.session.engine)
                elif self.explain and self._explained.get(self.shown, 0) < self.simulations:
                    await self._explain()
                elif self.explain and (ply := self._untold()) is not None:
                    await self._tell_value(ply)
                else:
                    await self.changed.wait()
        finally:
            self._stop.set()
            self._seat()  # whoever looks again gets new trees
            self._analyses, self._explained = {}, {}

    async def _reply(self, engine: Engine) -> None:
        session, version, stop, began = self.session, self.version, self._stop, time.monotonic()
        moves, watch = list(session.moves), self._watch(len(session.moves), session.side)
        state, agent, explain = session.state, self.agent, self.explain

        def think() -> Choice:
            engine.go_to(moves)
            if engine.agent.name == agent.name:
                return engine.choose(watch=watch, stop=stop)
            if explain:  # whose opinion is shown is another than who thinks: of it there is a glance
                watch.tell(Report(agent.analyse_state(state, 0), None))
            return engine.choose(stop=stop)

        choice = await self._pool.run(think, stop, kind="reply")
        if None not in session.seats:  # two agents, at a pace that people can follow
            while not stop.is_set() and (rest := began + self.pace - time.monotonic()) > 0:
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.changed.wait(), rest)
        if stop.is_set() or version != self.version:
            return
        session.take(choice)
        self.version += 1
        self.touch()

    async def _explain(self) -> None:
        """The agent's opinion of the position that is looked at."""
        session, stop, engine = self.session, self._stop, self._explainer
        ply, simulations, version = self.shown, self.simulations, self.version
        moves = session.moves[:ply]
        state = session.game.replay(moves)
        over = state[STATUS] != ONGOING
        loop, watch = asyncio.get_running_loop(), self._watch(ply, int(state[TO_MOVE]))

        def think() -> None:
            engine.go_to(moves)
            owners = engine.ownership()
            if owners is not None:
                count = count_view(session.game, state, owners)
                told = {"ownership": [round(float(o), 2) for o in owners], "count": count}
                loop.call_soon_threadsafe(self._take, version, ply, told)
            if not over:
                engine.analyse(watch, stop, simulations)

        if over:
            self._values[ply] = 0.0 if state[STATUS] == DRAW else 1.0 if state[STATUS] == FIRST_WON else -1.0
        await self._pool.run(think, stop, kind="explain")
        if not stop.is_set() and version == self.version:
            self._explained[ply] = simulations
            self.touch()

    def _watch(self, ply: int, side: int) -> Watch:
        """Hands what a search of the position after ``ply`` moves finds to the event loop."""
        loop, game, version = asyncio.get_running_loop(), self.session.game, self.version

        def tell(report: Report) -> None:
            loop.call_soon_threadsafe(self._take, version, ply, analysis_view(game, report, side))

        return Watch(tell, PROGRESS_SECONDS)

    def _take(self, version: int, ply: int, told: dict[str, Any]) -> None:
        """Something new is known of a position."""
        if version != self.version:
            return
        known = self._analyses[ply] = self._analyses.get(ply, {}) | told
        if "value" in told:
            self._values[ply] = told["value"]
        if self.explain:
            self.publish("analysis", {"type": "analysis", "version": version, "ply": ply, "analysis": known})

    def _untold(self) -> int | None:
        """The first position whose value nobody knows."""
        return next((ply for ply in range(len(self.session.moves)) if ply not in self._values), None)

    async def _tell_value(self, first: int) -> None:
        """Values of all positions from ``first`` on that nobody knows, by the network alone."""
        session, stop, version, agent = self.session, self._stop, self.version, self.agent
        moves = list(session.moves)
        missing = {ply for ply in range(first, len(moves)) if ply not in self._values}

        def think() -> dict[int, float]:
            found: dict[int, float] = {}
            state = session.game.replay(moves[:first])
            for ply in range(first, len(moves)):
                if stop.is_set():
                    break
                if ply in missing:
                    value = agent.analyse_state(state, 0).value
                    found[ply] = round(value if state[TO_MOVE] == 0 else -value, 4)
                state = session.game.after(state, moves[ply])
            return found

        found = await self._pool.run(think, stop, kind="explain")
        if version == self.version:
            self._values = found | self._values
            self.touch()
