"""Go on any board from 5×5 to 19×19: area scoring, positional superko, komi in half points.

Tromp and Taylor's rules: a player may not bring back an earlier position of the board (a pass is always allowed), two
passes in a row end the game, and a player's score is the number of their stones and of the empty points that reach only
their colour. Suicide of several stones is an option; suicide of one stone changes nothing on the board, so superko
forbids it always. A game is also over, and counted as it stands, after ``max_moves``.

Actions are vertices row-major from the top left, then the pass. A board may be smaller than the array that it lies in
(``board`` < ``size``): it takes the top left corner, so that one network input holds boards of several sizes.

How the board is kept
---------------------
One word a point, on a grid with a border of one: colour, chain (named by one of its stones), next stone of the chain
(a ring), and whether a stone of either colour was ever removed here. A chain's liberties are kept as
*pseudo-liberties*: the number, the sum and the sum of squares of the empty points beside its stones, each counted once
for every stone beside it. The chain is in atari exactly where number · squares = sum² (Cauchy and Schwarz: all points
are the same one), and taking or giving a liberty is one addition.

Superko compares 64-bit Zobrist hashes: in a game of 1,000 moves with 361 candidates each, a wrong match has a
probability of about 10⁻¹¹. A move can repeat a position only where a stone of its colour was removed from that point
before, which leaves few points to look at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import int64, njit, uint8, uint32, uint64, void

from envs.game import (
    DRAW,
    FIRST_WON,
    HEADER,
    INIT,
    LEGAL,
    ONGOING,
    PICK,
    PLANES,
    PLAY,
    PLY,
    SECOND_WON,
    STATUS,
    TERRITORY,
    TO_MOVE,
    Game,
)
from envs.stream import draw_below
from envs.symmetry import square

SIZE, BOARD, KOMI2, SUICIDE, LIMIT = HEADER, HEADER + 1, HEADER + 2, HEADER + 3, HEADER + 4
PASSES, HASH, LAST = HEADER + 5, HEADER + 6, HEADER + 7  # LAST: the latest moves, newest first, -1 for none
RECENT = 3
FREE = LAST + RECENT  # a bit for every action whose point is empty, and for the pass
GRID = FREE + 6  # words of points, then words of liberties, then hashes of all positions so far

EMPTY, BORDER = 0, 3  # colours; 1 and 2 are the first and the second player
# Of a point's word: mask of the colour; 1 shifted by these for each field, whose mask is FIELD once shifted down.
COLOUR, NEXT, HEAD, STONES, FIELD = 3, 4, 14, 24, 1023
REMOVED, EVER_REMOVED = 2, 0b1100  # REMOVED << colour: set where a stone of that colour was ever removed
SUM, COUNT = 30, 52  # shifts of a liberty word; squares lie in the lowest bits

LIFT = void(int64[::1], uint8[::1])
SIZES = range(5, 20)
NUM_PLANES = 14
KOMI_SCALE = 15.0  # points
LAST_MOVES = 40  # from this many moves before the limit on, planes tell how near it is
LETTERS = "ABCDEFGHJKLMNOPQRST"

COMPILED_IN = "feaf9c58c3580108"  # of other files: see rl/search/kernels.py


# Functions below name a point by its index in the state vector, and are handed the state alone: numba counts every
# array that is sliced out of another by an atomic operation, which made ``legal`` eight times as slow.


@njit
def width_of(state):
    """Points from one row of the grid to the next: one border column serves as left and right."""
    return state[SIZE] + 1


@njit
def grid_size(width):
    """Words of a grid, which has a border row above and below."""
    return (width + 1) * width


@njit(forceinline=True)
def point_of(action, width):
    # 32-bit: random play asks often, and a 64-bit division takes several times as long.
    return GRID + width + action + int64(uint32(action) // uint32(width - 1))


@njit
def point_at(row, column, width):
    return GRID + (row + 1) * width + column


@njit(forceinline=True)
def neighbours(point, width):
    return point - 1, point + 1, point - width, point + width


@njit
def action_of(point, width):
    index = point - GRID - width
    return index - int64(uint32(index) // uint32(width))


@njit
def head_of(word):
    return (word >> HEAD) & FIELD


@njit
def next_of(word):
    return (word >> NEXT) & FIELD


@njit
def liberty(point):
    """What one empty point adds to the liberty word of a chain beside it."""
    return (1 << COUNT) + (point << SUM) + point * point


@njit(forceinline=True)
def in_atari(word):
    """True when all pseudo-liberties (at least one) are the same point."""
    total = (word >> SUM) & ((1 << (COUNT - SUM)) - 1)
    return (word >> COUNT) * (word & ((1 << SUM) - 1)) == total * total


@njit
def zobrist(point, colour):
    """Hash of a stone: the finalizer of splitmix64 (Steele, Lea and Flood 2014)."""
    z = uint64(2 * point + colour) * uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> uint64(27))) * uint64(0x94D049BB133111EB)
    return int64(z ^ (z >> uint64(31)))


@njit
def chain_hash(state, head):
    """Hash of all stones of a chain."""
    colour, total, stone = state[head] & COLOUR, int64(0), head
    while True:
        total ^= zobrist(stone, colour)
        stone = next_of(state[stone])
        if stone == head:
            return total


@njit
def first_beside(state, point, i, head, width):
    """True when none of the neighbours before the i-th belongs to the chain ``head``."""
    for j in range(i):
        beside = state[neighbours(point, width)[j]]
        if 0 < beside & COLOUR < BORDER and head_of(beside) == head:
            return False
    return True


@njit
def repeats(state, point, colour):
    """True when a stone of ``colour`` at ``point`` would bring back an earlier position of the board."""
    width = width_of(state)
    grid = grid_size(width)
    after = state[HASH] ^ zobrist(point, colour)
    alive = False
    for i in range(4):
        beside = state[neighbours(point, width)[i]]
        kind, head = beside & COLOUR, head_of(beside)
        if kind == EMPTY:
            alive = True
        elif kind != BORDER and in_atari(state[grid + head]) == (kind != colour):
            alive = True
            if kind != colour and first_beside(state, point, i, head, width):
                after ^= chain_hash(state, head)
    if not alive:  # suicide
        after ^= zobrist(point, colour)
        for i in range(4):
            beside = state[neighbours(point, width)[i]]
            if beside & COLOUR == colour and first_beside(state, point, i, head_of(beside), width):
                after ^= chain_hash(state, head_of(beside))
    found = False
    first = GRID + 2 * grid
    for i in range(first, first + state[PLY] + 1):
        found |= state[i] == after
    return found


@njit(forceinline=True)
def supports(state, beside, colour, width):
    """True when a stone of ``colour`` next to the point ``beside`` has a liberty by it, or takes it."""
    word = state[beside]
    kind = word & COLOUR
    if kind == EMPTY:
        return True
    if kind == BORDER:
        return False
    return in_atari(state[grid_size(width) + head_of(word)]) == (kind != colour)


@njit(forceinline=True)
def lives(state, point, colour, width):
    """True when a stone of ``colour`` on the empty ``point`` would have a liberty, after captures."""
    left, right, up, down = neighbours(point, width)
    return (
        supports(state, left, colour, width)
        or supports(state, right, colour, width)
        or supports(state, up, colour, width)
        or supports(state, down, colour, width)
    )


@njit(forceinline=True)
def is_plain(state, point, colour, living):
    """True when liberties alone decide: no repetition is possible at ``point``, and no suicide allowed."""
    return state[SUICIDE] == 0 if not living else state[point] & (REMOVED << colour) == 0


@njit
def allowed_rarely(state, point, colour, living, width):
    """Whether the rules allow a move that is not plain."""
    if not living:
        joins = False
        for beside in neighbours(point, width):
            joins |= state[beside] & COLOUR == colour
        if not joins:
            return False
    return not repeats(state, point, colour)


@njit
def join(state, one, other, width):
    """Unite two chains; returns the head of the union. The smaller one is renamed."""
    if (state[one] >> STONES) < (state[other] >> STONES):
        one, other = other, one
    stone = other
    while True:
        state[stone] = (state[stone] & ~(FIELD << HEAD)) | (one << HEAD)
        stone = next_of(state[stone])
        if stone == other:
            break
    stones = state[other] >> STONES
    state[other] &= (1 << STONES) - 1
    state[one] += stones << STONES
    # Two rings become one by exchanging the successors of one stone of each.
    exchanged = (state[one] ^ state[other]) & (FIELD << NEXT)
    state[one] ^= exchanged
    state[other] ^= exchanged
    grid = grid_size(width)
    state[grid + one] += state[grid + other]
    return one


@njit
def remove_chain(state, head, width):
    """Take a chain off the board."""
    grid = grid_size(width)
    colour, stone = state[head] & COLOUR, head
    while True:
        following = next_of(state[stone])
        state[HASH] ^= zobrist(stone, colour)
        state[stone] = (state[stone] & EVER_REMOVED) | (REMOVED << colour)
        action = action_of(stone, width)
        state[FREE + (action >> 6)] |= 1 << (action & 63)
        for near in neighbours(stone, width):
            beside = state[near]
            if beside & COLOUR == BORDER - colour:
                state[grid + head_of(beside)] += liberty(stone)
        stone = following
        if stone == head:
            return


@njit
def put_stone(state, action, colour, width):
    grid, point = grid_size(width), point_of(action, width)
    state[FREE + (action >> 6)] &= ~(1 << (action & 63))
    own = int64(0)
    for near in neighbours(point, width):
        beside = state[near]
        if beside & COLOUR == EMPTY:
            own += liberty(near)
        elif beside & COLOUR != BORDER:
            state[grid + head_of(beside)] -= liberty(point)
    state[point] = (state[point] & EVER_REMOVED) | colour | (point << NEXT) | (point << HEAD) | (1 << STONES)
    state[grid + point] = own
    state[HASH] ^= zobrist(point, colour)
    head = point
    for near in neighbours(point, width):
        beside = state[near]
        other = head_of(beside)
        if beside & COLOUR == colour and other != head:
            head = join(state, head, other, width)
        elif beside & COLOUR == BORDER - colour and state[grid + other] == 0:
            remove_chain(state, other, width)
    if state[grid + head] == 0:
        remove_chain(state, head, width)


@njit
def area(state, owner):
    """Points of the first player minus those of the second, komi apart.

    Fills ``owner`` [GRID + grid] with 1 and 2 for the players' stones and for empty points that reach only their
    colour; others get 0 or 3.
    """
    width = width_of(state)
    first, last = GRID + width, GRID + (state[BOARD] + 1) * width
    margin = int64(0)
    for point in range(GRID, GRID + grid_size(width)):
        colour = state[point] & COLOUR
        owner[point] = EMPTY if colour == BORDER else colour
    changed = True
    while changed:  # colours spread through empty points until nothing changes
        changed = False
        for i in range(2 * (last - first)):
            point = first + i if i < last - first else 2 * last - first - 1 - i  # forth, then back
            if state[point] & COLOUR == EMPTY:
                left, right, up, down = neighbours(point, width)
                seen = owner[point] | owner[left] | owner[right] | owner[up] | owner[down]
                changed |= seen != owner[point]
                owner[point] = seen
    for point in range(first, last):
        margin += (owner[point] == 1) - int64(owner[point] == 2)
    return margin


@njit
def count_liberties(state, liberties):
    """Fill ``liberties`` [GRID + grid], of zeros, with those of each chain, at the chain's head."""
    width = width_of(state)
    for point in range(GRID + width, GRID + (state[BOARD] + 1) * width):
        if state[point] & COLOUR != EMPTY:
            continue
        left, right, up, down = neighbours(point, width)
        a, b, c, d = head_of(state[left]), head_of(state[right]), head_of(state[up]), head_of(state[down])
        liberties[a] += 1  # 0, where there is no chain, has a place that nobody reads
        liberties[b] += b != a
        liberties[c] += (c != a) & (c != b)
        liberties[d] += (d != a) & (d != b) & (d != c)


