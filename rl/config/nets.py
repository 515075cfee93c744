"""Encoders, chosen by ``kind``; each serves board games, Gymnasium environments, or both."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rl.config.sections import Fraction, Positive, Section

Activation = Literal["relu", "leaky_relu", "sigmoid", "tanh", "gelu", "silu", "mish"]
Normalisation = Literal["batch", "layer", "group", "none"]
VectorNormalisation = Literal["batch", "layer", "rms", "none"]
Initialisation = Literal["he", "xavier", "orthogonal"]


class MLPConfig(Section):
    kind: Literal["mlp"]
    width: Positive = 128
    depth: Positive = 2  # hidden layers; residual: behind a linear input layer
    residual: bool = True
    activation: Activation = "relu"
    normalisation: VectorNormalisation = "layer"
    dropout: Fraction = 0.0


class ConvConfig(Section):
    """Plain convolutions, then one hidden layer; as it stands, the network of Mnih et al. 2015 (DQN, Nature)."""

    kind: Literal["conv"]
    layers: tuple[tuple[Positive, Positive, Positive], ...] = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
    # of each layer: channels, kernel, stride; without padding
    width: Positive = 512
    activation: Activation = "relu"
    normalisation: Normalisation = "none"
    dropout: Fraction = 0.0


class ImpalaConfig(Section):
    """The residual network of IMPALA (Espeholt et al. 2018, figure 3, right), then one hidden layer."""

    kind: Literal["impala"]
    channels: tuple[Positive, ...] = (16, 32, 32)  # of each stage, which halves the picture
    blocks: Positive = 2  # residual blocks a stage
    width: Positive = 256
    activation: Activation = "relu"
    normalisation: Normalisation = "none"
    dropout: Fraction = 0.0


class ResNetConfig(Section):
    kind: Literal["resnet"]
    channels: Positive = 64
    blocks: Positive = 5
    global_pooling: bool = True  # every second block sees board-wide means and maxima (KataGo, Wu 2019, §3.3)
    activation: Activation = "relu"
    normalisation: Normalisation = "batch"
    dropout: Fraction = 0.0


class TransformerConfig(Section):
    kind: Literal["transformer"]
    width: Positive = 64
    depth: Positive = 4
    heads: Positive = 4
    mlp_ratio: Annotated[float, Field(gt=0)] = 2.0
    positions: Literal["learned", "relative"] = "relative"
    patch: Positive = 1  # points a side that make one token (Dosovitskiy et al. 2021); 1 for boards
    activation: Activation = "gelu"
    normalisation: Literal["layer", "none"] = "layer"
    dropout: Fraction = 0.0

    @model_validator(mode="after")
    def _divisible(self) -> TransformerConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be divisible by heads {self.heads}")
        return self


class RecurrentConfig(Section):
    """Memory that is carried from step to step of an episode."""

    kind: Literal["rnn", "lstm", "gru"]
    width: Positive = 128
    layers: Positive = 1
    # Gates begin so that units forget over 1 to so many steps (chrono initialisation, Tallec and Ollivier 2018): about
    # the longest delay that has to be bridged. Null: an LSTM's forget gates begin at bias 1 (Gers et al. 2000), all
    # other biases at 0.
    timescale: Annotated[int, Field(ge=2)] | None = None

    @model_validator(mode="after")
    def _has_gates(self) -> RecurrentConfig:
        if self.timescale is not None and self.kind == "rnn":
            raise ValueError("timescale sets how gates begin, and a plain rnn has none: leave it out, or take gru")
        return self


class WindowConfig(Section):
    """Causal transformer over the last ``window`` steps of an episode, each layer's keys and values kept."""

    kind: Literal["transformer"]
    width: Positive = 64
    depth: Positive = 2
    heads: Positive = 4
    window: Positive = 32
    mlp_ratio: Annotated[float, Field(gt=0)] = 2.0
    activation: Activation = "gelu"
    normalisation: Literal["layer", "rms", "none"] = "layer"
    dropout: Fraction = 0.0

    @model_validator(mode="after")
    def _divisible(self) -> WindowConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be divisible by heads {self.heads}")
        return self
