"""Which older segment a command of the shell brought back: what `ctxgc recall` printed is a copy, not a new text.

    Bash: ctxgc recall '#6'  ──▶ slot 6, and if that is a recall itself, what it brought back

A tombstone of the copy names the original: else each recall would be evicted to a mark that names the recall, and the
way back would grow by one command each time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ctxgc.core.heap import FORGOTTEN, Heap
from ctxgc.core.segment import EdgeKind, Kind, Segment, Status

COMMAND_CHARS_CUT = 200
"""A command this long was cut: what else it did is not known."""
PREFIX_CHARS_MIN = 4

# The command alone, or with what shows a part of its output: whatever it printed, the original holds it. What was
# recalled out of another session is new to this one.
_FLAG = r"(?: --(?:raw|json|piece[ =][\w.]+))*"
_RECALL = re.compile(
    rf"(?:cd [^;&|\n]+ ?&& ?)?(?:[\w./~-]*/)?ctxgc recall{_FLAG} (['\"]?)(#\d+|[\w.:~-]+)\1{_FLAG}"
    r"(?: 2>(?:&1|/dev/null))?(?: ?\| ?(?:head|tail|sed|grep|rg|cat|less|nl|cut|fold)\b[^|;&`$>\n]*)*"
)


def recalled_by(segment: Segment, slot: int, slot_of: Mapping[str, int]) -> int:
    """The older slot whose content this exchange printed, -1 if that is not what it did. `slot_of` finds ids."""
    command = segment.command.strip()
    if segment.kind is not Kind.EXCHANGE or segment.status is not Status.OK or len(command) >= COMMAND_CHARS_CUT:
        return -1
    said = _RECALL.fullmatch(command)
    if said is None:
        return -1
    name = said[2]
    if name.startswith("#"):
        found = [int(name[1:])]
    elif name in slot_of:
        found = [slot_of[name]]
    else:
        found = [at for id_, at in slot_of.items() if len(name) >= PREFIX_CHARS_MIN and id_.startswith(name)]
    return found[0] if len(found) == 1 and found[0] < slot else -1


def original_of(heap: Heap, slot: int) -> int:
    """The slot that holds what a slot shows: itself, unless it only brought back another. O(recalls of recalls)."""
    while True:
        copied = next((target for target, kind in heap.edges_of(slot) if kind == EdgeKind.RECALLS), -1)
        if copied < 0 or heap.state[copied] == FORGOTTEN:
            return slot
        slot = copied
