"""The stash's folder and file: who may read them, whether the file is a database, and a copy of it."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from ctxgc.core.errors import Conflict, Incompatible, StashDamaged, StorageFailed, error_of_os

FOLDER_MODE = 0o700
FILE_MODE = 0o600
MAGIC = b"SQLite format 3\0"
COPY_BYTES = 2**20


def make_ready(path: Path) -> None:
    """Create folder and file if they are missing, for the owner alone. Loose modes are refused, never mended."""
    try:
        path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        _check(path.parent, FOLDER_MODE, "folder")
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, FILE_MODE))
        except FileExistsError:
            _check(path, FILE_MODE, "file")
            _check_magic(path)
    except OSError as error:
        raise StorageFailed(
            f"the stash cannot be opened: {error}", hint=f"check that {path.parent} can be written by you"
        ) from error


def _check(path: Path, mode: int, what: str) -> None:
    file_status = path.stat()
    if file_status.st_uid != os.geteuid():
        raise Incompatible(
            f"the stash's {what} {path} belongs to another user",
            hint="set CTXGC_DAEMON__STATE_DIR to a folder of your own",
        )
    if stat.S_IMODE(file_status.st_mode) & ~mode & 0o777:
        raise Incompatible(
            f"the stash's {what} {path} may be read by others: it holds the text of your sessions",
            hint=f"look who put it there, then `chmod {mode:o} {path}`",
        )


def _check_magic(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(len(MAGIC))
    if head and head != MAGIC:
        raise damage_error(path, "its first bytes are not those of a database")


def damage_error(path: Path, detail: str) -> StashDamaged:
    """The error of a damaged file. The file is left as it is."""
    return StashDamaged(
        f"the stash {path} is damaged: {' '.join(detail.split())}",
        hint="run `ctxgcd --check`, then `ctxgcd --repair`: it keeps a copy and saves every segment it can read",
    )


def size_bytes(path: Path) -> int:
    """Bytes of the file and of the files that SQLite keeps beside it."""
    return sum(
        beside.stat().st_size
        for beside in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm"))
        if beside.exists()
    )


def free_bytes(folder: Path) -> int:
    """Free bytes of the disk under a folder, for this user."""
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize


def data_extents(file: int) -> Iterator[tuple[int, int]]:
    """(start, end) of each stretch of a file that has data: a hole of a terabyte takes no time to read or copy."""
    end, size = 0, os.fstat(file).st_size
    while end < size:
        try:
            start = os.lseek(file, end, os.SEEK_DATA)
            end = os.lseek(file, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno != errno.ENXIO:  # A file system that knows no holes.
                yield end, size
            return
        yield start, end


def copy_data(source: str, target: str) -> None:
    """Copy a file for its owner alone, holes as holes."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with open(source, "rb") as old, os.fdopen(os.open(target, flags, FILE_MODE), "wb") as new:
        for start, end in data_extents(old.fileno()):
            old.seek(start)
            new.seek(start)
            while start < end and (data := old.read(min(COPY_BYTES, end - start))):
                new.write(data)
                start += len(data)
        new.truncate(os.fstat(old.fileno()).st_size)


def write_copy(db: sqlite3.Connection, path: Path) -> int:
    """Copy a database to a file that must not exist yet, for its owner alone; bytes written."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE))
    except FileExistsError:
        raise Conflict(f"{path} exists already", hint="name a file that does not exist yet", field="path") from None
    except OSError as error:
        raise error_of_os(error, str(path), hint="name a file in a folder you may write to", field="path") from None
    try:
        with contextlib.closing(sqlite3.connect(path)) as copy:
            db.backup(copy)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, sqlite3.Error) and "is full" in str(error):  # The disk of the copy, not of the stash.
            raise error_of_os(OSError(errno.ENOSPC, str(error)), str(path), field="path") from None
        raise
    return path.stat().st_size
