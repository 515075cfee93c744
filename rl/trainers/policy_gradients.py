"""The learner's side of self-play without search, whole: moves that wait, and the learner, where they share memory.

Reads: finished games. Writes: updates, metrics and new weights. A batch of moves is trained on in minibatches, several
times, and forgotten (PPO, Schulman et al. 2017).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

import envs
from envs.game import TO_MOVE, Game
from rl.config import GameConfig
from rl.experience.targets import replay
from rl.learner import GamePPOLearner, mean_measures
from rl.records import GameRecord, Tensors, Weights


class PolicyGradientTrainer:
    def __init__(self, config: GameConfig, device: str = "auto"):
        assert config.ppo is not None, "other runs learn from searches"
        self.config, self.ppo = config, config.ppo
        self.game = envs.make(config.env, **config.env_options)
        self.learner = GamePPOLearner(self.game, config, device)
        self.rng = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(0,)))
        self.busy_seconds = 0.0  # spent in updates so far
        self.queue: list[Tensors] = []  # of each game that waits: its moves, see ``moves_of``
        self.total = 0  # moves ever

    def add(self, games: list[GameRecord]) -> None:
        """Take the moves of finished games into the queue."""
        for record in games:
            self.queue.append(moves_of(self.game, record, self.ppo.trace_lambda))
            self.total += len(record.actions)

    @property
    def waiting(self) -> int:
        """Moves in the queue."""
        return sum(len(moves["action"]) for moves in self.queue)

    def _minibatches(self) -> int:
        return max(1, self.ppo.rows // self.config.learner.batch_size)

    def steps_allowed(self) -> int:
        """Updates that what lies in the queue and the run's budget of learner steps permit now."""
        if self.waiting < self.ppo.rows:
            return 0
        limit = self.config.run.learner_steps
        left = max(0, limit - self.learner.step) if limit is not None else 2**31
        return min(left, self._minibatches() * self.ppo.epochs)

    def train(self, steps: int, progress: float) -> dict[str, float]:
        """Train on all that waits, every epoch of it, if it is enough; the mean measures by the catalogue's names.

        ``progress`` in [0, 1] is the share of the run's budget used, for the schedule. Nothing happens when ``steps``
        is 0. Raises FloatingPointError when the loss is not finite; the weights stay as they were.
        """
        if not steps or not self.steps_allowed():
            return {}
        started = time.perf_counter()
        moves = {name: np.concatenate([m[name] for m in self.queue]) for name in self.queue[0]}
        self.queue.clear()
        lag = self.learner.step - moves["version"]
        limit = self.config.run.learner_steps or 2**31
        measures = []
        for batch in self.batches(moves):
            if self.learner.step >= limit:
                break
            rows = {name: self.learner.to_device(value) for name, value in batch.items()}
            measures.append(self.learner.step_on(rows, progress))
        seconds = time.perf_counter() - started
        self.busy_seconds += seconds
        means = {f"learner/{name}": value for name, value in mean_measures(measures).items()}
        trained = len(measures) * len(moves["action"]) / self._minibatches()
        return means | {
            "learner/lag_mean": float(lag.mean()),
            "learner/lag_max": float(lag.max()),
            "learner/rows_per_second": trained / seconds,
        }

    def batches(self, moves: Tensors) -> Iterator[Tensors]:
        """The rows of each update, as ``GamePPOLearner.loss`` reads them."""
        count = len(moves["action"])
        legal = np.stack([self.game.legal_mask(state) for state in moves["state"]])
        value = moves["played_wdl"][:, 0] - moves["played_wdl"][:, 2]
        rows = {
            "planes": self.game.encode(moves["state"]),
            "legal": legal,
            "actions": moves["action"],
            "log_probs": moves["log_prob"],
            "values": value,
            "advantages": moves["wdl"][:, 0] - moves["wdl"][:, 2] - value,
            "wdl": moves["wdl"],
        }
        for _ in range(self.ppo.epochs):
            for chosen in np.array_split(self.rng.permutation(count), self._minibatches()):
                yield {name: np.ascontiguousarray(array[chosen]) for name, array in rows.items()}

    def status(self) -> dict[str, float]:
        """Counters of the queue under the catalogue's names."""
        return {"experience/rows": self.waiting, "experience/rows_total": self.total}

    def weights(self, progress: float) -> Weights:
        """What actors are to use now; ``progress`` as in ``train``."""
        return replace(self.learner.weights(), progress=progress)

    def state(self) -> tuple[dict[str, Tensors], dict]:
        """Everything to continue from: named parts of arrays, and a JSON-able rest."""
        learner, learner_state = self.learner.state_dict()
        parts = {"learner": learner}
        if self.queue:
            parts["queue"] = {name: np.concatenate([m[name] for m in self.queue]) for name in self.queue[0]}
        rest = {"learner": learner_state, "rng": self.rng.bit_generator.state, "total": self.total}
        return parts, rest

    def shard(self) -> tuple[Tensors, dict]:
        """What only one of several learners would have; there is one."""
        return {}, {}

    def restore(self, parts: dict[str, Tensors], state: dict) -> None:
        """Restore what ``state`` gave."""
        self.learner.load_state_dict(parts["learner"], state["learner"])
        self.queue = [parts["queue"]] if "queue" in parts else []
        self.rng.bit_generator.state = state["rng"]
        self.total = state["total"]


def moves_of(game: Game, record: GameRecord, trace_lambda: float) -> Tensors:
    """The T moves of a game: state [T, S], action [T] int64, log_prob [T] of the policy that drew it, the network's
    played_wdl [T, 3], the λ-return wdl [T, 3], version [T]."""
    states = replay(game, record)
    action = record.actions.astype(np.int64)
    return {
        "state": states,
        "action": action,
        "log_prob": np.log(record.policy[np.arange(len(action)), action]),
        "played_wdl": record.wdl,
        "wdl": trace_returns(record.wdl, states[:, TO_MOVE], record.outcome, trace_lambda),
        "version": record.weights_version,
    }


def trace_returns(wdl: np.ndarray, to_move: np.ndarray, outcome: int, trace_lambda: float) -> np.ndarray:
    """λ-returns [T, 3] (win, draw, loss of the side to move) of a game that was played to its end.

        G_t = (1 - λ) · v_{t+1} + λ · G_{t+1},    G_{T-1} = the outcome,

    where v_{t+1} is the network's ``wdl`` [T, 3] of the next position, and both are turned to the point of view of the
    side to move at t. (Sutton and Barto 2018, §12.1; of win minus loss, G_t - v_t is the advantage of Schulman et al.
    2016, equation 16, without discount.)
    """
    returns = np.empty_like(wdl)
    ahead = np.zeros(3, wdl.dtype)  # from the point of view of ``viewer``
    ahead[1 - outcome] = 1.0
    viewer = 0
    for t in range(len(wdl) - 1, -1, -1):
        if to_move[t] != viewer:
            ahead, viewer = ahead[::-1], to_move[t]
        returns[t] = ahead
        ahead = (1.0 - trace_lambda) * wdl[t] + trace_lambda * ahead
    return returns
