"""Experience: finished games become targets, targets become a window that the learner samples from."""

from rl.experience.window import ReplayWindow

__all__ = ["ReplayWindow"]
