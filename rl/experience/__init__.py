"""Experience: finished games become targets, targets become a window that the learner samples from."""

from rl.experience.comebacks import Comebacks
from rl.experience.shards import deal, file_shards, is_shard, shard_config, shard_name, shards
from rl.experience.window import ReplayWindow

__all__ = ["Comebacks", "ReplayWindow", "deal", "file_shards", "is_shard", "shard_config", "shard_name", "shards"]
