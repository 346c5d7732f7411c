"""Proven garbage: bodies that a later segment of the same session makes useless. First out, each with its reason.

    duplicate              a later tool call has the same call and the same result
    superseded_read        a later read covers its lines
    stale_read             the file was changed, and a later read shows most of the lines as they are now
    superseded_write       the written text was read back, or written again
    failed_then_succeeded  an error older than a few turns that a later call like it did not have
    superseded_plan        a newer plan or todo list stands
    empty                  a result without a character that prints

A proof names the later segment. A proof falls when the proving segment departs or is forgotten: a rewound segment never
happened, and a compacted segment shows no text any more.

False garbage costs a page fault, missed garbage only its rank: a doubtful rule gives no proof.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import compress, filterfalse
from operator import and_, attrgetter

from ctxgc.core.heap import EVICTED, IS_INSIDE, PENDING, Heap, Now, Proof
from ctxgc.core.paths import PathIndex
from ctxgc.core.roots import slots_born_since
from ctxgc.core.rules import Rules
from ctxgc.core.segment import (
    Access,
    Kind,
    PathUse,
    Segment,
    SegmentHeader,
    Status,
    conflict_base_id,
    content_digest,
    text_bytes,
)

REASONS = (
    "duplicate",
    "superseded_read",
    "stale_read",
    "superseded_write",
    "failed_then_succeeded",
    "superseded_plan",
    "empty",
)

# A skeleton is canonical JSON with sorted keys, so a tool call's begins with its call id.
_CALL_ID = re.compile(rb'^\{"call_id":"(?:[^"\\]|\\.)*"')

FAILED_KEPT_MAX = 64
"""Failures of one attempt that wait for a success (I12)."""

_PROVING_SLOT = attrgetter("by")

SlotProofs = list[tuple[int, Proof]]


class GarbageIndex:
    """Finds the bodies that a new tool call proves useless. A cache, rebuilt like the reference index."""

    def __init__(self, paths: PathIndex) -> None:
        self._paths = paths
        self._likeness: dict[bytes, int] = {}
        self._unread_parts: dict[int, int] = {}
        """Pure reads: how many of their path ranges no later read has covered."""
        self._written: dict[str, int] = {}
        self._failed: dict[tuple[str, str, str], list[int]] = {}
        self._plans: dict[str, int] = {}

    def prove_garbage(self, slot: int, segment: Segment) -> SlotProofs:
        """Proofs that the tool call in `slot` brings, older slots first. Call before the paths are recorded.

        A conflicting content stands in no window: a proof by such a content would not hold, and would keep a later
        proof out. Of a segment without content all proofs but duplicates and emptiness are found.
        """
        if not is_provable(segment):
            return []
        proofs = self.prove_duplicate(slot, segment) + self.prove_by_call(slot, segment)
        if _is_empty_result(segment):
            proofs.append((slot, Proof("empty", -1)))
        return sorted(entry for entry in proofs if entry[0] < slot or entry[1].by == -1)

    def prove_by_call(self, slot: int, segment: Segment | SegmentHeader) -> SlotProofs:
        """Proofs that need no content of a provable tool call, in no order; some may name `slot` itself or later."""
        proofs = self._prove_superseded_plan(slot, segment)
        if segment.status is Status.ERROR:
            failed = self._failed.setdefault(_attempt_key(segment), [])
            failed.append(slot)
            del failed[:-FAILED_KEPT_MAX]
            return proofs
        for old in self._failed.pop(_attempt_key(segment), ()) if self._failed else ():
            proofs.append((old, Proof("failed_then_succeeded", slot)))
        facts = segment.facts
        for use in segment.paths:
            if use.access is Access.READ and facts.is_pure_read and not facts.is_cut:
                proofs += self._prove_superseded_by_read(slot, use)
            elif use.access is Access.WRITE and facts.is_pure_write:
                proofs += self._prove_superseded_by_write(slot, use)
        reads = sum(use.access is Access.READ for use in segment.paths)
        if reads and facts.is_pure_read:
            self._unread_parts[slot] = reads
        return proofs

    def prove_duplicate(self, slot: int, segment: Segment) -> SlotProofs:
        """The older tool call with the same call and result, if there is one; records this call."""
        key = likeness_key(segment)
        return self.note_likeness(slot, key) if key else []

    def note_likeness(self, slot: int, key: bytes) -> SlotProofs:
        """`prove_duplicate` of a call whose `likeness_key` is known."""
        old, self._likeness[key] = self._likeness.get(key, slot), slot
        return [(old, Proof("duplicate", slot))] if old < slot else []

    def _prove_superseded_plan(self, slot: int, segment: Segment | SegmentHeader) -> SlotProofs:
        if not segment.facts.is_plan or segment.status is Status.ERROR:
            return []
        # A todo list follows from a plan, it does not replace it: each tool has its own newest.
        old = self._plans.get(segment.tool, -1)
        self._plans[segment.tool] = max(slot, old)
        return [(old, Proof("superseded_plan", slot))] if 0 <= old < slot else []

    def _prove_superseded_by_read(self, slot: int, use: PathUse) -> SlotProofs:
        proofs: SlotProofs = []
        for old, reason in self._paths.take_superseded_reads(use, slot):
            parts = self._unread_parts.get(old)
            if parts == 1:
                del self._unread_parts[old]
                proofs.append((old, Proof(reason, slot)))
            elif parts:
                self._unread_parts[old] = parts - 1
        written = self._written.get(use.path, slot)
        if written < slot and use.first_line == 1 and use.last_line == PathUse("", Access.READ).last_line:
            del self._written[use.path]
            proofs.append((written, Proof("superseded_write", slot)))
        return proofs

    def _prove_superseded_by_write(self, slot: int, use: PathUse) -> SlotProofs:
        old, self._written[use.path] = self._written.get(use.path, slot), slot
        return [(old, Proof("superseded_write", slot))] if old < slot else []


def is_provable(segment: Segment | SegmentHeader) -> bool:
    """Whether a segment may prove others garbage: a call that ended, under its own id."""
    is_ended = segment.kind is Kind.TOOL_CALL and segment.status is not Status.PENDING
    return is_ended and not conflict_base_id(segment.id)


def likeness_key(segment: Segment) -> bytes:
    """The same for two calls with the same call and the same result, in any process; empty where no call is like it."""
    if not segment.body or not is_provable(segment):
        return b""
    call = text_bytes(f"{segment.tool} {segment.status}") + _CALL_ID.sub(b"", segment.skeleton, 1)
    return content_digest(call, segment.body)


def _is_empty_result(segment: Segment) -> bool:
    if segment.has_opaque:
        return False  # An image, or a document, alone: much was shown, and none of it prints.
    results = [piece for piece in segment.body if piece.name == "result"]
    return 0 < len(results) == len(segment.body) and not any(piece.data.strip() for piece in results)


def _attempt_key(segment: Segment | SegmentHeader) -> tuple[str, str, str]:
    """The key of the calls that try the same thing: the tool, with the file or with the command's first words."""
    path = segment.paths[0].path if segment.paths and not segment.command else ""
    return segment.tool, segment.facts.attempt, path


