"""From a segment and its token counts to its heap entry; the content is not looked at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ctxgc.core.heap import ERRORED, OPAQUE, PENDING, PINNED, PLANNING, WORDED, HeapEntry, PointerEdge
from ctxgc.core.reuse import trait_bits
from ctxgc.core.segment import Segment, SegmentHeader, Status


def flags_of(segment: Segment | SegmentHeader, *, is_pinned: bool = False) -> int:
    """The flag bits of a segment's facts."""
    flags = PINNED if is_pinned else 0
    if segment.has_opaque:
        flags |= OPAQUE
    if segment.facts.is_plan:
        flags |= PLANNING
    if segment.facts.holds_words:
        flags |= WORDED
    if segment.status is Status.PENDING:
        flags |= PENDING
    elif segment.status is Status.ERROR:
        flags |= ERRORED
    return flags


class SegmentTokens(NamedTuple):
    """Raw token counts of a segment."""

    skeleton: int
    pieces: Sequence[tuple[str, int]]
    """(name, tokens) of each piece of the body."""
    tombstone: int


def body_and_fixed_tokens(pieces: Iterable[tuple[str, int]], *, has_evictable_inputs: bool) -> tuple[int, int]:
    """(tokens that may be evicted, tokens of inputs that may not) of (name, tokens) of pieces."""
    body = fixed = 0
    for name, tokens in pieces:
        if not has_evictable_inputs and name.startswith("input."):
            fixed += tokens
        else:
            body += tokens
    return body, fixed


def heap_entry_of(
    segment: Segment,
    tokens: SegmentTokens,
    *,
    has_evictable_inputs: bool,
    namings: int = 0,
    is_pinned: bool = False,
    pointers: tuple[PointerEdge, ...] = (),
) -> HeapEntry:
    """A segment's heap entry, from its facts and its counts; the content is not looked at.

    Inputs that may not be evicted are counted with the skeleton.
    """
    body, fixed = body_and_fixed_tokens(tokens.pieces, has_evictable_inputs=has_evictable_inputs)
    return HeapEntry(
        id=segment.id,
        kind=segment.kind,
        place=segment.place,
        born_turn=segment.born_turn,
        skeleton_tokens=tokens.skeleton + fixed,
        body_tokens=body,
        tombstone_tokens=tokens.tombstone,
        tool=segment.tool,
        task=segment.task,
        flags=flags_of(segment, is_pinned=is_pinned),
        traits=trait_bits(segment),
        namings=namings,
        importance=segment.importance,
        touched_turn=segment.born_turn,
        pointers=pointers,
    )
