"""Reading: rows of the tables as values. Every function in here runs on a reader connection's thread."""

# ruff: noqa: S608 - every value is bound; only constants and placeholders are spliced into SQL
from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ctxgc.core.display_texts import SHADOW
from ctxgc.core.errors import StorageFailed
from ctxgc.core.segment import Access, PathUse, Piece, SessionKey, content_digest, legacy_session_number
from ctxgc.stash import body_codec, columns
from ctxgc.stash.contract import Collection, Edge, Eviction, Op, SegmentRow, SessionRow
from ctxgc.stash.health import StashStatus
from ctxgc.stash.schema import get_counter

CHUNK = 500
"""Values in one `IN (…)` list."""

RESOLVED_MAX = 10

_ACCESSES = {access.value: access for access in Access}
_SEGMENT = ", ".join(f"s.{name}" for name in columns.COLUMNS)
_SESSION = ", ".join(columns.SESSION_COLUMNS)


def sid_of(db: sqlite3.Connection, key: SessionKey) -> int | None:
    """The session's number in this file."""
    row = db.execute("SELECT sid FROM session WHERE source = ? AND session = ?", key).fetchone()
    return row[0] if row else None


def sessions(db: sqlite3.Connection, project: str, source: str, limit: int, offset: int) -> list[SessionRow]:
    """Sessions, the most recently updated first."""
    where = [f"{name} = ?" for name, value in (("project", project), ("source", source)) if value]
    clause = f"WHERE {' AND '.join(where)}" if where else ""
    session_rows = db.execute(
        f"SELECT {_SESSION} FROM session {clause} ORDER BY updated_s DESC, sid DESC LIMIT ? OFFSET ?",
        (*(value for value in (project, source) if value), limit, offset),
    )
    return [columns.session_row(row) for row in session_rows]


def session(db: sqlite3.Connection, key: SessionKey) -> SessionRow | None:
    """A session's row."""
    row = db.execute(f"SELECT {_SESSION} FROM session WHERE source = ? AND session = ?", key).fetchone()
    return columns.session_row(row) if row else None


def sessions_named(db: sqlite3.Connection, text: str) -> list[SessionKey]:
    """Sessions that `text` names exactly; without any, the sessions that `text` is a prefix of."""
    if not text:
        return []
    text = columns.storable_text(text)
    source, colon, rest = text.partition(":")
    names = [("", text), *([(source, rest)] if colon and rest else [])]
    for compare in ("session = ?1", "session >= ?1 AND session < ?1 || char(0x10ffff)"):
        keys: dict[SessionKey, None] = {}
        for only, name in names:
            clause = f"{compare} AND (?2 = '' OR source = ?2)"
            rows = db.execute(
                f"SELECT source, session FROM session WHERE {clause} ORDER BY updated_s DESC LIMIT {RESOLVED_MAX}",
                (name, only),
            )
            keys.update(dict.fromkeys(SessionKey(*row) for row in rows))
        if keys:
            return list(keys)[:RESOLVED_MAX]
    return []


def sessions_numbered(db: sqlite3.Connection, number: int) -> list[SessionKey]:
    """Sessions of this number; names make the numbers of sessions that are older than drawn numbers."""
    rows = db.execute("SELECT source, session, number FROM session WHERE number IN (0, ?)", (number,))
    named = [(SessionKey(source, session), drawn) for source, session, drawn in rows]
    return [key for key, drawn in named if (drawn or legacy_session_number(key)) == number]


def sessions_with_segment(db: sqlite3.Connection, segment_id: str) -> list[SessionKey]:
    """Sessions with a segment of exactly this id: a look into the index of each."""
    key_rows = db.execute(
        "SELECT source, session FROM session AS t WHERE EXISTS (SELECT 1 FROM segment WHERE sid = t.sid AND id = ?)"
        " ORDER BY updated_s DESC LIMIT ?",
        (columns.storable_text(segment_id), RESOLVED_MAX),
    )
    return [SessionKey(*row) for row in key_rows]