def garbage_proof(heap: Heap, slot: int, now: Now, rules: Rules) -> Proof | None:
    """The proof that a slot is garbage, if a proof holds now."""
    proof = heap.proofs.get(slot)
    if proof is None or heap.has_flag(slot, PENDING):
        return None
    if proof.by >= 0 and heap.state[proof.by] > EVICTED:
        return None
    if proof.reason == "failed_then_succeeded" and heap.born[slot] >= now.turn - rules.error_turns:
        return None
    return proof


def garbage_slots(heap: Heap, among: bytes | bytearray, now: Now, rules: Rules) -> list[int]:
    """The slots with a `garbage_proof`, ascending, of those that `among` marks with 1; no slot is pending."""
    return sorted(iter_garbage(heap, among, now, rules))


def iter_garbage(heap: Heap, among: bytes | bytearray, now: Now, rules: Rules) -> Iterator[int]:
    """The same slots in the order of their proofs.

    A plan asks for a hundred thousand at once: the rule of `garbage_proof` by columns, at C speed. O(proofs).
    """
    proofs = heap.proofs
    # The proving slot -1 reads the last of this column: what proves itself never falls.
    is_inside = heap.state.translate(IS_INSIDE) + b"\1"
    stands = map(is_inside.__getitem__, map(_PROVING_SLOT, proofs.values()))
    proven = compress(proofs, map(and_, map(among.__getitem__, proofs), stands))
    young = slots_born_since(heap, now.turn - rules.error_turns)
    waiting = {slot for slot in young if slot in proofs and proofs[slot].reason == "failed_then_succeeded"}
    return filterfalse(waiting.__contains__, proven) if waiting else proven
