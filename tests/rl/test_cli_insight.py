"""``fuseki insight`` and ``fuseki robustness``: one JSON object, pictures that open, one sentence for mistakes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rl.cli import app
from rl.config import GameConfig, parse_config
from tests.rl.agents_for_tests import rollout_config, save_random_agent, save_rollout_agent


def fuseki(*words: object) -> Result:
    return CliRunner().invoke(app, [str(w) for w in words])


def told(*words: object) -> dict[str, Any]:
    result = fuseki(*words, "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert isinstance(answer, dict)
    return answer


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_agent(tmp_path_factory.mktemp("agents") / "four.safetensors", "connect_four")


@pytest.fixture(scope="module")
def looking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An agent whose encoder is a transformer."""
    import torch

    import envs
    from rl import nets
    from rl.records import Weights
    from rl.weights import save_agent

    encoder = {"kind": "transformer", "width": 8, "depth": 2, "heads": 2}
    config = parse_config({"env": "connect_four", "net": {"encoder": encoder}, "run": {"minutes": 1}}, "the test")
    assert isinstance(config, GameConfig)
    torch.manual_seed(0)
    net = nets.build(config.net, envs.make("connect_four"))
    path = tmp_path_factory.mktemp("agents") / "looking.safetensors"
    save_agent(path, Weights(3, {name: t.numpy().copy() for name, t in net.state_dict().items()}), config, {})
    return path


@pytest.fixture(scope="module")
def cart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_rollout_agent(tmp_path_factory.mktemp("agents") / "cart.safetensors", rollout_config("CartPole-v1"))


