"""The promises of a stash, whatever the engine. A single conformance suite runs on every implementation.

    SegmentRow, SessionRow, Collection   what is kept, as values
    Put, SetState, Forget, …         mutations; each is idempotent: applying a batch again changes nothing
    Query ──▶ SearchResult           a search: ranked, filtered, bounded in time
    Stash                            a batch is one atomic, durable transaction (I1); bodies come back exactly (I9)
Keys are (source, session, seq). A batch stays within a session, so that an engine may shard by session.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from ctxgc.core.entry.elisions import Elision
from ctxgc.core.segment import Departure, Kind, Piece, Renderer, Segment, SessionKey, State
from ctxgc.stash.health import Examination, StashStatus
from ctxgc.stash.segment_columns import WakingReads

SEARCH_LIMIT_MAX = 100
OP_IDS_KEPT_PER_SESSION = 4096


class Op(NamedTuple):
    """The remembered reply of a mutation that a client named, and a digest of the call: empty of an older version."""

    reply: bytes
    call: bytes


class Edge(NamedTuple):
    """A reference to the older segment with this seq."""

    target: int
    kind: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRow:
    """A segment in the stash's form. `seq` counts admissions of a session from 0; only a repair leaves gaps.

    Rows read without content have `segment.skeleton == b"{}"` and `segment.body == ()`; all other fields are whole.
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
    """The turn of the last recall, -1 for none: the segment is a root for a few turns from then."""
    is_pinned: bool = False
    garbage: str = ""
    """The proof that the segment is garbage, or empty; `garbage_by` is the proving seq, or -1."""
    garbage_by: int = -1
    redactions: int = 0
    collection: int = 0
    """The collection that evicted the segment, 0 for none."""
    elisions: tuple[Elision, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """A session in the stash's form. Empty strings and zeros mean unknown."""

    key: SessionKey
    project: str = ""
    parent: str = ""
    parent_segment: str = ""
    model: str = ""
    title: str = ""
    rendered_by: Renderer = Renderer.AGENT
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
    number: int = 0
    """The drawn number in addresses; 0: the session is older than drawn numbers, and its name makes the number."""
    faults: int = 0
    """Recalls so far."""
    pacing: str = ""
    """The pacer's knowledge, as the daemon writes the state (`daemon.sessions.pacing_state`)."""
    closed: bool = False
    forgotten: bool = False
    """The whole session is forgotten: no transcript brings its title, task and project back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Eviction:
    """A victim in a collection's journal. The line refers to the segment and copies no text."""

    seq: int
    reason: str
    by: int = -1
    freed_tokens: int = 0
    score: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """The journal's line of a collection or undo: victims, reasons, and predicted cost."""

    id: int
    """Counts from 1 within the session."""
    wall_s: float
    turn: int
    trigger: str
    """`asked`, `evicted_by_hand`, `hard_limit`, `value`, `undo`; `shadow`: no segment left."""
    target_tokens: int
    before_tokens: int
    after_tokens: int
    evictions: tuple[Eviction, ...] = ()
    protected_by: tuple[tuple[str, int], ...] = ()
    predicted_cost: float = 0.0
    """Input-token equivalents over the pacer's horizon, negative is a saving."""
    actual_cost: float | None = None
    undoes: int = 0
    """The collection that this undo takes back, 0 for a collection."""
    undone_by: int = 0
    """The undo that took this collection back, 0 for a collection in force. Read from the journal, never written."""


class PutSession(NamedTuple):
    """Insert or replace a session's row."""

    row: SessionRow


class Put(NamedTuple):
    """Insert a segment, or complete the pending segment with the same id. A forgotten id stays forgotten.

    Completing replaces the content and the host's facts; place, turn, pins, tags, task and state stay. A seq that
    belongs to another id is a `Conflict`. A session without a row gets a bare row.
    """

    row: SegmentRow


class SetState(NamedTuple):
    """Move segments to a state; `departure` is set with `departed` and cleared otherwise."""

    key: SessionKey
    seqs: Sequence[int]
    state: State
    departure: Departure | None = None


class SetPlaces(NamedTuple):
    """New window order for these segments: (seq, place)."""

    key: SessionKey
    places: Sequence[tuple[int, int]]


class Touch(NamedTuple):
    """Observed uses: (seq, turn). The later turn is kept and adds one to `touches`: a batch applied again adds none."""

    key: SessionKey
    uses: Sequence[tuple[int, int]]


class SetRecalled(NamedTuple):
    """Recalls of segments at a turn; a turn before the known turn has no effect."""

    key: SessionKey
    seqs: Sequence[int]
    turn: int


class SetPinned(NamedTuple):
    """Pin or unpin."""

    key: SessionKey
    seqs: Sequence[int]
    is_pinned: bool


class SetTags(NamedTuple):
    """Replace tags, task and importance of a segment; `None` leaves a field unchanged."""

    key: SessionKey
    seq: int
    tags: tuple[str, ...] | None = None
    task: str | None = None
    importance: float | None = None


class AddEdges(NamedTuple):
    """Add references of a segment to older segments."""

    key: SessionKey
    seq: int
    edges: Sequence[Edge]


class SetGarbage(NamedTuple):
    """Proofs of garbage: (seq, reason, proving seq)."""

    key: SessionKey
    proofs: Sequence[tuple[int, str, int]]


class PutCollection(NamedTuple):
    """Write a line of the journal and evict its victims; `restores` of an undo return. Another line is a `Conflict`."""

    key: SessionKey
    collection: Collection
    restores: Sequence[int] = ()
    is_carried_out: bool = True
    """False: the journal alone, of a collection that would have run; no segment changes its state."""


class ActualCost(NamedTuple):
    """The cost of a collection, from the host's usage."""

    key: SessionKey
    collection: int
    actual_cost: float


class Forget(NamedTuple):
    """Remove content, metadata and postings; only the bare id stays, with state `forgotten`.

    The session's remembered replies go too: a reply may quote the text.
    """

    key: SessionKey
    seqs: Sequence[int]


FORGOTTEN_OF_SESSION = ("title", "task", "project", "parent", "parent_segment", "model", "pacing")
"""The texts of a session's row that a whole forget empties; `pacing` has digests of what was sent."""


class ForgetSession(NamedTuple):
    """Forget every segment and the session's own texts.

    The session's key and its segments' ids stay, so that no second reading of a transcript brings the segments back.
    """

    key: SessionKey


class PutOp(NamedTuple):
    """Remember a mutation's reply under the client's `op_id`; the oldest beyond the bound are dropped."""

    key: SessionKey
    op_id: str
    op: Op


class PutPosition(NamedTuple):
    """The committed part of a watched file. `head` is a digest of its first bytes: another file has another head."""

    path: str
    head: bytes
    offset: int


SegmentMutation = Put | SetState | SetPlaces | SetPinned | SetTags | AddEdges | SetGarbage | Forget
UseMutation = Touch | SetRecalled | PutCollection | ActualCost
SessionMutation = PutSession | ForgetSession | PutOp | PutPosition
Mutation = SegmentMutation | UseMutation | SessionMutation


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A search. Filters combine with and; empty filters pass all."""

    text: str
    """Words as `core.search.query` reads them, never in an engine's own syntax."""
    key: SessionKey | None = None
    here: str = ""
    project: str = ""
    """`project`: a working directory or its last part, in any case; `here`: the folder whose project comes first."""
    kinds: tuple[Kind, ...] = ()
    tools: tuple[str, ...] = ()
    path: str = ""
    """A path, or a glob if it holds `*`, `?` or `[`; a bare name matches any folder's file of that name."""
    task: str = ""
    tags: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    after_s: float = 0.0
    before_s: float = 0.0
    limit: int = 10
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A segment of a search's result, without its content. `snippet` has matches between U+0002 and U+0003."""

    row: SegmentRow
    project: str
    title: str
    score: float
    """Higher is better; comparable within one reply only."""
    snippet: str
    match: str
    """`all` words, `some` of them, `near` a turn with them, or `recent` where the search ran out of time."""
    lines: tuple[int, int] = (1, 1)
    """The first and last line of the searched text that the snippet shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The reply to a search. `notes` tell a person of relaxed terms and cut results; `next_offset` is -1 at the end."""

    hits: tuple[Hit, ...]
    notes: tuple[str, ...] = ()
    next_offset: int = -1
    is_partial: bool = False


class Stash(WakingReads, Protocol):
    """Durable, searchable storage of segments. All methods may raise `StorageFailed`; none blocks the loop."""

    path: Path
    """The file of the stash."""

    async def open(self) -> None:
        """Open or create. Raises `StashDamaged`, `Incompatible`; a file that cannot be read is never replaced."""

    async def close(self) -> None:
        """Commit the accepted batches and release the stash. Idempotent."""

    async def apply(self, mutations: Sequence[Mutation]) -> None:
        """Commit all mutations or none, durable on return. Raises `ReadOnly`, and no row has changed."""

    async def sessions(
        self, *, project: str = "", source: str = "", limit: int = 100, offset: int = 0
    ) -> list[SessionRow]:
        """Sessions, the most recently updated first."""

    async def session(self, key: SessionKey) -> SessionRow | None:
        """A session's row."""

    async def sessions_named(self, text: str) -> list[SessionKey]:
        """Sessions that a person may mean by `text`: `source:session`, a session id, or a prefix. At most 10."""

    async def sessions_numbered(self, number: int) -> list[SessionKey]:
        """Sessions of this number, drawn or made of the name; several where numbers collide. O(sessions)."""

    async def sessions_with_segment(self, segment_id: str) -> list[SessionKey]:
        """Sessions with a segment of exactly this id, the most recently updated first. At most 10."""

    async def rows(self, key: SessionKey, seqs: Sequence[int] | None = None) -> list[SegmentRow]:
        """Segments of a session in seq order, without content; forgotten segments too. All of them, or only `seqs`."""

    async def contents(self, key: SessionKey, seqs: Sequence[int]) -> dict[int, tuple[bytes, tuple[Piece, ...]]]:
        """(skeleton, body) by seq, exactly as admitted. Unknown and forgotten seqs are absent."""

    async def search(self, query: Query) -> SearchResult:
        """Ranked hits, as `core.search` ranks; the reply comes within its time bound."""

    async def collections(self, key: SessionKey, *, limit: int = 50) -> list[Collection]:
        """The journal, newest first."""

    async def collection(self, key: SessionKey, number: int) -> Collection | None:
        """A line of the journal, of any length."""

    async def newest_collection_in_force(self, key: SessionKey) -> Collection | None:
        """The newest collection that was carried out, is no undo and was not undone."""

    async def remembered_op(self, key: SessionKey, op_id: str) -> Op | None:
        """The remembered reply of a mutation, if the session still keeps the reply."""

    async def file_position(self, path: str) -> tuple[bytes, int] | None:
        """(head digest, offset) of a watched file."""

    async def status(self) -> StashStatus:
        """Counts and health; cheap enough for every `ctxgc status`."""

    async def examine(self, *, is_deep: bool = False) -> Examination:
        """Read pages and a sample of bodies within a time, or all of both, and say what is damaged."""

    async def drop_caches(self, on_thread: Callable[[], None]) -> None:
        """Free what is kept in memory for later; `on_thread` runs on each thread that reads or writes."""

    async def backup(self, path: str) -> int:
        """A consistent copy to a path that does not exist yet; returns bytes written."""
