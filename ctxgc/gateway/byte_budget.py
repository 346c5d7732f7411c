"""A bound in bytes, shared by all keepers of bodies for the same purpose."""

from __future__ import annotations


class ByteBudget:
    """Bytes that may be kept at a time. Mutable, belongs to a single loop."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def reserve(self, size: int) -> bool:
        """Count bytes in; False, without counting, where the bytes do not fit."""
        if self.used + size > self.limit:
            return False
        self.used += size
        return True

    def release(self, size: int) -> None:
        """Count bytes out that `reserve` counted in."""
        self.used -= size


class BudgetShare:
    """The bytes that a keeper has counted into a budget. Mutable, belongs to the budget's loop."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.size = 0

    def reserve(self, size: int) -> bool:
        """Count further bytes in, or out if fewer; False, without counting, where the bytes do not fit."""
        if not self._budget.reserve(size):
            return False
        self.size += size
        return True

    def release(self) -> None:
        """Count all bytes out."""
        self._budget.release(self.size)
        self.size = 0
