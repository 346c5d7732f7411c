"""The number of the newest segment, beside the database: what was acknowledged and is in no file any more can be told.

    commit ─▶ rid and time into `stash.sqlite3-newest` (not flushed: it may lag after a power cut, never lead)
    open   ─▶ is the file behind that number? ─▶ the difference is kept in the file's own counter, until a repair

A write-ahead log that was lost leaves a sound file behind, to which its newest rows never came.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import NamedTuple

from ctxgc.stash.schema import get_counter, set_counter

SUFFIX = "-newest"
MISSING = "missing_segments"
"""The counter in the file of what it is known to lack."""


class NewestSegment(NamedTuple):
    """The newest stored segment: rid and time."""

    rid: int = 0
    wall_s: float = 0.0


def write_newest_segment_note(path: Path | str, rid: int) -> None:
    """Note the newest segment. An unwritable note is lost, and costs no more."""
    with contextlib.suppress(OSError):
        file = os.open(f"{path}{SUFFIX}", os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(file, f"{rid:020} {time.time():020.3f}\n".encode(), 0)  # Always as long: never half a note.
        finally:
            os.close(file)


def read_newest_segment_note(path: Path | str) -> NewestSegment:
    """The note; zeros where there is none."""
    try:
        rid, wall_s = Path(f"{path}{SUFFIX}").read_text(encoding="ascii").split()
        return NewestSegment(int(rid), float(wall_s))
    except (OSError, ValueError):
        return NewestSegment()


def newest_rid(db: sqlite3.Connection) -> int:
    """The rid of the newest segment in the database. No rid is used again, but after a loss."""
    return int(db.execute("SELECT coalesce(max(rid), 0) FROM segment").fetchone()[0])


def add_missing_segments_to_counter(db: sqlite3.Connection, path: Path) -> None:
    """Add what the file lacks to its own counter, in the caller's transaction: the number is written over from now
    on."""
    if missing := max(0, read_newest_segment_note(path).rid - newest_rid(db)):
        set_counter(db, MISSING, get_counter(db, MISSING) + missing)


def missing_segments_sentence(db: sqlite3.Connection, path: Path | str = "") -> str:
    """A sentence on stored segments that are not in the file; empty without such segments. `path`: of a file that no
    daemon has open."""
    note = read_newest_segment_note(path) if path else NewestSegment()
    missing = get_counter(db, MISSING) + max(0, note.rid - newest_rid(db))
    if not missing:
        return ""
    when = time.strftime(", the newest at %Y-%m-%d %H:%M:%S", time.localtime(note.wall_s)) if note.wall_s else ""
    count = f"{missing} {'segment that was' if missing == 1 else 'segments that were'} stored last"
    return (
        f"{count}{when}, and what changed with them, are missing: the write-ahead log was lost,"
        " or an older copy was put in place; import their transcripts again"
    )
