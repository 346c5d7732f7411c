"""A consistent copy of a stash in a new file, written through no link.

database ──SQLite──▶ a file in a private folder ──bytes──▶ a descriptor made with O_EXCL and O_NOFOLLOW
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

from ctxgc.core.errors import translate_os_error
from ctxgc.stash import files

COPY_BYTES = 2**20


def write_backup(db: sqlite3.Connection, path: Path, folder: Path | None) -> int:
    """Copy the database into a private folder, and from there into the new file.

    SQLite opens a file and its journal by name, and follows links; the bytes go through a descriptor of our own making.
    Raises `CtxgcError`, and leaves no file then.
    """
    with os.fdopen(files.create_new_file(path), "wb") as target:
        made = os.fstat(target.fileno())
        try:
            with tempfile.TemporaryDirectory(prefix="backup-", dir=folder) as private:
                copy_path = Path(private) / "copy"
                with contextlib.closing(sqlite3.connect(copy_path)) as copy:
                    db.backup(copy)
                with copy_path.open("rb") as copied:
                    shutil.copyfileobj(copied, target, COPY_BYTES)
            target.flush()
            os.fsync(target.fileno())
            return os.fstat(target.fileno()).st_size
        except BaseException as error:
            with contextlib.suppress(OSError):
                there = path.lstat()
                if (there.st_dev, there.st_ino) == (made.st_dev, made.st_ino):
                    path.unlink()
            if isinstance(error, sqlite3.Error) and "is full" in str(error):  # The disk of the copy, not of the stash.
                error = OSError(errno.ENOSPC, str(error))
            if isinstance(error, OSError):
                raise translate_os_error(error, str(error.filename or path), field="path") from None
            raise
