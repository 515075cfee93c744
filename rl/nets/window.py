"""Transformer core over a sliding window of the episode: causal attention with each layer's keys and values kept.

A step attends to itself and the ``window`` - 1 steps before it in its episode, in every layer, so that several layers
reach further back, as in Transformer-XL (Dai et al. 2019, §3.2); what is older than the current stretch is memory
without gradient. Positions are a learned bias for each head and distance (Raffel et al. 2020, §2.1, without buckets).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from rl.config import WindowConfig
from rl.nets.layers import activation, initialise, norm1d
from rl.nets.recurrent import State


class Block(nn.Module):
    """Attention and a two-layer perceptron, each behind a norm and a skip connection."""

    def __init__(self, config: WindowConfig):
        super().__init__()
        hidden = max(1, round(config.width * config.mlp_ratio))
        self.heads = config.heads
        self.norm1, self.norm2 = norm1d(config.normalisation, config.width), norm1d(config.normalisation, config.width)
        self.query = nn.Linear(config.width, config.width)
        self.key_value = nn.Linear(config.width, 2 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.up, self.down = nn.Linear(config.width, hidden), nn.Linear(hidden, config.width)
        self.act, self.dropout = activation(config.activation), nn.Dropout(config.dropout)
        self.distance = nn.Parameter(torch.zeros(config.heads, config.window))

    def forward(
        self, x: torch.Tensor, kept: torch.Tensor, bias: torch.Tensor, distances: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Steps [B, T, width], kept keys and values [B, W, 2·width] of the steps before, what may be attended to.

        ``bias`` [B, 1, T, W + T] is 0 or -inf, ``distances`` [T, W + T] in [0, window). Returns the steps' new features
        and [B, W + T, 2·width] all keys and values.
        """
        batch, steps, width = x.shape
        normed = self.norm1(x)
        joined = torch.cat((kept.to(x.dtype), self.key_value(normed)), 1)
        keys, values = joined.view(batch, -1, 2, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        query = self.query(normed).view(batch, steps, self.heads, -1).transpose(1, 2)
        scores = bias + self.distance[:, distances].to(x.dtype)
        mixed = F.scaled_dot_product_attention(query, keys, values, attn_mask=scores)
        x = x + self.dropout(self.out(mixed.transpose(1, 2).reshape(batch, steps, width)))
        return x + self.dropout(self.down(self.act(self.up(self.norm2(x))))), joined


class WindowCore(nn.Module):
    """Features [T, B, F] → [T, B, width].

    The state is "kept" [B, depth, window - 1, 2·width], keys and values of the last steps, and "age" [B] int64, how
    many of those belong to the episode.
    """

    def __init__(self, config: WindowConfig, inputs: int):
        super().__init__()
        self.width, self.window, self.depth = config.width, config.window, config.depth
        self.stem = nn.Linear(inputs, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = norm1d(config.normalisation, config.width)
        initialise(self)
        for block in self.blocks:
            nn.init.zeros_(block.out.weight)  # type: ignore[union-attr, arg-type]
            nn.init.zeros_(block.down.weight)  # type: ignore[union-attr, arg-type]

    def initial_state(self, batch: int) -> State:
        """Nothing kept."""
        device = self.stem.weight.device
        kept = torch.zeros(batch, self.depth, self.window - 1, 2 * self.width, device=device)
        return {"kept": kept, "age": torch.zeros(batch, dtype=torch.int64, device=device)}

    def forward(self, x: torch.Tensor, state: State, first: torch.Tensor) -> tuple[torch.Tensor, State]:
        """As ``RecurrentCore.forward``."""
        steps, before = len(x), self.window - 1
        at = torch.arange(steps, device=x.device)
        # Keys lie at before + time; those kept have negative times.
        times = torch.arange(-before, steps, device=x.device)
        distances = at[:, None] - times[None]
        near = (distances >= 0) & (distances < self.window)
        episode = first.long().cumsum(0).T  # [B, T], 0 for the one that was under way
        known = (times[None, :before] >= -state["age"][:, None]) if before else times[None, :0].expand(x.shape[1], 0)
        same = torch.cat(
            (
                (episode == 0)[:, :, None] & known.bool()[:, None, :],
                episode[:, :, None] == episode[:, None, :],
            ),
            2,
        )
        bias = torch.zeros((), dtype=x.dtype, device=x.device).where(same & near, float("-inf"))[:, None]
        hidden = self.stem(x).transpose(0, 1)
        kept = []
        for layer, block in enumerate(self.blocks):
            hidden, joined = block(hidden, state["kept"][:, layer], bias, distances.clamp(0, self.window - 1))
            kept.append(joined[:, joined.shape[1] - before :])
        begun = torch.where(first, at[:, None], -1).amax(0)  # [B] the last step that began an episode
        age = torch.where(begun >= 0, steps - begun, state["age"] + steps).clamp(max=before)
        return self.norm(hidden).transpose(0, 1), {"kept": torch.stack(kept, 1), "age": age}
