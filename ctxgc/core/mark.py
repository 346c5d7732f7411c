"""Mark: what do the roots reach?

References point to older slots only (a call and its result are one segment), so one scan from the newest slot to
the oldest settles every slot before it is looked at: no stack, no colours, no cycles.

Source: mark-sweep, McCarthy 1960; reverse topological scan over a DAG. Measured against stack and set traversals in
Python and in C: this is the fastest that needs no native code, and about 10 to 35 times a C scan of the same graph.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import compress


def mark(refs: Sequence[tuple[int, ...]], roots: bytes | bytearray) -> bytearray:
    """1 for each slot that a path of references joins to a root, roots included (I11). O(slots + references)."""
    reached = bytearray(map(bool, roots))
    for slot in range(len(refs) - 1, -1, -1):
        if reached[slot]:
            for target in refs[slot]:
                reached[target] = 1
    return reached


def path_from_root(refs: Sequence[tuple[int, ...]], roots: bytes | bytearray, goal: int) -> list[int]:
    """Slots of a shortest path of references from a root to `goal`, both included; empty if there is none.

    Deterministic: among equally short paths the one through the newest slots. O(slots + references).
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
