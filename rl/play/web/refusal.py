"""A request that cannot be granted."""

from __future__ import annotations


class Refusal(Exception):
    """Answered with one sentence and an HTTP status: of the client's fault (4xx), or a want of room (503) or of a
    package (501)."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence
