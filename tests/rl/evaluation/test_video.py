"""Videos of episodes show the very episodes that are evaluated, whole; who cannot have one is told so in a sentence."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest

from envs.gym import WorldError
from rl.config import ConfigError, GymConfig
from rl.evaluation.episodes import EpisodeExaminer, evaluate_episodes
from rl.evaluation.players import EvaluationError
from rl.evaluation.video import Film, VideoError
from rl.gym_agent import GymAgent
from rl.runtime.kinds import check
from tests.rl.agents_for_tests import random_weights, rollout_config

HERE = "tests.envs.scripted_worlds"


def configured(env: str = f"{HERE}:Drawn", **sections: Any) -> GymConfig:
    return rollout_config(env, **sections)


def agent(config: GymConfig) -> GymAgent:
    return GymAgent("trained", random_weights(config), config, {})


def pictures(path: Path, height: int, width: int) -> np.ndarray:
    """[N, H, W] of a film in grey, as any program decodes it."""
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "error",
        "-i",
        str(path),
        "-f",
        "rawvideo",
        "-pix_fmt",
        "gray",
        "-",
    ]
    return np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, np.uint8).reshape(
        -1, height, width
    )


def test_the_films_are_of_the_episodes_evaluated(tmp_path: Path) -> None:
    trained = agent(configured())
    plain = evaluate_episodes(trained, 5, deterministic=False)
    found = evaluate_episodes(trained, 5, deterministic=False, video=tmp_path / "a" / "b")
    assert (found["returns"], found["lengths"]) == (plain["returns"], plain["lengths"]), "filming changes nothing"
    assert "videos" not in plain
    files = sorted((tmp_path / "a" / "b").iterdir())
    assert [Path(video["file"]) for video in found["videos"]] == files
    assert [file.name for file in files] == ["episode-1.mp4", "episode-2.mp4", "episode-3.mp4"]
    for video in found["videos"]:
        assert (video["return"], video["length"]) in zip(found["returns"], found["lengths"])
        seen = pictures(Path(video["file"]), 7 * 35 + 1, 9 * 35 + 1)  # enlarged, to even sides
        # The first observation and one picture a step, the last one included.
        expected = 10 * np.arange(video["length"] + 1)
        np.testing.assert_allclose(seen[:, 100, 100], expected, atol=3)
        assert imageio_ffmpeg.count_frames_and_secs(video["file"])[1] == pytest.approx(len(expected) / 20, abs=0.03)
    with pytest.raises(EvaluationError, match=r"episode-1\.mp4' exists already"):
        evaluate_episodes(trained, 5, video=tmp_path / "a" / "b")
    assert evaluate_episodes(trained, 1, video=tmp_path / "one")["videos"][0]["length"] == 3


def test_what_cannot_be_filmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EvaluationError, match="Counting cannot be drawn with render_mode 'rgb_array'"):
        evaluate_episodes(agent(configured(f"{HERE}:Counting")), 2, video=tmp_path)
    with pytest.raises(WorldError, match="lane 0: render gave a NoneType, not a picture"):
        evaluate_episodes(agent(configured(env_options={"draws": "nothing"})), 2, video=tmp_path)
    with pytest.raises(VideoError, match="the pictures change their size"):
        evaluate_episodes(agent(configured(env_options={"draws": "growing"})), 2, video=tmp_path)
    assert not list(tmp_path.iterdir()), "no half films"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EvaluationError, match=r"pip install 'fuseki\[video\]'"):
        evaluate_episodes(agent(configured()), 2, video=tmp_path)


def test_a_film_that_lacks_pictures_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = Film(tmp_path / "x.mp4", 20)
    film.add(np.zeros((8, 8, 3), np.uint8))
    monkeypatch.setattr(film, "_count", 2)
    with pytest.raises(VideoError, match=r"x\.mp4 could not be written: it holds 1 of 2 pictures"):
        film.finish()
    assert not list(tmp_path.iterdir())


def test_training_films_its_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    config = configured(evaluation={"episodes": 4, "videos": 2})
    check(config, new=True)
    examiner = EpisodeExaminer(config, "cpu")
    found = examiner.examine(random_weights(config))
    assert sorted(found.videos) == ["episode-1.mp4", "episode-2.mp4"]
    assert all(b"ftyp" in content[:16] for content in found.videos.values())

    def full(*_: Any) -> None:
        raise VideoError("the disk is full")

    monkeypatch.setattr(Film, "finish", full)
    again = examiner.examine(random_weights(config))
    assert not again.videos and again.metrics["eval/return_mean"] == found.metrics["eval/return_mean"]


def test_a_run_that_cannot_be_filmed_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match=r"evaluation.videos: .*Counting cannot be drawn"):
        check(configured(f"{HERE}:Counting", evaluation={"videos": 2}), new=True)
    with pytest.raises(ConfigError, match="videos 5 is more than episodes 4"):
        configured(evaluation={"episodes": 4, "videos": 5})


def test_an_evaluation_whose_environment_hangs_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"fault": "hang", "after": 1000}
    config = configured(f"{HERE}:Bad", env_options=options, rollout={"timeout_seconds": 0.5})
    trained = agent(config)
    hanging = config.model_copy(update={"env_options": options | {"after": 3}})
    with pytest.raises(WorldError, match=r"Bad, lane 0: step did not return within 0.5 s"):
        evaluate_episodes(GymAgent("trained", trained.weights, hanging, {}), 2)
    never = config.model_copy(update={"env_options": {"fault": "hang in the constructor"}})
    with pytest.raises(WorldError, match=r"Bad: its constructor did not return within 0.5 s"):
        evaluate_episodes(GymAgent("trained", trained.weights, never, {}), 2)
    with pytest.raises(WorldError, match="its constructor did not return"):
        check(never, new=True)
