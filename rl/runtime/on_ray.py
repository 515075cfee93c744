"""The cycle on a Ray cluster: the parts of ``loop.py`` as processes, every edge wired in ``run_async``.

Data never passes through the driver. An actor's finished games go by reference from the actor to the learner, the
learner's weights by reference from the object store of its node to the actors', one copy a node.

Backpressure, both ways: the learner trains only as far as its trainer allows (``steps_allowed``: the reuse rule, or
what lies in the queue), and actors are not given new work while too much waits for it (``kinds.may_play``).

Deaths: a dead actor (or examiner) is replaced and plays on with the newest weights; a dead learner comes back from
the last checkpoint, and the counters and curves with it. What is raised is no accident and would be raised again: an
environment that fails (or hangs: ``envs.gym.Watched``) and numbers that are not finite end the run, with a checkpoint.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayTaskError

from envs.gym import WorldError
from rl.actors.seeds import actor_seed
from rl.records import Weights
from rl.runtime.checkpoint import latest_checkpoint, load_checkpoint
from rl.runtime.faults import RunFailed, numbers_failed, world_failed
from rl.runtime.kinds import may_play, updates_a_call
from rl.runtime.placing import learner_place
from rl.runtime.processes import PROCESS_LOST, RayActor, RayExaminer, RayLearner, named, plan
from rl.runtime.session import Session
from rl.runtime.watch import Watch, Whereabouts
from rl.weights import Publisher

log = logging.getLogger(__name__)

PLAY_SECONDS = 2.0  # length of one stretch of play: how long an actor goes without looking for new weights
PLAY_MOVES = 16  # ..., or so many moves a game: tiny games, whose answers are soon all recalled, end by the thousand
WAIT_SECONDS = 1.0  # the driver looks at the clock and at Ctrl-C this often
MAX_RESTARTS_A_MINUTE = 20  # more than this is no accident: give up instead of looping
MAX_DEATHS_IN_A_ROW = 4  # of an actor that finishes nothing in between: then what it runs is to blame
WHO = {"add": "the learner", "train": "the learner", "examine": "the examiner"}  # by kind of call


def run_async(session: Session) -> None:
    """Drive a run on the cluster until its budget is used or it is asked to stop. All edges are here.

    Raises RunFailed, with a checkpoint, when the environment or the numbers fail, or processes keep dying.

    actor ──(summary)──────────────► driver: counts, and gives the actor its next stretch
    actor ──(games, by reference)──► learner.add ──(updates allowed)──► driver: lets the learner train
    learner.train ──(measures)─────► driver: logs
    learner.train ──(weights, by reference)──► actors, examiner
    """
    drive = Driver(session)
    drive.save()  # whatever dies first, there is a checkpoint to come back to
    try:
        drive.wait_until_ready()
        session.begin()
        saved = False
        while not saved:
            while session.used() < 1.0 and not session.stopping:
                drive.hand_out_work()
                for call in drive.wait():
                    match call.kind:
                        case "play":
                            drive.take_play(call)
                        case "add":
                            drive.take_allowance(call)
                        case "train":
                            drive.take_training(call)
                        case "examine":
                            drive.take_examination(call)
                if session.snapshot_due():
                    drive.keep_snapshot()
                if session.log_due():
                    session.log(drive.status())
                if session.checkpoint_due():
                    session.log(drive.status())  # so that a resumed run lacks nothing
                    drive.save()
            if session.snapshot_due():  # the one at the end of the budget, which ends the loop above
                drive.keep_snapshot()
            session.log(drive.status())
            saved = drive.save()  # else the learner died just now, and what it has lost is trained anew
        if not session.stopping:
            drive.examine()
    except WorldError as error:
        drive.save_at_fault()
        raise world_failed(session, str(error)) from error
    except FloatingPointError as error:
        drive.save_at_fault()
        raise numbers_failed(session, str(error)) from error
    except RunFailed:
        drive.save_at_fault()
        raise


@dataclass
class Call:
    """A remote call under way."""

    kind: str
    worker: int  # index of the actor; 0 for the others
    aside: Any = None  # the reference that is passed on without being fetched: games or weights


@dataclass(frozen=True)
class Published:
    """A version of the weights in the object store."""

    version: int
    weights: Any  # reference to Weights


class Driver:
    """The driver's books: who is doing what, who has which weights, who died."""

    def __init__(self, session: Session):
        self.session, self.config = session, session.config
        self.plan = plan(self.config, ray.cluster_resources())
        log.info("%s", self.plan)
        self.calls: dict[Any, Call] = {}
        self.lives = [0] * self.plan.actors
        self.deaths = [0] * self.plan.actors  # of each actor since it last finished a stretch
        self.restarts: list[float] = []  # times of all restarts
        self.handed = [0] * self.plan.actors  # stretches that each actor was given
        self.begun = session.clock.env_steps
        self.trained = 0  # calls of the learner that trained
        self.watch, self.whereabouts = Watch(), Whereabouts()
        self.learner = self._new_learner(session.restored_from)
        self.actors = [self._new_actor(i) for i in range(self.plan.actors)]
        self.examiner = self._new_examiner()
        self.learner_status: dict[str, float] = {}
        self._first_weights()

    def _new_learner(self, checkpoint: str | None) -> Any:
        gpus = self.plan.learner_gpus
        options = {"num_cpus": 0, "num_gpus": gpus} | learner_place(self.session.folder.address)
        return RayLearner.options(**options).remote(self.config, self.plan.learner_threads, checkpoint)

    def _new_actor(self, index: int) -> Any:
        seed = actor_seed(self.config.seed, index, self.begun, self.lives[index])
        cores = 1 if self.plan.actors <= ray.cluster_resources().get("CPU", 1) else 0
        actor = RayActor.options(num_cpus=cores, num_gpus=self.plan.actor_gpus).remote(
            self.config, seed, self.plan.actors
        )
        return self.whereabouts.started(index, actor)

    def _new_examiner(self) -> Any:
        return RayExaminer.options(num_cpus=0).remote(self.config)

    def _first_weights(self) -> None:
        """Ask a new learner for its weights and for what it may do; give them to everyone."""
        reply, weights = self.learner.train.remote(0, self.session.used())
        answer = ray.get(reply)
        self.allowed, self.learner_status = answer["allowed"], answer["status"]
        self.published: Publisher[Published] = Publisher()  # a learner that fell back begins at an older version
        self.published.publish(Published(answer["version"], weights))
        self.held = [-1] * self.plan.actors  # the version that each actor has

    def wait_until_ready(self) -> None:
        """All actors have imported, compiled and measured what they need, and hold the first weights."""
        self.session.progress.note(f"{self.plan.actors} actors and the learner are getting ready")
        for index in range(self.plan.actors):
            self._get_ready(index)
        while self.calls:
            self.wait()

    def _get_ready(self, index: int) -> None:
        self.calls[self.actors[index].use.remote(self.newest.weights)] = Call("use", index)
        self.held[index] = self.newest.version

    @property
    def newest(self) -> Published:
        found = self.published.newer_than(-1)
        assert found is not None, "the first weights are published before anything else"
        return found

    # What to do next

    def hand_out_work(self) -> None:
        """Give idle actors their next stretch, the learner its next updates, the examiner its next version."""
        busy = {c.worker for c in self.calls.values() if c.kind == "play"}
        for index in range(self.plan.actors):
            if index not in busy and may_play(self.config, self.handed, index, self.trained, self.allowed):
                self._play(index)
        under_way = {c.kind for c in self.calls.values()}
        if "train" not in under_way and self.allowed > 0:
            reply, weights = self.learner.train.remote(updates_a_call(self.config), self.session.used())
            self.calls[reply] = Call("train", 0, weights)
        if self.session.examination_due() and "examine" not in under_way:
            self.session.examination_begun()
            weights = self.newest.weights
            self.calls[self.examiner.examine.remote(weights)] = Call("examine", 0, weights)

    def _play(self, index: int) -> None:
        news = self.published.newer_than(self.held[index])  # nobody fetches what it has
        self.held[index] = self.published.version
        self.handed[index] += 1
        report, games = self.actors[index].play.remote(news.weights if news else None, PLAY_MOVES, PLAY_SECONDS)
        self.calls[report] = Call("play", index, games)

    def wait(self) -> list[Call]:
        """Calls that ended, their results in ``Call.aside`` beside the reference that is passed on."""
        if not self.calls:
            time.sleep(WAIT_SECONDS)  # only when the learner is done and every actor waits for the end
            return []
        ready, _ = ray.wait(list(self.calls), num_returns=1, timeout=WAIT_SECONDS)
        done = []
        for reference in ready:
            call = self.calls.pop(reference)
            try:
                call.aside = (ray.get(reference), call.aside)
            except PROCESS_LOST as error:
                self._replace(call, error)
            except RayTaskError as error:
                raise named(error, WHO.get(call.kind, f"actor {call.worker}")) from error
            else:
                done.append(call)
        return done

    # What came back

    def take_play(self, call: Call) -> None:
        (report, summary), games = call.aside
        self.deaths[call.worker] = 0
        self.session.played(report)
        self.watch.played(call.worker, self.whereabouts.nodes().get(call.worker, "?"), report)
        self.session.finished(summary)
        if summary["records"]:
            self.calls[self.learner.add.remote(games)] = Call("add", 0)

    def take_allowance(self, call: Call) -> None:
        (self.allowed, status), _ = call.aside
        self.learner_status |= status

    def take_training(self, call: Call) -> None:
        reply, weights = call.aside
        self.allowed, self.learner_status = reply["allowed"], reply["status"]
        self.trained += bool(reply["measures"])
        if reply["version"] > self.published.version:
            self.published.publish(Published(reply["version"], weights))
            self.watch.trained(reply["busy"], reply["status"]["weights/publish_seconds"], reply["version"])
            self.session.learned(reply["version"], reply["measures"], reply["busy"])

    def take_examination(self, call: Call) -> None:
        found, weights = call.aside
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
        waiting = sum(call.kind == "add" for call in self.calls.values())
        lags = {index: self.published.version - held for index, held in enumerate(self.held) if held >= 0}
        restarts = {index: lives - 1 for index, lives in self.whereabouts.lives.items()}
        return self.learner_status | {
            "selfplay/actors": self.plan.actors,
            "selfplay/restarts": len(self.restarts),
            **self.watch.row(self.whereabouts.nodes(), restarts, lags, waiting),
        }

    # When something dies

    def _replace(self, call: Call, error: Exception) -> None:
        now = time.monotonic()
        self.restarts.append(now)
        if sum(now - t < 60 for t in self.restarts) > MAX_RESTARTS_A_MINUTE:
            raise RunFailed(f"processes keep dying, {len(self.restarts)} so far; the last: {error}") from error
        if call.kind in ("add", "train"):
            self._recover_learner()
        elif call.kind == "examine":
            self.session.progress.note("the examiner died and is replaced")
            self.examiner = self._new_examiner()
        else:
            self.lives[call.worker] += 1
            self.deaths[call.worker] += 1
            if self.deaths[call.worker] > MAX_DEATHS_IN_A_ROW:
                raise RunFailed(
                    f"actor {call.worker} has died {self.deaths[call.worker]} times without finishing a stretch of "
                    f"{self.config.env}, so it is no accident; its newest weights are saved in "
                    f"{self.session.folder} for --resume; the last death: {error}"
                ) from error
            self.session.progress.note(f"actor {call.worker} died and is replaced")
            self.actors[call.worker] = self._new_actor(call.worker)
            self.held[call.worker] = -1
            if call.kind == "use":
                self._get_ready(call.worker)
            else:
                self.handed[call.worker] -= 1  # that stretch is played anew

    def _recover_learner(self) -> None:
        """A new learner from the last checkpoint; the counters and curves go back to it too."""
        newest = self.session.patiently(lambda: latest_checkpoint(self.session.checkpoints))
        assert newest is not None, "a run saves a checkpoint before anything else"
        self.session.progress.note(f"the learner died and comes back from {newest}")
        # The dead one's other calls will fail too; games on their way to it are lost.
        self.calls = {r: c for r, c in self.calls.items() if c.kind not in ("add", "train")}
        # What waited for it is lost too: each actor begins again with the stretch that it is at.
        playing = {c.worker for c in self.calls.values() if c.kind == "play"}
        self.trained = 0
        self.handed = [int(index in playing) for index in range(self.plan.actors)]
        ray.kill(self.learner)
        self.session.rewind(self.session.patiently(lambda: load_checkpoint(newest)).state)
        self.learner = self._new_learner(newest)
        self._first_weights()

    # Checkpoints and the end

    def save(self) -> bool:
        """A checkpoint by the learner, which has everything that matters; False when it died and fell back."""
        try:
            write = self.learner.checkpoint.remote
            self.session.patiently(lambda: ray.get(write(self.session.checkpoints, self.session.book())))
        except PROCESS_LOST as error:
            self._replace(Call("train", 0), error)
            return False
        finally:
            self.session.checkpoint_done()
        self.watch.timeline.write(self.session.run_dir)
        return True

    def save_at_fault(self) -> None:
        """The last row and the last checkpoint of a run that cannot go on; an update that failed changed nothing."""
        try:
            answer = ray.get(self.learner.train.remote(0, self.session.used())[0])
            self.session.learned(answer["version"], {}, answer["busy"])
        except PROCESS_LOST as error:
            self._replace(Call("train", 0), error)
        self.session.log(self.status())
        self.save()

    def examine(self) -> None:
        """The last examination, whose end is waited for; once more when the examiner dies in it."""
        for _ in range(2):
            weights = self.newest.weights
            self.calls = {self.examiner.examine.remote(weights): Call("examine", 0, weights)}
            while self.calls:
                for call in self.wait():
                    self.take_examination(call)
                    return
