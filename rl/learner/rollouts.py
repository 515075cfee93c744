"""The learner of rollouts: minibatches of PPO, or whole unrolls with V-trace, → updates of an actor-critic network."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import Any

import torch

from envs.gym import WorldSpec
from rl.config import ConfigError, GymConfig, PPOConfig
from rl.distributions import entropy, kl, log_prob
from rl.learner.adversary import MISSING, Attack, attackable, perturb, units_of
from rl.learner.augmentation import random_shift
from rl.learner.base import Learner, Rows
from rl.losses import impala_loss, masked_mean, ppo_loss, vtrace
from rl.nets.actor_critic import ActorCritic, build_actor_critic


class RolloutLearner(Learner[ActorCritic]):
    """An actor-critic network. Rows are time-major stretches [T, B]; observations are named "observation/<part>".

    Steps that are not ``valid`` do not count; rows without that entry are all valid.
    """

    def __init__(self, spec: WorldSpec, config: GymConfig, device: str = "auto"):
        """Raises rl.config.ConfigError when learner.augmentation, .adversary or .freeze does not fit."""
        self.algorithm = config.algorithm
        self.entropy_weight = config.algorithm.entropy_weight
        self.shifted = [part for part in spec.observation if part.kind == "image"]
        if config.learner.augmentation == "none":
            self.shifted = []
        elif not self.shifted:
            parts = ", ".join(f"{part.name} ({part.kind})" for part in spec.observation)
            raise ConfigError(
                f"learner.augmentation: {spec.env_id} shows no picture to be shifted, only {parts}; set it to none"
            )
        self.parts, self.adversary = spec.observation, config.learner.adversary
        self.attack: Attack | None = None
        if self.adversary is not None:
            self.attack = Attack(self.adversary.kind, self.adversary.epsilon, self.adversary.steps)
            if not attackable(spec.observation):
                raise ConfigError(f"learner.adversary: {spec.env_id} shows neither numbers nor pictures to be moved")
            if self.adversary.kind != "noise" and importlib.util.find_spec("captum") is None:
                raise ConfigError(f"learner.adversary: {MISSING}")
        super().__init__(lambda: build_actor_critic(config.net, spec), config, device)

    def set_progress(self, progress: float) -> None:
        """Where the entropy bonus and the adversary stand when ``progress`` in [0, 1] of the budget is used."""
        first, last = self.algorithm.entropy_weight, self.algorithm.final_entropy_weight
        self.entropy_weight = first if last is None else first + (last - first) * min(1.0, progress)
        if self.adversary is not None and self.attack is not None:
            grown = min(1.0, progress / self.adversary.ramp) if self.adversary.ramp else 1.0
            self.attack = replace(self.attack, epsilon=self.adversary.epsilon * grown)

    def count(self, rows: Rows) -> torch.Tensor:
        return rows["valid"].sum() if "valid" in rows else torch.tensor(rows["first"].numel())

    def loss(self, net: ActorCritic, rows: Rows, precision: str) -> Rows:
        observations = {n.removeprefix("observation/"): t for n, t in rows.items() if n.startswith("observation/")}
        for part in self.shifted:
            observations[part.name] = random_shift(part, observations[part.name])
        state = {n.removeprefix("state/"): t for n, t in rows.items() if n.startswith("state/")}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            parameters, values, _ = net(observations, state, rows["first"])
        measures = self._loss(net, rows, parameters.float(), values.float())
        if self.adversary is not None and self.attack is not None:
            units = units_of(self.parts, observations)
            shown = perturb(net, self.parts, observations, state, rows["first"], self.attack, units)
            moved = kl(net.spec, parameters.float(), net(shown, state, rows["first"])[0].float())
            measures["adversary_kl"] = masked_mean(moved[: rows["actions"].shape[0]], rows.get("valid"))
            measures["loss"] = measures["loss"] + self.adversary.weight * measures["adversary_kl"]
        return measures

    def _loss(self, net: ActorCritic, rows: Rows, parameters: torch.Tensor, values: torch.Tensor) -> dict[str, Any]:
        weights = {"value_weight": self.config.value_weight, "entropy_weight": self.entropy_weight}
        algorithm = self.algorithm
        if isinstance(algorithm, PPOConfig):
            return ppo_loss(
                log_prob(net.spec, parameters, rows["actions"]),
                rows["log_probs"],
                rows["advantages"],
                values,
                rows["values"],
                rows["returns"],
                entropy(net.spec, parameters),
                rows.get("valid"),
                clip=algorithm.clip,
                value_clip=algorithm.value_clip,
                **weights,
            )
        new = log_prob(net.spec, parameters[:-1], rows["actions"])
        targets, advantages = vtrace(
            new,
            rows["log_probs"],
            rows["rewards"],
            values,
            rows["terminated"],
            rows["truncated"],
            rows["valid"],
            algorithm.discount,
            rho_clip=algorithm.rho_clip,
            c_clip=algorithm.c_clip,
            pg_rho_clip=algorithm.rho_clip,
            lam=algorithm.trace_lambda,
            final_values=rows["final_values"],
        )
        return impala_loss(
            new,
            rows["log_probs"],
            targets,
            advantages,
            values[:-1],
            entropy(net.spec, parameters[:-1]),
            rows["valid"],
            **weights,
        )
