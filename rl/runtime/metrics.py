"""Metrics of a run: one declared catalogue, a JSONL file that is always written, Weights & Biases beside it.

A row is one JSON object on one line of ``metrics.jsonl``: the five numbers of the clock and whatever was measured
since the last row. A metric that the catalogue does not declare cannot be logged, so every curve has a unit and a
meaning. ``wandb_run.py`` holds what concerns Weights & Biases.
"""

from __future__ import annotations

import json
import math
import os
import re
import secrets
from collections.abc import Callable, Mapping
from numbers import Integral
from pathlib import Path
from typing import NamedTuple

from rl.config import Config
from rl.runtime.wandb_run import WandbRun
from rl.storage import Place, replacing

FILE = "metrics.jsonl"
CLOCK = ("env_steps", "games", "learner_steps", "evaluations", "seconds")


class Metric(NamedTuple):
    unit: str  # as written on an axis; "" for a pure number
    meaning: str


# Shares, accuracies and scores are fractions in [0, 1]. "<opponent>" stands for the opponent's name, "<node>" for a
# machine's address, "<actor>" for an actor's number and where it is, such as "3@10.0.0.7".
METRICS: dict[str, Metric] = {
    # The clock. Every row carries all five, counted from the beginning of the run, resumed sessions added up.
    "env_steps": Metric("steps", "moves played, or steps of the environments made, by the actors"),
    "games": Metric("games", "games, or episodes, finished by the actors"),
    "learner_steps": Metric("updates", "updates of the network"),
    "evaluations": Metric("positions", "positions or observations evaluated by the actors' networks"),
    "seconds": Metric("s", "wall time of the run"),
    "learner/loss": Metric("nats", "total loss: policy loss + value_weight × value loss"),
    "learner/policy_loss": Metric("nats", "cross-entropy to the search's policy; of rollouts, the surrogate"),
    "learner/value_loss": Metric("nats", "cross-entropy to the value target; of rollouts, ½ squared error"),
    "learner/policy_entropy": Metric("nats", "entropy of the network's policy over legal moves"),
    "learner/policy_kl": Metric("nats", "KL divergence of the network's policy from the improved one: what is left"),
    "learner/value_accuracy": Metric("", "share of rows whose likeliest of win, draw and loss is the target's"),
    "learner/ownership_loss": Metric("nats", "cross-entropy a point of who owns it at the end (auxiliary head)"),
    "learner/score_loss": Metric("", "Huber loss of the final margin, in units of 10 points (auxiliary head)"),
    "learner/reply_loss": Metric("nats", "cross-entropy of the move that followed (auxiliary head)"),
    "learner/soft_policy_loss": Metric("nats", "cross-entropy to the softened policy target (auxiliary head)"),
    "learner/short_term_value_loss": Metric("nats", "cross-entropy of the next searches' values (auxiliary head)"),
    "learner/gradient_norm": Metric("", "Euclidean norm of the gradient before clipping"),
    "learner/gradient_norm_first": Metric("", "the same of the first layer's weights: vanishing, exploding gradients"),
    "learner/gradient_norm_last": Metric("", "the same of the weights of the policy's last layer"),
    "learner/dead_units": Metric("", "share of hidden units stuck at zero or saturated in a batch"),
    "learner/learning_rate": Metric("", "step size of the optimizer"),
    "learner/lag_mean": Metric("updates", "learner's version − version that played the row, mean over trained rows"),
    "learner/lag_max": Metric("updates", "the same lag, of the oldest row trained on"),
    "learner/rows_per_second": Metric("rows/s", "rows trained on a second of wall time"),
    "learner/wait_fraction": Metric("", "share of its time that the learner waited for new rows"),
    "selfplay/games_per_second": Metric("games/s", "games finished a second, all actors together"),
    "selfplay/evaluations_per_second": Metric("positions/s", "positions evaluated a second, all actors together"),
    "selfplay/moves_per_second": Metric("moves/s", "moves played a second, all actors together"),
    "selfplay/simulations": Metric("simulations", "budget of a full search, as far as it has grown by then"),
    "selfplay/recalled_share": Metric("", "share of the network's answers that were recalled, not asked for again"),
    "selfplay/evaluator_share": Metric("", "share of the actors' time inside the network; the rest is search"),
    "selfplay/game_length": Metric("moves", "mean length of the games finished"),
    "selfplay/first_player_score": Metric("", "points a game of the first player: a win 1, a draw ½"),
    "selfplay/draw_share": Metric("", "share of the games that were drawn"),
    "selfplay/proven_share": Metric("", "share of the moves whose position the search had proven"),
    "selfplay/actors": Metric("actors", "actors at work"),
    "selfplay/restarts": Metric("actors", "actors that died and were replaced, since the run began"),
    "actors/steps_per_second/<actor>": Metric("steps/s", "moves or steps of one actor a second, waiting included"),
    "actors/slowest_steps_per_second": Metric("steps/s", "the same of the slowest actor"),
    "actors/lag/<actor>": Metric("updates", "newest version − version that the actor plays with"),
    "actors/restarts/<actor>": Metric("", "how often that actor died and was replaced, in this session"),
    "nodes/actors/<node>": Metric("actors", "actors on that node"),
    "nodes/steps_per_second/<node>": Metric("steps/s", "moves or steps a second of all actors on that node"),
    "nodes/evaluations_per_second/<node>": Metric("positions/s", "positions evaluated a second on that node"),
    "inference/batch_rows": Metric("positions", "positions that an inference server evaluates at once, on average"),
    "inference/busy_share": Metric("", "share of their time that inference servers spend in the network"),
    "learner/clip_fraction": Metric("", "share of the steps whose probability ratio was clipped"),
    "learner/explained_variance": Metric("", "1 − variance of what the value missed / variance of the returns"),
    "learner/rho_mean": Metric("", "IMPALA: mean importance ratio of the learner's policy to the actor's"),
    "learner/adversary_kl": Metric("nats", "KL divergence of the policy as the adversary makes it see from what it is"),
    "rollout/steps_per_second": Metric("steps/s", "steps of all environments a second"),
    "rollout/evaluator_share": Metric("", "share of the actors' time inside the network"),
    "rollout/environment_share": Metric("", "share of the actors' time inside the environments"),
    "rollout/return": Metric("", "mean sum of rewards of the episodes finished"),
    "rollout/length": Metric("steps", "mean length of the episodes finished"),
    "experience/queue": Metric("stretches", "stretches that wait for the learner"),
    "experience/waiting": Metric("stretches", "stretches of play on their way into the learner"),
    "experience/rows": Metric("rows", "rows in the replay window"),
    "experience/rows_total": Metric("rows", "rows ever generated"),
    "experience/window": Metric("rows", "rows that the window may hold now"),
    "experience/reuse": Metric("times", "trainings a generated row, over the whole run"),
    "weights/version": Metric("updates", "version of the newest published weights"),
    "weights/bytes": Metric("bytes", "size of one published version"),
    "weights/publish_seconds": Metric("s", "time to publish one version"),
    "eval/accuracy_network": Metric("", "share of solved positions in which the network alone plays a best move"),
    "eval/accuracy_search": Metric("", "the same share for network and search"),
    "eval/score/<opponent>": Metric("", "points a game against a fixed opponent: a win 1, a draw ½"),
    "eval/score_low/<opponent>": Metric("", "lower end of the score's 95 % interval"),
    "eval/score_high/<opponent>": Metric("", "upper end of the score's 95 % interval"),
    "eval/forfeits/<opponent>": Metric("games", "games forfeited by a fault (an engine that died, say); not rated"),
    "eval/episodes": Metric("episodes", "episodes of the evaluation"),
    "eval/return_mean": Metric("", "mean sum of rewards an episode, on seeds that training never uses"),
    "eval/return_low": Metric("", "lower end of the mean's 95 % interval"),
    "eval/return_high": Metric("", "upper end of the mean's 95 % interval"),
    "eval/return_std": Metric("", "standard deviation of an episode's return"),
    "eval/return_min": Metric("", "worst return"),
    "eval/return_max": Metric("", "best return"),
    "eval/length_mean": Metric("steps", "mean length of an episode"),
    "eval/elo": Metric("Elo", "rating by all opponents so far; the random player has 0"),
    "eval/elo_low": Metric("Elo", "lower end of the rating's 95 % interval"),
    "eval/elo_high": Metric("Elo", "upper end of the rating's 95 % interval"),
    "eval/seconds": Metric("s", "time that the evaluation took"),
}


# "eval/score" → "eval/score/<opponent>": the metrics that one of several has
TEMPLATES = {name.split("/<")[0]: name for name in METRICS if "<" in name}


def declared(name: str) -> tuple[str, str]:
    """(Key in METRICS, whose it is) of a metric's name: ("eval/score/<opponent>", "mcts:400"), ("games", "").

    Raises ValueError when there is none.
    """
    if name in METRICS and "<" not in name:
        return name, ""
    group, _, rest = name.partition("/")
    kind, _, of = rest.partition("/")
    template = TEMPLATES.get(f"{group}/{kind}")
    if template is None or not of or name in METRICS:
        raise ValueError(f"metric {name!r} is not declared in rl/runtime/metrics.py; add it to METRICS with its unit")
    return template, of


def metric(name: str) -> Metric:
    """The declaration of a metric's name. Raises ValueError when there is none."""
    return METRICS[declared(name)[0]]


class MetricsLog:
    """Writes rows to ``run_dir/metrics.jsonl`` and, where config.wandb.enabled, to Weights & Biases.

    The file comes first and is all that matters to a run: trouble with Weights & Biases costs one warning in the log.
    ``wandb_run_id`` continues that W&B run; it is kept in the checkpoint for this purpose.
    """

    def __init__(self, run_dir: Path, config: Config, wandb_run_id: str | None = None):
        self.run_dir = Path(run_dir)
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self._path = self.run_dir / FILE
        _drop_half_line(self._path)
        self.also: list[Callable[[Mapping[str, float | None]], object]] = []  # others that get each row
        self.wandb_run_id: str | None = None
        self._wandb: WandbRun | None = None
        if config.wandb.enabled:
            # Chosen here and not by W&B, so that a run whose W&B could not start keeps its identity all the same.
            chosen = wandb_run_id or secrets.token_hex(4)
            self._wandb = WandbRun(self.run_dir, config, chosen, resumed=wandb_run_id is not None)
            self.wandb_run_id = self._wandb.run_id

    def log(self, row: Mapping[str, float]) -> None:
        """Write one row. Values that are not finite become null.

        Raises ValueError for a name that is not declared or a clock that is not whole, OSError when the disk is full.
        """
        missing = [name for name in CLOCK if name not in row]
        if missing:
            raise ValueError(f"a row of metrics lacks {', '.join(missing)}: every row carries the whole clock")
        for name in row:
            metric(name)
        finite = {name: _number(value) for name, value in row.items()}
        # Opened anew each time: ``trim`` may have put another file in its place (a learner that fell back to a
        # checkpoint), and a handle to the old one would write rows that nobody sees.
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(finite, allow_nan=False) + "\n")
        for take in self.also:
            take(finite)
        if self._wandb is not None:
            self._wandb.log({name: value for name, value in finite.items() if value is not None})

    def text(self, name: str, text: str, clock: Mapping[str, float]) -> Path:
        """Keep a text, such as a sample game, in ``run_dir/games``, and show it in Weights & Biases.

        A version number that ``name`` begins with ("00000400-random-1") is left out there, where it is the position
        of the slider under the text. Returns the file written. Raises OSError when it cannot be.
        """
        safe = re.sub(r"[^\w.=]+", "-", name).strip(".-") or "text"
        path = self.run_dir / "games" / f"{safe}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        if self._wandb is not None:
            self._wandb.text(re.sub(r"^\d+-(?=.)", "", safe), text, _axes(clock))
        return path

    def video(self, name: str, content: bytes, clock: Mapping[str, float]) -> Path:
        """Keep a video, such as "00000400-episode-1.mp4", in ``run_dir/videos``, and show it in Weights & Biases.

        The version number is left out there, as in ``text``. Returns the file written. Raises OSError.
        """
        path = self.run_dir / "videos" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        if self._wandb is not None:
            self._wandb.video(re.sub(r"^\d+-(?=.)", "", path.stem), path, _axes(clock))
        return path

    def files(self, folder: str, files: Mapping[str, str]) -> None:
        """Keep the games of a match in ``run_dir/games/folder``: file name → content. Raises OSError."""
        place = self.run_dir / "games" / folder
        place.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (place / name).write_text(content, encoding="utf-8")

    def close(self) -> None:
        """End the W&B run; give unsent rows a minute to arrive. Rows in the file need no closing."""
        if self._wandb is not None:
            self._wandb.close()
            self._wandb = None


