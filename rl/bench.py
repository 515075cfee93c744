"""Throughput against this machine's own ceiling, both measured in the same run (``fuseki bench``).

Machines are shared and drift within seconds, so the part and its ceiling are timed in turn in many short stretches, and
the share is the median of the pairs' ratios, with the interval that holds it 95 times in 100. ``value`` and ``ceiling``
are medians too.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch

import envs
from envs.game import ONGOING, STATUS, Game
from envs.playout import count_moves, playout_rules
from rl.actors.rollout import RolloutWorker
from rl.actors.worker import SelfPlayWorker
from rl.config import Config, GameConfig, GymConfig
from rl.inference import Evaluator
from rl.learner import Learner, RolloutLearner, make_optimizer
from rl.learner.base import Rows
from rl.records import Evaluation, GameRecord
from rl.search import Search
from rl.trainers.games import GameTrainer
from rl.trainers.rollouts import RolloutTrainer
from rl.worlds import make_world

ROUNDS = 41
FEWEST_ROUNDS = 7  # also where they take longer than
LIMIT = 30.0  # seconds
SECONDS = 0.3  # of each measurement
SEARCH_LANES = 128
GAMES_A_CALL = 1000


def named(kind: str, config: Config) -> Callable[[Any], dict[str, Any]]:
    """The benchmark of this name. Raises ValueError, in one sentence, when it does not measure what is configured."""
    benches: dict[str, Any] = GYM_BENCHES if isinstance(config, GymConfig) else BENCHES
    if isinstance(config, GymConfig) and config.run.learners > 1:
        raise ValueError("fuseki bench learner measures several learners of a board game only: set run.learners to 1")
    if kind not in benches:
        raise ValueError(f"fuseki bench {kind} does not measure {config.env}: choose one of {', '.join(benches)}")
    return benches[kind]


def run(kind: str, config: Config) -> dict[str, Any]:
    """One benchmark. Keys: value, unit, ceiling, share and what explains it. Raises ValueError as ``named`` does."""
    bench = named(kind, config)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in an actor: throughput comes from many of them
    try:
        return {"bench": kind, "env": config.env} | bench(config)
    finally:
        torch.set_num_threads(threads)


def selfplay(config: GameConfig) -> dict[str, Any]:
    """Evaluations/s of self-play; the ceiling is the bare network in the same format and batch on the same core.

    Evaluations count for what the searches get, also where they are recalled (``search.cache``), so that the share may
    pass 1; ``asked_share`` counts those alone that the network made.
    With run.actors=N, of N actors at once, on Ray; the ceiling is then N times what one of them does alone.
    """
    if config.run.actors not in ("auto", 1):
        from rl.runtime import scaling

        return scaling.actors(config, _compare, SECONDS)
    started = time.perf_counter()
    trainer = GameTrainer(config, device="auto")
    worker = SelfPlayWorker(config, seed=config.seed)
    worker.use(trainer.learner.weights())
    worker.play(seconds=SECONDS)  # games apart from each other, as in a run that is going
    assert worker.evaluator is not None and worker.selfplay is not None
    ready = time.perf_counter() - started
    evaluator = worker.evaluator
    moves: list[float] = []
    answers = np.zeros(2, np.int64)  # made by the network, and recalled

    def play() -> float:
        report = worker.play(seconds=SECONDS)
        moves.append(report.moves / report.seconds)
        answers[:] += report.evaluations, report.recalled
        return (report.evaluations + report.recalled) / report.seconds

    assert isinstance(evaluator, Evaluator), "it is the worker's own"
    found = _compare(play, lambda: evaluator.bare_throughput(SECONDS), "evaluations/s")
    return found | {
        "asked_share": round(found["share"] * float(answers[0] / answers.sum()), 4),
        "format": evaluator.format,
        "games_at_once": worker.selfplay.games,
        "simulations": config.search.simulations,
        "moves_per_second": round(median(moves), 1),
        "seconds_until_ready": round(ready, 2),
    }


def learner(config: GameConfig) -> dict[str, Any]:
    """Rows/s of training from the window; the ceiling is forward, backward and step on one batch that stays put.

    With run.learners=N, of N learners that share the batch, on Ray; the ceiling is then N times what one does with it.
    """
    generous = config.experience.model_copy(update={"min_rows": 1, "reuse": 1e9})
    config = config.model_copy(
        update={"experience": generous, "run": config.run.model_copy(update={"learner_steps": None, "minutes": 1.0})}
    )
    size = config.learner.batch_size
    rng = np.random.default_rng(config.seed)
    if config.run.learners > 1:
        from rl.runtime import scaling

        game = envs.make(config.env, **config.env_options)
        games = [_random_game(game, rng) for _ in range(-(-4 * size // game.max_moves) * 2)]
        return scaling.learners(config, games, _compare, SECONDS)
    trainer = GameTrainer(config)
    while trainer.window.total < 4 * size:
        trainer.add([_random_game(trainer.game, rng)])
    trainer.train(2, 0.0)  # what is measured or allocated once
    batch = trainer.window.sample(size)
    rows = trainer.learner.rows(batch)

    def train() -> float:
        steps, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < SECONDS:
            trainer.train(1, 0.5)
            steps += 1
        return steps * size / spent

    found = _compare(train, _bare_updates(trainer.learner, rows, size), "rows/s")
    return found | {"batch_size": size, "precision": trainer.learner.precision}


def rollout(config: GymConfig) -> dict[str, Any]:
    """Environment steps/s of acting; the ceiling takes a bare vector environment's step and a bare forward pass.

    Both are what a user would write: random actions into the environment's ``step``, and the module called on a batch
    of observations that lies ready, one after the other.
    """
    lanes = config.rollout.environments
    worker = RolloutWorker(config, config.seed, lanes)
    worker.use(RolloutLearner(worker.world.spec, config).weights())
    worker.play()
    pinned = config.rollout.model_copy(update={"vectorization": worker.world.vectorization})
    world = make_world(config.model_copy(update={"rollout": pinned}), lanes, config.seed, measure=False)
    net, state = worker.net, worker.net.initial_state(lanes)
    device = net.value.weight.device
    inputs = {name: torch.from_numpy(part)[None].to(device) for name, part in world.reset().items()}
    first = torch.zeros((1, lanes), dtype=torch.bool, device=device)

    def act() -> float:
        steps, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < SECONDS:
            steps += worker.play().env_steps
        return steps / spent

    @torch.inference_mode()
    def forward() -> float:
        calls, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < SECONDS / 2:
            net(inputs, state, first)
            calls += 1
            if device.type == "cuda":
                torch.cuda.synchronize(device)
        return calls * lanes / spent

    def bare() -> float:
        return 1 / (1 / world.bare_speed(SECONDS / 2) + 1 / forward())

    try:
        found = _compare(act, bare, "steps/s")
    finally:
        worker.close()
        world.close()
    return found | {"environments": lanes, "vectorization": world.vectorization}


def rollout_learner(config: GymConfig) -> dict[str, Any]:
    """Rows/s of training on rollouts, epochs and all; the ceiling is forward, backward and step on one minibatch."""
    config = config.model_copy(
        update={"run": config.run.model_copy(update={"learner_steps": None, "env_steps": 2**62, "minutes": None})}
    )
    worker = RolloutWorker(config, config.seed, config.rollout.environments)
    trainer = RolloutTrainer(config)
    worker.use(trainer.weights(0.0))
    unrolls = worker.play().take()
    worker.close()
    trainer.add(unrolls)
    trainer.train(trainer.steps_allowed(), 0.0)  # what is measured or allocated once
    part = trainer.learner
    rows = next(trainer.batches(unrolls))
    size = rows["first"].numel()

    def train() -> float:
        steps, start = part.step, time.perf_counter()
        while (spent := time.perf_counter() - start) < SECONDS:
            trainer.add(unrolls)
            trainer.train(trainer.steps_allowed(), 0.5)
        return (part.step - steps) * size / spent

    found = _compare(train, _bare_updates(part, rows, size), "rows/s")
    return found | {"minibatch": size, "precision": part.precision}


def search(config: GameConfig) -> dict[str, Any]:
    """Simulations/s of search with an evaluator that costs nothing; the ceiling is the rules alone, in random play."""
    game = envs.make(config.env, **config.env_options)
    tree = Search(game, config.search, SEARCH_LANES, config.seed)
    logits = np.zeros((SEARCH_LANES, game.num_actions), np.float32)
    wdl = np.full((SEARCH_LANES, 3), 1 / 3, np.float32)
    roots = np.stack([game.initial_state()] * SEARCH_LANES)

    def evaluate(planes: np.ndarray) -> Evaluation:
        return Evaluation(logits[: len(planes)], wdl[: len(planes)])

    def simulate() -> float:
        count, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < SECONDS:
            tree.run(roots, evaluate, explore=True)
            count += SEARCH_LANES * config.search.simulations
        return count / spent

    return _compare(simulate, lambda: _moves_per_second(game, SECONDS), "simulations/s") | {
        "ceiling_unit": "random moves/s",
        "simulations": config.search.simulations,
    }


# OpenSpiel's games of the same rules, by our name; {n} is the board's size.
OPEN_SPIEL = {
    "tic_tac_toe": "tic_tac_toe",
    "connect_four": "connect_four",
    "othello": "othello",
    "go": "go(board_size={n},max_game_length={limit})",
    "hex": "hex(board_size={n},swap={swap})",
    "gomoku": "gomoku(size={n})",  # its own game: mnk is 10 to 27 times slower
}
ROLLOUTS = 100


def rules(config: GameConfig) -> dict[str, Any]:
    """Random playouts/s by the rules alone; what they are compared with is OpenSpiel's C++ random rollouts."""
    try:
        import pyspiel
    except ImportError:
        raise ValueError("fuseki bench rules compares with OpenSpiel: pip install open-spiel") from None
    game = envs.make(config.env, **config.env_options)
    family = game.env_id.rstrip("0123456789")
    if family not in OPEN_SPIEL:
        raise ValueError(f"OpenSpiel has no game for {config.env}: choose one of {', '.join(OPEN_SPIEL)}")
    size, swap = game.board_shape[0], game.num_actions > game.board_shape[0] ** 2
    theirs = pyspiel.load_game(OPEN_SPIEL[family].format(n=size, limit=game.max_moves, swap=swap))
    # Its rollouts in C++ are reached through a search of two simulations, each of them worth ROLLOUTS playouts.
    evaluator = pyspiel.RandomRolloutEvaluator(n_rollouts=ROLLOUTS, seed=config.seed)
    bot = pyspiel.MCTSBot(theirs, evaluator, 2.0, 2, 100, False, config.seed, False)
    stream, root = np.zeros(1, np.uint64), game.initial_state()

    def playouts(play: Callable[[], int]) -> float:
        count, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < SECONDS:
            count += play()
        return count / spent

    def ours() -> int:
        count_moves(root, GAMES_A_CALL, game.num_actions, stream, *playout_rules(game))  # the call itself costs some
        return GAMES_A_CALL

    def others() -> int:
        bot.mcts_search(theirs.new_initial_state())
        return 2 * ROLLOUTS

    return _compare(lambda: playouts(ours), lambda: playouts(others), "playouts/s") | {"ceiling_unit": "of OpenSpiel"}


