"""What a forget leaves of a segment's row and of a session's: the id alone.

    forget ──▶ content, metadata, postings out   (`writing`)
          └──▶ the row emptied, and each pointer that named the segment taken out of its holder

All functions here run on the writer connection's thread, inside a transaction.
"""

# ruff: noqa: S608 - every value is bound; only constants are spliced into SQL
from __future__ import annotations

import sqlite3
from collections.abc import Set

from ctxgc.core.entry.elisions import pack_elisions, unpack_elisions
from ctxgc.stash.contract import FORGOTTEN_OF_SESSION

FORGET_SEGMENT = """
UPDATE segment SET kind = 'other', role = 'user', wall_s = 0, tool = '', status = 'ok', command = '', refs = '',
    facts = '', reply = '', has_opaque = 0, importance = 0.5, task = '', tags = '', digest = x'', skeleton_tokens = 0,
    pieces = '', tombstone_tokens = 0, state = 'forgotten', departure = '', touched_turn = 0, touches = 0,
    is_pinned = 0, garbage = '', garbage_by = -1, redactions = 0, collection = 0, recalled_turn = -1,
    elisions = '' WHERE rid = ?
"""
FORGET_SESSION = f"UPDATE session SET {' = ?, '.join(FORGOTTEN_OF_SESSION)} = ?, forgotten = 1 WHERE sid = ?"


def drop_pointers_to_segments(connection: sqlite3.Connection, sid: int, ids: Set[str]) -> None:
    """Take the pointers to these segments out of a session's rows: a pointer's text names its target."""
    rows = connection.execute("SELECT rid, elisions FROM segment WHERE sid = ? AND elisions != ''", (sid,)).fetchall()
    for rid, packed in rows:
        elisions = unpack_elisions(packed)
        kept = tuple(elision for elision in elisions if elision.target not in ids)
        if kept != elisions:
            connection.execute("UPDATE segment SET elisions = ? WHERE rid = ?", (pack_elisions(kept), rid))
