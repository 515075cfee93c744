"""Actors turn weights into experience."""

from rl.actors.selfplay import SelfPlay

__all__ = ["SelfPlay"]
