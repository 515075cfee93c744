"""The configuration of a run: frozen pydantic models, unknown keys refused.

A config is a YAML file plus ``key.sub=value`` overrides; the fully resolved one is saved with the run.
Every field says what it means and, where it matters, where it comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Auto = Literal["auto"]
Activation = Literal["relu", "leaky_relu", "gelu", "silu", "mish", "tanh"]
Normalisation = Literal["batch", "layer", "group", "none"]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(ge=1)]


class ConfigError(ValueError):
    """The user's configuration is wrong; the message is one sentence that names the key and the remedy."""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class MLPConfig(Section):
    kind: Literal["mlp"]
    width: Positive = 128
    depth: Positive = 2
    residual: bool = True
    activation: Activation = "relu"
    normalisation: Literal["layer", "none"] = "layer"
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
    activation: Activation = "gelu"
    normalisation: Literal["layer", "none"] = "layer"
    dropout: Fraction = 0.0

    @model_validator(mode="after")
    def _divisible(self) -> TransformerConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be divisible by heads {self.heads}")
        return self


EncoderConfig = Annotated[MLPConfig | ResNetConfig | TransformerConfig, Field(discriminator="kind")]


class AuxiliaryConfig(Section):
    """Heads that only training asks: the weight of each one's loss beside the policy's, 0 for no such head."""

    ownership: Annotated[float, Field(ge=0)] = (
        0.0  # who owns each point at the end (Wu 2019, §4.1); games with territory
    )
    score: Annotated[float, Field(ge=0)] = 0.0  # by how many points (Wu 2019, §4.1); games with territory
    reply: Annotated[float, Field(ge=0)] = 0.0  # the next move (Wu 2019, §4.1)
    soft_policy: Annotated[float, Field(ge=0)] = (
        0.0  # the policy target to the power ¼, renormalised (KataGo's methods)
    )
    # Win, draw and loss on average over the searches of the next few, dozen and dozens of moves (KataGo's methods,
    # "Short-term Value and Score Targets"); horizons by the size of the board, rl.records.SHORT_TERM_HORIZONS
    short_term_value: Annotated[float, Field(ge=0)] = 0.0


class NetConfig(Section):
    encoder: EncoderConfig
    auxiliary: AuxiliaryConfig = AuxiliaryConfig()
    policy_channels: Positive = 16  # features a board point in the policy head
    value_channels: Positive = 16  # features a board point in the value head
    value_width: Positive = 64  # hidden units of the value head


class SearchConfig(Section):
    kind: Literal["gumbel", "puct"] = "gumbel"
    simulations: Positive = 32
    solver: bool = True  # back up proven wins, draws and losses exactly (Winands et al. 2008, MCTS-Solver)
    lookahead: bool = False  # try a new node's moves, and the replies, for immediate wins; cheap only in cheap games
    reuse_tree: bool = False  # keep the played move's subtree for the next search
    root_symmetries: bool = False  # average the root's evaluation over the board's symmetries
    # Gumbel AlphaZero (Danihelka et al. 2022)
    max_considered: Positive = 16  # root actions in sequential halving
    c_visit: Annotated[float, Field(ge=0)] = 50.0
    c_scale: Annotated[float, Field(gt=0)] = 1.0
    # PUCT (Silver et al. 2018)
    c_puct: Annotated[float, Field(gt=0)] = 1.5
    fpu_reduction: Annotated[float, Field(ge=0)] = 0.2
    dirichlet_fraction: Fraction = 0.25
    dirichlet_total: Annotated[float, Field(gt=0)] = 10.0  # alpha = total / number of legal actions (KataGo)


