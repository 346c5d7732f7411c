"""Writing: the effect of each mutation on the tables. All functions here run on the writer connection's thread.

    batches ──▶ BEGIN IMMEDIATE ─ each mutation in order ─ COMMIT ──▶ one outcome a batch
                       └─ failed with several batches? each alone, so that bad data fails its own caller only

Long puts arrive encoded (`encoding.encode_puts` runs on any thread), so that the writer only writes.
"""

# ruff: noqa: S608 - every value is bound; only constants and placeholders are spliced into SQL
from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ctxgc.core.errors import Conflict, CtxgcError
from ctxgc.core.segment import SessionKey, State, Status
from ctxgc.stash import body_codec, index_text
from ctxgc.stash.columns import (
    COLUMNS,
    CONTENT,
    SESSION_COLUMNS,
    STORED_KINDS,
    content_values,
    pack_list,
    segment_values,
    session_values,
    storable_text,
)
from ctxgc.stash.contract import (
    FORGOTTEN_OF_SESSION,
    OP_IDS_KEPT_PER_SESSION,
    ActualCost,
    AddEdges,
    Edge,
    Forget,
    ForgetSession,
    Mutation,
    Put,
    PutCollection,
    PutOp,
    PutPosition,
    PutSession,
    SetGarbage,
    SetPinned,
    SetPlaces,
    SetRecalled,
    SetState,
    SetTags,
    Touch,
)
from ctxgc.stash.encoding import EncodedPut, encode_row, text_key_values
from ctxgc.stash.forgetting import FORGET_SEGMENT, FORGET_SESSION, drop_pointers_to_segments
from ctxgc.stash.reading import NUMBERED, journal_lines
from ctxgc.stash.schema import INDEX_ROW, UNINDEX_ROW, get_counter, start_reindexing
from ctxgc.stash.sqlite_errors import ctxgc_error_of

SIDS_CACHED_MAX = 4096
Failpoint = Callable[[str], None]


def no_failpoint(_: str) -> None:
    """The failpoint of a run that no test drives."""


Batch = Sequence[Mutation | EncodedPut]


