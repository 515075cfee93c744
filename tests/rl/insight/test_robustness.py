"""Budget curves, symmetry, blunders: each against what is known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rl.agent import Agent, load, load_player
from rl.config import InferenceConfig
from rl.evaluation.solver import ExactSolver
from rl.gym_agent import GymAgent
from rl.insight.blunders import blunders, write_set
from rl.insight.perturbation import budget_curve, units_for
from rl.insight.positions import visited
from rl.insight.questions import InsightError
from rl.insight.symmetry import symmetry_report
from rl.records import Evaluation, Weights
from tests.rl.agents_for_tests import random_weights, rollout_config, save_random_agent, save_rollout_agent


@pytest.fixture(scope="module")
def toe(tmp_path_factory: pytest.TempPathFactory) -> Agent:
    return load_player(save_random_agent(tmp_path_factory.mktemp("agents") / "toe.safetensors"))


def balancer(tmp_path: Path, **net: object) -> GymAgent:
    """A policy of CartPole that needs no training: push to where the pole falls."""
    config = rollout_config(
        "CartPole-v1",
        net={"encoder": {"kind": "mlp", "width": 4, "depth": 1, "residual": False, "normalisation": "none"}} | net,
        rollout={"environments": 8, "vectorization": "sync"},
    )
    tensors = {name: np.zeros_like(value) for name, value in random_weights(config).tensors.items()}
    stem = next(name for name in tensors if name.startswith("actor") and name.endswith("stem.weight"))
    policy = next(name for name in tensors if name.startswith("policy") and name.endswith("weight"))
    tensors[stem][:2] = [[0.05, 0.15, 1, 0.9], [-0.05, -0.15, -1, -0.9]]
    tensors[policy][:, :2] = [[-5, 5], [5, -5]]
    path = save_rollout_agent(tmp_path / "balancer.safetensors", config, Weights(1, tensors))
    agent = load(path)
    assert isinstance(agent, GymAgent)
    return agent


def test_attacks_cost_more_than_noise_and_nothing_costs_nothing(tmp_path: Path) -> None:
    agent = balancer(tmp_path)
    units = units_for(agent)
    assert units["observation"].shape == (4,) and (units["observation"] > 0).all()
    curves = {kind: budget_curve(agent, kind, [0.0, 1.0], units, episodes=6, steps=3) for kind in ("noise", "pgd")}
    for kind, curve in curves.items():
        assert [row["epsilon"] for row in curve] == [0.0, 1.0] and curve[0]["attack"] == kind
        assert curve[0]["return_mean"] > 300
        assert curve[0]["return_low"] <= curve[0]["return_mean"] <= curve[0]["return_high"]
    assert curves["noise"][0]["return_mean"] == curves["pgd"][0]["return_mean"], "the same episodes"
    assert curves["pgd"][1]["return_mean"] < 0.5 * curves["noise"][1]["return_mean"]


def test_agents_with_memory_are_attacked_too(tmp_path: Path) -> None:
    config = rollout_config("CartPole-v1")
    agent = load(save_rollout_agent(tmp_path / "remembers.safetensors", config))
    assert isinstance(agent, GymAgent) and agent.network().actor.core is not None
    [row] = budget_curve(agent, "fgsm", [0.5], units_for(agent), episodes=2)
    assert row["episodes"] == 2 and row["return_mean"] >= 8


def test_what_cannot_be_moved_is_said(tmp_path: Path) -> None:
    agent = load(save_rollout_agent(tmp_path / "lake.safetensors", rollout_config("FrozenLake-v1")))
    assert isinstance(agent, GymAgent)
    with pytest.raises(InsightError, match="neither numbers nor pictures"):
        units_for(agent)


def test_an_indifferent_network_is_symmetric_and_a_random_one_is_not(toe: Agent) -> None:
    found = visited(toe, 60)
    told = symmetry_report(toe, found, 8)
    assert told["pairs"] > 300 and told["network_same_move"] < 0.9 and told["network_policy_distance"] > 0.001
    assert told["network_same_move_low"] < told["network_same_move"] < told["network_same_move_high"]
    # With three points left search proves the result, which is the same on both sides of the mirror.
    late = visited(toe, 300).take(np.flatnonzero([len(moves) >= 6 for moves in visited(toe, 300).moves]))
    proven = symmetry_report(toe, late, 64)
    assert proven["pairs"] > 50 and proven["search_value_difference"] < 1e-6 < proven["network_value_difference"]
    zeros = Weights(1, {name: np.zeros_like(value) for name, value in toe.weights.tensors.items()})
    indifferent = symmetry_report(Agent("zeros", zeros, toe.config, {}), found, 0)
    assert indifferent["network_policy_distance"] < 1e-6 and indifferent["network_value_difference"] < 1e-6
    assert "search_same_move" not in indifferent


class Averaged(Agent):
    """An agent that has learned the mirror: its network's answers are averaged over the symmetries."""

    def evaluator(self, batch_size: int, score_utility: float = 0.0) -> Any:
        evaluate, game = super().evaluator(batch_size), self.game
        assert game.point_symmetries is not None and game.action_symmetries is not None

        def average(planes: np.ndarray) -> Evaluation:
            flat = planes.reshape(*planes.shape[:2], -1)
            answers = [
                (evaluate(np.ascontiguousarray(flat[:, :, points]).reshape(planes.shape)), np.argsort(actions))
                for points, actions in zip(game.point_symmetries, game.action_symmetries, strict=True)  # type: ignore[arg-type]
            ]
            logits = np.mean([found.logits[:, inverse] for found, inverse in answers], 0)
            return Evaluation(logits, np.mean([found.wdl for found, _ in answers], 0))

        return average


