"""Policy and value heads. Which policy head a game gets follows from its ``action_layout``.

=========  =====================================  ===========================================================
layout     policy logits                          value
=========  =====================================  ===========================================================
points     one a board point, from its features;  from board-wide means and maxima: any board size
           further actions from pooled features
columns    one a column, from that column's       from every point (the exact geometry matters, and the board
           features with weights that all         is of one size)
           columns share
flat       from every point and pooled features   as columns
=========  =====================================  ===========================================================

Over an encoder without a board (mlp), both heads are linear layers on its feature vector.
"""

from __future__ import annotations

import torch
from torch import nn

from envs.game import Game
from rl.config import Activation, NetConfig, Normalisation
from rl.nets.layers import ConvNorm, Mask, PooledBias, activation, initialise, on_board, pool, shrink
from rl.records import SHORT_TERM_HORIZONS


class BoardPolicy(nn.Module):
    """What the board policies share: [N, width, H, W] → [N, channels, H, W], which sees the whole board."""

    def __init__(self, width: int, channels: int, act: Activation, normalisation: Normalisation):
        super().__init__()
        self.conv = ConvNorm(width, channels, 1, normalisation)
        self.bias = PooledBias(width, channels)
        self.act = activation(act)

    def hidden(self, x: torch.Tensor, mask: Mask) -> torch.Tensor:
        return on_board(self.act(self.conv(x, mask) + self.bias(x, mask)), mask)


class PointsPolicy(BoardPolicy):
    """Logits [N, H·W + extra], any H and W."""

    def __init__(self, width: int, channels: int, act: Activation, normalisation: Normalisation, *, extra: int):
        super().__init__(width, channels, act, normalisation)
        self.out = nn.Conv2d(channels, 1, 1)
        self.extra = nn.Linear(3 * channels, extra) if extra else None
        initialise(self)
        shrink(self.out)
        if self.extra is not None:
            shrink(self.extra)

    def forward(self, x: torch.Tensor, mask: Mask = None) -> torch.Tensor:
        x = self.hidden(x, mask)
        points = self.out(x).flatten(1)
        return points if self.extra is None else torch.cat((points, self.extra(pool(x, mask))), 1)


class ColumnsPolicy(BoardPolicy):
    """Logits [N, W], any W. Mirrored features give mirrored logits."""

    def __init__(self, width: int, channels: int, act: Activation, normalisation: Normalisation, *, height: int):
        super().__init__(width, channels, act, normalisation)
        self.out = nn.Conv2d(channels, 1, (height, 1))  # one linear map of a whole column, shared by all columns
        initialise(self)
        shrink(self.out)

    def forward(self, x: torch.Tensor, mask: Mask = None) -> torch.Tensor:
        return self.out(self.hidden(x, mask)).flatten(1)


class FlatPolicy(BoardPolicy):
    """Logits [N, actions] from every point of a board of fixed size."""

    def __init__(
        self, width: int, channels: int, act: Activation, normalisation: Normalisation, *, cells: int, actions: int
    ):
        super().__init__(width, channels, act, normalisation)
        self.out = nn.Linear(channels * cells + 3 * channels, actions)
        initialise(self)
        shrink(self.out)

    def forward(self, x: torch.Tensor, mask: Mask = None) -> torch.Tensor:
        x = self.hidden(x, mask)
        return self.out(torch.cat((x.flatten(1), pool(x, mask)), 1))


class BoardValue(nn.Module):
    """Logits [N, 3·values] of win, draw and loss. ``cells``: H·W to read every point, None to pool (any board size)."""

    def __init__(
        self,
        width: int,
        channels: int,
        act: Activation,
        normalisation: Normalisation,
        *,
        hidden: int,
        cells: int | None,
        values: int,
    ):
        super().__init__()
        self.pooled = cells is None
        self.conv = ConvNorm(width, channels, 1, normalisation)
        self.hidden = nn.Linear(channels * (3 if cells is None else cells), hidden)
        self.out = nn.Linear(hidden, 3 * values)
        self.act = activation(act)
        initialise(self)
        shrink(self.out)

    def forward(self, x: torch.Tensor, mask: Mask = None) -> torch.Tensor:
        x = on_board(self.act(self.conv(x, mask)), mask)
        return self.out(self.act(self.hidden(pool(x, mask) if self.pooled else x.flatten(1))))


class VectorPolicy(nn.Module):
    """Features [N, width] → logits [N, actions]."""

    def __init__(self, width: int, actions: int):
        super().__init__()
        self.out = nn.Linear(width, actions)
        shrink(self.out)

    def forward(self, x: torch.Tensor, mask: Mask = None) -> torch.Tensor:
        return self.out(x)


