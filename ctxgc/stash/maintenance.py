"""Maintenance: a stash's work while no caller waits. Each step is short and runs on the writer's thread.

    reindex   fill the index from bodies, newest first (after a new tokenizer, or a repair)
    merge     join small pieces of the index, so that queries stay fast
    erase     rewrite index and file without the forgotten segments, and empty the WAL

Deleted terms stay on disk until the index is rewritten, and deleted rows may leave copies in the slack of pages, where
`secure_delete` does not reach: only a file written anew is proof.
"""

from __future__ import annotations

import sqlite3

from ctxgc.stash import body_codec, index_text
from ctxgc.stash.schema import INDEX_ROW, get_counter, set_counter
from ctxgc.stash.writing import Failpoint

MERGE_PAGES = 100
REINDEX_ROWS = 50


def reindex_slice(db: sqlite3.Connection, fail: Failpoint) -> bool:
    """Index a slice of bodies; whether more bodies wait."""
    below = get_counter(db, "unindexed_below")
    if not below:
        return False
    fail("reindex")
    db.execute("BEGIN IMMEDIATE")
    try:
        rows = db.execute(
            "SELECT rid, sid, kind, tool, frame FROM body JOIN segment USING (rid)"
            " WHERE rid < ? ORDER BY rid DESC LIMIT ?",
            (below, REINDEX_ROWS),
        ).fetchall()
        decompress = body_codec.make_decompressor()
        for rid, sid, kind, tool, blob in rows:
            try:
                entry = index_text.index_entry(body_codec.decode_row(blob, decompress).segment)
            except ValueError:
                continue  # Reading the segment says so; the other segments must still be found.
            tags = index_text.index_tags(sid, kind, tool)
            db.execute(INDEX_ROW, (rid, *entry, tags))
        set_counter(db, "unindexed_below", rows[-1][0] if len(rows) == REINDEX_ROWS else 0)
        fail("commit")
        db.execute("COMMIT")
    except BaseException:
        db.rollback()
        raise
    return len(rows) == REINDEX_ROWS


def merge_index_step(db: sqlite3.Connection, fail: Failpoint) -> bool:
    """Join pieces of the index, a step at a time; whether more pieces wait."""
    return _merge_pages(db, fail, MERGE_PAGES)


def _merge_pages(db: sqlite3.Connection, fail: Failpoint, pages: int) -> bool:
    fail("merge")
    before = db.total_changes
    db.execute("INSERT INTO search (search, rank) VALUES ('merge', ?)", (pages,))
    return db.total_changes - before >= 2  # By fts5's documentation: fewer means that nothing was left to merge.


def begin_erasing(db: sqlite3.Connection, fail: Failpoint) -> list[int]:
    """Start rewriting the index as a single piece; the rids that this round erases."""
    rids = [row[0] for row in db.execute("SELECT rid FROM erasure")]
    if rids:
        fail("erase")
        _merge_pages(db, fail, -MERGE_PAGES)
    return rids


def finish_erasing(db: sqlite3.Connection, fail: Failpoint, rids: list[int]) -> bool:
    """Write the file anew and empty the WAL; False if a reader held the WAL up."""
    fail("vacuum")
    db.execute("PRAGMA temp_store = FILE")  # The copy is as large as the stash: not in memory.
    try:
        db.execute("VACUUM")
    finally:
        db.execute("PRAGMA temp_store = MEMORY")
    if not checkpoint_wal(db, fail):
        return False
    fail("erased")
    db.execute("BEGIN IMMEDIATE")
    try:
        db.executemany("DELETE FROM erasure WHERE rid = ?", [(rid,) for rid in rids])
        db.execute("COMMIT")
    except BaseException:
        db.rollback()
        raise
    return True


def checkpoint_wal(db: sqlite3.Connection, fail: Failpoint) -> bool:
    """Move the WAL into the file and empty the WAL; False if a reader held the WAL up."""
    fail("checkpoint")
    return not db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