def broadcast(config: GameConfig) -> dict[str, Any]:
    """Bytes/s from a new version to the last actor having loaded it; the ceiling is loading what needs no sending."""
    from rl.runtime.broadcast import measure

    return measure(config, FEWEST_ROUNDS)


BENCHES: dict[str, Callable[[GameConfig], dict[str, Any]]] = {
    "selfplay": selfplay,
    "learner": learner,
    "search": search,
    "rules": rules,
    "broadcast": broadcast,
}
GYM_BENCHES: dict[str, Callable[[GymConfig], dict[str, Any]]] = {"rollout": rollout, "learner": rollout_learner}


def _compare(part: Callable[[], float], ceiling: Callable[[], float], unit: str) -> dict[str, Any]:
    """Time both in turn, A B B A, so that a steady drift of the machine's speed cancels."""
    pairs: list[tuple[float, float]] = []
    started = time.perf_counter()
    while len(pairs) < min(FEWEST_ROUNDS, ROUNDS) or (len(pairs) < ROUNDS and time.perf_counter() - started < LIMIT):
        if len(pairs) % 2:
            top = ceiling()
            pairs.append((part(), top))
        else:
            pairs.append((part(), ceiling()))
    shares = sorted(value / top for value, top in pairs)
    # The ranks between which the median lies in 95 of 100 cases, whatever the distribution.
    outside = max(0, round((len(shares) - 1.96 * len(shares) ** 0.5) / 2) - 1)
    return {
        "value": round(median(v for v, _ in pairs), 1),
        "unit": unit,
        "ceiling": round(median(c for _, c in pairs), 1),
        "share": round(median(shares), 4),
        "share_low": round(shares[outside], 4),
        "share_high": round(shares[-1 - outside], 4),
        "rounds": len(pairs),
    }


