"""The replay window: a ring of training rows that grows with the run, with enforced reuse."""

from __future__ import annotations

import numpy as np
from numba import float32, int16, int32, int64, njit, uint8, void

from envs.game import TO_MOVE, Game, LegalFn, PlanesFn, PlayFn
from rl.config import ExperienceConfig
from rl.experience.targets import row_weights, rows_of
from rl.records import SHORT_TERM_HORIZONS, Batch, GameRecord, Tensors

GAME_COLUMNS = {"start", "margin", "ownership"}  # of a saved window, beside the moves


@njit(
    void(
        int64[:, ::1],
        int64[::1],
        int64[:, ::1],
        int64[:, ::1],
        float32[:, ::1],
        PlanesFn,
        LegalFn,
        float32[:, :, :, ::1],
        uint8[:, ::1],
        float32[:, ::1],
    ),
    cache=True,
    nogil=True,
)
def encode_rows(states, symmetry, points, actions, policies, planes, legal, out, out_legal, out_policy):
    """Planes, legal masks and policies of N rows, each under its own symmetry of the board."""
    scratch = np.zeros(out.shape[1:], np.float32)
    mask = np.zeros(out_legal.shape[1], np.uint8)
    width = out.shape[3]
    for n in range(states.shape[0]):
        planes(states[n], scratch)
        legal(states[n], mask)
        k = symmetry[n]
        for c in range(out.shape[1]):
            for i in range(points.shape[1]):
                source = points[k, i]
                out[n, c, i // width, i % width] = scratch[c, source // width, source % width]
        for a in range(out_legal.shape[1]):
            out_legal[n, a] = mask[actions[k, a]]
            out_policy[n, a] = policies[n, actions[k, a]]


@njit(void(int64[:, ::1], int16[::1], int64[::1], int32[::1], PlayFn), cache=True, nogil=True)
def replay_rows(states, actions, first, plies, play):
    """Play, in place, from each of the N starts the first ``plies[n]`` actions from ``first[n]`` on."""
    for n in range(states.shape[0]):
        for t in range(first[n], first[n] + plies[n]):
            play(states[n], actions[t])


class ReplayWindow:
    """Rows of the latest games. Raises the reuse question to a rule: ``trainable_rows`` is what is left to train.

    A row knows its game and ply, and its position is replayed when it is drawn: a state vector may be large (Go's
    holds its history), moves are not.

    The window's size follows KataGo (Wu 2019, appendix C): with n rows ever generated and w = ``window``,
    size = w for n ≤ w, then w · (1 + ((n / w)^e − 1) / e), the curve of slope 1 at n = w that bends by
    exponent e.
    """

    def __init__(
        self, game: Game, config: ExperienceConfig, seed: int, symmetries: bool = True, short_term: bool = False
    ):
        """``short_term``: rows have short-term value targets too."""
        self.game, self.config, self.short_term = game, config, short_term
        self.rng = np.random.default_rng(seed)
        assert game.point_symmetries is not None and game.action_symmetries is not None
        count = len(game.point_symmetries) if symmetries else 1
        self.points = np.ascontiguousarray(game.point_symmetries[:count], np.int64)
        self.actions = np.ascontiguousarray(game.action_symmetries[:count], np.int64)
        self.rows: Tensors = self._empty(min(config.window, config.max_rows))
        self.games: dict[int, Tensors] = {}  # of each game, by number: start [S], actions [T], and its end (_ending)
        self.next_game = 0
        self.total = 0  # rows ever added; row r lies at index r % capacity while it is in the window
        self.first = 0  # the oldest row that was ever here: not 0 after a restore
        self.sampled = 0  # rows ever handed out

    def _empty(self, capacity: int) -> Tensors:
        rows: Tensors = {
            "game": np.zeros(capacity, np.int64),
            "ply": np.zeros(capacity, np.int32),
            # Poison: a row that was never written would show as NaN in the loss.
            "policy": np.full((capacity, self.game.num_actions), np.nan, np.float32),
            "wdl": np.full((capacity, 3), np.nan, np.float32),
            "version": np.zeros(capacity, np.int64),
        }
        if self.short_term:
            rows["short_term_value"] = np.full((capacity, len(SHORT_TERM_HORIZONS), 3), np.nan, np.float32)
        return rows

    @property
    def capacity(self) -> int:
        return len(self.rows["version"])

    @property
    def window(self) -> int:
        """Rows that the window may hold now."""
        base, exponent = self.config.window, self.config.window_exponent
        if self.total <= base or exponent == 0:
            return min(base, self.config.max_rows)
        grown = base * (1 + ((self.total / base) ** exponent - 1) / exponent)
        return min(int(grown), self.config.max_rows)

    @property
    def size(self) -> int:
        """Rows to sample from."""
        return min(self.total - self.first, self.window, self.capacity)

    @property
    def trainable_rows(self) -> float:
        """Rows that may still be drawn before new ones must come: reuse · rows added − rows drawn."""
        if self.total < self.config.min_rows:
            return 0.0
        return self.config.reuse * self.total - self.sampled

    def add(self, records: list[GameRecord]) -> int:
        """Add the rows of finished games; returns how many."""
        added = 0
        for record in records:
            rows = rows_of(self.game, record, self.config.outcome_weight, self.short_term)
            if self.config.surprise_weight > 0:
                rows = self._repeated(rows, row_weights(record.surprise[record.full], self.config.surprise_weight))
            count = len(rows["version"])
            if count == 0:
                continue
            rows["game"] = np.full(count, self.next_game)
            self.games[self.next_game] = {"start": record.start, "actions": record.actions} | self._ending(record)
            self.next_game += 1
            self.total += count
            added += count
            while self.capacity < min(self.window, self.total):
                self._grow(self.total - count)
            places = np.arange(self.total - count, self.total) % self.capacity
            for name, values in rows.items():
                self.rows[name][places] = values
        self._forget()
        return added

    def _repeated(self, rows: Tensors, weights: np.ndarray) -> Tensors:
        """Each row as often as its weight says: the integer part, and once more with the rest's probability."""
        whole = np.floor(weights)
        times = (whole + (self.rng.random(len(weights)) < weights - whole)).astype(np.int64)
        return {name: np.repeat(values, times, axis=0) for name, values in rows.items()}

    def _ending(self, record: GameRecord) -> Tensors:
        """Of a game with territory, its end: ownership [H·W] int8 and margin [] for the first player."""
        if self.game.territory is None:
            return {}
        state = record.start.copy()
        for action in record.actions:
            self.game.play(state, action)
        ownership = np.zeros(self.points.shape[1], np.int8)
        return {"margin": np.array(self.game.territory(state, ownership), np.float32), "ownership": ownership}

    def _forget(self) -> None:
        """Drop the games of which no row is left."""
        if self.size:
            oldest = self.rows["game"][(self.total - self.size) % self.capacity]
            for number in range(next(iter(self.games)), oldest):
                del self.games[number]

    def _grow(self, total: int) -> None:
        """Enlarge the ring, keeping the newest ``capacity`` of the ``total`` rows written so far."""
        old, capacity = self.rows, self.capacity
        self.rows = self._empty(min(max(capacity + 1, int(capacity * 1.5)), self.config.max_rows))
        kept = np.arange(max(0, total - capacity), total)
        for name, values in old.items():
            self.rows[name][kept % self.capacity] = values[kept % capacity]

    def sample(self, count: int) -> Batch:
        """``count`` rows drawn uniformly from the window, each under a random symmetry."""
        newest = self.total - self.rng.integers(1, self.size + 1, count)
        picked = newest % self.capacity
        self.sampled += count
        games = [self.games[number] for number in self.rows["game"][picked].tolist()]
        plies = self.rows["ply"][picked]
        states = self._positions(games, plies)
        symmetry = self.rng.integers(len(self.points), size=count)
        planes = np.empty((count, *self.game.plane_shape), np.float32)
        legal = np.empty((count, self.game.num_actions), np.uint8)
        policy = np.empty((count, self.game.num_actions), np.float32)
        encode_rows(
            states,
            symmetry,
            self.points,
            self.actions,
            self.rows["policy"][picked],
            self.game.planes,
            self.game.legal,
            planes,
            legal,
            policy,
        )
        side = 1 - 2 * states[:, TO_MOVE]  # turns the first player's points of view into those of the side to move
        moved = np.argsort(self.actions, 1)  # where symmetry k puts an action
        next_move = [
            game["actions"][ply + 1] if ply + 1 < len(game["actions"]) else -1 for game, ply in zip(games, plies)
        ]
        reply = np.array(next_move, np.int64)
        extra: Tensors = {}
        if self.short_term:
            extra["short_term_value"] = self.rows["short_term_value"][picked]
        if self.game.territory is not None:
            ownership = np.stack([game["ownership"] for game in games])[
                np.arange(count)[:, None], self.points[symmetry]
            ]
            extra["ownership"] = (ownership * side[:, None]).astype(np.int8)
            extra["margin"] = np.array([game["margin"] for game in games], np.float32) * side.astype(np.float32)
        return Batch(
            planes=planes,
            legal=legal.astype(bool),
            policy=policy,
            wdl=self.rows["wdl"][picked],
            weights_version=self.rows["version"][picked],
            reply=np.where(reply < 0, -1, moved[symmetry, reply]),
            **extra,
        )

    def _positions(self, games: list[Tensors], plies: np.ndarray) -> np.ndarray:
        """States [N, S] of N games after so many plies [N] of the record."""
        lengths = [len(game["actions"]) for game in games]
        states = np.stack([game["start"] for game in games])
        actions = np.concatenate([game["actions"] for game in games])
        replay_rows(states, actions, np.cumsum([0, *lengths[:-1]]), plies, self.game.play)
        return states

    def state_dict(self) -> tuple[Tensors, dict]:
        """The rows in the window, their games, and counters and random stream (JSON-able)."""
        kept = np.arange(self.total - self.size, self.total) % self.capacity
        tensors = {name: values[kept] for name, values in self.rows.items()}
        games = list(self.games.values())
        if games:
            tensors["lengths"] = np.array([len(game["actions"]) for game in games])
            tensors["actions"] = np.concatenate([game["actions"] for game in games])
            for name in games[0].keys() - {"actions"}:
                tensors[name] = np.stack([game[name] for game in games])
        counters = {"total": self.total, "sampled": self.sampled, "next_game": self.next_game}
        return tensors, counters | {"rng": self.rng.bit_generator.state}

    def begin_with(self, tensors: Tensors, state: dict) -> None:
        """Begin with the rows that another run's window gave, none of them trained on yet.

        They count as played by version 0, and as before they are older than all that will come.
        """
        own = self.rng.bit_generator.state
        tensors = tensors | {"version": np.zeros_like(tensors["version"])}
        self.load_state_dict(tensors, state | {"rng": own, "sampled": 0})
        self.sampled = int(self.config.reuse * (self.total - self.size))

    def load_state_dict(self, tensors: Tensors, state: dict) -> None:
        """Restore what ``state_dict`` gave; copies."""
        self.total, self.sampled = state["total"], state["sampled"]
        self.rng.bit_generator.state = state["rng"]
        count = len(tensors["version"])
        self.first = self.total - count  # a window that was made larger since then fills up with new rows
        self.rows = self._empty(max(self.capacity, count))
        places = np.arange(self.total - count, self.total) % self.capacity
        for name, values in self.rows.items():
            # A run without the head had no such targets: its rows keep NaN, which the head's loss leaves out.
            if name in tensors or name != "short_term_value":
                values[places] = tensors[name]
        self.next_game = state["next_game"]
        self.games = {}
        if count:
            columns = {"actions": np.split(tensors["actions"].copy(), np.cumsum(tensors["lengths"])[:-1])}
            columns |= {name: list(tensors[name].copy()) for name in tensors.keys() & GAME_COLUMNS}
            first = self.next_game - len(columns["actions"])
            for number, game in enumerate(zip(*columns.values()), first):
                self.games[number] = dict(zip(columns, game))
            self._forget()
