"""Does a game keep the contract of :mod:`envs.game`? The public check, for shipped games and users' own.

    from envs.conformance import check_game
    check_game(make("my_game.py:connect_three"))

or, from a shell, ``python -m envs.conformance my_game.py:connect_three``: one line, exit status 0 when the game
conforms, 2 when it does not or cannot be loaded.

What is checked, on random games from one seed:

* declaration: shapes, names and action layout fit together; the four rules are compiled for the declared signatures;
* ``init`` writes every word of the state vector, and the game starts ongoing at ply 0;
* ``play`` keeps the header: TO_MOVE is 0 or 1, and not always the same; STATUS is one of the four; PLY counts moves;
* ``legal`` writes 0 or 1 into every entry, at least one 1 while the game is ongoing; ``planes`` writes a finite number
  into every entry (both are handed poisoned arrays, since the search hands them reused ones);
* the rules write nowhere outside their arrays, and ``legal``, ``planes`` and ``render`` leave the state as it was;
* the state vector holds all that the rules depend on: copies of a state between different neighbours in memory evolve
  equally, and a game replayed later gives the same states;
* no game is longer than ``max_moves``;
* each symmetry is a permutation, the first the identity, and playing commutes with it: in the transformed game the
  transformed moves are legal and give the transformed planes;
* in a game that is declared ``monotone``, a stone that wins would also have won if the loser had passed before it;
* planes do not hide the side to move. Only the certain case is an error: the planes of a state are the same whichever
  side is to move, although a move wins for one side and not for the other. That planes are *drawn* from the side to
  move's point of view cannot be seen from outside and stays the author's duty.

Passing shows that the rules are consistent, not that they are the rules you meant: write golden games for that.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numba.core.dispatcher import Dispatcher

from envs import make
from envs.game import (
    DRAW,
    FIRST_WON,
    HEADER,
    INIT,
    LEGAL,
    ONGOING,
    PLANES,
    PLAY,
    PLY,
    SECOND_WON,
    STATUS,
    TO_MOVE,
    Game,
)

# Guard words on each side of every array that the rules are given: as many as the array holds, within these bounds,
# because a wrong size (one plane too few) is overrun by that much.
LEAST_GUARD, MOST_GUARD = 64, 4096
MASK_POISON = (2, 3)  # neither is a value that legal may write
PLANE_POISON = (np.float32(np.nan), np.float32(-12345.0))
MOVES_SHOWN = 16


class ConformanceError(AssertionError):
    """One sentence: which rule of the contract is broken, and where."""


@dataclass(frozen=True)
class Report:
    """What the random games of a conforming game were like: for information, no judgement."""

    games: int
    moves: int
    first_wins: int
    second_wins: int
    draws: int
    shortest: int  # moves of the shortest game
    longest: int  # moves of the longest game
    same_side_again: int  # moves after which the same side was to move: 0 except where a turn can be skipped


def check_game(game: Game, games: int = 200, seed: int = 0) -> Report:
    """Play ``games`` random games and check the contract at every move (see the module's list).

    Raises ConformanceError at the first rule found broken, ValueError when ``games`` is not positive.
    The same seed plays the same games.
    """
    if games < 1:
        raise ValueError(f"games must be 1 or more, not {games}")
    _check_declaration(game)
    rng = np.random.default_rng(seed)
    rules = _GuardedRules(game, rng)
    assert game.point_symmetries is not None
    symmetries = len(game.point_symmetries)
    played = [_random_game(rules, rng, symmetry=g % symmetries) for g in range(games)]
    lengths = [len(states) - 1 for states in played]
    rules.moves = []
    sides = {int(state[TO_MOVE]) for states in played for state in states}
    if max(lengths) > 1 and len(sides) == 1:
        raise rules.broken(f"state[TO_MOVE] stays {sides.pop()} in every game")
    endings = [int(states[-1][STATUS]) for states in played]
    return Report(
        games=games,
        moves=sum(lengths),
        first_wins=endings.count(FIRST_WON),
        second_wins=endings.count(SECOND_WON),
        draws=endings.count(DRAW),
        shortest=min(lengths),
        longest=max(lengths),
        same_side_again=sum(
            int(after[STATUS] == ONGOING and after[TO_MOVE] == before[TO_MOVE])
            for states in played
            for before, after in pairwise(states)
        ),
    )


def _check_declaration(game: Game) -> None:
    """Everything that can be told without playing. Raises ConformanceError."""

    def require(condition: bool, sentence: str) -> None:
        if not condition:
            raise ConformanceError(f"{game.env_id or 'game'}: {sentence}")

    require(bool(game.env_id) and bool(game.title), "env_id and title must not be empty")
    height, width = game.board_shape
    cells, actions = height * width, game.num_actions
    require(min(height, width) >= 1, "board_shape must be positive")
    for name in ("num_planes", "num_actions", "max_moves"):
        require(getattr(game, name) >= 1, f"{name} must be positive")
    require(game.state_size >= HEADER, f"state_size is {game.state_size}, less than the {HEADER} header words")
    for name, signature in (("init", INIT), ("legal", LEGAL), ("play", PLAY), ("planes", PLANES)):
        rule = getattr(game, name)
        remedy = f"decorate it with @njit({name.upper()}, cache=True)"
        require(isinstance(rule, Dispatcher), f"{name} is a {type(rule).__name__}, not a compiled rule: {remedy}")
        compiled = [s.args for s in rule.nopython_signatures]
        require(signature.args in compiled, f"{name} is compiled for {compiled}, not for {signature.args}: {remedy}")
    names = list(game.action_names)
    require(len(names) == actions, f"action_names has {len(names)} names for {actions} actions")
    # The command line and the terminal compare names without regard to case.
    require(len({str(n).lower() for n in names}) == actions, "action_names must differ from each other")
    planes = len(game.plane_names)
    require(planes in (0, game.num_planes), f"plane_names has {planes} names for {game.num_planes} planes")
    layout = game.action_layout
    require(layout in ("points", "columns", "flat"), f"action_layout {layout!r} is none of points, columns, flat")
    require(layout != "points" or actions >= cells, f"layout points needs {cells} actions or more, not {actions}")
    require(layout != "columns" or actions == width, f"layout columns needs {width} actions, not {actions}")

    points, moves = np.asarray(game.point_symmetries), np.asarray(game.action_symmetries)
    for name, array, size in (("point_symmetries", points, cells), ("action_symmetries", moves, actions)):
        fits = array.ndim == 2 and len(array) >= 1 and array.shape[1] == size and array.dtype.kind in "iu"
        require(fits, f"{name} must be integers of shape [K, {size}], not {array.dtype} {list(array.shape)}")
        require(bool((array[0] == np.arange(size)).all()), f"{name}[0] must be the identity")
        for k, row in enumerate(array):
            require(bool((np.sort(row) == np.arange(size)).all()), f"{name}[{k}] is not a permutation of 0..{size - 1}")
    require(len(points) == len(moves), f"{len(points)} point_symmetries but {len(moves)} action_symmetries")
    # A policy head that follows the board (one logit a point, or a column) relies on actions moving with the points.
    if layout == "points":
        require(np.array_equal(moves[:, :cells], points), "layout points, but an action does not move with its point")
    if layout == "columns":
        columns = points.reshape(-1, height, width) % width
        require(bool((columns == moves[:, None]).all()), "layout columns, but an action does not move with its column")


class _Guarded:
    """An array between guard words: a write outside it is noticed.

    The guards hold small random numbers, as a state vector does, and differ everywhere between the two copies
    (``shift`` 0 and 1), so that rules which *read* outside behave differently from copy to copy.
    """

    def __init__(self, shape: tuple[int, ...], dtype: type, seed: int, shift: int) -> None:
        size = int(np.prod(shape))
        guard = min(max(size, LEAST_GUARD), MOST_GUARD)
        garbage = np.random.default_rng(seed).integers(0, 4, size + 2 * guard)
        whole: np.ndarray = ((garbage + shift) % 4).astype(dtype)
        self.array = whole[guard : guard + size].reshape(shape)
        self._low, self._high = whole[:guard], whole[guard + size :]
        self._expected = self._low.tobytes(), self._high.tobytes()

    def intact(self) -> bool:
        return self._expected == (self._low.tobytes(), self._high.tobytes())


class _Copy:
    """One set of the arrays that rules are given."""

    def __init__(self, game: Game, seed: int, shift: int) -> None:
        self.state = _Guarded((game.state_size,), np.int64, seed, shift)
        self.mask = _Guarded((game.num_actions,), np.uint8, seed, shift)
        self.planes = _Guarded(game.plane_shape, np.float32, seed, shift)
        self.params = _Guarded((len(game.params),), np.int64, seed, shift)


class _GuardedRules:
    """A game's rules, each call made on two guarded copies and checked. States go in and out as plain arrays.

    ``moves`` is what was played so far, for the sentences. Every method raises ConformanceError.
    """

    def __init__(self, game: Game, rng: np.random.Generator) -> None:
        self.game = game
        self.moves: list[int] = []
        self._rng = rng

    def broken(self, sentence: str) -> ConformanceError:
        shown = ", ".join(str(a) for a in self.moves[-MOVES_SHOWN:])
        where = f"after moves {shown}" if self.moves else "in the initial position"
        if len(self.moves) > MOVES_SHOWN:
            where = f"after {len(self.moves)} moves ending in {shown}"
        return ConformanceError(f"{self.game.env_id}, {where}: {sentence}")

    def initial(self) -> np.ndarray:
        """The initial state [state_size]. Every game gets new garbage round its arrays."""
        self.moves = []
        seed = int(self._rng.integers(2**32))
        self._copies = (_Copy(self.game, seed, shift=0), _Copy(self.game, seed, shift=1))
        for copy in self._copies:
            copy.params.array[:] = self.game.params
        # Reused memory holds other states, so the two copies start from different garbage.
        size = self.game.state_size
        self._call("init", (np.full(size, 1), np.full(size, -7)), lambda copy: copy.params)
        if any(copy.params.array.tolist() != list(self.game.params) for copy in self._copies):
            raise self.broken("init changes its params")
        first, second = (copy.state.array for copy in self._copies)
        differ = np.flatnonzero(first != second)
        if len(differ):
            raise self.broken(f"init must write every word of the state vector, but state[{differ[0]}] is left over")
        to_move, status, ply = (int(word) for word in first[:HEADER])
        if to_move not in (0, 1) or (status, ply) != (ONGOING, 0):
            raise self.broken(f"the game must start with TO_MOVE 0 or 1, ONGOING, PLY 0, not {(to_move, status, ply)}")
        return first.copy()

    def legal(self, state: np.ndarray) -> np.ndarray:
        """Legal actions [A] bool of an ongoing state, at least one."""
        for copy, poison in zip(self._copies, MASK_POISON, strict=True):
            copy.mask.array[:] = poison
        self._call("legal", (state, state), lambda copy: copy.mask)
        first, second = (copy.mask.array for copy in self._copies)
        unwritten = np.flatnonzero((first == MASK_POISON[0]) & (second == MASK_POISON[1]))
        if len(unwritten):
            raise self.broken(f"legal must write every entry of the mask, but mask[{unwritten[0]}] is left over")
        wrong = np.flatnonzero(np.maximum(first, second) > 1)
        if len(wrong):
            value = max(first[wrong[0]], second[wrong[0]])
            raise self.broken(f"legal must write 0 or 1, but mask[{wrong[0]}] is {value}")
        self.require_equal("legal", first, second)
        if not first.any():
            raise self.broken("the game is ongoing but no action is legal: end the game, or add a pass")
        return first.astype(bool)

    def planes(self, state: np.ndarray) -> np.ndarray:
        """Planes [C, H, W] float32."""
        for copy, poison in zip(self._copies, PLANE_POISON, strict=True):
            copy.planes.array[:] = poison
        self._call("planes", (state, state), lambda copy: copy.planes)
        first, second = (copy.planes.array for copy in self._copies)
        unwritten = np.argwhere(np.isnan(first) & (second == PLANE_POISON[1]))
        if len(unwritten):
            raise self.broken(f"planes must write every entry, but out{unwritten[0].tolist()} is left over")
        infinite = np.argwhere(~np.isfinite(first) | ~np.isfinite(second))
        if len(infinite):
            raise self.broken(f"planes must write finite numbers, but out{infinite[0].tolist()} is not finite")
        self.require_equal("planes", first, second)
        return first.copy()

    def play(self, state: np.ndarray, action: int) -> np.ndarray:
        """The state after a legal action, its header checked."""
        self._call("play", (state, state), lambda copy: action)
        self.moves.append(action)
        first, second = (copy.state.array for copy in self._copies)
        self.require_equal("play", first, second)
        to_move, status, ply = (int(word) for word in first[:HEADER])
        if to_move not in (0, 1):
            raise self.broken(f"state[TO_MOVE] must be 0 or 1, not {to_move}")
        if status not in (ONGOING, FIRST_WON, SECOND_WON, DRAW):
            raise self.broken(f"state[STATUS] must be ONGOING, FIRST_WON, SECOND_WON or DRAW, not {status}")
        if ply != state[PLY] + 1:
            raise self.broken(f"state[PLY] must count the moves: {int(state[PLY]) + 1} by now, not {ply}")
        if status == ONGOING and ply >= self.game.max_moves:
            raise self.broken(f"the game goes on, although max_moves is {self.game.max_moves}")
        return first.copy()

    def render(self, state: np.ndarray) -> None:
        shown = state.copy()
        if not isinstance(text := self.game.render(shown), str) or not text.strip():
            raise self.broken(f"render must give text, not {text!r}")
        if not np.array_equal(shown, state):
            raise self.broken("render changes the state")

    def check_side_to_move(self, state: np.ndarray, winning: int) -> None:
        """Planes that hide the side to move are an error where the side to move decides who wins."""
        seen = self.game.encode(state[None])[0]
        other = state.copy()
        other[TO_MOVE] = 1 - state[TO_MOVE]
        shifted = other.copy()
        shifted[PLY] += 1  # planes may tell the sides apart by the number of moves
        told_apart = any(not np.array_equal(seen, planes) for planes in self.game.encode(np.stack([other, shifted])))
        if told_apart or not self.game.legal_mask(other)[winning]:
            return
        # An impartial game, or a state vector that keeps own and other stones, has the other side win here too.
        self.game.play(other, winning)
        if other[STATUS] in (ONGOING, DRAW):
            raise self.broken(
                f"planes are the same whichever side is to move, although action {winning} wins for one side only; "
                "draw them from the side to move's point of view"
            )

    def check_monotone(self, state: np.ndarray, reply: int) -> None:
        """``reply``, which won after one more move, must also win where ``state``'s side to move passes."""
        passed = state.copy()
        passed[TO_MOVE] = 1 - state[TO_MOVE]
        if self.game.legal_mask(passed)[reply]:
            self.game.play(passed, reply)
            if passed[STATUS] == SECOND_WON - state[TO_MOVE]:
                return
        raise self.broken(
            f"declared monotone, but action {reply} would not have won if the move before it had been a pass"
        )

    def require_equal(self, rule: str, first: np.ndarray, second: np.ndarray) -> None:
        if not np.array_equal(first, second):
            raise self.broken(
                f"{rule} gives different results for two copies of one state; "
                "the state vector must hold everything that the rules depend on"
            )

    def _call(self, rule: str, states: tuple[np.ndarray, np.ndarray], argument: Callable[[_Copy], _Guarded | int]):
        for copy, state in zip(self._copies, states, strict=True):
            copy.state.array[:] = state
            given = argument(copy)
            guarded = {"the state vector": copy.state}
            if isinstance(given, _Guarded):
                guarded[{"init": "params", "legal": "the mask", "planes": "the planes"}[rule]] = given
            try:
                getattr(self.game, rule)(copy.state.array, given.array if isinstance(given, _Guarded) else given)
            except Exception as error:
                raise self.broken(f"{rule} raised {type(error).__name__}: {error}") from error
            for name, array in guarded.items():
                if not array.intact():
                    played = f"({given})" if rule == "play" else ""
                    raise self.broken(f"{rule}{played} writes outside {name}")
            if rule in ("legal", "planes") and not np.array_equal(copy.state.array, state):
                raise self.broken(f"{rule} changes the state vector; only init and play may")


def _random_game(rules: _GuardedRules, rng: np.random.Generator, symmetry: int) -> list[np.ndarray]:
    """One random game beside its transformed twin, every state checked; returns its states, first and last included."""
    game = rules.game
    assert game.point_symmetries is not None and game.action_symmetries is not None
    points, actions = game.point_symmetries[symmetry], game.action_symmetries[symmetry]
    twin_action = np.argsort(actions)  # entry i of a transformed action vector is entry actions[i] of the original
    moves: list[int] = []
    states: list[np.ndarray] = []
    state = twin = rules.initial()
    while True:
        rules.moves = list(moves)
        states.append(state)
        planes = rules.planes(state).reshape(game.num_planes, -1)
        if symmetry and not np.allclose(rules.planes(twin).reshape(planes.shape), planes[:, points]):
            raise rules.broken(f"symmetry {symmetry} does not hold: the transformed game has other planes")
        if state[STATUS] != ONGOING:
            break
        legal = rules.legal(state)
        if symmetry and not np.array_equal(rules.legal(twin), legal[actions]):
            raise rules.broken(f"symmetry {symmetry} does not hold: the transformed game has other legal actions")
        action = int(rng.choice(np.flatnonzero(legal)))
        before, state = state, rules.play(state, action)
        rules.moves = list(moves)
        if state[STATUS] == FIRST_WON + before[TO_MOVE]:
            rules.check_side_to_move(before, action)
        if symmetry:
            twin = rules.play(twin, int(twin_action[action]))
            if not np.array_equal(twin[:HEADER], state[:HEADER]):
                raise rules.broken(f"symmetry {symmetry} does not hold: action {action} and its image end differently")
        moves.append(action)
    if game.monotone and state[STATUS] in (FIRST_WON, SECOND_WON) and len(states) > 2:
        rules.check_monotone(states[-3], moves[-1])
    rules.render(states[0])
    rules.render(state)
    replayed = rules.initial()
    for action, expected in zip(moves, states[1:], strict=True):
        replayed = rules.play(replayed, action)
        rules.require_equal("play", replayed, expected)
    return states


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m envs.conformance GAME [--games N] [--seed S]``; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m envs.conformance", description="Check a game against the contract."
    )
    parser.add_argument("game", help="a shipped game, file.py:attribute or module:attribute")
    parser.add_argument("--games", type=int, default=200, help="random games to play (200)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    try:
        game = make(given.game)
        report = check_game(game, given.games, given.seed)
    except (ConformanceError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    assert game.point_symmetries is not None
    results = f"{report.first_wins} won by the first player, {report.second_wins} by the second, {report.draws} drawn"
    print(
        f"conforms: {game.title} ({game.env_id}), {report.games} random games of {report.shortest} to {report.longest} "
        f"moves, {results}; symmetries: {len(game.point_symmetries)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