class Writer:
    """Applies batches to a connection; the writer lives on that connection's thread."""

    def __init__(self, connection: sqlite3.Connection, failpoint: Failpoint) -> None:
        self._db = connection
        self._fail = failpoint
        self._sids: dict[SessionKey, int] = {}
        self._unindexed_below = 0
        """Read once a transaction. Reindexing comes to the rows below: a second posting of one would stay."""
        self.renew_compressor()
        self._actions: dict[type, Callable[[Any], None]] = {
            PutSession: self._put_session,
            EncodedPut: self._put_segment,
            Put: lambda m: self._put_segment(encode_row(m.row, self._compress)),
            SetState: self._set_state,
            SetPlaces: self._set_places,
            Touch: self._touch_segments,
            SetRecalled: self._set_recalled_turn,
            SetPinned: self._set_pinned,
            SetTags: self._set_tags,
            AddEdges: lambda m: self._add_edges(self._get_or_create_sid(m.key), m.seq, m.edges),
            SetGarbage: self._set_garbage,
            PutCollection: self._put_collection,
            ActualCost: self._set_actual_cost,
            Forget: self._forget_segments,
            ForgetSession: self._forget_session,
            PutOp: self._put_op,
            PutPosition: self._put_position,
        }

    def renew_compressor(self) -> None:
        """Make the compressor anew: it keeps what it was last given. Making it costs more than a short text does."""
        self._compress = body_codec.make_compressor()

    def commit(self, batches: Sequence[Batch]) -> list[CtxgcError | None]:
        """Commit all batches in a single transaction; the error of each batch, in order, `None` for success."""
        try:
            self._apply_in_transaction(batches)
        except (CtxgcError, sqlite3.Error, ValueError, TypeError) as error:
            if len(batches) == 1:
                return [ctxgc_error_of(error)]
            return [outcome for batch in batches for outcome in self.commit([batch])]
        return [None] * len(batches)

    def _apply_in_transaction(self, batches: Sequence[Batch]) -> None:
        if self._db.in_transaction:  # A rollback failed before: the disk had failed.
            self._db.rollback()
        self._fail("begin")
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._unindexed_below = get_counter(self._db, "unindexed_below")
            for batch in batches:
                for mutation in batch:
                    self._actions[type(mutation)](mutation)
            self._fail("commit")
            self._db.execute("COMMIT")
        except BaseException:
            self._sids.clear()  # May name sessions that were never committed.
            self._db.rollback()
            raise

    # Sessions

    def _put_session(self, mutation: PutSession) -> None:
        self._fail("session")
        self._db.execute(_PUT_SESSION, session_values(mutation.row))

    def _get_or_create_sid(self, key: SessionKey) -> int:
        """The session's number; a session without a row gets a bare row."""
        if (sid := self._sids.get(key)) is not None:
            return sid
        self._fail("session")
        self._db.execute("INSERT OR IGNORE INTO session (source, session) VALUES (?, ?)", key)
        row = self._db.execute("SELECT sid FROM session WHERE source = ? AND session = ?", key).fetchone()
        if len(self._sids) >= SIDS_CACHED_MAX:
            self._sids.clear()
        self._sids[key] = row[0]
        return int(row[0])

    # Segments

    def _put_segment(self, mutation: EncodedPut) -> None:
        self._fail("put")
        row = mutation.row
        if row.state is State.FORGOTTEN:
            raise ValueError("forgetting is a mutation of its own")
        sid = self._get_or_create_sid(row.key)
        cursor = self._db.execute(_INSERT, segment_values(sid, row))
        if not cursor.rowcount:
            self._complete_pending_segment(sid, mutation)
            return
        rid = cursor.lastrowid or 0
        self.write_content(rid, sid, mutation)
        if row.edges:
            self._add_edges(sid, row.seq, row.edges)

    def _complete_pending_segment(self, sid: int, mutation: EncodedPut) -> None:
        """The segment exists: a put may complete a pending segment, and else has no effect."""
        row = mutation.row
        known_row = self._db.execute(
            "SELECT rid, seq, status, state FROM segment WHERE sid = ? AND id = ?", (sid, storable_text(row.segment.id))
        ).fetchone()
        if known_row is None:
            raise Conflict(f"seq {row.seq} of {row.key} belongs to another segment than {row.segment.id!r}")
        rid, seq, status, state = known_row
        if status != Status.PENDING or row.segment.status is Status.PENDING or state == State.FORGOTTEN:
            return
        self._remove_content(rid, sid)
        sets = ", ".join(f"{name} = ?" for name in CONTENT)
        self._db.execute(f"UPDATE segment SET {sets} WHERE rid = ?", (*content_values(row), rid))
        self.write_content(rid, sid, mutation)
        self._add_edges(sid, seq, row.edges)

    def rewrite_content(self, rid: int, sid: int, mutation: EncodedPut) -> None:
        """Replace body, index entry and paths of a row, while its columns are still the old ones."""
        self._unindexed_below = get_counter(self._db, "unindexed_below")
        self._remove_content(rid, sid)
        self.write_content(rid, sid, mutation)

    def write_content(self, rid: int, sid: int, mutation: EncodedPut) -> None:
        """Insert the body, its keys, the paths and, where the index has come to the row, the index entry."""
        segment = mutation.row.segment
        self._fail("body")
        self._db.execute("INSERT INTO body VALUES (?, ?)", (rid, mutation.content))
        self._db.execute("INSERT OR REPLACE INTO text_key VALUES (?, ?, ?, ?)", text_key_values(rid, mutation.keys))
        self._fail("index")
        if rid >= self._unindexed_below:
            tags = index_text.index_tags(sid, STORED_KINDS[segment.kind], segment.tool)
            self._db.execute(INDEX_ROW, (rid, *mutation.entry, tags))
        for n, use in enumerate(segment.paths):
            path = storable_text(use.path)
            self._db.execute(
                "INSERT OR IGNORE INTO path (path, name) VALUES (?, ?)", (path, path.rstrip("/").rpartition("/")[2])
            )
            self._db.execute(
                "INSERT INTO path_use SELECT ?, ?, pid, ?, ?, ? FROM path WHERE path = ?",
                (rid, n, str(use.access), use.first_line, use.last_line, path),
            )

    def _remove_content(self, rid: int, sid: int) -> None:
        """Delete the body, its keys, the postings and the paths. For unreadable content the whole index starts anew."""
        self._fail("unindex")
        row = self._db.execute(
            "SELECT frame, kind, tool FROM body JOIN segment USING (rid) WHERE rid = ?", (rid,)
        ).fetchone()
        self._db.execute("DELETE FROM body WHERE rid = ?", (rid,))
        self._db.execute("DELETE FROM text_key WHERE rid = ?", (rid,))
        if row is not None and rid >= self._unindexed_below:
            try:
                # The content's own facts: the index entry was made from exactly these.
                entry = index_text.index_entry(body_codec.decode_row(row[0], body_codec.make_decompressor()).segment)
            except ValueError:
                start_reindexing(self._db)
                self._unindexed_below = get_counter(self._db, "unindexed_below")
            else:
                self._db.execute(UNINDEX_ROW, (rid, *entry, index_text.index_tags(sid, row[1], row[2])))
        pids = self._db.execute("SELECT DISTINCT pid FROM path_use WHERE rid = ?", (rid,)).fetchall()
        self._db.execute("DELETE FROM path_use WHERE rid = ?", (rid,))
        self._db.executemany(
            "DELETE FROM path WHERE pid = ?1 AND NOT EXISTS (SELECT 1 FROM path_use WHERE pid = ?1)", pids
        )

    def _add_edges(self, sid: int, seq: int, edges: Sequence[Edge]) -> None:
        self._fail("edges")
        self._db.executemany(
            "INSERT OR IGNORE INTO reference SELECT sid, seq, ?3, ?4 FROM segment"
            " WHERE sid = ?1 AND seq = ?2 AND state != 'forgotten'",
            [(sid, seq, target, int(kind)) for target, kind in edges],
        )

    def _update_segments(
        self, what: str, key: SessionKey, sets: str, rows: Sequence[tuple[Any, ...]], only: str = ""
    ) -> None:
        """Set columns of segments; each row of values ends in the seq. A forgotten segment keeps its columns."""
        self._fail(what)
        sid = self._get_or_create_sid(key)
        sql = f"UPDATE segment SET {sets} WHERE sid = {sid} AND seq = ? AND state != 'forgotten' {only}"
        self._db.executemany(sql, rows)

    def _set_state(self, mutation: SetState) -> None:
        if mutation.state is State.FORGOTTEN:
            raise ValueError("forgetting is a mutation of its own")
        departure = str(mutation.departure or "") if mutation.state is State.DEPARTED else ""
        sets = "state = ?, departure = ?" + (", collection = 0" if mutation.state is State.RESIDENT else "")
        rows = [(str(mutation.state), departure, seq) for seq in mutation.seqs]
        self._update_segments("state", mutation.key, sets, rows)

    def _set_places(self, mutation: SetPlaces) -> None:
        self._update_segments("places", mutation.key, "place = ?", [(place, seq) for seq, place in mutation.places])

    def _touch_segments(self, mutation: Touch) -> None:
        # A turn counts once, or else repeating the batch would count it again.
        rows = [(turn, seq, turn) for seq, turn in mutation.uses]
        sets = "touched_turn = ?, touches = touches + 1"
        self._update_segments("touch", mutation.key, sets, rows, only="AND touched_turn < ?")

    def _set_recalled_turn(self, mutation: SetRecalled) -> None:
        rows = [(mutation.turn, seq) for seq in mutation.seqs]
        self._update_segments("recalled", mutation.key, "recalled_turn = max(recalled_turn, ?)", rows)

    def _set_pinned(self, mutation: SetPinned) -> None:
        self._update_segments(
            "pin", mutation.key, "is_pinned = ?", [(mutation.is_pinned, seq) for seq in mutation.seqs]
        )

    def _set_tags(self, mutation: SetTags) -> None:
        tags = None if mutation.tags is None else pack_list(mutation.tags)
        sets = "tags = coalesce(?, tags), task = coalesce(?, task), importance = coalesce(?, importance)"
        self._update_segments(
            "tags", mutation.key, sets, [(tags, storable_text(mutation.task), mutation.importance, mutation.seq)]
        )

    def _set_garbage(self, mutation: SetGarbage) -> None:
        rows = [(reason, by, seq) for seq, reason, by in mutation.proofs]
        self._update_segments("garbage", mutation.key, "garbage = ?, garbage_by = ?", rows)

    # Journal

    def _put_collection(self, mutation: PutCollection) -> None:
        self._fail("collection")
        sid, c = self._get_or_create_sid(mutation.key), mutation.collection
        line = next(iter(journal_lines(self._db, sid, NUMBERED, c.id)), None)
        if line is not None:
            # The actual cost and an undo come later than the line: both may differ, nothing else may.
            if replace(line, actual_cost=c.actual_cost, undone_by=c.undone_by) != c:
                raise Conflict(f"collection {c.id} of {mutation.key} is in the journal already, and is another one")
            return
        identity = (c.wall_s, c.turn, c.trigger, c.target_tokens, c.before_tokens, c.after_tokens)
        self._db.execute(
            "INSERT INTO collection VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (sid, c.id, *identity, pack_list(c.protected_by), c.predicted_cost, c.actual_cost, c.undoes),
        )
        self._db.executemany(
            "INSERT INTO eviction VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [(sid, c.id, n, e.seq, e.reason, e.by, e.freed_tokens, e.score) for n, e in enumerate(c.evictions)],
        )
        if mutation.is_carried_out:
            evicted = "state = 'evicted', departure = '', collection = ?"
            self._update_segments("evict", mutation.key, evicted, [(c.id, e.seq) for e in c.evictions])
        resident = "state = 'resident', departure = '', collection = 0"
        self._update_segments("restore", mutation.key, resident, [(seq,) for seq in mutation.restores])

    def _set_actual_cost(self, mutation: ActualCost) -> None:
        self._fail("cost")
        self._db.execute(
            "UPDATE collection SET actual_cost = ? WHERE sid = ? AND number = ?",
            (mutation.actual_cost, self._get_or_create_sid(mutation.key), mutation.collection),
        )

    # Forgetting

    def _forget_segments(self, mutation: Forget) -> None:
        self._fail("forget")
        sid = self._get_or_create_sid(mutation.key)
        ids: set[str] = set()
        for seq in mutation.seqs:
            row = self._db.execute(
                "SELECT rid, id FROM segment WHERE sid = ? AND seq = ? AND state != 'forgotten'", (sid, seq)
            ).fetchone()
            if row is None:
                continue
            rid, id_ = row
            ids.add(id_)
            self._remove_content(rid, sid)
            self._db.execute("DELETE FROM reference WHERE sid = ? AND seq = ?", (sid, seq))
            self._db.execute(FORGET_SEGMENT, (rid,))
            self._db.execute("INSERT OR IGNORE INTO erasure VALUES (?)", (rid,))
        if ids:  # A remembered reply may quote what is now forgotten, and a pointer names it.
            drop_pointers_to_segments(self._db, sid, ids)
            self._db.execute("DELETE FROM op WHERE sid = ?", (sid,))

    def _forget_session(self, mutation: ForgetSession) -> None:
        sid = self._get_or_create_sid(mutation.key)
        seqs = self._db.execute("SELECT seq FROM segment WHERE sid = ? AND state != 'forgotten'", (sid,)).fetchall()
        self._forget_segments(Forget(mutation.key, [seq for (seq,) in seqs]))
        self._db.execute(FORGET_SESSION, (*[""] * len(FORGOTTEN_OF_SESSION), sid))
        self._db.execute("DELETE FROM op WHERE sid = ?", (sid,))
        # Segments await erasing by their rid, which is positive: below zero is a session.
        self._db.execute("INSERT OR IGNORE INTO erasure VALUES (?)", (-sid,))

    # The rest

    def _put_op(self, mutation: PutOp) -> None:
        self._fail("op")
        sid = self._get_or_create_sid(mutation.key)
        n = self._db.execute("SELECT coalesce(max(n), 0) + 1 FROM op WHERE sid = ?", (sid,)).fetchone()[0]
        values = (sid, n, mutation.op_id, *mutation.op)
        if self._db.execute(
            "INSERT OR IGNORE INTO op (sid, n, op_id, reply, call) VALUES (?, ?, ?, ?, ?)", values
        ).rowcount:
            self._db.execute("DELETE FROM op WHERE sid = ? AND n <= ?", (sid, n - OP_IDS_KEPT_PER_SESSION))

    def _put_position(self, mutation: PutPosition) -> None:
        self._fail("position")
        self._db.execute("INSERT OR REPLACE INTO position VALUES (?, ?, ?)", mutation)


_INSERT = f"INSERT OR IGNORE INTO segment ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"

_PUT_SESSION = (
    f"INSERT INTO session ({', '.join(SESSION_COLUMNS)}) VALUES ({', '.join('?' * len(SESSION_COLUMNS))})"
    f" ON CONFLICT (source, session) DO UPDATE SET {', '.join(f'{n} = excluded.{n}' for n in SESSION_COLUMNS[2:])}"
)
