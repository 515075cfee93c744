"""``fuseki robustness``: where an agent can be led astray, and how far."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from rl.cli.agents import AgentArgument, Device, Json, Simulations, games_folder, load_any, refuse
from rl.cli.insight import need_extra, running, tell
from rl.console import WrongInput, check_writable, progress_bar, unwritable

if TYPE_CHECKING:
    from rl.agent import Agent
    from rl.gym_agent import GymAgent

EPISODE_OPTIONS = ("beside", "attacks", "budgets", "episodes", "steps")
GAME_OPTIONS = ("simulations", "positions", "own", "set_file", "exploiter", "victim_simulations", "games")


def robustness(
    context: typer.Context,
    agent: AgentArgument,
    beside: Annotated[
        list[str] | None,
        typer.Option(metavar="AGENT", help="Another agent under the same disturbance; may be given again."),
    ] = None,
    attacks: Annotated[str, typer.Option(help="Of noise, fgsm and pgd. Gymnasium environments.")] = "noise,fgsm,pgd",
    budgets: Annotated[
        str, typer.Option(help="Strengths ε: of pictures in their range, of numbers in their deviation.")
    ] = "0,0.05,0.1,0.2,0.3,0.5",
    episodes: Annotated[int, typer.Option(min=2, help="Episodes at each strength.")] = 50,
    steps: Annotated[int, typer.Option(min=1, help="Steps of PGD.")] = 10,
    simulations: Simulations = None,
    positions: Annotated[int, typer.Option(min=1, help="Positions for symmetry consistency. Board games.")] = 500,
    own: Annotated[
        int, typer.Option(min=0, help="Positions of the agent's own play that a solver checks for blunders.")
    ] = 0,
    set_file: Annotated[
        Path | None, typer.Option("--set", metavar="JSON", help="File for the worst blunders, with their truth.")
    ] = None,
    exploiter: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Run of an adversary trained with selfplay.victim=AGENT, to be played."),
    ] = None,
    victim_simulations: Annotated[
        str, typer.Option(help="Budgets with which AGENT withstands the exploiter.")
    ] = "0,64",
    games: Annotated[int, typer.Option(min=2, help="Games of each of the exploiter's checkpoints.")] = 200,
    seed: int = 0,
    out: Annotated[Path | None, typer.Option(metavar="PNG", help="Picture of the curves.")] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Noise and attacks on what an agent sees; of board games symmetry, blunders and an exploiter."""
    need_extra(out)
    from rl.gym_agent import GymAgent
    from rl.insight import drawing, wording

    loaded = load_any(agent, device)
    if isinstance(loaded, GymAgent):
        refuse(context, GAME_OPTIONS, f"is for board games and {agent!r} acts in {loaded.config.env}")
        kinds, strengths = _kinds(attacks), _numbers("budgets", budgets)
        agents = [loaded, *(_same_world(loaded, load_any(name, device)) for name in beside or [])]
        result = running(lambda: _budgets(agents, kinds, strengths, episodes, steps, seed))
        tell(result, out, as_json, wording.curve_lines(result["curves"], result["units"]), ("curves", "units"))
        if out is not None:
            title = f"{loaded.config.env}: return under disturbed observations"
            drawing.budgets_picture(out, result["curves"], title)
        return
    refuse(context, EPISODE_OPTIONS, f"is for Gymnasium environments and {agent!r} plays {loaded.game.title}")
    budget = loaded.config.search.simulations if simulations is None else simulations
    if exploiter is not None:
        refuse(context, ("positions", "own", "set_file"), "is for checks without --exploiter")
        opposed = [int(value) for value in _numbers("victim-simulations", victim_simulations, whole=True)]
        result = running(lambda: _exploited(loaded, exploiter, opposed, games, simulations, seed))
        hidden = ("trained_against_simulations", "victim_evaluations", "curve", "control")
        tell(result, out, as_json, wording.exploiter_lines(result), hidden)
        if out is not None:
            drawing.exploiter_picture(out, result["curve"], f"An exploiter trained against {loaded.name}")
        return
    if out is not None:
        raise WrongInput("--out draws the curves of attacks and of an exploiter: give --exploiter RUN, or leave it out")
    if set_file is not None:
        check_writable(set_file.parent)
    result = running(lambda: _checked(loaded, budget, positions, own, set_file, seed))
    lines = wording.symmetry_lines(result["symmetry"])
    if "solved" in result:
        lines += ["", *wording.blunder_lines(result["solved"], result["blunders"])]
    tell(result, None, as_json, lines, ("simulations", "symmetry", "solved", "blunders"))


def _kinds(text: str) -> list[Any]:
    from rl.learner.adversary import AttackKind

    known = get_args(AttackKind)
    names = [word.strip() for word in text.split(",") if word.strip()]
    for name in names:
        if name not in known:
            raise WrongInput(f"--attacks: {name!r} is none of {', '.join(known)}")
    if not names:
        raise WrongInput(f"--attacks: {text!r} names none of {', '.join(known)}")
    return names


def _numbers(option: str, text: str, whole: bool = False) -> list[float]:
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        numbers = [-1.0]
    if any(not 0 <= number < 1e6 or (whole and number % 1) for number in numbers):
        kind, such = ("whole numbers", "0,64") if whole else ("numbers", "0,0.1,0.5")
        raise WrongInput(f"--{option}: {text!r} must be {kind} of 0 or more, such as {such}")
    return numbers


def _same_world(agent: GymAgent, other: Any) -> GymAgent:
    from rl.gym_agent import GymAgent

    if not isinstance(other, GymAgent) or other.config.env != agent.config.env:
        acts = other.config.env
        raise WrongInput(f"--beside: agent {other.name!r} is for {acts}, and {agent.name!r} for {agent.config.env}")
    return other


def _budgets(
    agents: list[GymAgent],
    kinds: list[Any],
    strengths: list[float],
    episodes: int,
    steps: int,
    seed: int,
) -> dict[str, Any]:
    from rl.insight.perturbation import budget_curve, units_for

    units = units_for(agents[0])
    curves: dict[str, list[dict[str, Any]]] = {}
    total = len(agents) * len(kinds) * len(strengths)
    with progress_bar("strengths", total) as progress:
        done = 0
        for agent in agents:
            curves[agent.name] = []
            for kind in kinds:
                begun = done
                curves[agent.name] += budget_curve(
                    agent,
                    kind,
                    strengths,
                    units,
                    episodes=episodes,
                    steps=steps,
                    seed=seed,
                    progress=lambda count, begun=begun: progress(begun + count),  # type: ignore[misc]
                )
                done += len(strengths)
    return {
        "env": agents[0].config.env,
        "agent": agents[0].name,
        "units": {name: unit.reshape(-1).tolist() for name, unit in units.items()},
        "curves": curves,
    }


def _checked(agent: Agent, simulations: int, count: int, own: int, set_file: Path | None, seed: int) -> dict[str, Any]:
    from rl.evaluation.solver import SolverError
    from rl.insight.blunders import blunders, write_set
    from rl.insight.positions import visited
    from rl.insight.questions import InsightError
    from rl.insight.symmetry import symmetry_report

    result: dict[str, Any] = {"agent": agent.name, "env": agent.game.env_id, "simulations": simulations}
    result["symmetry"] = symmetry_report(agent, visited(agent, count, seed), simulations, seed)
    try:
        with progress_bar("asking the solver", own) as progress:
            found = blunders(agent, simulations, own=own, seed=seed, progress=progress)
    except (InsightError, SolverError) as error:
        if set_file is not None or own:
            raise InsightError(f"no blunders can be found: {error}") from error
        return result | {"without_truth": str(error)}
    if set_file is not None:
        try:
            write_set(found, set_file)
        except OSError as error:
            raise unwritable(set_file, error) from error
        result["set"] = str(set_file)
    told = found.pop("blunders")
    return result | {"solved": found, "blunders": told}


def _exploited(
    victim: Agent, run: str, budgets: list[int], games: int, simulations: int | None, seed: int
) -> dict[str, Any]:
    from rl.insight.exploiter import exploiter_report
    from rl.insight.versions import versions_of

    with progress_bar("matches", len(budgets) * len(versions_of(run))) as progress:
        return exploiter_report(
            victim,
            run,
            budgets,
            games=games,
            simulations=simulations,
            seed=seed,
            save=games_folder(run),
            progress=progress,
        )
