"""The file: tables, pragmas, and migrations.

    session ─┬─ segment ─┬─ body        content, compressed: the only copy of the text
             │           ├─ text_key    hashes of the text, for a session that wakes: derived
             │           ├─ path_use ── path
             │           ├─ reference
             │           └─ search      full-text index: derived, contentless, can be rebuilt from bodies
             ├─ collection ── eviction  the journal
             └─ op                      remembered replies
    position  meta  erasure             how far files are read; counters of the file; rids that await erasing

`docs/design/stash.md` names writer and deleter of each table.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from ctxgc.core.errors import Incompatible, StashDamaged
from ctxgc.stash.index_text import TOKENIZER_VERSION

APPLICATION_ID = 0x63747867
"""`ctxg`: the application id of the stash's files."""

WAL_PAGES_MAX = 4000
WAL_BYTES_MAX = 64 * 2**20
MMAP_BYTES = 4 * 2**30
BUSY_TIMEOUT_MS = 5000

SEARCH_TABLE = """
CREATE VIRTUAL TABLE search USING fts5(
    text, input, path, label, meta, content='', tokenize="ascii tokenchars '-+#:_'");
CREATE VIRTUAL TABLE search_word USING fts5vocab('search', 'row');
INSERT INTO search(search, rank) VALUES('automerge', 0);
INSERT INTO search(search, rank) VALUES('crisismerge', 64);
"""

INDEX_ROW = "INSERT INTO search (rowid, text, input, path, label, meta) VALUES (?, ?, ?, ?, ?, ?)"
UNINDEX_ROW = "INSERT INTO search (search, rowid, text, input, path, label, meta) VALUES ('delete', ?, ?, ?, ?, ?, ?)"

