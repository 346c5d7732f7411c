"""The threads of a session: its main one, and those of its sub-agents, told apart by content.

    Family (one id of the agent) ── main     ID             the first with tools, or what the daemon knows as ID
                                 ├─ child    ID/ab12cd34    other tools, or another first prompt of the user
                                 └─ child    …

Sub-agents, titles and summaries are asked for under the id of their session. A thread is known by its tools and its
first prompt; where its host rewound, compacted or forked it, by what it still shares with what was there before.
Children that begin alike are told apart by their calls, for as long as the gateway lives: after a restart the first
that is met has the first one's name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from ctxgc.core.bounded_dict import drop_oldest
from ctxgc.core.segment import Kind, Role, Segment
from ctxgc.gateway.billing.usage import Usage
from ctxgc.gateway.body.request_body import Asked
from ctxgc.gateway.body.splice_memo import Evicted, Memo
from ctxgc.gateway.identity.headers import Identity
from ctxgc.gateway.recall.tool import Exchange
from ctxgc.protocol.agents import CLIENT

FAMILIES_MAX = 512
THREADS_MAX = 64
"""Of one family; the oldest is forgotten here, and known again by the daemon."""
SHARED_MIN = 2
"""Exchanges that two windows must share to be of one thread."""


@dataclass(slots=True, eq=False)
class Reply:
    """What is known of one reply while it streams past."""

    usage: Usage | None = None
    """What it cost, once it has ended."""
    began: asyncio.Event = field(default_factory=asyncio.Event)
    """Its first byte has been passed on."""


@dataclass(slots=True, eq=False)
class Thread:
    """One session as the gateway knows it. Mutable, owned by the gateway's loop; a cache of what the daemon said."""

    agent: str
    session: str
    parent: str = ""
    tools: bytes = b""
    calls: frozenset[tuple[str, bytes]] = frozenset()
    """The exchanges of its last request, each by id and content."""
    ids: tuple[str, ...] = ()
    """The window that was told the daemon last."""
    known: Mapping[str, bytes] = field(default_factory=dict)
    """What each id of it stood for, by digest."""
    tombstones: dict[str, Evicted] = field(default_factory=dict)
    """In force: remembered here, so that a daemon that is gone does not bring bodies back (I14)."""
    memo: Memo | None = None
    reply: Reply | None = None
    """The reply to the window `ids`."""
    is_barred: bool = False
    """The upstream refused an edited request of it and took the original: it is edited no more."""
    asked_mode: str = ""
    """The mode that the daemon was told last."""
    asked_s: float = 0.0
    """When the last request came, on the monotonic clock; 0 before the first."""
    cache_ttl_s: float | None = None
    """How long the provider keeps what that request wrote."""

    def is_cold(self, now_s: float) -> bool:
        """Whether the provider's cache of it is gone."""
        return self.cache_ttl_s is not None and bool(self.asked_s) and now_s - self.asked_s > self.cache_ttl_s

    def bar(self) -> None:
        """Edit it no more."""
        self.is_barred = True
        self.tombstones, self.memo = {}, None

    @property
    def key(self) -> str:
        """The daemon's name for the session."""
        return f"{self.agent}:{self.session}"


