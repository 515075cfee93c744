"""Losses and what they are made of: pure functions of tensors (gae: of arrays), without state and without networks."""

from rl.losses.alphazero import alphazero_loss, masked_log_softmax
from rl.losses.auxiliary import auxiliary_losses
from rl.losses.gae import gae
from rl.losses.measures import masked_mean, normalise_advantages
from rl.losses.ppo import ppo_loss
from rl.losses.vtrace import impala_loss, vtrace

__all__ = [
    "alphazero_loss",
    "auxiliary_losses",
    "gae",
    "impala_loss",
    "masked_log_softmax",
    "masked_mean",
    "normalise_advantages",
    "ppo_loss",
    "vtrace",
]