_VERSION_1 = (
    """
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE session (
    sid INTEGER PRIMARY KEY, source TEXT NOT NULL, session TEXT NOT NULL,
    project TEXT NOT NULL DEFAULT '', parent TEXT NOT NULL DEFAULT '', parent_segment TEXT NOT NULL DEFAULT '',
    model TEXT NOT NULL DEFAULT '', title TEXT NOT NULL DEFAULT '', mode TEXT NOT NULL DEFAULT 'observe',
    budget_tokens INTEGER NOT NULL DEFAULT 0, window_max_tokens INTEGER NOT NULL DEFAULT 0,
    task TEXT NOT NULL DEFAULT '', turn INTEGER NOT NULL DEFAULT 0,
    created_s REAL NOT NULL DEFAULT 0, updated_s REAL NOT NULL DEFAULT 0,
    hidden_tokens INTEGER NOT NULL DEFAULT 0, ratio REAL NOT NULL DEFAULT 0,
    skipped_records INTEGER NOT NULL DEFAULT 0, faults INTEGER NOT NULL DEFAULT 0, closed INTEGER NOT NULL DEFAULT 0,
    UNIQUE (source, session));
CREATE INDEX session_name ON session (session);
CREATE INDEX session_project ON session (project, updated_s);
CREATE INDEX session_updated ON session (updated_s);

CREATE TABLE segment (
    rid INTEGER PRIMARY KEY, sid INTEGER NOT NULL, seq INTEGER NOT NULL, id TEXT NOT NULL,
    kind TEXT NOT NULL, role TEXT NOT NULL, place INTEGER NOT NULL, born_turn INTEGER NOT NULL, wall_s REAL NOT NULL,
    tool TEXT NOT NULL, status TEXT NOT NULL, command TEXT NOT NULL, refs TEXT NOT NULL, reply TEXT NOT NULL,
    has_opaque INTEGER NOT NULL, importance REAL NOT NULL, task TEXT NOT NULL, tags TEXT NOT NULL,
    digest BLOB NOT NULL, skeleton_tokens INTEGER NOT NULL, pieces TEXT NOT NULL, tombstone_tokens INTEGER NOT NULL,
    state TEXT NOT NULL, departure TEXT NOT NULL, touched_turn INTEGER NOT NULL, touches INTEGER NOT NULL,
    is_pinned INTEGER NOT NULL, garbage TEXT NOT NULL, garbage_by INTEGER NOT NULL,
    redactions INTEGER NOT NULL, collection INTEGER NOT NULL,
    UNIQUE (sid, seq), UNIQUE (sid, id));
CREATE INDEX segment_time ON segment (wall_s);
CREATE INDEX segment_task ON segment (task) WHERE task != '';
CREATE INDEX segment_tagged ON segment (wall_s) WHERE tags != '';

CREATE TABLE body (rid INTEGER PRIMARY KEY, frame BLOB NOT NULL);

CREATE TABLE path (pid INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, name TEXT NOT NULL);
CREATE INDEX path_name ON path (name);
CREATE TABLE path_use (
    rid INTEGER NOT NULL, n INTEGER NOT NULL, pid INTEGER NOT NULL, access TEXT NOT NULL,
    first_line INTEGER NOT NULL, last_line INTEGER NOT NULL, PRIMARY KEY (rid, n)) WITHOUT ROWID;
CREATE INDEX path_use_path ON path_use (pid);

CREATE TABLE reference (
    sid INTEGER NOT NULL, seq INTEGER NOT NULL, target INTEGER NOT NULL, kind INTEGER NOT NULL,
    PRIMARY KEY (sid, seq, target, kind)) WITHOUT ROWID;

CREATE TABLE collection (
    sid INTEGER NOT NULL, number INTEGER NOT NULL, wall_s REAL NOT NULL, turn INTEGER NOT NULL, asked TEXT NOT NULL,
    target_tokens INTEGER NOT NULL, before_tokens INTEGER NOT NULL, after_tokens INTEGER NOT NULL,
    held_by TEXT NOT NULL, predicted_cost REAL NOT NULL, actual_cost REAL, undoes INTEGER NOT NULL,
    PRIMARY KEY (sid, number)) WITHOUT ROWID;
CREATE TABLE eviction (
    sid INTEGER NOT NULL, number INTEGER NOT NULL, n INTEGER NOT NULL, seq INTEGER NOT NULL, reason TEXT NOT NULL,
    proof INTEGER NOT NULL, freed_tokens INTEGER NOT NULL, score REAL NOT NULL,
    PRIMARY KEY (sid, number, n)) WITHOUT ROWID;

CREATE TABLE op (sid INTEGER NOT NULL, n INTEGER NOT NULL, op_id TEXT NOT NULL, reply BLOB NOT NULL,
    UNIQUE (sid, op_id), UNIQUE (sid, n));
CREATE TABLE position (path TEXT PRIMARY KEY, head BLOB NOT NULL, offset INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE erasure (rid INTEGER PRIMARY KEY);
"""
    + SEARCH_TABLE
    + f"""
INSERT INTO meta VALUES ('tokenizer_version', {TOKENIZER_VERSION}), ('unindexed_below', 0), ('is_clean', 1);
"""  # noqa: S608 - a constant
)

_VERSION_2 = """
ALTER TABLE session ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;
ALTER TABLE segment ADD COLUMN recalled_turn INTEGER NOT NULL DEFAULT -1;
ALTER TABLE op ADD COLUMN call BLOB NOT NULL DEFAULT x'';
CREATE INDEX collection_undoes ON collection (sid, undoes) WHERE undoes != 0;
"""

_VERSION_3 = """
ALTER TABLE segment ADD COLUMN facts TEXT NOT NULL DEFAULT '';
"""

_VERSION_4 = """
ALTER TABLE session ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
"""

_VERSION_5 = """
ALTER TABLE session ADD COLUMN pacing TEXT NOT NULL DEFAULT '';
"""

_VERSION_6 = """
CREATE INDEX segment_session ON segment (sid);
"""

