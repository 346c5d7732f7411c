"""The stash's folder and file: who may read them, and whether the file is a sound database."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from ctxgc.core.errors import Conflict, Incompatible, NotFound, StorageFailed, translate_os_error
from ctxgc.stash import schema
from ctxgc.stash.sqlite_errors import damage_error

FOLDER_MODE = 0o700
FILE_MODE = 0o600
CHECK_BYTES_MAX = 256 * 2**20
"""A file up to this size is checked at every opening; a larger file, only after it was not closed properly."""
MAGIC = b"SQLite format 3\0"
COPY_BYTES = 2**20


def ensure_private_file(path: Path) -> None:
    """Create folder and file where missing, for the owner alone. Loose modes are refused, never mended."""
    try:
        path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        _require_private_path(path.parent, FOLDER_MODE, "folder")
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, FILE_MODE))
        except FileExistsError:
            _require_private_path(path, FILE_MODE, "file")
            _check_magic(path)
    except OSError as error:
        raise StorageFailed(
            f"the stash cannot be opened: {error}", hint=f"check that {path.parent} can be written by you"
        ) from error


def _require_private_path(path: Path, mode: int, what: str) -> None:
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
        raise damage_error(path, "the first bytes are no database's")


def create_new_file(path: Path) -> int:
    """A descriptor of a new file for the owner alone. No link is followed: not the file's name, and not its folder's.

    The folder is opened first and the file made in what was opened, so that no swap of either goes unnoticed. Raises
    `Conflict`, `NotFound`.
    """
    hint = "name a file in a folder you may write to"
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if path.parent.is_symlink():
            raise NotFound(f"{path.parent} is a link, which is not followed", hint="name the real folder") from None
        raise NotFound(f"{path}: {error.strerror}", hint=hint) from None
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(path.name, flags, FILE_MODE, dir_fd=folder)
    except FileExistsError:
        raise Conflict(f"{path} exists already", hint="name a file that does not exist yet", field="path") from None
    except OSError as error:
        raise translate_os_error(error, str(path), hint=hint, field="path") from None
    finally:
        os.close(folder)


def database_bytes(path: Path) -> int:
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


def copy_sparse_file(source: str, target: str) -> None:
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


def require_sound_database(db: sqlite3.Connection, path: Path) -> None:
    """Raise `StashDamaged` where a small file, or a file that was not closed, fails SQLite's check. New files pass."""
    is_known = bool(db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'meta'").fetchone()[0])
    if not is_known or (path.stat().st_size > CHECK_BYTES_MAX and schema.get_counter(db, "is_clean")):
        return
    trouble = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if trouble != "ok":
        raise damage_error(path, trouble)
