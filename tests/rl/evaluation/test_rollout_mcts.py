"""Rollout MCTS finds what its rollouts can see, and more of it with a larger budget."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

import envs
from envs.game import Game
from rl.evaluation.arena import play_match
from rl.evaluation.players import RandomPlayer
from rl.evaluation.rollout_mcts import RolloutMCTS


@pytest.fixture(scope="module")
def four() -> Game:
    return envs.make("connect_four")


def test_plays_the_win_and_blocks_the_loss(four: Game) -> None:
    wins = four.replay([3, 0, 3, 0, 3, 1])  # X completes column 3
    blocks = four.replay([3, 0, 3, 0, 3])  # O must stop that
    sideways = four.replay([0, 0, 1, 1, 2, 6])  # X completes the bottom row at 3
    assert RolloutMCTS(four, 400).actions(np.stack([wins, blocks, sideways])).tolist() == [3, 3, 3]


def test_looks_ahead_two_moves(four: Game) -> None:
    # With 2 and 3 taken and both neighbours free, a third stone in the row makes a double threat.
    answer = RolloutMCTS(four, 2000).actions(four.replay([3, 3, 2])[None])
    assert answer[0] in (1, 4)


def test_statistics_are_those_of_the_budget(four: Game) -> None:
    full_column = four.replay([0, 0, 0, 0, 0, 0])
    visits, points = RolloutMCTS(four, 300).search(np.stack([four.initial_state(), full_column]))
    assert visits.sum(1).tolist() == [300, 300]
    assert visits[1, 0] == 0, "an illegal move was searched"
    assert (points >= 0).all() and (points <= visits).all()


def test_the_seed_decides_and_rows_do_not_touch(four: Game) -> None:
    states = np.stack([four.replay([3]), four.replay([2, 2]), four.replay([6])])
    together, _ = RolloutMCTS(four, 100, seed=5).search(states)
    again, _ = RolloutMCTS(four, 100, seed=5).search(states)
    first, _ = RolloutMCTS(four, 100, seed=5).search(states[:1])
    other, _ = RolloutMCTS(four, 100, seed=6).search(states)
    twice, _ = RolloutMCTS(four, 100, seed=5).search(np.stack([states[0], states[0]]))
    assert (together == again).all() and (together[0] == first[0]).all()
    assert (together != other).any()
    assert (twice[0] != twice[1]).any(), "each row draws from a stream of its own"


def test_value_points_are_those_of_the_side_to_move() -> None:
    game = envs.make("tic_tac_toe")
    state = game.replay([0, 3, 1, 4])  # X wins at 2; elsewhere O wins at 5
    visits, points = RolloutMCTS(game, 500).search(state[None])
    assert points[0, 2] == visits[0, 2] == visits.max()
    after = game.replay([0, 3, 1, 4, 8])  # O to move wins at 5: the second player's points
    visits, points = RolloutMCTS(game, 500).search(after[None])
    assert points[0, 5] == visits[0, 5] == visits.max()


def test_a_budget_beats_none_and_a_larger_one_a_smaller(four: Game) -> None:
    beats_random = play_match(four, RolloutMCTS(four, 200), RandomPlayer(four, 1), 60, seed=2).result
    beats_smaller = play_match(four, RolloutMCTS(four, 1000, 3), RolloutMCTS(four, 30, 4), 60, seed=5).result
    assert beats_random.interval()[0] > 0.85
    assert beats_smaller.interval()[0] > 0.75


def test_a_budget_below_one_is_refused(four: Game) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        RolloutMCTS(four, 0)


def test_a_second_process_loads_the_kernel_from_the_cache() -> None:
    code = (
        "import time, envs, numpy as np\n"
        "from rl.evaluation import rollout_mcts as m\n"
        "game = envs.make('tic_tac_toe')\n"
        "m.RolloutMCTS(game, 10).actions(game.initial_state()[None])\n"
        "print(sum(sum(f.stats.cache_misses.values()) for f in (m.uct, m.rollout, m.pick_untried, m.draw_below)))"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0", "the kernel was compiled again"
    assert time.perf_counter() - start < 30
