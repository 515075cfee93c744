"""The configuration of a run: frozen pydantic models, unknown keys refused.

A config is a YAML file plus ``key.sub=value`` overrides; the fully resolved one is saved with the run. Every field says
what it means and, where it matters, where it comes from. A file with an ``algorithm`` (ppo, impala) is a
:class:`GymConfig`, one without a :class:`GameConfig`, which learns a board game by self-play.
"""

from __future__ import annotations

from rl.config.games import (
    AuxiliaryConfig,
    ExperienceConfig,
    GameConfig,
    GameLearnerConfig,
    InferenceConfig,
    MatchEvaluationConfig,
    NetConfig,
    SearchConfig,
    SelfPlayConfig,
    SelfPlayPPOConfig,
)
from rl.config.gym import (
    ActorCriticConfig,
    EpisodeEvaluationConfig,
    GymConfig,
    IMPALAConfig,
    PPOConfig,
    RolloutConfig,
    RolloutLearnerConfig,
)
from rl.config.load import load_config, parse_config
from rl.config.nets import (
    Activation,
    ConvConfig,
    ImpalaConfig,
    Initialisation,
    MLPConfig,
    Normalisation,
    RecurrentConfig,
    ResNetConfig,
    TransformerConfig,
    VectorNormalisation,
    WindowConfig,
)
from rl.config.sections import Config, ConfigError, LearnerConfig, RunConfig, WandbConfig

__all__ = [
    "Activation",
    "ActorCriticConfig",
    "AuxiliaryConfig",
    "Config",
    "ConfigError",
    "ConvConfig",
    "EpisodeEvaluationConfig",
    "ExperienceConfig",
    "GameConfig",
    "GameLearnerConfig",
    "GymConfig",
    "IMPALAConfig",
    "ImpalaConfig",
    "InferenceConfig",
    "Initialisation",
    "LearnerConfig",
    "MLPConfig",
    "MatchEvaluationConfig",
    "NetConfig",
    "Normalisation",
    "PPOConfig",
    "RecurrentConfig",
    "ResNetConfig",
    "RolloutConfig",
    "RolloutLearnerConfig",
    "RunConfig",
    "SearchConfig",
    "SelfPlayConfig",
    "SelfPlayPPOConfig",
    "TransformerConfig",
    "VectorNormalisation",
    "WandbConfig",
    "WindowConfig",
    "load_config",
    "parse_config",
]
