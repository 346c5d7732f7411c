"""The promises of every adapter. Adapters are sans-I/O: bytes in, events or bytes out.

Two families:

    Transcript   a host's log, read-only:   bytes ──feed──▶ events (sessions, segments, departures, usage)
    WireFormat   a request of a model API:  bytes ──parse──▶ segments with spans ──splice──▶ bytes
                                            stored segments ──render──▶ a valid list of the API

Laws, held by a contract suite for all: unknown records are skipped and counted, never fatal; same bytes give the same
ids in any cuts into `feed`s; any subset of evictable segments evicted still renders a valid list (pairs intact, I3); a
wire request without evictions splices to the same bytes (I5).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from ctxgc.core.segment import Departure, Segment

LINE_BYTES_MAX = 64 * 2**20
"""A longer record of a line format is skipped and counted as `too_long`, without being held in memory."""

DOCUMENT_BYTES_MAX = 256 * 2**20
"""A single-document format (one JSON object a file) larger than this is refused: it cannot be streamed."""

DAMAGE_KINDS = frozenset(
    {"malformed", "malformed_segment", "truncated", "too_long", "too_deep", "damaged_gzip", "damaged_zstd"}
)
"""Kinds of skipped records that may have held a part of a window; every other kind is known to hold none."""

RESULT_PIECE = "result"
"""The piece of a tool call that holds the tool's answer."""

INPUT_SPAN = "input"
"""A span that holds all large inputs of a call at once, because they lie in one JSON string."""

RESULT_SPAN = RESULT_PIECE
RESULT_HEAD_SPAN = "result.head"
"""A span that is the beginning of a JSON string, with its quote: what follows is no output of the tool, and stays."""
RESULT_REST_SPAN = "result.rest"
"""A span that is a further text of a result whose tombstone stands before it: the marker takes its place."""

INPUT_PIECE_CHARS_MIN = 400
"""A string inside a tool's input moves to the body from this length on; shorter ones stay in the skeleton."""


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """A session appeared, or its log says more of the session. Empty fields add nothing to earlier events."""

    session: str
    project: str = ""
    """The working directory."""
    parent: str = ""
    """The session this is a side chain of, with the id of the tool call that started it if known."""
    parent_segment: str = ""
    model: str = ""
    title: str = ""
    hidden_tokens: int = 0
    """Billed tokens of the prompt that the transcript does not show (tool schemas, system prompt), if known."""


@dataclass(frozen=True, slots=True)
class SegmentAdmitted:
    """A segment, in full. Again with the same id only to complete a pending segment."""

    session: str
    segment: Segment


@dataclass(frozen=True, slots=True)
class WindowReplaced:
    """The window of the session now is exactly `slots`, in this order; missing segments departed for `reason`.

    `slots` pairs each id with its new place. Ids that departed earlier may return.
    """

    session: str
    slots: tuple[tuple[str, int], ...]
    reason: Departure


@dataclass(frozen=True, slots=True)
class BodiesCleared:
    """The host dropped the bodies of these segments; the rest of the window stays."""

    session: str
    ids: tuple[str, ...]
    reason: Departure


@dataclass(frozen=True, slots=True)
class ReplyBilled:
    """The provider's bill for an assistant reply, in billed tokens.

    Once per reply; a second bill for the same turn replaces the first.
    """

    session: str
    turn: int
    """Earlier replies: the `born_turn` of the reply's own segments."""
    model: str
    wall_s: float
    input_tokens: int
    """Uncached input."""
    cache_read_tokens: int
    cache_creation_tokens: int
    output_tokens: int


Event = SessionOpened | SegmentAdmitted | WindowReplaced | BodiesCleared | ReplyBilled


class Transcript(Protocol):
    """A parser of a transcript file. `feed` takes the (decompressed) bytes in any cuts; `finish` ends the input."""

    source: str
    """The agent: `claude_code`, `codex`, …; half of every key (I15)."""
    records: int
    """Records seen so far, skipped ones included."""
    skipped: Counter[str]
    """Records that no parser understood, by type; `malformed` and `too_long` among them."""

    def feed(self, data: bytes) -> list[Event]:
        """Parse the complete records of `data` and of the rest before; hold at most a single record."""
        ...

    def finish(self) -> list[Event]:
        """The input ends here for now: a last record without newline counts, open calls come out as pending.

        Feeding may go on afterwards (a watched file grows); a later result completes its pending tool call.
        """
        ...

    def is_bookkeeping(self, kinds: Iterable[str]) -> bool:
        """Whether all these kinds of skipped records are the host's notes to itself, without any part of a session."""
        ...


