"""Every board game passes PettingZoo's own checks, and its environment agrees with the rules."""

from __future__ import annotations

import importlib
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pettingzoo.test import api_test, render_test, seed_test

from envs import GAMES, make
from envs.conformance import check_game
from envs.game import ONGOING, STATUS, TO_MOVE, Game, outcome
from envs.pettingzoo import AGENTS, BoardGame, aec_env
from tests.envs.unusual_games import IN_PAIRS, SECOND_BEGINS, UNTIL_THE_CORNER

CONNECT_THREE = Path(__file__).parents[1] / "examples" / "connect_three.py"
EVERY_GAME = [*GAMES, f"{CONNECT_THREE}:connect_three"]
UNUSUAL = [IN_PAIRS, SECOND_BEGINS, UNTIL_THE_CORNER]


def played(game: Game | str, moves: list[int], **options: Any) -> Any:
    env = aec_env(game, **options)
    env.reset()
    for move in moves:
        env.step(move)
    return env


# PettingZoo's test advises against the dictionaries that its own board games give, and excuses those games by name. The
# mask of an ended game is all 0, as in its chess, and the test has no excuse for that.
@pytest.mark.filterwarnings("ignore:Action mask numpy array is all zeros")
@pytest.mark.parametrize("game", [*EVERY_GAME, *UNUSUAL], ids=lambda game: getattr(game, "env_id", game))
def test_api(game: Game | str, monkeypatch: pytest.MonkeyPatch) -> None:
    env = aec_env(game)
    module = sys.modules[api_test.__module__]
    for excused in ("env_obs_dicts", "env_obs_space"):
        monkeypatch.setattr(module, excused, [str(env.unwrapped)])
    for seed, agent in enumerate(env.possible_agents):
        env.action_space(agent).seed(seed)  # the test samples from it
    api_test(env, num_cycles=150)


@pytest.mark.parametrize("env_id", EVERY_GAME)
def test_seeds_and_render_modes(env_id: str) -> None:
    seed_test(partial(aec_env, env_id), num_cycles=20)
    render_test(partial(aec_env, env_id))


@pytest.mark.parametrize("game", [*map(make, EVERY_GAME), *UNUSUAL], ids=lambda game: game.env_id)
def test_a_whole_game_agrees_with_the_rules(game: Game) -> None:
    env, rng = aec_env(game), np.random.default_rng(7)
    env.reset()
    state = game.initial_state()
    while state[STATUS] == ONGOING:
        side = int(state[TO_MOVE])
        assert env.agent_selection == AGENTS[side]
        observation, reward, terminated, truncated, info = env.last()
        assert (reward, terminated, truncated, info) == (0, False, False, {})
        assert np.array_equal(observation["observation"], game.encode(state[None])[0])
        assert np.array_equal(observation["action_mask"], game.legal_mask(state))

        waiting = env.observe(AGENTS[1 - side])
        other = state.copy()
        other[TO_MOVE] = 1 - side
        assert np.array_equal(waiting["observation"], game.encode(other[None])[0])
        assert not waiting["action_mask"].any()

        action = rng.choice(np.flatnonzero(observation["action_mask"]))
        mover, state = side, game.after(state, int(action))
        env.step(action)

    won = outcome(state)
    assert env.rewards == {"player_0": won, "player_1": -won}
    assert env.terminations == {"player_0": True, "player_1": True}
    assert env.truncations == {"player_0": False, "player_1": False}
    assert env.agent_selection == AGENTS[1 - mover]
    for agent in (AGENTS[1 - mover], AGENTS[mover]):
        assert env.agent_selection == agent
        observation, reward, terminated, truncated, _ = env.last()
        assert (reward, terminated, truncated) == (won if agent == "player_0" else -won, True, False)
        assert not observation["action_mask"].any()
        env.step(None)
    assert env.agents == []


