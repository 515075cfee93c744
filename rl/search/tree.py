"""The search tree as arrays: B lanes, each the tree of one game, each with room for N nodes.

Node 0 is the root. A node is created when an edge is first followed; its children are found through
``child``. Statistics are from the point of view of the side to move *at that node*.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import float32, float64, int8, int32, int64, uint8, uint64
from numba.core import types

from envs.game import Game
from rl.search.cache import draw_keys
from rl.search.handles import viewer

# What a lane does next: nothing, ask for the root's evaluation, simulate, wait for an answer, be collected.
IDLE, ROOT, SEARCHING, ROOT_ASKED, LEAF_ASKED, DONE = 0, 1, 2, 3, 4, 5
GUMBEL, PUCT = 0, 1


class Tree(NamedTuple):
    """What is known of an edge is kept at its parent, side by side for all actions: choosing an action is the
    inner loop of search and then reads one stretch of memory instead of one node a child."""

    state: np.ndarray  # [B, N, S] int64, the position
    parent: np.ndarray  # [B, N] int32, -1 at the root
    action: np.ndarray  # [B, N] int32, the parent's action that leads here
    visits: np.ndarray  # [B, N] int32, simulations that reached the node, its own evaluation included
    value_sum: np.ndarray  # [B, N] float32, sum of backed-up values
    draw_sum: np.ndarray  # [B, N] float32, sum of backed-up draw probabilities
    net_value: np.ndarray  # [B, N] float32, the network's own value
    proven: np.ndarray  # [B, N] int8, UNPROVEN ... PROVEN_WIN (rl.records)
    child: np.ndarray  # [B, N, A] int32, -1 where not created
    prior: np.ndarray  # [B, N, A] float32, the network's policy; 0 where illegal
    edge_visits: np.ndarray  # [B, N, A] int32, simulations through the edge
    edge_value: np.ndarray  # [B, N, A] float32, sum of values through the edge, for the side to move at the parent
    edge_proven: np.ndarray  # [B, N, A] int8, what is proven of the move, for the side to move at the parent


class Lanes(NamedTuple):
    phase: np.ndarray  # [B] int8, IDLE ... DONE
    size: np.ndarray  # [B] int32, nodes in use
    leaf: np.ndarray  # [B, L] int32, the nodes whose evaluations are awaited,
    pending: np.ndarray  # [B] int32, this many of them
    expected: np.ndarray  # [B, L] float32, the values that count for them until then (L > 1)
    symmetry: np.ndarray  # [B] int32, root evaluations already averaged (root_symmetries)
    done: np.ndarray  # [B] int32, simulations done
    budget: np.ndarray  # [B] int32, simulations to do
    log_prior: np.ndarray  # [B, A] float32, log of the root's prior; -inf where illegal
    base: np.ndarray  # [B, A] int32, visits of the root's children inherited from tree reuse
    noise: np.ndarray  # [B, A] float32, root exploration: Gumbel draws, or Dirichlet probabilities (PUCT)
    explore: np.ndarray  # [B] int8, 1 where the PUCT root mixes the noise in
    schedule: np.ndarray  # [B, simulations] int32, see policies.visit_schedule
    planes: np.ndarray  # [B·L, C, H, W] float32, what the lanes ask the network about: L rows each
    # The network's newest answers, each in one of M places (a power of two, or 0) by the fingerprint of the question
    key: np.ndarray  # [B·L] uint64, fingerprints of what the lanes ask
    era: np.ndarray  # [2] int64: a number that is part of every fingerprint, and the version of the weights that answer
    recalled: np.ndarray  # [1] int64, answers that were found here
    cache_key: np.ndarray  # [M] uint64, 0 where a place is empty
    cache_logits: np.ndarray  # [M, A] float32
    cache_wdl: np.ndarray  # [M, 3] float32


class Workspace(NamedTuple):
    """What a call works with beside the trees: the board's symmetries, and memory for what it need not keep."""

    point_symmetries: np.ndarray  # [K, H·W] int64, of envs.game.Game
    action_symmetries: np.ndarray  # [K, A] int64
    keys: np.ndarray  # [C·H·W] uint64, see cache.fingerprint
    mask: np.ndarray  # [A] uint8
    counts: np.ndarray  # [A] int32
    visited: np.ndarray  # [A] int32
    q: np.ndarray  # [A] float64
    policy: np.ndarray  # [A] float64
    wdl: np.ndarray  # [3] float32
    moved: np.ndarray  # [N] int32
    after: np.ndarray  # [S] int64
    reply: np.ndarray  # [S] int64
    planes: np.ndarray  # [C, H, W] float32


class Knobs(NamedTuple):
    """Scalars of SearchConfig, and one of the game, in the form that compiled code takes."""

    kind: int
    solver: int
    lookahead: int
    monotone: int
    root_symmetries: int
    max_considered: int
    c_visit: float
    c_scale: float
    c_puct: float
    fpu_reduction: float
    dirichlet_fraction: float
    dirichlet_total: float


TreeType = types.NamedTuple(
    (
        int64[:, :, ::1],
        int32[:, ::1],
        int32[:, ::1],
        int32[:, ::1],
        float32[:, ::1],
        float32[:, ::1],
        float32[:, ::1],
        int8[:, ::1],
        int32[:, :, ::1],
        float32[:, :, ::1],
        int32[:, :, ::1],
        float32[:, :, ::1],
        int8[:, :, ::1],
    ),
    Tree,
)
LanesType = types.NamedTuple(
    (
        int8[::1],
        int32[::1],
        int32[:, ::1],
        int32[::1],
        float32[:, ::1],
        int32[::1],
        int32[::1],
        int32[::1],
        float32[:, ::1],
        int32[:, ::1],
        float32[:, ::1],
        int8[::1],
        int32[:, ::1],
        float32[:, :, :, ::1],
        uint64[::1],
        int64[::1],
        int64[::1],
        uint64[::1],
        float32[:, ::1],
        float32[:, ::1],
    ),
    Lanes,
)
WorkspaceType = types.NamedTuple(
    (
        int64[:, ::1],
        int64[:, ::1],
        uint64[::1],
        uint8[::1],
        int32[::1],
        int32[::1],
        float64[::1],
        float64[::1],
        float32[::1],
        int32[::1],
        int64[::1],
        int64[::1],
        float32[:, :, ::1],
    ),
    Workspace,
)
KnobsType = types.NamedTuple((int64,) * 6 + (float64,) * 6, Knobs)


view_tree = viewer(TreeType)
view_lanes = viewer(LanesType)
view_knobs = viewer(KnobsType)
view_workspace = viewer(WorkspaceType)


def allocate(
    game: Game, lanes: int, nodes: int, simulations: int, leaves: int, cache: int
) -> tuple[Tree, Lanes, Workspace]:
    """Empty trees for ``lanes`` games with room for ``nodes`` nodes and ``simulations`` simulations each.

    At most ``cache`` answers of the network are remembered.
    """
    places = 1 << cache.bit_length() - 1 if cache else 0
    actions, words = game.num_actions, game.state_size
    node, edge = (lanes, nodes), (lanes, nodes, actions)
    tree = Tree(
        state=np.zeros((lanes, nodes, words), np.int64),
        parent=np.full(node, -1, np.int32),
        action=np.full(node, -1, np.int32),
        visits=np.zeros(node, np.int32),
        value_sum=np.zeros(node, np.float32),
        draw_sum=np.zeros(node, np.float32),
        net_value=np.zeros(node, np.float32),
        proven=np.zeros(node, np.int8),
        child=np.full(edge, -1, np.int32),
        prior=np.zeros(edge, np.float32),
        edge_visits=np.zeros(edge, np.int32),
        edge_value=np.zeros(edge, np.float32),
        edge_proven=np.zeros(edge, np.int8),
    )
    lane = Lanes(
        phase=np.full(lanes, IDLE, np.int8),
        size=np.zeros(lanes, np.int32),
        leaf=np.zeros((lanes, leaves), np.int32),
        pending=np.zeros(lanes, np.int32),
        expected=np.zeros((lanes, leaves), np.float32),
        symmetry=np.zeros(lanes, np.int32),
        done=np.zeros(lanes, np.int32),
        budget=np.zeros(lanes, np.int32),
        log_prior=np.full((lanes, actions), -np.inf, np.float32),
        base=np.zeros((lanes, actions), np.int32),
        noise=np.zeros((lanes, actions), np.float32),
        explore=np.zeros(lanes, np.int8),
        schedule=np.zeros((lanes, simulations), np.int32),
        planes=np.zeros((lanes * leaves, *game.plane_shape), np.float32),
        key=np.zeros(lanes * leaves, np.uint64),
        era=np.zeros(2, np.int64),
        recalled=np.zeros(1, np.int64),
        cache_key=np.zeros(places, np.uint64),
        cache_logits=np.zeros((places, actions), np.float32),
        cache_wdl=np.zeros((places, 3), np.float32),
    )
    assert game.point_symmetries is not None and game.action_symmetries is not None
    return (
        tree,
        lane,
        Workspace(
            point_symmetries=np.ascontiguousarray(game.point_symmetries, np.int64),
            action_symmetries=np.ascontiguousarray(game.action_symmetries, np.int64),
            keys=draw_keys(math.prod(game.plane_shape)),
            mask=np.zeros(actions, np.uint8),
            counts=np.zeros(actions, np.int32),
            visited=np.zeros(actions, np.int32),
            q=np.zeros(actions),
            policy=np.zeros(actions),
            wdl=np.zeros(3, np.float32),
            moved=np.zeros(nodes, np.int32),
            after=np.zeros(words, np.int64),
            reply=np.zeros(words, np.int64),
            planes=np.zeros(game.plane_shape, np.float32),
        ),
    )
