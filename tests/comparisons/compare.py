"""Trains one environment with several libraries in turn, at the same settings, and compares their speed.

    python tests/comparisons/compare.py fuseki_ppo.py=.venv/bin/python stable_baselines3_ppo.py=sb3/bin/python,steps=32

Each contender is a script beside this file, with the interpreter that has its library; what a script needs stands at
its top. Settings (``--env-steps`` and others, see ``--help``) go to all of them, those behind a comma to one. A
contender's clock starts when everything is imported and made. Speed is counted behind the first fifth of the steps; a
round runs every contender once, so that what disturbs the machine meets all alike, and the table shows medians.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median

from contender import options

SOLVED = 475.0  # mean return of the last 100 training episodes


def run(script: str, interpreter: str, settings: list[str]) -> tuple[float, float | None]:
    """Steps/s, and the seconds until the environment was solved. Raises RuntimeError when the contender fails."""
    command = [str(Path(interpreter).absolute()), str(Path(__file__).with_name(script)), *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    rows = [json.loads(line.removeprefix("ROW ")) for line in done.stdout.splitlines() if line.startswith("ROW ")]
    if done.returncode or len(rows) < 3:
        raise RuntimeError(f"{script} failed with status {done.returncode}:\n{done.stderr[-2000:]}")
    warm = next(row for row in rows if row["env_steps"] >= rows[-1]["env_steps"] / 5)
    speed = (rows[-1]["env_steps"] - warm["env_steps"]) / (rows[-1]["seconds"] - warm["seconds"])
    return speed, next((row["seconds"] for row in rows if (row["return"] or 0) >= SOLVED), None)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, parents=[options()]
    )
    parser.add_argument("contenders", nargs="+", metavar="SCRIPT=PYTHON[,SETTING=VALUE...]")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    given = {name.replace("_", "-"): value for name, value in vars(arguments).items()}
    shared = [text for name, value in given.items() if name not in ("contenders", "rounds", "seed")
              for text in (f"--{name}", str(value))]  # fmt: skip
    contenders = dict(contender.split("=", 1) for contender in arguments.contenders)
    found: dict[str, list[tuple[float, float | None]]] = {script: [] for script in contenders}
    for number in range(arguments.rounds):
        for script, told in contenders.items():
            interpreter, *own = told.split(",")
            settings = [*shared, *(f"--{setting}" for setting in own), "--seed", str(arguments.seed + number)]
            speed, solved = run(script, interpreter, settings)
            found[script].append((speed, solved))
            print(f"round {number}: {script} {speed:,.0f} steps/s, solved in {solved} s", file=sys.stderr, flush=True)
    first = median(speed for speed, _ in found[next(iter(contenders))])
    print(f"{'':28}{'steps/s':>10}{'ratio':>8}   seconds until {SOLVED:g}, each round")
    for script, results in found.items():
        speed = median(speed for speed, _ in results)
        seconds = ", ".join("-" if solved is None else f"{solved:.1f}" for _, solved in results)
        print(f"{script:28}{speed:>10,.0f}{first / speed:>8.2f}   {seconds}")


if __name__ == "__main__":
    main()
