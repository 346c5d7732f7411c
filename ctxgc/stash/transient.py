"""The in-memory twin: a stash that keeps every promise of the contract but durability.

For sessions that must not touch the disk, and for tests that need a stash and not a file. A batch works on copies
of the sessions it names; they replace the originals when all of it went well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ctxgc.core.errors import Conflict, StorageFailed
from ctxgc.core.segment import Piece, Segment, SessionKey, State, Status, session_number
from ctxgc.stash import index_text
from ctxgc.stash.columns import forgotten
from ctxgc.stash.contract import (
    OP_IDS_KEPT_PER_SESSION,
    SHADOW,
    ActualCost,
    AddEdges,
    Collection,
    Forget,
    ForgetSession,
    Mutation,
    Op,
    Put,
    PutCollection,
    PutOp,
    PutPosition,
    PutSession,
    Query,
    SearchResult,
    SegmentRow,
    SessionRow,
    SetGarbage,
    SetPinned,
    SetPlaces,
    SetRecalled,
    SetState,
    SetTags,
    StashStatus,
    Touch,
)
from ctxgc.stash.reading import RESOLVED_MAX
from ctxgc.stash.sieve import passes, sifted

_Content = tuple[bytes, tuple[Piece, ...]]


@dataclass(slots=True)
class _Session:
    row: SessionRow
    rows: dict[int, SegmentRow] = field(default_factory=dict)
    seqs: dict[str, int] = field(default_factory=dict)
    bodies: dict[int, _Content] = field(default_factory=dict)
    collections: dict[int, Collection] = field(default_factory=dict)
    ops: dict[str, Op] = field(default_factory=dict)

    def copy(self) -> _Session:
        return _Session(
            self.row, dict(self.rows), dict(self.seqs), dict(self.bodies), dict(self.collections), dict(self.ops)
        )


class TransientStash:
    """`Stash` in memory. What it holds is gone with the process, by design."""

    def __init__(self) -> None:
        self._sessions: dict[SessionKey, _Session] = {}
        self._positions: dict[str, tuple[bytes, int]] = {}

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to release."""

    async def apply(self, mutations: Sequence[Mutation]) -> None:
        """All of them or none."""
        draft = _Draft(self._sessions, dict(self._positions))
        for mutation in mutations:
            draft.apply(mutation)
        self._sessions |= draft.changed
        self._positions = draft.positions

    async def sessions(
        self, *, project: str = "", source: str = "", limit: int = 100, offset: int = 0
    ) -> list[SessionRow]:
        """Sessions, the most recently updated first."""
        newest_first = reversed(self._sessions.values())
        found = [s.row for s in newest_first if project in ("", s.row.project) and source in ("", s.row.key.source)]
        return sorted(found, key=lambda row: -row.updated_s)[offset : offset + limit]

    async def session(self, key: SessionKey) -> SessionRow | None:
        """One session's row."""
        return self._sessions[key].row if key in self._sessions else None

    async def resolve(self, text: str) -> list[SessionKey]:
        """Sessions that `text` names: exactly if any, else those it is a prefix of."""
        keys = [row.key for row in await self.sessions(limit=len(self._sessions))] if text else []
        exact = [key for key in keys if text in (key.session, str(key))]
        named = [key for key in keys if key.session.startswith(text) or (":" in text and str(key).startswith(text))]
        return (exact or named)[:RESOLVED_MAX]

    async def sessions_numbered(self, number: int) -> list[SessionKey]:
        """Sessions of this number."""
        return [key for key in self._sessions if session_number(key) == number]

    async def sessions_with_segment(self, segment_id: str) -> list[SessionKey]:
        """Sessions with a segment of exactly this id."""
        keys = [row.key for row in await self.sessions(limit=len(self._sessions))]
        held = [key for key in keys if any(row.segment.id == segment_id for row in self._sessions[key].rows.values())]
        return held[:RESOLVED_MAX]

    async def rows(self, key: SessionKey, seqs: Sequence[int] | None = None) -> list[SegmentRow]:
        """Segments of a session in seq order, without content: all of them, or only `seqs`."""
        rows = self._sessions[key].rows if key in self._sessions else {}
        return [rows[seq] for seq in sorted(rows if seqs is None else set(seqs)) if seq in rows]

    async def bodies(self, key: SessionKey, seqs: Sequence[int]) -> dict[int, _Content]:
        """(skeleton, body) by seq."""
        bodies = self._sessions[key].bodies if key in self._sessions else {}
        return {seq: bodies[seq] for seq in seqs if seq in bodies}

    async def search(self, query: Query) -> SearchResult:
        """Ranked hits, by a scan of everything."""
        return sifted(self._scope(query), query)

    async def collections(self, key: SessionKey, *, limit: int = 50) -> list[Collection]:
        """The journal, newest first."""
        return self._journal(key)[:limit]

    async def collection(self, key: SessionKey, number: int) -> Collection | None:
        """One line of the journal."""
        return next((record for record in self._journal(key) if record.id == number), None)

    async def standing_collection(self, key: SessionKey) -> Collection | None:
        """The newest collection that stands."""
        real = (record for record in self._journal(key) if record.trigger != SHADOW)
        return next((record for record in real if not record.undoes and not record.undone_by), None)

    async def op(self, key: SessionKey, op_id: str) -> Op | None:
        """What is remembered of a mutation."""
        return self._sessions[key].ops.get(op_id) if key in self._sessions else None

    async def position(self, path: str) -> tuple[bytes, int] | None:
        """(head digest, offset) of a watched file."""
        return self._positions.get(path)

    async def status(self) -> StashStatus:
        """Counts; there is no disk to be in trouble with."""
        return StashStatus(
            path=":memory:",
            segments=sum(len(session.rows) for session in self._sessions.values()),
            sessions=len(self._sessions),
            bytes_on_disk=0,
            is_read_only=False,
            read_only_reason="",
            erasures_pending=0,
            schema_version=0,
        )

    async def erase(self) -> int:
        """What was forgotten is gone already."""
        return 0

    async def backup(self, path: str) -> int:
        """There is nothing to copy to a file."""
        raise StorageFailed(f"a stash in memory cannot be copied to {Path(path).name}", hint="export the session")

    def _journal(self, key: SessionKey) -> list[Collection]:
        kept = self._sessions[key].collections if key in self._sessions else {}
        undone_by = {record.undoes: record.id for record in kept.values() if record.undoes}
        return [replace(kept[n], undone_by=undone_by.get(n, 0)) for n in sorted(kept, reverse=True)]

    def _scope(self, query: Query) -> Iterator[tuple[SegmentRow, str, str]]:
        """(row, project, text) of what the filters let through, newest admission first."""
        for session in reversed(self._sessions.values()):
            for seq in sorted(session.bodies, reverse=True):
                row = session.rows[seq]
                if passes(query, row, session.row.project):
                    yield row, session.row.project, index_text.readable(*session.bodies[seq])


