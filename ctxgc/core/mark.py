"""Mark: the slots that the roots reach by the references that a client said.

References point to older slots only (a call and its result share a segment), so a single scan from the newest slot to
the oldest settles every slot in time: no stack, no colours, no cycles. References that a client said are few where
slots are many, so the scan looks at the slots that have such references, and at no other slot.

Source: mark-sweep, McCarthy 1960; reverse topological scan over a DAG (`python -m perf.bench_mark`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, compress

_IS_ROOT = bytes([0] + [1] * 255)


def mark(refs: Mapping[int, Sequence[int]], roots: bytes | bytearray) -> bytearray:
    """1 for each slot that a path of references joins to a root, roots included (I11).

    `refs` are the older slots that a slot refers to, for each slot that refers to any. O(slots) at C speed +
    O(references).
    """
    reached = bytearray(roots.translate(_IS_ROOT))
    # A slot's own mark is looked at when its turn comes: by then every younger slot has had its say.
    for target in chain.from_iterable(refs[slot] for slot in sorted(refs, reverse=True) if reached[slot]):
        reached[target] = 1
    return reached


def path_from_root(refs: Callable[[int], Iterable[int]], roots: bytes | bytearray, goal: int) -> list[int]:
    """Slots of a shortest path of references from a root to `goal`, both included; empty if there is none.

    `refs` gives the older slots that a slot refers to. Deterministic: of equally short paths the path through the
    newest slots. O(slots + references).
    """
    if roots[goal]:
        return [goal]
    starts = list(compress(range(len(roots)), roots))
    came_from: dict[int, int] = dict.fromkeys(reversed(starts), -1)
    queue = deque(came_from)
    while queue:
        slot = queue.popleft()
        if slot == goal:
            path = [slot]
            while (slot := came_from[slot]) >= 0:
                path.append(slot)
            return path[::-1]
        for target in refs(slot):
            if target not in came_from:
                came_from[target] = slot
                queue.append(target)
    return []
