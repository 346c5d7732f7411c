"""Liveness: what a plan, the pacer and `why` hold of a body that is no root.

    live      a client or a person said so: the mark reaches the slot from a root by given references, or a pinned
              segment refers to the slot. A plan takes a live body only when nothing else is left; the pacer takes none.
    current   the slot shows lines of a file as the lines are (`core.paths`): needed more often than its like.
    named     a root refers to the slot, by a derived reference that is true more often than by chance.

Current and named bodies are weighed, never kept by force: a hard class of derived references was measured, and costs
re-reads (docs/decisions/0047).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import compress

from ctxgc.core.heap import PINNED, Heap
from ctxgc.core.mark import mark
from ctxgc.core.masks import filter_table, mask_positions
from ctxgc.core.paths import PathIndex
from ctxgc.core.reuse import ReuseWeights
from ctxgc.core.segment import NAMING_EDGES

CURRENT, NAMED, LIVE = 1, 2, 4
"""Bits of a liveness; 0: nothing speaks for the body but its own facts."""

_IS_NAMING = filter_table(lambda kind: kind in NAMING_EDGES)
_IS_PINNED = filter_table(lambda flags: bool(flags & PINNED))


def live_mask(heap: Heap, roots: bytes | bytearray) -> bytearray:
    """1 for each live slot; a root's is of no account. O(slots) at C speed + O(pins + given references)."""
    live = bytearray(len(heap)) if not heap.given else mark(heap.given, roots)
    for slot in mask_positions(heap.flags.translate(_IS_PINNED)):
        if roots[slot]:
            for target in named_targets(heap, slot):
                live[target] = 1
    return live


def find_liveness(heap: Heap, paths: PathIndex, roots: bytes | bytearray) -> bytearray:
    """The liveness of every slot; a root's is of no account. O(slots) at C speed + O(roots + their references)."""
    liveness = bytearray(len(heap))
    for slot in paths.current:
        liveness[slot] = CURRENT
    # Rows of edge kinds are few, and most roots are a user's words, which name nothing.
    naming_rows = {row for row in heap.shared_kinds if 1 in row.translate(_IS_NAMING)}
    for slot in compress(range(len(heap)), roots):
        if heap.ref_kinds[slot] in naming_rows:
            for target in named_targets(heap, slot):
                liveness[target] |= NAMED
    for slot in mask_positions(live_mask(heap, roots)):
        liveness[slot] |= LIVE
    return liveness


def named_targets(heap: Heap, slot: int) -> Iterator[int]:
    """The slots that a slot names, if it is a root."""
    return compress(heap.refs[slot], heap.ref_kinds[slot].translate(_IS_NAMING))


def newest_naming_root(heap: Heap, roots: bytes | bytearray, slot: int) -> int:
    """The newest root that names a slot; -1 without such a root. O(roots + their references)."""
    for root in sorted(compress(range(len(heap)), roots), reverse=True):
        if root > slot and slot in named_targets(heap, root):
            return root
    return -1


def liveness_terms(weights: ReuseWeights) -> tuple[float, ...]:
    """What each liveness adds to the log-odds of reuse; `LIVE` is an order of its own, and adds nothing."""
    soft = (0.0, weights.current, weights.named, weights.current + weights.named)
    return (*soft, *soft)
