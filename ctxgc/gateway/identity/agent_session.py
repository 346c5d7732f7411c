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
from ctxgc.gateway.body.request_body import BodyContents
from ctxgc.gateway.body.splice_memo import EvictedBody, Memo
from ctxgc.gateway.identity.headers import Identity
from ctxgc.protocol.agents import CLIENT

SESSIONS_MAX = 512
BRANCHES_MAX = 64
"""Of one family; the oldest is forgotten here, and known again by the daemon."""
SHARED_MIN = 2
"""Exchanges that two windows must share to be of one thread."""


@dataclass(slots=True, eq=False)
class ReplyProgress:
    """What is known of one reply while it streams past."""

    usage: Usage | None = None
    """What it cost, once it has ended."""
    began: asyncio.Event = field(default_factory=asyncio.Event)
    """Its first byte has been passed on."""


@dataclass(slots=True, eq=False)
class Branch:
    """One session as the gateway knows it. Mutable, owned by the gateway's loop; a cache of what the daemon said."""

    agent: str
    name: str
    parent: str = ""
    tools: bytes = b""
    call_digests: frozenset[tuple[str, bytes]] = frozenset()
    """The exchanges of its last request, each by id and content."""
    synced_ids: tuple[str, ...] = ()
    """The window that was told the daemon last."""
    known_digests: Mapping[str, bytes] = field(default_factory=dict)
    """What each id of it stood for, by digest."""
    tombstones: dict[str, EvictedBody] = field(default_factory=dict)
    """In force: remembered here, so that a daemon that is gone does not bring bodies back (I14)."""
    memo: Memo | None = None
    reply: ReplyProgress | None = None
    """The reply to the window `ids`."""
    is_barred: bool = False
    """The upstream refused an edited request of it and took the original: it is edited no more."""
    synced_mode: str = ""
    """The mode that the daemon was told last."""
    last_request_s: float = 0.0
    """When the last request came, on the monotonic clock; 0 before the first."""
    cache_ttl_s: float | None = None
    """How long the provider keeps what that request wrote."""

    def is_cold(self, now_s: float) -> bool:
        """Whether the provider's cache of it is gone."""
        return (
            self.cache_ttl_s is not None
            and bool(self.last_request_s)
            and now_s - self.last_request_s > self.cache_ttl_s
        )

    def bar(self) -> None:
        """Edit it no more."""
        self.is_barred = True
        self.tombstones, self.memo = {}, None

    @property
    def key(self) -> str:
        """The daemon's name for the session."""
        return f"{self.agent}:{self.name}"


