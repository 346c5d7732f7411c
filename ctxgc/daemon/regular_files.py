"""Regular files that a client names: opened for reading, or written new and whole."""

from __future__ import annotations

import asyncio
import os
import secrets
import stat
from collections.abc import AsyncIterable
from pathlib import Path
from typing import IO

from ctxgc.core.errors import BadTranscript, Conflict, translate_os_error

PARTIAL_NAME_CHARS = 50
"""Of an export's name in the name of its partial file: a file's name has 255 bytes."""

STASH_SUFFIXES = ("", "-wal", "-shm")
"""What SQLite appends to the name of the stash for the files that the daemon holds locks on."""


def open_regular_file(path: str, stash: Path) -> IO[bytes]:
    """Open a regular file for reading. Pipes and devices would stall the daemon, so they are refused.

    A file whose name is not text is refused too: no reply, event or row can name such a file. The daemon's own stash is
    refused before the open: the system drops all locks of a process on a file as soon as the process closes the file
    once. Raises `BadTranscript`, `OSError`.
    """
    if not _is_utf8_path(path):
        raise BadTranscript(f"{printable_path(path)} has a name that is not UTF-8", hint="give it another name")
    if any(_is_same_file(path, f"{stash}{suffix}") for suffix in STASH_SUFFIXES):
        raise BadTranscript(f"{path} is the daemon's own stash", hint="`ctxgc export` writes a session of the stash")
    # Without O_NONBLOCK the open itself would wait for a writer of a pipe.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadTranscript(f"{path} is not a regular file", hint="copy its content into one")
    return os.fdopen(descriptor, "rb")


def _is_same_file(path: str, other: str) -> bool:
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False  # One of the two is not there.


def _is_utf8_path(path: str) -> bool:
    return printable_path(path) == path


def printable_path(path: str) -> str:
    """The path as text for a reply or an error: bytes that are no UTF-8 become U+FFFD."""
    return os.fsencode(path).decode("utf-8", "replace")


async def write_new_file(path: str, blocks: AsyncIterable[bytes]) -> int:
    """Write a file that must not exist yet, for us alone to read; bytes written.

    Only the whole file gets the name: an interrupted writing bars no later attempt.
    """
    partial, file = await asyncio.to_thread(_open_partial_file, path)
    try:
        with file:
            size = 0
            async for block in blocks:
                size += await asyncio.to_thread(file.write, block)
            await asyncio.to_thread(file.flush)
        await asyncio.to_thread(os.link, partial, path, follow_symlinks=False)
    except FileExistsError:
        raise _path_exists_error(path) from None
    except OSError as error:
        raise translate_os_error(error, path, field="path") from None
    finally:
        await asyncio.to_thread(os.unlink, partial)
    return size


def _open_partial_file(path: str) -> tuple[str, IO[bytes]]:
    """A new file beside a path that does not exist, and its name."""
    if os.path.lexists(path):
        raise _path_exists_error(path)
    folder, name = os.path.split(path)
    partial = os.path.join(folder, f".{name[:PARTIAL_NAME_CHARS]}.{secrets.token_hex(4)}.partial")
    try:
        return partial, os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb")
    except OSError as error:
        raise translate_os_error(error, path, hint="name a file in a folder you may write to", field="path") from None


def _path_exists_error(path: str) -> Conflict:
    return Conflict(f"{path} exists", hint="name a new file; nothing was overwritten", field="path")