def test_the_same_network_is_compared_with_its_mirrored_self(toe: Agent) -> None:
    found = visited(toe, 60)
    # Not in bfloat16, whose rounding depends on the batch that an image is in.
    exact = toe.config.model_copy(update={"inference": InferenceConfig(format="float32-nchw")})
    told = symmetry_report(Averaged("averaged", toe.weights, exact, {}), found, 0)
    assert told["network_policy_distance"] < 1e-5 and told["network_value_difference"] < 1e-5
    # But for ties of positions that are their own image in another mirror, of which either move may be played.
    assert told["network_same_move"] > 0.9 > symmetry_report(toe, found, 0)["network_same_move"]


def test_positions_of_one_game_do_not_narrow_the_interval(toe: Agent) -> None:
    found = visited(toe, 40)
    once = symmetry_report(toe, found, 0)
    again = symmetry_report(toe, found.take(np.repeat(np.arange(40), 5)), 0)
    assert again["pairs"] == 5 * once["pairs"]
    for name in ("network_same_move", "network_policy_distance", "network_value_difference"):
        widths = [told[f"{name}_high"] - told[f"{name}_low"] for told in (again, once)]
        assert widths[0] == pytest.approx(widths[1], rel=0.03), "but for the rounding of other batches"
        assert once[f"{name}_low"] < once[name] < once[f"{name}_high"]


def test_blunders_are_told_with_their_truth(toe: Agent, tmp_path: Path) -> None:
    told = blunders(toe, 0, own=80, most=10)
    solver = ExactSolver(toe.game)
    assert told["own_positions"] == 80 and told["own_blunders"] > 0
    worst = told["blunders"]
    assert 0 < len(worst) <= 10
    lost = [row["truth_of_position"] - row["truth_of_move"] for row in worst]
    assert lost == sorted(lost, reverse=True) and min(lost) > 0
    for row in worst:
        state = toe.game.replay(row["moves"])
        truth = solver.action_values(state)
        assert truth.max() == row["truth_of_position"] and truth[row["played"]] == row["truth_of_move"]
        assert row["best"] == np.flatnonzero(truth == truth.max()).tolist()
        assert toe.analyse_state(state, 0).action == row["played"]
    write_set(told, tmp_path / "set.json")
    assert json.loads((tmp_path / "set.json").read_text()) == json.loads(json.dumps(told))


def test_blunders_of_connect_four_come_from_its_truth_set(tmp_path: Path) -> None:
    agent = load_player(save_random_agent(tmp_path / "four.safetensors", "connect_four"))
    told = blunders(agent, 0, most=3)
    assert told["truth_positions"] == 4000 and "own_positions" not in told
    assert told["truth_share_low"] < told["truth_share"] < told["truth_share_high"]
    assert len(told["blunders"]) == 3 and {row["source"] for row in told["blunders"]} == {"truth set"}
    torch.manual_seed(0)
    agent_go = load_player(save_random_agent(tmp_path / "five.safetensors", "go5"))
    with pytest.raises(InsightError, match="a solver is needed"):
        blunders(agent_go, 0)
