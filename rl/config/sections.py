"""What every part of a configuration is made of, and the sections that all runs share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

Auto = Literal["auto"]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]


# Names of budgets in RunConfig → the number of the run's clock that each limits.
BUDGETS = {
    "minutes": "seconds",
    "learner_steps": "learner_steps",
    "env_steps": "env_steps",
    "evaluations": "evaluations",
}


class ConfigError(ValueError):
    """The user's configuration is wrong; the message is one sentence that names the key and the remedy."""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class LearnerConfig(Section):
    """The optimiser and its schedule, whatever is learned."""

    # A new run begins with those layers of this agent that agree in name and shapes; the others begin as ever.
    init_from: str | None = None
    # Parameters that are not trained, by patterns of their names ("encoder.*", "actor.encoders.0.*"). A module all of
    # whose parameters are frozen is in evaluation mode: no dropout, and its running statistics stay as they are.
    freeze: tuple[str, ...] = ()
    batch_size: Positive = 512  # rows of one update
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    schedule: Literal["constant", "cosine", "linear"] = "cosine"  # over the run's budget
    final_learning_rate: NonNegative = 1e-4  # where the schedule ends
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    weight_decay: NonNegative = 1e-4
    # L1 on the same matrices and kernels, for weights that are exactly 0: behind each update of learning rate r,
    # w ← sign(w) max(|w| - r·l1, 0), the proximal step of l1·|w| (Parikh and Boyd 2014, §6.5), decoupled from the
    # gradient as AdamW's decay is. A gradient of the penalty would never rest at 0, and Adam would rescale it.
    l1: NonNegative = 0.0
    momentum: Fraction = 0.9  # of sgd (Nesterov's) and rmsprop
    clip_norm: Annotated[float, Field(gt=0)] = 5.0
    value_weight: NonNegative = 1.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.99  # actors use averaged weights; 0 turns the averaging off
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # of autocast; auto: bfloat16 on CUDA, measured on a CPU


class RunConfig(Section):
    # The budget; of several, the one that is used up first ends the run.
    minutes: Annotated[float, Field(gt=0)] | None = None  # wall time, resumed sessions added up
    learner_steps: Positive | None = None  # updates
    env_steps: Positive | None = None  # moves played, or steps of the environments
    evaluations: Positive | None = None  # positions or observations evaluated by the actors' networks
    # Agents kept in snapshots/ of the run, evenly over the budget, the last one at its end: for looking back at what
    # was learned when. Unlike checkpoints they hold weights only, and none is thrown away.
    snapshots: Annotated[int, Field(ge=0)] = 0
    mode: Literal["async", "sync"] = "async"  # sync: lock step, bit-identical after a resume
    # auto: by the cluster's resources, and with them: actors come with nodes that join, and go with those that leave
    # (not with PPO, whose batch is a stretch of each of the actors' environments). A number, in a cluster that
    # RAY_ADDRESS names: its autoscaler is asked for so many cores, and actors begin as there is room for them.
    actors: Positive | Auto = "auto"
    # Processes that train as one, each with its share of every batch and of the replay window (DistributedDataParallel)
    learners: Positive = 1
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 5.0
    keep_checkpoints: Positive = 5  # the newest ones
    sync_moves: Positive = 64  # self-play in sync mode: moves that each actor's games advance an iteration

    @model_validator(mode="after")
    def _ends(self) -> RunConfig:
        if not self.budgets():
            names = [f"run.{name}" for name in BUDGETS]
            raise ValueError(f"give {', '.join(names[:-1])} or {names[-1]}, else the run would never end")
        if self.mode == "sync" and self.minutes is not None:
            raise ValueError("mode sync takes run.learner_steps, not run.minutes: wall time is not reproducible")
        if self.mode == "sync" and self.learners > 1:
            raise ValueError("mode sync has one learner: leave run.learners at 1, or take run.mode=async")
        return self

    def budgets(self) -> dict[str, float]:
        """What may end the run: number of the clock (rl.runtime.metrics) → its value at the end."""
        given = {clock: getattr(self, name) for name, clock in BUDGETS.items()}
        return {clock: value * (60 if clock == "seconds" else 1) for clock, value in given.items() if value is not None}

    def used(self, clock: Mapping[str, float]) -> float:
        """Share of the budget that is used at this clock, in [0, 1]: of the part that will be used up first."""
        return min(1.0, max(clock[name] / end for name, end in self.budgets().items()))


class EvaluationConfig(Section):
    minutes: Annotated[float, Field(gt=0)] = 5.0  # between two evaluations during training


class WandbConfig(Section):
    enabled: bool = True
    project: str = "fuseki"
    name: str | None = None
    tags: tuple[str, ...] = ()
    sample_games: Annotated[int, Field(ge=0)] = 2  # games shown as text at every evaluation


class Config(Section):
    """What every run has: :class:`rl.config.GameConfig` and :class:`rl.config.GymConfig` say the rest."""

    env: str
    env_options: dict[str, Any] = {}  # of the environment, by name: komi, suicide, ... of Go
    seed: Annotated[int, Field(ge=0)] = 0
    learner: LearnerConfig = LearnerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    run: RunConfig
    wandb: WandbConfig = WandbConfig()

    @model_validator(mode="after")
    def _batch_divides(self) -> Config:
        if self.learner.batch_size % self.run.learners:
            raise ValueError(
                f"learner.batch_size {self.learner.batch_size} must be divisible by run.learners {self.run.learners}"
            )
        return self

    def to_yaml(self) -> str:
        """The fully resolved configuration as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
