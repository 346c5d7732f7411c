"""Replies of the verbs on segments: facts, contents, changes."""

from __future__ import annotations

from ctxgc.protocol.replies.reply import Reply


class PathUseReply(Reply, frozen=True):
    """A segment's use of a file."""

    path: str
    access: str
    """`read`, `write` or `mention`."""
    first_line: int
    last_line: int
    """0: to the end of the file."""


class ElidedLinesReply(Reply, frozen=True):
    """A run of lines that a resident result does not show itself. Lines are counted from 1, both ends included."""

    first_line: int
    last_line: int
    target: str
    """Id of the result that shows the lines, or showed them."""
    is_in_stash: bool
    """The target left the window: a tombstone of lines stands there. Else a pointer does."""
    saved_tokens: int


class SegmentReply(Reply, frozen=True):
    """A segment without content, in the form of `segment.list`."""

    id: str
    seq: int
    kind: str
    role: str
    state: str
    departure: str
    """`rewound`, `host_compacted`, `host_cleared` or empty."""
    place: int
    born_turn: int
    touched_turn: int
    touches: int
    tokens: int
    """Tokens of skeleton and body: the segment's share of the window when resident."""
    body_tokens: int
    tombstone_tokens: int
    tool: str
    status: str
    command: str
    paths: list[PathUseReply]
    digest: str
    """Hexadecimal content digest."""
    is_pinned: bool
    has_opaque: bool
    garbage: str
    garbage_by: str
    """Id of the segment that proves this segment garbage."""
    redactions: int
    task: str
    tags: list[str]
    importance: float
    wall_s: float
    collection: int
    elided: list[ElidedLinesReply] | None = None
    """The lines that the session's requests do not show in this place; absent: the segment shows all of its lines."""


class PieceReply(Reply, frozen=True):
    """A piece of content: `text`, or `data_b64` where the bytes are not valid UTF-8."""

    name: str
    bytes: int
    tokens: int
    next_offset: int
    """Where to go on, -1 at the end."""
    text: str | None = None
    data_b64: str | None = None


class ContentReply(SegmentReply, frozen=True, kw_only=True):
    """`segment.get`."""

    session: str
    pieces: list[PieceReply]
    skeleton: str | None = None
    """JSON text; absent where no content was asked for."""


class SegmentsReply(Reply, frozen=True):
    """`segment.list`."""

    session: str
    segments: list[SegmentReply]
    total: int
    next_offset: int


class AddReply(Reply, frozen=True):
    """`segment.add`, `add_many`, `add_file`."""

    session: str
    ids: list[str]
    added: int
    """The number of new segments; the rest were known already."""
    resident_tokens: int
    billed_tokens: int
    changed: str
    next: str | None = None


class SegmentsChangedReply(Reply, frozen=True):
    """`pin`, `unpin`, `touch`, `tag`, `ref`."""

    session: str
    ids: list[str]
    resident_tokens: int
    billed_tokens: int
    changed: str
    next: str | None = None
