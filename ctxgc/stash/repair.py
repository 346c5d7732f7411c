"""Check and repair of a stash file that the daemon refuses to open. No function in here needs a running loop.

    check    what SQLite says of the pages, and whether every body is as it was admitted
    repair   copy the file aside ──▶ read every table row by row around the damage ──▶ a new file, index made anew

A row that cannot be read is left out, but a body alone is enough to rebuild its row: the body repeats the row's facts.
Bodies that no table leads to are carved from their pages. The complete new file replaces the old file.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ctxgc.core.errors import NotFound
from ctxgc.core.segment import SessionKey, State, content_digest
from ctxgc.stash import body_codec, files, newest_segment, schema
from ctxgc.stash.carving import Leaf, carve_bodies, table_leaves
from ctxgc.stash.columns import COLUMNS, segment_row, segment_values
from ctxgc.stash.encoding import EncodedPut, with_content
from ctxgc.stash.examination import TROUBLES_MAX, body_damage_sentences, body_rids, page_damage_sentences
from ctxgc.stash.health import Examination
from ctxgc.stash.writing import Writer

TABLES = ("session", "segment", "path", "path_use", "reference", "collection", "eviction", "op", "position")
_NOBODY = SessionKey("", "")
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_TOOBIG}
"""SQLite's errors for a damaged page or row."""
_UNREADABLE = (sqlite3.Error, UnicodeDecodeError)
"""The second comes of a text that is no UTF-8, in a row or in an error of SQLite."""


@dataclass(frozen=True, slots=True)
class RepairReport:
    """The result of a repair. `rebuilt` rows were lost and came back from their bodies."""

    backup: Path
    segments: int
    bodies: int
    rebuilt: int
    bodies_lost: int
    missing: str
    """A sentence about what was stored and is in no file; empty where nothing is known to be."""
    was_sound: bool
    """Whether a check of the old file finds no damage; its index may be damaged all the same, and is made anew."""


def check_stash(path: Path) -> Examination:
    """Read the whole file and report. The file does not change; no daemon may have the file open."""
    if not path.exists():
        raise NotFound(f"there is no stash at {path}", hint="the daemon makes one when it starts")
    troubles: list[str] = []
    rids: list[int] = []
    bad_bodies: list[str] = []
    try:
        with contextlib.closing(_connect_to_database(path, "ro")) as db:
            troubles += page_damage_sentences(db)
            troubles += filter(None, [newest_segment.missing_segments_sentence(db, path)])
            rids = body_rids(db, is_sample=False)
            bad_bodies = body_damage_sentences(db, rids)
    except _UNREADABLE as error:
        troubles.append(f"reading stopped: {error}")
    return Examination(len(rids), len(bad_bodies), (*troubles, *bad_bodies[:TROUBLES_MAX]))


