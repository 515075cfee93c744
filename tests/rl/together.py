"""Two learners in real processes, joined by gloo, that do what a test asks of both; and what tests ask.

The processes import torch once for all tests of a module. What is asked is a function of this file by its name.
"""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Sequence
from dataclasses import fields, replace
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from rl.config import Config, GameConfig, GymConfig, parse_config
from rl.records import Tensors, Unroll


class Pair:
    """Two learners, of ranks 0 and 1."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipes: list[Connection] = []
        self.processes = []
        for rank in range(2):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(rank, theirs), daemon=True)
            process.start()
            self.pipes.append(ours)
            self.processes.append(process)
        self.pipes[1].send(self.pipes[0].recv())  # where they meet

    def ask(self, name: str, *arguments: Any) -> list[Any]:
        """What the function of this name returns in both; it gets what is theirs of each argument."""
        for rank, pipe in enumerate(self.pipes):
            pipe.send((name, [argument[rank] for argument in arguments]))
        answers = [pipe.recv() for pipe in self.pipes]
        for answer in answers:
            if isinstance(answer, str) and answer.startswith("Traceback"):
                raise AssertionError(answer)
        return answers

    def close(self) -> None:
        for pipe in self.pipes:
            pipe.send(None)
        for process in self.processes:
            process.join(20)


def _serve(rank: int, pipe: Connection) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    import torch
    from torch import distributed

    torch.set_num_threads(1)
    if rank == 0:
        store = distributed.TCPStore("127.0.0.1", 0, 2, is_master=True, wait_for_workers=False)
        pipe.send(store.port)
    else:
        store = distributed.TCPStore("127.0.0.1", pipe.recv(), 2, is_master=False)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    while (asked := pipe.recv()) is not None:
        name, arguments = asked
        try:
            pipe.send(globals()[name](*arguments))
        except Exception:
            pipe.send(traceback.format_exc())
    distributed.destroy_process_group()


def both(value: Any) -> tuple[Any, Any]:
    return value, value


# --- what is asked, of one learner alone too ------------------------------------------------------------------------


Learned = tuple[list[dict[str, float]], Tensors, Tensors]


def _learned(learner: Any, measures: list[dict[str, float]]) -> Learned:
    """Measures, everything that the updates changed, and where a gradient was nothing but rounding errors.

    Of these Adam makes full steps too; biases that softmax does not see have no other.
    """
    tensors, _ = learner.state_dict()
    noise: Tensors = {}
    for name, parameter in learner.net.named_parameters():
        moments = learner.optimizer.state.get(parameter, {})
        if "exp_avg_sq" in moments:
            noise[f"net.{name}"] = (moments["exp_avg_sq"].sqrt() < 1e-6).numpy()
    return measures, {name: value for name, value in tensors.items() if name != "torch_rng"}, noise


def parsed(data: dict[str, Any]) -> Any:
    config = parse_config(data, "the test")
    assert isinstance(config, GameConfig | GymConfig)
    return config


def game_updates(data: dict[str, Any], batches: Sequence[Any]) -> Any:
    """Updates of a board game's learner: measures of each, and everything that they changed."""
    import envs
    from rl.learner import GameLearner

    config = parsed(data)
    learner = GameLearner(envs.make(config.env), config, "cpu")
    return _learned(learner, [learner.update(batch, 0.5) for batch in batches])


def rollout_training(data: dict[str, Any], stretches: Sequence[list[Unroll]]) -> Any:
    """Updates on stretches of all or a part of the environments, by the trainer."""
    from rl.trainers.rollouts import RolloutTrainer

    trainer = RolloutTrainer(parsed(data), "cpu")
    measures = []
    for unrolls in stretches:
        trainer.add(unrolls)
        measures.append(trainer.train(1, 0.5))
    return _learned(trainer.learner, measures)


def sharded_training(data: dict[str, Any], games: Sequence[list[Any]], steps: int) -> Any:
    """Of each round of games: updates made, rows in the shard and drawn from it, and what was allowed after."""
    trainer = _game_trainer(parsed(data))
    found = []
    for records in games:
        trainer.add(records)
        trainer.train(steps, 0.0)
        window = trainer.window
        found.append((trainer.learner.step, window.total, window.sampled, trainer.steps_allowed()))
    return found, trainer.weights(0.0).tensors, trainer.state(), trainer.shard()


def _game_trainer(config: Config) -> Any:
    from rl.trainers.games import GameTrainer

    return GameTrainer(config, "cpu")  # type: ignore[arg-type]


def restored_window(data: dict[str, Any], parts: dict[str, Tensors], state: dict) -> Any:
    """The shard of a trainer that was restored, and its weights."""
    trainer = _game_trainer(parsed(data))
    trainer.restore(parts, state)
    return trainer.shard(), trainer.weights(0.0).tensors, trainer.window.trainable_rows


def diverging(data: dict[str, Any], batch: Any) -> str:
    """What an update raises, and whether the weights stayed as they were."""
    import envs
    from rl.learner import GameLearner

    config = parsed(data)
    learner = GameLearner(envs.make(config.env), config, "cpu")
    before = {name: tensor.clone() for name, tensor in learner.net.state_dict().items()}
    try:
        learner.update(batch, 0.5)
    except FloatingPointError as error:
        same = all(bool((tensor == before[name]).all()) for name, tensor in learner.net.state_dict().items())
        return f"{error} {'unchanged' if same else 'changed'}"
    return "nothing"


# --- taking things apart --------------------------------------------------------------------------------------------


def halves(batch: Any) -> tuple[Any, Any]:
    """The rows of a Batch, to each learner its half."""
    half = len(batch.planes) // 2
    named = {f.name: getattr(batch, f.name) for f in fields(batch)}
    first = {n: v[:half] for n, v in named.items() if v is not None}
    second = {n: v[half:] for n, v in named.items() if v is not None}
    return replace(batch, **first), replace(batch, **second)


def lanes(unroll: Unroll, part: slice) -> Unroll:
    """Some of the lanes of an unroll."""
    cut: dict[str, Any] = {}
    for field in fields(unroll):
        value = getattr(unroll, field.name)
        if isinstance(value, np.ndarray):
            cut[field.name] = value[:, part]
        elif isinstance(value, dict):
            axis = 1 if field.name == "observations" else 0
            cut[field.name] = {n: v[:, part] if axis else v[part] for n, v in value.items()}
    return replace(unroll, **cut)