class AgentSession:
    """All threads of one id. Mutable."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.branches: dict[str, Branch] = {}
        self.parent = ""
        """The session that started this one, where its agent gives it an id of its own and says so."""
        self.known_ids: frozenset[str] | None = None
        """Ids that the daemon has under the family's own id; None until it was asked."""
        self.last_sync_s = 0.0
        """When the daemon last heard of the main thread, on the monotonic clock; 0: never."""
        self.is_resumed = False
        """The daemon keeps bodies of it out, and was not asked yet which."""
        self._by_fingerprint: dict[tuple[bytes, str], tuple[Branch, ...]] = {}

    @property
    def has_tombstones(self) -> bool:
        """Whether any thread has something evicted."""
        return any(branch.tombstones for branch in self.branches.values())

    def memo_branch(self, body: bytes) -> Branch | None:
        """The thread whose last edited request this body begins like; of several the one with the longest beginning."""
        ours = [t for t in self.branches.values() if t.memo is not None and body.startswith(t.memo.head)]
        return max(ours, key=lambda branch: len(branch.memo.head) if branch.memo else 0, default=None)

    def is_cold(self, now_s: float) -> bool:
        """Whether the provider's cache of its main thread, or of all of them, is gone."""
        main = self.branches.get(self.identity.session)
        if main is not None and main.is_cold(now_s):
            return True
        return bool(self.branches) and all(branch.is_cold(now_s) for branch in self.branches.values())

    def branch_of(self, contents: BodyContents, sub_agent: str = "") -> Branch:
        """The thread that this request continues; a new one if it continues none.

        `side` is the sub-agent that its agent says it is from: then nothing is guessed, and the name is the watcher's.
        """
        segments = [segment for segment in contents.window.segments if segment.kind is not Kind.SYSTEM]
        call_digests = frozenset((s.id, contents.digests[s.id]) for s in segments if s.kind is Kind.EXCHANGE)
        if sub_agent:
            name = f"{self.identity.session}/{sub_agent}"
            named = self.branches.get(name) or self._open_branch(name)
            named.tools, named.call_digests = contents.tools, call_digests
            return named
        fingerprint = (contents.tools, _first_prompt(segments))
        twins = self._by_fingerprint.get(fingerprint, ())
        branch = _continued_twin(twins, call_digests) or self._find_continued(contents, segments)
        if branch is None:
            name = self._new_name(contents, segments, fingerprint, len(twins))
            # The print of a child may be new while its name is known: the same tools and prompt, told apart before.
            branch = self.branches.get(name) or self._open_branch(name)
        self._by_fingerprint[fingerprint] = (*(twin for twin in twins if twin is not branch), branch)
        drop_oldest(self._by_fingerprint, 4 * BRANCHES_MAX)
        branch.tools, branch.call_digests = contents.tools, call_digests
        return branch

    def _open_branch(self, name: str) -> Branch:
        identity = self.identity
        if name == identity.session:
            branch = Branch(identity.agent, name, last_request_s=self.last_sync_s)
        else:
            branch = Branch(identity.agent, name, parent=identity.session)
        self.branches[name] = branch
        for gone in drop_oldest(self.branches, BRANCHES_MAX):
            kept = {at: tuple(t for t in twins if t.name != gone) for at, twins in self._by_fingerprint.items()}
            self._by_fingerprint = {fingerprint: twins for fingerprint, twins in kept.items() if twins}
        return branch

    def _find_continued(self, contents: BodyContents, segments: Sequence[Segment]) -> Branch | None:
        """By exchanges it shares with a window we know; after a host's compaction, by its tools alone."""
        # Texts recur in every thread, and some hosts count their calls from 0 in each: an exchange is known by id and
        # content together.
        ours = [(s.id, contents.digests[s.id]) for s in segments if s.kind is Kind.EXCHANGE]
        best, most = None, SHARED_MIN - 1
        for branch in self.branches.values():
            shared = sum(branch.known_digests.get(id_) == content for id_, content in ours)
            if shared > most:
                best, most = branch, shared
        if best is None and any(segment.kind is Kind.SUMMARY for segment in segments):
            alike = [branch for branch in self.branches.values() if branch.tools == contents.tools and contents.tools]
            best = max(alike, key=lambda branch: branch.last_request_s, default=None)
        return best

    def _new_name(
        self, contents: BodyContents, segments: Sequence[Segment], fingerprint: tuple[bytes, str], twins: int
    ) -> str:
        own = self.identity.session
        if own not in self.branches and self._may_be_main(contents, segments):
            return own
        told_apart = fingerprint[0] + fingerprint[1].encode() + (b"~%d" % (twins + 1) if twins else b"")
        return f"{own}/{blake2b(told_apart, digest_size=4).hexdigest()}"

    def _may_be_main(self, contents: BodyContents, segments: Sequence[Segment]) -> bool:
        # Titles and the like carry no tools. A client that names its session by our header may well have none.
        if not contents.tools and self.identity.agent != CLIENT:
            return False
        is_summary = any(segment.kind is Kind.SUMMARY for segment in segments)
        if not self.known_ids or is_summary or _first_prompt(segments) in self.known_ids:
            return True
        return sum(s.id in self.known_ids for s in segments if s.kind is Kind.EXCHANGE) >= SHARED_MIN


def _continued_twin(twins: Sequence[Branch], call_digests: frozenset[tuple[str, bytes]]) -> Branch | None:
    """Which of the threads that begin alike has these calls.

    A main thread has no twin: whatever its host does to it, it is the one. Of children that were begun with the same
    words, at once or one after the other, each has calls of its own, or none yet.
    """
    for branch in reversed(twins):
        if not branch.parent or branch.call_digests & call_digests or not branch.call_digests:
            return branch
    return None


def _first_prompt(segments: Iterable[Segment]) -> str:
    prompts = (s.id for s in segments if s.role is Role.USER and s.kind in (Kind.USER, Kind.SUMMARY))
    return next(prompts, "")