class SelfPlayConfig(Section):
    games: Positive | Auto = "auto"  # games an actor advances at once
    full_search_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0  # playout-cap randomisation (Wu 2019, §3.1)
    fast_simulations: Positive = 8  # budget of the other searches, whose policies are not trained on
    # Few simulations first, since an untrained network makes deep searches no better, and more games teach it sooner
    # (Wu 2019, §3.1, anneals its budgets from 600 and 100 to 1,000 and 200): full searches begin with so many, and grow
    # by equal factors to search.simulations, fast ones in proportion to them; null for all of them from the beginning.
    first_simulations: Positive | None = None
    simulations_grow_until: Annotated[float, Field(gt=0, le=1)] = (
        0.5  # share of the run's budget by which they are full
    )
    sampled_plies: Annotated[int, Field(ge=0)] = 0  # opening plies whose move is drawn from the improved policy
    random_opening_plies: Annotated[int, Field(ge=0)] = 0  # games start after 0 to this many random moves,
    random_openings: Fraction = 1.0  # this share of them; the others from the initial position
    # This share of games begins at a position that one of the actor's last 1,000 games came by (Go-Exploit, Trudeau and
    # Bowling 2023), whatever the openings above; it is 0 until the first game has ended, also after a resume in async.
    stored_starts: Fraction = 0.0
    # Once four searches in a row gave a side a value beyond this, only this share of the full searches is made: what is
    # left of a decided game teaches little (KataGo, Wu 2019, appendix D, reduces visits there). 1: never.
    decided_value: Fraction = 1.0
    decided_searches: Fraction = 0.1
    random_move: Fraction = 0.0  # chance that a searched move is replaced by a random one, for diverse positions


class ExperienceConfig(Section):
    start_from: str | None = None  # a run or checkpoint: a new run begins with its window, for another network (KataGo)
    min_rows: Positive = 2_000  # training starts with this many
    window: Positive = 100_000  # rows of the window while fewer than this were ever generated
    window_exponent: Fraction = 0.65  # then it grows as rows**exponent (KataGo, Wu 2019, appendix C)
    max_rows: Positive = 1_000_000
    reuse: Annotated[float, Field(gt=0)] = 8.0  # at most this many trainings a new row
    outcome_weight: Fraction = 0.5  # value target = weight · outcome + (1 - weight) · searched root value
    # This share of a game's rows goes to its moves by how far the search moved the network's policy, so that surprising
    # positions are seen more often (KataGo's methods, "Policy Surprise Weighting", which takes 0.5).
    surprise_weight: Fraction = 0.0


class LearnerConfig(Section):
    start_from: str | None = None  # an agent whose weights a new run begins with: for another board, or other options
    batch_size: Positive = 512
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    schedule: Literal["constant", "cosine", "linear"] = "cosine"  # over the run's budget
    final_learning_rate: Annotated[float, Field(ge=0)] = 1e-4  # where the schedule ends
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    momentum: Fraction = 0.9
    clip_norm: Annotated[float, Field(gt=0)] = 5.0
    value_weight: Annotated[float, Field(ge=0)] = 1.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.99  # actors use averaged weights; 0 turns the averaging off
    symmetries: bool = True  # augment each row with a random symmetry of the board
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # of autocast; auto: bfloat16 on CUDA, measured on a CPU
    publish_every: Positive = 20  # learner steps between two published versions


class InferenceConfig(Section):
    format: str = "auto"  # measured at start; or a format's name, as logged, to pin it
    compile: bool = False  # also try torch.compile: costs half a minute at start, pays for long runs
    tolerance: Annotated[float, Field(gt=0)] = 0.03  # largest accepted gap to float32 in any probability or in wdl


class EvaluationConfig(Section):
    minutes: Annotated[float, Field(gt=0)] = 5.0  # between two evaluations during training
    positions: Positive = 500  # of the game's truth set, where it has one
    simulations: Annotated[int, Field(ge=0)] = 64
    games: Annotated[int, Field(ge=0)] = 40  # against each yardstick
    # As for eval --against (mcts:400, gnugo:10, gtp:COMMAND, an agent); "previous": the weights of the last evaluation
    opponents: tuple[str, ...] = ("random", "mcts:100")


