"""Losses: pure functions of tensors, without state and without networks."""

from rl.losses.alphazero import alphazero_loss
from rl.losses.auxiliary import auxiliary_losses

__all__ = ["alphazero_loss", "auxiliary_losses"]
