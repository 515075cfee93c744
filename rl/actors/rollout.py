"""Rollouts: B environments stepped by one network, one batch a step.

Reads: the newest weights. Writes: Unrolls of ``rollout.steps`` steps. Environments go on where the last stretch left
them, and so does the network's memory; what begins an episode is reset exactly there.
"""

from __future__ import annotations

import time

import numpy as np
import torch

from envs.gym import Step
from rl.acting import sample_numpy
from rl.config import GymConfig
from rl.nets.actor_critic import acting_network
from rl.nets.loading import copy_weights
from rl.nets.numpy_policy import NumpyPolicy, serves
from rl.records import RolloutReport, Tensors, Unroll, Weights
from rl.worlds import make_world

SYNC_BEGIN = 32  # stretches after which environments begin anew in sync mode


class RolloutWorker:
    """Steps its environments with the newest weights that it was given."""

    def __init__(self, config: GymConfig, seed: int, environments: int, device: str = "auto"):
        """``environments``: of this actor. Raises envs.gym.UnknownWorld where there is no such environment."""
        self.config, self.seed, self.lanes = config, seed, environments
        self.world = make_world(config, environments, seed, measure=config.run.mode == "async")
        self.net = acting_network(config.net, self.world.spec, device)
        self.policy = NumpyPolicy(self.net) if serves(self.net) else None
        self.version = -1
        self.stretches = 0  # played so far
        self._begin(self._seed_now())

    def _begin(self, seed: int) -> None:
        """New episodes in every environment, and new random streams, all from ``seed``."""
        self.rng = np.random.default_rng(seed)
        self.observations = self.world.reset(seed)
        self.memory = self.net.initial_state(self.lanes)
        self.first = np.ones(self.lanes, bool)
        self.discounted = np.zeros(self.lanes, np.float32)

    def use(self, weights: Weights) -> None:
        """Act with these weights from now on; they are copied. Raises ValueError when they are another network's."""
        copy_weights(weights, self.net.state_dict())
        self.version = weights.version

    def resumable(self) -> bool:
        """Whether the next stretch begins new episodes, so that a run resumed here repeats the one that went on."""
        return self.stretches % SYNC_BEGIN == 0

    def state(self) -> tuple[Tensors, dict]:
        """How many stretches were played. Environments cannot be saved: see ``play``."""
        return {}, {"stretches": self.stretches}

    def restore(self, weights: Weights, tensors: Tensors, state: dict) -> None:
        """Go on after as many stretches, with new episodes."""
        self.use(weights)
        self.stretches = state["stretches"]
        self._begin(self._seed_now())

    def _seed_now(self) -> int:
        return int(np.random.SeedSequence(self.seed, spawn_key=(self.stretches,)).generate_state(1)[0])

    @torch.inference_mode()
    def play(self, moves: int | None = None, seconds: float = float("inf")) -> RolloutReport:
        """The next ``rollout.steps`` steps of every environment, whatever ``moves`` and ``seconds`` say.

        In sync mode every SYNC_BEGIN-th stretch begins new episodes: there a run can be resumed bit by bit, although no
        environment can be saved. What was under way is cut off, and its future comes from the value.
        Raises envs.gym.WorldError when an environment fails, FloatingPointError when the network does.
        """
        started = time.perf_counter()
        if self.config.run.mode == "sync" and self.stretches and self.resumable():
            self._begin(self._seed_now())
        self.stretches += 1
        steps, lanes = self.config.rollout.steps, self.lanes
        spec, discount = self.net.spec, self.config.algorithm.discount
        stored = {name: np.empty((steps + 1, *value.shape), value.dtype) for name, value in self.observations.items()}
        before = {name: tensor.cpu().numpy().copy() for name, tensor in self.memory.items()}
        log_probs, rewards, discounted = (np.empty((steps, lanes), np.float32) for _ in range(3))
        values = np.empty((steps + 1, lanes), np.float32)
        terminated, truncated, valid = (np.empty((steps, lanes), bool) for _ in range(3))
        first = np.empty((steps + 1, lanes), bool)
        final_values = np.full((steps, lanes), np.nan, np.float32)
        actions = np.empty(0)  # [T, B, ...] once the first are drawn
        returns: list[float] = []
        lengths: list[int] = []
        inside = outside = 0.0
        for t in range(steps):
            self._store(stored, first, t)
            mark = time.perf_counter()
            if self.policy is not None:
                parameters = self.policy(self.observations)
            else:
                parameters, values[t], self.memory = self.net.act(self.observations, self.memory, self.first)
            inside += time.perf_counter() - mark
            chosen, log_probs[t] = sample_numpy(spec, parameters, self.rng)
            if not np.isfinite(log_probs[t].sum()):  # before the environment is blamed for its answer
                raise self._not_finite()
            if not t:
                actions = np.empty((steps, *chosen.shape), chosen.dtype)
            actions[t] = chosen
            mark = time.perf_counter()
            step = self.world.step(chosen)
            outside += time.perf_counter() - mark
            rewards[t], terminated[t], truncated[t], valid[t] = (
                step.rewards,
                step.terminated,
                step.truncated,
                step.valid,
            )
            self.discounted = self.discounted * discount * ~self.first + step.rewards
            discounted[t] = self.discounted
            if step.final is not None and step.truncated.any():
                final_values[t, step.final_lanes] = self._final_values(step)
            if len(step.episode_returns):
                returns += step.episode_returns.tolist()
                lengths += step.episode_lengths.tolist()
            self.observations, self.first = step.observations, step.first
        self._store(stored, first, steps)
        mark = time.perf_counter()
        if self.policy is not None:
            values = self.policy.values(stored)
        else:  # the value alone: the next stretch evaluates this step again, perhaps with newer weights
            _, values[steps], _ = self.net.act(self.observations, self.memory, self.first)
        inside += time.perf_counter() - mark
        if not np.isfinite(values.sum()):
            raise self._not_finite()
        unroll = Unroll(
            observations=stored,
            actions=actions,
            log_probs=log_probs,
            values=values,
            rewards=rewards,
            terminated=terminated,
            truncated=truncated,
            valid=valid,
            first=first,
            final_values=final_values,
            state=before,
            discounted=discounted,
            weights_version=self.version,
        )
        seconds = time.perf_counter() - started
        return RolloutReport(
            [unroll], int(valid.sum()), returns, lengths, (steps + 1) * lanes, seconds, inside, outside
        )

    def _store(self, stored: Tensors, first: np.ndarray, t: int) -> None:
        for name, value in self.observations.items():
            stored[name][t] = value
        first[t] = self.first

    def _not_finite(self) -> FloatingPointError:
        return FloatingPointError(f"the network's outputs are not finite with weights version {self.version}")

    def _final_values(self, step: Step) -> np.ndarray:
        """Values of the last observations of episodes whose environments have begun anew already."""
        assert step.final is not None
        lanes = torch.from_numpy(step.final_lanes)
        state = {name: tensor[lanes.to(tensor.device)] for name, tensor in self.memory.items()}
        return self.net.act(step.final, state, np.zeros(len(lanes), bool))[1]

    def close(self) -> None:
        self.world.close()