MARKER = "[evicted]"


class Tombstone(NamedTuple):
    """The stand-in for a body: `text` for the result (else the first piece), `marker` for each other piece."""

    text: str
    marker: str = MARKER


class ElidedResult(NamedTuple):
    """The stand-in for a call's result some of whose lines stand elsewhere (`core.entry.elisions`): its inputs stay."""

    texts: tuple[str, ...]
    """As many as the result has."""


StandIn = Tombstone | ElidedResult
"""A stand-in for the host's own text in a request."""


class Slot(NamedTuple):
    """A place of a window to render: a segment and, if the body is out, the tombstone instead."""

    segment: Segment
    tombstone: Tombstone | None = None


class Span(NamedTuple):
    """Where a piece of a body lies in the caller's request: half-open byte offsets of its JSON value.

    `piece` is `input` where all large inputs of a call lie in a single value (OpenAI's `arguments`).
    """

    piece: str
    start: int
    end: int


class WireBlock(NamedTuple):
    """A block of a request, in the order of the prompt: the unit in which a provider's cache counts."""

    start: int
    end: int
    """Half-open byte offsets of the block's JSON value."""
    segment: int
    """Number of the segment that the block belongs to; -1 where no segment has begun."""
    segments: int
    """Segments that have begun by the block's end."""
    lives_s: tuple[float, ...] = ()
    """Lives of the cache breakpoints on the block and inside the block."""
    may_carry: bool = False
    """Whether the provider takes a cache breakpoint on the block."""


@dataclass(frozen=True, slots=True)
class WireWindow:
    """A parsed request: its segments in order, and for each the spans of its evictable pieces.

    The segments have no facts yet (`add_facts`): most segments of a request are known, and only new segments need
    facts.
    """

    segments: tuple[Segment, ...]
    spans: Mapping[str, tuple[Span, ...]]
    skipped: Counter[str] = field(default_factory=Counter)
    blocks: tuple[WireBlock, ...] = ()
    """The blocks of system prompt and messages, where the provider's cache has breakpoints; else none."""

    def can_elide(self, segment: Segment) -> bool:
        """Whether lines of a call's result may stand elsewhere: each of its texts has a span of its own."""
        return bool(self.result_spans(segment.id)) and not segment.has_opaque

    def result_spans(self, id_: str) -> list[Span]:
        """The spans of a result's texts, in order."""
        return [span for span in self.spans.get(id_, ()) if span.piece.startswith(RESULT_SPAN)]

    def uneditable_piece_names(self, segment: Segment) -> frozenset[str]:
        """The pieces of a segment that no edit may touch here: pending, signed, not text."""
        editable = {span.piece for span in self.spans.get(segment.id, ())}
        editable |= {RESULT_SPAN for name in editable if name.startswith(f"{RESULT_SPAN}.")}
        names = {piece.name for piece in segment.body} - editable
        return frozenset(name for name in names if not (INPUT_SPAN in editable and name.startswith("input.")))


class WireFormat(Protocol):
    """A model API's list of messages or items. Stateless."""

    name: str

    def parse(self, request: bytes, agent: str = "") -> WireWindow:
        """Segments of a request (a bare list, or an object with a list). Raises `BadTranscript`.

        `agent` is the source of the request's session: wrappers count only for the agent that writes wrappers so.
        """
        ...

    def splice(self, request: bytes, window: WireWindow, stand_ins: Mapping[str, StandIn]) -> bytes:
        """The request with only the spans of these segments replaced; the same object if there are none (I5).

        Ids outside of the window are passed over. Raises `ValueError` for a pending tool call, or another segment of
        the window without spans.
        """
        ...

    def render(self, slots: Iterable[Slot]) -> bytes:
        """A valid list of this API from stored segments of any source: same texts, same order, pairs intact.

        Bytes of a JSON object with `messages` (and `system`), or with `input` where the API's list has that name. A
        pending tool call renders with a stand-in result only where the API demands a result. Raises `ValueError` for a
        tombstone on a pending tool call.
        """
        ...
