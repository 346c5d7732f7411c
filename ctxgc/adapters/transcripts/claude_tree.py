"""The tree of a Claude Code log: the branch of each record, and the window of each branch.

    prompt 1 ── reply ── prompt 2 ── reply          the branch left behind: departs as rewound
                   └──── prompt 2' ── reply         the newest branch: the window

Records point at their parent. Branches inside a reply (parallel calls) and branches made by progress, system and
attachment records are no forks: a fork is a user's text whose parent has such a text already, or lies on an abandoned
branch. Parents are compared by the nearest record with content (the `solid` parent). A compaction starts a branch
without a past. The tree keeps 8-byte hashes and numbers, about 150 bytes a record, never texts.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from ctxgc.adapters.transcripts.session_builder import Slots

ROOT = 0
"""Stands for "no parent"."""


def hash64(text: str) -> int:
    """A text as 64 bits, the same in every process."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") or 1


class RecordNode(NamedTuple):
    """A record of the tree."""

    solid: int
    """The stamp of the nearest record with content, upwards."""
    branch: int
    place: int
    """The next place of the window when the record came."""


class _Child(NamedTuple):
    """The first text below a parent: a second text makes a fork there."""

    branch: int
    place: int
    at: int


@dataclass(slots=True)
class _TreeBranch:
    """Segments before place `cut` (of records before number `cut_at`) are the parent's; then come its own."""

    parent: int
    cut: int
    cut_at: int
    slots: Slots


@dataclass(slots=True)
class Tree:
    """The tree of a session. The current branch's slots are the builder's window, saved here at the branch's end."""

    current: int = 0
    _at: dict[int, int] = field(default_factory=dict)
    _solid: array[int] = field(default_factory=lambda: array("Q"))
    _branch: array[int] = field(default_factory=lambda: array("l"))
    _place: array[int] = field(default_factory=lambda: array("q"))
    _texts: dict[int, _Child] = field(default_factory=dict)
    _branches: list[_TreeBranch] = field(default_factory=lambda: [_TreeBranch(-1, 0, 0, [])])

    def __contains__(self, uuid: str) -> bool:
        return hash64(uuid) in self._at

    def add_node(self, uuid: str, parent: str | None, is_solid: bool, place: int) -> int:
        """Record a node; its solid parent."""
        key = hash64(uuid)
        above = ROOT if not parent else self._solid_ancestor(hash64(parent))
        self._at[key] = len(self._solid)
        # A root that says nothing stands for itself: hooks at each start of a session are not one parent.
        self._solid.append(key if is_solid or above == ROOT else above)
        self._branch.append(self.current)
        self._place.append(place)
        return above

    def node(self, uuid: str) -> RecordNode | None:
        """The node of a record; `None` for an unknown record."""
        at = self._at.get(hash64(uuid))
        return None if at is None else RecordNode(self._solid[at], self._branch[at], self._place[at])

    def place_after(self, uuid: str, otherwise: int) -> int:
        """The next place of the window when the record after this one came."""
        at = self._at.get(hash64(uuid), len(self._place))
        return self._place[at + 1] if at + 1 < len(self._place) else otherwise

    def switch_branch_at_text(self, parent: int, window: Slots, is_prompt: bool) -> Slots | None:
        """The record added last is a text below the solid `parent`: the text's window if the window changes, else None.

        A text of the host (not a prompt) makes no fork, but a prompt beside it does.
        """
        last = len(self._solid) - 1
        first = self._texts.get(parent)
        if first is not None and not is_prompt:
            return None
        if first is not None:
            self._save_window(window)
            self._branches.append(_TreeBranch(first.branch, first.place, first.at, []))
            self.current = len(self._branches) - 1
        else:
            self._texts[parent] = _Child(self.current, self._place[last], last)
            at = self._at.get(parent)
            if not is_prompt or at is None or self._is_ancestor(self._branch[at], at):
                return None
            self._save_window(window)
            self.current = self._branch[at]
            self._texts[parent] = _Child(self.current, self._place[last], last)
        self._branch[last] = self.current
        return self._window_of_branch(self.current)

    def begin_compacted_branch(self, window: Slots, kept: Slots) -> None:
        """A compaction: a branch that begins with the segments that the host kept."""
        self._save_window(window)
        self._branches.append(_TreeBranch(-1, 0, 0, list(kept)))
        self.current = len(self._branches) - 1
        self._branch[-1:] = array("l", [self.current]) if self._branch else array("l")

    def _solid_ancestor(self, key: int) -> int:
        at = self._at.get(key)
        return key if at is None else self._solid[at]

    def _save_window(self, window: Slots) -> None:
        branch = self._branches[self.current]
        branch.slots = [slot for slot in window if slot[1] >= branch.cut]

    def _window_of_branch(self, number: int) -> Slots:
        slots: Slots = []
        cut: int | None = None
        while number >= 0:
            branch = self._branches[number]
            slots = [slot for slot in branch.slots if cut is None or slot[1] < cut] + slots
            cut = branch.cut if cut is None else min(cut, branch.cut)
            number = branch.parent
        return slots

    def _is_ancestor(self, branch: int, at: int) -> bool:
        """Whether record number `at` of that branch is an ancestor of the next record, not left behind by a fork."""
        number, cut = self.current, len(self._solid)
        while number >= 0:
            if number == branch:
                return at < cut
            cut = min(cut, self._branches[number].cut_at)
            number = self._branches[number].parent
        return False
