"""The configuration of a run that learns a Gymnasium environment from its rollouts (PPO or IMPALA)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from rl.config.nets import (
    ConvConfig,
    ImpalaConfig,
    Initialisation,
    MLPConfig,
    RecurrentConfig,
    ResNetConfig,
    TransformerConfig,
    WindowConfig,
)
from rl.config.sections import Config, EvaluationConfig, Fraction, LearnerConfig, NonNegative, Positive, Section

EncoderConfig = Annotated[
    MLPConfig | ConvConfig | ImpalaConfig | ResNetConfig | TransformerConfig, Field(discriminator="kind")
]
CoreConfig = Annotated[RecurrentConfig | WindowConfig, Field(discriminator="kind")]
Discount = Annotated[float, Field(gt=0, le=1)]


class ActorCriticConfig(Section):
    """Each part of the observation is encoded, the results are joined, and a core may remember earlier ones.

    ``normalisation: batch`` of an encoder is batch renormalisation here (Ioffe 2017). Actors normalise by the running
    statistics, which come to them with the weights, and so must the learner: batch norm in training mode would be
    another policy than the one that acted, and the ratio of the two, which PPO clips and V-trace cuts, away from 1
    before anything was learned. Evaluation mode in the loss would do for the ratio, but hide the normalisation from the
    gradient. So the learner's outputs are those of the running statistics and its gradients those of batch norm; in
    the first minibatch the ratio is 1 up to rounding (but for dropout, ema, normalise_observations, whose statistics
    take in a batch before it is trained on, and rows that older weights have played). Each minibatch moves the
    statistics by 1 %. Bhatt et al. 2024 (CrossQ) is where batch norm was made to work in off-policy learning.
    """

    encoder: EncoderConfig
    # Of the parts of a Dict or Tuple observation that take another encoder, by name.
    parts: dict[str, EncoderConfig] = Field(default_factory=dict)
    core: CoreConfig | None = None  # memory; none for a feed-forward network
    separate_value: bool = False  # the value has an encoder and a core of its own
    initialisation: Initialisation = "orthogonal"
    normalise_observations: bool = False  # vectors by their running mean and deviation, which travel with the weights
    squash: bool = False  # continuous actions through tanh (Haarnoja et al. 2018); otherwise they are clipped
    log_std: Annotated[float, Field(ge=-5, le=2)] = 0.0  # continuous actions: where its logarithm begins


class PPOConfig(Section):
    """Proximal policy optimisation (Schulman et al. 2017)."""

    kind: Literal["ppo"]
    discount: Discount = 0.99
    gae_lambda: Fraction = 0.95  # Schulman et al. 2016
    epochs: Positive = 4
    clip: Annotated[float, Field(gt=0)] = 0.2
    value_clip: Annotated[float, Field(gt=0)] | None = None
    kl_stop: Annotated[float, Field(gt=0)] | None = None  # no more epochs on these rows beyond this divergence
    entropy_weight: NonNegative = 0.01
    final_entropy_weight: NonNegative | None = None  # where a linear schedule over the budget ends; null: constant
    normalise_advantages: bool = True  # in each minibatch
    normalise_rewards: bool = False  # divided by the running deviation of the discounted return
    overlap: bool = True  # actors gather the next rows while the learner trains on the last; in async mode


class IMPALAConfig(Section):
    """Importance-weighted actor-learner architecture with V-trace (Espeholt et al. 2018)."""

    kind: Literal["impala"]
    discount: Discount = 0.99
    rho_clip: Annotated[float, Field(gt=0)] = 1.0
    c_clip: Annotated[float, Field(gt=0)] = 1.0
    trace_lambda: Fraction = 1.0
    entropy_weight: NonNegative = 0.01
    final_entropy_weight: NonNegative | None = None
    normalise_rewards: bool = False
    queue: Positive = 4  # stretches that may wait for the learner before actors wait for it


AlgorithmConfig = Annotated[PPOConfig | IMPALAConfig, Field(discriminator="kind")]


class RolloutConfig(Section):
    environments: Positive = 8  # of all actors together
    steps: Positive = 128  # of each environment in one stretch
    vectorization: Literal["auto", "vector_entry_point", "sync", "async"] = "auto"  # auto: the fastest here, measured
    wrappers: tuple[dict[str, Any], ...] = ()  # {name: TimeLimit, max_episode_steps: 200}, the innermost first
    timeout_seconds: Annotated[float, Field(gt=0)] = 60.0  # of a step or a constructor, beyond which it hangs


class AdversaryConfig(Section):
    """Training against an adversary that moves the observations (``rl.learner.adversary``).

    The loss takes in how far the policy then moves, KL(as seen ‖ as shown by the adversary): the regulariser of
    SA-PPO (Zhang et al. 2020, §3.3), which leaves rollouts and returns as they are. Needs the extra ``insight``.
    """

    kind: Literal["noise", "fgsm", "pgd"]
    # Largest change of an entry: of pictures as a share of their range, of vectors in deviations of the entry.
    epsilon: Annotated[float, Field(gt=0)]
    steps: Positive = 3  # of pgd
    weight: NonNegative = 1.0  # of the divergence in the loss
    ramp: Fraction = 0.5  # epsilon grows from 0 over this share of the budget: a policy must be learned first


class RolloutLearnerConfig(LearnerConfig):
    batch_size: Positive = 256
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    schedule: Literal["constant", "cosine", "linear"] = "linear"
    final_learning_rate: NonNegative = 0.0
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    weight_decay: NonNegative = 0.0
    clip_norm: Annotated[float, Field(gt=0)] = 0.5
    value_weight: NonNegative = 0.5
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    # random_shift: the pictures of a minibatch moved by up to 4 points (DrQ, Kostrikov et al. 2020, §3.1), each lane of
    # a stretch as a whole. Actors see them as they are, so that the ratio to their policy, which PPO clips and V-trace
    # cuts, is not 1 in the first minibatch either; PPO's returns keep the values of the pictures unmoved.
    augmentation: Literal["none", "random_shift"] = "none"
    adversary: AdversaryConfig | None = None


class EpisodeEvaluationConfig(EvaluationConfig):
    episodes: Annotated[int, Field(ge=0)] = 20
    deterministic: bool = True  # the likeliest action; otherwise sampled as in training
    videos: Annotated[int, Field(ge=0)] = 0  # of so many of the episodes, in videos/ of the run and in W&B
    stop_at: float | None = None  # the run ends early when an evaluation's mean return reaches this
    patience: Positive | None = None  # ..., or when so many in a row have brought no better one than the best before

    @model_validator(mode="after")
    def _has_episodes(self) -> EpisodeEvaluationConfig:
        for name in ("stop_at", "patience"):
            if getattr(self, name) is not None and not self.episodes:
                raise ValueError(f"{name} needs episodes to go by: set evaluation.episodes above 0, or {name} to null")
        if self.videos > self.episodes:
            raise ValueError(f"videos {self.videos} is more than episodes {self.episodes}, of which they are taken")
        return self


class GymConfig(Config):
    algorithm: AlgorithmConfig
    net: ActorCriticConfig
    rollout: RolloutConfig = RolloutConfig()
    learner: RolloutLearnerConfig = RolloutLearnerConfig()
    evaluation: EpisodeEvaluationConfig = EpisodeEvaluationConfig()

    @model_validator(mode="after")
    def _divides(self) -> GymConfig:
        actors, learners = self.run.actors, self.run.learners
        environments = f"rollout.environments {self.rollout.environments}"
        if actors != "auto" and self.rollout.environments % actors:
            raise ValueError(f"{environments} must be divisible by run.actors {actors}")
        if isinstance(self.algorithm, PPOConfig):
            if self.rollout.environments % learners:
                raise ValueError(f"{environments} must be divisible by run.learners {learners}")
            if actors != "auto" and actors % learners:
                raise ValueError(f"run.actors {actors} must be divisible by run.learners {learners}: each has its own")
        return self
