"""Cells: bodies in the order of eviction, kept from plan to plan, so that a plan looks at the first of them alone.

    outside ──add──▶ a cell: a block of birth turns × a block of touch turns, by key ──look──▶ exact keys, lowest first
       ▲                │
       └──────drop──────┘  the key, a touch, the state or a proof changes, or a plan met the body and may not take it

A key has a part that stands, and terms that move with time. Inside of a cell the standing part gives the order, and the
turns of a cell bound the terms: no body of the cell is lower than its first key with the lowest terms. So the lowest of
all are found by looking where the bound is lowest, and what is found is exactly what a sort of all keys would give.
Blocks are as wide as a quarter of their age, of bodies that were touched again as wide as all of it: the terms are
logarithms, so the bounds stay close. No block for each pair of turns: on recorded sessions that is a body a block.

Source: bounds over groups, threshold algorithm, Fagin et al. 2001; runs that merge with age, LSM tree, O'Neil 1996.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heapreplace
from itertools import accumulate, compress
from typing import NamedTuple, Protocol

from ctxgc.core.masks import and_masks, mask_positions
from ctxgc.core.reuse import LOGS_LAST

CELL_MAX = 2_048
"""Bodies in a cell: the most that an insertion moves, or a merge sorts."""
SPARE_CELLS = 32
"""Cells are merged once there are twice as many as after the last merge, and so many more."""
FIRST_LOOK = 64
"""Bodies looked at first; each further look is at twice as many."""
FIRST_STEP = 16
"""Bodies of a cell that are looked at first; then as many again as were."""
FEW_PART = 16
"""Fewer bodies than one in so many of a cell are inserted one by one; more are sorted together with the cell."""
YOUNG_TURNS = 64
"""Up to this age blocks do not narrow any more."""

Block = tuple[int, ...]
GARBAGE: Block = ()
"""The block of proven garbage, whose order does not move with time."""


class RankedBodies(NamedTuple):
    """Evictable bodies in the order of eviction: columns of equal length."""

    slots: list[int]
    keys: list[float]
    freed: list[int]
    """Tokens that evicting each frees."""


class BodyColumns(NamedTuple):
    """Columns of a heap, by slot."""

    key: Sequence[float]
    born: Sequence[int]
    touched: Sequence[int]
    freed: Sequence[int]


class KeyTerms(NamedTuple):
    """What is added to the standing key of a body. Of garbage nothing is."""

    classes: Sequence[float]
    """By class."""
    class_of: Sequence[int]
    """By slot."""
    ages: Sequence[float]
    """By turn of birth; rises or falls with the turn."""
    idles: Sequence[float]
    """By turn of the last use; rises or falls with the turn."""


class Mask(Protocol):
    """Answers 1 or 0 for a slot."""

    def __getitem__(self, slot: int, /) -> int: ...


class Wanted(NamedTuple):
    """Which bodies are looked for: those of slots with a 1, of a least size, until so many tokens are freed."""

    may_go: Mask
    freed_min: int
    tokens: int


class Cell:
    """Bodies of a block, by standing key; and the turns that bound their terms."""

    __slots__ = ("births", "is_garbage", "keys", "slots", "touches")

    def __init__(self, slots: Sequence[int], columns: BodyColumns, *, is_garbage: bool) -> None:
        self.slots = array("i", slots)
        self.keys = array("d", map(columns.key.__getitem__, slots))
        births, touches = [columns.born[slot] for slot in slots], [columns.touched[slot] for slot in slots]
        self.births, self.touches = (min(births), max(births)), (min(touches), max(touches))
        self.is_garbage = is_garbage

    def insert(self, slot: int, columns: BodyColumns) -> None:
        """Let one more body stand in the cell. O(log CELL_MAX), and a move of its columns."""
        key, born, touched = columns.key[slot], columns.born[slot], columns.touched[slot]
        at = bisect_left(self.keys, key)
        self.keys.insert(at, key)
        self.slots.insert(at, slot)
        self.births = min(self.births[0], born), max(self.births[1], born)
        self.touches = min(self.touches[0], touched), max(self.touches[1], touched)

    def block_at(self, turn: int) -> Block:
        """The block that the cell's youngest body would come into at a turn."""
        return GARBAGE if self.is_garbage else block_of(self.births[1], self.touches[1], turn)


def block_of(born: int, touched: int, turn: int) -> Block:
    """The block of a birth and a last use, as wide as their ages at a turn allow."""
    if born == touched:
        return _block_of_turn(born, turn, 3)
    return (*_block_of_turn(born, turn, 1), *_block_of_turn(touched, turn, 1))


