"""Heaps like those of real sessions, made from a seed: sizes, kinds, references and life as measured on recordings.

    call ──pending──▶ its result ──touched, pinned, proven──▶ a host rewinds the last turns: departed

What a heap without a life hides: an answered call moves no place but changes an entry, a touch sets a use apart from a
birth, a pin and a departure take a slot out of every order, and the ids of hosts have 30 characters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from string import ascii_letters, digits

from ctxgc.core.heap import DEPARTED, EVICTED, PENDING, Heap, HeapEntry, Proof
from ctxgc.core.paths import PathIndex
from ctxgc.core.reuse import FULL_READ, HAS_PATH, RANGED_READ
from ctxgc.core.segment import Access, EdgeKind, Kind, PathUse

SEGMENTS_PER_TURN = 3
TOUCHED_PART = 0.25
"""Touches a segment: with them a fifth of the candidates was used again."""
PINNED_PART = 0.002
UNANSWERED_PART = 0.001
REWOUND_PART = 1 / 600
"""Rewinds a segment: one in two hundred turns takes the last two turns out of the window."""
REWOUND_SEGMENTS = 2 * SEGMENTS_PER_TURN

_KINDS = [Kind.TOOL_CALL] * 60 + [Kind.THINKING] * 18 + [Kind.ASSISTANT] * 18 + [Kind.USER] * 3 + [Kind.ATTACHMENT]


def session_like(segments: int, seed: int = 7, *, has_proofs: bool = True) -> tuple[Heap, PathIndex]:
    """A heap of so many segments: 60 % tool calls, a log-normal tail of sizes, one to five references each."""
    heap, paths = Heap(), PathIndex()
    for _ in grow_session(heap, paths, segments, seed):
        pass
    if not has_proofs:
        heap.proofs.clear()
    return heap, paths


def grow_session(heap: Heap, paths: PathIndex, segments: int, seed: int = 7) -> Iterator[int]:
    """Fill a heap with that session, segment by segment; yields each slot once it is in."""
    random = Random(seed)
    for number in range(segments):
        turn = number // SEGMENTS_PER_TURN
        entry = make_entry(random, number)
        slot = admit_and_answer(heap, entry, make_edges(random, number), is_answered=random.random() > UNANSWERED_PART)
        if entry.tool == "Read":
            use = PathUse(f"/src/file{random.randint(0, segments // 20 + 3)}.py", Access.READ)
            for old, reason in paths.take_superseded_reads(use, slot):
                heap.record_proof(old, Proof(reason, slot))
            paths.record_use(use, slot, turn)
        _live_on(heap, random, turn)
        yield slot


def make_entry(random: Random, number: int) -> HeapEntry:
    kind = Kind.SYSTEM if number == 0 else random.choice(_KINDS)
    is_read = kind is Kind.TOOL_CALL and random.random() < 0.4
    return HeapEntry(
        id=f"toolu_01{''.join(random.choices(ascii_letters + digits, k=22))}",
        kind=kind,
        place=number * 8,
        born_turn=number // SEGMENTS_PER_TURN,
        skeleton_tokens=random.randint(5, 90),
        body_tokens=min(int(random.lognormvariate(5.2, 1.5)) + 1, 60_000),
        tombstone_tokens=random.randint(30, 60),
        tool="Read" if is_read else "Bash" if kind is Kind.TOOL_CALL else "",
        traits=random.choice((FULL_READ, RANGED_READ)) | HAS_PATH if is_read else 0,
    )


def make_edges(random: Random, number: int) -> list[tuple[int, int]]:
    if not number:
        return []
    targets = {int(number * (1 - random.betavariate(1, 12))) for _ in range(random.randint(1, 5))}
    kinds = (EdgeKind.DEFINITION, EdgeKind.PATH_SPOKEN, EdgeKind.REPLACES, EdgeKind.PATH_LINE)
    return [(target, kinds[target % 4]) for target in sorted(targets) if target < number]


def admit_and_answer(heap: Heap, entry: HeapEntry, edges: Sequence[tuple[int, int]], *, is_answered: bool) -> int:
    """Admit a segment as hosts say it: a tool call is pending first, and completed by its result."""
    if entry.kind is not Kind.TOOL_CALL:
        return heap.admit(entry, edges)
    slot = heap.admit(replace(entry, body_tokens=0, tombstone_tokens=0, flags=PENDING), edges)
    if is_answered:
        heap.complete(slot, entry)
    return slot


def _live_on(heap: Heap, random: Random, turn: int) -> None:
    """What else happens as a segment comes in: a touch, a pin, a rewind."""
    newest = len(heap) - 1
    if random.random() < TOUCHED_PART:
        heap.touch(int(newest * (1 - random.betavariate(1, 6))), turn)
    if random.random() < PINNED_PART:
        heap.set_pinned(random.randint(0, newest), True)
    if random.random() < REWOUND_PART and newest > 2 * REWOUND_SEGMENTS:
        for slot in range(newest - REWOUND_SEGMENTS, newest):
            if heap.state[slot] <= EVICTED:
                heap.set_state(slot, DEPARTED)
