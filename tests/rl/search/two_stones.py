"""Tic-tac-toe where, after the first move, each side plays two stones in a row, as in Connect6.

params: (0,) three in a row wins; (1,) three in a row loses, so that a move can end the game against its own player.
"""

from numba import njit

from envs.game import DRAW, FIRST_WON, HEADER, INIT, LEGAL, PLANES, PLAY, PLY, STATUS, TO_MOVE, Game
from envs.symmetry import square

MISERE = HEADER  # a word of the state, before the cells
CELLS = HEADER + 1


@njit(INIT)
def init(state, params):
    state[:] = 0
    state[MISERE] = params[0]


@njit(LEGAL)
def legal(state, mask):
    for cell in range(9):
        mask[cell] = state[CELLS + cell] == 0


@njit(PLAY)
def play(state, action):
    mover = state[TO_MOVE]
    state[CELLS + action] = mover + 1
    state[PLY] += 1
    state[TO_MOVE] = ((state[PLY] + 1) // 2) % 2  # X, O O, X X, O O, ...
    row, column = action // 3, action % 3
    across = down = diagonal = anti = True
    for i in range(3):
        across &= state[CELLS + row * 3 + i] == mover + 1
        down &= state[CELLS + i * 3 + column] == mover + 1
        diagonal &= state[CELLS + i * 4] == mover + 1
        anti &= state[CELLS + 2 + i * 2] == mover + 1
    if across or down or diagonal or anti:
        state[STATUS] = FIRST_WON + (mover ^ state[MISERE])
    elif state[PLY] == 9:
        state[STATUS] = DRAW


@njit(PLANES)
def planes(state, out):
    own = state[TO_MOVE] + 1
    for cell in range(9):
        stone = state[CELLS + cell]
        out[0, cell // 3, cell % 3] = stone == own
        out[1, cell // 3, cell % 3] = stone == 3 - own
        out[2, cell // 3, cell % 3] = state[PLY] % 2  # whether the side to move has another stone after this one


def render(state):
    return "\n".join(" ".join(".XO"[stone] for stone in state[CELLS + row : CELLS + row + 3]) for row in (0, 3, 6))


def two_stones(misere: bool = False) -> Game:
    return Game(
        env_id="two_stones",
        title="Two stones",
        board_shape=(3, 3),
        num_planes=3,
        num_actions=9,
        state_size=CELLS + 9,
        max_moves=9,
        init=init,
        legal=legal,
        play=play,
        planes=planes,
        render=render,
        params=(int(misere),),
        point_symmetries=square(3),
        action_symmetries=square(3),
    )
