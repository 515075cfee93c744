"""``fuseki insight``: why an agent decides as it does, drawn and in numbers."""

from __future__ import annotations

import enum
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rl.cli.agents import AgentArgument, Device, Json, load_agent, load_any, refuse
from rl.console import WrongInput, check_writable, fail, show, user_input, while_running

if TYPE_CHECKING:
    import numpy as np

    from rl.agent import Agent
    from rl.gym_agent import GymAgent

app = typer.Typer(help="Why an agent decides as it does: saliency, attention, probes (needs the extra insight).")
Moves = Annotated[str, typer.Option(help="Moves from the initial position, such as 3,3,2. Board games.")]
Out = Annotated[Path | None, typer.Option(metavar="PNG", help="Picture to write.")]
Steps = Annotated[int, typer.Option(min=0, help="Steps into an episode. Gymnasium environments.")]
Faithfulness = Annotated[
    int,
    typer.Option(min=0, metavar="N", help="Also hide what is ranked highest in N positions, against random ones."),
]
PICTURES = (".png", ".svg", ".pdf")
BOARD_OPTIONS, EPISODE_OPTIONS = ("moves", "action"), ("steps", "seed")


class MethodName(enum.StrEnum):
    gradients = "gradients"
    integrated_gradients = "integrated_gradients"
    occlusion = "occlusion"


class TargetName(enum.StrEnum):
    policy = "policy"
    value = "value"


