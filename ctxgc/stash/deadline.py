"""The deadline of a search, for the connection's statements and for the steps between statements."""

from __future__ import annotations

import time


class Deadline:
    """Interrupts its connection's statement when time is up: the progress handler of a reader connection."""

    def __init__(self) -> None:
        self._until = float("inf")

    def __call__(self) -> bool:
        """Whether time is up."""
        return time.monotonic() > self._until

    def set(self, seconds: float) -> None:
        """Let the statements from now on run at most this long in sum."""
        self._until = time.monotonic() + seconds


class OutOfTime(Exception):
    """The deadline passed between two statements."""
