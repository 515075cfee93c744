"""Probing classifiers: at which depth, and after how much training, can a concept be read off the network's features?

A logistic regression (scikit-learn) on the features of one layer tells the concept (Alain and Bengio 2016; in chess,
McGrath et al. 2022). That it can may be the probe's own doing, so each has a **control task** (Hewitt and Liang 2019):
the same probe, data and share of ones, but labels that are drawn at random for each *type* of input, equal wherever
the type comes again. **Selectivity** is the balanced accuracy at the concept minus that at its control; guessing has
0.5 at both.

* Concepts about points: one row a point, its features at that layer. Type: what stands in the 3 × 3 points around it.
* Concepts about positions: one row a position, each feature's mean and maximum over the board. Type: what stands on the
  five points whose contents differ most between the positions.

Probes are fitted on one part of the games and scored on the other; intervals are bootstrapped over games.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from envs.game import TO_MOVE, Game
from rl.agent import Agent
from rl.insight.concepts import NOT_ASKED, Concept, boards
from rl.insight.intervals import RESAMPLES, Estimate, over_games
from rl.insight.positions import Positions
from rl.insight.saliency import MISSING

BATCH = 256
MOST_ROWS = 12_000  # that a probe is fitted on
FEWEST = 20  # of each label in each part, or the concept is left out
TYPE_POINTS = 5


@dataclass(frozen=True)
class Probed:
    """One concept at one layer of one version of the network."""

    concept: str
    layer: str
    version: int  # learner steps; -1 for new weights
    accuracy: float  # balanced, on games that the probe was not fitted on
    low: float
    high: float
    control: float  # the same of the control task
    control_low: float
    control_high: float
    selectivity: float
    selectivity_low: float
    selectivity_high: float
    share: float  # of ones among the labels
    rows: int  # scored

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class Task:
    """A concept with its labels, those of its control, and which rows probes are fitted and scored on."""

    concept: Concept
    rows: np.ndarray  # [R] int64, into the N positions or, of points, into the N · H·W points
    labels: np.ndarray  # [R] int8
    control: np.ndarray  # [R] int8
    fitted: np.ndarray  # [R] bool
    games: np.ndarray  # [R] int64


def tasks_of(
    game: Game, positions: Positions, concepts: Sequence[Concept], seed: int = 0
) -> tuple[list[Task], dict[str, str]]:
    """What can be probed with these positions; and the concepts left out, name → why, where a label is too rare."""
    rng = np.random.default_rng(seed)
    games = np.unique(positions.games)
    train = np.isin(positions.games, rng.permutation(games)[: round(0.6 * len(games))])
    kinds = boards(game, positions.states) * np.where(positions.states[:, TO_MOVE] == 0, 1, -1)[:, None]
    cells = kinds.shape[1]
    tasks, left_out = [], {}
    for concept in concepts:
        labels = concept.label(game, positions)
        if concept.about == "point":
            types, fitted = _around(kinds, game.board_shape), np.repeat(train, cells)
            owners = np.repeat(positions.games, cells)
        else:
            types, fitted, owners = _telling(kinds), train, positions.games
        flat = labels.reshape(-1)
        rows = np.flatnonzero(flat != NOT_ASKED)
        rows = np.concatenate([_some(rows[fitted[rows]], rng), _some(rows[~fitted[rows]], rng)])
        known, part = flat[rows], fitted[rows]
        if min(np.bincount(known[p], minlength=2).min() for p in (part, ~part)) < FEWEST:
            ones, where = int(known.sum()), f"{concept.about}s"
            left_out[concept.name] = (
                f"it holds in {ones} {where} and not in {len(known) - ones}, and {FEWEST} of each are needed "
                "to fit a probe and as many to score it"
            )
            continue
        _, kind = np.unique(types.reshape(-1)[rows], return_inverse=True)
        # A stream of its own for each concept, so that leaving one out changes no other's control.
        own = np.random.default_rng([seed, zlib.crc32(concept.name.encode())])
        control = (own.random(kind.max() + 1) < known.mean())[kind].astype(np.int8)
        tasks.append(Task(concept, rows, known, control, part, owners[rows]))
    return tasks, left_out


def _some(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= MOST_ROWS else np.sort(rng.choice(rows, MOST_ROWS, replace=False))


def _around(kinds: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """[N, H·W] int64: a number for what stands in the 3 × 3 points around each, the board's edge included."""
    grid = np.pad(kinds.reshape(-1, *shape) + 1, ((0, 0), (1, 1), (1, 1)), constant_values=3).astype(np.int64)
    height, width = shape
    number = np.zeros((len(kinds), height, width), np.int64)
    for down in range(3):
        for right in range(3):
            number = number * 4 + grid[:, down : down + height, right : right + width]
    return number.reshape(len(kinds), -1)


