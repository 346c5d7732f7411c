"""Lines of files by the tool calls that touched the lines: the path half of the reference index.

For each path: every use in order of admission; the reads that no later read has covered yet, sorted by range, so that a
new read finds the covered reads without looking at the others; and the newest view of each line.

A *view* is a read, a write, or an edit whose lines are known: the slot shows the lines of the range. Another edit
changes a file, and shows no lines. A slot is *current* while the slot is the newest view of a line of its file, or an
edit that no later view shows.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ctxgc.core.segment import LINE_MAX, Access, PathUse

USES_PER_PATH_MAX = 4096
PATHS_MAX = 100_000
"""The oldest paths, and the oldest uses of a path, are dropped from the index: they stay in the heap (I12)."""


SAME_NAME_MAX = 512
"""With more files of the same name in a session, a text names none of them."""

_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
"""A drive, or a server."""
_VERBATIM = re.compile(r"//[?.]/(?:(unc/)|(?=[a-z]:/))")
"""In front of a drive or a server: as the system takes the path, whatever its length."""

_ANY_SLOT = 1 << 62
"""Above every slot."""
_RELATIVE = re.compile(r"^(?:\.{1,2}/)+")


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


def is_view(use: SlotUse | PathUse) -> bool:
    """Whether a use is known to show the lines of its range: an edit without a range says nothing of lines."""
    if use.access is Access.EDIT:
        return use.last_line < LINE_MAX
    return use.access is not Access.MENTION


def _has_line_in_range(use: SlotUse, first: int, last: int) -> bool:
    return use.first_line <= last and first <= use.last_line


def _discard_read(reads: list[ReadLines], read: ReadLines) -> None:
    at = bisect_left(reads, read)
    if reads[at : at + 1] == [read]:
        del reads[at]


def _is_half_covered(use: PathUse, old: ReadLines) -> bool:
    shared = min(use.last_line, old.last) - max(use.first_line, old.first) + 1
    return old.last < LINE_MAX and 2 * shared >= old.last - old.first + 1


@dataclass(slots=True)
class PathHistory:
    """The history of a file."""

    uses: list[SlotUse] = field(default_factory=list)
    uncovered: list[ReadLines] = field(default_factory=list)
    """Reads that no later read covers, sorted."""
    last_change: int = -1
    """Newest slot that wrote or edited the file."""
    touched_turn: int = -1
    namers: list[int] = field(default_factory=list)
    """Slots that named the file, whatever the outcome of the calls, ascending, up to the bound."""
    views: list[ReadLines] = field(default_factory=list)
    """The newest view of each line: disjoint ranges, ascending."""
    unseen_edits: list[int] = field(default_factory=list)
    """Slots of edits without a range that no later view shows."""
    newest_view_slot: int = -1
    """Newest slot that showed a line."""

    def record_view(self, use: SlotUse) -> list[tuple[int, int]]:
        """Take a use for the newest view of its lines, but for those that a later slot shows.

        The changes of how many ranges and edits each slot shows, as (slot, change). O(log ranges + changes).
        """
        slot, first, last = use.slot, use.first_line, use.last_line
        if not is_view(use):
            if slot < self.newest_view_slot:
                return []
            self.unseen_edits.append(slot)
            return [(slot, 1)]
        changes: list[tuple[int, int]] = []
        if self.unseen_edits:
            changes = [(edit, -1) for edit in self.unseen_edits if edit < slot]
            self.unseen_edits = [edit for edit in self.unseen_edits if edit >= slot]
        self.newest_view_slot = max(self.newest_view_slot, slot)
        start, end = self._overlapping_view_bounds(first, last)
        kept: list[ReadLines] = []
        at = first
        for view in self.views[start:end]:
            if view.slot > slot:
                kept += [ReadLines(at, view.first - 1, slot)] if at < view.first else []
                kept.append(view)
                at = view.last + 1
            else:
                kept += [ReadLines(view.first, first - 1, view.slot)] if view.first < first else []
                kept += [ReadLines(last + 1, view.last, view.slot)] if view.last > last else []
        kept += [ReadLines(at, last, slot)] if at <= last else []
        changes += [(view.slot, -1) for view in self.views[start:end]] + [(view.slot, 1) for view in kept]
        self.views[start:end] = sorted(kept)
        return changes

    def _overlapping_view_bounds(self, first: int, last: int) -> tuple[int, int]:
        """The part of `views` with a line of the range."""
        start = bisect_left(self.views, (first, -1, -1))
        start -= start > 0 and self.views[start - 1].last >= first
        return start, bisect_right(self.views, (last, LINE_MAX, _ANY_SLOT))

    def newest_slot_showing_lines(self, first: int, last: int, before: int) -> int:
        """The newest slot older than `before` that shows a line of the range; -1 without such a slot."""
        start, end = self._overlapping_view_bounds(first, last)
        slots = [view.slot for view in self.views[start:end]]
        if not slots or max(slots) < before:
            return max(slots, default=-1)
        for use in reversed(self.uses):  # A later slot shows some of the lines: an older one may have, too.
            if use.slot < before and is_view(use) and _has_line_in_range(use, first, last):
                return use.slot
        return -1

    def drop_slot(self, slot: int) -> list[tuple[int, int]]:
        """Forget what a slot shows; the changes, as of `record_view`. O(ranges)."""
        changes = [(slot, -1) for view in self.views if view.slot == slot]
        changes += [(slot, -1) for edit in self.unseen_edits if edit == slot]
        self.views = [view for view in self.views if view.slot != slot]
        self.unseen_edits = [edit for edit in self.unseen_edits if edit != slot]
        return changes

    def current_slots(self) -> Iterator[int]:
        """The slots that show something, one for each range and edit."""
        yield from (view.slot for view in self.views)
        yield from self.unseen_edits


class PathIndex:
    """Paths of a session. Pure bookkeeping: the index knows slots and lines, not texts."""

    def __init__(self) -> None:
        self.histories: dict[str, PathHistory] = {}
        self._by_name: dict[str, list[str]] = {}
        """Paths by their last part, in order of appearance."""
        self.current: dict[int, int] = {}
        """How many ranges and edits each current slot shows."""
        self._outside: set[int] = set()

    def record_naming(self, slot: int, uses: Sequence[PathUse]) -> dict[int, int]:
        """Record the files that a slot names: for the slot, and for each later slot of a file, the number of earlier
        slots.

        A slot that names several files has the largest number of these files. A late result moves the later slots, so
        that the numbers are the same in any order of arrival. O(later namers).
        """
        namings = {slot: 0}
        if not uses:
            return namings
        for path in dict.fromkeys(use.path for use in uses):
            namers = self._ensure_history(path).namers
            at = bisect_left(namers, slot) if namers and namers[-1] >= slot else len(namers)
            namers.insert(at, slot)
            if len(namers) > USES_PER_PATH_MAX:
                del namers[USES_PER_PATH_MAX:]
            namings[slot] = max(namings[slot], at)
            for number in range(at + 1, len(namers)):
                namings[namers[number]] = max(namings.get(namers[number], 0), number)
        return namings

    def newest_use_slot(self, use: PathUse, before: int) -> int:
        """The newest slot older than `before` that touched a line of the range, an edit any line of its file; -1
        without such a slot."""
        history = self.histories.get(use.path)
        for old in reversed(history.uses) if history else ():
            if (
                old.slot < before
                and _has_line_in_range(old, use.first_line, use.last_line)
                and old.access is not Access.MENTION
            ):
                return old.slot
        return -1

    def newest_slot_with_view(self, use: PathUse, before: int) -> int:
        """The newest slot older than `before`, inside of the window, that shows a line of the range; -1 without such a
        slot."""
        history = self.histories.get(use.path)
        return history.newest_slot_showing_lines(use.first_line, use.last_line, before) if history else -1

    def current_ranges(self, slot: int) -> list[tuple[str, int, int]]:
        """(path, first line, last line) of each range that a slot is the newest view of. O(ranges)."""
        return [(path, v.first, v.last) for path, of in self.histories.items() for v in of.views if v.slot == slot]

    def files_with_unseen_edits(self, slot: int) -> list[str]:
        """The files that a slot edited, and that no later view shows. O(edits)."""
        return [path for path, history in self.histories.items() if slot in history.unseen_edits]

    def set_slots_outside(self, slots: Iterable[int], *, is_outside: bool) -> None:
        """Slots leave the window for good, or return: a view outside of the window shows nothing. O(uses)."""
        moved = set(slots)
        if is_outside:
            self._outside |= moved
        else:
            self._outside -= moved
        for history in self.histories.values():
            if any(use.slot in moved for use in history.uses):
                self._update_current_counts([(slot, -1) for slot in history.current_slots()])
                history.views, history.unseen_edits, history.newest_view_slot = [], [], -1
                for use in history.uses:
                    if use.access is not Access.MENTION and use.slot not in self._outside:
                        self._update_current_counts(history.record_view(use))

    def _update_current_counts(self, changes: Iterable[tuple[int, int]]) -> None:
        current = self.current
        for slot, change in changes:
            count = current.get(slot, 0) + change
            if count:
                current[slot] = count
            else:
                current.pop(slot, None)

    def take_superseded_reads(self, use: PathUse, slot: int) -> list[tuple[int, str]]:
        """Older reads of the path that this read makes useless, with why; they leave the uncovered set.

        A read whose lines are all shown again is `superseded_read`. If the file was changed in between, lines may have
        moved, so half of the lines are enough: `stale_read`. A read to the end of the file has no half.
        """
        history = self.histories.get(use.path)
        if history is None:
            return []
        changed = history.last_change if history.last_change < slot else -1
        # Without a change in between, only reads that begin no earlier can be covered.
        uncovered = history.uncovered
        start = 0 if changed >= 0 else bisect_left(uncovered, (use.first_line, 0, 0))
        end = bisect_right(uncovered, (use.last_line, LINE_MAX, slot))
        slots, kept = [], []
        for old in uncovered[start:end]:
            if old.slot < slot and use.first_line <= old.first and old.last <= use.last_line:
                slots.append((old.slot, "superseded_read"))
            elif old.slot < slot and old.slot < changed and _is_half_covered(use, old):
                slots.append((old.slot, "stale_read"))
            else:
                kept.append(old)
        if slots:
            uncovered[start:end] = kept
        return sorted(slots)

    def record_use(self, use: PathUse, slot: int, turn: int, *, is_outside: bool = False) -> None:
        """Record a use, of a slot in the window or outside. O(log uses + ranges of the path)."""
        history = self._ensure_history(use.path)
        history.touched_turn = max(history.touched_turn, turn)
        new = SlotUse(slot, use.access, use.first_line, use.last_line)
        if not history.uses or history.uses[-1].slot <= slot:
            history.uses.append(new)
        else:
            insort(history.uses, new, key=lambda other: other.slot)  # A call that completes late may be older.
        if is_outside:
            self._outside.add(slot)
        elif use.access is not Access.MENTION:
            self._update_current_counts(history.record_view(new))
        if len(history.uses) > USES_PER_PATH_MAX:
            dropped = history.uses.pop(0)
            _discard_read(history.uncovered, ReadLines(dropped.first_line, dropped.last_line, dropped.slot))
            self._update_current_counts(history.drop_slot(dropped.slot))
        if use.access is Access.READ:
            entry = ReadLines(use.first_line, use.last_line, slot)
            at = bisect_left(history.uncovered, entry)
            if history.uncovered[at : at + 1] != [entry]:
                history.uncovered.insert(at, entry)
        elif use.access is not Access.MENTION:
            history.last_change = max(history.last_change, slot)

    def _ensure_history(self, path: str) -> PathHistory:
        history = self.histories.get(path)
        if history is None:
            history = self.histories[path] = PathHistory()
            self._by_name.setdefault(path.rpartition("/")[2], []).append(path)
            if len(self.histories) > PATHS_MAX:
                self._drop_history(next(iter(self.histories)))
        return history

    def _drop_history(self, path: str) -> None:
        self._update_current_counts([(slot, -1) for slot in self.histories.pop(path).current_slots()])
        name = path.rpartition("/")[2]
        self._by_name[name].remove(path)
        if not self._by_name[name]:
            del self._by_name[name]

    def known_path(self, words: str) -> str:
        """The known path that a path in a text stands for: the same path, or the one whose end is named, or whose last
        part is; empty where no known path matches, or several do. O(paths of the name), up to a bound."""
        words = canonical_path(_RELATIVE.sub("", words)).replace("\\", "/")
        for same in (words, "/" + words):
            if same in self.histories:
                return same
        name = words.rpartition("/")[2]
        known = self._by_name.get(name) or self._by_name.get(name.lower()) or []
        if len(known) > SAME_NAME_MAX:
            return ""
        end, end_lower = f"/{words}", f"/{words.lower()}"
        found = [path for path in known if path.endswith(end_lower if is_windows_path(path) else end)]
        return found[0] if len(found) == 1 else ""

    def reader_slots(self, path: str) -> Iterator[int]:
        """Slots that read the path, the newest first."""
        history = self.histories.get(path)
        for use in reversed(history.uses) if history else ():
            if use.access is Access.READ:
                yield use.slot
