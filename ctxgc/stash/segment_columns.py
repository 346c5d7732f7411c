"""Stored segments by the batch, in columns: what a session is restored from when it wakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ctxgc.core.entry.elisions import Elision
from ctxgc.core.segment import CallFacts, Kind, PathUse, SessionKey, State, Status
from ctxgc.core.text_keys import TextKeys

ROWS_PER_BATCH = 1024
"""Rows restored before the loop's thread may go on at the latest: some milliseconds."""


class SegmentColumns(NamedTuple):
    """Segments of a session in seq order, without content: `SegmentRow` by column, all of equal length."""

    seqs: Sequence[int]
    ids: Sequence[str]
    kinds: Sequence[Kind]
    statuses: Sequence[Status]
    places: Sequence[int]
    births: Sequence[int]
    tools: Sequence[str]
    commands: Sequence[str]
    facts: Sequence[CallFacts]
    tasks: Sequence[str]
    has_opaque: Sequence[int]
    importances: Sequence[float]
    states: Sequence[State]
    touched: Sequence[int]
    touches: Sequence[int]
    is_pinned: Sequence[int]
    digests: Sequence[bytes]
    skeleton_tokens: Sequence[int]
    pieces: Sequence[Sequence[tuple[str, int, int]]]
    tombstone_tokens: Sequence[int]
    redactions: Sequence[int]
    elisions: Sequence[tuple[Elision, ...]]
    garbage: Sequence[str]
    garbage_by: Sequence[int]
    collections: Sequence[int]
    recalled_turns: Sequence[int]
    uses: Sequence[tuple[PathUse, ...]]
    edges: Sequence[Sequence[tuple[int, int]]]
    """References to older segments, as (target, kind), sorted."""

    def between(self, start: int, end: int) -> SegmentColumns:
        """The rows of these positions."""
        return SegmentColumns._make(column[start:end] for column in self)


class WakingReads(Protocol):
    """What a stash answers to a session that wakes."""

    async def segment_columns(self, key: SessionKey, first_seq: int) -> SegmentColumns:
        """The segments from a seq on, `ROWS_PER_BATCH` of them; fewer only at the end of the session."""

    async def text_keys(self, key: SessionKey, seqs: range) -> dict[int, TextKeys | None]:
        """The keys of each text among these seqs, in order; `None` where only the text tells them."""
