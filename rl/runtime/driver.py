"""The driver's books: who does what, who has which weights, who died. ``on_ray.run_async`` says what follows what."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.exceptions import ObjectLostError, RayTaskError

from rl.actors.seeds import actor_seed
from rl.records import Weights
from rl.runtime.checkpoint import latest_checkpoint, load_checkpoint
from rl.runtime.crew import Crew
from rl.runtime.faults import RunFailed
from rl.runtime.kinds import elastic, may_play, updates_a_call
from rl.runtime.learners import Learners, LearnersLost, lost_each_other
from rl.runtime.plan import Plan, grows, plan_now
from rl.runtime.processes import PROCESS_LOST, RayActor, RayExaminer, named
from rl.runtime.servers import Servers
from rl.runtime.session import Session
from rl.runtime.watch import Watch
from rl.weights import Publisher

log = logging.getLogger(__name__)

PLAY_SECONDS = 2.0  # length of one stretch of play: how long an actor goes without looking for new weights
PLAY_MOVES = 16  # ..., or so many moves a game: tiny games, whose answers are soon all recalled, end by the thousand
WAIT_SECONDS = 1.0  # the driver looks at the clock and at Ctrl-C this often
LOOK_SECONDS = 5.0  # .., and at the cluster's nodes this often
ROOM_SECONDS = 60.0  # that processes wait for room in the cluster before it is said
ACTOR_CALLS = ("start", "use", "play")
LEARNING_LOST = (*PROCESS_LOST, LearnersLost)
WHO = {  # by kind of call
    "add": "the learner",
    "train": "the learner",
    "examine": "the examiner",
    "load": "an inference server",
}


@dataclass
class Call:
    """A remote call under way."""

    kind: str
    worker: int  # number of the actor, or of the learner; 0 for the examiner
    aside: Any = None  # the reference that is passed on without being fetched: games or weights


@dataclass(frozen=True)
class Published:
    """A version of the weights in the object store."""

    version: int
    weights: Any  # reference to Weights
    for_actors: Any  # what actors are given: the same, or, where servers evaluate for them, weights without tensors


class Driver:
    """Calls under way, actors, learners, examiner and the newest weights."""

    def __init__(self, session: Session):
        self.session, self.config = session, session.config
        self.plan = plan_now(self.config)
        log.info("%s", self.plan)
        self.parts = self.plan.actors  # that environments are divided into; actors that come later take as many
        self.calls: dict[Any, Call] = {}
        self.crew = Crew()
        self.restarts = 0  # processes that were replaced
        self.begun = session.clock.env_steps
        self.watch = Watch()
        self.trained = 0  # batches that were trained on
        self.waiting = 0  # stretches that were given out and not trained on yet
        self.servers = Servers(self.config, self.plan)
        for index, server in enumerate(self.servers.processes):
            self.calls[server.live.remote()] = Call("live", index)
        self._begin_learning(session.restored_from)
        for index in range(self.plan.actors):
            self._begin_actor(index)
        self.examiner = self._new_examiner()
        self._looked = time.monotonic()

    def _begin_learning(self, checkpoint: str | None) -> None:
        """New learners; their weights are what everyone is to use, and they say what they may do."""
        self._begun_at = time.monotonic()  # since when room is waited for; infinite once that was said
        while True:
            learners = None
            try:
                folder, waiting = self.session.folder.address, self._wait_for_learners
                learners = Learners(self.config, self.plan, checkpoint, folder, waiting)
                reply, weights = learners.ask(self.session.used(), waiting)
                break
            except LEARNING_LOST as error:
                if learners is not None:
                    learners.kill()
                self._count_death("learner", "", error)
        self.learners, self.learned_before = learners, reply["version"]
        self.published: Publisher[Published] = Publisher()  # a learner that fell back begins at an older version
        self._publish(reply["version"], weights)
        for actor in self.crew.actors.values():
            actor.held = -1

    def _publish(self, version: int, weights: Any) -> None:
        """``weights``: a reference."""
        for index in range(len(self.servers)):
            self._load(index, weights)
        for_actors = Weights(version, {}, self.session.used()) if len(self.servers) else weights
        self.published.publish(Published(version, weights, for_actors))

    def _load(self, index: int, weights: Any) -> None:
        """Give a server its weights."""
        self.calls[self.servers.processes[index].use.remote(weights)] = Call("load", index)

    def _begin_actor(self, index: int) -> None:
        """A new actor of this number, which is given the newest weights as soon as it has started."""
        seed = actor_seed(self.config.seed, index, self.begun, self.crew.lives[index])
        process = RayActor.options(num_cpus=self.plan.actor_cpus, num_gpus=self.plan.actor_gpus).remote(
            self.config, seed, self.parts, self.servers.of(index)
        )
        self.crew.add(index, process)
        self.calls[process.node.remote()] = Call("start", index)
        self.calls[process.use.remote(self.newest.for_actors)] = Call("use", index)
        self.crew.actors[index].held = self.newest.version

    def _new_examiner(self) -> Any:
        return RayExaminer.options(num_cpus=0).remote(self.config)

    def _wait_for_learners(self) -> None:
        """While they start. Raises RunFailed when the run is asked to stop, which then has nothing new to save."""
        if self.session.stopping:
            raise RunFailed(f"stopped before {_learners(self.plan)} had started; checkpoints, if any, are as they were")
        self._tell_of_room()

    def _tell_of_room(self) -> None:
        """Once, when processes do not start for long: cores may be asked for that others hold."""
        if time.monotonic() - self._begun_at < ROOM_SECONDS:
            return
        self._begun_at = math.inf
        free = ray.available_resources()
        self.session.progress.note(
            f"still waiting for processes to start; free in the cluster: {free.get('CPU', 0):g} of {self.plan.cores} "
            f"cores, {free.get('GPU', 0):g} GPUs; this run or others hold the rest"
        )

    def wait_until_ready(self) -> None:
        """All actors have imported, compiled and measured what they need, and hold the first weights."""
        number, wanted = len(self.crew), self.config.run.actors
        served = f", {told(len(self.servers), 'inference server')}" if len(self.servers) else ""
        self.session.progress.note(f"{told(number, 'actor')}{served} and {_learners(self.plan)} are getting ready")
        if wanted not in ("auto", number):
            self.session.progress.note(f"the cluster has no room for {wanted} actors yet: others begin as nodes join")
        while any(call.kind != "live" for call in self.calls.values()) or len(self.crew) == 0:
            if self.session.stopping:
                return
            self.wait()
            self.look_around()
            self._tell_of_room()

    @property
    def newest(self) -> Published:
        found = self.published.newer_than(-1)
        assert found is not None, "the first weights are published before anything else"
        return found

    def look_around(self) -> None:
        """As many actors as there is room for now: new ones for those that died, and on nodes that have joined."""
        now = time.monotonic()
        some_died = len(self.crew) < self.plan.actors
        if not (self.crew.settled() and (some_died or now - self._looked > LOOK_SECONDS)):
            return
        self._looked = now
        found = plan_now(self.config)
        left = found.cores - self.plan.learners * self.plan.learner_cpus  # the learners keep what they began with
        actors = found.actors if elastic(self.config) else self.plan.actors
        if elastic(self.config) and (self.config.run.actors == "auto" or grows(self.config)):
            actors = max(1, min(actors, left))
        cpus = int(actors <= left)
        joined = actors - self.plan.actors
        if joined:
            news = f"{told(joined, 'more actor')}, {actors} in all" if joined > 0 else f"{told(actors, 'actor')} go on"
            self.session.progress.note(f"a node has {'joined' if joined > 0 else 'left'}: {news}")
        self.plan = replace(self.plan, actors=actors, actor_cpus=cpus, actor_gpus=found.actor_gpus)
        missing = actors - len(self.crew)
        replaced = missing - max(0, joined)
        if replaced > 0:
            self.restarts += replaced
            self.session.progress.note(f"{told(replaced, 'actor')} replaced")
        for _ in range(missing):
            self._begin_actor(self.crew.vacant())

    # What to do next

    def hand_out_work(self) -> None:
        """Give idle actors their next stretch, the learners their next updates, the examiner its next version."""
        busy = {c.worker for c in self.calls.values() if c.kind in ("play", "use")}
        allowed = self.learners.allowed
        for index in self.crew.actors.keys() - busy:
            handed = self.crew.handed[index]
            if may_play(self.config, handed, self.waiting, len(self.crew), self.trained, allowed):
                self._play(index)
        under_way = {c.kind for c in self.calls.values()}
        if "train" not in under_way and allowed > 0:
            steps = min(updates_a_call(self.config), allowed)
            for rank, (reply, weights) in enumerate(self.learners.train(steps, self.session.used())):
                self.calls[reply] = Call("train", rank, weights)
        if self.session.examination_due() and "examine" not in under_way:
            self.session.examination_begun()
            weights = self.newest.weights
            self.calls[self.examiner.examine.remote(weights)] = Call("examine", 0, weights)

    def _play(self, index: int) -> None:
        actor = self.crew.actors[index]
        news = self.published.newer_than(actor.held)  # nobody fetches what it has
        actor.held = self.published.version
        self.crew.handed[index] += 1
        self.waiting += 1
        report, games = actor.process.play.remote(news.for_actors if news else None, PLAY_MOVES, PLAY_SECONDS)
        self.calls[report] = Call("play", index, games)

    def wait(self) -> list[Call]:
        """Calls that ended, their results in ``Call.aside`` beside the reference that is passed on."""
        if not self.calls:
            time.sleep(WAIT_SECONDS)  # only when the learner is done and every actor waits for the end
            return []
        ready, _ = ray.wait(list(self.calls), num_returns=1, timeout=WAIT_SECONDS)
        if ready:  # and all that are: with many actors one at a time would cost more than the actors' stretches last
            ready, _ = ray.wait(list(self.calls), num_returns=len(self.calls), timeout=0)
        learners, done = self.learners, []
        for reference in ready:
            call = self.calls.pop(reference, None)
            if call is None:  # its process is known to be lost by now
                continue
            try:
                call.aside = (ray.get(reference), call.aside)
            except PROCESS_LOST as error:
                if call.kind == "add" and isinstance(error, ObjectLostError):
                    # Not the learner, but the node on which the games lay, on their way to it.
                    self.session.progress.note("games of a stretch were lost with the node that they were played on")
                    self.waiting -= 1
                    continue
                self._replace(call, error)
            except RayTaskError as error:
                if call.kind == "train" and self.plan.learners > 1 and lost_each_other(error):
                    self._replace(call, error)
                    continue
                raise named(error, WHO.get(call.kind, f"actor {call.worker}")) from error
            else:
                if call.kind == "start":
                    self.crew.started(call.worker, call.aside[0])
                elif call.kind == "load":
                    self.watch.served(call.aside[0])
                    self.crew.finished(server_name(call.worker))
                done.append(call)
        if self.learners is not learners:  # then what else came is of a time that did not happen
            done = [call for call in done if call.kind == "examine"]
        return done

    # What came back

    def take_play(self, call: Call) -> None:
        (report, summary), games = call.aside
        self.crew.finished(call.worker)
        self.session.played(report)
        self.watch.played(call.worker, self.crew.actors[call.worker].address or "?", report)
        self.session.finished(summary)
        if summary["records"]:
            reply, rank = self.learners.add(games, summary.get("moves", summary["records"]))
            self.calls[reply] = Call("add", rank)

    def take_allowance(self, call: Call) -> None:
        (allowed, status), _ = call.aside
        self.learners.told(call.worker, allowed, status)

    def take_training(self, call: Call) -> None:
        reply, weights = call.aside
        self.learners.told(call.worker, reply["allowed"], reply["status"])
        if call.worker > 0:  # the first speaks for all
            return
        if reply["measures"]:
            self.trained += 1
            self.waiting -= self.plan.learners
        if reply["version"] > self.published.version:
            self._publish(reply["version"], weights)
            self.watch.trained(reply["busy"], reply["status"]["weights/publish_seconds"], reply["version"])
            self.session.learned(reply["version"], reply["measures"], reply["busy"])

    def take_examination(self, call: Call) -> None:
        found, weights = call.aside
        self.crew.finished("examiner")
        self.watch.timeline.examined(found.metrics.get("eval/seconds", 0.0))
        if self.session.examined(found):
            self._keep(weights, self.session.keep_best)

    def keep_snapshot(self) -> None:
        self._keep(self.newest.weights, self.session.keep_snapshot)

    def _keep(self, weights: Any, keep: Callable[[Weights], None]) -> None:
        try:
            found: Weights = ray.get(weights)
        except PROCESS_LOST as error:
            log.warning("weights that were to be kept are lost with the learner that made them: %s", error)
        else:
            keep(found)

    def status(self) -> dict[str, float]:
        actors = self.crew.actors
        waiting = sum(call.kind == "add" for call in self.calls.values())
        nodes = {index: actor.address for index, actor in actors.items() if actor.address}
        lags = {index: self.published.version - actor.held for index, actor in actors.items() if actor.held >= 0}
        return self.learners.status | {
            "selfplay/actors": len(actors),
            "selfplay/restarts": self.restarts,
            **self.watch.row(nodes, self.crew.lives, lags, waiting),
        }

    # When something dies

    def _count_death(self, who: int | str, node: str, error: Exception) -> None:
        """Raises RunFailed where it is no accident."""
        complaint = self.crew.died(who, node)
        if complaint:
            raise RunFailed(
                f"{f'actor {who}' if isinstance(who, int) else f'the {who}'} {complaint} in {self.config.env}, so it "
                f"is no accident; {self.session.folder} holds the last checkpoint for --resume; the last death: "
                f"{error}"
            ) from error

    def _replace(self, call: Call, error: Exception) -> None:
        if call.kind in ("add", "train"):
            self._recover_learning(error)
        elif call.kind == "examine":
            self._count_death("examiner", "", error)
            self.restarts += 1
            self.session.progress.note("the examiner died and is replaced")
            self.examiner = self._new_examiner()
        elif call.kind == "load":
            pass  # it is told of by its "live"
        elif call.kind == "live":
            self._count_death(server_name(call.worker), "", error)
            self.restarts += 1
            self.session.progress.note(f"{server_name(call.worker)} died and is started anew")
            self._load(call.worker, self.newest.weights)
            self.calls[self.servers.processes[call.worker].live.remote()] = call
        else:
            actor = self.crew.lost(call.worker)
            ray.kill(actor.process)  # where it is only cut off, it would come back as one too many
            # Whatever else it was asked is lost too; a stretch is played anew, by another.
            lost = [r for r, c in self.calls.items() if c.worker == call.worker and c.kind in ACTOR_CALLS]
            for kind in (call.kind, *(self.calls.pop(r).kind for r in lost)):
                if kind == "play":
                    self.crew.handed[call.worker] -= 1
                    self.waiting -= 1
            self.session.progress.note(f"actor {call.worker} died")
            self._count_death(call.worker, actor.node, error)

    def _recover_learning(self, error: Exception) -> None:
        """New learners from the last checkpoint; the counters and curves go back to it too."""
        self._count_death("learner", "", error)
        self.restarts += 1
        newest = self.session.patiently(lambda: latest_checkpoint(self.session.checkpoints))
        assert newest is not None, "a run saves a checkpoint before anything else"
        self.session.progress.note(f"{_learners(self.plan)} died: back to {newest}")
        # The dead one's other calls will fail too; games on their way to it are lost.
        self.calls = {r: c for r, c in self.calls.items() if c.kind not in ("add", "train")}
        # What waited for it is lost too: each actor begins again with the stretch that it is at.
        playing = {c.worker for c in self.calls.values() if c.kind == "play"}
        self.trained, self.waiting = 0, len(playing)
        self.crew.handed = Counter(playing)
        self.learners.kill()
        self.session.rewind(self.session.patiently(lambda: load_checkpoint(newest, lambda parts: [])).state)
        self._begin_learning(newest)

    # Checkpoints and the end

    def save(self) -> bool:
        """A checkpoint by the learner, which has everything that matters; False when it died and fell back."""
        try:
            self._save()
        except LEARNING_LOST as error:
            self._replace(Call("train", 0), error)
            return False
        finally:
            self.session.checkpoint_done()
        if self.published.version > self.learned_before:  # beyond what it would come back to: no vicious circle
            self.crew.finished("learner")
        self.watch.timeline.write(self.session.run_dir)
        return True

    def _save(self) -> None:
        session, write = self.session, self.learners.checkpoint
        session.patiently(session.folder.send)  # at a URL, nothing that is older may be missing beside it
        session.patiently(lambda: ray.get(write(session.checkpoints, session.book())))

    def save_at_fault(self) -> None:
        """The last row and the last checkpoint of a run that cannot go on; an update that failed changed nothing."""
        try:
            answer, _ = self.learners.ask(self.session.used())
            self.session.learned(answer["version"], {}, answer["busy"])
            self.session.log(self.status())
            self._save()
        except LEARNING_LOST as error:
            log.warning("the last checkpoint is the one before: the learner is lost too: %s", error)

    def examine(self) -> None:
        """The last examination, whose end is waited for; once more when the examiner dies in it."""
        for _ in range(2):
            weights = self.newest.weights
            self.calls = {self.examiner.examine.remote(weights): Call("examine", 0, weights)}
            while self.calls:
                for call in self.wait():
                    self.take_examination(call)
                    return


def server_name(index: int) -> str:
    return f"inference server {index}"


def told(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _learners(placed: Plan) -> str:
    return "the learner" if placed.learners == 1 else f"the {placed.learners} learners"
