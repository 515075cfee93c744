"""Strength against compute over sizes of board and network: the fit of Jones 2021, "Scaling Scaling Laws with Board
Games" (arXiv 2104.03113, §4.1).

Of every board the frontier is fitted: the best strength that any network reached with at most so much compute. There,
strength rises by so many Elo a factor of ten in compute, from that of random play up to a plateau:

    elo = clamp(m_b · board + m_f · log10(compute) + c,  0,  p_b · board + p_c)

In Jones's paper perfect play has 0 Elo and random play is the lower end; here random play has 0, as in all of Fuseki,
and the plateau is the upper end, since a perfect player is not at hand. Compute is counted, not timed: multiplications
and additions of the network in the actors and, three times as many a row, in the learner (Kaplan et al. 2020, §2.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rl.compare.measuring import strength_kind
from rl.compare.plan import Contender, Plan, Wrong
from rl.config import GameConfig

LEARNING = 3  # forward and backward pass cost this much as many as the forward pass
STARTS = 5  # of the fit, from different places


@dataclass(frozen=True)
class Frontier:
    """Of one board, by rising compute."""

    board: int  # points a side
    flops: np.ndarray  # [P]
    elo: np.ndarray  # [P], rising
    labels: tuple[str, ...]  # of the contender at each point


def add_fit(result: dict[str, Any], plan: Plan, out: Path) -> dict[str, Any]:
    """The comparison with its fit under "scaling"; files are written anew, and scaling.png.

    Raises Wrong where there is nothing to fit.
    """
    from rl.compare.results import write

    frontiers = [frontier(found, plan) for found in result["environments"]]
    result = result | {"scaling": fit(frontiers)}
    write(out, result)
    draw(frontiers, result, plan, out / "scaling.png")
    return result


def check(plan: Plan) -> None:
    """Raises Wrong where strength is not Elo, before anything is trained."""
    for contender in plan.contenders:
        kind = strength_kind(contender)
        if kind != "elo":
            raise Wrong(f"--fit fits Elo, and {contender.environment} is measured by {kind}: leave it out")


def flops_a_position(contender: Contender) -> int:
    """Multiplications and additions of the network for one position, as torch counts them."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    import envs
    from rl import nets

    config = contender.config
    assert isinstance(config, GameConfig), "it is checked first"
    game = envs.make(config.env, **config.env_options)
    net = nets.build(config.net, game).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, *game.plane_shape))
    return int(counter.get_total_flops())


def compute_of(point: dict[str, float], flops: int, batch: int) -> float:
    """Operations behind a kept agent, actors' and learner's."""
    return flops * (point["evaluations"] + LEARNING * batch * point["learner_steps"])


def curves(found: dict[str, Any], plan: Plan) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """(label, operations [P], Elo [P]) of each contender, means over its seeds."""
    lines = []
    for row in found["contenders"]:
        contender = next(c for c in plan.contenders if (c.environment, c.label) == (found["environment"], row["label"]))
        flops, batch = flops_a_position(contender), contender.config.learner.batch_size
        count = min(len(r["points"]) for r in row["runs"])
        points = [[r["points"][i] for r in row["runs"]] for i in range(count)]
        compute = np.array([np.mean([compute_of(p, flops, batch) for p in same]) for same in points])
        lines.append((row["label"], compute, np.array([np.mean([p["strength"] for p in same]) for same in points])))
    return lines


def frontier(found: dict[str, Any], plan: Plan) -> Frontier:
    """The best of all contenders of a board."""
    config = next(c.config for c in plan.contenders if c.environment == found["environment"])
    import envs

    board = envs.make(config.env, **config.env_options).board_shape[0]
    points = [
        (operations, elo, label)
        for label, compute, strengths in curves(found, plan)
        for operations, elo in zip(compute, strengths)
    ]
    best, kept = -np.inf, []
    for operations, elo, label in sorted(points):
        if elo > best:
            best = elo
            kept.append((operations, elo, label))
    return Frontier(
        board, np.array([k[0] for k in kept]), np.array([k[1] for k in kept]), tuple(str(k[2]) for k in kept)
    )


def predict(parameters: np.ndarray, board: np.ndarray, flops: np.ndarray) -> np.ndarray:
    """Elo by the formula above; parameters m_b, m_f, c, p_b, p_c."""
    m_b, m_f, c, p_b, p_c = parameters
    return np.clip(m_b * board + m_f * np.log10(flops) + c, 0, np.maximum(0, p_b * board + p_c))


