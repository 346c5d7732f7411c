"""The older segment that a shell command brought back: the output of `ctxgc recall` is a copy, not a new text.

    Bash: ctxgc recall '#6'  ──▶ slot 6, and if that is a recall itself, what it brought back

A tombstone of the copy names the original: else each recall would be evicted to a tombstone that names the recall, and
the way back would grow by a command each time.
"""

from __future__ import annotations

from collections.abc import Iterable

from ctxgc.core.heap import FORGOTTEN, Heap
from ctxgc.core.segment import EdgeKind, Segment, Status


def recalled_name(segment: Segment) -> str:
    """The name of the segment that this tool call recalled, and printed alone; else empty."""
    return segment.facts.recalls if segment.status is Status.OK else ""


def recalled_slots(refs: Iterable[tuple[int, int]]) -> list[int]:
    """The recalled slots among (older slot, edge kind) pairs."""
    return [target for target, kind in refs if kind == EdgeKind.RECALLS]


def original_slot(heap: Heap, slot: int) -> int:
    """The slot with the content that a slot shows: the slot itself, or the recalled slot. O(recalls of recalls)."""
    while targets := [
        target for target in recalled_slots(heap.refs_with_edge_kinds(slot)) if heap.state[target] != FORGOTTEN
    ]:
        slot = targets[0]
    return slot