def test_each_agent_sees_its_own_stones_first() -> None:
    env = played("tic_tac_toe", [4, 0, 8])
    for agent, own, other in (("player_0", [4, 8], [0]), ("player_1", [0], [4, 8])):
        planes = env.observe(agent)["observation"].reshape(-1, 9)
        assert planes.dtype == np.float32
        assert [np.flatnonzero(plane).tolist() for plane in planes[:2]] == [own, other]


def test_one_side_moves_twice() -> None:
    assert check_game(IN_PAIRS).same_side_again > 0
    env = aec_env(IN_PAIRS)
    env.reset()
    order = []
    for move in (0, 3, 4, 1, 2):
        order.append(env.agent_selection[-1])
        env.step(move)
    assert order == ["0", "1", "1", "0", "0"]
    assert env.rewards == {"player_0": 1, "player_1": -1}
    assert env.agent_selection == "player_1"  # the loser hears of it first, though it did not move in between


def test_rewards_of_a_game_left_behind_do_not_return() -> None:
    env = played("tic_tac_toe", [0, 3, 1, 4, 2])
    env.step(None)
    env.reset()
    assert (env.agents, env.agent_selection) == ([*AGENTS], "player_0")
    assert set(env.rewards.values()) == {0}
    for move in (8, 3, 0, 4, 1, 5):  # the second player wins this one
        assert env.last()[1] == 0
        env.step(move)
    assert env.last()[1] == -1


def test_an_illegal_move_loses() -> None:
    env = played("tic_tac_toe", [4, 4])
    assert env.rewards == {"player_0": 0, "player_1": -1}
    assert env.terminations == {"player_0": True, "player_1": True}
    env.reset()
    assert env.terminations == {"player_0": False, "player_1": False}

    bare = BoardGame("tic_tac_toe")
    bare.reset()
    bare.step(4)
    with pytest.raises(ValueError, match=r"^move 2 \(4\) is not legal here"):
        bare.step(4)
    with pytest.raises(ValueError, match=r"^player_1 is to move, but its action is None$"):
        bare.step(None)


def test_calls_out_of_order_and_out_of_bounds() -> None:
    env = aec_env("tic_tac_toe")
    with pytest.raises(AssertionError, match="reset"):
        env.step(0)
    env.reset()
    with pytest.raises(AssertionError, match="action is not in action space"):
        env.step(9)


def test_rendering(capsys: pytest.CaptureFixture[str]) -> None:
    game = make("tic_tac_toe")
    assert played(game, [4, 0], render_mode="ansi").render() == game.render(game.replay([4, 0]))
    assert capsys.readouterr().out == ""
    played(game, [4], render_mode="human")
    boards = [game.render(game.replay(moves)) for moves in ([], [4])]
    assert capsys.readouterr().out == "".join(board + "\n\n" for board in boards)
    with pytest.warns(UserWarning, match="without a render_mode"):
        assert played(game, [4]).render() is None
    with pytest.raises(ValueError, match=r"^render_mode 'rgb_array' is none of ansi, human$"):
        aec_env(game, render_mode="rgb_array")


def test_options_reach_the_game() -> None:
    assert aec_env("go9", komi=5.5).unwrapped.game.params == make("go9", komi=5.5).params
    with pytest.raises(ValueError, match="go9 has no option 'board_size'"):
        aec_env("go9", board_size=7)
    with pytest.raises(ValueError, match=r"^go9 is made already and takes no options, but got komi$"):
        aec_env(make("go9"), komi=5.5)


def test_without_pettingzoo_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pettingzoo", None)
    monkeypatch.delitem(sys.modules, "envs.pettingzoo")
    with pytest.raises(ImportError, match=r"^envs.pettingzoo needs PettingZoo: pip install 'fuseki\[pettingzoo\]'$"):
        importlib.import_module("envs.pettingzoo")


def test_a_broken_pettingzoo_is_not_called_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pettingzoo.py").write_text("import a_missing_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "pettingzoo"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "envs.pettingzoo")
    with pytest.raises(ModuleNotFoundError, match="a_missing_dependency"):
        importlib.import_module("envs.pettingzoo")
