"""Which older segment a command of the shell brought back: what `ctxgc recall` printed is a copy, not a new text.

    Bash: ctxgc recall '#6'  ──▶ slot 6, and if that is a recall itself, what it brought back

A tombstone of the copy names the original: else each recall would be evicted to a mark that names the recall, and the
way back would grow by one command each time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ctxgc.core.heap import FORGOTTEN, Heap
from ctxgc.core.segment import EdgeKind, Kind, Segment, Status

COMMAND_CHARS_CUT = 200
"""A command this long was cut: what else it did is not known."""

# The command alone, or with what shows a part of its output: whatever it printed, the original holds it. What was
# recalled out of another session is new to this one.
_FLAG = r"(?: --(?:raw|json|piece[ =][\w.]+))*"
_RECALL = re.compile(
    rf"(?:cd [^;&|\n]+ ?&& ?)?(?:[\w./~-]*/)?ctxgc recall{_FLAG} (['\"]?)(#\d+|[\w.:~-]+)\1{_FLAG}"
    r"(?: 2>(?:&1|/dev/null))?(?: ?\| ?(?:head|tail|sed|grep|rg|cat|less|nl|cut|fold)\b[^|;&`$>\n]*)*"
)


def recalled_name(segment: Segment) -> str:
    """The name under which this exchange recalled another segment and printed nothing else; empty if it did not."""
    command = segment.command.strip()
    if segment.kind is not Kind.EXCHANGE or segment.status is not Status.OK or len(command) >= COMMAND_CHARS_CUT:
        return ""
    said = _RECALL.fullmatch(command)
    return said[2] if said else ""


def copied(refs: Iterable[tuple[int, int]]) -> list[int]:
    """Of (older slot, edge kind) the slots whose content was brought back."""
    return [target for target, kind in refs if kind == EdgeKind.RECALLS]


def original_of(heap: Heap, slot: int) -> int:
    """The slot that holds what a slot shows: itself, unless it only brought back another. O(recalls of recalls)."""
    while found := [target for target in copied(heap.edges_of(slot)) if heap.state[target] != FORGOTTEN]:
        slot = found[0]
    return slot
