"""Self-play's learner: Batch → one update of policy, value and auxiliary heads."""

from __future__ import annotations

import torch

from envs.game import Game
from rl.config import GameConfig
from rl.learner.base import Learner, Rows
from rl.losses import alphazero_loss, auxiliary_losses
from rl.nets import PolicyValueNet, build
from rl.records import Batch


class GameLearner(Learner[PolicyValueNet]):
    """The network of a board game, trained on what searches found."""

    def __init__(self, game: Game, config: GameConfig, device: str = "auto"):
        self.auxiliary = config.net.auxiliary
        super().__init__(lambda: self.make(config, game), config, device)

    def make(self, config: GameConfig, game: Game) -> PolicyValueNet:
        """The network with new weights."""
        return build(config.net, game)

    def update(self, batch: Batch, progress: float) -> dict[str, float]:
        """One optimiser step. ``progress`` in [0, 1] is the share of the run's budget that is used.

        Returns loss, policy_loss, value_loss, policy_entropy, policy_kl, value_accuracy, a loss for each auxiliary
        head (ownership_loss ...), gradient_norm, learning_rate, lag_mean and lag_max (learner steps between the rows'
        weights and those updated here).
        Raises FloatingPointError when the loss is not finite: weights and running statistics stay as they were.
        """
        lag = self.step - batch.weights_version
        measures = self.step_on(self.rows(batch), progress)
        return measures | {"lag_mean": float(lag.mean()), "lag_max": float(lag.max())}

    def rows(self, batch: Batch) -> Rows:
        """What the loss reads of a batch, by name, on the learner's device."""
        named = {name: value for name, value in vars(batch).items() if name != "weights_version" and value is not None}
        return {name: self.to_device(value) for name, value in named.items()}

    def loss(self, net: PolicyValueNet, rows: Rows, precision: str) -> Rows:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            policy_logits, wdl_logits, extra = net.all_heads(rows["planes"])
        measures = alphazero_loss(
            policy_logits, wdl_logits, rows["legal"], rows["policy"], rows["wdl"], self.config.value_weight
        )
        for name, loss in auxiliary_losses(extra, rows).items():
            measures["loss"] = measures["loss"] + getattr(self.auxiliary, name) * loss
            measures[f"{name}_loss"] = loss.detach()
        return measures
