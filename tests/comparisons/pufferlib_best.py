r"""PufferLib's own CartPole, written in C, with its preset, but that an episode has 500 steps as Gymnasium's has.

Needs PufferLib as pufferlib_ppo.py says, and in its unpacked archive, with the interpreter's Python.h and NumPy:
    cd pufferlib/ocean/cartpole
    sed -i '/raylib.h/d; /^const Color/d; /^Client\* make/,/^}/d; /^void close_c/,/^}/d' cartpole.h
    sed -i '/^void c_render/,/^}/d' cartpole.h
    sed -i 's/MAX_STEPS 200/MAX_STEPS 500/; $a void c_render(Cartpole* env) {}' cartpole.h
    gcc -O3 -shared -fPIC $(python3-config --includes) -I $(python -c 'import numpy; print(numpy.get_include())') \
        binding.c -lm -o $(python -c 'import pufferlib; print(pufferlib.__path__[0])')/ocean/cartpole/binding.so
Takes --env-steps, which does not change the preset's learning-rate schedule, and --seed alone.
"""

import os
import sys
import tempfile
from operator import mul

import pufferlib.models
import pufferlib.vector
import torch
from contender import Reporter, settings
from pufferlib import pufferl
from pufferlib.ocean.cartpole.cartpole import Cartpole

if os.path.islink("resources"):  # PufferLib's import left it where this was started
    os.remove("resources")


def main() -> None:
    s = settings()
    del sys.argv[1:]  # PufferLib would parse them too
    reporter = Reporter()
    sys.stdout, rows = sys.stderr, sys.stdout  # its dashboard is not what the comparison reads
    torch.manual_seed(s.seed)
    preset = pufferl.load_config("puffer_cartpole")
    worlds = pufferlib.vector.make(Cartpole, env_kwargs=preset["env"], **preset["vec"] | {"seed": s.seed})
    policy = pufferlib.models.LSTMWrapper(worlds.driver_env, pufferlib.models.Default(worlds.driver_env))
    config = preset["train"] | {"env": "puffer_cartpole", "device": "cpu", "seed": s.seed, "use_rnn": True,
                                "data_dir": tempfile.mkdtemp(), "checkpoint_interval": 10**9}  # fmt: skip
    trainer = pufferl.PuffeRL(config, worlds, policy)
    reporter.begin()
    while trainer.global_step < s.env_steps:
        found = trainer.evaluate()
        ended = sum(found["n"])
        length = sum(map(mul, found["n"], found["episode_length"])) / ended if ended else None
        trainer.train()
        sys.stdout = rows
        reporter.row(trainer.global_step, length)
        sys.stdout = sys.stderr
    trainer.utilization.stop()
    worlds.close()


if __name__ == "__main__":
    main()
