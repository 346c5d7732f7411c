"""Watching: transcripts followed as they grow.

    path ──watchfiles──▶ changed files ──read on from the last offset──▶ feed ──▶ position committed
      │                                                                    ▲ path gone, or the system refuses:
      └──once, the newest first──▶ backlog ──beside the changes────────────┘ look again in a while

What is alive comes first: a file that changes is read at once, whatever is left of the backlog, and the backlog begins
with the files that were written last. A parser needs the beginning of its file, so each run of the daemon reads a file
from its start once, which changes no segment; a file that has not grown since its last committed position is not read
at all. A log is read by whole lines, since a host may be in the middle of writing a line; any other file is read anew
when its content changes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import traceback
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, NamedTuple
from weakref import WeakValueDictionary

from watchfiles import awatch

from ctxgc.adapters.contract import LINE_BYTES_MAX
from ctxgc.adapters.transcripts.opencode_store import WAL_SUFFIX, is_sqlite_file, is_store_name, list_sessions
from ctxgc.core.errors import BadParams, Busy, CtxgcError, NotFound, NoTranscript, UnknownFormat
from ctxgc.core.redaction.redact import redact_text
from ctxgc.daemon.feeds.feed import Feed
from ctxgc.daemon.feeds.importing import (
    LOG_SUFFIX,
    PACKINGS,
    SLICE_BYTES,
    feed_stored_session,
    is_transcript_name,
    stored_session_name,
    transcript_paths,
)
from ctxgc.daemon.regular_files import open_regular_file
from ctxgc.daemon.services import Services
from ctxgc.protocol.replies.daemon import WatchedReply
from ctxgc.stash.contract import PutPosition

WATCHED_MAX = 32
"""Paths. Each takes one of the forty threads that all file work shares."""
FEEDS_MAX = 256
"""Files followed at once; beyond the bound the longest silent file is closed, and read again when it grows."""
READ_BESIDE_MAX = 8
"""Changed files of a path that are read at the same time."""
BACKLOG_SLICE_BYTES = 64 * 2**10
"""A change waits for the slice of a backlog that is being read: the slice is short."""
HEAD_BYTES = 4096
STEP_MS = 200
"""Interval of the watching thread, and how long changes are gathered; a shorter one wakes an idle daemon more often."""
QUIET_MS = 5000
"""Silence after which the watcher checks that the path still exists."""
RETRY_S = 1.0

_log = logging.getLogger("ctxgc.daemon")


class FileStamp(NamedTuple):
    """What a change of a file changes."""

    mtime_ns: int
    size: int


@dataclass(slots=True)
class FollowedFile:
    """A growing file: the feed and the offset."""

    feed: Feed
    identity: tuple[int, int]
    """Device and inode, so that a new file of the same name is read from its start."""
    offset: int = 0
    partial_line: bytearray = field(default_factory=bytearray)
    """The start of a line that the host is still writing, of at most a line's length."""

    async def feed_bytes(self, data: bytes, *, is_log: bool) -> None:
        """Feed whole lines of a log, and keep the rest; feed the bytes of any other file at once."""
        if not is_log:
            await self.feed.feed(data)
            return
        end = data.rfind(b"\n") + 1
        if not end and len(self.partial_line) + len(data) <= LINE_BYTES_MAX:
            self.partial_line += data
            return
        # A line beyond the bound goes to the parser as it is: the parser drops and counts it.
        end = end or len(data)
        whole, self.partial_line = bytes(self.partial_line) + data[:end], bytearray(data[end:])
        await self.feed.feed(whole)


