"""A session's segments in memory: heap, indexes, digests. All three follow from the session's rows.

    rows ──from_rows──▶ SessionIndex ◀──admit── one more segment
                           │ its commit failed
                           └──▶ thrown away, and made again from rows

Any thread may build the index and hand it over whole; only the session changes the index, inside a change. No function
waits.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ctxgc.adapters.facts.tool_facts import add_row_facts
from ctxgc.core.entry.elisions import Elision
from ctxgc.core.garbage import GarbageIndex
from ctxgc.core.heap import EVICTED, PENDING, PINNED, STATES, Heap, HeapEntry, PointerEdge, Proof
from ctxgc.core.heap_entry import SegmentTokens, heap_entry_of
from ctxgc.core.reference import Ref, ReferenceIndex
from ctxgc.core.rules import Rules
from ctxgc.core.segment import DIGEST_BYTES, Access, Kind, Piece, Segment, SessionKey, State, Status
from ctxgc.daemon.sessions.intake import PreparedSegment, lost_segment_entry, tombstone_tokens_at
from ctxgc.stash.contract import Edge, SegmentRow


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """The configuration's settings for every session."""

    rules: Rules = field(default_factory=Rules)
    evictable_kinds: tuple[Kind, ...] = (Kind.TOOL_CALL, Kind.ATTACHMENT, Kind.THINKING)
    has_evictable_inputs: bool = True
    recall_grace_turns: int = 3
    has_words: bool = False
    """Whether sessions know the holders of words, which only shortening in shadow asks for."""


ROWS_PER_BREATH = 64
"""Rows restored before the loop's thread may go on: some two milliseconds."""


class Admission(NamedTuple):
    """The rows that an admission writes to the stash."""

    row: SegmentRow
    refs: list[Ref]
    proofs: list[tuple[int, Proof]]
    """Slots that the admission proved garbage, each with its proof."""
    reread_slot: int
    """The evicted newest view of lines that the segment reads; -1: none."""


