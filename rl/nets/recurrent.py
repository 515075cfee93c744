"""Recurrent cores: plain RNN (Elman 1990), LSTM (Hochreiter and Schmidhuber 1997), GRU (Cho et al. 2014).

A core turns features [T, B, F] into [T, B, width] and remembers earlier steps of the same episode. Its state is named
arrays with the lanes first, as every core's, so that actors can carry, store and reset lanes without knowing which.
"""

from __future__ import annotations

import torch
from torch import nn

from rl.config import RecurrentConfig

State = dict[str, torch.Tensor]  # name → [B, ...]; empty for a network without memory


class RecurrentCore(nn.Module):
    """The state is "hidden" (and "cell" of an LSTM), each [B, layers, width]."""

    def __init__(self, config: RecurrentConfig, inputs: int):
        super().__init__()
        self.width, self.layers = config.width, config.layers
        kinds: dict[str, type[nn.RNN] | type[nn.LSTM] | type[nn.GRU]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
        self.names = ("hidden", "cell") if config.kind == "lstm" else ("hidden",)
        self.cells = kinds[config.kind](inputs, config.width, config.layers)
        for name, parameter in self.cells.named_parameters():
            if "weight" in name:
                for gate in parameter.chunk(parameter.shape[0] // config.width):
                    nn.init.orthogonal_(gate.data)
            else:
                nn.init.zeros_(parameter)
        self._open_gates(config.timescale)

    def _open_gates(self, timescale: int | None) -> None:
        """Let memory last from the start: a gate that begins at bias 0 halves it, and its gradient, at every step.

        A unit that keeps the share sigmoid(b) of its memory forgets over 1 + exp(b) steps. torch adds up two biases,
        "ih" and "hh"; those of "hh" stay 0. Its GRU keeps sigmoid(update gate), so that both kinds open by +b.
        """
        if isinstance(self.cells, nn.RNN):
            return
        lstm, width = isinstance(self.cells, nn.LSTM), self.width
        for layer in range(self.layers):
            bias: torch.Tensor = getattr(self.cells, f"bias_ih_l{layer}").data
            kept = bias[width : 2 * width]  # second of input, forget, cell, output; of reset, update, new
            if timescale is not None:
                kept.copy_(torch.empty(width).uniform_(1, timescale - 1).log())
                if lstm:
                    bias[:width] = -kept  # what is kept for long is written rarely
            elif lstm:
                kept.fill_(1.0)

    def initial_state(self, batch: int) -> State:
        """What is remembered before an episode's first step: zeros."""
        device = next(self.parameters()).device
        return {name: torch.zeros(batch, self.layers, self.width, device=device) for name in self.names}

    def forward(self, x: torch.Tensor, state: State, first: torch.Tensor) -> tuple[torch.Tensor, State]:
        """Features [T, B, F], the state before them and, [T, B] bool, which steps begin an episode.

        Returns [T, B, width] and the state after the last step.
        """
        # Between two steps at which any lane begins anew, all lanes run as one sequence.
        steps = len(x)
        begins = [t for t, any_first in enumerate(first.any(1).tolist()) if any_first and t > 0]
        outputs = []
        for start, stop in zip([0, *begins], [*begins, steps]):
            keep = (~first[start]).to(x.dtype)[:, None, None]
            packed = [(state[name].to(x.dtype) * keep).transpose(0, 1).contiguous() for name in self.names]
            hidden = tuple(packed) if len(packed) > 1 else packed[0]
            output, after = self.cells(x[start:stop], hidden)
            after = after if isinstance(after, tuple) else (after,)
            state = {name: tensor.transpose(0, 1) for name, tensor in zip(self.names, after)}
            outputs.append(output)
        return (outputs[0] if len(outputs) == 1 else torch.cat(outputs)), state