@njit(INIT, cache=True)
def init(state, params):
    state[:] = 0
    state[SIZE], state[BOARD], state[KOMI2], state[SUICIDE], state[LIMIT] = params
    state[LAST : LAST + RECENT] = -1
    width = width_of(state)
    state[GRID : GRID + grid_size(width)] = BORDER
    for row in range(state[BOARD]):
        for column in range(state[BOARD]):
            state[point_at(row, column, width)] = EMPTY
            action = row * state[SIZE] + column
            state[FREE + (action >> 6)] |= 1 << (action & 63)
    action = state[SIZE] * state[SIZE]
    state[FREE + (action >> 6)] |= 1 << (action & 63)


@njit(PICK, cache=True)
def pick(state, stream):
    width, colour, actions = width_of(state), state[TO_MOVE] + 1, state[SIZE] * state[SIZE] + 1
    while True:
        action = draw_below(stream, actions)
        if (state[FREE + (action >> 6)] >> (action & 63)) & 1 == 0:
            continue
        if action == actions - 1:
            return action
        point = point_of(action, width)
        living = lives(state, point, colour, width)
        if is_plain(state, point, colour, living):
            if living:
                return action
        elif allowed_rarely(state, point, colour, living, width):
            return action


@njit(LEGAL, cache=True)
def legal(state, mask):
    size, width, colour = state[SIZE], width_of(state), state[TO_MOVE] + 1
    grid = grid_size(width)
    helps = np.empty(grid, np.uint8)  # 1 where a stone beside has a liberty: the point is empty, or as in ``supports``
    rare = state[SUICIDE]  # not 0: some point is not plain
    for i in range(grid):
        word = state[GRID + i]
        kind = word & COLOUR
        atari = in_atari(state[grid + head_of(word)])  # of what is no chain: nonsense that is not used
        helps[i] = (kind == EMPTY) | ((kind != BORDER) & (atari == (kind != colour)))
        rare |= int64(kind == EMPTY) & (word >> (colour + 1))  # REMOVED << colour
    for row in range(size):
        for column in range(size):
            i = (row + 1) * width + column
            living = helps[i - 1] | helps[i + 1] | helps[i - width] | helps[i + width]
            mask[row * size + column] = living & (state[GRID + i] & COLOUR == EMPTY)
    mask[size * size] = 1
    if rare == 0:
        return
    for row in range(size):
        for column in range(size):
            point = point_at(row, column, width)
            if state[point] & COLOUR == EMPTY:
                living = mask[row * size + column] == 1
                if not is_plain(state, point, colour, living):
                    mask[row * size + column] = allowed_rarely(state, point, colour, living, width)


