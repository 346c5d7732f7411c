"""Replies that report on imports, watches and the daemon itself; the rest are in `replies.py`."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class ImportedReply(TypedDict):
    """One session of an import."""

    session: str
    path: str
    source: str
    segments: int
    added: int
    records: int
    skipped_records: int
    skipped: dict[str, int]
    resident_tokens: int
    parent: str


class ImportReply(TypedDict):
    """`import`. `failed` lists files that could not be read: `{path, kind, error, hint}`."""

    sessions: list[ImportedReply]
    failed: list[dict[str, str]]
    bytes: int
    seconds: float
    changed: str


class WatchReply(TypedDict):
    """`watch.list`, `watch.add`, `watch.remove`."""

    watched: list[dict[str, Any]]
    """`{path, files, bytes_read, sessions, error}`."""
    changed: NotRequired[str]


class StatsReply(TypedDict):
    """`stats`."""

    version: str
    pid: int
    boot_id: str
    uptime_s: float
    socket: str
    state_folder: str
    sessions: int
    heaps_loaded: int
    heap_segments: int
    text_cache_bytes: int
    segments: int
    stash_bytes: int
    stash_bytes_max: int
    """What the configuration wants it to stay below; 0: any size."""
    read_only: str
    """Why the stash takes no writes, or empty."""
    erasures_pending: int
    connections: int
    requests: int
    errors: int
    collections: int
    faults: int
    tokens_estimated: bool
    """True if the ranks could not be read and counts are estimates."""
    rss_bytes: int
    watched: int


class CheckReply(TypedDict):
    """One check of `doctor`."""

    name: str
    ok: bool
    detail: str
    hint: str


class DoctorReply(TypedDict):
    """`doctor`."""

    ok: bool
    checks: list[CheckReply]
