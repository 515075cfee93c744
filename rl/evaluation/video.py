"""Videos of episodes: an mp4 file each, encoded while the episode goes on, so that no pictures pile up in memory."""

from __future__ import annotations

import importlib.util
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from envs.gym import UnknownWorld, World
from rl.evaluation.players import EvaluationError

SMALL = 240  # points of a picture's shorter side; what has fewer is enlarged by a whole factor


class VideoError(RuntimeError):
    """A video could not be written; the message is one sentence that names the file."""


class Video(NamedTuple):
    """One whole episode: its first observation, then one picture a step."""

    path: Path
    episode_return: float
    length: int  # steps


def check_encoder() -> None:
    """Raises EvaluationError where the package that writes videos is missing."""
    if importlib.util.find_spec("imageio_ffmpeg") is None:
        raise EvaluationError("videos need imageio-ffmpeg: pip install 'fuseki[video]'")


@contextmanager
def drawing() -> Iterator[None]:
    """In here a world is made to be drawn; where it cannot be, EvaluationError says so."""
    try:
        yield
    except UnknownWorld as error:
        raise EvaluationError(str(error)) from error


class Film:
    """An mp4 file (H.264) that grows picture by picture; it has its name only once it is whole."""

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps = path, fps
        self._part = path.with_name(f".{path.name}")
        self._encoder: Generator[None, Any, None] | None = None
        self._shape: tuple[int, ...] = ()
        self._count = 0

    def add(self, picture: np.ndarray) -> None:
        """The next picture, [H, W, 3] uint8, all of one size. Raises VideoError."""
        if self._encoder is None:
            self._shape = picture.shape
            self._encoder = self._open(*picture.shape[:2])
        if picture.shape != self._shape:
            raise VideoError(f"{self.path}: the pictures change their size, from {self._shape} to {picture.shape}")
        try:
            self._encoder.send(np.ascontiguousarray(picture))
        except OSError as error:
            raise VideoError(f"{self.path} cannot be written: {error}") from error
        self._count += 1

    def _open(self, height: int, width: int) -> Generator[None, Any, None]:
        import imageio_ffmpeg

        factor = max(1, -(-SMALL // min(height, width)))
        # What players can show (yuv420p) has even sides.
        even = f"scale=iw*{factor}:ih*{factor}:flags=neighbor,pad=ceil(iw/2)*2:ceil(ih/2)*2"
        encoder = imageio_ffmpeg.write_frames(
            str(self._part),
            (width, height),
            fps=self.fps,
            codec="libx264",
            macro_block_size=1,
            quality=7,
            ffmpeg_log_level="error",
            output_params=["-vf", even, "-movflags", "+faststart"],  # a browser plays it before it has it all
        )
        try:
            encoder.send(None)
        except OSError as error:
            raise VideoError(f"{self.path} cannot be written: {error}") from error
        return encoder

    def finish(self) -> None:
        """Give the file its name. Raises VideoError when it does not hold every picture, as on a full disk."""
        import imageio_ffmpeg

        self._close()
        try:  # the encoder's own exit status is told to nobody
            frames, _ = imageio_ffmpeg.count_frames_and_secs(str(self._part))
            if frames != self._count:
                raise RuntimeError(f"it holds {frames} of {self._count} pictures")
            self._part.replace(self.path)
        except (OSError, RuntimeError) as error:
            self._part.unlink(missing_ok=True)
            raise VideoError(f"{self.path} could not be written: {' '.join(str(error).split())[-200:]}") from error

    def discard(self) -> None:
        """Leave no file of what is not whole."""
        self._close()
        self._part.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._encoder is not None:
            self._encoder.close()
            self._encoder = None


class Films:
    """The first episode of each of a world's first ``count`` lanes, in ``folder``: those of seeds that are drawn alike,
    not those that end first, which would be the short ones.

    The files are called episode-1.mp4 and so on. The world must ask for what ends an episode in a step of its own
    (NEXT_STEP, as "sync" does), so that its last picture can be taken.
    """

    def __init__(self, folder: Path, world: World, count: int) -> None:
        """Raises EvaluationError where there is such a file already."""
        self.world = world
        self.films = {n: Film(folder / f"episode-{n + 1}.mp4", world.frames_per_second) for n in range(count)}
        self.videos: list[Video] = []
        for film in self.films.values():
            if film.path.exists():
                raise EvaluationError(f"{str(film.path)!r} exists already: choose another folder for the videos")

    def look(self) -> None:
        """Take a picture of each lane whose episode goes on."""
        for lane, film in self.films.items():
            film.add(self.world.picture(lane))

    def ended(self, lane: int, episode_return: float, length: int) -> None:
        """The episode of ``lane`` has ended, and was looked at since; later ones are not filmed."""
        film = self.films.pop(lane, None)
        if film is not None:
            film.finish()
            self.videos.append(Video(film.path, episode_return, length))

    def close(self) -> None:
        """Throw away what has not ended."""
        for film in self.films.values():
            film.discard()