@dataclass(slots=True)
class WatchedPath:
    """A path that a client asked to follow."""

    path: str
    task: asyncio.Task[None] | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    files: OrderedDict[str, FollowedFile] = field(default_factory=OrderedDict)
    """The longest silent file first; files of the backlog stand before all that changed."""
    reading: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    """The files that are read now: a change may come while the backlog reads the file.

    A lock lives for as long as a task holds the lock or waits for it: a path has a single lock.
    """
    bytes_read: int = 0
    found: int = 0
    looked_at: int = 0
    """Files of the backlog: in all, and so far."""
    error: str = ""

    def unread_bytes(self, path: str, size: int) -> int:
        """How much of a file of this size was not read yet."""
        followed = self.files.get(path)
        return size - followed.offset if followed is not None and followed.offset <= size else size


class Watcher:
    """Follows paths, each in a task of its own; `close` ends all tasks."""

    def __init__(self, services: Services, spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]) -> None:
        self._services = services
        self._spawn = spawn
        self._watched: dict[str, WatchedPath] = {}
        self._changes = 0
        """Changes that are read now, of all paths: the backlogs wait."""
        self._calm = asyncio.Event()
        self._calm.set()

    def __len__(self) -> int:
        return len(self._watched)

    def add(self, path: str, *, must_exist: bool = True) -> bool:
        """Follow a path from now on; False for a followed path, of which a log that grew is read at once.

        Raises `NotFound`, `Busy`, `BadParams`.
        """
        if (followed := self._watched.get(path)) is not None:
            if path in followed.files and os.path.isfile(path) and followed.unread_bytes(path, os.path.getsize(path)):
                self._spawn(self._read_transcript(followed, path, is_start=False))
            return False
        if len(self._watched) >= WATCHED_MAX:
            raise Busy(f"{WATCHED_MAX} paths are followed already", hint="follow a folder above them instead")
        if must_exist and not os.path.exists(path):
            raise NotFound(f"no file or folder {path}", hint="name one that exists", field="path")
        if os.path.exists(path) and not os.path.isdir(path) and not os.path.isfile(path):
            raise BadParams(f"{path} is neither a file nor a folder", hint="follow transcripts", field="path")
        watched = self._watched[path] = WatchedPath(path)
        watched.task = self._spawn(self._follow_with_retries(watched))
        return True

    async def remove(self, path: str) -> bool:
        """Stop following a path, spelled as for `add`; False for a path that is not followed."""
        watched = self._watched.pop(path, None)
        if watched is None or watched.task is None:
            return False
        watched.stop.set()
        watched.task.cancel()
        with suppress(asyncio.CancelledError):
            await watched.task
        return True

    async def close(self) -> None:
        """Stop following all paths."""
        for path in list(self._watched):
            await self.remove(path)

    def watched_replies(self) -> list[WatchedReply]:
        """The paths that are followed, and how far."""
        return [
            WatchedReply(
                path=watched.path,
                files=len(watched.files),
                bytes_read=watched.bytes_read,
                files_found=watched.found,
                files_looked_at=watched.looked_at,
                sessions=sorted({str(key) for file in watched.files.values() for key in file.feed.session_keys}),
                error=watched.error,
            )
            for watched in self._watched.values()
        ]

    async def _follow_with_retries(self, watched: WatchedPath) -> None:
        while not watched.stop.is_set():
            try:
                await self._follow_until_gone(watched)
            except (CtxgcError, OSError) as error:
                watched.error = f"{watched.path}: {error}"
            except Exception as error:  # One watch must not end the daemon; the message may quote a session's text.
                watched.error = f"{watched.path}: {_log_and_describe_bug(error)}"
            with suppress(TimeoutError):
                await asyncio.wait_for(watched.stop.wait(), RETRY_S)

    async def _follow_until_gone(self, watched: WatchedPath) -> None:
        present = await asyncio.to_thread(_path_or_packed_form, watched.path)
        seen = await asyncio.to_thread(_transcript_stamps, present)
        backlog = asyncio.create_task(self._read_backlog(watched, seen))
        try:
            await self._read_changes(watched, present, seen)
            await backlog
        finally:
            backlog.cancel()
            with suppress(asyncio.CancelledError):
                await backlog

    async def _read_backlog(self, watched: WatchedPath, seen: Mapping[str, FileStamp]) -> None:
        """Read what was there at the beginning, the newest file first."""
        watched.found, watched.looked_at = len(seen), 0
        for path in seen:
            if path not in watched.files:
                await self._read_transcript(watched, path, is_start=True)
            watched.looked_at += 1

    async def _read_changes(self, watched: WatchedPath, present: str, seen: Mapping[str, FileStamp]) -> None:
        """Read what changes, until the path is another or the watch ends. Raises `NotFound` where the path is gone."""
        # The changes of a store come into a file beside it.
        is_store_alone = is_store_name(os.path.basename(present))
        changes = awatch(
            os.path.dirname(present) if is_store_alone else present,
            recursive=not is_store_alone,
            stop_event=watched.stop,
            step=STEP_MS,
            debounce=STEP_MS,
            rust_timeout=QUIET_MS,
            yield_on_timeout=True,
        )
        is_first = True
        async for changed in changes:
            paths = {_file_of_change(path) for _, path in changed}
            if is_store_alone:
                paths &= {present}
            if is_first:  # Files may have changed before the system began to report changes.
                now = await asyncio.to_thread(_transcript_stamps, present)
                paths |= {path for path, stamp in now.items() if seen.get(path) != stamp}
                is_first = False
            await self._read_changed_files(
                watched, [path for path in paths if is_transcript_name(os.path.basename(path))]
            )
            if not await asyncio.to_thread(os.path.exists, present):
                if await asyncio.to_thread(_path_or_packed_form, watched.path) == present:
                    raise NotFound("it is gone; followed again when it is back")
                return  # The host has packed the log: the packed form is followed from now on.

    async def _read_changed_files(self, watched: WatchedPath, paths: list[str]) -> None:
        """Read changed files, several beside each other: those with the fewest new bytes come first.

        Most of the wait for a short line is for threads and for the disk, and a commit takes in what others bring.
        """
        sizes = await asyncio.to_thread(_file_sizes, paths)
        places = asyncio.Semaphore(READ_BESIDE_MAX)

        async def read(path: str) -> None:
            async with places:
                await self._read_transcript(watched, path, is_start=False)

        async with asyncio.TaskGroup() as tasks:
            for path in sorted(sizes, key=lambda path: watched.unread_bytes(path, sizes[path])):
                tasks.create_task(read(path))

    async def _read_transcript(self, watched: WatchedPath, path: str, *, is_start: bool) -> None:
        async with watched.reading.setdefault(path, asyncio.Lock()):
            # Only now: a change of the file that a backlog reads has to wait for the backlog.
            self._adjust_change_count(0 if is_start else 1)
            try:
                watched.error = await self._read_new_bytes(watched, path, is_start=is_start)
            except (CtxgcError, OSError) as error:
                # A bad file must not end the watch; its next change begins the file anew.
                watched.files.pop(path, None)
                if not isinstance(error, UnknownFormat | NoTranscript) or path == watched.path:
                    watched.error = f"{path}: {error}"
            except Exception as error:
                watched.files.pop(path, None)
                watched.error = f"{path}: {_log_and_describe_bug(error)}"
            finally:
                self._adjust_change_count(0 if is_start else -1)

    def _adjust_change_count(self, more: int) -> None:
        self._changes += more
        if self._changes:
            self._calm.clear()
        else:
            self._calm.set()

    async def _read_new_bytes(self, watched: WatchedPath, path: str, *, is_start: bool) -> str:
        """Read what is new in a file; the error of a part that cannot be read, or empty."""
        opened = await asyncio.to_thread(_open_transcript, path, self._services.stash.path)
        if opened is None:
            watched.files.pop(path, None)
            return ""
        with opened as file:
            stat = os.fstat(file.fileno())
            size, identity = stat.st_size, (stat.st_dev, stat.st_ino)
            start = file.read(HEAD_BYTES) or b""  # A device has nothing to read yet.
            if is_sqlite_file(start):
                return await self._read_store(watched, path, identity)
            head = blake2b(start, digest_size=16).digest() if size >= HEAD_BYTES else b""
            stored_position = await self._services.stash.file_position(redact_text(path))
            if is_start and stored_position is not None and head and stored_position == (head, size):
                return ""
            followed = watched.files.get(path)
            if followed is None or size < followed.offset or identity != followed.identity:
                followed = watched.files[path] = FollowedFile(Feed(self._services), identity)
            elif size == followed.offset:
                return ""
            elif not path.endswith(LOG_SUFFIX):
                followed = watched.files[path] = FollowedFile(Feed(self._services), identity)
            file.seek(followed.offset)
            is_more = True
            slice_bytes = BACKLOG_SLICE_BYTES if is_start else SLICE_BYTES
            while is_more and (data := await asyncio.to_thread(file.read, slice_bytes)):
                if is_start:
                    await self._calm.wait()
                followed.offset += len(data)
                watched.bytes_read += len(data)
                await followed.feed_bytes(data, is_log=path.endswith(LOG_SUFFIX))
                is_more = len(data) == slice_bytes  # Each look at a file costs a wait for a thread.
        if followed.offset > len(followed.partial_line):
            await followed.feed.finish()
            position = PutPosition(redact_text(path), head, followed.offset - len(followed.partial_line))
            await self._services.stash.apply([position])
        if path in watched.files:
            watched.files.move_to_end(path, last=not is_start)
        while len(watched.files) > FEEDS_MAX:
            watched.files.popitem(last=False)
        return ""

    async def _read_store(self, watched: WatchedPath, path: str, identity: tuple[int, int]) -> str:
        """Read the sessions of OpenCode's store that have changed; the last error of a session, or empty."""
        stored = await asyncio.to_thread(list_sessions, path)
        last_error = ""
        for session in stored:
            name = stored_session_name(path, session)
            if await self._services.stash.file_position(name) == (session.stamp, 0):
                continue
            try:
                feed = await feed_stored_session(self._services, path, session)
            except CtxgcError as error:
                last_error = f"{name}: {error}"
                continue
            watched.files[path] = FollowedFile(feed, identity)
            await self._services.stash.apply([PutPosition(name, session.stamp, 0)])
        return last_error