def repair_stash(path: Path) -> RepairReport:
    """Save every readable row into a new file, which takes the old file's place; the old file stays as a backup."""
    if not path.exists():
        raise NotFound(f"there is no stash at {path}", hint="the daemon makes one when it starts")
    was_sound = check_stash(path).is_sound
    kind = "copy" if was_sound else "damaged"
    backup = path.with_name(f"{path.name}.{kind}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
    for beside in ("", "-wal"):
        with contextlib.suppress(FileNotFoundError):
            files.copy_sparse_file(f"{path}{beside}", f"{backup}{beside}")
    new = path.with_name(path.name + ".repairing")
    new.unlink(missing_ok=True)
    new.touch(mode=files.FILE_MODE)
    try:
        segments, bodies, rebuilt, lost, missing = _salvage_file(path, new)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    for beside in ("-wal", "-shm", newest_segment.SUFFIX):
        Path(f"{path}{beside}").unlink(missing_ok=True)
    new.replace(path)
    return RepairReport(backup, segments, bodies, rebuilt, lost, missing, was_sound)


def _salvage_file(old_path: Path, new_path: Path) -> tuple[int, int, int, int, str]:
    """Fill the new file; (segments, bodies, rows rebuilt, bodies lost, a sentence about what is missing)."""
    with contextlib.closing(_connect_to_database(new_path, "rw")) as new:
        schema.migrate(new)
        new.execute("BEGIN IMMEDIATE")
        rebuilt = 0
        with contextlib.closing(_connect_to_database(old_path, "rw")) as old:
            old.text_factory = bytes.decode  # Its error is its own; sqlite3's own has no code to know it by.
            with contextlib.suppress(*_UNREADABLE):
                old.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # Pages are read from the file alone.
            for table in TABLES:
                _copy_table(old, old_path, new, table)
            rebuilt = _insert_salvaged_bodies(new, _readable_rows(old, old_path, "body"))
            with contextlib.suppress(*_UNREADABLE):
                schema.set_counter(new, newest_segment.MISSING, schema.get_counter(old, newest_segment.MISSING))
        rebuilt += _insert_salvaged_bodies(new, carve_bodies(old_path))
        # A row without a body would promise content that is gone.
        gone = "SELECT rid FROM segment WHERE state != 'forgotten' AND rid NOT IN (SELECT rid FROM body)"
        lost = new.execute(f"SELECT count(*) FROM ({gone})").fetchone()[0]  # noqa: S608 - a constant
        new.execute(f"DELETE FROM segment WHERE rid IN ({gone})")  # noqa: S608 - a constant
        schema.start_reindexing(new)
        missing = newest_segment.missing_segments_sentence(new, old_path)
        schema.set_counter(new, newest_segment.MISSING, 0)
        new.execute("COMMIT")
        counts = "SELECT (SELECT count(*) FROM segment), (SELECT count(*) FROM body)"
        return (*new.execute(counts).fetchone(), rebuilt, lost, missing)


def _copy_table(old: sqlite3.Connection, old_path: Path, new: sqlite3.Connection, table: str) -> None:
    """Copy every readable row of a table; a row that breaks a constraint of the new file is a duplicate or a ruin."""
    had, has = _column_defaults(old, table), _column_defaults(new, table)
    if not had:
        return
    # By name: an older file lacks the newest columns, and a table's own order is not that of COLUMNS.
    columns = ("rid", *COLUMNS) if table == "segment" else tuple(has)
    names = ", ".join(name if name in had else has[name] for name in columns)
    into = f"{table} ({', '.join(columns)})"
    for row in _readable_rows(old, old_path, table, names):
        placeholders = ", ".join("?" * len(row))
        with contextlib.suppress(sqlite3.IntegrityError, ValueError, TypeError, KeyError):
            if table == "segment":
                segment_row(_NOBODY, row[1:])
            new.execute(f"INSERT OR IGNORE INTO {into} VALUES ({placeholders})", row)  # noqa: S608 - our own names


def _column_defaults(db: sqlite3.Connection, table: str) -> dict[str, str]:
    """A table's columns, each with its default as SQL; none where the schema cannot be read."""
    try:
        return {name: default for _, name, _, _, default, _ in db.execute(f"PRAGMA table_info({table})")}
    except _UNREADABLE as error:
        _raise_unless_damage(error)
        return {}


def _insert_salvaged_bodies(new: sqlite3.Connection, bodies: Iterable[Sequence[Any]]) -> int:
    """Put bodies beside their rows, and make rows for bodies without a row; the number of rows made."""
    homeless: list[EncodedPut] = []
    decompress = body_codec.make_decompressor()
    sids = {row[0] for row in new.execute("SELECT sid FROM session")}
    for rid, blob in bodies:
        known_row = new.execute("SELECT digest, sid, state FROM segment WHERE rid = ?", (rid,)).fetchone()
        if known_row is not None and known_row[2] == State.FORGOTTEN:
            continue
        if known_row is not None and _is_body_sound(blob, known_row[0], decompress):
            new.execute("INSERT OR IGNORE INTO body VALUES (?, ?)", (rid, blob))
            if known_row[1] not in sids:
                key = body_codec.decode_row(blob, decompress).key
                new.execute(
                    "INSERT OR IGNORE INTO session (sid, source, session) VALUES (?, ?, ?)", (known_row[1], *key)
                )
                sids.add(known_row[1])
            continue
        with contextlib.suppress(ValueError):
            row = body_codec.decode_row(blob, decompress)
            homeless.append(with_content(row, blob))
    # New rows reuse the rids of lost ones: no path of a lost row may be left.
    new.execute("DELETE FROM path_use WHERE rid NOT IN (SELECT rid FROM segment)")
    return sum(_rebuild_row(new, prepared) for prepared in homeless)


def _rebuild_row(new: sqlite3.Connection, prepared: EncodedPut) -> int:
    """Make the row of a body without a row: as first admitted, at the end of the window."""
    row = replace(prepared.row, touched_turn=prepared.row.segment.born_turn)
    new.execute("INSERT OR IGNORE INTO session (source, session) VALUES (?, ?)", row.key)
    sid = new.execute("SELECT sid FROM session WHERE source = ? AND session = ?", row.key).fetchone()[0]
    placeholders = ", ".join("?" * len(COLUMNS))
    sql = f"INSERT OR IGNORE INTO segment ({', '.join(COLUMNS)}) VALUES ({placeholders})"  # noqa: S608 - constants
    cursor = new.execute(sql, segment_values(sid, row))
    if not cursor.rowcount:
        return 0
    Writer(new, lambda _: None).write_content(cursor.lastrowid or 0, sid, prepared._replace(row=row))
    return 1


def _readable_rows(db: sqlite3.Connection, path: Path, table: str, names: str = "*") -> Iterator[Sequence[Any]]:
    """Every row that can be read. Behind damage the scan goes on with each row of that leaf, then behind the leaf.

    The pages say where leaves end and name their rows: a statement for each damaged page and each of its rows, not for
    each rowid.
    """
    try:
        table_row = db.execute("SELECT rootpage, sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    except _UNREADABLE as error:
        _raise_unless_damage(error)
        return
    if table_row is None:
        return
    root, sql = table_row
    if "WITHOUT ROWID" in sql:
        yield from _scan_rows(db, f"SELECT {names} FROM {table}", ())  # noqa: S608 - our own names
        return
    select = f"SELECT rowid, {names} FROM {table} WHERE rowid"  # noqa: S608 - our own names
    start = -(2**63)
    rest: Iterator[Leaf] | None = None
    while True:
        try:
            # `>=`, because `>` would look for the rowid before it, in the leaf that is damaged.
            for rowid, *row in db.execute(f"{select} >= ?", (start,)):
                yield row
                start = rowid + 1
            return
        except _UNREADABLE as error:
            _raise_unless_damage(error)
        rest = rest or table_leaves(path, root)
        leaf = next((leaf for leaf in rest if leaf.last >= start), None)
        if leaf is None:
            return
        for rowid in leaf.rowids:
            if start <= rowid <= leaf.last:
                for _, *row in _scan_rows(db, f"{select} = ?", (rowid,)):
                    yield row
        start = leaf.last + 1
        if start > 2**63 - 1:
            return


def _scan_rows(db: sqlite3.Connection, sql: str, values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Rows of a query up to the first damage."""
    try:
        yield from db.execute(sql, values)
    except _UNREADABLE as error:
        _raise_unless_damage(error)


def _raise_unless_damage(error: Exception) -> None:
    """Pass over damage alone: any other error is a mistake of this code, and every row would raise the error again."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code not in _DAMAGE and not isinstance(error, UnicodeDecodeError):
        raise error


def _is_body_sound(blob: bytes | None, stamp: bytes, decompress: body_codec.Transform) -> bool:
    try:
        return blob is not None and content_digest(*body_codec.decode_content(blob, decompress)) == stamp
    except ValueError:
        return False


def _connect_to_database(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)