def _telling(kinds: np.ndarray) -> np.ndarray:
    """[N] int64: a number for what stands on the TYPE_POINTS points with the highest entropy of contents."""
    shares = np.stack([(kinds == k).mean(0) for k in (-1, 0, 1)])
    entropy = -(shares * np.log(shares + 1e-12)).sum(0)
    chosen = np.sort(np.argsort(-entropy, kind="stable")[:TYPE_POINTS])
    return (kinds[:, chosen] + 1).astype(np.int64) @ 3 ** np.arange(len(chosen))


def features(net: nn.Module, planes: np.ndarray) -> dict[str, torch.Tensor]:
    """What each layer puts out, by name in the order of depth: [N, C, H, W], or [N, C] without a board.

    "input", the encoder's stem, its blocks ("block 1" ...), and "encoder", its output.
    """
    encoder = net.encoder
    modules = {"stem": encoder.stem} | {f"block {i}": block for i, block in enumerate(encoder.blocks, 1)}  # type: ignore[union-attr, arg-type]
    modules["encoder"] = encoder
    height, width = planes.shape[2:]
    found: dict[str, list[torch.Tensor]] = {name: [] for name in ("input", *modules)}

    def keeper(name: str) -> Any:
        def keep(module: nn.Module, given: Any, output: torch.Tensor) -> None:
            if output.ndim == 3:  # tokens [N, T, C]
                output = output.transpose(1, 2).reshape(len(output), -1, height, width)
            found[name].append(output.detach().clone())  # activations behind it may work in place

        return keep

    handles = [module.register_forward_hook(keeper(name)) for name, module in modules.items()]
    try:
        with torch.no_grad():
            for first in range(0, len(planes), BATCH):
                x = torch.from_numpy(planes[first : first + BATCH])
                found["input"].append(x)
                net(x)
    finally:
        for handle in handles:
            handle.remove()
    joined = {name: torch.cat(parts) for name, parts in found.items()}
    blocks = [name for name in joined if name.startswith("block")]
    if blocks and joined[blocks[-1]].equal(joined["encoder"]):  # nothing comes behind the last block
        del joined["encoder"]
    return joined


def probe(agent: Agent, tasks: Sequence[Task], positions: Positions, *, fresh: bool = False) -> list[Probed]:
    """Every concept at every layer of the agent's network; with ``fresh``, of the same network with new weights.

    Concepts about points are left out of networks without a board (mlp). Raises ImportError without scikit-learn.
    """
    if fresh:
        from rl import nets

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(agent.config.seed)
            net = nets.build(agent.config.net, agent.game).eval()
    else:
        net = agent.network()
    version = -1 if fresh else agent.weights.version
    layers = features(net, agent.game.encode(positions.states))
    results = []
    for layer, values in layers.items():
        board = values.ndim == 4
        for task in tasks:
            if task.concept.about == "point":
                if not board or (layer != "input" and values.shape[2:] != agent.game.board_shape):
                    continue
                rows = values.permute(0, 2, 3, 1).reshape(-1, values.shape[1])[task.rows]
            else:
                pooled = torch.cat((values.mean((2, 3)), values.amax((2, 3))), 1) if board else values
                rows = pooled[task.rows]
            x = rows.numpy()
            accuracy, control = _fit(x, task.labels, task), _fit(x, task.control, task)
            selectivity = accuracy - control
            results.append(
                Probed(
                    concept=task.concept.name,
                    layer=layer,
                    version=version,
                    accuracy=accuracy.value,
                    low=accuracy.low,
                    high=accuracy.high,
                    control=control.value,
                    control_low=control.low,
                    control_high=control.high,
                    selectivity=selectivity.value,
                    selectivity_low=selectivity.low,
                    selectivity_high=selectivity.high,
                    share=float(task.labels.mean()),
                    rows=int((~task.fitted).sum()),
                )
            )
    return results


def _fit(x: np.ndarray, labels: np.ndarray, task: Task) -> Estimate:
    """Balanced accuracy on the rows not fitted on."""
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ModuleNotFoundError as error:
        raise ImportError(MISSING) from error
    if labels[task.fitted].min() == labels[task.fitted].max():  # a control of few types may be all alike
        return Estimate(0.5, np.full(RESAMPLES, 0.5))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=300, tol=1e-3))
    model.fit(x[task.fitted], labels[task.fitted])
    right = model.predict(x[~task.fitted]) == labels[~task.fitted]
    return _balanced(right, labels[~task.fitted], task.games[~task.fitted])


def _balanced(right: np.ndarray, labels: np.ndarray, games: np.ndarray) -> Estimate:
    """Mean over both labels of the share that is right."""

    def score(total: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            of_both: np.ndarray = np.nanmean(total[..., 1::2] / total[..., 0::2], -1)
            return of_both

    return over_games(games, (labels == 1, (labels == 1) & right, labels == 0, (labels == 0) & right), score)