def read_metrics(run_dir: Place) -> list[dict[str, float]]:
    """All rows of a run, oldest first; null reads as NaN. A last line cut short by a kill is left out.

    Raises FileNotFoundError when there is no metrics file, ValueError when a line in its middle is damaged.
    """
    path = run_dir / FILE
    lines = path.read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("not an object")
        except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
            if number == len(lines):
                break
            raise ValueError(f"line {number} of {str(path)!r} is damaged; delete the line to go on") from error
        rows.append({name: math.nan if value is None else value for name, value in row.items()})
    return rows


def trim(run_dir: Path, learner_steps: int, env_steps: int) -> float:
    """Cut the rows beyond a checkpoint at these counts: what they tell of will be run again.

    Returns the wall seconds of the last row that stays (the last evaluation of a run comes after its last checkpoint),
    0 without any. The file changes as a whole or not at all. A run without metrics stays so. Raises ValueError as
    ``read_metrics``.
    """
    path = Path(run_dir) / FILE
    if not path.exists():
        return 0.0
    rows = read_metrics(run_dir)
    kept = [row for row in rows if row["learner_steps"] <= learner_steps and row["env_steps"] <= env_steps]
    with replacing(path) as file:
        for row in kept:
            finite = {name: _number(value) for name, value in row.items()}
            file.write(json.dumps(finite, allow_nan=False).encode() + b"\n")
    return float(kept[-1]["seconds"]) if kept else 0.0


def _axes(clock: Mapping[str, float]) -> dict[str, float | int]:
    return {key: value for key in CLOCK if (value := _number(clock[key])) is not None}


def _number(value: float) -> float | int | None:
    """A plain number for JSON from one of Python, numpy or torch; None where it is not finite."""
    if isinstance(value, Integral):
        return int(value)
    return float(value) if math.isfinite(value) else None


def _drop_half_line(path: Path) -> None:
    """Cut off a last line without its end, as a kill leaves it: the next row would be glued to it."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        data = file.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            file.truncate(whole)
            file.flush()
            os.fsync(file.fileno())
