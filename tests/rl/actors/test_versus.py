"""Games against a frozen victim: searches that know it, and records of which the learner's own moves are learned."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import envs
from envs.game import STATUS, TO_MOVE, outcome
from rl import nets
from rl.actors.versus import ModelledSearch, VersusWorker
from rl.agent import load_player
from rl.cli import app
from rl.config import Config, ConfigError, GameConfig, parse_config
from rl.experience.targets import rows_of
from rl.insight.exploiter import ExploiterPlayer, evaluations_of, exploiter_report
from rl.insight.questions import InsightError
from rl.insight.versions import versions_of
from rl.records import Evaluation, Weights
from rl.runtime import train
from rl.runtime.kinds import check, make_worker
from tests.rl.agents_for_tests import save_random_agent, small_config
from tests.rl.runtime.runs import SMALL

TOE = envs.make("tic_tac_toe")


def first_empty(planes: np.ndarray) -> Evaluation:
    """The network of a victim that always plays the first empty point."""
    logits = np.tile(-np.arange(9, dtype=np.float32), (len(planes), 1))
    return Evaluation(logits, np.full((len(planes), 3), 1 / 3, np.float32))


def ignorant(planes: np.ndarray) -> Evaluation:
    return Evaluation(np.zeros((len(planes), 9), np.float32), np.full((len(planes), 3), 1 / 3, np.float32))


class FirstEmptyNetwork:
    """The same, counting as rl.inference.Evaluator does."""

    evaluations, seconds = 0, 0.0

    def __call__(self, planes: np.ndarray) -> Evaluation:
        self.evaluations += len(planes)
        return first_empty(planes)


class FirstEmpty:
    def actions(self, states: np.ndarray) -> np.ndarray:
        return np.array([int(np.argmax(TOE.legal_mask(state))) for state in states])


def searched(side: int) -> ModelledSearch:
    config = small_config("tic_tac_toe", search={"simulations": 64, "max_considered": 9}).search
    return ModelledSearch(TOE, config, 4, 0, first_empty, side, 64)


@pytest.mark.parametrize("side", [0, 1])
def test_a_search_that_knows_its_opponent_wins_where_nothing_is_forced(side: int) -> None:
    search = searched(side)
    state = TOE.initial_state()
    if side == 1:
        state = TOE.after(state, int(FirstEmpty().actions(state[None])[0]))
    while state[STATUS] == 0:
        if state[TO_MOVE] == side:
            found = search.run(state[None], ignorant, 0, 64)
            action = int(found.action[0])
        else:
            action = int(FirstEmpty().actions(state[None])[0])
        state = TOE.after(state, action)
    assert outcome(state) == (1, -1)[side], "against best play it would be a draw"


def test_every_node_of_the_opponent_follows_its_network() -> None:
    search = searched(0)
    search.run(TOE.initial_state()[None], ignorant, 0, 64)
    tree, nodes = search.search.tree, search.search.lane.size[0]
    theirs = [n for n in range(nodes) if tree.state[0, n, TO_MOVE] == 1 and tree.edge_visits[0, n].sum()]
    assert len(theirs) > 5
    for node in theirs:
        chosen = np.flatnonzero(tree.edge_visits[0, node])
        assert chosen.tolist() == FirstEmpty().actions(tree.state[0, node][None]).tolist()
    mine = [n for n in range(nodes) if tree.state[0, n, TO_MOVE] == 0]
    assert max(np.count_nonzero(tree.edge_visits[0, n]) for n in mine) > 1, "its own moves are searched"


def weights_of(config: Config) -> Weights:
    assert isinstance(config, GameConfig)
    torch.manual_seed(0)
    net = nets.build(config.net, TOE)
    return Weights(5, {name: t.numpy().copy() for name, t in net.state_dict().items()})


def worker() -> VersusWorker:
    config = small_config(
        "tic_tac_toe",
        search={"simulations": 16},
        selfplay={
            "games": 8,
            "full_search_fraction": 0.5,
            "fast_simulations": 4,
            "random_opening_plies": 2,
            "victim": "nobody",
        },
    )
    made = VersusWorker(config, 3, FirstEmpty(), FirstEmptyNetwork(), "cpu")
    made.use(weights_of(config))
    return made


def test_records_hold_both_sides_and_teach_one() -> None:
    report = worker().play(moves=20)
    assert len(report.games) >= 8 and report.moves >= 160 and report.evaluations > 0
    seats = set()
    for game in report.games:
        state = game.start.copy()
        movers = []
        for t, action in enumerate(game.actions):
            movers.append(int(state[TO_MOVE]))
            assert TOE.legal_mask(state)[action]
            if np.isnan(game.policy[t]).any():
                assert action == FirstEmpty().actions(state[None])[0] and not game.full[t] and not game.off_policy[t]
            else:
                assert game.policy[t].sum() == pytest.approx(1, abs=1e-5)
            state = TOE.after(state, int(action))
        assert outcome(state) == game.outcome
        learners = {movers[t] for t in range(len(movers)) if not np.isnan(game.policy[t]).any()}
        victims = {movers[t] for t in range(len(movers)) if np.isnan(game.policy[t]).any()}
        assert not learners & victims
        seats |= learners
        rows = rows_of(TOE, game, 0.5)
        assert np.isfinite(rows["policy"]).all() and np.isfinite(rows["wdl"]).all()
        assert np.allclose(game.wdl.sum(1), 1, atol=1e-4) and (game.weights_version == 5).all()
    assert seats == {0, 1}
    full = np.concatenate([g.full for g in report.games])
    assert 0.1 < full.mean() < 0.4, "half of the learner's half"


def test_the_clock_counts_the_moves_of_both_sides() -> None:
    made = worker()
    played = made.play(moves=20)
    on_boards = sum(len(game.actions) for game in played.games) + sum(len(line.actions) for line in made.lines)
    assert played.moves == on_boards
    assert 20 * len(made.lines) <= played.moves < 22 * len(made.lines), "as many a game as were asked for, on average"


def test_what_the_victim_searches_counts_as_compute(tmp_path: Path) -> None:
    victim = save_random_agent(tmp_path / "victim.safetensors")
    config = parse_config(exploiter_config(victim, victim_simulations=16), "the test")
    made = make_worker(config, 0, 1)
    assert isinstance(made, VersusWorker)
    made.use(weights_of(config))
    states = np.stack([TOE.initial_state()])
    made.victim.actions(states)
    assert made.evaluator is not None and made.model.evaluations > 10, "its player asks the network that is counted"
    before = made.model.evaluations
    report = made.play(moves=4)
    assert report.evaluations == made.evaluator.evaluations + made.model.evaluations - before
    assert 0 < report.evaluator_seconds < report.seconds


def exploiter_config(victim: Path, **selfplay: object) -> dict:
    settings = dict(SMALL) | {"run": {"learner_steps": 10, "checkpoint_minutes": 0.0001, "keep_checkpoints": 9}}
    settings["selfplay"] = {"games": 8, "victim": str(victim), "random_opening_plies": 3} | selfplay
    settings["net"] = {"encoder": {"kind": "mlp", "width": 16, "depth": 1}}
    settings["evaluation"] = {"positions": 5, "simulations": 0, "games": 0}
    return settings


def test_a_run_against_a_victim_and_its_report(tmp_path: Path) -> None:
    victim = save_random_agent(tmp_path / "victim.safetensors")
    config = parse_config(exploiter_config(victim, victim_simulations=4) | {"learner": {"batch_size": 32}}, "the test")
    train(config, tmp_path / "run", serial=True)
    files = versions_of(str(tmp_path / "run"))
    assert len(files) >= 2
    last = load_player(str(files[-1]))
    assert (evaluations_of(last) or 0) > 100
    told = exploiter_report(load_player(victim), str(tmp_path / "run"), [0], games=20, save=tmp_path / "games")
    assert len(list((tmp_path / "games").glob("*/*"))) == 20 * len(told["curve"])
    assert [row["version"] for row in told["curve"]] == sorted(row["version"] for row in told["curve"])
    assert told["curve"][0]["evaluations"] < told["curve"][-1]["evaluations"]
    for row in told["curve"] + told["control"]:
        assert row["games"] == 20 and row["score_low"] <= row["score"] <= row["score_high"]
    assert told["curve"][-1]["compute_share"] is None, "nobody told what the victim's training took"
    # Whoever asks on the command line reads it all, and sees a picture of it.
    words = [
        "robustness",
        str(victim),
        "--exploiter",
        str(tmp_path / "run"),
        "--victim-simulations",
        "0",
        "--games",
        "4",
    ]
    for drawn in ([], ["--out", str(tmp_path / "p.png")]):
        read = CliRunner().invoke(app, [*words, *drawn])
        assert read.exit_code == 0, read.output
        assert "an unknown number of positions" in read.stdout and "the victim's own network" in read.stdout
    assert (tmp_path / "p.png").stat().st_size > 5000
    (tmp_path / "taken.png").mkdir()
    failed = CliRunner().invoke(app, [*words, "--json", "--out", str(tmp_path / "taken.png")])
    assert failed.exit_code == 1 and len(json.loads(failed.stdout)["curve"]) == len(files), (
        "failing to draw loses nothing"
    )

    # The victim's network alone repeats itself, and a search that knows its moves beats it.
    assert told["curve"][-1]["score"] > 0.8

    other = parse_config(dict(SMALL) | {"run": {"learner_steps": 1}}, "the test")
    train(other, tmp_path / "plain", serial=True)
    with pytest.raises(InsightError, match="no exploiter"):
        exploiter_report(load_player(victim), str(tmp_path / "plain"), [0])


def test_the_player_serves_both_sides_in_one_call(tmp_path: Path) -> None:
    agent = load_player(save_random_agent(tmp_path / "victim.safetensors"))
    player = ExploiterPlayer(agent, agent, 8)
    states = np.stack([TOE.initial_state(), TOE.replay([4]), TOE.replay([4, 0])])
    for state, action in zip(states, player.actions(states), strict=True):
        assert TOE.legal_mask(state)[action]


def test_victims_that_cannot_be_played(tmp_path: Path) -> None:
    four = save_random_agent(tmp_path / "four.safetensors", "connect_four")
    for victim, part in ((tmp_path / "nobody", "no agent"), (four, "plays Connect Four")):
        with pytest.raises(ConfigError, match=part):
            check(parse_config(exploiter_config(victim), "the test"), new=True)
    lockstep = exploiter_config(four) | {"run": {"learner_steps": 1, "mode": "sync"}}
    with pytest.raises(ConfigError, match=r"run\.mode async"):
        parse_config(lockstep, "the test")
