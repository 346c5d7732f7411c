"""Which exchange touched which lines of which file: the path half of the reference index.

For each path: every use in order of slots, and the reads that no later read has covered yet, sorted by range, so that
a new read finds what it supersedes without looking at the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from sortedcontainers import SortedList

from ctxgc.core.segment import LINE_MAX, Access, PathUse

USES_PER_PATH_MAX = 4096
"""The oldest uses of a path beyond this are dropped from the index: they stay in the heap, unreferred to (I12)."""


class Use(NamedTuple):
    """One exchange's use of a path."""

    slot: int
    access: Access
    first_line: int
    last_line: int


@dataclass(slots=True)
class PathHistory:
    """What happened to one file."""

    uses: list[Use] = field(default_factory=list)
    uncovered: SortedList[tuple[int, int, int]] = field(default_factory=SortedList)
    """(first_line, last_line, slot) of reads that no later read covers."""
    last_change: int = -1
    """Newest slot that wrote or edited the file."""
    touched_turn: int = -1


class PathIndex:
    """Paths of one session. Pure bookkeeping: it knows slots and lines, not texts."""

    def __init__(self) -> None:
        self.histories: dict[str, PathHistory] = {}

    def newest_holder(self, use: PathUse, before: int) -> int:
        """The newest slot older than `before` that read or wrote a line of this range; -1 if there is none."""
        history = self.histories.get(use.path)
        for old in reversed(history.uses) if history else ():
            overlaps = old.first_line <= use.last_line and use.first_line <= old.last_line
            if old.slot < before and overlaps and old.access is not Access.MENTION:
                return old.slot
        return -1

    def superseded_by(self, use: PathUse, slot: int) -> list[tuple[int, str]]:
        """Reads of the path that this newer read makes useless, with why; they leave the uncovered set.

        A read whose range is covered is `superseded_read`; one that merely overlaps is `stale_read` if the file was
        changed in between, because then its text shows lines as they no longer are.
        """
        history = self.histories.get(use.path)
        if history is None:
            return []
        found = []
        for first, last, old in list(history.uncovered.irange(None, (use.last_line, LINE_MAX, slot))):
            covered = use.first_line <= first and last <= use.last_line
            stale = last >= use.first_line and old < history.last_change
            if old != slot and (covered or stale):
                found.append((old, "superseded_read" if covered else "stale_read"))
                history.uncovered.remove((first, last, old))
        return sorted(found)

    def add(self, use: PathUse, slot: int, turn: int) -> None:
        """Record a use. O(log uses) for a read, O(1) else."""
        history = self.histories.setdefault(use.path, PathHistory())
        history.touched_turn = max(history.touched_turn, turn)
        history.uses.append(Use(slot, use.access, use.first_line, use.last_line))
        if len(history.uses) > USES_PER_PATH_MAX:
            dropped = history.uses.pop(0)
            history.uncovered.discard((dropped.first_line, dropped.last_line, dropped.slot))
        if use.access is Access.READ:
            entry = (use.first_line, use.last_line, slot)
            if entry not in history.uncovered:
                history.uncovered.add(entry)
        elif use.access is not Access.MENTION:
            history.last_change = max(history.last_change, slot)

    def reads(self, path: str) -> Iterator[int]:
        """Slots that read the path, newest first."""
        history = self.histories.get(path)
        for use in reversed(history.uses) if history else ():
            if use.access is Access.READ:
                yield use.slot
