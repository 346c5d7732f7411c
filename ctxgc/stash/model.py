"""What a stash keeps, as values: a segment, a session, a line of the journal. Nothing in here knows an engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ctxgc.core.segment import Departure, Segment, SessionKey, State

SHADOW = "shadow"
"""The trigger of a journal entry of which nothing left: what a collection would have evicted."""


class Op(NamedTuple):
    """What is remembered of a mutation that a client named."""

    reply: bytes
    call: bytes
    """A digest of what was asked for; empty where an older version remembered it."""


class Edge(NamedTuple):
    """A reference to the older segment with this seq."""

    target: int
    kind: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRow:
    """A segment as the stash keeps it. `seq` counts admissions of its session from 0 without gaps,
    but for rows that a repair could not save.

    Rows read without content have `segment.skeleton == b"{}"` and `segment.body == ()`; everything else is whole.
    `segment.edit_sources` is never stored. Edges come back sorted, each once.
    """

    key: SessionKey
    seq: int
    segment: Segment
    digest: bytes
    skeleton_tokens: int
    """Raw o200k, as all token counts in the stash."""
    pieces: tuple[tuple[str, int, int], ...]
    """(name, bytes, tokens) of each piece of the body."""
    tombstone_tokens: int
    edges: tuple[Edge, ...] = ()
    state: State = State.RESIDENT
    departure: Departure | None = None
    touched_turn: int = 0
    touches: int = 0
    recalled_turn: int = -1
    """When it was last recalled, -1 if never: for a few turns from then it is a root."""
    is_pinned: bool = False
    garbage: str = ""
    """Why it is proven garbage, or empty; `garbage_by` is the seq that proves it, or -1."""
    garbage_by: int = -1
    redactions: int = 0
    collection: int = 0
    """The collection that evicted it, 0 if none did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """What is known of a session. Empty strings and zeros mean unknown."""

    key: SessionKey
    project: str = ""
    parent: str = ""
    parent_segment: str = ""
    model: str = ""
    title: str = ""
    mode: str = "observe"
    """`observe`, `client` or `wire`."""
    budget_tokens: int = 0
    window_max_tokens: int = 0
    task: str = ""
    turn: int = 0
    created_s: float = 0.0
    updated_s: float = 0.0
    hidden_tokens: int = 0
    ratio: float = 0.0
    """Billed tokens per raw token, learned from usage; 0.0 until learned."""
    skipped_records: int = 0
    faults: int = 0
    """Recalls so far."""
    closed: bool = False
    forgotten: bool = False
    """As a whole: its title, task and project are gone, and what its transcript says of them is not taken again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Eviction:
    """One line of a collection's journal. Refers to the segment; copies no text."""

    seq: int
    reason: str
    by: int = -1
    freed_tokens: int = 0
    score: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """The journal of one collection (or undo): what left, why, and what it was expected to cost."""

    id: int
    """Counts from 1 within the session."""
    wall_s: float
    turn: int
    trigger: str
    """`asked`, `evicted_by_hand`, `hard_limit`, `value`, `undo`; `shadow`: it would have run, and nothing left."""
    target_tokens: int
    before_tokens: int
    after_tokens: int
    evictions: tuple[Eviction, ...] = ()
    held_by: tuple[tuple[str, int], ...] = ()
    predicted_cost: float = 0.0
    """Input-token equivalents over the pacer's horizon, negative is a saving."""
    actual_cost: float | None = None
    undoes: int = 0
    """The collection this one takes back, 0 if it is none."""
    undone_by: int = 0
    """The undo that took it back, 0 if it stands. Read from the journal, never written."""
