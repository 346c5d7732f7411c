"""The order of a window: its slots by place, kept so that a live session sorts next to nothing.

    [ settled: stand where they belong | the rest, and what entered, left or moved ]──slots()──▶ all settled

Sessions change at their end: a segment comes in last, a host rewinds the last turns. So what moves is sorted anew from
the first place that moved on, and what lies before it stays as it is. An answer to a pending call moves nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from ctxgc.core.masks import mask_positions


class WindowOrder:
    """Slots that `inside` marks with 1, by place; of equal places the older slot first. Both columns are the heap's."""

    def __init__(self, place: Sequence[int], state: bytearray, inside: bytes) -> None:
        self._place = place
        self._state = state
        self._inside = inside
        """Translates the state column to 1 for slots of the window."""
        self._slots: list[int] = []
        self._settled = 0
        """How many slots of the list, from its begin, stand where they belong."""
        self._moved: list[int] = []

    def append(self, slot: int) -> None:
        """A new slot comes into the window. O(1) for the last place."""
        is_settled = self._settled == len(self._slots) and not self._moved
        if is_settled and (not self._slots or self._place[self._slots[-1]] <= self._place[slot]):
            self._slots.append(slot)
            self._settled += 1
        else:
            self.unsettle(slot)

    def unsettle(self, slot: int) -> None:
        """A slot enters or leaves; of a slot that moves, call before its place changes and after. O(log slots)."""
        self._settled = bisect_left(self._slots, self._place[slot], hi=self._settled, key=self._place.__getitem__)
        self._moved.append(slot)

    def slots(self) -> Sequence[int]:
        """The window in order; no later change shortens or sorts the list. O(1) without a move since the last call."""
        if self._moved or self._settled < len(self._slots):
            if self._settled:
                unsettled = sorted({*self._slots[self._settled :], *self._moved})
                rest = [slot for slot in unsettled if self._inside[self._state[slot]]]
            else:
                rest = list(mask_positions(self._state.translate(self._inside)))
            rest.sort(key=self._place.__getitem__)
            # A new list: a worker thread may walk the old one.
            self._slots = self._slots[: self._settled] + rest
            self._moved = []
            self._settled = len(self._slots)
        return self._slots