def need_extra(out: Path | None = None) -> None:
    """Raises WrongInput where the extra is not installed, or the picture cannot be written."""
    for package in ("captum", "sklearn", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            raise WrongInput(f"this needs {package}: pip install 'fuseki[insight]'")
    if out is not None:
        if out.suffix.lower() not in PICTURES:
            raise WrongInput(f"--out: {str(out)!r} must end in one of {', '.join(PICTURES)}")
        check_writable(out.parent)


@app.command()
def saliency(
    context: typer.Context,
    agent: AgentArgument,
    moves: Moves = "",
    action: Annotated[
        str | None, typer.Option(help="The move to explain; default: the network's own. Board games.")
    ] = None,
    steps: Steps = 50,
    method: Annotated[MethodName, typer.Option(help="How shares are found.")] = MethodName.occlusion,
    target: Annotated[TargetName, typer.Option(help="Explain the chosen action, or the value.")] = TargetName.policy,
    faithfulness: Faithfulness = 0,
    seed: int = 0,
    out: Out = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Which stones, points or pixels a decision rests on."""
    need_extra(out)
    from rl.gym_agent import GymAgent
    from rl.insight.wording import explained_lines, point_name

    loaded = load_any(agent, device)
    options = {"method": method.value, "target": target.value, "faithfulness": faithfulness, "seed": seed, "out": out}
    if isinstance(loaded, GymAgent):
        refuse(context, BOARD_OPTIONS, f"is for board games and {agent!r} acts in {loaded.config.env}")
        result = running(lambda: _saliency_of_moment(loaded, steps, **options))  # type: ignore[arg-type]
        lines = explained_lines(result, f"action {result['action']}", result["shares"])
    else:
        refuse(context, ["steps"], f"is for Gymnasium environments and {agent!r} plays {loaded.game.title}")
        state, chosen = _position(loaded, moves, action)
        result = running(lambda: _saliency_of_position(loaded, state, chosen, moves, **options))  # type: ignore[arg-type]
        shares, game = {"points": result["shares"]}, loaded.game
        lines = explained_lines(result, f"move {result['action_name']}", shares, lambda i: point_name(game, i))
    tell(result, out, as_json, lines, ("shares", "explained", "faithfulness", "action_name"))


def _saliency_of_position(
    agent: Agent,
    state: np.ndarray,
    action: int | None,
    moves: str,
    *,
    method: Any,
    target: Any,
    faithfulness: int,
    seed: int,
    out: Path | None,
) -> dict[str, Any]:
    from rl.insight import drawing
    from rl.insight.attention import point_of
    from rl.insight.faithfulness import deletion
    from rl.insight.positions import some
    from rl.insight.questions import of_positions
    from rl.insight.saliency import of_position
    from rl.insight.wording import explained

    game = agent.game
    if action is None:
        action = agent.analyse_state(state, simulations=0).action
    shares, number = of_position(agent, state, method, target, action)
    result: dict[str, Any] = {
        "agent": agent.name,
        "env": game.env_id,
        "moves": moves,
        "method": method,
        "target": target,
        "action": action,
        "action_name": game.action_names[action],
        "explained": number,
        "shares": shares.tolist(),
    }
    if faithfulness:
        many = of_positions(agent, some(agent, faithfulness, seed), target)
        result["faithfulness"] = deletion(many, method, seed=seed).summary()
    if out is not None:
        why = explained(result, f"move {game.action_names[action]}")
        title = f"{agent.name}: {method.replace('_', ' ')} of {why}"
        mark = point_of(game, state, action) if target == "policy" else None
        signed, faithful = method != "gradients", result.get("faithfulness")
        drawing.saliency_picture(out, game, state, shares, title, signed=signed, mark=mark, faithfulness=faithful)
    return result


def _saliency_of_moment(
    agent: GymAgent,
    steps: int,
    *,
    method: Any,
    target: Any,
    faithfulness: int,
    seed: int,
    out: Path | None,
) -> dict[str, Any]:
    from rl.insight import drawing
    from rl.insight.faithfulness import deletion
    from rl.insight.questions import moments_of, of_moments, parts_of
    from rl.insight.saliency import attribute, on_picture
    from rl.insight.wording import explained
    from rl.learner.adversary import attackable

    usual = moments_of(agent, 256, seed + 1)
    moment = moments_of(agent, 1, seed, begin=steps)
    question = of_moments(agent, moment, target, usual)
    found = attribute(question, method)
    parts = attackable(parts_of(agent))
    shown, shares = [], {}
    for part, given, share in zip(parts, question.inputs, found, strict=True):
        picture = part.kind == "image"
        value = on_picture(part, share[0]) if picture else share[0].reshape(-1).cpu().numpy()
        seen = on_picture(part, given[0]) if picture else given[0].reshape(-1).cpu().numpy()
        shares[part.name] = value.tolist()
        shown.append((part.name, seen, value))
    number = float(question.forward(*question.inputs, *question.extra)[0])
    result: dict[str, Any] = {
        "agent": agent.name,
        "env": agent.config.env,
        "steps": steps,
        "method": method,
        "target": target,
        "action": question.extra[-1][0].tolist(),
        "explained": number,
        "shares": shares,
    }
    if faithfulness:
        many = of_moments(agent, moments_of(agent, faithfulness, seed + 2), target, usual)
        result["faithfulness"] = deletion(many, method, seed=seed).summary()
    if out is not None:
        why = explained(result, f"action {result['action']}")
        title = f"{agent.name} after {steps} steps: {method.replace('_', ' ')} of {why}"
        faithful = result.get("faithfulness")
        drawing.inputs_picture(out, shown, title, signed=method != "gradients", faithfulness=faithful)
    return result


@app.command()
def attention(
    context: typer.Context,
    agent: AgentArgument,
    moves: Moves = "",
    point: Annotated[
        int | None,
        typer.Option("--from", min=0, help="Point that looks, row-major from the top left; default: the move's."),
    ] = None,
    steps: Steps = 50,
    faithfulness: Faithfulness = 0,
    seed: int = 0,
    out: Out = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Where a transformer encoder looks: each head of each layer, and attention rollout."""
    need_extra(out)
    import numpy as np

    from rl.gym_agent import GymAgent
    from rl.insight.wording import faithfulness_lines, largest, point_name

    loaded = load_any(agent, device)
    if isinstance(loaded, GymAgent):
        refuse(
            context, ("moves", "point", "faithfulness"), f"is for board games and {agent!r} acts in {loaded.config.env}"
        )
        result = running(lambda: _attention_of_moment(loaded, steps, seed, out))
        looked = largest(np.reshape(result["rollout"], result["grid"]))
    else:
        refuse(context, ("steps",), f"is for Gymnasium environments and {agent!r} plays {loaded.game.title}")
        state, _ = _position(loaded, moves, None)
        cells = loaded.game.board_shape[0] * loaded.game.board_shape[1]
        if point is not None and point >= cells:
            raise WrongInput(f"--from: point {point} is not on the board, whose points are 0 to {cells - 1}")
        result = running(lambda: _attention_of_position(loaded, state, moves, point, faithfulness, seed, out))
        game = loaded.game
        looked = largest(np.array(result["rollout"]), lambda i: point_name(game, i))
    lines = [f"most comes from, through all layers (rollout, shares of 1): {looked}"]
    if "faithfulness" in result:
        lines += ["", *faithfulness_lines(result["faithfulness"])]
    tell(result, out, as_json, lines, ("weights", "rollout", "faithfulness"))


def _attention_of_position(
    agent: Agent, state: np.ndarray, moves: str, point: int | None, faithfulness: int, seed: int, out: Path | None
) -> dict[str, Any]:
    from rl.insight import drawing
    from rl.insight.attention import looked_at, of_positions, point_of
    from rl.insight.faithfulness import deletion_by
    from rl.insight.positions import some
    from rl.insight.questions import of_positions as asked

    game = agent.game
    maps = of_positions(agent, state[None])
    action = agent.analyse_state(state, simulations=0).action
    if point is None:
        point = point_of(game, state, action)
    found, rollout = maps.weights[0], maps.rollout[0]
    looked = found.mean(2) if point is None else found[:, :, point]
    if out is not None:
        who = "all points on average" if point is None else f"point {point} (marked)"
        title = f"{agent.name}: where {who} looks; it plays {game.action_names[action]}"
        drawing.attention_picture(out, game, state, maps, point, title)
    result = {
        "agent": agent.name,
        "env": game.env_id,
        "moves": moves,
        "action": action,
        "point": point,
        "layers": found.shape[0],
        "heads": found.shape[1],
        "grid": list(maps.grid),
        "weights": looked.tolist(),
        "rollout": (rollout.mean(0) if point is None else rollout[point]).tolist(),
    }
    if faithfulness:
        states = some(agent, faithfulness, seed)
        question = asked(agent, states, "policy")
        ranking = looked_at(agent, states, question.extra[-1].numpy())
        result["faithfulness"] = deletion_by(question, ranking, seed=seed).summary()
    return result


def _attention_of_moment(agent: GymAgent, steps: int, seed: int, out: Path | None) -> dict[str, Any]:
    import torch

    from rl.insight import drawing
    from rl.insight.attention import attention_maps
    from rl.insight.questions import moments_of, parts_of
    from rl.insight.saliency import on_picture

    net = agent.network()
    moment = moments_of(agent, 1, seed, begin=steps)
    device = net.value.weight.device
    seen = {name: torch.from_numpy(value)[None].to(device) for name, value in moment.observations.items()}
    memory = {name: tensor.to(device) for name, tensor in moment.memory.items()}
    maps = attention_maps(net, seen, memory, torch.from_numpy(moment.first)[None].to(device))
    if out is not None:
        part = next(part for part in parts_of(agent) if part.kind == "image")
        picture = on_picture(part, seen[part.name][0, 0].float())
        drawing.patches_picture(out, picture, maps, f"{agent.name} after {steps} steps: where patches look")
    return {
        "agent": agent.name,
        "env": agent.config.env,
        "steps": steps,
        "layers": maps.weights.shape[1],
        "heads": maps.weights.shape[2],
        "grid": list(maps.grid),
        "weights": maps.weights[0].mean(2).tolist(),
        "rollout": maps.rollout[0].mean(0).tolist(),
    }


@app.command()
def probe(
    agent: Annotated[
        str,
        typer.Argument(metavar="AGENT|RUN", help="An agent; of a run, all that it has kept."),
    ],
    positions: Annotated[int, typer.Option(min=200, help="Positions to take features and labels from.")] = 3000,
    concepts: Annotated[
        str | None, typer.Option(help="Only these, by name: 'own threat,must block'; default: all of the game.")
    ] = None,
    seed: int = 0,
    out: Out = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """At which depth, and after how much training, concepts can be read off a network, against control tasks."""
    need_extra(out)
    from rl.insight import drawing, wording

    loaded = load_agent(agent, device)
    result = running(lambda: _probe(loaded, agent, positions, concepts, seed))
    lines = wording.probe_lines(result["results"], result["left_out"], result["meanings"])
    tell(result, out, as_json, lines, ("results", "left_out", "meanings"))
    if out is not None:
        drawing.probes_picture(out, result["results"], f"What a linear probe reads off {agent}, layer by layer")


def _probe(agent: Agent, name: str, count: int, wanted: str | None, seed: int) -> dict[str, Any]:
    import numpy as np

    from rl.agent import load_player
    from rl.insight.concepts import concepts_of
    from rl.insight.positions import solved, visited
    from rl.insight.probes import probe as measure
    from rl.insight.probes import tasks_of
    from rl.insight.questions import InsightError
    from rl.insight.versions import is_run, versions_of

    game = agent.game
    known = concepts_of(game)
    if wanted is not None:
        names = [word.strip() for word in wanted.split(",") if word.strip()]
        for word in names or [wanted]:
            if word not in [concept.name for concept in known]:
                raise InsightError(f"--concepts: {word!r} is none of {', '.join(concept.name for concept in known)}")
        known = tuple(concept for concept in known if concept.name in names)
    found = solved(game, "test") or visited(agent, count, seed)
    if len(found.states) > count:
        found = found.take(np.sort(np.random.default_rng(seed).permutation(len(found.states))[:count]))
    tasks, left_out = tasks_of(game, found, known, seed)
    if not tasks:
        why = "; ".join(f"{concept}: {reason}" for concept, reason in left_out.items())
        raise InsightError(f"nothing can be probed with {len(found.states)} positions: {why}")
    versions = [agent]
    if is_run(name):
        versions = [load_player(str(file), agent.device) for file in versions_of(name)]
    rows = measure(versions[0], tasks, found, fresh=True)
    for version in versions:
        rows += measure(version, tasks, found)
    return {
        "agent": name,
        "env": game.env_id,
        "positions": len(found.states),
        "versions": [version.weights.version for version in versions],
        "meanings": {concept.name: concept.meaning for concept in known},
        "left_out": left_out,
        "results": [row.to_dict() for row in rows],
    }


def _position(agent: Agent, moves: str, action: str | None) -> tuple[np.ndarray, int | None]:
    from rl.cli import parse_moves

    with user_input():
        state = agent.position(parse_moves(moves, agent.game))
        if action is None:
            return state, None
        chosen = parse_moves(action, agent.game)
        if len(chosen) != 1:
            raise WrongInput(f"--action: {action!r} is not one move")
        agent.game.after(state, chosen[0])  # or say why it is not legal
    return state, chosen[0]


def running(work: Any) -> dict[str, Any]:
    from envs.gym import WorldError

    try:
        with while_running():
            result: dict[str, Any] = work()
    except WorldError as error:
        fail(error, 1)
    return result


def tell(
    result: dict[str, Any], out: Path | None, as_json: bool, lines: Sequence[str] = (), hidden: tuple[str, ...] = ()
) -> None:
    """For people ``lines`` and what of the result is not ``hidden``; told before it is drawn, which may fail."""
    if out is not None:
        result = result | {"picture": str(out)}
    show({name: value for name, value in result.items() if as_json or name not in hidden}, as_json)
    if lines and not as_json:
        print("", *lines, sep="\n")
