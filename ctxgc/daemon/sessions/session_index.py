"""A session's segments in memory: heap, indexes, digests. All three follow from the session's rows.

    rows ──restore────▶ SessionIndex ◀──admit── one more segment
                           │ its commit failed
                           └──▶ thrown away, and made again from rows

Any thread may build the index and hand it over whole; only the session changes the index, inside a change. No function
waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import NamedTuple

from ctxgc.adapters.facts.tool_facts import add_row_facts
from ctxgc.core.entry.elisions import Elision
from ctxgc.core.garbage import GarbageIndex, is_provable
from ctxgc.core.heap import EVICTED, KINDS, PENDING, PINNED, STATES, Heap, HeapEntry, PointerEdge, Proof
from ctxgc.core.heap_entry import SegmentTokens, body_and_fixed_tokens, flags_of, heap_entry_of
from ctxgc.core.heap_restoring import SlotColumns, entry_at, restore_slots
from ctxgc.core.reference import Ref, ReferenceIndex
from ctxgc.core.reuse import trait_bits
from ctxgc.core.rules import Rules
from ctxgc.core.segment import DIGEST_BYTES, Access, Kind, Piece, Segment, SegmentHeader, SessionKey, State, Status
from ctxgc.core.text_keys import NO_TEXT_KEYS, TextKeys, text_keys
from ctxgc.daemon.sessions.intake import PreparedSegment, lost_segment_entry, tombstone_tokens_at
from ctxgc.stash.contract import Edge, SegmentRow
from ctxgc.stash.segment_columns import SegmentColumns


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """The configuration's settings for every session."""

    rules: Rules = field(default_factory=Rules)
    evictable_kinds: tuple[Kind, ...] = (Kind.TOOL_CALL, Kind.ATTACHMENT, Kind.THINKING)
    has_evictable_inputs: bool = True
    recall_grace_turns: int = 3
    has_words: bool = False
    """Whether sessions know the holders of words, which only shortening in shadow asks for."""


