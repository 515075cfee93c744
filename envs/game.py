"""The contract that every board game meets, and nothing else.

A game is one file of rules: four ``@njit`` functions on a flat ``int64`` state vector, gathered in a
:class:`Game`. The search receives those functions as *typed first-class functions*, so one compiled
search serves every game and numba's on-disk cache holds across processes; a game written by a user runs
at the same native speed as the ones that ship.

The state vector
----------------
``state[:HEADER]`` means the same in every game and is kept up to date by the rules:

* ``state[TO_MOVE]``  0 when the first player is to move, 1 when the second is; they need not alternate;
* ``state[STATUS]``   ONGOING, FIRST_WON, SECOND_WON or DRAW;
* ``state[PLY]``      moves played since the initial position (a pass is a move).

``state[HEADER:]`` belongs to the game. The vector must hold *everything* that the rules depend on (for Go:
the position history too), because the search copies it and nothing else.

What the rules may rely on: the arrays have the declared sizes but hold anything on entry, so ``init``, ``legal`` and
``planes`` must write every entry; ``legal`` is asked in ongoing states only, ``play`` is given legal actions only.
While a game is ongoing some action is legal: where a player cannot move, the game has a pass action or ``play`` hands
the move back. Compiled code checks no bounds, so a write outside an array corrupts memory silently;
``python -m envs.conformance my_game.py:attribute`` finds that and every other breach of this contract.

Games are two-player, zero-sum, deterministic, with perfect information.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numba import float32, float64, int8, int64, uint8, uint64, void
from numba.core.types import FunctionType

TO_MOVE, STATUS, PLY = 0, 1, 2
HEADER = 3
ONGOING, FIRST_WON, SECOND_WON, DRAW = 0, 1, 2, 3
MOVES_NAMED = 24  # legal moves that an error lists

# Signatures to declare the rules with: ``@njit(PLAY, cache=True)``.
INIT = void(int64[::1], int64[::1])  # init(state, params): write the initial position
LEGAL = void(int64[::1], uint8[::1])  # legal(state, mask): 1 where the action may be played, else 0
PLAY = void(int64[::1], int64)  # play(state, action): apply a legal action, update the header
PLANES = void(int64[::1], float32[:, :, ::1])  # planes(state, out[C, H, W]): fill every entry
PICK = int64(int64[::1], uint64[::1])  # pick(state, stream): a uniformly random legal action (envs.stream). Optional
TERRITORY = float64(int64[::1], int8[::1])  # territory(state, ownership[H·W]): score and owners of points. Optional

# The same, as the types by which compiled code accepts any game's rules.
InitFn, LegalFn, PlayFn, PlanesFn, PickFn = (FunctionType(s) for s in (INIT, LEGAL, PLAY, PLANES, PICK))


@dataclass(frozen=True, eq=False)
class Game:
    """Rules of one game and the shapes that follow from them.

    ``point_symmetries`` [K, H·W] and ``action_symmetries`` [K, A] describe the board's symmetries as index
    arrays, the identity first. Symmetry k turns planes x [C, H·W] into ``x[:, point_symmetries[k]]`` and an
    action vector p [A] into ``p[action_symmetries[k]]``. The search and the training targets rely on play
    commuting with it: same legal moves, same results. Give both or neither.
    """

    env_id: str
    title: str
    board_shape: tuple[int, int]  # (H, W) of the planes
    num_planes: int
    num_actions: int
    state_size: int  # words in the state vector, header included
    max_moves: int  # no game is longer
    init: Any  # @njit(INIT)
    legal: Any  # @njit(LEGAL)
    play: Any  # @njit(PLAY)
    planes: Any  # @njit(PLANES)
    render: Callable[[np.ndarray], str]  # state -> text for people
    # A uniformly random legal action, @njit(PICK), where that costs much less than the mask of all: for random play.
    pick: Any = None
    # Where points are owned at the end, @njit(TERRITORY): fills ownership with 1 (first player), -1 (second) or 0, and
    # returns the margin in points by which the first player is ahead, komi included. From any state, as it stands.
    territory: Any = None
    plane_names: tuple[str, ...] = ()
    # Every move puts a stone on a point that either side might take, and a stone never harms its owner (Gomoku, say):
    # a reply that wins at once would also have won if the other side had passed. The search's lookahead then looks for
    # winning replies once in a position, not after each of its moves.
    monotone: bool = False
    # What actions mean on the board, which lets a network's policy head follow any board size. "points": action i is
    # board point i, and actions from H·W on (a pass, a swap) concern the whole board. "columns": action i is
    # column i. "flat": no such relation.
    action_layout: Literal["points", "columns", "flat"] = "flat"
    params: tuple[int, ...] = ()  # handed to init: board size, komi, ...
    # What training plays instead of the one game above: (share, params) of each variant, which differ in the initial
    # state alone (a smaller board in the same array, another komi). Evaluation and play keep to ``params``.
    variants: tuple[tuple[float, tuple[int, ...]], ...] = ()
    # The plane that is 1 on the board and 0 beside it, given where some board is smaller than the array: networks then
    # let nothing outside take part, and answer as for an array of the board's size.
    board_plane: int | None = None
    point_symmetries: np.ndarray | None = None  # [K, H*W] int64; None: identity only
    action_symmetries: np.ndarray | None = None  # [K, A] int64
    action_names: Sequence[str] = field(default=())  # [A]; default: the numbers

    def __post_init__(self) -> None:
        cells = self.board_shape[0] * self.board_shape[1]
        if (self.point_symmetries is None) != (self.action_symmetries is None):
            raise ValueError(f"{self.env_id}: give point_symmetries and action_symmetries together, or neither")
        if self.point_symmetries is None:
            object.__setattr__(self, "point_symmetries", np.arange(cells)[None])
            object.__setattr__(self, "action_symmetries", np.arange(self.num_actions)[None])
        if not self.action_names:
            object.__setattr__(self, "action_names", tuple(str(a) for a in range(self.num_actions)))

    @property
    def plane_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one network input."""
        return (self.num_planes, *self.board_shape)

    def initial_state(self) -> np.ndarray:
        """A new initial state [state_size] int64."""
        state = np.zeros(self.state_size, np.int64)
        self.init(state, np.array(self.params, np.int64))
        return state

    def starts(self) -> tuple[np.ndarray, np.ndarray]:
        """Initial states [V, state_size] int64 of what training plays, and the share [V] of games of each."""
        variants = self.variants or ((1.0, self.params),)
        states = np.zeros((len(variants), self.state_size), np.int64)
        for state, (_, params) in zip(states, variants, strict=True):
            self.init(state, np.array(params, np.int64))
        return states, np.array([share for share, _ in variants])

    def legal_mask(self, state: np.ndarray) -> np.ndarray:
        """Legal actions [A] bool; all False when the game has ended."""
        mask = np.zeros(self.num_actions, np.uint8)
        if state[STATUS] == ONGOING:
            self.legal(state, mask)
        return mask.astype(bool)

    def after(self, state: np.ndarray, action: int) -> np.ndarray:
        """The state after a legal action; the argument stays as it was.

        Raises ValueError when the game has ended or the action is not legal.
        """
        if state[STATUS] != ONGOING:
            raise ValueError(f"the game has ended after {int(state[PLY])} moves; no further move can be played")
        mask = self.legal_mask(state)
        if not 0 <= action < self.num_actions or not mask[action]:
            legal = np.flatnonzero(mask)
            names = ", ".join(self.action_names[a] for a in legal[:MOVES_NAMED])
            more = f" and {len(legal) - MOVES_NAMED} more" if len(legal) > MOVES_NAMED else ""
            name = self.action_names[action] if 0 <= action < self.num_actions else str(action)
            raise ValueError(f"move {int(state[PLY]) + 1} ({name}) is not legal here; legal moves are: {names}{more}")
        state = state.copy()
        self.play(state, action)
        return state

    def replay(self, moves: Sequence[int]) -> np.ndarray:
        """The state after the given moves from the initial position. Raises ValueError as ``after`` does."""
        state = self.initial_state()
        for move in moves:
            state = self.after(state, int(move))
        return state

    def encode(self, states: np.ndarray) -> np.ndarray:
        """Network inputs [N, C, H, W] float32 of states [N, state_size]. Raises ValueError on another shape."""
        if states.ndim != 2 or states.shape[1] != self.state_size:
            raise ValueError(f"{self.env_id}: states must be [N, {self.state_size}], not {list(states.shape)}")
        out = np.zeros((len(states), *self.plane_shape), np.float32)
        for state, planes in zip(states, out, strict=True):
            self.planes(state, planes)
        return out


def outcome(state: np.ndarray) -> int:
    """Result of an ended game for the first player: 1 won, 0 drawn, -1 lost. Raises ValueError while it is ongoing."""
    if state[STATUS] == ONGOING:
        raise ValueError(f"the game has no outcome yet: it is ongoing after {int(state[PLY])} moves")
    return {FIRST_WON: 1, SECOND_WON: -1, DRAW: 0}[int(state[STATUS])]
