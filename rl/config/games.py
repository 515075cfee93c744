"""The configuration of a run that learns a board game by self-play (AlphaZero)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from rl.config.nets import MLPConfig, ResNetConfig, TransformerConfig
from rl.config.sections import Auto, Config, EvaluationConfig, Fraction, LearnerConfig, NonNegative, Positive, Section

EncoderConfig = Annotated[MLPConfig | ResNetConfig | TransformerConfig, Field(discriminator="kind")]


class AuxiliaryConfig(Section):
    """Heads that only training asks: the weight of each one's loss beside the policy's, 0 for no such head."""

    ownership: NonNegative = 0.0  # who owns each point at the end (Wu 2019, §4.1); games with territory
    score: NonNegative = 0.0  # by how many points (Wu 2019, §4.1); games with territory
    reply: NonNegative = 0.0  # the next move (Wu 2019, §4.1)
    soft_policy: NonNegative = 0.0  # the policy target to the power ¼, renormalised (KataGo's methods)
    # Win, draw and loss on average over the searches of the next few, dozen and dozens of moves (KataGo's methods,
    # "Short-term Value and Score Targets"); horizons by the size of the board, rl.records.SHORT_TERM_HORIZONS
    short_term_value: NonNegative = 0.0


class NetConfig(Section):
    encoder: EncoderConfig
    auxiliary: AuxiliaryConfig = AuxiliaryConfig()
    policy_channels: Positive = 16  # features a board point in the policy head
    value_channels: Positive = 16  # features a board point in the value head
    value_width: Positive = 64  # hidden units of the value head


class SearchConfig(Section):
    kind: Literal["gumbel", "puct"] = "gumbel"
    simulations: Annotated[int, Field(ge=0)] = 32  # 0: the network alone plays, which learns by ``ppo`` then
    solver: bool = True  # back up proven wins, draws and losses exactly (Winands et al. 2008, MCTS-Solver)
    # Try a new node's moves, and the replies, for immediate wins: cheap where moves are few, or the game is monotone
    lookahead: bool = False
    reuse_tree: bool = False  # keep the played move's subtree for the next search
    # Answers of the network that are kept while its weights stay the same (KataGo's nnCacheSize): searches of a game
    # ask much again that the last one asked, and come to a position by several ways. 0: none
    cache: Annotated[int, Field(ge=0)] = 65_536
    root_symmetries: bool = False  # average the root's evaluation over the board's symmetries
    # Gumbel AlphaZero (Danihelka et al. 2022)
    max_considered: Positive = 16  # root actions in sequential halving
    c_visit: NonNegative = 50.0
    c_scale: Annotated[float, Field(gt=0)] = 1.0
    # PUCT (Silver et al. 2018)
    c_puct: Annotated[float, Field(gt=0)] = 1.5
    fpu_reduction: NonNegative = 0.2
    dirichlet_fraction: Fraction = 0.25
    dirichlet_total: Annotated[float, Field(gt=0)] = 10.0  # alpha = total / number of legal actions (KataGo)


class SelfPlayConfig(Section):
    games: Positive | Auto = "auto"  # games an actor advances at once
    full_search_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0  # playout-cap randomisation (Wu 2019, §3.1)
    # Budget of the other searches, whose policies are not trained on (where it equals the full one, they are)
    fast_simulations: Positive = 8
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
    # An agent that sits in the other seat of every game, its weights frozen: the run trains an adversary that exploits
    # it (Gleave et al. 2020; rl.actors.versus), or, where it is such an adversary, an agent that withstands it. Null:
    # both seats are the learner's.
    victim: str | None = None
    victim_simulations: Annotated[int, Field(ge=0)] = 0  # its searches; 0: its network alone


class ExperienceConfig(Section):
    start_from: str | None = None  # a run or checkpoint: a new run begins with its window, for another network (KataGo)
    min_rows: Positive = 2_000  # training starts with this many
    window: Positive = 100_000  # rows of the window while fewer than this were ever generated
    window_exponent: Fraction = 0.65  # then it grows as rows**exponent (KataGo, Wu 2019, appendix C)
    max_rows: Positive = 1_000_000
    reuse: Annotated[float, Field(gt=0)] = 8.0  # at most this many trainings a new row
    # Value target = weight · outcome + (1 - weight) · searched root value (Willemsen, Baier and Kaisers 2020, "Value
    # Targets in Off-policy AlphaZero", compare outcome, searched value and mixtures)
    outcome_weight: Fraction = 0.5
    # This share of a game's rows goes to its moves by how far the search moved the network's policy, so that surprising
    # positions are seen more often (KataGo's methods, "Policy Surprise Weighting", which takes 0.5).
    surprise_weight: Fraction = 0.0


class SelfPlayPPOConfig(Section):
    """Self-play without search: both sides draw their moves from the newest policy, which learns by PPO.

    The games' rows are trained on in minibatches, ``epochs`` times, and forgotten (Schulman et al. 2017). No reward is
    discounted; the value is the λ-return, from the side to move, whose sign turns with it.
    """

    rows: Positive = 4096  # moves of finished games that are gathered for a batch
    epochs: Positive = 4
    clip: Annotated[float, Field(gt=0)] = 0.2
    trace_lambda: Fraction = 0.95  # of the λ-return: 1 is the game's outcome, 0 the value of the next position
    entropy_weight: NonNegative = 0.01


class GameLearnerConfig(LearnerConfig):
    symmetries: bool = True  # augment each row with a random symmetry of the board
    publish_every: Positive = 20  # learner steps between two published versions


class InferenceConfig(Section):
    # Processes that evaluate for all actors in batches over them, on GPUs where the cluster has some (rl.serving);
    # actors then need cores alone. 0: each actor evaluates for itself, which is best where there is no GPU.
    servers: Annotated[int, Field(ge=0)] = 0
    format: str = "auto"  # measured at start; or a format's name, as logged, to pin it
    compile: bool = False  # also try torch.compile: costs half a minute at start, pays for long runs
    # Accepted gap to float32: the largest in any probability or in wdl, on average over positions
    tolerance: Annotated[float, Field(gt=0)] = 0.01


class MatchEvaluationConfig(EvaluationConfig):
    positions: Positive = 500  # of the game's truth set, where it has one
    simulations: Annotated[int, Field(ge=0)] = 64
    games: Annotated[int, Field(ge=0)] = 40  # against each yardstick
    # As for eval --against (mcts:400, gnugo:10, gtp:COMMAND, an agent); "previous": the weights of the last evaluation
    opponents: tuple[str, ...] = ("random", "mcts:100")


class GameConfig(Config):
    net: NetConfig
    search: SearchConfig = SearchConfig()
    selfplay: SelfPlayConfig = SelfPlayConfig()
    experience: ExperienceConfig = ExperienceConfig()
    learner: GameLearnerConfig = GameLearnerConfig()
    ppo: SelfPlayPPOConfig | None = None  # learn by policy gradients from games that are played without search
    inference: InferenceConfig = InferenceConfig()
    evaluation: MatchEvaluationConfig = MatchEvaluationConfig()

    @property
    def played_options(self) -> dict[str, Any]:
        """Of the game that agents play and are measured in: env_options but for what self-play mixes in."""
        return {name: value for name, value in self.env_options.items() if name != "variants"}

    @model_validator(mode="after")
    def _simulations_grow(self) -> GameConfig:
        first, full = self.selfplay.first_simulations, self.search.simulations
        if first is not None and first > full:
            raise ValueError(f"selfplay.first_simulations {first} must not exceed search.simulations {full}, its end")
        return self

    @model_validator(mode="after")
    def _searches_or_not(self) -> GameConfig:
        if self.ppo is None:
            if not self.search.simulations:
                raise ValueError("search.simulations 0 plays without search, which only ppo learns from: add ppo: {}")
            return self
        wrong = {
            "search.simulations must be 0": self.search.simulations > 0,
            "search.kind must be gumbel, whose noise draws moves by the policy": self.search.kind != "gumbel",
            "search.lookahead must be false, which is a search too": self.search.lookahead,
            "selfplay.full_search_fraction must be 1": self.selfplay.full_search_fraction < 1,
            "selfplay.random_move must be 0, whose moves the policy did not choose": self.selfplay.random_move > 0,
            "net.auxiliary must be left out": self.net.auxiliary != AuxiliaryConfig(),
            "learner.symmetries must be false: moves are trained on as they were played": self.learner.symmetries,
            "run.learners must be 1": self.run.learners > 1,
            "experience must be left out: there is no replay window": self.experience != ExperienceConfig(),
        }
        for sentence, is_wrong in wrong.items():
            if is_wrong:
                raise ValueError(f"with ppo, {sentence}")
        return self

    @model_validator(mode="after")
    def _servers_serve_self_play(self) -> GameConfig:
        if not self.inference.servers:
            return self
        if self.run.mode == "sync":
            raise ValueError("inference.servers needs run.mode async: who asks together with whom is not reproducible")
        if self.selfplay.victim is not None:
            raise ValueError("inference.servers knows one network, not the victim's too: leave it at 0")
        return self

    @model_validator(mode="after")
    def _victim_is_async(self) -> GameConfig:
        if self.selfplay.victim is not None and self.run.mode == "sync":
            raise ValueError("selfplay.victim needs run.mode async: games against it are not resumed bit by bit")
        if self.selfplay.victim is not None and self.ppo is not None:
            raise ValueError("selfplay.victim needs a learner that searches: leave ppo out")
        return self

    def conflict(self) -> str | None:
        """Why a run had better not begin with these settings. Agents that were trained with such can still be used."""
        full, play = self.search.simulations, self.selfplay
        some_fast = play.full_search_fraction < 1 or play.decided_value < 1
        if self.ppo is None and some_fast and play.fast_simulations > full:
            return f"selfplay.fast_simulations {play.fast_simulations} must not exceed search.simulations {full}"
        if self.ppo is not None and play.decided_value < 1:
            return "with ppo, selfplay.decided_value must be 1: there are no searches to save"
        unread = {"stored_starts": 0.0, "decided_value": 1.0, "first_simulations": None}
        for name, default in unread.items():
            if play.victim is not None and getattr(play, name) != default:
                return f"selfplay.{name} has no effect on games against selfplay.victim: leave it out"
        return None