def _block_of_turn(then: int, turn: int, parts: int) -> tuple[int, int]:
    age = max(turn - then, YOUNG_TURNS)
    if age >= LOGS_LAST:
        return LOGS_LAST, 0  # Older is as good as the oldest.
    level = age.bit_length() - parts
    return level, then >> level


class Cells:
    """The bodies of a heap that a plan may have to look at, in cells. Not every body: see `slots_outside`."""

    def __init__(self, columns: BodyColumns) -> None:
        self._columns = columns
        self._cells: dict[int, Cell] = {}
        self._cell_of = array("i")
        """The cell of each slot; -1 for a slot outside."""
        self._outside = bytearray()
        """1 for each slot that stands in no cell."""
        self._open: dict[Block, int] = {}
        """The cell of each block that takes further bodies."""
        self._made = 0
        self._merged = 0
        """Cells after the last merge."""
        self._claims = [True]

    def try_claim(self) -> bool:
        """Whether the caller alone may look at the cells, until `release`; never waits, and any thread may ask."""
        try:
            return self._claims.pop()  # Atomic: of two threads one finds the list empty.
        except IndexError:
            return False

    def release(self) -> None:
        """Let others claim the cells again."""
        self._claims.append(True)

    def __len__(self) -> int:
        return len(self._cells)

    def drop_slot(self, slot: int) -> None:
        """Take a slot out of its cell, if the slot stands in one; call before its key changes. O(log CELL_MAX)."""
        number = self._cell_of[slot] if slot < len(self._cell_of) else -1
        if number < 0:
            return
        cell = self._cells[number]
        at = bisect_left(cell.keys, self._columns.key[slot])
        while cell.slots[at] != slot:  # Among equal keys.
            at += 1
        del cell.keys[at], cell.slots[at]
        self._cell_of[slot] = -1
        self._outside[slot] = 1
        if not cell.slots:
            del self._cells[number]

    def slots_outside(self, candidates: bytes | bytearray) -> list[int]:
        """The candidates that stand in no cell, ascending. O(slots / 64) and O(those)."""
        new = len(candidates) - len(self._outside)
        self._outside += b"\1" * new
        self._cell_of.extend([-1] * new)
        both = and_masks(candidates, self._outside)
        are_few = both.count(1) * 16 < len(both)
        return list(mask_positions(both) if are_few else compress(range(len(both)), both))

    def add_slots(self, slots: Iterable[int], turn: int, *, are_garbage: bool = False) -> None:
        """Let slots from outside stand in cells. O(slots), and the merge of a cell now and then."""
        born, touched = self._columns.born, self._columns.touched
        blocks: dict[Block, list[int]] = {}
        for slot in slots:
            block = GARBAGE if are_garbage else block_of(born[slot], touched[slot], turn)
            blocks.setdefault(block, []).append(slot)
        for block, members in blocks.items():
            self._add_to_block(block, members)
        if len(self._cells) > 2 * self._merged + SPARE_CELLS:
            self._merge_cells(turn)

    def _add_to_block(self, block: Block, slots: list[int]) -> None:
        number = self._open.get(block, -1)
        cell = self._cells.get(number)
        if cell is not None and len(cell.slots) + len(slots) <= CELL_MAX:
            if len(slots) * FEW_PART < len(cell.slots):
                for slot in slots:
                    cell.insert(slot, self._columns)
                    self._assign_cell(slot, number)
                return
            del self._cells[number]
            slots = [*cell.slots, *slots]
        slots.sort(key=self._columns.key.__getitem__)  # Nearly sorted: what stood is a run.
        for start in range(0, len(slots), CELL_MAX):
            number = self._made = self._made + 1
            some = slots[start : start + CELL_MAX]
            self._cells[number] = Cell(some, self._columns, is_garbage=block == GARBAGE)
            self._open[block] = number
            for slot in some:
                self._assign_cell(slot, number)

    def _assign_cell(self, slot: int, number: int) -> None:
        self._cell_of[slot] = number
        self._outside[slot] = 0

    def _merge_cells(self, turn: int) -> None:
        """Merge small cells whose turns have grown old enough to share a block."""
        blocks: dict[Block, list[int]] = {}
        for number, cell in self._cells.items():
            if 2 * len(cell.slots) <= CELL_MAX:
                blocks.setdefault(cell.block_at(turn), []).append(number)
        self._open.clear()
        for block, numbers in blocks.items():
            if len(numbers) > 1:
                self._add_to_block(block, [slot for number in numbers for slot in self._cells.pop(number).slots])
        self._merged = len(self._cells)

    def rank_lowest_bodies(self, terms: KeyTerms | None, wanted: Wanted, loose: Sequence[int] = ()) -> RankedBodies:
        """The wanted bodies with the lowest keys, in order, until they free enough or no more are left.

        Without terms the bodies of proven garbage. `loose` slots stand outside and are ranked along. Among equal keys
        the older slot goes first. A body that may not go leaves its cell. O(cells + looked at · log looked at).
        """
        may_go, tokens = wanted.may_go, wanted.tokens
        freed = self._columns.freed
        ranked = RankedBodies([], [], [])
        waiting = self._wanted_keys_and_slots(loose, map(self._columns.key.__getitem__, loose), terms, wanted)
        aside: list[int] = []
        offsets = {
            number: _lowest_terms(cell, terms)
            for number, cell in self._cells.items()
            if cell.is_garbage == (terms is None)
        }
        bounds = [
            (_key_lower_bound(self._cells[number].keys[0], offset), number, 0) for number, offset in offsets.items()
        ]
        heapify(bounds)
        look = FIRST_LOOK
        while tokens > 0 and (bounds or waiting):
            looked = 0
            while bounds and looked < look:
                _, number, at = bounds[0]
                cell, end = self._cells[number], at + max(at, FIRST_STEP)
                slots = cell.slots[at:end]
                looked += len(slots)
                known = self._wanted_keys_and_slots(slots, cell.keys[at:end], terms, wanted)
                waiting += known
                if len(known) < len(slots):
                    aside += [slot for slot in slots if not may_go[slot]]
                if end < len(cell.keys):
                    heapreplace(bounds, (_key_lower_bound(cell.keys[end], offsets[number]), number, end))
                else:
                    heappop(bounds)
            look *= 2
            waiting.sort()
            # No body that was not looked at is lower than the lowest bound; an equal one may be an older slot.
            ready = bisect_left(waiting, (bounds[0][0],)) if bounds else len(waiting)
            gone = list(accumulate([freed[slot] for _, slot in waiting[:ready]]))
            count = min(bisect_left(gone, tokens) + 1, ready)
            ranked.slots.extend([slot for _, slot in waiting[:count]])
            ranked.keys.extend([key for key, _ in waiting[:count]])
            tokens -= gone[-1] if gone else 0
            del waiting[:ready]
        for slot in aside:
            self.drop_slot(slot)
        ranked.freed.extend([freed[slot] for slot in ranked.slots])
        return ranked

    def _wanted_keys_and_slots(
        self, slots: Iterable[int], keys: Iterable[float], terms: KeyTerms | None, wanted: Wanted
    ) -> list[tuple[float, int]]:
        """(exact key, slot) of those that may go."""
        may_go, least, _ = wanted
        _, born, touched, freed = self._columns
        pairs = zip(keys, slots, strict=True)
        if terms is None:
            return [(key, slot) for key, slot in pairs if may_go[slot] and freed[slot] >= least]
        classes, class_of, ages, idles = terms
        return [
            (key + classes[class_of[slot]] + ages[born[slot]] + idles[touched[slot]], slot)
            for key, slot in pairs
            if may_go[slot] and freed[slot] >= least
        ]

    def check_invariants(self) -> None:
        """Raise `AssertionError` unless every invariant of the cells holds. O(n); for tests."""
        key, born, touched, _ = self._columns
        stand = {slot: number for number, cell in self._cells.items() for slot in cell.slots}
        assert sum(len(cell.slots) for cell in self._cells.values()) == len(stand)
        assert all(number == stand.get(slot, -1) for slot, number in enumerate(self._cell_of))
        assert all(is_outside == (slot not in stand) for slot, is_outside in enumerate(self._outside))
        for cell in self._cells.values():
            assert 0 < len(cell.slots) <= CELL_MAX
            assert list(cell.keys) == sorted(key[slot] for slot in cell.slots) == [key[slot] for slot in cell.slots]
            assert all(cell.births[0] <= born[slot] <= cell.births[1] for slot in cell.slots)
            assert all(cell.touches[0] <= touched[slot] <= cell.touches[1] for slot in cell.slots)


Offset = tuple[float, float, float]


def _lowest_terms(cell: Cell, terms: KeyTerms | None) -> Offset:
    """The lowest that each term of the cell's bodies may be. A term rises or falls with the turn: look at both ends."""
    if terms is None:
        return 0.0, 0.0, 0.0
    ages, idles, births, touches = terms.ages, terms.idles, cell.births, cell.touches
    return (
        min(terms.classes),
        min(ages[births[0]], ages[births[1]]),
        min(idles[touches[0]], idles[touches[1]]),
    )


def _key_lower_bound(key: float, offset: Offset) -> float:
    # Summed in the order of the exact key: then rounding never puts a bound above a key.
    return key + offset[0] + offset[1] + offset[2]
