"""What a waking session reads: its segments by the batch, in columns. Runs on a reader connection's thread.

Objects a row would be most of a wake: a hundred thousand segments with their files and references are half a million.
"""

# ruff: noqa: S608 - every value is bound; only constants are spliced into SQL
from __future__ import annotations

import json
import sqlite3
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ctxgc.core.entry.elisions import unpack_elisions
from ctxgc.core.segment import Access, PathUse, SessionKey
from ctxgc.core.text_keys import TEXT_KEYS_VERSION, TextKeys
from ctxgc.stash.columns import KINDS, STATES, STATUSES, unpack_facts
from ctxgc.stash.encoding import unpack_text_keys
from ctxgc.stash.reading import sid_of
from ctxgc.stash.segment_columns import ROWS_PER_BATCH, SegmentColumns

T = TypeVar("T")

_ACCESSES = {access.value: access for access in Access}


_COLUMNS = (
    *("seq", "id", "kind", "status", "place", "born_turn", "tool", "command", "facts", "task", "has_opaque"),
    *("importance", "state", "touched_turn", "touches", "is_pinned", "digest", "skeleton_tokens", "pieces"),
    *("tombstone_tokens", "redactions", "elisions", "garbage", "garbage_by", "collection", "recalled_turn"),
)
_NOTHING = SegmentColumns._make([()] * len(SegmentColumns._fields))


def read_segment_columns(db: sqlite3.Connection, key: SessionKey, first_seq: int) -> SegmentColumns:
    """The segments from a seq on, `ROWS_PER_BATCH` of them; fewer only at the end of the session."""
    db.execute("BEGIN")  # After a commit between the queries a row would lack its edges.
    try:
        sid = sid_of(db, key)
        sql = f"SELECT {', '.join(_COLUMNS)} FROM segment WHERE sid = ? AND seq >= ? ORDER BY seq LIMIT ?"
        rows = db.execute(sql, (sid, first_seq, ROWS_PER_BATCH)).fetchall()
        if not rows:
            return _NOTHING
        bounds = (sid, rows[0][0], rows[-1][0])
        uses = db.execute(
            "SELECT s.seq, u.pid, u.access, u.first_line, u.last_line FROM segment AS s"
            " JOIN path_use AS u ON u.rid = s.rid WHERE s.sid = ? AND s.seq BETWEEN ? AND ? ORDER BY s.seq, u.n",
            bounds,
        ).fetchall()
        # Each path once, and as one string: a batch names few files, and joined they cost as much as the uses.
        pids = json.dumps(list({pid for _, pid, *_ in uses}))
        paths = dict(
            db.execute("SELECT pid, path FROM path WHERE pid IN (SELECT value FROM json_each(?))", (pids,)).fetchall()
        )
        edges = db.execute(
            "SELECT seq, target, kind FROM reference WHERE sid = ? AND seq BETWEEN ? AND ? AND target < seq", bounds
        ).fetchall()
    finally:
        db.rollback()
    named = [(seq, paths[pid], access, first, last) for seq, pid, access, first, last in uses if pid in paths]
    return _columns_of(rows, named, edges)


def read_text_keys(db: sqlite3.Connection, key: SessionKey, seqs: range) -> dict[int, TextKeys | None]:
    """The keys of each text among these seqs, in order; `None` where an older version wrote the text, or a repair."""
    rows = db.execute(
        "SELECT s.seq, k.likeness, k.definitions FROM segment AS s"
        " LEFT JOIN text_key AS k ON k.rid = s.rid AND k.version = ?"
        " WHERE s.sid = ? AND s.seq BETWEEN ? AND ? AND s.digest != x'' ORDER BY s.seq",
        (TEXT_KEYS_VERSION, sid_of(db, key), seqs.start, seqs.stop - 1),
    ).fetchall()
    return {
        seq: None if likeness is None else unpack_text_keys(likeness, definitions)
        for seq, likeness, definitions in rows
    }


class SqliteWakingReads(ABC):
    """The reads of a waking session, for a stash that runs reads on the thread of a free reader."""

    @abstractmethod
    async def _run_on_reader(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run a read beside the loop."""

    async def segment_columns(self, key: SessionKey, first_seq: int) -> SegmentColumns:
        """A batch of segments from a seq on."""
        return await self._run_on_reader(lambda db: read_segment_columns(db, key, first_seq))

    async def text_keys(self, key: SessionKey, seqs: range) -> dict[int, TextKeys | None]:
        """The keys of each text among these seqs."""
        return await self._run_on_reader(lambda db: read_text_keys(db, key, seqs))


def _columns_of(
    rows: Sequence[tuple[Any, ...]], uses: Sequence[tuple[Any, ...]], edges: Sequence[tuple[int, int, int]]
) -> SegmentColumns:
    columns: dict[str, Sequence[Any]] = dict(zip(_COLUMNS, zip(*rows, strict=True), strict=True))
    seqs = columns["seq"]
    columns["kind"] = list(map(KINDS.__getitem__, columns["kind"]))
    columns["status"] = list(map(STATUSES.__getitem__, columns["status"]))
    columns["state"] = list(map(STATES.__getitem__, columns["state"]))
    facts = {text: unpack_facts(text) for text in set(columns["facts"])}
    columns["facts"] = list(map(facts.__getitem__, columns["facts"]))
    # One call of the decoder for all rows: its price is the call's.
    columns["pieces"] = json.loads(f"[{','.join(text or '[]' for text in columns['pieces'])}]")
    columns["elisions"] = list(map(unpack_elisions, columns["elisions"]))
    uses_of: dict[int, tuple[PathUse, ...]] = {}
    for seq, path, access, first_line, last_line in uses:
        use = (PathUse(path, _ACCESSES[access], first_line, last_line),)
        uses_of[seq] = uses_of[seq] + use if seq in uses_of else use
    edges_of: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for seq, target, kind in edges:
        edges_of[seq].append((target, kind))
    columns["uses"] = [uses_of.get(seq, ()) for seq in seqs]
    columns["edges"] = [edges_of.get(seq, ()) for seq in seqs]
    return SegmentColumns._make(columns.values())