@njit(PLAY, cache=True)
def play(state, action):
    size, width = state[SIZE], width_of(state)
    grid = grid_size(width)
    if action == size * size:
        state[PASSES] += 1
    else:
        state[PASSES] = 0
        put_stone(state, action, state[TO_MOVE] + 1, width)
    for i in range(RECENT - 1, 0, -1):
        state[LAST + i] = state[LAST + i - 1]
    state[LAST] = action
    state[PLY] += 1
    state[TO_MOVE] = 1 - state[TO_MOVE]
    state[GRID + 2 * grid + state[PLY]] = state[HASH]
    if state[PASSES] == 2 or state[PLY] == state[LIMIT]:
        margin = 2 * area(state, np.empty(GRID + grid, np.int8)) - state[KOMI2]
        state[STATUS] = FIRST_WON if margin > 0 else SECOND_WON if margin < 0 else DRAW
    else:
        state[STATUS] = ONGOING


@njit(TERRITORY, cache=True)
def territory(state, ownership):
    size, board, width = state[SIZE], state[BOARD], width_of(state)
    owner = np.empty(GRID + grid_size(width), np.int8)
    margin = area(state, owner)
    ownership[:] = 0
    for row in range(board):
        for column in range(board):
            kind = owner[point_at(row, column, width)]
            ownership[row * size + column] = (kind == 1) - int64(kind == 2)
    return margin - 0.5 * state[KOMI2]


