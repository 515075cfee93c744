"""Any Gymnasium environment as time steps.

    from envs.gym import World

    with World("CartPole-v1", 8, seed=1) as world:
        observations = world.reset()                        # {"observation": [8, 4] float32}
        step = world.step(world.random_actions(rng))        # rewards, terminated, truncated, valid, first, …

``spaces`` says what an environment shows and takes, ``making`` turns ids and wrapper names into environments,
``vectors`` steps many as one, ``world`` makes time steps of it, ``watched`` gives up on one that hangs. Knows nothing
of learning. Importing this imports gymnasium, which importing ``envs`` does not.
"""

from envs.gym.making import is_gym_id
from envs.gym.spaces import ActionSpec, Part, UnknownWorld, WorldError
from envs.gym.watched import Watched
from envs.gym.world import Step, World, WorldSpec, describe

__all__ = [
    "ActionSpec",
    "Part",
    "Step",
    "UnknownWorld",
    "Watched",
    "World",
    "WorldError",
    "WorldSpec",
    "describe",
    "is_gym_id",
]
