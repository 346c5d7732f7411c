"""Lines of files by the tool calls that touched the lines: the path half of the reference index.

For each path: every use in order of admission, and the reads that no later read has covered yet, sorted by range, so
that a new read finds the covered reads without looking at the others.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from sortedcontainers import SortedList

from ctxgc.core.bounded_dict import drop_oldest
from ctxgc.core.segment import LINE_MAX, Access, PathUse

USES_PER_PATH_MAX = 4096
PATHS_MAX = 100_000
"""The oldest paths, and the oldest uses of a path, are dropped from the index: they stay in the heap (I12)."""


_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
"""A drive, or a server."""
_VERBATIM = re.compile(r"//[?.]/(?:(unc/)|(?=[a-z]:/))")
"""In front of a drive or a server: as the system takes the path, whatever its length."""


def is_windows_path(path: str) -> bool:
    """Whether a path begins with a drive or a server, as on Windows."""
    return _WINDOWS.match(path) is not None


def canonical_path(path: str) -> str:
    """The canonical spelling of a path: composed characters, and on Windows a single case, slash and prefix."""
    path = path if path.isascii() else unicodedata.normalize("NFC", path)
    if not is_windows_path(path):
        return path
    path = path.replace("\\", "/").lower()
    verbatim = _VERBATIM.match(path)
    return path if verbatim is None else ("//" if verbatim[1] else "") + path[verbatim.end() :]


class SlotUse(NamedTuple):
    """A tool call's use of a path."""

    slot: int
    access: Access
    first_line: int
    last_line: int


class ReadLines(NamedTuple):
    """Lines of a file that a slot read."""

    first: int
    last: int
    slot: int


def _is_partial_read(use: PathUse, old: ReadLines) -> bool:
    shared = min(use.last_line, old.last) - max(use.first_line, old.first) + 1
    return old.last < LINE_MAX and 2 * shared >= old.last - old.first + 1


@dataclass(slots=True)
class PathHistory:
    """The history of a file."""

    uses: list[SlotUse] = field(default_factory=list)
    uncovered: SortedList[ReadLines] = field(default_factory=SortedList)
    """Reads that no later read covers."""
    last_change: int = -1
    """Newest slot that wrote or edited the file."""
    touched_turn: int = -1
    namers: list[int] = field(default_factory=list)
    """Slots that named the file, whatever the outcome of the calls, ascending, up to the bound."""


class PathIndex:
    """Paths of a session. Pure bookkeeping: the index knows slots and lines, not texts."""

    def __init__(self) -> None:
        self.histories: dict[str, PathHistory] = {}

    def record_naming(self, slot: int, uses: Iterable[PathUse]) -> dict[int, int]:
        """Record the files that a slot names: for the slot, and for each later slot of a file, the number of earlier
        slots.

        A slot that names several files has the largest number of these files. A late result moves the later slots, so
        that the numbers are the same in any order of arrival. O(later namers).
        """
        namings = {slot: 0}
        for path in dict.fromkeys(use.path for use in uses):
            namers = self._history_of(path).namers
            at = bisect_left(namers, slot)
            namers.insert(at, slot)
            del namers[USES_PER_PATH_MAX:]
            namings[slot] = max(namings[slot], at)
            for number in range(at + 1, len(namers)):
                namings[namers[number]] = max(namings.get(namers[number], 0), number)
        return namings

    def newest_holder(self, use: PathUse, before: int) -> int:
        """The newest slot older than `before` that read or wrote a line of the range; -1 without such a slot."""
        history = self.histories.get(use.path)
        for old in reversed(history.uses) if history else ():
            overlaps = old.first_line <= use.last_line and use.first_line <= old.last_line
            if old.slot < before and overlaps and old.access is not Access.MENTION:
                return old.slot
        return -1

    def superseded_reads(self, use: PathUse, slot: int) -> list[tuple[int, str]]:
        """Older reads of the path that this read makes useless, with why; they leave the uncovered set.

        A read whose lines are all shown again is `superseded_read`. If the file was changed in between, lines may have
        moved, so half of the lines are enough: `stale_read`. A read to the end of the file has no half.
        """
        history = self.histories.get(use.path)
        if history is None:
            return []
        changed = history.last_change if history.last_change < slot else -1
        # Without a change in between, only reads that begin no earlier can be covered.
        first = None if changed >= 0 else ReadLines(use.first_line, 0, 0)
        slots = []
        for old in list(history.uncovered.irange(first, ReadLines(use.last_line, LINE_MAX, slot))):
            if old.slot >= slot:
                continue
            if use.first_line <= old.first and old.last <= use.last_line:
                slots.append((old.slot, "superseded_read"))
            elif old.slot < changed and _is_partial_read(use, old):
                slots.append((old.slot, "stale_read"))
            else:
                continue
            history.uncovered.remove(old)
        return sorted(slots)

    def record_use(self, use: PathUse, slot: int, turn: int) -> None:
        """Record a use. O(log uses) for a read, O(1) else."""
        history = self._history_of(use.path)
        history.touched_turn = max(history.touched_turn, turn)
        history.uses.append(SlotUse(slot, use.access, use.first_line, use.last_line))
        if len(history.uses) > USES_PER_PATH_MAX:
            dropped = history.uses.pop(0)
            history.uncovered.discard(ReadLines(dropped.first_line, dropped.last_line, dropped.slot))
        if use.access is Access.READ:
            entry = ReadLines(use.first_line, use.last_line, slot)
            if entry not in history.uncovered:
                history.uncovered.add(entry)
        elif use.access is not Access.MENTION:
            history.last_change = max(history.last_change, slot)

    def _history_of(self, path: str) -> PathHistory:
        history = self.histories.get(path)
        if history is None:
            history = self.histories[path] = PathHistory()
            drop_oldest(self.histories, PATHS_MAX)
        return history

    def readers(self, path: str) -> Iterator[int]:
        """Slots that read the path, the latest admitted first."""
        history = self.histories.get(path)
        for use in reversed(history.uses) if history else ():
            if use.access is Access.READ:
                yield use.slot