def is_picture(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000


def test_saliency_of_a_position(four: Path, tmp_path: Path) -> None:
    out = tmp_path / "pictures" / "why.png"
    answer = told("insight", "saliency", four, "--moves", "3,3,2", "--method", "occlusion", "--out", out)
    assert is_picture(out) and len(answer["shares"]) == 6 and len(answer["shares"][0]) == 7
    assert answer["explained"] < 0 and answer["action"] in range(7)
    told_action = told("insight", "saliency", four, "--moves", "3", "--action", "0", "--faithfulness", "12")
    assert told_action["action"] == 0 and told_action["faithfulness"]["positions"] == 12
    assert told_action["faithfulness"]["gap_low"] <= told_action["faithfulness"]["gap_high"]


def test_saliency_of_a_moment(cart: Path, tmp_path: Path) -> None:
    out = tmp_path / "why.png"
    answer = told("insight", "saliency", cart, "--steps", "3", "--target", "value", "--out", out, "--faithfulness", "5")
    assert is_picture(out) and len(answer["shares"]["observation"]) == 4 and answer["faithfulness"]["positions"] == 5


def test_attention_and_probes(looking: Path, tmp_path: Path) -> None:
    out = tmp_path / "maps.png"
    answer = told("insight", "attention", looking, "--moves", "3,3", "--out", out)
    assert is_picture(out) and (answer["layers"], answer["heads"], answer["grid"]) == (2, 2, [6, 7])
    assert sum(answer["rollout"]) == pytest.approx(1) and answer["point"] is not None
    assert told("insight", "attention", looking, "--from", "41")["point"] == 41
    assert "(rollout, shares of 1): column " in read("insight", "attention", looking, "--from", "41")
    assert told("insight", "attention", looking, "--faithfulness", "5")["faithfulness"]["positions"] == 5
    assert "faithfulness: how far 5 decisions move" in read("insight", "attention", looking, "--faithfulness", "5")
    probed = told(
        "insight", "probe", looking, "--positions", "300", "--concepts", "own threat,must block", "--out", out
    )
    assert is_picture(out) and {row["concept"] for row in probed["results"]} == {"own threat", "must block"}
    assert {row["version"] for row in probed["results"]} == {-1, 3}
    assert {row["layer"] for row in probed["results"]} == {"input", "stem", "block 1", "block 2", "encoder"}


def test_robustness_of_both_kinds(four: Path, cart: Path, tmp_path: Path) -> None:
    out, file = tmp_path / "curves.png", tmp_path / "set.json"
    answer = told("robustness", cart, "--attacks", "noise,fgsm", "--budgets", "0,0.5", "--episodes", "2", "--out", out)
    assert is_picture(out) and [row["epsilon"] for row in answer["curves"][str(cart)]] == [0, 0.5, 0, 0.5]
    checked = told("robustness", four, "--simulations", "0", "--positions", "20", "--set", file)
    assert checked["symmetry"]["pairs"] > 0 and checked["solved"]["truth_positions"] == 4000
    assert len(json.loads(file.read_text())["blunders"]) == 50


def read(*words: object) -> str:
    result = fuseki(*words)
    assert result.exit_code == 0, result.output
    return " ".join(result.stdout.split())


def test_people_read_units_and_intervals(four: Path, cart: Path) -> None:
    why = read("insight", "saliency", four, "--moves", "3,0,3", "--action", "3", "--faithfulness", "9")
    assert re.search(r"explained: move 3, probability \d+\.\d % \(its logarithm -\d", why) and "column 3 row " in why
    assert "how far 9 decisions move" in why and "95 % intervals" in why
    acting = read("insight", "saliency", cart, "--steps", "3", "--method", "gradients")
    assert "explained: action " in acting and re.search(
        r"largest shares of observation \(slopes\): \[[0-3]\] 0", acting
    )
    probed = read("insight", "probe", four, "--positions", "300", "--concepts", "must block,won")
    assert "the other side threatens to complete four at once (" in probed and "0.5 is guessing" in probed
    assert "left out: won, since it holds in 273 positions and not in 27" in probed
    checked = read("robustness", four, "--simulations", "0", "--positions", "20")
    assert "a position and its mirror image" in checked and "total variation, 0 to 1" in checked
    assert re.search(r"solved positions [\d,]+ of 4,000 \d+\.\d % \(\d+\.\d to \d+\.\d\)", checked)
    assert "the worst: move " in checked
    curves = read("robustness", cart, "--attacks", "noise", "--budgets", "0,0.5", "--episodes", "2")
    assert "mean return of 2 episodes" in curves and "strength 1 moves by: observation " in curves


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["insight", "saliency", "nobody"], "no agent 'nobody'"),
        (["insight", "saliency", "FOUR", "--moves", "9"], "not legal"),
        (["insight", "saliency", "FOUR", "--moves", "3", "--action", "3,4"], "not one move"),
        (["insight", "saliency", "FOUR", "--steps", "3"], "--steps is for Gymnasium"),
        (["insight", "saliency", "CART", "--moves", "3"], "--moves is for board games"),
        (["insight", "saliency", "FOUR", "--method", "tea"], "tea"),
        (["insight", "attention", "FOUR"], "transformer"),
        (["insight", "attention", "FOUR", "--from", "42"], "point 42 is not on the board"),
        (["insight", "probe", "CART"], "no board game"),
        (["insight", "probe", "FOUR", "--concepts", "luck"], "'luck' is none of own threat"),
        (["insight", "probe", "FOUR", "--concepts", ","], "',' is none of own threat"),
        (["insight", "probe", "FOUR", "--positions", "200", "--concepts", "won"], "200 positions: won: it holds in"),
        (["insight", "saliency", "FOUR", "--out", "x.tea"], "must end in one of .png"),
        (["robustness", "CART", "--attacks", "bribery"], "'bribery' is none of noise"),
        (["robustness", "CART", "--attacks", ","], "',' names none of noise"),
        (["robustness", "FOUR", "--exploiter", "RUN", "--victim-simulations", "0.9"], "whole numbers of 0 or more"),
        (["robustness", "CART", "--budgets", "-1"], "numbers of 0 or more"),
        (["robustness", "CART", "--beside", "FOUR"], "is for connect_four"),
        (["robustness", "CART", "--simulations", "3"], "--simulations is for board games"),
        (["robustness", "FOUR", "--episodes", "3"], "--episodes is for Gymnasium"),
        (["robustness", "FOUR", "--exploiter", "FOUR"], "no run folder"),
        (["robustness", "FOUR", "--out", "x.png"], "--exploiter RUN"),
    ],
)
def test_mistakes_get_a_sentence(
    words: list[str], part: str, four: Path, cart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = fuseki(*({"FOUR": four, "CART": cart}.get(word, word) for word in words))
    assert result.exit_code == 2 and result.stdout == "", result.output
    assert len(result.stderr.splitlines()) == 1 and part in result.stderr, result.stderr