def _path_or_packed_form(path: str) -> str:
    """The path, or its packed form where a host has packed the log meanwhile."""
    return next((path + packing for packing in PACKINGS if os.path.exists(path + packing)), path)


def _transcript_stamps(path: str) -> dict[str, FileStamp]:
    """The transcripts at a path with what a change of a file changes, the last written file first."""
    try:
        files = transcript_paths(_path_or_packed_form(path))
    except CtxgcError:
        return {}  # An empty folder is fine to watch.
    found = {}
    for file in reversed(files):
        with suppress(OSError):
            stat = os.stat(file)
            found[file] = FileStamp(stat.st_mtime_ns, stat.st_size)
    return found


def _open_transcript(path: str, stash: Path) -> IO[bytes] | None:
    """The file, open; `None` for what is no file. Raises as `open_regular_file` does."""
    return open_regular_file(path, stash) if os.path.isfile(path) else None


def _file_sizes(paths: list[str]) -> dict[str, int]:
    """The size of each file; of a file that is gone, 0."""
    sizes = dict.fromkeys(sorted(paths), 0)
    for path in sizes:
        with suppress(OSError):
            sizes[path] = os.path.getsize(path)
    return sizes


def _file_of_change(path: str) -> str:
    """The file that a change belongs to: changes of a store come into a file beside it first."""
    return path.removesuffix(WAL_SUFFIX)


def _log_and_describe_bug(error: Exception) -> str:
    """A bug's type without its message, which may quote a session's text. The traceback goes to the log."""
    traces = "".join(traceback.format_tb(error.__traceback__))
    _log.error("watching failed with %s\n%s", type(error).__qualname__, traces)
    return f"reading failed inside the daemon ({type(error).__qualname__}); its log says where"
