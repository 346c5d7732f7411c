"""Redaction of what is stored: a stash from before a pattern was known, read row by row and written without its
credentials.

    sessions, positions, op replies ──▶ segments by rid, a slice a transaction ──▶ index, file and WAL written anew

Each slice commits with the place reached, so that a run that was broken off goes on from there. The rids of rewritten
segments await erasing from the first commit on: whoever finishes the run, or the daemon, erases their old bytes.
"""

# ruff: noqa: S608 - every value is bound; only constants and placeholders are spliced into SQL
from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ctxgc.core.errors import NotFound
from ctxgc.core.redaction.redact import find_secrets, redact_base_id, redact_json, redact_text
from ctxgc.core.segment import SessionKey, tool_call_id
from ctxgc.stash import body_codec, maintenance, schema
from ctxgc.stash.columns import COLUMNS, CONTENT, content_values, pack_list, segment_row, storable_text
from ctxgc.stash.contract import SegmentRow
from ctxgc.stash.encoding import encode_row
from ctxgc.stash.index_text import TOKENIZER_VERSION
from ctxgc.stash.sqlite_errors import ctxgc_error_of, damage_error
from ctxgc.stash.writing import Writer, no_failpoint

SLICE_ROWS = 200
CURSOR = "redacted_up_to"
"""In `meta`: the last rid of the slice that a run finished; 0 once a run has ended."""
SESSION_NAMES = ("session", "project", "parent", "parent_segment", "model", "title", "task")

Clean = Callable[[SegmentRow], tuple[SegmentRow, int]]
"""A segment's row, redacted and counted anew, and how many secrets the segment held."""
Progress = Callable[[int, int], None]
"""(rows read, rows in all)."""


@dataclass(slots=True)
class RedactionReport:
    """Counts of a run; of a dry run, the secrets that a run would redact."""

    segments: int = 0
    secrets: int = 0
    names: int = 0
    """Sessions, positions and remembered replies with a credential."""


def redact_stash(path: Path, clean_row: Clean, progress: Progress, *, is_dry: bool) -> RedactionReport:
    """Redact the whole stash, or count what would be redacted. No daemon may have the file open."""
    if not path.exists():
        raise NotFound(f"there is no stash at {path}", hint="the daemon makes one when it starts")
    try:
        with _open_stash(path, is_dry=is_dry) as db:
            run = _RedactionRun(db, clean_row, is_dry=is_dry)
            run.redact_names()
            run.redact_segments(progress)
            if not is_dry:
                run.erase_old_bytes()
            return run.report
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise damage_error(path, str(error)) from None
        raise ctxgc_error_of(error) from None


@contextlib.contextmanager
def _open_stash(path: Path, *, is_dry: bool) -> Iterator[sqlite3.Connection]:
    """The database in the newest version. Of an older file a dry run reads a private copy: the file stays."""
    with contextlib.ExitStack() as kept:
        db = kept.enter_context(contextlib.closing(sqlite3.connect(path, isolation_level=None)))
        if is_dry and db.execute("PRAGMA user_version").fetchone()[0] < len(schema.MIGRATIONS):
            private = kept.enter_context(tempfile.TemporaryDirectory(prefix="dry-run-", dir=path.parent))
            copy = sqlite3.connect(Path(private) / "copy", isolation_level=None)
            kept.callback(copy.close)
            db.backup(copy)
            schema.migrate(copy)
            db = copy
        elif not is_dry:
            schema.configure_writer(db)
            schema.migrate(db)
            if schema.get_counter(db, "tokenizer_version") != TOKENIZER_VERSION:
                db.execute("BEGIN IMMEDIATE")
                schema.start_reindexing(db)
                db.execute("COMMIT")
        yield db


