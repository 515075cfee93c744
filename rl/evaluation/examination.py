"""What an examination of one version of the weights found, whatever is examined."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Examination:
    """One version's results: metrics under the catalogue's names, sample games as text, all games as files, videos."""

    version: int
    metrics: dict[str, float]
    games: dict[str, str]
    files: dict[str, dict[str, str]] = field(default_factory=dict)  # of each match: file name → content
    videos: dict[str, bytes] = field(default_factory=dict)  # of episodes: file name → mp4