_KIND_CODES = {kind: code for code, kind in enumerate(KINDS)}
_STATE_CODES = {state: code for code, state in enumerate(STATES)}


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

    def restore(self, columns: SegmentColumns) -> None:
        """Take the next stored segments of the session, in seq order. O(rows + uses + references), some 10 µs a row."""
        start = 0
        for at, (seq, elisions) in enumerate(zip(columns.seqs, columns.elisions, strict=True)):
            if elisions or seq != len(self.heap) + at - start:
                self._restore_run(columns, start, at)
                start = at
            while len(self.heap) < seq and start == at:
                # A repair could not save this row. Slots are seqs, so something must stand in its slot.
                self.heap.admit(lost_segment_entry(len(self.heap)), [])
            if elisions:
                self._restore_elided(columns, at)
                start = at + 1
        self._restore_run(columns, start, len(columns.seqs))

    def _restore_run(self, columns: SegmentColumns, start: int, end: int) -> None:
        """Restore segments that follow each other without a gap, none with elisions."""
        if start < end:
            run = columns if end - start == len(columns.seqs) else columns.between(start, end)
            restore_slots(self.heap, self._restore_facts(run))

    def _restore_elided(self, columns: SegmentColumns, at: int) -> None:
        """Restore a segment whose result shows lines of older results by pointers."""
        row = columns.between(at, at + 1)
        seq, elisions = row.seqs[0], row.elisions[0]
        slots = self._restore_facts(row)
        entry = entry_at(slots, 0)
        hidden = sum(elision.saved_tokens for elision in elisions if not elision.target)
        self.elisions[seq] = elisions
        self.heap.admit(
            replace(entry, pointers=self._pointer_edges_of_row(seq, elisions), hidden_tokens=hidden), slots.refs[0]
        )

    def _restore_facts(self, run: SegmentColumns) -> SlotColumns:
        """Restore all of a run but the heap's slots, and return these."""
        paths, flags, traits, namings = self.index.paths, [], [], []
        columns = (run.ids, run.kinds, run.births, run.tools, run.statuses, run.uses, run.commands, run.facts)
        headers = map(SegmentHeader, *columns, run.has_opaque)
        for seq, stored, state, is_pinned in zip(run.seqs, headers, run.states, run.is_pinned, strict=True):
            header = add_row_facts(stored)
            flags.append(flags_of(header, is_pinned=bool(is_pinned)))
            traits.append(trait_bits(header))
            if state is State.FORGOTTEN or header.status is Status.PENDING:
                namings.append(0)
                continue
            namings.append(paths.record_naming(seq, header.paths)[seq])
            if is_provable(header):
                self._garbage.prove_by_call(seq, header)
            self.index.add_paths(seq, header, is_outside=state is State.DEPARTED)
        self._restore_marks(run)
        has_inputs = self._settings.has_evictable_inputs
        counts = [[(name, tokens) for name, _, tokens in pieces] for pieces in run.pieces]
        tokens = [body_and_fixed_tokens(pieces, has_evictable_inputs=has_inputs) for pieces in counts]
        return SlotColumns(
            ids=run.ids,
            kinds=[_KIND_CODES[kind] for kind in run.kinds],
            states=[_STATE_CODES[state] for state in run.states],
            flags=flags,
            places=run.places,
            births=run.births,
            touched=run.touched,
            touches=run.touches,
            skeletons=[skeleton + fixed for skeleton, (_, fixed) in zip(run.skeleton_tokens, tokens, strict=True)],
            bodies=[body for body, _ in tokens],
            tombstones=run.tombstone_tokens,
            importances=run.importances,
            traits=traits,
            namings=namings,
            tools=run.tools,
            tasks=run.tasks,
            refs=run.edges,
        )

    def _restore_marks(self, run: SegmentColumns) -> None:
        """Restore what few segments have, and the digests."""
        for seq, turn in zip(run.seqs, run.recalled_turns, strict=True):
            if turn >= 0:
                self.grant_grace(seq, turn)
        self.redacted.update(compress(run.seqs, run.redactions))
        evicted = compress(zip(run.seqs, run.states, strict=True), run.collections)
        self.left_evicted.update(seq for seq, state in evicted if state is State.DEPARTED)
        for seq, reason, by in compress(zip(run.seqs, run.garbage, run.garbage_by, strict=True), run.garbage):
            self.heap.record_proof(seq, Proof(reason, by))
        self.place_max = max(self.place_max, *run.places)
        self._store_digest(run.seqs[0], b"".join([digest.ljust(DIGEST_BYTES, b"\0") for digest in run.digests]))

    def _heap_entry(self, row: SegmentRow, segment: Segment) -> HeapEntry:
        entry = heap_entry_of(
            segment,
            SegmentTokens(
                row.skeleton_tokens, [(name, tokens) for name, _, tokens in row.pieces], row.tombstone_tokens
            ),
            has_evictable_inputs=self._settings.has_evictable_inputs,
            is_pinned=row.is_pinned,
            pointers=self._pointer_edges_of_row(row.seq, row.elisions),
        )
        hidden = sum(elision.saved_tokens for elision in row.elisions if not elision.target)
        return replace(entry, hidden_tokens=hidden) if hidden else entry

    def _pointer_edges_of_row(self, seq: int, elisions: Sequence[Elision]) -> tuple[PointerEdge, ...]:
        """The edges of a row's elisions. A repair may have lost a target: the host's own lines stand then."""
        slots = ((self.heap.slot_of.get(elision.target, seq), elision) for elision in elisions)
        return tuple(PointerEdge(slot, elision.saved_tokens) for slot, elision in slots if slot < seq)

    def add_words_of_texts(
        self, headers: Mapping[int, Segment], bodies: Mapping[int, tuple[bytes, tuple[Piece, ...]]]
    ) -> dict[int, TextKeys]:
        """The keys of texts, and where wanted the words, recorded. Heavy: linear in the texts."""
        keys: dict[int, TextKeys] = {}
        for seq in sorted(bodies):
            skeleton, body = bodies[seq]
            segment = replace(headers[seq], skeleton=skeleton, body=body)
            keys[seq] = text_keys(segment)
            if self._settings.has_words and segment.status is not Status.PENDING:
                self.index.add_words(seq, segment)
        return keys

    def add_text_keys(self, keys: Mapping[int, TextKeys | None]) -> None:
        """Record what segments define and what they are like, of segments that were restored without."""
        for seq, known in keys.items():
            likeness, definitions = known or NO_TEXT_KEYS
            if likeness:
                self._garbage.note_likeness(seq, likeness)
            if definitions:
                self.index.add_definitions(seq, definitions)

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
        reread_slot = -1 if is_open else self._evicted_view_slot(slot, segment)
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
            targets = {edge.target for edge in self._pointer_edges_of_row(slot, row.elisions)}
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

    def _evicted_view_slot(self, slot: int, segment: Segment) -> int:
        """The first evicted newest view of what a segment reads; -1: none, or the read failed."""
        if segment.status is Status.ERROR:
            return -1
        reads = (use for use in segment.paths if use.access is Access.READ)
        views = (self.index.paths.newest_slot_with_view(use, slot) for use in reads)
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
        """Store a slot's digest; digests in a row are stored together."""
        # One flat column: as objects of their own they would cost a heap's slot half as much again.
        column, start = self._digests, slot * DIGEST_BYTES
        column += bytes(max(start - len(column), 0))  # Grows in place: a copy of it a segment is quadratic.
        column[start : start + max(len(digest), DIGEST_BYTES)] = digest.ljust(DIGEST_BYTES, b"\0")

    def grant_grace(self, slot: int, recalled_turn: int) -> None:
        """Keep a slot that was recalled at this turn from collections for the grace period."""
        self.heap.grace.grant(slot, recalled_turn + self._settings.recall_grace_turns)

    def recalled_turn(self, slot: int) -> int:
        """The turn of a slot's last recall; -1 for a slot that was never recalled."""
        return max(self.heap.grace.last_turn(slot) - self._settings.recall_grace_turns, -1)
