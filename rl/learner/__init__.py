"""The learner: rows of experience → updates → Weights. ``base.py`` is what all algorithms share."""

from rl.learner.base import Learner, learning_rate, make_optimizer, mean_measures
from rl.learner.games import GameLearner
from rl.learner.games_ppo import GamePPOLearner
from rl.learner.rollouts import RolloutLearner

__all__ = [
    "GameLearner",
    "GamePPOLearner",
    "Learner",
    "RolloutLearner",
    "learning_rate",
    "make_optimizer",
    "mean_measures",
]
