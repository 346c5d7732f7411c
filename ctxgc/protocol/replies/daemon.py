"""Replies of the verbs on the daemon itself: imports, watches, counts, checks."""

from __future__ import annotations

from typing import Any

from ctxgc.protocol.replies.reply import Reply


class HelloReply(Reply, frozen=True):
    """`hello`."""

    protocol: int
    version: str
    build: str
    pid: int
    boot_id: str
    """Another one after each start of the daemon."""
    caps: list[str]
    """Capabilities that a client may need, whatever the version."""
    limits: LimitsReply


class LimitsReply(Reply, frozen=True):
    """The daemon's bounds for a connection."""

    frame_bytes: int
    """The longest line."""
    in_flight: int
    """Requests of one connection at once."""
    unsent_bytes: int
    batch: int
    bad_lines: int
    clients: int


class PongReply(Reply, frozen=True):
    """`ping`."""

    pong: bool


class VerbReply(Reply, frozen=True):
    """A verb of `rpc.discover`."""

    help: str
    mutates: bool
    params: dict[str, Any]
    """JSON Schema."""
    reply: str
    """The name of the reply's type in the reference page of the protocol."""


class DiscoverReply(Reply, frozen=True):
    """`rpc.discover`."""

    protocol: int
    verbs: dict[str, VerbReply]


class BackgroundReply(Reply, frozen=True):
    """A mutation with `durability` `async`, in place of its own reply."""

    durability: str
    changed: str


class TxReply(Reply, frozen=True):
    """`tx`."""

    session: str
    results: list[Any]
    """Each call's reply, in the shape that the verb alone answers in."""
    changed: str


class ImportedReply(Reply, frozen=True):
    """A session of an import."""

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


class FailedReply(Reply, frozen=True):
    """A file that an import could not read, or not to its end."""

    path: str
    kind: str
    error: str
    hint: str


class ImportReply(Reply, frozen=True):
    """`import`. `failed` lists the files that could not be read.

    `passed_over` counts the files that hold no part of a session: a host's own documents beside its logs, empty logs.
    The first of them are named.
    """

    sessions: list[ImportedReply]
    failed: list[FailedReply]
    bytes: int
    seconds: float
    changed: str
    passed_over: int | None = None
    passed_over_files: tuple[str, ...] | None = None


class WatchedReply(Reply, frozen=True):
    """A path that the daemon follows."""

    path: str
    files: int
    bytes_read: int
    sessions: list[str]
    error: str
    files_found: int
    """Files that were there when the daemon began to follow the path."""
    files_looked_at: int
    """So many of them are read, or known to have nothing new."""


class WatchReply(Reply, frozen=True):
    """`watch.list`, `watch.add`, `watch.remove`."""

    watched: list[WatchedReply]
    changed: str | None = None


class SubscribedReply(Reply, frozen=True):
    """`subscribe`, `unsubscribe`."""

    topics: list[str]
    next_seq: int | None = None
    """The number of the next event of any topic."""


class StatsReply(Reply, frozen=True):
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
    """The configured bound of the stash; 0: no bound."""
    read_only: str
    """Why the stash takes no writes, or empty."""
    erasures_pending: int
    connections: int
    requests: int
    errors: int
    collections: int
    faults: int
    shortening_saved_tokens: int
    """Raw tokens that shortening in shadow would have left out since the daemon started …"""
    shortening_asked_back_tokens: int
    """… and those of them that later replies would have asked back."""
    tokens_estimated: bool
    """True if the ranks could not be read and counts are estimates."""
    rss_bytes: int
    watched: int


class MetricsReply(Reply, frozen=True):
    """`metrics`."""

    text: str
    """Prometheus text."""


class SlowCallReply(Reply, frozen=True):
    """A slow request, without params: params hold a session's text."""

    ms: float
    method: str
    connection: int
    at_s: float


class SlowlogReply(Reply, frozen=True):
    """`slowlog`, the slowest request first."""

    calls: list[SlowCallReply]


class ConfigReply(Reply, frozen=True):
    """`config.get`."""

    config: dict[str, Any]
    """Each section's keys, as in the configuration file."""


class ReloadReply(Reply, frozen=True):
    """`config.reload`."""

    changed: str
    next: str | None = None


class CheckReply(Reply, frozen=True):
    """A check of `doctor`."""

    name: str
    ok: bool
    detail: str
    hint: str


class DoctorReply(Reply, frozen=True):
    """`doctor`."""

    ok: bool
    checks: list[CheckReply]


class StoppingReply(Reply, frozen=True):
    """`shutdown`."""

    changed: str
