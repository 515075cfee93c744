"""Self-play without search: what actors draw, what a move is worth, and what the learner makes of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import envs
from envs.game import TO_MOVE
from rl.actors import SelfPlay
from rl.config import ConfigError, GameConfig
from rl.experience.targets import replay
from rl.losses import gae
from rl.records import Evaluation, GameRecord
from rl.trainers.policy_gradients import PolicyGradientTrainer, moves_of, trace_returns
from tests.rl.small import MLP, RESNET, random_records, small_config

PPO = {"search": {"simulations": 0}, "ppo": {"rows": 64, "epochs": 2}}
LEARNER = {"symmetries": False, "batch_size": 32, "ema": 0.0, "schedule": "constant", "precision": "float32"}


def ppo_config(env: str = "tic_tac_toe", encoder: dict | None = None, **sections: object) -> GameConfig:
    return small_config(env, encoder or MLP, **(PPO | {"learner": LEARNER} | sections))


class Biased:
    """A network that likes later actions, and gives every position the same value."""

    version = 3

    def __call__(self, planes: np.ndarray) -> Evaluation:
        logits = np.tile(np.linspace(-1, 1, 9, dtype=np.float32), (len(planes), 1))
        return Evaluation(logits, np.tile(np.array([0.5, 0.3, 0.2], np.float32), (len(planes), 1)))


def played(config: GameConfig, games: int = 64, moves: int = 6000) -> list[GameRecord]:
    return SelfPlay(envs.make(config.env), config, games, seed=1).play(Biased(), moves).games


def test_moves_are_drawn_from_the_networks_policy() -> None:
    records = played(ppo_config())
    expected = np.exp(np.linspace(-1, 1, 9))
    first = np.array([r.actions[0] for r in records])
    np.testing.assert_allclose(records[0].policy[0], expected / expected.sum(), rtol=1e-5)
    counts = np.bincount(first, minlength=9) / len(first)
    assert len(first) > 500
    # Within four standard deviations of each frequency
    assert (np.abs(counts - expected / expected.sum()) < 4 * np.sqrt(0.2 * 0.8 / len(first))).all()
    for record in records[:20]:
        assert record.full.all() and not record.off_policy.any() and not record.proven.any()
        np.testing.assert_allclose(record.wdl, [[0.5, 0.3, 0.2]] * len(record.wdl), atol=1e-6)
        for state, policy in zip(replay(envs.make("tic_tac_toe"), record), record.policy):
            weights = np.exp(np.linspace(-1, 1, 9)) * envs.make("tic_tac_toe").legal_mask(state)
            np.testing.assert_allclose(policy, weights / weights.sum(), rtol=1e-4)


@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("env", ["tic_tac_toe", "othello"])  # in the latter, sides need not alternate
def test_returns_are_those_of_gae_from_the_first_players_side(env: str, lam: float) -> None:
    game = envs.make(env)
    for record in random_records(game, 5, seed=2):
        to_move = replay(game, record)[:, TO_MOVE]
        returns = trace_returns(record.wdl, to_move, record.outcome, lam)
        np.testing.assert_allclose(returns.sum(1), 1.0, atol=1e-5)
        side = np.where(to_move == 0, 1.0, -1.0).astype(np.float32)
        values = (record.wdl[:, 0] - record.wdl[:, 2]) * side
        steps = len(values)
        rewards = np.zeros((steps, 1), np.float32)
        rewards[-1] = record.outcome
        ends = np.zeros((steps, 1), bool)
        ends[-1] = True
        _, expected = gae(
            rewards, np.append(values, 0.0)[:, None], ends, np.zeros_like(ends), np.ones_like(ends), 1.0, lam
        )
        np.testing.assert_allclose((returns[:, 0] - returns[:, 2]) * side, expected[:, 0], atol=1e-5)


def test_returns_of_a_drawn_and_of_a_lost_game() -> None:
    wdl = np.full((3, 3), 1 / 3, np.float32)
    to_move = np.array([0, 1, 0])
    np.testing.assert_array_equal(trace_returns(wdl, to_move, 0, 1.0), [[0, 1, 0]] * 3)
    np.testing.assert_array_equal(trace_returns(wdl, to_move, -1, 1.0), [[0, 0, 1], [1, 0, 0], [0, 0, 1]])


def test_a_move_knows_the_chance_with_which_it_was_drawn() -> None:
    game = envs.make("tic_tac_toe")
    [record] = random_records(game, 1, seed=3)
    moves = moves_of(game, record, 0.9)
    for t, action in enumerate(record.actions):
        assert moves["log_prob"][t] == pytest.approx(np.log(record.policy[t, action]))
    np.testing.assert_array_equal(moves["state"], replay(game, record))


@pytest.mark.parametrize("encoder", [MLP, RESNET])
def test_the_first_minibatch_is_on_policy(encoder: dict) -> None:
    """Batch norm as it is in training would make another policy of the one that played."""
    from rl.inference import Evaluator

    config = ppo_config("tic_tac_toe", encoder, ppo={"rows": 64, "epochs": 1}, learner=LEARNER | {"batch_size": 64})
    trainer = PolicyGradientTrainer(config, "cpu")
    # Statistics that are not those of a new network, as after some training.
    for name, buffer in trainer.learner.net.named_buffers():
        if name.endswith("running_var"):
            buffer.fill_(2.0)
    evaluator = Evaluator(config.net, trainer.game, config.inference, 16, device="cpu", format="float32-nchw")
    evaluator.load(trainer.weights(0.0))
    games = SelfPlay(trainer.game, config, 16, seed=1).play(evaluator, 200).games
    trainer.add(games)
    measures = trainer.train(trainer.steps_allowed(), 0.0)
    assert trainer.learner.step == 1
    assert measures["learner/rho_mean"] == pytest.approx(1.0, abs=1e-3)
    assert measures["learner/clip_fraction"] == 0.0
    assert abs(measures["learner/policy_kl"]) < 1e-5
    assert measures["learner/lag_mean"] == 0.0


def test_it_waits_for_a_batch_trains_every_epoch_and_forgets() -> None:
    trainer = PolicyGradientTrainer(ppo_config(), "cpu")
    assert trainer.steps_allowed() == 0
    trainer.add(random_records(trainer.game, 20, seed=4))
    waiting = trainer.waiting
    assert waiting >= 64 and trainer.status() == {"experience/rows": waiting, "experience/rows_total": waiting}
    assert trainer.steps_allowed() == 4  # 64 rows in minibatches of 32, twice
    measures = trainer.train(4, 0.0)
    assert trainer.learner.step == 4 and trainer.waiting == 0 and trainer.train(1, 0.0) == {}
    assert all(np.isfinite(value) for value in measures.values())


def test_it_goes_on_exactly_where_its_state_was_taken() -> None:
    config = ppo_config()
    records = random_records(envs.make(config.env), 40, seed=5)
    one = PolicyGradientTrainer(config, "cpu")
    one.add(records[:20])
    one.train(4, 0.0)
    one.add(records[20:25])
    two = PolicyGradientTrainer(config.model_copy(update={"seed": 9}), "cpu")
    two.restore(*one.state())
    for trainer in (one, two):
        trainer.add(records[25:])
        trainer.train(4, 0.0)
    assert one.total == two.total and one.learner.step == two.learner.step == 8
    for name, tensor in one.weights(0.0).tensors.items():
        np.testing.assert_array_equal(tensor, two.weights(0.0).tensors[name])


def test_it_learns_a_bandit() -> None:
    """Games whose second player blunders by playing action 0 first: that move becomes rare."""
    config = ppo_config(ppo={"rows": 512, "epochs": 4}, learner=LEARNER | {"batch_size": 128, "learning_rate": 0.01})
    trainer = PolicyGradientTrainer(config, "cpu")
    from rl.inference import Evaluator

    evaluator = Evaluator(config.net, trainer.game, config.inference, 32, device="cpu", format="float32-nchw")
    selfplay = SelfPlay(trainer.game, config, 32, seed=1)

    def chance() -> float:
        evaluator.load(replace(trainer.weights(0.0), version=trainer.learner.step))
        logits = evaluator(trainer.game.encode(trainer.game.initial_state()[None])).logits[0]
        return float(np.exp(logits[0]) / np.exp(logits).sum())

    before = chance()
    for _ in range(8):
        games = selfplay.play(evaluator, 700).games
        trainer.add([replace(g, outcome=-1 if g.actions[0] == 0 else 1) for g in games])
        trainer.train(trainer.steps_allowed(), 0.0)
        chance()
    assert chance() < before / 3


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"search": {"simulations": 8}}, "search.simulations must be 0"),
        ({"search": {"simulations": 0, "kind": "puct"}}, "search.kind must be gumbel"),
        ({"search": {"simulations": 0, "lookahead": True}}, "search.lookahead must be false"),
        ({"selfplay": {"random_move": 0.1}}, "selfplay.random_move must be 0"),
        ({"selfplay": {"full_search_fraction": 0.5}}, "selfplay.full_search_fraction must be 1"),
        ({"experience": {"reuse": 2}}, "experience must be left out"),
        ({"learner": {}}, "learner.symmetries must be false"),
        ({"ppo": None}, "add ppo: {}"),
    ],
)
def test_settings_that_contradict_it_are_refused(sections: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ppo_config(**sections)
