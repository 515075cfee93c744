"""Solvers agree with facts known from the literature and with a search written out plainly."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import envs
from envs.game import ONGOING, PLY, STATUS, TO_MOVE, Game, outcome
from rl.evaluation.solver import (
    ILLEGAL,
    ConnectFourSolver,
    ExactSolver,
    SolverError,
    action_values,
    solver_for,
)


def result(game: Game, state: np.ndarray, moves: int = 0) -> tuple[int, int]:
    """Value for the side to move and moves to the end, with fast wins and slow losses; no memory, no cut-offs."""
    if state[STATUS] != ONGOING:
        return outcome(state) * (1 if state[TO_MOVE] == 0 else -1), moves
    answers = []
    for action in np.flatnonzero(game.legal_mask(state)):
        after = game.after(state, int(action))
        value, end = result(game, after, moves + 1)
        answers.append((value if after[TO_MOVE] == state[TO_MOVE] else -value, end))
    return max(answers, key=lambda r: (r[0], -r[0] * r[1]))


def pile(stones: int) -> Game:
    """Take one stone and move again (once a turn), or two stones and hand over; who takes the last stone wins."""

    def init(state: np.ndarray, params: np.ndarray) -> None:
        state[:] = (0, ONGOING, 0, stones, 0)  # the last word: one stone was taken in this turn

    def legal(state: np.ndarray, mask: np.ndarray) -> None:
        mask[:] = (1, state[3] >= 2)

    def play(state: np.ndarray, action: int) -> None:
        mover, again = state[TO_MOVE], action == 0 and state[4] == 0
        state[3] -= action + 1
        state[PLY] += 1
        state[STATUS] = ONGOING if state[3] else 1 + mover
        state[4] = again
        state[TO_MOVE] = mover if again else 1 - mover

    rules: dict[str, Any] = {"init": init, "legal": legal, "play": play, "planes": None, "render": str}
    sizes: dict[str, Any] = {
        "board_shape": (1, 1),
        "num_planes": 1,
        "num_actions": 2,
        "state_size": 5,
        "max_moves": stones,
    }
    return Game(env_id="pile", title="Pile", **sizes, **rules)


@pytest.fixture(scope="module")
def toe() -> ExactSolver:
    return ExactSolver(envs.make("tic_tac_toe"))


def test_tic_tac_toe_is_solved_whole(toe: ExactSolver) -> None:
    game = envs.make("tic_tac_toe")
    assert len(toe.positions) == 4520  # 5,478 positions that can be reached, 958 of which have ended
    assert (toe.action_values(game.initial_state()) == 0).all()
    # After a corner only the centre holds the draw.
    assert toe.action_values(game.replay([0])).tolist() == [ILLEGAL, -1, -1, -1, 0, -1, -1, -1, -1]


def test_exact_scores_match_a_plain_search_with_its_distances(toe: ExactSolver) -> None:
    game = envs.make("tic_tac_toe")
    rng = np.random.default_rng(0)
    states = [np.frombuffer(key, np.int64).copy() for key in toe.positions]
    late = [state for state in states if state[PLY] >= 3]
    for row in rng.choice(len(late), 60, replace=False):
        state, scores = late[row], toe.scores(late[row])
        for action, legal in enumerate(game.legal_mask(state)):
            if not legal:
                assert scores[action] == -np.inf
                continue
            value, moves = result(game, game.after(state, action), 1)
            assert scores[action] == -value * (game.max_moves + 1 - moves)


def test_a_side_that_moves_twice_keeps_its_sign() -> None:
    game = pile(9)
    solver = ExactSolver(game)
    twice = 0
    for key in solver.positions:
        state = np.frombuffer(key, np.int64)
        for action in np.flatnonzero(game.legal_mask(state)):
            after = game.after(state, int(action))
            value, moves = result(game, after, 1)
            value *= 1 if after[TO_MOVE] == state[TO_MOVE] else -1
            twice += after[TO_MOVE] == state[TO_MOVE] and after[STATUS] == ONGOING
            assert solver.scores(state)[action] == value * (game.max_moves + 1 - moves)
    assert twice > 5


def test_a_win_comes_fast_and_a_loss_slowly(toe: ExactSolver) -> None:
    game = envs.make("tic_tac_toe")
    wins = game.replay([0, 3, 1, 4])  # X completes the top row at 2
    assert toe.scores(wins).argmax() == 2
    assert (toe.scores(wins)[[5, 6, 7, 8]] < toe.scores(wins)[2]).all()
    # X threatens 0-4-8 and 2-4-6 (and 7 is O's): whatever O to move does, X completes a line two moves later.
    lost = game.replay([0, 1, 2, 7, 4])
    legal = game.legal_mask(lost)
    assert (toe.scores(lost)[legal] == -(game.max_moves + 1 - 2)).all()


def test_ended_and_impossible_positions_are_refused(toe: ExactSolver) -> None:
    game = envs.make("tic_tac_toe")
    with pytest.raises(ValueError, match="ended"):
        toe.scores(game.replay([0, 3, 1, 4, 2]))
    with pytest.raises(ValueError, match="no play leads"):
        toe.scores(np.full(game.state_size, 1))


def test_games_without_a_solver_are_refused_in_one_sentence() -> None:
    large = replace(envs.make("connect_four"), env_id="large")  # neither known by name nor tiny
    with pytest.raises(SolverError, match=r"^no solver is known for large") as refused:
        solver_for(large)
    assert isinstance(refused.value, ValueError) and "\n" not in str(refused.value)


def test_bitbully_is_imported_for_its_solver_only_and_named_when_missing() -> None:
    code = (
        "import sys, envs, rl.evaluation.truth as t, rl.evaluation.make_connect_four_truth\n"
        "from rl.evaluation.solver import solver_for\n"
        "t.TruthSet.load('connect_four')\n"
        "print([m for m in ('bitbully', 'torch', 'ray') if m in sys.modules])\n"
        "sys.modules['bitbully'] = None\n"  # its import then fails as if it were not installed
        "try: solver_for(envs.make('connect_four'))\n"
        "except ValueError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "the Connect Four solver needs BitBully: pip install 'fuseki[solver]'"]


@pytest.fixture(scope="module")
def four() -> ConnectFourSolver:
    pytest.importorskip("bitbully")
    return ConnectFourSolver()


def test_connect_four_facts(four: ConnectFourSolver) -> None:
    game = envs.make("connect_four")
    # Allis 1988, Tromp 1995: the middle wins, its neighbours draw, the others lose.
    assert four.action_values(game.initial_state()).tolist() == [-1, -1, 0, 1, 0, -1, -1]
    # The win takes the first player's 21st stone, the last but one of the board.
    assert four.scores(game.initial_state())[3] == 1
    full = game.replay([0, 0, 0, 0, 0, 0])
    assert four.scores(full)[0] == -np.inf and np.isfinite(four.scores(full)[1:]).all()
    with pytest.raises(ValueError, match="ended"):
        four.scores(game.replay([3, 0, 3, 0, 3, 0, 3]))


def test_connect_four_wins_fast_loses_slowly_and_mirrors(four: ConnectFourSolver) -> None:
    game = envs.make("connect_four")
    wins = game.replay([3, 0, 3, 0, 3, 1])  # X to move completes column 3
    assert four.scores(wins).argmax() == 3 and four.scores(wins)[3] == (42 - 6 + 1) // 2
    blocks = game.replay([3, 0, 3, 0, 3])  # O loses at once everywhere but at 3
    scores = four.scores(blocks)
    assert scores.argmax() == 3 and len(set(scores[[0, 1, 2, 4, 5, 6]])) == 1
    moves = [3, 3, 2, 4, 2, 2, 5, 1, 1, 0, 6, 6, 3]
    mirrored = four.scores(game.replay([6 - m for m in moves]))
    assert (four.scores(game.replay(moves)) == mirrored[::-1]).all()


def test_connect_four_scores_match_a_plain_search_with_distances(four: ConnectFourSolver) -> None:
    game = envs.make("connect_four")
    rng = np.random.default_rng(2)
    checked = 0
    while checked < 12:
        state = game.initial_state()
        while state[STATUS] == ONGOING and state[PLY] < 34:
            state = game.after(state, int(rng.choice(np.flatnonzero(game.legal_mask(state)))))
        if state[STATUS] != ONGOING:
            continue
        checked += 1
        scores = four.scores(state)
        for action in np.flatnonzero(game.legal_mask(state)):
            value, moves = result(game, game.after(state, int(action)), 1)
            # Counted in stones of the winner: a win with the last stone of the board is worth 1.
            end = int(state[PLY]) + moves
            assert scores[action] == -value * ((42 - end) // 2 + 1)


def test_action_values_of_scores() -> None:
    assert action_values(np.array([18.0, 0, -3, -np.inf])).tolist() == [1, 0, -1, ILLEGAL]
