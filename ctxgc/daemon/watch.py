"""Watching: transcripts followed as they grow.

    path ──watchfiles──▶ changed files ──read on from where we were──▶ feed ──▶ position committed

A parser needs its file's beginning, so a file is read from its start once per run of the daemon, which changes
nothing that is known; a file that has not grown since its last committed position is not read at all. Only whole
lines are taken: a host may be in the middle of writing one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from watchfiles import awatch

from ctxgc.core.errors import BadParams, Busy, CtxgcError, NotFound
from ctxgc.daemon.feed import Feed
from ctxgc.daemon.importing import SLICE_BYTES, SUFFIXES, open_regular, transcript_files
from ctxgc.daemon.services import Services
from ctxgc.stash.contract import PutPosition

WATCHED_MAX = 1000
FEEDS_MAX = 256
"""Files followed at once; the longest silent are closed and read again when they speak."""
HEAD_BYTES = 4096
STEP_MS = 100


@dataclass(slots=True)
class Followed:
    """One file: its feed, and how far it was taken in."""

    feed: Feed
    offset: int = 0
    held: bytes = b""
    """The line that is still being written."""


@dataclass(slots=True)
class Watched:
    """One path that somebody asked to follow."""

    path: str
    task: asyncio.Task[None] | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    files: dict[str, Followed] = field(default_factory=dict)
    bytes_read: int = 0
    error: str = ""


class Watcher:
    """Follows paths, each in a task of its own, all of them ended by `close`."""

    def __init__(self, services: Services, spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]) -> None:
        self._services = services
        self._spawn = spawn
        self._watched: dict[str, Watched] = {}

    def __len__(self) -> int:
        return len(self._watched)

    def add(self, path: str) -> bool:
        """Follow a path from now on; False if it is followed already. Raises `NotFound`, `Busy`, `BadParams`."""
        if path in self._watched:
            return False
        if len(self._watched) >= WATCHED_MAX:
            raise Busy(f"{WATCHED_MAX} paths are followed already", hint="`watch.remove` one")
        if not os.path.exists(path):
            raise NotFound(f"no file or folder {path}", hint="name one that exists", field="path")
        if not os.path.isdir(path) and not os.path.isfile(path):
            raise BadParams(f"{path} is neither a file nor a folder", field="path")
        watched = self._watched[path] = Watched(path)
        watched.task = self._spawn(self._follow(watched))
        return True

    async def remove(self, path: str) -> bool:
        """Stop following a path, as it was given to `add`; False if it was not followed."""
        watched = self._watched.pop(path, None)
        if watched is None or watched.task is None:
            return False
        watched.stop.set()
        watched.task.cancel()
        with suppress(asyncio.CancelledError):
            await watched.task
        return True

    async def close(self) -> None:
        """Stop following everything."""
        for path in list(self._watched):
            await self.remove(path)

    def reply(self) -> list[dict[str, Any]]:
        """What is followed, and how far: the `watched` of `WatchReply`."""
        return [
            {
                "path": watched.path,
                "files": len(watched.files),
                "bytes_read": watched.bytes_read,
                "sessions": sorted({str(key) for file in watched.files.values() for key in file.feed.keys}),
                "error": watched.error,
            }
            for watched in self._watched.values()
        ]

    async def _follow(self, watched: Watched) -> None:
        for path in await asyncio.to_thread(self._present, watched.path):
            await self._read_on(watched, path, is_start=True)
        changes = awatch(watched.path, stop_event=watched.stop, step=STEP_MS, debounce=STEP_MS * 4, rust_timeout=5000)
        async for changed in changes:
            for path in sorted({path for _, path in changed if path.endswith(SUFFIXES)}):
                await self._read_on(watched, path, is_start=False)

    @staticmethod
    def _present(path: str) -> list[str]:
        try:
            return transcript_files(path)
        except CtxgcError:
            return []  # An empty folder is fine to watch.

    async def _read_on(self, watched: Watched, path: str, *, is_start: bool) -> None:
        try:
            await self._read_file(watched, path, is_start=is_start)
            watched.error = ""
        except (CtxgcError, OSError) as error:
            # One bad file must not end the watch; the file is begun anew when it changes again.
            watched.files.pop(path, None)
            watched.error = f"{path}: {error}"

    async def _read_file(self, watched: Watched, path: str, *, is_start: bool) -> None:
        if not await asyncio.to_thread(os.path.isfile, path):
            watched.files.pop(path, None)
            return
        with await asyncio.to_thread(open_regular, path) as file:
            size = os.fstat(file.fileno()).st_size
            head = blake2b(file.read(HEAD_BYTES), digest_size=16).digest() if size >= HEAD_BYTES else b""
            known = await self._services.stash.position(path)
            if is_start and known is not None and head and known == (head, size):
                return
            followed = watched.files.get(path)
            if followed is None or size < followed.offset:
                followed = watched.files[path] = Followed(Feed(self._services))
            file.seek(followed.offset)
            while data := await asyncio.to_thread(file.read, SLICE_BYTES):
                followed.offset += len(data)
                watched.bytes_read += len(data)
                whole, newline, followed.held = (followed.held + data).rpartition(b"\n")
                if newline:
                    await followed.feed.feed(whole + newline)
        if followed.offset:
            await followed.feed.finish()
            position = PutPosition(path, head, followed.offset - len(followed.held))
            await self._services.stash.apply([position])
        while len(watched.files) > FEEDS_MAX:
            del watched.files[next(iter(watched.files))]