class _Draft:
    """A batch in the making: copies of the sessions it changes."""

    def __init__(self, sessions: dict[SessionKey, _Session], positions: dict[str, tuple[bytes, int]]) -> None:
        self._sessions = sessions
        self.changed: dict[SessionKey, _Session] = {}
        self.positions = positions
        self._actions: dict[type, Callable[[Any], None]] = {
            PutSession: self._put_session,
            Put: self._put,
            SetState: self._set_state,
            SetPlaces: lambda m: self._each(m.key, [(seq, {"place": place}) for seq, place in m.places]),
            Touch: self._touch,
            SetRecalled: self._recalled,
            SetPinned: lambda m: self._each(m.key, [(seq, {"is_pinned": m.is_pinned}) for seq in m.seqs]),
            SetTags: self._set_tags,
            AddEdges: self._add_edges,
            SetGarbage: lambda m: self._each(
                m.key, [(seq, {"garbage": reason, "garbage_by": by}) for seq, reason, by in m.proofs]
            ),
            PutCollection: self._collected,
            ActualCost: self._actual_cost,
            Forget: self._forget,
            ForgetSession: self._forget_session,
            PutOp: self._put_op,
            PutPosition: lambda m: self.positions.update({m.path: (m.head, m.offset)}),
        }

    def apply(self, mutation: Mutation) -> None:
        self._actions[type(mutation)](mutation)

    def _session(self, key: SessionKey) -> _Session:
        if key not in self.changed:
            known = self._sessions.get(key)
            self.changed[key] = known.copy() if known else _Session(SessionRow(key=key))
        return self.changed[key]

    def _put_session(self, mutation: PutSession) -> None:
        self._session(mutation.row.key).row = mutation.row

    def _put(self, mutation: Put) -> None:
        row, segment = mutation.row, mutation.row.segment
        session = self._session(row.key)
        if row.state is State.FORGOTTEN:
            raise StorageFailed("forgetting is a mutation of its own", hint="nothing was written")
        bare = replace(segment, skeleton=b"{}", body=(), edit_sources=())
        seq = session.seqs.get(segment.id)
        if seq is None:
            if row.seq in session.rows:
                raise Conflict(f"seq {row.seq} of {row.key} belongs to another segment than {segment.id!r}")
            seq, kept = row.seq, replace(row, segment=bare, edges=())
        else:
            known = session.rows[seq]
            is_done = known.segment.status is not Status.PENDING or segment.status is Status.PENDING
            if is_done or known.state is State.FORGOTTEN:
                return
            kept = _completed(known, row, bare)
        session.rows[seq] = kept
        session.seqs[segment.id] = seq
        session.bodies[seq] = segment.skeleton, segment.body
        self._add_edges(AddEdges(row.key, seq, row.edges))

    def _each(self, key: SessionKey, changes: Sequence[tuple[int, dict[str, Any]]]) -> None:
        """Set fields of rows; a forgotten segment has nothing left to set."""
        rows = self._session(key).rows
        for seq, fields in changes:
            row = rows.get(seq)
            if row is not None and row.state is not State.FORGOTTEN:
                inner = {name: fields[name] for name in fields if name in Segment.__slots__}
                outer = {name: fields[name] for name in fields if name not in inner}
                rows[seq] = replace(row, segment=replace(row.segment, **inner) if inner else row.segment, **outer)

    def _set_state(self, mutation: SetState) -> None:
        if mutation.state is State.FORGOTTEN:
            raise StorageFailed("forgetting is a mutation of its own", hint="nothing was written")
        fields: dict[str, Any] = {"state": mutation.state, "departure": None}
        if mutation.state is State.DEPARTED:
            fields["departure"] = mutation.departure
        if mutation.state is State.RESIDENT:
            fields["collection"] = 0
        self._each(mutation.key, [(seq, fields) for seq in mutation.seqs])

    def _touch(self, mutation: Touch) -> None:
        rows = self._session(mutation.key).rows
        for seq, turn in mutation.uses:
            if seq in rows and rows[seq].touched_turn < turn:
                self._each(mutation.key, [(seq, {"touched_turn": turn, "touches": rows[seq].touches + 1})])

    def _recalled(self, mutation: SetRecalled) -> None:
        rows = self._session(mutation.key).rows
        news = [seq for seq in mutation.seqs if seq in rows and rows[seq].recalled_turn < mutation.turn]
        self._each(mutation.key, [(seq, {"recalled_turn": mutation.turn}) for seq in news])

    def _set_tags(self, mutation: SetTags) -> None:
        given = {"tags": mutation.tags, "task": mutation.task, "importance": mutation.importance}
        fields = {name: value for name, value in given.items() if value is not None}
        self._each(mutation.key, [(mutation.seq, fields)])

    def _add_edges(self, mutation: AddEdges) -> None:
        row = self._session(mutation.key).rows.get(mutation.seq)
        if row is not None:
            edges = tuple(sorted({*row.edges, *mutation.edges}))
            self._each(mutation.key, [(mutation.seq, {"edges": edges})])

    def _collected(self, mutation: PutCollection) -> None:
        session, collection = self._session(mutation.key), mutation.collection
        known = session.collections.get(collection.id)
        if known is not None:
            if replace(known, actual_cost=collection.actual_cost) != collection:
                raise Conflict(
                    f"collection {collection.id} of {mutation.key} is in the journal already, and is another one"
                )
            return
        session.collections[collection.id] = collection
        if mutation.is_carried_out:
            evicted = {"state": State.EVICTED, "departure": None, "collection": collection.id}
            self._each(mutation.key, [(eviction.seq, evicted) for eviction in collection.evictions])
        resident = {"state": State.RESIDENT, "departure": None, "collection": 0}
        self._each(mutation.key, [(seq, resident) for seq in mutation.restores])

    def _actual_cost(self, mutation: ActualCost) -> None:
        journal = self._session(mutation.key).collections
        if mutation.collection in journal:
            done = replace(journal[mutation.collection], actual_cost=mutation.actual_cost)
            journal[mutation.collection] = done

    def _forget(self, mutation: Forget) -> None:
        session = self._session(mutation.key)
        for seq in mutation.seqs:
            row = session.rows.get(seq)
            if row is not None and row.state is not State.FORGOTTEN:
                session.rows[seq] = forgotten(row)
                session.bodies.pop(seq, None)
                session.ops.clear()  # A remembered reply may quote what is now forgotten.

    def _forget_session(self, mutation: ForgetSession) -> None:
        session = self._session(mutation.key)
        self._forget(Forget(mutation.key, list(session.rows)))
        session.row = replace(session.row, title="", task="", project="", forgotten=True)
        session.ops.clear()

    def _put_op(self, mutation: PutOp) -> None:
        ops = self._session(mutation.key).ops
        ops.setdefault(mutation.op_id, mutation.op)
        while len(ops) > OP_IDS_KEPT_PER_SESSION:
            del ops[next(iter(ops))]


def _completed(known: SegmentRow, row: SegmentRow, bare: Segment) -> SegmentRow:
    """The new content in the old place: what the session decided about the segment stays."""
    old = known.segment
    kept = replace(
        bare, place=old.place, born_turn=old.born_turn, importance=old.importance, task=old.task, tags=old.tags
    )
    return replace(
        known,
        segment=kept,
        digest=row.digest,
        skeleton_tokens=row.skeleton_tokens,
        pieces=row.pieces,
        tombstone_tokens=row.tombstone_tokens,
        redactions=row.redactions,
    )
