"""Agents load from wherever users keep them and analyse positions of their game."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rl
from envs.versus import VersusEnv
from rl import models
from rl.agent import Agent, locate
from rl.evaluation.arena import play_match
from rl.evaluation.players import EvaluationError, RandomPlayer, make_player
from rl.weights import AgentError
from tests.rl.agents_for_tests import save_random_agent, small_config


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_agent(tmp_path_factory.mktemp("agent") / "toe.safetensors")


@pytest.fixture(scope="module")
def agent(file: Path) -> Agent:
    return rl.load(file)


@pytest.mark.parametrize("simulations", [0, 1, 50, None])
def test_an_analysis_keeps_its_promises(agent: Agent, simulations: int | None) -> None:
    answer = agent.analyse(moves=[4, 0], simulations=simulations)
    legal = agent.game.legal_mask(agent.game.replay([4, 0]))
    assert isinstance(answer.action, int) and legal[answer.action]
    assert answer.policy.shape == answer.prior.shape == (9,)
    assert answer.policy.sum() == pytest.approx(1, abs=1e-5) and (answer.policy[~legal] == 0).all()
    assert isinstance(answer.value, float) and -1 <= answer.value <= 1
    assert answer.wdl.sum() == pytest.approx(1, abs=1e-5)
    assert answer.value == pytest.approx(answer.wdl[0] - answer.wdl[2], abs=1e-6)
    budget = 8 if simulations is None else simulations
    assert answer.simulations == budget and answer.visits.sum() <= budget
    assert answer.principal_variation[0] == answer.action
    agent.game.replay([4, 0, *answer.principal_variation])  # raises where the line is illegal


def test_the_value_is_that_of_the_side_to_move(agent: Agent) -> None:
    # X (0, 1) wins at 2 at once; after any other move but the block, so does O (3, 4) at 5.
    winning = agent.analyse(moves=[0, 3, 1, 4], simulations=200)
    assert (winning.action, winning.proven) == (2, "win") and winning.value == pytest.approx(1)
    lost = agent.analyse(moves=[0, 1, 4, 2, 3], simulations=500)  # O to move; X threatens 8, 5 and 6
    assert lost.proven == "loss" and lost.value == pytest.approx(-1)


def test_an_analysis_is_repeatable(file: Path) -> None:
    first, second = (rl.load(file).analyse(moves=[0], simulations=30) for _ in range(2))
    assert (first.policy == second.policy).all() and first.value == second.value


def test_an_agent_can_be_the_opponent_of_an_environment(agent: Agent) -> None:
    def opponent(state: np.ndarray, legal: np.ndarray, rng: np.random.Generator) -> int:
        return agent.analyse_state(state, simulations=200).action

    env = VersusEnv(agent.game, opponent, seat="second")
    _, info = env.reset()
    rewards: list[float] = []
    ended = False
    while not ended:  # the agent has just begun; whoever takes the first legal move each time loses to its search
        _, reward, ended, _, info = env.step(np.argmax(info["action_mask"]))
        rewards.append(reward)
    assert rewards[-1] == -1


@pytest.mark.parametrize(
    ("moves", "sentence"),
    [
        ([4, 4], r"move 2 \(4\) is not legal here"),
        ([9], r"move 1 \(9\) is not legal here"),
        ([-1], r"move 1 \(-1\) is not legal here"),
        ([0, 3, 1, 4, 2], "the game has ended after 5 moves"),
        ([0, 3, 1, 4, 2, 5], "the game has ended after 5 moves"),
    ],
)
def test_positions_that_cannot_be_analysed_are_refused(agent: Agent, moves: list[int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        agent.analyse(moves=moves, simulations=0)


def test_negative_simulations_are_refused(agent: Agent) -> None:
    with pytest.raises(ValueError, match=r"0 .* or more"):
        agent.analyse(simulations=-1)


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(AgentError, match="no agent 'nobody': it is neither a model that ships"):
        locate("nobody")


def test_a_shipped_name_wins_over_a_path(
    file: Path, agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_random_agent(tmp_path / "champion.safetensors", seed=1)
    (tmp_path / "champion.json").write_text('{"result": "never lost"}')
    monkeypatch.setattr(models, "FOLDER", tmp_path)
    assert models.names() == ["champion"] and models.card("champion") == {"result": "never lost"}
    shipped = rl.load("champion")
    assert any((shipped.weights.tensors[k] != agent.weights.tensors[k]).any() for k in agent.weights.tensors)
    with pytest.raises(KeyError):
        models.path("nobody")


def test_weights_of_another_game_are_refused(tmp_path: Path) -> None:
    file = save_random_agent(tmp_path / "x.safetensors", "connect_four", config=small_config("tic_tac_toe"))
    with pytest.raises(AgentError, match="tic_tac_toe") as refused:
        rl.load(file).analyse(simulations=0)
    assert "\n" not in str(refused.value)
    with pytest.raises(AgentError, match="tic_tac_toe"):
        rl.load(file).network()


def test_the_network_is_the_one_that_analyses(agent: Agent) -> None:
    import torch

    state = agent.game.replay([4, 2])
    with torch.inference_mode():
        logits, _ = agent.network()(torch.from_numpy(agent.game.encode(state[None])))
    wanted = np.where(agent.game.legal_mask(state), logits[0].numpy(), -np.inf)
    wanted = np.exp(wanted - wanted.max())
    assert agent.analyse([4, 2], simulations=0).policy == pytest.approx(wanted / wanted.sum(), abs=1e-5)


def test_agents_play_matches_and_search_helps_them(file: Path, agent: Agent) -> None:
    searching = agent.player(200, lanes=16)
    against_random = play_match(agent.game, searching, RandomPlayer(agent.game, 1), 40, seed=1).result
    assert against_random.losses <= 2 and against_random.interval()[0] > 0.7
    alone = make_player(str(file), agent.game, simulations=0)
    assert play_match(agent.game, searching, alone, 40, seed=2).result.score > 0.6


def test_an_opponent_of_another_game_is_refused(file: Path) -> None:
    import envs

    with pytest.raises(EvaluationError, match="is an agent for tic_tac_toe, but the game is connect_four"):
        make_player(str(file), envs.make("connect_four"))


def test_evaluate_returns_what_the_contract_names(agent: Agent) -> None:
    result = rl.evaluate(agent, "mcts:5", games=10, simulations=4)
    assert result["games"] == result["wins"] + result["draws"] + result["losses"] == 10
    assert 0 <= result["score_low"] <= result["score"] <= result["score_high"] <= 1
    assert result["as_first"]["games"] == result["as_second"]["games"] == 5
    with pytest.raises(EvaluationError):
        rl.evaluate(agent, "random", simulations=-1)


def test_importing_rl_imports_neither_torch_nor_ray() -> None:
    code = "import sys, rl, rl.cli; print([m for m in ('torch', 'ray', 'numba', 'wandb') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
