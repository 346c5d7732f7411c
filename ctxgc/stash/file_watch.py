"""The files of an open stash, watched: any foreign change is noticed, and no write is acknowledged afterwards.

    writer's thread: look ─▶ commit, checkpoint, … ─▶ look ─▶ acknowledged
                           └─ id, link and size of each file, the head of the WAL; by a clock where nobody writes

SQLite goes on in an unlinked file as if nothing were wrong, and so would every client. All changes of the files come
from the writer's thread, so that any other change is somebody else's: no file is opened for it but the WAL, because a
process that closes any descriptor of a database loses SQLite's locks on it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from ctxgc.core.errors import StashGone
from ctxgc.stash import newest_segment
from ctxgc.stash.schema import WAL_BYTES_MAX

T = TypeVar("T")

WAL_MAGIC = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")
_PUT_BACK = "`ctxgc backup FILE` saves what this daemon can read; then `ctxgc down`, put a stash in place, `ctxgc up`"
_REPAIR = "`ctxgc down`, then `ctxgc doctor --repair` saves what can be read"
_RESTART = "`ctxgc down`, then `ctxgc up`; `ctxgc doctor` says whether anything is missing"


class FileStat(NamedTuple):
    """A file's identity and size."""

    device: int
    inode: int
    size: int


class FileWatch:
    """Guards the work on one stash: `run` is the way to the writer's connection, on its thread."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._wal = f"{path}-wal"
        self._shm = f"{path}-shm"
        self._stats: dict[str, FileStat] = {}
        self._may_shrink = False
        self._newest_rid = -1
        self.trouble: StashGone | None = None
        """The first change that was somebody else's. The trouble stays until the stash is opened anew."""

    def record_file_stats(self) -> None:
        """Take the files for right as the files are: the writer has just opened the files and written to the files."""
        self._stats = self._read_stats()

    def run_guarded(
        self, db: sqlite3.Connection, operation: Callable[[sqlite3.Connection], T], *, shrinks: bool = False
    ) -> T:
        """The operation's result, if nobody else changed the files before its end. Raises `StashGone`.

        `shrinks`: the operation may end with a smaller file; an unfinished shrinking may come with a later operation.
        """
        self._require_unchanged_files(db)
        self._may_shrink = self._may_shrink or shrinks
        try:
            return operation(db)
        finally:
            self._stats = self._require_unchanged_files(db, has_written=True)
            if (rid := newest_segment.newest_rid(db)) != self._newest_rid:
                newest_segment.write_newest_segment_note(self._path, rid)
                self._newest_rid = rid

    def forbid_shrinking(self) -> None:
        """Note the file's final size: no later operation shrinks the file."""
        self._may_shrink = False

    def _read_stats(self) -> dict[str, FileStat]:
        stats = {path: _read_stat(path) for path in (self._path, self._wal, self._shm)}
        return {path: stat for path, stat in stats.items() if stat is not None}

    def _require_unchanged_files(self, db: sqlite3.Connection, *, has_written: bool = False) -> dict[str, FileStat]:
        """The files now. Raises `StashGone` from the first change of somebody else's on."""
        now = self._read_stats()
        if self.trouble is None and self._stats:
            self.trouble = self._foreign_change_error(now, has_written=has_written)
            if self.trouble is not None and not self._is_truncated(self._path, now):
                self._move_own_wal_into_file(db, now)
        if self.trouble is not None:
            raise self.trouble
        return now

    def _foreign_change_error(self, now: dict[str, FileStat], *, has_written: bool) -> StashGone | None:
        for path, known in self._stats.items():
            if path not in now or now[path][:2] != known[:2]:
                what = "was replaced by another file" if path in now else "was removed"
                hint = _PUT_BACK if path == self._path else _RESTART
                return _stash_gone_error(f"{path} {what} while the daemon ran", hint)
            # A cut WAL that SQLite has written on since is as long as before, with zeros at its head.
            is_no_wal = has_written and path == self._wal and not _is_wal_or_empty(path, now[path].size)
            if is_no_wal or self._is_truncated(path, now):
                return _stash_gone_error(f"{path} was cut short while the daemon ran, from {known.size} bytes", _REPAIR)
        return None

    def _is_truncated(self, path: str, now: dict[str, FileStat]) -> bool:
        if path not in now or path not in self._stats or path == self._shm:
            return False
        before, size = self._stats[path].size, now[path].size
        if path == self._path:
            return size < before and not self._may_shrink
        # SQLite itself cuts the WAL down to its limit, and to nothing in a checkpoint of ours.
        return size < min(before, WAL_BYTES_MAX) and not self._may_shrink

    def _move_own_wal_into_file(self, db: sqlite3.Connection, now: dict[str, FileStat]) -> None:
        """Move what the WAL holds into the open file.

        Of a WAL that was removed nothing is lost then; and a WAL that was ours is not applied to a file that is not.
        """
        if now.get(self._wal, self._stats[self._wal])[:2] == self._stats[self._wal][:2]:
            with contextlib.suppress(sqlite3.Error):
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _stash_gone_error(what: str, hint: str) -> StashGone:
    return StashGone(f"{what}: nothing more is stored, so that nothing is lost unnoticed", hint=hint)


def _read_stat(path: str) -> FileStat | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return FileStat(status.st_dev, status.st_ino, status.st_size)


def _is_wal_or_empty(path: str, size: int) -> bool:
    """Whether the file begins as a WAL does; an empty one holds nothing."""
    if not size:
        return True
    try:
        with open(path, "rb") as file:
            return file.read(4) in WAL_MAGIC
    except OSError:
        return False