@njit(LIFT, cache=True)
def lift(state, points):
    """Take the chains off that have a stone where ``points`` [H·W] is not 0: for counting, not for playing on."""
    width = width_of(state)
    for action in range(state[SIZE] * state[SIZE]):
        word = state[point_of(action, width)]
        if points[action] != 0 and 0 < word & COLOUR < BORDER:
            remove_chain(state, head_of(word), width)


@njit(forceinline=True)
def fill_board(out, plane, value, board):
    for row in range(board):
        for column in range(board):
            out[plane, row, column] = value


@njit(PLANES, cache=True)
def planes(state, out):
    size, board, width, colour = state[SIZE], state[BOARD], width_of(state), state[TO_MOVE] + 1
    komi, left = state[KOMI2] / (2 * KOMI_SCALE), state[LIMIT] - state[PLY]
    out[:] = 0.0
    fill_board(out, 0, 1.0, board)
    fill_board(out, 11, komi if colour == 2 else -komi, board)
    if state[LAST] == size * size:
        fill_board(out, 10, 1.0, board)
    if state[SUICIDE] != 0:
        fill_board(out, 12, 1.0, board)
    if left < LAST_MOVES:
        fill_board(out, 13, 1.0 - left / LAST_MOVES, board)
    liberties = np.zeros(GRID + grid_size(width), np.uint8)  # at most 241 on 19×19
    count_liberties(state, liberties)
    for row in range(board):
        for column in range(board):
            point = point_at(row, column, width)
            word = state[point]
            kind = word & COLOUR
            if kind != EMPTY:
                count = liberties[head_of(word)]
                out[1 if kind == colour else 2, row, column] = 1.0
                out[2 + count if count < 4 else 0, row, column] = 1.0  # plane 0 has it already: no branch is faster
            elif word & (REMOVED << colour) != 0 and lives(state, point, colour, width):
                out[6, row, column] = repeats(state, point, colour)
    for i in range(RECENT):
        action = state[LAST + i]
        if 0 <= action < size * size:
            out[7 + i, action // size, action % size] = 1.0


def forget_pass(state: np.ndarray) -> None:
    """Make the pass just played one that never was, but for whose turn it is: it does not count towards the end.

    For clients that have one side play twice, between which our rules need a pass.
    """
    state[PASSES] = 0
    state[LAST] = -1


def vertex_names(size: int, board: int) -> tuple[str, ...]:
    """Names of all actions: "A9" is the top left vertex of a 9×9 board; letters leave out I."""
    names = [
        f"{LETTERS[column]}{board - row}" if row < board and column < board else f"off the board ({row}, {column})"
        for row in range(size)
        for column in range(size)
    ]
    return (*names, "pass")


def render(state: np.ndarray) -> str:
    board = int(state[BOARD])
    letters = "   " + " ".join(LETTERS[:board])
    lines = [letters]
    for row in range(board):
        stones = [".XO"[state[point_at(row, column, int(width_of(state)))] & COLOUR] for column in range(board)]
        lines.append(f"{board - row:2d} {' '.join(stones)} {board - row}")
    return "\n".join([*lines, letters])


def _params(size: int, board: int | None, komi: float, suicide: bool, max_moves: int | None) -> tuple[int, ...]:
    """What ``init`` is handed. Raises ValueError for values out of range."""
    board = size if board is None else board
    max_moves = 3 * board * board if max_moves is None else max_moves
    if size not in SIZES:
        raise ValueError(f"go is played on 5 to 19 lines, not {size}")
    if board not in SIZES or board > size:
        raise ValueError(f"go: board={board} must be between 5 and the array's {size}")
    if not (komi * 2) % 1 == 0 or abs(komi) > size * size:
        raise ValueError(f"go: komi={komi} must be a whole or half number of at most {size * size} points")
    if suicide not in (True, False):
        raise ValueError(f"go: suicide={suicide!r} must be true or false")
    if max_moves < 2:
        raise ValueError(f"go: max_moves={max_moves} must be 2 or more")
    return size, board, int(komi * 2), int(suicide), max_moves


def _variant(
    size: int, komi: float, suicide: bool, max_moves: int | None, variant: dict[str, Any]
) -> tuple[float, tuple[int, ...]]:
    """Share and parameters of a variant; what it leaves out is as in the game itself."""
    unknown = sorted(set(variant) - {"share", "board", "komi"})
    if unknown:
        raise ValueError(f"go: a variant has share, board and komi, not {', '.join(map(repr, unknown))}")
    share = variant.get("share", 1.0)
    if not share > 0:
        raise ValueError(f"go: the share of a variant must be above 0, not {share!r}")
    return float(share), _params(size, variant.get("board"), variant.get("komi", komi), suicide, max_moves)


def go(
    size: int = 9,
    board: int | None = None,
    komi: float = 7.0,
    suicide: bool = False,
    max_moves: int | None = None,
    variants: Sequence[dict[str, Any]] = (),
) -> Game:
    """Go in a ``size`` × ``size`` array on a board of ``board`` × ``board`` points (default: all of it).

    ``komi`` is in points, whole or half; ``max_moves`` defaults to three times the points of the board. ``variants``,
    such as ``[{"share": 3}, {"board": 7, "komi": 9}]``, are what training plays instead, randomly by their shares
    (1 each unless given): boards and komi mixed in one batch (Wu 2019, §4.2 and appendix D).
    Raises ValueError for values out of range.
    """
    params = _params(size, board, komi, suicide, max_moves)
    mixed = tuple(_variant(size, komi, suicide, max_moves, variant) for variant in variants)
    longest = max(p[4] for p in (params, *(p for _, p in mixed)))
    smallest = min(p[1] for p in (params, *(p for _, p in mixed)))
    board = params[1]
    symmetries = square(size)
    return Game(
        env_id=f"go{size}",
        title=f"Go {board}×{board}",
        board_shape=(size, size),
        num_planes=NUM_PLANES,
        num_actions=size * size + 1,
        state_size=GRID + 2 * (size + 2) * (size + 1) + longest + 1,
        max_moves=longest,
        init=init,
        legal=legal,
        play=play,
        planes=planes,
        territory=territory,
        pick=pick,
        render=render,
        plane_names=(
            "on the board",
            "stones of the side to move",
            "stones of the other side",
            "stones of chains with one liberty",
            "stones of chains with two liberties",
            "stones of chains with three liberties",
            "points that superko forbids",
            "latest move",
            "move before it",
            "move before that",
            "ones after a pass",
            f"komi in favour of the side to move, in units of {KOMI_SCALE:g} points",
            "ones when suicide is allowed",
            f"nearness of the move limit: 0 until {LAST_MOVES} moves before it, then rising to 1",
        ),
        action_layout="points",
        params=params,
        variants=mixed,
        board_plane=0 if smallest < size else None,
        point_symmetries=symmetries,
        action_symmetries=np.hstack([symmetries, np.full((8, 1), size * size)]),
        action_names=vertex_names(size, board),
    )