def _bare_updates(learner: Learner, rows: Rows, size: int) -> Callable[[], float]:
    """Measures rows/s of forward, backward and optimiser step alone, on ``size`` rows that stay where they are."""
    net = copy.deepcopy(learner.net)
    optimizer = make_optimizer(net, learner.config)

    def bare() -> float:
        steps, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < SECONDS:
            optimizer.zero_grad(set_to_none=True)
            learner.forward_backward(net, rows, learner.precision or "float32")
            optimizer.step()
            steps += 1
            if learner.device.type == "cuda":
                torch.cuda.synchronize()
        return steps * size / spent

    return bare


def _random_game(game: Game, rng: np.random.Generator) -> GameRecord:
    """A game of random moves, as if searched; its content does not matter to the speed of training."""
    state, actions = game.initial_state(), []
    while state[STATUS] == ONGOING:
        actions.append(rng.choice(np.flatnonzero(game.legal_mask(state))))
        game.play(state, actions[-1])
    length = len(actions)
    policy = np.zeros((length, game.num_actions), np.float32)
    policy[np.arange(length), actions] = 1.0
    return GameRecord(
        start=game.initial_state(),
        actions=np.array(actions, np.int16),
        policy=policy,
        wdl=np.full((length, 3), 1 / 3, np.float32),
        proven=np.zeros(length, np.int8),
        full=np.ones(length, bool),
        off_policy=np.zeros(length, bool),
        weights_version=np.zeros(length, np.int64),
        surprise=np.full(length, np.nan, np.float32),
        outcome=0,
    )


def _moves_per_second(game: Game, seconds: float) -> float:
    """Moves/s of random play by the rules alone."""
    stream, root = np.zeros(1, np.uint64), game.initial_state()
    moves, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        moves += count_moves(root, GAMES_A_CALL, game.num_actions, stream, *playout_rules(game))
    return moves / spent