class RunConfig(Section):
    minutes: Annotated[float, Field(gt=0)] | None = None  # budget in wall time, resumed sessions added up
    learner_steps: Positive | None = None  # budget in updates
    mode: Literal["async", "sync"] = "async"  # sync: lock step, bit-identical after a resume
    actors: Positive | Auto = "auto"
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 5.0
    keep_checkpoints: Positive = 5  # the newest ones
    sync_moves: Positive = 64  # moves that each actor's games advance an iteration, in sync mode

    @model_validator(mode="after")
    def _ends(self) -> RunConfig:
        if self.minutes is None and self.learner_steps is None:
            raise ValueError("give run.minutes or run.learner_steps, else the run would never end")
        if self.mode == "sync" and (self.learner_steps is None or self.minutes is not None):
            raise ValueError("mode sync takes run.learner_steps, not run.minutes: wall time is not reproducible")
        return self


class WandbConfig(Section):
    enabled: bool = True
    project: str = "fuseki"
    name: str | None = None
    tags: tuple[str, ...] = ()
    sample_games: Annotated[int, Field(ge=0)] = 2  # games shown as text at every evaluation


class Config(Section):
    env: str
    env_options: dict[str, Any] = {}  # of the environment, by name: komi, suicide, ... of Go
    seed: Annotated[int, Field(ge=0)] = 0
    net: NetConfig
    search: SearchConfig = SearchConfig()
    selfplay: SelfPlayConfig = SelfPlayConfig()
    experience: ExperienceConfig = ExperienceConfig()
    learner: LearnerConfig = LearnerConfig()
    inference: InferenceConfig = InferenceConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    run: RunConfig
    wandb: WandbConfig = WandbConfig()

    @model_validator(mode="after")
    def _simulations_grow(self) -> Config:
        first, full = self.selfplay.first_simulations, self.search.simulations
        if first is not None and first > full:
            raise ValueError(f"selfplay.first_simulations {first} must not exceed search.simulations {full}, its end")
        return self

    def to_yaml(self) -> str:
        """The fully resolved configuration as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file and apply ``key.sub=value`` overrides (values are YAML).

    Raises ConfigError: one sentence that names the file, the key and the remedy.
    """
    try:
        text = Path(path).read_text()
    except OSError as error:
        raise ConfigError(f"cannot read config {str(path)!r}: {error.strerror}") from error
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"config {str(path)!r} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"config {str(path)!r} must be a mapping of keys to values")
    for override in overrides:
        _apply(data, override)
    return parse_config(data, str(path))


def parse_config(data: dict[str, Any], source: str) -> Config:
    """Validate a mapping. Raises ConfigError naming ``source`` and every wrong key."""
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"config {source!r}: {'; '.join(_explain(e) for e in error.errors())}") from error


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"override {override!r} must look like key.sub=value")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: the value is not valid YAML") from error
    *parents, last = key.strip().split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise ConfigError(f"override {override!r}: {parent!r} is a value, not a section")
    data[last] = parsed


def _explain(error: Any) -> str:
    # A discriminated union adds its tag to the location ("net.encoder.resnet.blocks"); users never wrote it.
    tags = {"mlp", "resnet", "transformer"}
    parts = [str(p) for p in error["loc"] if p not in tags and "[" not in str(p)]
    key = ".".join(parts) or "the whole file"
    if error["type"] == "extra_forbidden":
        return f"unknown key {key!r}{_suggest(parts)}"
    if error["type"] == "missing":
        return f"key {key!r} is missing"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error" and not parts:  # of sections together; it names its keys
        return message
    given = error.get("input")
    shown = f" (got {given!r})" if isinstance(given, (str, int, float, bool)) else ""
    return f"{key}: {message[:1].lower()}{message[1:]}{shown}"


def _suggest(parts: list[str]) -> str:
    import difflib

    model: Any = Config
    for part in parts[:-1]:
        model = model.model_fields[part].annotation if part in getattr(model, "model_fields", {}) else None
    known = list(getattr(model, "model_fields", {}))
    close = difflib.get_close_matches(parts[-1], known, 1) if parts else []
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known keys here: {', '.join(known)}" if known else "; remove it"
