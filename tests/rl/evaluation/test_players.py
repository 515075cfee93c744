"""Players choose legal moves, and their names are understood or refused in one sentence."""

import numpy as np
import pytest

import envs
from envs.game import ONGOING, STATUS
from rl.evaluation.players import EvaluationError, Opponent, RandomPlayer, SolverPlayer, make_player, parse_opponent


@pytest.mark.parametrize(
    ("text", "opponent"),
    [
        ("random", Opponent("random", "random")),
        ("mcts:400", Opponent("mcts", "mcts:400", 400)),
        ("solver", Opponent("solver", "solver")),
        ("runs/mine", Opponent("agent", "runs/mine")),
        ("C:\\agent.safetensors", Opponent("agent", "C:\\agent.safetensors")),
    ],
)
def test_names_are_taken_apart(text: str, opponent: Opponent) -> None:
    assert parse_opponent(text) == opponent


@pytest.mark.parametrize("text", ["mcts", "mcts:", "mcts:0", "mcts:-5", "mcts:many", "mcts:²", "random:3"])
def test_miswritten_names_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(EvaluationError) as refused:
        make_player(text, envs.make("tic_tac_toe"))
    assert repr(text) in str(refused.value) and "\n" not in str(refused.value)


def test_random_player_plays_every_legal_move_and_no_other() -> None:
    game = envs.make("connect_four")
    state = game.replay([0, 0, 0, 0, 0, 0])  # column 0 is full
    counts = np.bincount(RandomPlayer(game, seed=1).actions(np.repeat(state[None], 3000, 0)), minlength=7)
    assert counts[0] == 0
    # 500 expected a column, with a standard deviation of 20.
    assert (np.abs(counts[1:] - 500) < 100).all()


def test_solver_player_takes_the_best_and_varies_among_equals() -> None:
    game = envs.make("tic_tac_toe")
    worth = np.array([-np.inf, 1.0, 3.0, 3.0, 0, 0, 0, 0, 3.0])
    player = SolverPlayer(game, lambda state: worth, seed=0)
    chosen = player.actions(np.repeat(game.replay([0])[None], 200, 0))
    assert set(chosen.tolist()) == {2, 3, 8}


@pytest.mark.parametrize("text", ["random", "mcts:20"])
@pytest.mark.parametrize("env_id", list(envs.GAMES))
def test_made_players_stay_within_the_rules(text: str, env_id: str) -> None:
    game = envs.make(env_id)
    player = make_player(text, game, seed=3)
    states = [game.initial_state() for _ in range(8)]
    assert player.name == text
    while states:
        chosen = player.actions(np.stack(states), [()] * len(states))  # none of these looks at the moves
        states = [game.after(state, int(action)) for state, action in zip(states, np.asarray(chosen), strict=True)]
        states = [state for state in states if state[STATUS] == ONGOING]
