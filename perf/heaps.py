"""Heaps like those of real sessions, made from a seed: sizes, mix of kinds and references as measured on recordings."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from ctxgc.core.heap import Heap, HeapEntry, Proof
from ctxgc.core.paths import PathIndex
from ctxgc.core.reuse import FULL_READ, HAS_PATH, RANGED_READ
from ctxgc.core.segment import Access, EdgeKind, Kind, PathUse

SEGMENTS_PER_TURN = 3


def session_like(segments: int, seed: int = 7) -> tuple[Heap, PathIndex]:
    """A heap of so many segments: 60 % exchanges, a log-normal tail of sizes, one to five references each."""
    heap, paths = Heap(), PathIndex()
    for _ in grow_session(heap, paths, segments, seed):
        pass
    return heap, paths


def grow_session(heap: Heap, paths: PathIndex, segments: int, seed: int = 7) -> Iterator[int]:
    """Fill a heap with that session, segment by segment; yields each slot once it is in."""
    random = Random(seed)
    kinds = [Kind.TOOL_CALL] * 60 + [Kind.THINKING] * 18 + [Kind.ASSISTANT] * 18 + [Kind.USER] * 3 + [Kind.ATTACHMENT]
    for number in range(segments):
        kind = Kind.SYSTEM if number == 0 else random.choice(kinds)
        is_read = kind is Kind.TOOL_CALL and random.random() < 0.4
        turn = number // SEGMENTS_PER_TURN
        size = min(int(random.lognormvariate(5.2, 1.5)) + 1, 60_000)
        targets = (
            {int(number * (1 - random.betavariate(1, 12))) for _ in range(random.randint(1, 5))} if number else set()
        )
        entry = HeapEntry(
            id=f"s{number}",
            kind=kind,
            place=number * 8,
            born_turn=turn,
            skeleton_tokens=random.randint(5, 90),
            body_tokens=size,
            tombstone_tokens=random.randint(30, 60),
            tool="Read" if is_read else "Bash" if kind is Kind.TOOL_CALL else "",
            traits=random.choice((FULL_READ, RANGED_READ)) | HAS_PATH if is_read else 0,
        )
        slot = heap.admit(entry, [(t, EdgeKind.IDENTIFIER) for t in sorted(targets) if t < number])
        if is_read:
            use = PathUse(f"/src/file{random.randint(0, segments // 20 + 3)}.py", Access.READ)
            for old, reason in paths.superseded_reads(use, slot):
                heap.record_proof(old, Proof(reason, slot))
            paths.record_use(use, slot, turn)
        yield slot