def rows(db: sqlite3.Connection, key: SessionKey, seqs: Sequence[int] | None = None) -> list[SegmentRow]:
    """Segments of a session in seq order, without content: all of them, or only `seqs`."""
    # One read transaction: after a commit between the three queries a row would lack its edges.
    db.execute("BEGIN")
    try:
        sid = sid_of(db, key)
        if sid is None:
            return []
        only: str = ""
        chosen: list[object] = [sid]
        if seqs is not None:
            only = " AND {0}.seq IN (SELECT value FROM json_each(?))"
            chosen.append(json.dumps(list(seqs)))
        uses: dict[int, list[PathUse]] = defaultdict(list)
        for rid, *use in db.execute(
            "SELECT u.rid, p.path, u.access, u.first_line, u.last_line FROM segment AS s"
            " JOIN path_use AS u ON u.rid = s.rid JOIN path AS p ON p.pid = u.pid WHERE s.sid = ?"
            f"{only.format('s')} ORDER BY u.rid, u.n",
            chosen,
        ):
            uses[rid].append(_path_use_of_row(*use))
        edges: dict[int, list[Edge]] = defaultdict(list)
        for seq, target, kind in db.execute(
            f"SELECT r.seq, r.target, r.kind FROM reference AS r WHERE r.sid = ?{only.format('r')}", chosen
        ):
            edges[seq].append(Edge(target, kind))
        segment_rows = db.execute(
            f"SELECT s.rid, {_SEGMENT} FROM segment AS s WHERE s.sid = ?{only.format('s')} ORDER BY s.seq", chosen
        )
        return [
            columns.segment_row(key, row, tuple(uses.get(rid, ())), tuple(edges.get(row[1], ())))
            for rid, *row in segment_rows
        ]
    finally:
        db.rollback()


def rows_with_project_and_title(db: sqlite3.Connection, rids: Sequence[int]) -> dict[int, tuple[SegmentRow, str, str]]:
    """Segments without content, and the project and title of each segment's session."""
    rows_with_project_and_title: dict[int, tuple[SegmentRow, str, str]] = {}
    for chunk in chunks(rids):
        placeholders = ", ".join("?" * len(chunk))
        uses: dict[int, list[PathUse]] = defaultdict(list)
        for rid, *use in db.execute(
            "SELECT u.rid, p.path, u.access, u.first_line, u.last_line FROM path_use AS u"
            f" JOIN path AS p ON p.pid = u.pid WHERE u.rid IN ({placeholders}) ORDER BY u.rid, u.n",
            chunk,
        ):
            uses[rid].append(_path_use_of_row(*use))
        edges: dict[int, list[Edge]] = defaultdict(list)
        for rid, target, kind in db.execute(
            "SELECT s.rid, r.target, r.kind FROM segment AS s JOIN reference AS r ON r.sid = s.sid AND r.seq = s.seq"
            f" WHERE s.rid IN ({placeholders})",
            chunk,
        ):
            edges[rid].append(Edge(target, kind))
        for rid, source, name, project, title, *row in db.execute(
            f"SELECT s.rid, e.source, e.session, e.project, e.title, {_SEGMENT} FROM segment AS s"
            f" JOIN session AS e ON e.sid = s.sid WHERE s.rid IN ({placeholders})",
            chunk,
        ):
            key = SessionKey(source, name)
            stored = columns.segment_row(key, row, tuple(uses.get(rid, ())), tuple(edges.get(rid, ())))
            rows_with_project_and_title[rid] = stored, project, title
    return rows_with_project_and_title


def contents(
    db: sqlite3.Connection, key: SessionKey, seqs: Sequence[int]
) -> dict[int, tuple[bytes, tuple[Piece, ...]]]:
    """(skeleton, body) by seq, checked against the digest taken at admission (I9)."""
    sid = sid_of(db, key)
    contents: dict[int, tuple[bytes, tuple[Piece, ...]]] = {}
    decompress = body_codec.make_decompressor()
    for chunk in chunks(seqs if sid is not None else ()):
        placeholders = ", ".join("?" * len(chunk))
        for seq, id_, stamp, blob in db.execute(
            "SELECT s.seq, s.id, s.digest, b.frame FROM segment AS s JOIN body AS b ON b.rid = s.rid"
            f" WHERE s.sid = ? AND s.seq IN ({placeholders})",
            (sid, *chunk),
        ):
            contents[seq] = _decode_and_verify_content(key, id_, stamp, blob, decompress)
    return contents


def _decode_and_verify_content(
    key: SessionKey, id_: str, stamp: bytes, blob: bytes, decompress: body_codec.Transform
) -> tuple[bytes, tuple[Piece, ...]]:
    try:
        skeleton, body = body_codec.decode_content(blob, decompress)
        if content_digest(skeleton, body) == stamp:
            return skeleton, body
        trouble = "its digest differs"
    except ValueError as error:
        trouble = str(error)
    raise StorageFailed(
        f"segment {id_!r} of {key} is damaged in the stash: {trouble}",
        hint="stop the daemon and run `ctxgcd --check`, then `ctxgcd --repair`",
    )


_COLLECTION = (
    "SELECT c.number, c.wall_s, c.turn, c.asked, c.target_tokens, c.before_tokens, c.after_tokens, c.held_by,"
    " c.predicted_cost, c.actual_cost, c.undoes, coalesce(u.number, 0) FROM collection AS c"
    " LEFT JOIN collection AS u ON u.sid = c.sid AND u.undoes = c.number AND u.undoes != 0 WHERE c.sid = ?"
)

NUMBERED = "AND c.number = ?"
"""Limits a journal to the line of one number."""