class VectorValue(nn.Module):
    """Features [N, width] → logits [N, 3·values] of win, draw and loss."""

    def __init__(self, width: int, hidden: int, act: Activation, *, values: int):
        super().__init__()
        self.hidden, self.out = nn.Linear(width, hidden), nn.Linear(hidden, 3 * values)
        self.act = activation(act)
        initialise(self)
        shrink(self.out)

    def forward(self, x: torch.Tensor, mask: Mask = None) -> torch.Tensor:
        return self.out(self.act(self.hidden(x)))


class Ownership(nn.Module):
    """Features [N, width, H, W] → logits [N, H·W] that the side to move will own the point."""

    def __init__(self, width: int):
        super().__init__()
        self.out = nn.Conv2d(width, 1, 1)
        shrink(self.out)

    def forward(self, x: torch.Tensor, mask: Mask = None) -> torch.Tensor:
        return on_board(self.out(x), mask).flatten(1)


class Score(nn.Module):
    """Features [N, width, H, W] → expected margin [N] of the side to move, in units of rl.losses.auxiliary."""

    def __init__(self, width: int, channels: int, act: Activation, normalisation: Normalisation, *, hidden: int):
        super().__init__()
        self.conv = ConvNorm(width, channels, 1, normalisation)
        self.hidden, self.out = nn.Linear(3 * channels, hidden), nn.Linear(hidden, 1)
        self.act = activation(act)
        initialise(self)
        shrink(self.out)

    def forward(self, x: torch.Tensor, mask: Mask = None) -> torch.Tensor:
        x = on_board(self.act(self.conv(x, mask)), mask)
        return self.out(self.act(self.hidden(pool(x, mask)))).squeeze(1)


def policy_head(config: NetConfig, game: Game, width: int) -> nn.Module:
    """The policy head of ``game`` over an encoder with ``width`` features. Raises ValueError for a wrong layout."""
    height, columns = game.board_shape
    cells = height * columns
    if config.encoder.kind == "mlp":
        return VectorPolicy(width, game.num_actions)
    common = (width, config.policy_channels, config.encoder.activation, config.encoder.normalisation)
    match game.action_layout:
        case "points":
            if game.num_actions < cells:
                raise ValueError(f"{game.env_id}: layout points needs {cells} actions or more, not {game.num_actions}")
            return PointsPolicy(*common, extra=game.num_actions - cells)
        case "columns":
            if game.num_actions != columns:
                raise ValueError(f"{game.env_id}: layout columns needs {columns} actions, not {game.num_actions}")
            return ColumnsPolicy(*common, height=height)
        case "flat":
            return FlatPolicy(*common, cells=cells, actions=game.num_actions)


def value_head(config: NetConfig, game: Game, width: int, values: int = 1) -> nn.Module:
    """The head of one or several values of ``game`` over an encoder with ``width`` features."""
    encoder = config.encoder
    if encoder.kind == "mlp":
        return VectorValue(width, config.value_width, encoder.activation, values=values)
    cells = None if game.action_layout == "points" else game.board_shape[0] * game.board_shape[1]
    common = (width, config.value_channels, encoder.activation, encoder.normalisation)
    return BoardValue(*common, hidden=config.value_width, cells=cells, values=values)


def auxiliary_heads(config: NetConfig, game: Game, width: int) -> dict[str, nn.Module]:
    """The heads whose loss has a weight. Raises ValueError where the game or the encoder cannot serve one."""
    encoder, wanted = config.encoder, config.auxiliary
    heads: dict[str, nn.Module] = {}
    for name in ("ownership", "score"):
        if getattr(wanted, name) and game.territory is None:
            raise ValueError(f"net.auxiliary.{name}: {game.env_id} has no territory; set it to 0")
        if getattr(wanted, name) and encoder.kind == "mlp":
            raise ValueError(f"net.auxiliary.{name} needs an encoder over board points, not mlp; set it to 0")
    if wanted.ownership:
        heads["ownership"] = Ownership(width)
    if wanted.score:
        assert encoder.kind != "mlp", "refused above"
        common = (width, config.value_channels, encoder.activation, encoder.normalisation)
        heads["score"] = Score(*common, hidden=config.value_width)
    for name in ("reply", "soft_policy"):
        if getattr(wanted, name):
            heads[name] = policy_head(config, game, width)
    if wanted.short_term_value:
        heads["short_term_value"] = value_head(config, game, width, len(SHORT_TERM_HORIZONS))
    return heads
