"""Grace periods: slots that were recalled a moment ago, in the order in which their periods end.

    a recall ──grant──▶ the last turn of the slot's period ──in_force(turn)──▶ the slots that stay, and no other

A session that recalls for weeks has a period for each recalled slot, and a collection asks for the few in force.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from sortedcontainers import SortedList

NEVER = -1


@dataclass(slots=True)
class GracePeriods:
    """The last turn of each slot's grace period, kept in order. Grants O(log periods)."""

    _last_turn: dict[int, int] = field(default_factory=dict)
    _order: SortedList[tuple[int, int]] = field(default_factory=SortedList)

    def grant(self, slot: int, last_turn: int) -> None:
        """Let a slot stay up to and with this turn; a grant shortens no period, as in the stash."""
        before = self.last_turn(slot)
        if last_turn <= before:
            return
        if before != NEVER:
            self._order.remove((before, slot))
        self._last_turn[slot] = last_turn
        self._order.add((last_turn, slot))

    def last_turn(self, slot: int) -> int:
        """The last turn of a slot's period; `NEVER` for a slot without one."""
        return self._last_turn.get(slot, NEVER)

    def in_force(self, turn: int) -> Iterator[int]:
        """The slots whose periods last at this turn. O(log periods + slots)."""
        return (slot for _, slot in self._order.irange((turn, NEVER)))
