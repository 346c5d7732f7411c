"""A bound in bytes, shared by everything that keeps bodies for one purpose."""

from __future__ import annotations


class ByteBudget:
    """Bytes that may be kept at a time. Mutable, belongs to one loop."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def take(self, size: int) -> bool:
        """Count bytes in; False, and nothing is counted, where they do not fit."""
        if self.used + size > self.limit:
            return False
        self.used += size
        return True

    def give(self, size: int) -> None:
        """Count bytes out that `take` counted in."""
        self.used -= size
