"""Reading transcript files: slice by slice, never a whole file in memory, a bad file never the end of the import."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ctxgc.adapters.transcripts.opencode_store import (
    MAGIC,
    StoredSession,
    is_sqlite_file,
    is_store_name,
    list_sessions,
    session_document,
)
from ctxgc.core.errors import Cancelled, CtxgcError, NotFound, NoTranscript, UnknownFormat
from ctxgc.core.redaction.redact import redact_text
from ctxgc.daemon.feeds.feed import Feed, imported_replies
from ctxgc.daemon.feeds.session_bundle import import_bundle
from ctxgc.daemon.regular_files import open_regular_file, printable_path
from ctxgc.daemon.services import Services
from ctxgc.protocol.replies.daemon import FailedReply, ImportedReply, ImportReply

SLICE_BYTES = 256 * 2**10
PROGRESS_BYTES = 2**20
"""Bytes of a file between two `import` events."""
FILES_MAX = 100_000
LOG_SUFFIX = ".jsonl"
"""A log that grows by whole lines."""
PACKINGS = ("", ".gz", ".zst")
SUFFIXES = tuple(kind + packing for kind in (LOG_SUFFIX, ".json") for packing in PACKINGS)
SIDECARS = (".meta.json", ".settings.json", "sessions-index.json")
"""How the documents' names end that Claude Code and Droid keep beside their logs."""
PASSED_OVER_NAMED_MAX = 20
"""Files passed over that a reply names; the rest are counted."""


def transcript_paths(path: str) -> list[str]:
    """The transcripts at a path: the file, or all files below the folder. Raises `NotFound`, `BadTranscript`.

    The last written file comes last, so that its session is the newest of the folder.
    """
    if os.path.isdir(path):
        paths = (str(file) for file in Path(path).rglob("*") if is_transcript_name(file.name) and file.is_file())
        files = sorted(sorted(paths)[:FILES_MAX], key=_mtime_ns)
        if not files:
            raise NotFound(f"no transcript below {path}", hint=f"looked for {', '.join(SUFFIXES)}")
        return files
    if not os.path.exists(path):
        raise NotFound(f"no file {path}", hint="give the path of a transcript, or of a folder of them")
    return [path]


def is_transcript_name(name: str) -> bool:
    """Whether a file of this name in a folder is worth a look."""
    return name.endswith(SUFFIXES) or is_store_name(name)


def _mtime_ns(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0  # The error of opening the file says more.


async def import_paths(
    services: Services, paths: Sequence[str], format_name: str, is_wanted: Callable[[], bool]
) -> ImportReply:
    """Import files and folders. The reply lists failures by file; all other files are imported.

    `is_wanted` is asked before every slice. Raises `Cancelled` once nobody waits: what was read until then is stored,
    and a repeated import reads the rest.
    """
    started = time.monotonic()
    sessions: list[ImportedReply] = []
    failed: list[FailedReply] = []
    passed_over: list[str] = []
    size = 0
    for path in paths:
        try:
            files = await asyncio.to_thread(transcript_paths, path)
        except (CtxgcError, OSError) as error:
            failed.append(_failed_reply(path, error))
            continue
        for file in files:
            try:
                replies, file_bytes, failures = await import_file(services, file, format_name, is_wanted)
            except Cancelled:
                raise
            except NoTranscript:
                passed_over.append(printable_path(file))
                continue
            except (CtxgcError, OSError) as error:
                is_own = file != path or os.path.basename(file).endswith(SIDECARS)  # A shell's pattern names both.
                if isinstance(error, UnknownFormat) and is_own and not _is_log(file):
                    passed_over.append(printable_path(file))  # A host keeps documents of its own beside its logs.
                else:
                    failed.append(_failed_reply(file, error))
                continue
            sessions += replies
            size += file_bytes
            failed += failures
    added = sum(reply.added for reply in sessions)
    services.counts["imports"] += len(sessions)
    return ImportReply(
        sessions=sessions,
        failed=failed,
        bytes=size,
        seconds=round(time.monotonic() - started, 3),
        passed_over=len(passed_over) or None,
        passed_over_files=tuple(passed_over[:PASSED_OVER_NAMED_MAX]) or None,
        changed=f"{added} segments of {len(sessions)} sessions are new",
    )


async def import_file(
    services: Services, path: str, format_name: str, is_wanted: Callable[[], bool]
) -> tuple[list[ImportedReply], int, list[FailedReply]]:
    """Import a file: (`ImportedReply` of each of its sessions, bytes read, a failure for each part that is not in)."""
    feed = Feed(services, format_name)
    with await asyncio.to_thread(open_regular_file, path, services.stash.path) as file:
        total = os.fstat(file.fileno()).st_size
        if is_sqlite_file(file.read(len(MAGIC)) or b""):  # A device may have nothing to read yet.
            replies, failures = await import_store(services, path)
            return replies, total, failures
        if format_name == "" and (reply := await import_bundle(services, file, path)) is not None:
            return [reply], total, []
        file.seek(0)
        done = reported = 0
        while data := await asyncio.to_thread(file.read, SLICE_BYTES):
            if not is_wanted():
                raise Cancelled("the client of the import is gone; what was read until then is stored")
            await feed.feed(data)
            done += len(data)
            if done - reported >= PROGRESS_BYTES:
                reported = done
                services.events.publish("import", {"path": path, "bytes_done": done, "bytes_total": total})
    if not done:
        raise NoTranscript(f"{printable_path(path)} is empty")
    await feed.finish()
    feed.require_segments()
    services.events.publish("import", {"path": path, "bytes_done": done, "bytes_total": total})
    short_read = [_truncation_reply(path, feed.truncation_reason)] if feed.truncation_reason else []
    return imported_replies(feed, path), done, short_read


async def import_store(services: Services, path: str) -> tuple[list[ImportedReply], list[FailedReply]]:
    """Import every session of OpenCode's store, the newest last, and report each session that cannot be read.

    Raises `NoTranscript` for a store of nothing.
    """
    replies: list[ImportedReply] = []
    failures: list[FailedReply] = []
    for stored in reversed(await asyncio.to_thread(list_sessions, path)):
        try:
            replies += imported_replies(await feed_stored_session(services, path, stored), path)
        except CtxgcError as error:
            failures.append(_failed_reply(stored_session_name(path, stored), error))
    if not replies and not failures:
        raise NoTranscript("no session is in this store")
    return replies, failures


def stored_session_name(path: str, stored: StoredSession) -> str:
    """The name of a store's session in errors and positions."""
    return redact_text(f"{path}#{stored.id}")


async def feed_stored_session(services: Services, path: str, stored: StoredSession) -> Feed:
    """Read one session of a store."""
    feed = Feed(services, "opencode")
    await feed.feed(await asyncio.to_thread(session_document, path, stored.id))
    await feed.finish()
    return feed


def _is_log(path: str) -> bool:
    return any(path.endswith(LOG_SUFFIX + packing) for packing in PACKINGS)


def _truncation_reply(path: str, reason: str) -> FailedReply:
    path = printable_path(path)
    hint = "import the whole file again: what is known already is passed over"
    return FailedReply(path, "ends_early", f"{path} ends early: {reason}", hint)


def _failed_reply(path: str, error: CtxgcError | OSError) -> FailedReply:
    path = printable_path(path)
    if isinstance(error, CtxgcError):
        return FailedReply(path, error.kind, str(error), error.hint)
    return FailedReply(path, "unreadable", f"{path}: {error.strerror}", "check its permissions")
