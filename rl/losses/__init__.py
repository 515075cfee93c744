"""Losses: pure functions of tensors, without state and without networks."""

from rl.losses.alphazero import alphazero_loss

__all__ = ["alphazero_loss"]
