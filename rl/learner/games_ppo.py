"""Self-play's learner by policy gradients: minibatches of moves that the policy itself drew → updates."""

from __future__ import annotations

import torch

from envs.game import Game
from rl.config import GameConfig
from rl.learner.base import Rows
from rl.learner.games import GameLearner
from rl.losses import masked_log_softmax, normalise_advantages, ppo_loss
from rl.nets import PolicyValueNet
from rl.nets.layers import renormalise


class GamePPOLearner(GameLearner):
    """The network of a board game, trained by PPO (Schulman et al. 2017) instead of on what searches found.

    Batch norm becomes batch renormalisation, as in the actor-critic networks (rl.config.ActorCriticConfig says why).
    """

    def __init__(self, game: Game, config: GameConfig, device: str = "auto"):
        assert config.ppo is not None, "other runs learn from searches"
        self.ppo = config.ppo
        super().__init__(game, config, device)

    def make(self, config: GameConfig, game: Game) -> PolicyValueNet:
        net = super().make(config, game)
        renormalise(net)
        return net

    def loss(self, net: PolicyValueNet, rows: Rows, precision: str) -> Rows:
        """Rows: planes [N, C, H, W], legal [N, A], actions [N] int64, log_probs, advantages, values [N] of the network
        that played, and wdl [N, 3], the λ-return as a distribution, which the value head learns by cross-entropy.
        """
        with torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            policy_logits, wdl_logits = net(rows["planes"])
        log_policy = masked_log_softmax(policy_logits, rows["legal"])
        log_wdl = wdl_logits.float().log_softmax(1)
        returns = rows["wdl"][:, 0] - rows["wdl"][:, 2]
        measures = ppo_loss(
            log_policy.gather(1, rows["actions"][:, None]).squeeze(1),
            rows["log_probs"],
            normalise_advantages(rows["advantages"], None),
            rows["values"],  # the value loss is not this one's
            rows["values"],
            returns,
            -(log_policy.exp() * log_policy * rows["legal"]).sum(1),
            None,
            clip=self.ppo.clip,
            value_clip=None,
            value_weight=0.0,
            entropy_weight=self.ppo.entropy_weight,
        )
        value_loss = -(rows["wdl"] * log_wdl).sum(1).mean()
        measures["loss"] = measures["loss"] + self.config.value_weight * value_loss
        measures["value_loss"] = value_loss.detach()
        return measures