def fit(frontiers: list[Frontier]) -> dict[str, Any]:
    """The parameters, by least squares over the points of all frontiers, as plain JSON values.

    With one board alone nothing depends on its size: m_b and p_b are 0. Raises Wrong where there are fewer than six
    points.
    """
    from scipy.optimize import least_squares

    board = np.concatenate([np.full(len(f.flops), f.board, float) for f in frontiers])
    flops = np.concatenate([f.flops for f in frontiers])
    elo = np.concatenate([f.elo for f in frontiers])
    if len(elo) < 6:
        raise Wrong(f"--fit needs six points on the frontier and has {len(elo)}: more sizes, or more --snapshots")
    several = len({f.board for f in frontiers}) > 1
    free = np.array([several, True, True, several, True])
    best = None
    for slope in np.linspace(0.3, 3.0, STARTS) * max(1.0, np.polyfit(np.log10(flops), elo, 1)[0]):
        top = elo.max()
        start = np.array([0.0, slope, np.mean(elo - slope * np.log10(flops)), 0.0, top])

        def residuals(values: np.ndarray, start: np.ndarray = start) -> np.ndarray:
            parameters = start.copy()
            parameters[free] = values
            return predict(parameters, board, flops) - elo

        found = least_squares(residuals, start[free], x_scale="jac", max_nfev=5000)
        if best is None or found.cost < best[0]:
            parameters = start.copy()
            parameters[free] = found.x
            best = found.cost, parameters
    assert best is not None, "there are several starts"
    parameters = best[1]
    missed = elo - predict(parameters, board, flops)
    names = ("elo_a_line", "elo_a_decade", "constant", "plateau_a_line", "plateau")
    return dict(zip(names, map(float, parameters))) | {
        "points": len(elo),
        "rms_error": float(np.sqrt(np.mean(missed**2))),
        "explained": float(1 - np.sum(missed**2) / np.sum((elo - elo.mean()) ** 2)),
        # Compute for the same Elo on a board of one line more
        "decades_a_line": float(-parameters[0] / parameters[1]) if several and parameters[1] else None,
        "frontiers": [
            {"board": f.board, "flops": f.flops.tolist(), "elo": f.elo.tolist(), "labels": list(f.labels)}
            for f in frontiers
        ],
    }


def sentences(scaling: dict[str, Any]) -> list[str]:
    """The fit in words."""
    said = [
        f"A factor of ten in compute gives {scaling['elo_a_decade']:,.0f} Elo below the plateau "
        f"({scaling['points']} points on the frontier, root mean square error {scaling['rms_error']:,.0f} Elo, "
        f"{100 * scaling['explained']:.0f} % of the variance explained)."
    ]
    if scaling["decades_a_line"] is not None:
        factor = 10 ** min(12.0, max(-12.0, scaling["decades_a_line"]))
        said.append(f"A board of one line more takes {factor:,.3g} times the compute for the same Elo.")
    return said


def draw(frontiers: list[Frontier], result: dict[str, Any], plan: Plan, out: Path) -> None:
    """Every contender's curve, the frontiers, and the fit, over compute."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from rl.plot import STYLE, run_colour

    scaling = result["scaling"]
    names = ("elo_a_line", "elo_a_decade", "constant", "plateau_a_line", "plateau")
    parameters = np.array([scaling[name] for name in names])
    with rc_context(STYLE):
        figure = Figure(figsize=(8.0, 5.0), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        for i, (front, found) in enumerate(zip(frontiers, result["environments"])):
            colour = run_colour(i, len(frontiers))
            for _, compute, elo in curves(found, plan):
                axes.plot(compute, elo, color=colour, alpha=0.25, linewidth=1, marker="o", markersize=2)
            axes.plot(front.flops, front.elo, color=colour, linewidth=0, marker="o", label=found["environment"])
            grid = np.geomspace(front.flops[0] / 3, front.flops[-1] * 3, 200)
            axes.plot(grid, predict(parameters, np.full(len(grid), float(front.board)), grid), color=colour, ls="--")
        axes.set_xscale("log")
        axes.set_xlabel("operations of the network in training (actors and learner)")
        axes.set_ylabel("Elo (random play: 0)")
        axes.set_title("Strength against compute: best of all sizes, and its fit (dashed)")
        axes.legend(frameon=False)
        figure.savefig(out, dpi="figure")
