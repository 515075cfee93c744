"""An agent is watched in a window where there is a display, else as text; without either, a sentence says so."""

from __future__ import annotations

import io
import re

import pytest

from envs.gym import WorldError
from rl.evaluation.players import EvaluationError
from rl.gym_agent import GymAgent
from rl.play.episodes import fresh_seed, render_mode, show_episodes
from tests.rl.agents_for_tests import random_weights, rollout_config

HERE = "tests.envs.scripted_worlds"


def agent(env: str, **options: object) -> GymAgent:
    config = rollout_config(env, env_options=options)
    return GymAgent("trained", random_weights(config), config, {})


@pytest.fixture
def _no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")


@pytest.mark.usefixtures("_no_display")
def test_how_an_environment_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert render_mode(agent(f"{HERE}:Drawn")) == "ansi"
    with pytest.raises(EvaluationError, match=r"CartPole-v1 needs a display .* `fuseki eval trained .*--video"):
        render_mode(agent("CartPole-v1"))
    with pytest.raises(EvaluationError, match="Counting cannot be drawn"):
        render_mode(agent(f"{HERE}:Counting"))
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    assert render_mode(agent(f"{HERE}:Drawn")) == render_mode(agent("CartPole-v1")) == "human"
    assert render_mode(agent(f"{HERE}:Ansi")) == "ansi"


def test_episodes_as_text() -> None:
    out = io.StringIO()
    show_episodes(agent(f"{HERE}:Drawn"), "ansi", 2, deterministic=True, seed=1, out=out)
    boards = re.findall(r"episode (\d), time (\d)", out.getvalue())
    # The lengths of the first two episodes are 3 and 1; each begins with its first board.
    assert boards == [("0", "0"), ("0", "1"), ("0", "2"), ("0", "3"), ("1", "0"), ("1", "1")]
    assert re.findall(r"episode (\d): return \d+, (\d) steps", out.getvalue()) == [("1", "3"), ("2", "1")]
    assert fresh_seed() != fresh_seed()


@pytest.mark.parametrize("env", ["CartPole-v1", f"{HERE}:Drawn"])
def test_episodes_in_a_window(env: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """CartPole opens a window itself; the other draws pictures, which get one."""
    pygame = pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    flips: list[tuple[int, int]] = []
    for call in ("flip", "update"):
        monkeypatch.setattr(pygame.display, call, lambda *_: flips.append(pygame.display.get_surface().get_size()))
    out = io.StringIO()
    show_episodes(agent(env), "human", 1, deterministic=False, seed=1, out=out)
    (length,) = re.findall(r"^episode 1: return [\d.]+, (\d+) steps$", out.getvalue(), re.M)
    assert len(flips) == int(length) + 1, "one picture of the beginning, and one a step"


def test_an_environment_that_fails_while_it_is_shown() -> None:
    with pytest.raises(WorldError, match="lane 0: render raised RuntimeError: no screen"):
        show_episodes(agent(f"{HERE}:Drawn", draws="raise"), "ansi", 1, deterministic=True, seed=1, out=io.StringIO())