class SessionIndex:
    """The segments of a session, in memory: no texts, only the hashes of words."""

    def __init__(self, settings: SessionSettings) -> None:
        self.heap = Heap(settings.evictable_kinds)
        self.index = ReferenceIndex(has_words=settings.has_words)
        self.has_text = False
        """Whether the index knows the words of every segment, which an admission needs."""
        self.place_max = 0
        self.redacted: set[int] = set()
        """Slots whose stored content is redacted."""
        self.left_evicted: set[int] = set()
        """Slots that departed while their bodies were out."""
        self.uneditable: set[int] = set()
        """Slots that are opaque to the collector only because their host's list cannot be edited there."""
        self.changed: set[int] = set()
        """Slots under whose ids the host's list holds another content now."""
        self.elisions: dict[int, tuple[Elision, ...]] = {}
        """Slots whose results show lines of older results by pointers."""
        self._settings = settings
        self._garbage = GarbageIndex(self.index.paths)
        self._digests = bytearray()

    @classmethod
    def from_rows(cls, rows: Iterable[SegmentRow], settings: SessionSettings) -> SessionIndex:
        """The index of rows in seq order. O(rows): ten thousand rows are worth a thread beside the loop."""
        indexes = cls(settings)
        for number, row in enumerate(rows, 1):
            indexes._restore_row(row)
            if number % ROWS_PER_BREATH == 0:
                time.sleep(0)  # Hands the interpreter to the loop's thread.
        return indexes

    def _restore_row(self, row: SegmentRow) -> None:
        while len(self.heap) < row.seq:
            # A repair could not save this row. Slots are seqs, so something must stand in its slot.
            self.heap.admit(lost_segment_entry(len(self.heap)), [])
        segment = add_row_facts(row.segment)
        if row.elisions:
            self.elisions[row.seq] = row.elisions
        is_said = row.state is not State.FORGOTTEN and segment.status is not Status.PENDING
        namings = self.index.paths.record_naming(row.seq, segment.paths)[row.seq] if is_said else 0
        entry = self._heap_entry(row, segment, namings)
        if row.state is not State.RESIDENT or row.touches or row.touched_turn != entry.touched_turn:
            # Most rows are as they were admitted, and a copy costs as much as the entry.
            state = STATES.index(row.state)
            entry = replace(entry, state=state, touched_turn=row.touched_turn, touches=row.touches)
        self.heap.admit(entry, [edge for edge in row.edges if edge.target < row.seq])
        self._store_digest(row.seq, row.digest)
        if row.recalled_turn >= 0:
            self.grant_grace(row.seq, row.recalled_turn)
        if row.redactions:
            self.redacted.add(row.seq)
        if row.state is State.DEPARTED and row.collection:
            self.left_evicted.add(row.seq)
        if row.garbage:
            self.heap.record_proof(row.seq, Proof(row.garbage, row.garbage_by))
        if is_said:
            self._garbage.prove_garbage(row.seq, segment)
            self.index.add_paths(row.seq, segment, is_outside=row.state is State.DEPARTED)
        self.place_max = max(self.place_max, segment.place)

    def _heap_entry(self, row: SegmentRow, segment: Segment, namings: int = 0) -> HeapEntry:
        entry = heap_entry_of(
            segment,
            SegmentTokens(
                row.skeleton_tokens, [(name, tokens) for name, _, tokens in row.pieces], row.tombstone_tokens
            ),
            has_evictable_inputs=self._settings.has_evictable_inputs,
            namings=namings,
            is_pinned=row.is_pinned,
            pointers=self._pointers_of(row),
        )
        hidden = sum(elision.saved_tokens for elision in row.elisions if not elision.target)
        return replace(entry, hidden_tokens=hidden) if hidden else entry

    def _pointers_of(self, row: SegmentRow) -> tuple[PointerEdge, ...]:
        """The edges of a row's elisions. A repair may have lost a target: the host's own lines stand then."""
        slots = ((self.heap.slot_of.get(elision.target, row.seq), elision) for elision in row.elisions)
        return tuple(PointerEdge(slot, elision.saved_tokens) for slot, elision in slots if slot < row.seq)

    def add_texts(self, headers: Mapping[int, Segment], bodies: Mapping[int, tuple[bytes, tuple[Piece, ...]]]) -> None:
        """Record the words of segments that were restored without. Heavy: linear in their texts."""
        for seq in sorted(bodies):
            skeleton, body = bodies[seq]
            segment = replace(headers[seq], skeleton=skeleton, body=body)
            self._garbage.prove_duplicate(seq, segment)
            self.index.add_words(seq, segment)

    def admit(
        self, key: SessionKey, prepared: PreparedSegment, given: Iterable[int], *, recalled: int, is_pinned: bool
    ) -> Admission | None:
        """Admit a segment, or complete the pending segment of the id; `None` for a known segment.

        References and proofs are derived here. `given` are the slots that the client names as references, `recalled` is
        the recalled slot (-1: none).
        """
        segment, heap = prepared.segment, self.heap
        slot = heap.slot_of.get(segment.id, len(heap))
        is_known = slot < len(heap)
        if is_known and (not heap.has_flag(slot, PENDING) or segment.status is Status.PENDING):
            return None
        refs = self.index.derive_references(slot, segment, given, recalled=recalled)
        is_open = segment.status is Status.PENDING
        reread_slot = -1 if is_open else self._evicted_view(slot, segment)
        namings = {} if is_open else self.index.paths.record_naming(slot, segment.paths)
        proofs = [] if is_open else self._garbage.prove_garbage(slot, segment)
        row = SegmentRow(
            key=key,
            seq=slot,
            segment=segment,
            digest=prepared.digest,
            skeleton_tokens=prepared.skeleton_tokens,
            pieces=prepared.pieces,
            tombstone_tokens=tombstone_tokens_at(prepared, slot),
            edges=tuple(Edge(*ref) for ref in refs),
            touched_turn=segment.born_turn,
            is_pinned=is_pinned or (is_known and heap.has_flag(slot, PINNED)),
            redactions=prepared.redactions,
            elisions=prepared.elisions,
        )
        if row.elisions:
            self.elisions[slot] = row.elisions
            targets = {edge.target for edge in self._pointers_of(row)}
            proofs = [(old, proof) for old, proof in proofs if old not in targets]  # The older copy is the one kept.
        if is_known:
            heap.complete(slot, self._heap_entry(row, segment), refs)
        else:
            heap.admit(self._heap_entry(row, segment), refs)
        for later, number in namings.items():
            heap.raise_namings(later, number)
        self._store_digest(slot, prepared.digest)
        if not is_open:
            self.index.add_paths(slot, segment, is_outside=heap.state[slot] > EVICTED)
            self.index.add_words(slot, segment)
        if prepared.redactions:
            self.redacted.add(slot)
        self.place_max = max(self.place_max, segment.place)
        proven = [(old, proof) for old, proof in proofs if heap.record_proof(old, proof)]
        return Admission(row, refs, proven, reread_slot)

    def _evicted_view(self, slot: int, segment: Segment) -> int:
        """The first evicted newest view of what a segment reads; -1: none, or the read failed."""
        if segment.status is Status.ERROR:
            return -1
        reads = (use for use in segment.paths if use.access is Access.READ)
        views = (self.index.paths.newest_view(use, slot) for use in reads)
        return next((old for old in views if old >= 0 and self.heap.state[old] == EVICTED), -1)

    def set_states(self, slots: Sequence[int], state: int) -> None:
        """Move slots to a state, in the heap and among the views of files. O(slots); O(uses) where the window moves."""
        heap = self.heap
        moved = [slot for slot in slots if (heap.state[slot] > EVICTED) != (state > EVICTED)]
        for slot in slots:
            heap.set_state(slot, state)
        if moved:
            self.index.paths.set_slots_outside(moved, is_outside=state > EVICTED)

    def digest_of(self, slot: int) -> bytes:
        """The digest of a segment's content; zeros for a forgotten or lost content."""
        return bytes(self._digests[slot * DIGEST_BYTES : (slot + 1) * DIGEST_BYTES]).ljust(DIGEST_BYTES, b"\0")

    def _store_digest(self, slot: int, digest: bytes) -> None:
        # One flat column: as objects of their own they would cost a heap's slot half as much again.
        column, start = self._digests, slot * DIGEST_BYTES
        column += bytes(max(start - len(column), 0))  # Grows in place: a copy of it a segment is quadratic.
        column[start : start + DIGEST_BYTES] = digest.ljust(DIGEST_BYTES, b"\0")

    def grant_grace(self, slot: int, recalled_turn: int) -> None:
        """Keep a slot that was recalled at this turn from collections for the grace period."""
        self.heap.grace_until[slot] = recalled_turn + self._settings.recall_grace_turns

    def recalled_turn(self, slot: int) -> int:
        """The turn of a slot's last recall; -1 for a slot that was never recalled."""
        return max(self.heap.grace_until.get(slot, -1) - self._settings.recall_grace_turns, -1)
