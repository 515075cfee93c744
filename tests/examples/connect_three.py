"""Connect Three on 4 rows × 5 columns: a user's own game, in one file outside the package.

    python -m envs.conformance connect_three.py:connect_three

Actions are columns, 0 at the left. state[HEADER + cell], row-major from the top: 0 empty, 1 first
player's stone, 2 second player's.
"""

from numba import njit

from envs.game import DRAW, FIRST_WON, HEADER, INIT, LEGAL, PLANES, PLAY, PLY, STATUS, TO_MOVE, Game
from envs.symmetry import mirror

ROWS, COLUMNS = 4, 5


@njit(INIT, cache=True)
def init(state, params):
    state[:] = 0


@njit(LEGAL, cache=True)
def legal(state, mask):
    for column in range(COLUMNS):
        mask[column] = state[HEADER + column] == 0  # the top cell is empty


@njit(PLAY, cache=True)
def play(state, action):
    board = state[HEADER:].reshape(ROWS, COLUMNS)
    stone = state[TO_MOVE] + 1
    row = ROWS - 1
    while board[row, action] != 0:
        row -= 1
    board[row, action] = stone
    state[TO_MOVE] = 1 - state[TO_MOVE]
    state[PLY] += 1
    if state[PLY] == ROWS * COLUMNS:
        state[STATUS] = DRAW
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        run = 0
        for step in range(-2, 3):
            r, c = row + step * down, action + step * right
            inside = 0 <= r < ROWS and 0 <= c < COLUMNS
            run = run + 1 if inside and board[r, c] == stone else 0
            if run == 3:
                state[STATUS] = FIRST_WON + stone - 1


@njit(PLANES, cache=True)
def planes(state, out):
    board = state[HEADER:].reshape(ROWS, COLUMNS)
    own = state[TO_MOVE] + 1
    for row in range(ROWS):
        for column in range(COLUMNS):
            out[0, row, column] = board[row, column] == own
            out[1, row, column] = board[row, column] == 3 - own
            out[2, row, column] = 1.0  # marks the board's edge


def render(state):
    return "\n".join(" ".join(".XO"[stone] for stone in row) for row in state[HEADER:].reshape(ROWS, COLUMNS))


def connect_three() -> Game:
    return Game(
        env_id="connect_three",
        title="Connect Three",
        board_shape=(ROWS, COLUMNS),
        num_planes=3,
        num_actions=COLUMNS,
        state_size=HEADER + ROWS * COLUMNS,
        max_moves=ROWS * COLUMNS,
        init=init,
        legal=legal,
        play=play,
        planes=planes,
        render=render,
        action_layout="columns",
        point_symmetries=mirror(ROWS, COLUMNS),
        action_symmetries=mirror(1, COLUMNS),
    )