_VERSION_7 = """
ALTER TABLE segment ADD COLUMN elisions TEXT NOT NULL DEFAULT '';
CREATE INDEX segment_elided ON segment (sid) WHERE elisions != '';
"""

_VERSION_8 = """
CREATE TABLE text_key (
    rid INTEGER PRIMARY KEY, version INTEGER NOT NULL, likeness BLOB NOT NULL, definitions BLOB NOT NULL);
"""

MIGRATIONS: tuple[str, ...] = (
    *(_VERSION_1, _VERSION_2, _VERSION_3, _VERSION_4, _VERSION_5, _VERSION_6, _VERSION_7, _VERSION_8),
)
"""Step n takes a file from version n to n + 1. Steps are never edited once released."""


def configure_writer(connection: sqlite3.Connection) -> None:
    """Pragmas of the writing connection."""
    _set_common_pragmas(connection)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES_MAX}")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_MAX}")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA cache_size = -65536")


def configure_reader(connection: sqlite3.Connection) -> None:
    """Pragmas of a connection that only reads."""
    _set_common_pragmas(connection)
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA cache_size = -16384")


def _set_common_pragmas(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"PRAGMA mmap_size = {MMAP_BYTES}")


def migrate(
    connection: sqlite3.Connection,
    steps: Sequence[str] = MIGRATIONS,
    before_step: Callable[[], None] = lambda: None,
) -> int:
    """Bring the file to the newest version, a transaction a step; returns that version.

    A newer file, or another program's, is `Incompatible` and stays unchanged.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and owner != APPLICATION_ID:
        raise Incompatible(
            "the stash file is a database of another program",
            hint="set CTXGC_DAEMON__STATE_DIR to another folder, or move that file away",
        )
    if version > len(steps):
        raise Incompatible(
            f"the stash is of version {version}; this ctxgc knows versions up to {len(steps)}",
            hint="install the newer ctxgc that wrote it, or set CTXGC_DAEMON__STATE_DIR to another folder",
        )
    if tables and not version:
        raise StashDamaged("the stash has tables but no version", hint="run `ctxgcd --check`, then `ctxgcd --repair`")
    for number, step in enumerate(steps[version:], version + 1):
        before_step()
        # executescript would commit first: the step, the version and the owner must be one transaction.
        statements = ["BEGIN IMMEDIATE", *split_statements(step), f"PRAGMA user_version = {number}"]
        try:
            for statement in [*statements, f"PRAGMA application_id = {APPLICATION_ID}", "COMMIT"]:
                connection.execute(statement)
        except BaseException:
            connection.rollback()
            raise
    return len(steps)


def split_statements(script: str) -> list[str]:
    """The statements of a script, each complete."""
    statements, begun = [], ""
    for part in script.split(";"):
        begun += part + ";"
        if begun.strip() != ";" and sqlite3.complete_statement(begun):
            statements.append(begun.strip())
            begun = ""
    return statements


def get_counter(connection: sqlite3.Connection, name: str) -> int:
    """A counter of the file."""
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return int(row[0]) if row else 0


def set_counter(connection: sqlite3.Connection, name: str, value: int) -> None:
    """Set a counter of the file."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))


def start_reindexing(connection: sqlite3.Connection) -> None:
    """Empty the index and flag every body as not indexed; maintenance fills the index in slices, newest first."""
    # Zeroing a gigabyte of pages would keep an old stash from opening; erasing writes the file anew anyway.
    connection.execute("PRAGMA secure_delete = FAST")
    connection.execute("DROP TABLE IF EXISTS search_word")
    connection.execute("DROP TABLE IF EXISTS search")
    connection.execute("PRAGMA secure_delete = ON")
    for statement in split_statements(SEARCH_TABLE):
        connection.execute(statement)
    newest = connection.execute("SELECT coalesce(max(rid), 0) FROM segment").fetchone()[0]
    set_counter(connection, "unindexed_below", newest + 1)
    set_counter(connection, "tokenizer_version", TOKENIZER_VERSION)
