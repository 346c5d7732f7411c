"""Mark: the slots that the roots reach.

References point to older slots only (a call and its result share a segment), so a single scan from the newest slot to
the oldest settles every slot in time: no stack, no colours, no cycles.

Source: mark-sweep, McCarthy 1960; reverse topological scan over a DAG. Measured against stack and set traversals in
Python and in C: this is the fastest that needs no native code, 10 to 50 times a C scan of the same graph
(`python -m perf.bench_mark`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import chain, compress

_IS_ROOT = bytes([0] + [1] * 255)


def mark(refs: Sequence[tuple[int, ...]], roots: bytes | bytearray) -> bytearray:
    """1 for each slot that a path of references joins to a root, roots included (I11). O(slots + references)."""
    reached = list(roots.translate(_IS_ROOT))
    # Both iterators walk from the newest slot down in step, and `compress` asks for a slot's mark only when its turn
    # comes: by then every younger slot has had its say. A list takes single marks faster than a bytearray.
    for target in chain.from_iterable(compress(reversed(refs), reversed(reached))):
        reached[target] = 1
    return bytearray(reached)


def path_from_root(refs: Sequence[tuple[int, ...]], roots: bytes | bytearray, goal: int) -> list[int]:
    """Slots of a shortest path of references from a root to `goal`, both included; empty if there is none.

    Deterministic: of equally short paths the path through the newest slots. O(slots + references).
    """
    if roots[goal]:
        return [goal]
    starts = list(compress(range(len(refs)), roots))
    came_from: dict[int, int] = dict.fromkeys(reversed(starts), -1)
    queue = deque(came_from)
    while queue:
        slot = queue.popleft()
        if slot == goal:
            path = [slot]
            while (slot := came_from[slot]) >= 0:
                path.append(slot)
            return path[::-1]
        for target in refs[slot]:
            if target not in came_from:
                came_from[target] = slot
                queue.append(target)
    return []
