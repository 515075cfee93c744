"""Golden games drawn as text, so that a rule bug shows as a board in a diff."""

from __future__ import annotations

from pathlib import Path

import pytest

from envs import make
from tests.envs.playthrough import draw

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.txt"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_game_is_played_as_drawn(path: Path) -> None:
    golden = path.read_text()
    env_id, _, moves = golden.splitlines()[0].partition(": ")
    assert draw(make(env_id), [int(move) for move in moves.split()]) == golden


@pytest.mark.parametrize("env_id", ["tic_tac_toe", "connect_four", "othello", "gomoku5"])
def test_golden_games_end_in_every_way(env_id: str) -> None:
    ends = {path.read_text().rpartition("\nply ")[2].split(", ")[2] for path in GOLDEN if path.stem.startswith(env_id)}
    assert ends == {"first player won", "second player won", "draw"}