class Family:
    """All threads of one id. Mutable."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.threads: dict[str, Thread] = {}
        self.parent = ""
        """The session that started this one, where its agent gives it an id of its own and says so."""
        self.known_ids: frozenset[str] | None = None
        """Ids that the daemon has under the family's own id; None until it was asked."""
        self.heard_s = 0.0
        """When the daemon last heard of the main thread, on the monotonic clock; 0: never."""
        self.is_resumed = False
        """The daemon keeps bodies of it out, and was not asked yet which."""
        self.has_recall_tool: bool | None = None
        """Whether its model has our tool: fixed at its first request, for a changing list of tools breaks caches."""
        self.exchanges: dict[tuple[object, ...], Exchange] = {}
        """Calls of that tool with their results, which its agent never saw."""
        self._by_print: dict[tuple[bytes, str], tuple[Thread, ...]] = {}

    @property
    def has_tombstones(self) -> bool:
        """Whether any thread has something evicted."""
        return any(thread.tombstones for thread in self.threads.values())

    def remembered(self, body: bytes) -> Thread | None:
        """The thread whose last edited request this body begins like; of several the one with the longest beginning."""
        ours = [t for t in self.threads.values() if t.memo is not None and body.startswith(t.memo.head)]
        return max(ours, key=lambda thread: len(thread.memo.head) if thread.memo else 0, default=None)

    def is_cold(self, now_s: float) -> bool:
        """Whether the provider's cache of its main thread, or of all of them, is gone."""
        main = self.threads.get(self.identity.session)
        if main is not None and main.is_cold(now_s):
            return True
        return bool(self.threads) and all(thread.is_cold(now_s) for thread in self.threads.values())

    def thread_of(self, asked: Asked, side: str = "") -> Thread:
        """The thread that this request continues; a new one if it continues none.

        `side` is the sub-agent that its agent says it is from: then nothing is guessed, and the name is the watcher's.
        """
        said = [segment for segment in asked.window.segments if segment.kind is not Kind.SYSTEM]
        calls = frozenset((s.id, asked.digests[s.id]) for s in said if s.kind is Kind.EXCHANGE)
        if side:
            name = f"{self.identity.session}/{side}"
            named = self.threads.get(name) or self._opened(name)
            named.tools, named.calls = asked.tools, calls
            return named
        stamp = (asked.tools, _first_prompt(said))
        twins = self._by_print.get(stamp, ())
        thread = _that_continues(twins, calls) or self._continued(asked, said)
        if thread is None:
            name = self._name(asked, said, stamp, len(twins))
            # The print of a child may be new while its name is known: the same tools and prompt, told apart before.
            thread = self.threads.get(name) or self._opened(name)
        self._by_print[stamp] = (*(twin for twin in twins if twin is not thread), thread)
        drop_oldest(self._by_print, 4 * THREADS_MAX)
        thread.tools, thread.calls = asked.tools, calls
        return thread

    def _opened(self, name: str) -> Thread:
        identity = self.identity
        if name == identity.session:
            thread = Thread(identity.agent, name, asked_s=self.heard_s)
        else:
            thread = Thread(identity.agent, name, parent=identity.session)
        self.threads[name] = thread
        for gone in drop_oldest(self.threads, THREADS_MAX):
            kept = {at: tuple(t for t in twins if t.session != gone) for at, twins in self._by_print.items()}
            self._by_print = {stamp: twins for stamp, twins in kept.items() if twins}
        return thread

    def _continued(self, asked: Asked, said: Sequence[Segment]) -> Thread | None:
        """By exchanges it shares with a window we know; after a host's compaction, by its tools alone."""
        # Texts recur in every thread, and some hosts count their calls from 0 in each: an exchange is known by id and
        # content together.
        ours = [(s.id, asked.digests[s.id]) for s in said if s.kind is Kind.EXCHANGE]
        best, most = None, SHARED_MIN - 1
        for thread in self.threads.values():
            shared = sum(thread.known.get(id_) == content for id_, content in ours)
            if shared > most:
                best, most = thread, shared
        if best is None and any(segment.kind is Kind.SUMMARY for segment in said):
            alike = [thread for thread in self.threads.values() if thread.tools == asked.tools and asked.tools]
            best = max(alike, key=lambda thread: thread.asked_s, default=None)
        return best

    def _name(self, asked: Asked, said: Sequence[Segment], stamp: tuple[bytes, str], twins: int) -> str:
        own = self.identity.session
        if own not in self.threads and self._may_be_main(asked, said):
            return own
        told_apart = stamp[0] + stamp[1].encode() + (b"~%d" % (twins + 1) if twins else b"")
        return f"{own}/{blake2b(told_apart, digest_size=4).hexdigest()}"

    def _may_be_main(self, asked: Asked, said: Sequence[Segment]) -> bool:
        # Titles and the like carry no tools. A client that names its session by our header may well have none.
        if not asked.tools and self.identity.agent != CLIENT:
            return False
        is_summary = any(segment.kind is Kind.SUMMARY for segment in said)
        if not self.known_ids or is_summary or _first_prompt(said) in self.known_ids:
            return True
        return sum(s.id in self.known_ids for s in said if s.kind is Kind.EXCHANGE) >= SHARED_MIN


def _that_continues(twins: Sequence[Thread], calls: frozenset[tuple[str, bytes]]) -> Thread | None:
    """Which of the threads that begin alike has these calls.

    A main thread has no twin: whatever its host does to it, it is the one. Of children that were begun with the same
    words, at once or one after the other, each has calls of its own, or none yet.
    """
    for thread in reversed(twins):
        if not thread.parent or thread.calls & calls or not thread.calls:
            return thread
    return None


def _first_prompt(said: Iterable[Segment]) -> str:
    spoken = (s.id for s in said if s.role is Role.USER and s.kind in (Kind.USER, Kind.SUMMARY))
    return next(spoken, "")
