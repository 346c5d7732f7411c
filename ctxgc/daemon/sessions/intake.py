"""Intake: a segment's steps between an adapter and the stash, before the first wait.

    parsed ──redact──▶ ──digest──▶ ──count──▶ PreparedSegment

Pure work on values, heavy on the processor: call on the worker thread unless `is_quick_to_prepare`. Redaction comes
first, so that no secret is hashed, counted, indexed or written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from ctxgc.adapters.skeletons import count_further_texts
from ctxgc.core.entry.elisions import Elision
from ctxgc.core.heap import FORGOTTEN, HeapEntry
from ctxgc.core.redaction.redact_segment import redact_segment, redact_segment_names
from ctxgc.core.segment import Address, Kind, Segment, content_digest
from ctxgc.core.tombstone import tombstone_affixes, tombstone_words
from ctxgc.tokens.counter import TokenCounter
from ctxgc.tokens.opaque import strip_base64

SOMEWHERE = Address(10**8, 100)
"""An address as long as any: all sessions' numbers cost the same."""
PIECE_MARKER_TOKENS = 6
"""Tokens of the marker of a further piece, or a further text of a result; its text is `[evicted]`."""

INLINE_SEGMENTS_MAX = 4
INLINE_BYTES_MAX = 4096
"""Preparing so little costs about what a hop to another thread and back does; the worst text of this length, 1 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedSegment:
    """A segment ready to be admitted: redacted, digested, counted."""

    segment: Segment
    digest: bytes
    skeleton_tokens: int
    pieces: tuple[tuple[str, int, int], ...]
    """(name, bytes, raw tokens)."""
    tombstone_tokens: int
    """For a seq below 1000; three more digits are one more token."""
    redactions: int
    elisions: tuple[Elision, ...] = ()
    """The runs of lines of the result that the session's requests show by pointers."""


class Intake:
    """Prepares segments. Stateless but for the counter's cache; safe on any thread."""

    def __init__(self, counter: TokenCounter, *, redacts: bool) -> None:
        self.counter = counter
        self.redacts = redacts

    @cached_property
    def _tombstone_affix_tokens(self) -> int:
        return sum(map(self.counter.count, tombstone_affixes(SOMEWHERE)))

    def redact(self, segment: Segment) -> tuple[Segment, int]:
        """A segment in the stash's form, and the number of redacted places; the setting is of the content alone."""
        return redact_segment(segment) if self.redacts else (redact_segment_names(segment), 0)

    def prepare(self, segment: Segment) -> PreparedSegment:
        """Redact, digest and count a segment. Linear in its text; raises no error."""
        segment, redactions = self.redact(segment)
        count = self.counter.count
        pieces = tuple((piece.name, len(piece.data), count(piece.data)) for piece in segment.body)
        body_tokens = sum(tokens for _, _, tokens in pieces)
        markers = (max(len(pieces) - 1, 0) + count_further_texts(segment.skeleton)) * PIECE_MARKER_TOKENS
        text, opaque_tokens = strip_base64(segment.skeleton)
        return PreparedSegment(
            segment=segment,
            digest=content_digest(segment.skeleton, segment.body),
            skeleton_tokens=count(text) + opaque_tokens,
            pieces=pieces,
            tombstone_tokens=self._tombstone_affix_tokens + count(tombstone_words(segment, body_tokens)) + markers,
            redactions=redactions,
        )

    def is_quick_to_prepare(self, segments: Sequence[Segment]) -> bool:
        """Whether the segments are so short that a thread's hand-over would cost more than the loop's own work."""
        if len(segments) > INLINE_SEGMENTS_MAX or not self.counter.is_loaded:
            return False
        sizes = (len(segment.skeleton) + sum(len(piece.data) for piece in segment.body) for segment in segments)
        return sum(sizes) <= INLINE_BYTES_MAX

    def prepare_segments(self, segments: Iterable[Segment]) -> list[PreparedSegment]:
        """Each in order."""
        return [self.prepare(segment) for segment in segments]


def tombstone_tokens_at(prepared: PreparedSegment, seq: int) -> int:
    """The tombstone's tokens once its seq is known: o200k takes digits in threes."""
    return prepared.tombstone_tokens + (len(str(seq)) - 1) // 3


def lost_segment_entry(seq: int) -> HeapEntry:
    """The entry in the slot of a row that a repair could not save; its transcript may bring the segment back."""
    return HeapEntry(
        id=f"lost#{seq}",
        kind=Kind.OTHER,
        place=0,
        born_turn=0,
        skeleton_tokens=0,
        body_tokens=0,
        tombstone_tokens=0,
        state=FORGOTTEN,
    )
