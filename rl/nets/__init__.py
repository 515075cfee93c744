"""Networks: an encoder (mlp, resnet, transformer), a policy head and a value head.

``build(config, game)`` gives a :class:`PolicyValueNet`; with "points" games and a resnet or a transformer with
relative positions, the same weights play any board size, also several in one batch: in a game with a ``board_plane``
nothing outside the board takes part, and the answers are those for an array of the board's size.
"""

from __future__ import annotations

import torch
from torch import nn

from envs.game import Game
from rl.config import MLPConfig, NetConfig, ResNetConfig
from rl.nets.heads import auxiliary_heads, policy_head, value_head
from rl.nets.layers import Mask, count_parameters, fold, foldable
from rl.nets.mlp import MLPEncoder
from rl.nets.resnet import ResNetEncoder
from rl.nets.transformer import TransformerEncoder

__all__ = ["PolicyValueNet", "build", "count_parameters", "fold", "foldable"]


class PolicyValueNet(nn.Module):
    """Planes [N, C, H, W] → policy logits [N, A] (unmasked) and wdl logits [N, 3] of the side to move.

    ``encoder`` maps planes to features [N, width, H, W] (mlp: [N, width]), which all heads read.
    """

    def __init__(
        self,
        encoder: nn.Module,
        policy: nn.Module,
        value: nn.Module,
        auxiliary: dict[str, nn.Module],
        board_plane: int | None = None,
    ):
        """``board_plane``: see envs.game.Game; None when boards fill the array."""
        super().__init__()
        self.board_plane = board_plane
        self.encoder, self.policy, self.value = encoder, policy, value
        self.auxiliary = nn.ModuleDict(auxiliary)

    def forward(self, planes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mask = self._mask(planes)
        features = self.encoder(planes, mask)
        return self.policy(features, mask), self.value(features, mask)

    def _mask(self, planes: torch.Tensor) -> Mask:
        return None if self.board_plane is None else planes[:, self.board_plane : self.board_plane + 1]

    def all_heads(self, planes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        """The same, and the auxiliary heads' outputs by name (rl.losses.auxiliary gives their shapes), for training."""
        mask = self._mask(planes)
        features = self.encoder(planes, mask)
        extra = {name: head(features, mask) for name, head in self.auxiliary.items()}
        return self.policy(features, mask), self.value(features, mask), extra


def build(config: NetConfig, game: Game) -> PolicyValueNet:
    """A network with new weights, drawn from torch's global generator, in training mode, float32, on the CPU.

    Raises ValueError when the configuration cannot serve the game's board or actions.
    """
    encoder: MLPEncoder | ResNetEncoder | TransformerEncoder
    if isinstance(config.encoder, MLPConfig):
        planes, height, width = game.plane_shape
        encoder = MLPEncoder(config.encoder, planes * height * width)
    elif isinstance(config.encoder, ResNetConfig):
        encoder = ResNetEncoder(config.encoder, game.num_planes)
    else:
        encoder = TransformerEncoder(config.encoder, game.num_planes, game.board_shape)
    heads = policy_head(config, game, encoder.width), value_head(config, game, encoder.width)
    return PolicyValueNet(encoder, *heads, auxiliary_heads(config, game, encoder.width), game.board_plane)
