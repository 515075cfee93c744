"""Every board game against an opponent passes Gymnasium's check, and its environment agrees with the rules."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from envs import GAMES, make
from envs.game import ONGOING, PLY, STATUS, TO_MOVE, Game, outcome
from envs.versus import VersusEnv, play_randomly
from tests.envs.unusual_games import CORNER, IN_PAIRS, SECOND_BEGINS, UNTIL_THE_CORNER

CONNECT_THREE = Path(__file__).parents[1] / "examples" / "connect_three.py"
EVERY_GAME = [*GAMES, f"{CONNECT_THREE}:connect_three"]


def first_legal(state: np.ndarray, legal: np.ndarray, rng: np.random.Generator) -> int:
    return int(np.argmax(legal))


def episode(env: gymnasium.Env, seed: int | None, moves: int = 1000) -> list[Any]:
    """What a player who always takes the middle legal action gets to see, as comparable values."""
    observation, info = env.reset(seed=seed)
    seen: list[Any] = [(observation.tobytes(), info["action_mask"].tolist(), info["side"])]
    ended = False
    while not ended and len(seen) <= moves:
        legal = np.flatnonzero(info["action_mask"])
        observation, reward, ended, _, info = env.step(legal[len(legal) // 2])
        seen.append((observation.tobytes(), info["action_mask"].tolist(), info["side"], reward))
    return seen


@pytest.mark.parametrize("seat", ["first", "second", "random"])
@pytest.mark.parametrize("env_id", GAMES)
def test_gymnasium_check(env_id: str, seat: str) -> None:
    check_env(gymnasium.make(f"envs.versus:fuseki/{env_id}-v0", seat=seat).unwrapped)


@pytest.mark.parametrize("seat", ["first", "second"])
@pytest.mark.parametrize(
    "game", [*map(make, EVERY_GAME), IN_PAIRS, SECOND_BEGINS], ids=lambda game: getattr(game, "env_id", game)
)
def test_a_whole_game_agrees_with_the_rules(game: Game, seat: str) -> None:
    side = ("first", "second").index(seat)
    shadow = game.initial_state()  # the same game, played beside

    def opponent(state: np.ndarray, legal: np.ndarray, rng: np.random.Generator) -> int:
        nonlocal shadow
        assert np.array_equal(state, shadow)
        assert state[TO_MOVE] == 1 - side
        assert np.array_equal(legal, game.legal_mask(state))
        action = play_randomly(state, legal, rng)
        shadow = game.after(shadow, action)
        state[:], legal[:] = -1, True  # they are copies
        return action

    env, rng = VersusEnv(game, opponent, seat), np.random.default_rng(5)  # type: ignore[arg-type]
    observation, info = env.reset(seed=3)
    while shadow[STATUS] == ONGOING:
        assert np.array_equal(env.state, shadow)
        env.state[:] = -1  # a copy too
        assert shadow[TO_MOVE] == side == info["side"]
        assert np.array_equal(observation, game.encode(shadow[None])[0])
        assert observation in env.observation_space
        assert info["action_mask"].dtype == np.int8
        assert np.array_equal(info["action_mask"], game.legal_mask(shadow))
        action = rng.choice(np.flatnonzero(info["action_mask"]))
        shadow = game.after(shadow, int(action))
        observation, reward, terminated, truncated, info = env.step(action)
        assert (terminated, truncated) == (shadow[STATUS] != ONGOING, False)
        assert reward == (outcome(shadow) * (1, -1)[side] if terminated else 0)
    assert np.array_equal(env.state, shadow)
    assert not info["action_mask"].any()
    shadow[TO_MOVE] = side  # the last position too is seen from this side
    assert np.array_equal(observation, game.encode(shadow[None])[0])


@pytest.mark.parametrize("seat", ["first", "second", "random"])
@pytest.mark.parametrize("env_id", GAMES)
def test_same_seed_same_episode(env_id: str, seat: str) -> None:
    env, again = (gymnasium.make(f"envs.versus:fuseki/{env_id}-v0", seat=seat) for _ in range(2))
    assert episode(env, 11, moves=15) == episode(again, 11, moves=15)
    assert episode(env, None, moves=15) == episode(again, None, moves=15)  # the episodes after it too
    assert episode(env, 11, moves=15) != episode(again, 12, moves=15)


def test_seats() -> None:
    def sides(seat: Any) -> list[int]:
        env = VersusEnv("tic_tac_toe", seat=seat)
        return [env.reset(seed=seed)[1]["side"] for seed in range(40)]

    assert set(sides("first")) == {0} and set(sides("second")) == {1}
    assert 10 < sum(sides("random")) < 30
    env = VersusEnv("connect_four", first_legal, "second")
    env.reset()
    assert env.state[PLY] == 1  # the opponent has opened


def test_the_random_opponent_plays_every_legal_move() -> None:
    env = VersusEnv("tic_tac_toe", seat="second")
    openings = [int(np.argmin(env.reset(seed=seed)[1]["action_mask"])) for seed in range(450)]
    assert np.bincount(openings, minlength=9).min() > 25  # 50 expected of each


def test_rewards_of_all_endings_from_both_seats() -> None:
    """The opponent follows the script, so do we."""
    endings = {(0, 3, 1, 4, 2): 1, (8, 3, 0, 4, 1, 5): -1, (4, 0, 2, 6, 3, 5, 1, 7, 8): 0}
    for moves, won in endings.items():
        for side, seat in enumerate(("first", "second")):
            script = lambda state, legal, rng: moves[state[PLY]]  # noqa: B023, E731, used within the loop only
            env = VersusEnv("tic_tac_toe", script, seat)  # type: ignore[arg-type]
            env.reset()
            rewards, ended = [], False
            for move in moves[side::2]:
                assert not ended
                _, reward, ended, _, _ = env.step(move)
                rewards.append(reward)
            assert ended
            assert rewards == [0.0] * (len(rewards) - 1) + [won if side == 0 else -won]


def test_one_side_moves_twice() -> None:
    def turns(seat: Any) -> list[int]:
        """PLY at each of our turns and at the end. The order is X, O O, X X; X has a line by then."""
        env = VersusEnv(IN_PAIRS, first_legal, seat)
        _, info = env.reset()
        plies, ended = [], False
        while not ended:
            plies.append(int(env.state[PLY]))
            action = np.flatnonzero(info["action_mask"])[-1]
            *_, ended, _, info = env.step(action)
        return [*plies, int(env.state[PLY])]

    assert turns("first") == [0, 3, 4, 5]
    assert turns("second") == [1, 2, 5]


def test_a_game_that_ends_before_our_first_move_is_played_anew() -> None:
    script = iter([0, 1, 2, 3, CORNER, 4])  # a line at once; then, in the next game, the move is handed over

    env = VersusEnv(UNTIL_THE_CORNER, lambda state, legal, rng: next(script), seat="second")
    _, info = env.reset()
    assert np.flatnonzero(info["action_mask"] == 0).tolist() == [3, CORNER]
    assert env.step(0)[2] is False

    with pytest.raises(RuntimeError, match=r"^until_the_corner: 100 games in a row ended before the second player's"):
        VersusEnv(UNTIL_THE_CORNER, first_legal, seat="second").reset()


def test_an_illegal_move_loses_or_raises() -> None:
    env = VersusEnv("tic_tac_toe", first_legal)
    env.reset()
    before, *_ = env.step(4)
    observation, reward, terminated, truncated, info = env.step(4)
    assert (reward, terminated, truncated) == (-1.0, True, False)
    assert np.array_equal(observation, before)
    assert not info["action_mask"].any()
    with pytest.raises(ResetNeeded):
        env.step(5)

    strict = VersusEnv("tic_tac_toe", first_legal, illegal="raise")
    strict.reset()
    strict.step(4)
    with pytest.raises(ValueError, match=r"^move 3 \(4\) is not legal here; legal moves are: 1, 2, 3, 5, 6, 7, 8$"):
        strict.step(4)
    assert strict.step(5)[2] is False  # the game goes on where it was


@pytest.mark.parametrize("illegal", ["lose", "raise"])
@pytest.mark.parametrize("action", [9, -1, 1.5, None])
def test_what_is_no_action_is_refused(action: Any, illegal: Any) -> None:
    env = VersusEnv("tic_tac_toe", illegal=illegal)
    with pytest.raises(ResetNeeded, match="call reset"):
        env.step(0)
    env.reset()
    with pytest.raises(ValueError, match=r"^action \S+ is not a whole number from 0 to 8$"):
        env.step(action)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            4,
            r"the opponent broken made an illegal move: move 2 \(4\) is not legal here; legal moves are: 0, 1, 2, 3, 5",
        ),
        (-1, r"the opponent broken made an illegal move: move 2 \(-1\) is not legal here"),
        (0.0, r"the opponent broken must return the number of an action, not 0\.0"),
        ([0], r"the opponent broken must return the number of an action, not \[0\]"),
    ],
)
def test_a_broken_opponent_is_named(answer: Any, sentence: str) -> None:
    def broken(state: np.ndarray, legal: np.ndarray, rng: np.random.Generator) -> int:
        return answer

    env = VersusEnv("tic_tac_toe", broken)
    env.reset()
    with pytest.raises(ValueError, match=f"^{sentence}") as error:
        env.step(4)
    assert "\n" not in str(error.value)
    with pytest.raises(ResetNeeded):
        env.step(0)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"opponent": "solver"}, r"opponent 'solver' is neither 'random' nor a function of \(state, legal, rng\)"),
        ({"seat": "black"}, "seat 'black' is none of first, second, random"),
        ({"illegal": "ignore"}, "illegal 'ignore' is neither 'lose' nor 'raise'"),
        ({"render_mode": "rgb_array"}, "render_mode 'rgb_array' is none of ansi, human"),
        ({"komi": 6.5}, "tic_tac_toe has no option 'komi'"),
    ],
)
def test_mistakes_are_named(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        VersusEnv("tic_tac_toe", **arguments)


def test_rendering(capsys: pytest.CaptureFixture[str]) -> None:
    game = make("tic_tac_toe")
    env = VersusEnv(game, first_legal, render_mode="ansi")
    env.reset()
    env.step(4)
    assert env.render() == game.render(game.replay([4, 0]))
    assert capsys.readouterr().out == ""

    shown = VersusEnv(game, first_legal, render_mode="human")
    shown.reset()
    shown.step(4)
    boards = [game.render(game.replay(moves)) for moves in ([], [4, 0])]
    assert capsys.readouterr().out == "".join(board + "\n\n" for board in boards)

    silent = VersusEnv(game)
    silent.reset()
    with pytest.warns(UserWarning, match="without a render_mode"):
        assert silent.render() is None


def test_registered_games_take_options_and_make_vectors() -> None:
    env = gymnasium.make("envs.versus:fuseki/go9-v0", komi=5.5).unwrapped
    assert isinstance(env, VersusEnv)
    assert env.game.params == make("go9", komi=5.5).params
    envs = gymnasium.make_vec("envs.versus:fuseki/tic_tac_toe-v0", num_envs=3, seat="second")
    observations, infos = envs.reset(seed=1)
    assert observations.shape == (3, 3, 3, 3)
    assert infos["action_mask"].shape == (3, 9)
    assert infos["side"].tolist() == [1, 1, 1]
    envs.close()


def test_importing_again_registers_nothing_twice() -> None:
    module = importlib.import_module("envs.versus")
    before = dict(gymnasium.registry)
    importlib.reload(module)  # Gymnasium would warn
    assert gymnasium.registry == before
    assert {f"fuseki/{env_id}-v0" for env_id in GAMES} == {name for name in before if name.startswith("fuseki/")}
