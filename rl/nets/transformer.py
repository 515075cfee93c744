"""Transformer encoder: one token a board point, pre-norm (Vaswani et al. 2017; Xiong et al. 2020).

Relative positions are a learned bias for each head and each (row, column) offset between two points (after
Liu et al. 2021, Swin, §3.2), so the same weights serve any board up to MAX_SIDE. Softmax attention with relative
positions alone cannot see where the board ends (on an empty board all tokens would stay equal), hence the stem: a
3×3 convolution with zero padding over the planes and one more plane of ones.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from rl.config import TransformerConfig
from rl.nets.layers import BESIDE, Mask, activation, initialise, norm1d, on_board

MAX_SIDE = 19  # longest side of a board that relative positions can tell apart
SPAN = 2 * MAX_SIDE - 1  # different offsets along one side


class Attention(nn.Module):
    """Multi-head self-attention on tokens [N, T, width], with a bias [1, heads, T, T] on the scores or without.

    ``beside`` [N, 1, 1, T] is added to the scores: so low for tokens beside the board that nobody attends to them.
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        # a score for each offset between two points, its rows and columns in one index (see _offsets)
        self.table = nn.Parameter(torch.zeros(config.heads, SPAN * SPAN)) if config.positions == "relative" else None

    def forward(self, x: torch.Tensor, offsets: torch.Tensor, beside: torch.Tensor | None) -> torch.Tensor:
        q, k, v, bias = self._scored(x, offsets, beside)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.out(mixed.transpose(1, 2).reshape(x.shape))

    def weights(self, x: torch.Tensor, offsets: torch.Tensor, beside: torch.Tensor | None) -> torch.Tensor:
        """How much each token takes from each other one, [N, heads, T, T], rows sum to 1; arguments of ``forward``."""
        q, k, _, bias = self._scored(x, offsets, beside)
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        return (scores if bias is None else scores + bias).softmax(-1)

    def _scored(
        self, x: torch.Tensor, offsets: torch.Tensor, beside: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Queries, keys and values [N, heads, T, width / heads], and what is added to the scores."""
        n, t, width = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        bias = None
        if self.table is not None:  # autocast makes q narrower than the table
            bias = self.table.index_select(1, offsets).view(1, self.heads, t, t).to(q.dtype)
        if beside is not None:
            bias = beside.to(q.dtype) if bias is None else bias + beside.to(q.dtype)
        return q, k, v, bias


class Block(nn.Module):
    """Attention, then a two-layer perceptron a token, each behind a norm and a skip connection."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        hidden = max(1, round(config.width * config.mlp_ratio))
        self.norm1 = norm1d(config.normalisation, config.width)
        self.norm2 = norm1d(config.normalisation, config.width)
        self.attention = Attention(config)
        self.up, self.down = nn.Linear(config.width, hidden), nn.Linear(hidden, config.width)
        self.act = activation(config.activation)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: torch.Tensor, offsets: torch.Tensor, beside: torch.Tensor | None = None) -> torch.Tensor:
        x = x + self.dropout(self.attention(self.norm1(x), offsets, beside))
        return x + self.dropout(self.down(self.act(self.up(self.norm2(x)))))


class TransformerEncoder(nn.Module):
    """Planes [N, C, H, W] → features [N, width, H, W]; with patches of p points a side, [N, width, H/p, W/p].

    Raises ValueError when ``positions`` is "relative" and the board is longer than MAX_SIDE.
    """

    def __init__(self, config: TransformerConfig, inputs: int, board_shape: tuple[int, int]):
        super().__init__()
        if config.patch > min(board_shape):
            raise ValueError(f"net.encoder.patch {config.patch} is larger than a side of the {board_shape} points")
        if config.positions == "relative" and max(board_shape) // config.patch > MAX_SIDE:
            raise ValueError(
                f"relative positions reach boards of {MAX_SIDE} points a side, this one is {max(board_shape)}: "
                "set net.encoder.positions to learned, or a larger patch"
            )
        self.width = config.width
        self.relative = config.positions == "relative"
        patch = config.patch
        self.stem = nn.Conv2d(inputs + 1, config.width, 3, padding=1)
        if patch > 1:  # each patch on its own, whose place the positions tell
            self.stem = nn.Conv2d(inputs + 1, config.width, patch, patch)
            board_shape = board_shape[0] // patch, board_shape[1] // patch
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = norm1d(config.normalisation, config.width)
        initialise(self)
        for block in self.blocks:
            nn.init.zeros_(block.attention.out.weight)  # type: ignore[union-attr, arg-type]
            nn.init.zeros_(block.down.weight)  # type: ignore[union-attr, arg-type]
        self.positions = None
        if not self.relative:  # a fixed board: one vector a point
            self.positions = nn.Parameter(torch.randn(board_shape[0] * board_shape[1], config.width) * 0.02)
        # Not part of the weights: it follows from the board's shape.
        self.register_buffer("offsets", _offsets(*board_shape, torch.device("cpu")), persistent=False)
        self.board_shape = board_shape

    def forward(self, planes: torch.Tensor, mask: Mask = None) -> torch.Tensor:
        n = planes.shape[0]  # not len(), which an export would take for a constant
        ones = torch.ones_like(planes[:, :1]) if mask is None else mask
        beside = None if mask is None else BESIDE * (mask.flatten(2)[:, None] - 1.0)
        x = self.stem(torch.cat((planes, ones), 1))
        height, width = x.shape[2:]
        x = x.flatten(2).transpose(1, 2)  # [N, T, width]
        if self.positions is not None:
            x = x + self.positions
        offsets: torch.Tensor = self.offsets  # type: ignore[assignment]
        if self.relative and (height, width) != self.board_shape:
            offsets = _offsets(height, width, planes.device)
        for block in self.blocks:
            x = block(x, offsets, beside)
        return on_board(self.norm(x).transpose(1, 2).reshape(n, self.width, height, width), mask)


def _offsets(height: int, width: int, device: torch.device) -> torch.Tensor:
    """[T·T] int64: the row and column offset from each point to each other, as one number in [0, SPAN²)."""
    row = torch.arange(height, device=device).repeat_interleave(width)
    column = torch.arange(width, device=device).repeat(height)
    down, right = row[None] - row[:, None], column[None] - column[:, None]
    return ((down + MAX_SIDE - 1) * SPAN + right + MAX_SIDE - 1).flatten()
