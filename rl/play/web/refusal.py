"""A request that cannot be granted."""

from __future__ import annotations


class Refusal(Exception):
    """Answered with an HTTP status of the client's fault (4xx) or of a want of room (503), and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence
