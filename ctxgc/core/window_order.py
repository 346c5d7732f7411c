"""The order of a window: its slots by place, kept so that a live session sorts next to nothing.

    [ settled: stand where they belong | the rest, and what entered, left or moved ]──slots()──▶ all settled

Sessions change at their end: a segment comes in last, a host rewinds the last turns. So what moves is sorted anew from
the first place that moved on, and what lies before it stays as it is. An answer to a pending call moves nothing.

Slots stand in blocks, and of a rewound window only the last blocks are new: a copy of a million slots would take 25 ms,
and Python's own collector 20 more to walk the copy, twice.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from ctxgc.core.masks import mask_positions

BLOCK_SLOTS = 4096


class WindowSlots:
    """Slots in the order of a window, in blocks: all but the last are full, and no block is changed but by `append`."""

    __slots__ = ("_blocks",)

    def __init__(self, slots: Iterable[int] = ()) -> None:
        listed = list(slots)
        self._blocks = [listed[start : start + BLOCK_SLOTS] for start in range(0, len(listed), BLOCK_SLOTS)]

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(self._blocks)

    def __len__(self) -> int:
        return (len(self._blocks) - 1) * BLOCK_SLOTS + len(self._blocks[-1]) if self._blocks else 0

    def __getitem__(self, at: int) -> int:
        """The slot at a place of the order, from 0; a place from the end is no place."""
        if at < 0:
            raise IndexError(at)
        return self._blocks[at // BLOCK_SLOTS][at % BLOCK_SLOTS]

    def append(self, slot: int) -> None:
        """Let a slot stand last. O(1)."""
        if not self._blocks or len(self._blocks[-1]) == BLOCK_SLOTS:
            self._blocks.append([])
        self._blocks[-1].append(slot)

    def slots_from(self, at: int) -> list[int]:
        """The slots from a place of the order on. O(those)."""
        block, inside = divmod(at, BLOCK_SLOTS)
        return [*chain.from_iterable(self._blocks[block:])][inside:]

    def replace_from(self, at: int, slots: Sequence[int]) -> WindowSlots:
        """Other slots from a place of the order on; what stands before is shared in whole blocks. O(slots + blocks)."""
        block, inside = divmod(at, BLOCK_SLOTS)
        partial = self._blocks[block][:inside] if inside else []
        replaced = WindowSlots([*partial, *slots])
        replaced._blocks[:0] = self._blocks[:block]
        return replaced


class WindowOrder:
    """Slots that `inside` marks with 1, by place; of equal places the older slot first. Both columns are the heap's."""

    def __init__(self, place: Sequence[int], state: bytearray, inside: bytes) -> None:
        self._place = place
        self._state = state
        self._inside = inside
        """Translates the state column to 1 for slots of the window."""
        self._slots = WindowSlots()
        self._settled = 0
        """How many slots of the order, from its begin, stand where they belong."""
        self._moved: list[int] = []

    def append(self, slot: int) -> None:
        """A new slot comes into the window. O(1) for the last place."""
        count = len(self._slots)
        is_settled = self._settled == count and not self._moved
        if is_settled and (not count or self._place[self._slots[count - 1]] <= self._place[slot]):
            self._slots.append(slot)
            self._settled += 1
        else:
            self.unsettle(slot)

    def unsettle(self, slot: int) -> None:
        """A slot enters or leaves; of a slot that moves, call before its place changes and after. O(log slots)."""
        self._settled = bisect_left(self._slots, self._place[slot], hi=self._settled, key=self._place.__getitem__)
        self._moved.append(slot)

    def slots(self) -> WindowSlots:
        """The window in order; no later change but an `append` changes what is returned.

        O(1) without a move since the last call, else a sort of what stands behind the first move.
        """
        if self._moved or self._settled < len(self._slots):
            if self._settled:
                unsettled = sorted({*self._slots.slots_from(self._settled), *self._moved})
                rest = [slot for slot in unsettled if self._inside[self._state[slot]]]
            else:
                rest = list(mask_positions(self._state.translate(self._inside)))
            rest.sort(key=self._place.__getitem__)
            # Never sorted in place: a worker thread may walk what was returned before.
            self._slots = self._slots.replace_from(self._settled, rest)
            self._moved = []
            self._settled = len(self._slots)
        return self._slots