def collections(db: sqlite3.Connection, key: SessionKey, limit: int) -> list[Collection]:
    """The journal, newest first."""
    return _read_journal(db, key, "ORDER BY c.number DESC LIMIT ?", limit)


def collection(db: sqlite3.Connection, key: SessionKey, number: int) -> Collection | None:
    """A line of the journal."""
    return next(iter(_read_journal(db, key, NUMBERED, number)), None)


def newest_collection_in_force(db: sqlite3.Connection, key: SessionKey) -> Collection | None:
    """The newest collection that was carried out, is no undo and was not undone."""
    stands = "AND c.undoes = 0 AND c.asked != ? AND u.number IS NULL ORDER BY c.number DESC LIMIT 1"
    return next(iter(_read_journal(db, key, stands, SHADOW)), None)


def _read_journal(db: sqlite3.Connection, key: SessionKey, only: str, value: object) -> list[Collection]:
    db.execute("BEGIN")
    try:
        return journal_lines(db, sid_of(db, key), only, value)
    finally:
        db.rollback()


def journal_lines(db: sqlite3.Connection, sid: int | None, only: str, value: object) -> list[Collection]:
    """Lines of a session's journal, in the caller's transaction; `only` is SQL that binds `value`."""
    lines = db.execute(f"{_COLLECTION} {only}", (sid, value)).fetchall()
    return [
        Collection(
            id=number,
            wall_s=wall_s,
            turn=turn,
            trigger=asked,
            target_tokens=target,
            before_tokens=before,
            after_tokens=after,
            evictions=tuple(_read_evictions(db, sid, number)),
            protected_by=tuple((name, tokens) for name, tokens in json.loads(held_by or "[]")),
            predicted_cost=predicted,
            actual_cost=actual,
            undoes=undoes,
            undone_by=undone_by,
        )
        for number, wall_s, turn, asked, target, before, after, held_by, predicted, actual, undoes, undone_by in lines
    ]


def _read_evictions(db: sqlite3.Connection, sid: int | None, number: int) -> Iterator[Eviction]:
    for seq, reason, by, freed_tokens, score in db.execute(
        "SELECT seq, reason, proof, freed_tokens, score FROM eviction WHERE sid = ? AND number = ? ORDER BY n",
        (sid, number),
    ):
        yield Eviction(seq=seq, reason=reason, by=by, freed_tokens=freed_tokens, score=score)


def remembered_op(db: sqlite3.Connection, key: SessionKey, op_id: str) -> Op | None:
    """The remembered reply of a mutation."""
    row = db.execute(
        "SELECT reply, call FROM op JOIN session USING (sid) WHERE source = ? AND session = ? AND op_id = ?",
        (*key, op_id),
    ).fetchone()
    return Op(*row) if row else None


def file_position(db: sqlite3.Connection, path: str) -> tuple[bytes, int] | None:
    """(head digest, offset) of a watched file."""
    return db.execute("SELECT head, offset FROM position WHERE path = ?", (path,)).fetchone()  # type: ignore[no-any-return]


def chunks(items: Iterable[int]) -> Iterator[list[int]]:
    """Lists of at most `CHUNK`."""
    values = list(items)
    for at in range(0, len(values), CHUNK):
        yield values[at : at + CHUNK]


def _path_use_of_row(path: str, access: str, first_line: int, last_line: int) -> PathUse:
    return PathUse(path, _ACCESSES[access], first_line, last_line)


def sids_of_enclosing_project(db: sqlite3.Connection, folder: str) -> list[int]:
    """Sessions of the project that a folder lies in: of the nearest folder upward that has any."""
    while len(folder) > 1:
        rows = db.execute("SELECT sid FROM session WHERE project = ?", (folder,)).fetchall()
        if rows:
            return [row[0] for row in rows]
        folder = folder.rstrip("/").rpartition("/")[0]
    return []


def count_unindexed_segments(db: sqlite3.Connection) -> int:
    """The number of segments that no query by words finds yet."""
    below = get_counter(db, "unindexed_below")
    return int(db.execute("SELECT count(*) FROM segment WHERE rid < ?", (below,)).fetchone()[0]) if below else 0


def status_with_counts(db: sqlite3.Connection, health: StashStatus) -> StashStatus:
    """The status with the file's counts."""
    segments, sessions = db.execute("SELECT (SELECT count(*) FROM segment), (SELECT count(*) FROM session)").fetchone()
    return replace(
        health,
        segments=segments,
        sessions=sessions,
        erasures_pending=count_pending_erasures(db),
        schema_version=db.execute("PRAGMA user_version").fetchone()[0],
        extra={"sqlite": sqlite3.sqlite_version, "unindexed": str(count_unindexed_segments(db))},
    )


def count_pending_erasures(db: sqlite3.Connection) -> int:
    """The number of forgotten segments and sessions that await erasing."""
    return int(db.execute("SELECT count(*) FROM erasure").fetchone()[0])