class _RedactionRun:
    def __init__(self, db: sqlite3.Connection, clean_row: Clean, *, is_dry: bool) -> None:
        self._db = db
        self._clean_row = clean_row
        self._is_dry = is_dry
        self._writer = Writer(db, no_failpoint)
        self._compress, self._decompress = body_codec.make_compressor(), body_codec.make_decompressor()
        self._keys: dict[int, SessionKey] = {}
        self.report = RedactionReport()

    def redact_names(self) -> None:
        """Sessions, positions and op replies: few rows, one transaction."""
        with self._transaction():
            rows = self._db.execute(f"SELECT sid, source, {', '.join(SESSION_NAMES)} FROM session").fetchall()
            for sid, source, *names in rows:
                bare = list(map(redact_text, names))
                if bare != names:
                    self.report.names += 1
                    bare[0] = self._unused_name(
                        bare[0], names[0], "SELECT 1 FROM session WHERE source = ? AND session = ?", source
                    )
                    sets = ", ".join(f"{name} = ?" for name in SESSION_NAMES)
                    self._execute_unless_dry(f"UPDATE session SET {sets} WHERE sid = ?", (*bare, sid))
                    # Below zero an erasure is a session's.
                    self._execute_unless_dry("INSERT OR IGNORE INTO erasure VALUES (?)", (-sid,))
                self._keys[sid] = SessionKey(source, bare[0])
            for sid, n, op_id, reply in self._db.execute("SELECT sid, n, op_id, reply FROM op").fetchall():
                if find_secrets(op_id.encode("utf-8", "surrogatepass")) or redact_json(bytes(reply))[1]:
                    self.report.names += 1
                    self._execute_unless_dry("DELETE FROM op WHERE sid = ? AND n = ?", (sid, n))
                    self._execute_unless_dry("INSERT OR IGNORE INTO erasure VALUES (?)", (-sid,))
            # Of a forgotten segment the id alone is left.
            for rid, sid, id_ in self._db.execute(
                "SELECT rid, sid, id FROM segment WHERE state = 'forgotten'"
            ).fetchall():
                if (bare_id := redact_text(id_)) != id_:
                    self.report.names += 1
                    bare_id = self._unused_name(bare_id, id_, "SELECT 1 FROM segment WHERE sid = ? AND id = ?", sid)
                    self._execute_unless_dry("UPDATE segment SET id = ? WHERE rid = ?", (bare_id, rid))
                    self._execute_unless_dry("INSERT OR IGNORE INTO erasure VALUES (?)", (rid,))
            for (path,) in self._db.execute("SELECT path FROM position").fetchall():
                if (bare_path := redact_text(path)) != path:
                    self.report.names += 1
                    self._execute_unless_dry(
                        "UPDATE OR REPLACE position SET path = ? WHERE path = ?", (bare_path, path)
                    )

    def redact_segments(self, progress: Progress) -> None:
        """Every segment, by rid, from where an earlier run was broken off."""
        last = 0 if self._is_dry else schema.get_counter(self._db, CURSOR)
        total = self._db.execute("SELECT count(*) FROM segment").fetchone()[0]
        done = self._db.execute("SELECT count(*) FROM segment WHERE rid <= ?", (last,)).fetchone()[0]
        while rows := self._db.execute(
            f"SELECT rid, frame, {', '.join(COLUMNS)} FROM segment JOIN body USING (rid) WHERE rid > ?"
            " ORDER BY rid LIMIT ?",
            (last, SLICE_ROWS),
        ).fetchall():
            with self._transaction():
                for rid, content, sid, *values in rows:
                    self._redact_segment_row(rid, sid, bytes(content), values)
                last = rows[-1][0]
                if not self._is_dry:
                    schema.set_counter(self._db, CURSOR, last)
            done += len(rows)
            progress(min(done, total), total)
        if not self._is_dry:
            with self._transaction():
                schema.set_counter(self._db, CURSOR, 0)

    def erase_old_bytes(self) -> None:
        """Write index and file anew, so that no page or WAL keeps what was redacted."""
        rids = maintenance.begin_erasing(self._db, no_failpoint)
        if rids:
            while maintenance.merge_index_step(self._db, no_failpoint):
                pass
            maintenance.finish_erasing(self._db, no_failpoint, rids)
        maintenance.checkpoint_wal(self._db, no_failpoint)

    def _redact_segment_row(self, rid: int, sid: int, content: bytes, values: list[object]) -> None:
        key = self._keys[sid]
        try:
            stored = body_codec.decode_row(content, self._decompress)
        except ValueError:
            return  # A damaged body is a repair's business, and nobody can read a secret out of it.
        row = segment_row(key, [sid, *values], stored.segment.paths)
        segment = replace(row.segment, skeleton=stored.segment.skeleton, body=stored.segment.body)
        row = replace(row, segment=segment)
        bare, count = self._clean_row(row)
        if bare.segment != row.segment or any(redact_text(elision.note) != elision.note for elision in row.elisions):
            bare = replace(bare, elisions=())  # Lines that a secret took away are counted no more.
        if bare.segment == row.segment and bare.elisions == row.elisions and stored.key == key:
            return
        if bare.segment != row.segment:
            self.report.segments += 1
            self.report.secrets += max(count, 1)
        if self._is_dry:
            return
        id_ = self._unused_name(bare.segment.id, row.segment.id, "SELECT 1 FROM segment WHERE sid = ? AND id = ?", sid)
        bare = replace(bare, segment=replace(bare.segment, id=id_))
        self._writer.rewrite_content(rid, sid, encode_row(bare, self._compress))
        sets = ", ".join(f"{name} = ?" for name in ("id", "task", "tags", *CONTENT))
        names = (storable_text(id_), storable_text(bare.segment.task), pack_list(bare.segment.tags))
        self._execute_unless_dry(f"UPDATE segment SET {sets} WHERE rid = ?", (*names, *content_values(bare), rid))
        self._execute_unless_dry("INSERT OR IGNORE INTO erasure VALUES (?)", (rid,))

    def _unused_name(self, name: str, before: str, query: str, owner: object) -> str:
        """The redacted name, or with an ordinal: two secrets were two names."""
        number = 1
        if name != before:
            name = redact_base_id(name) or "redacted"
        while name != before and self._db.execute(query, (owner, storable_text(tool_call_id(name, number)))).fetchone():
            number += 1
        return name if number == 1 else tool_call_id(name, number)

    def _execute_unless_dry(self, statement: str, values: tuple[object, ...]) -> None:
        if not self._is_dry:
            self._db.execute(statement, values)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        if self._is_dry:
            yield
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._db.rollback()
            raise
