"""The branches of a session: the main branch, and branches of sub-agents, told apart by content.

    AgentSession (one id of the agent) ── main     ID             the first with tools, or known to the daemon as ID
                                       ├─ child    ID/ab12cd34    other tools, or another first prompt of the user
                                       └─ child    …

Agents ask for sub-agents, titles and summaries under the id of the session. Tools and the first prompt identify a
branch; after a rewind, a compaction or a fork by the host, the tool calls that the new window shares with the old
window do. Tool calls tell apart children that begin alike, as long as the gateway lives: after a restart the first
child to ask takes the first child's name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

from ctxgc.core.bounded_dict import drop_oldest_entries
from ctxgc.core.entry.elisions import ShownLines
from ctxgc.core.pacing.provider_cache import LEAST_MIN_TOKENS
from ctxgc.core.segment import Kind, Role, Segment
from ctxgc.gateway.billing.usage import ReplyUsage
from ctxgc.gateway.body.branch_cache import BranchCache
from ctxgc.gateway.body.list_tail import ListHead
from ctxgc.gateway.body.request_body import BodyContents
from ctxgc.gateway.body.splice_memo import WIDE_CALLS, EvictedBody, SpliceMemo
from ctxgc.gateway.identity.headers import Identity
from ctxgc.protocol.agents import TOOLLESS

SESSIONS_MAX = 512
BRANCHES_MAX = 64
"""Branches of one session. The gateway forgets the oldest; the daemon knows that branch still."""
SHARED_MIN = 2
"""Tool calls that two windows must share to belong to one branch."""


@dataclass(slots=True, eq=False)
class ReplyProgress:
    """The bill and the beginning of a reply while the reply streams past."""

    usage: ReplyUsage | None = None
    """The bill, at the end of the reply."""
    is_answer: bool = False
    """Whether the upstream answered with 200: then the request has left its entries in the provider's cache."""
    calls: int = 0
    """Tool calls that the reply asks for, as far as its bill could be read."""
    is_breakpoint_refused: bool = False
    """Whether the upstream refused the request with our breakpoint, and took it without."""
    began: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the reply's first byte has gone to the agent."""

    async def wait_until_begun(self, timeout_s: float) -> None:
        """Wait until the reply's first byte has gone to the agent, at most for the time-out."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.began.wait()

    def end(self, usage: ReplyUsage | None, calls: int) -> None:
        """Take the facts of a reply that is over. Each carrier of replies ends here, so that no fact is left out."""
        self.usage = usage
        self.calls = calls
        self.began.set()


class LateEdit(NamedTuple):
    """Edits and breakpoints of a sent request, in the daemon's form, beyond the request's sync."""

    ids: Sequence[str]
    breakpoints: Sequence[Mapping[str, Any]]
    host_breakpoints: Sequence[Mapping[str, Any]]
    """The host's breakpoints alone."""
    synced: tuple[Sequence[str] | None, Sequence[Mapping[str, Any]]]
    """Ids and breakpoints in the request's own sync; `None`: that sync came before the edit."""


class ElidedBody(NamedTuple):
    """A result that goes upstream with pointers: the elided runs with their notes, and the digest of the content."""

    runs: tuple[ShownLines, ...]
    digest: bytes
    targets: Mapping[str, bytes]
    """Digest of the content of each target."""

    def runs_with_targets(self, digests: Mapping[str, bytes]) -> tuple[ShownLines, ...]:
        """The runs whose targets stand in a request with these digests, with the same content."""
        return tuple(run for run in self.runs if digests.get(run.target, b"") == self.targets[run.target])


@dataclass(slots=True, eq=False)
class Branch:
    """A branch in the gateway's knowledge: a cache of the daemon's answers. Mutable, owned by the gateway's loop."""

    agent: str
    name: str
    parent: str = ""
    tools: bytes = b""
    call_digests: frozenset[tuple[str, bytes]] = frozenset()
    """Tool calls of the last request, each by id and content."""
    synced_ids: tuple[str, ...] = ()
    """Ids of the window that the daemon got last."""
    known_digests: Mapping[str, bytes] = field(default_factory=dict)
    """Digest of the content under each id of that window."""
    tombstones: dict[str, EvictedBody] = field(default_factory=dict)
    """Tombstones in force, kept here so that the loss of the daemon brings no body back (I14)."""
    elided: dict[str, ElidedBody] = field(default_factory=dict)
    """Results that go upstream with pointers, by id."""
    elisions: dict[str, list[list[Any]]] = field(default_factory=dict)
    """The elisions of those results in the daemon's form, for their records."""
    carried: set[str] = field(default_factory=set)
    """Ids of the tool calls of the last request: their results went upstream, whole or with pointers."""
    head: ListHead | None = None
    """The list of the last request, where results are shortened at entry."""
    memo: SpliceMemo | None = None
    cache: BranchCache = field(default_factory=BranchCache)
    """The branch in the provider's cache."""
    reply: ReplyProgress | None = None
    """The reply to the window of `synced_ids`."""
    late_edit: LateEdit | None = None
    """How the request of `synced_ids` was sent."""
    charges_writes: bool = True
    """Whether the last bill of a long new part had tokens written to the cache, or no such bill has come."""
    is_barred: bool = False
    """Whether the upstream refused an edited request and took the original: requests are edited no more."""
    synced_mode: str = ""
    """The mode that the daemon got last."""
    last_request_s: float = 0.0
    """When the last request came, on the monotonic clock; 0 before the first."""
    cache_ttl_s: float | None = None
    """Seconds for which the provider keeps the cache that the last request wrote."""

    def is_cache_cold(self, now_s: float) -> bool:
        """Whether the provider's cache of this branch is gone."""
        return (
            self.cache_ttl_s is not None
            and bool(self.last_request_s)
            and now_s - self.last_request_s > self.cache_ttl_s
        )

    def update_charges_writes(self) -> None:
        """Learn from the bill of the last reply, if there is one, whether writes to the cache are charged."""
        usage = self.reply.usage if self.reply is not None else None
        if usage is not None and usage.input_tokens + usage.cache_creation_tokens >= LEAST_MIN_TOKENS:
            self.charges_writes = usage.cache_creation_tokens > 0

    def store_memo(self, memo: SpliceMemo | None) -> None:
        """Keep a memo for the next request, without a breakpoint where breakpoints are refused."""
        self.memo = memo.without_breakpoint() if memo is not None and self.cache.is_barred else memo

    def bar_own_breakpoint(self) -> None:
        """Put no further breakpoint of our own into requests of this branch."""
        self.cache.is_barred = True
        self.store_memo(self.memo)

    @property
    def may_miss_host_cache(self) -> bool:
        """Whether the last reply asks for many calls at once, or the last turn did."""
        calls = self.reply.calls if self.reply is not None else 0
        is_wide = calls >= WIDE_CALLS or self.cache.added_blocks >= 2 * WIDE_CALLS
        return is_wide and not self.cache.is_barred

    def stop_editing(self) -> None:
        """Edit no further request of this branch."""
        self.is_barred = True
        self.tombstones, self.memo, self.elided, self.head = {}, None, {}, None

    @property
    def session_name(self) -> str:
        """The daemon's name for the session."""
        return f"{self.agent}:{self.name}"


class AgentSession:
    """All branches under an agent's id. Mutable."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.branches: dict[str, Branch] = {}
        self.window_max_tokens = 0
        """The size that the session's run holds its window to; 0: none."""
        self.project = ""
        """The folder that relative paths belong to, where a client names the folder."""
        self.bars_breakpoints = False
        """Whether no request of the session carries a breakpoint of ours, because a client cannot place one."""
        self.parent = ""
        """The session that started this one, if the agent's headers name it."""
        self.known_ids: frozenset[str] | None = None
        """Ids that the daemon has under the session's own name; `None` before the daemon was asked."""
        self.last_sync_s = 0.0
        """When the daemon last heard of the main branch, on the monotonic clock; 0: never."""
        self.is_resumed = False
        """Whether the daemon keeps bodies of this session out, and has not been asked yet which."""
        self._by_fingerprint: dict[tuple[bytes, str], tuple[Branch, ...]] = {}

    @property
    def has_stand_ins(self) -> bool:
        """Whether a tombstone or a pointer is in force in any branch."""
        return any(branch.tombstones or branch.elided for branch in self.branches.values())

    @property
    def may_miss_host_cache(self) -> bool:
        """Whether the session asks for so many calls at once that the host may miss the cache."""
        return any(branch.may_miss_host_cache for branch in self.branches.values())

    def find_memo_branch(self, body: bytes) -> Branch | None:
        """The branch whose memo this body begins with; of several the branch with the longest memo."""
        matches = [t for t in self.branches.values() if t.memo is not None and body.startswith(t.memo.head)]
        return max(matches, key=lambda branch: len(branch.memo.head) if branch.memo else 0, default=None)

    def find_list_match(self, body: bytes) -> tuple[Branch, int] | None:
        """The branch whose last list this body continues, and the cut up to which the bytes are the same."""
        matches = [
            (cut, branch)
            for branch in self.branches.values()
            if branch.head is not None and (cut := branch.head.last_common_cut(body)) is not None
        ]
        cut, best = max(matches, key=lambda match: match[0], default=(0, None))
        return None if best is None else (best, cut)

    def is_cold(self, now_s: float) -> bool:
        """Whether the provider's cache of the main branch, or of every branch, is gone."""
        main = self.branches.get(self.identity.session)
        if main is not None and main.is_cache_cold(now_s):
            return True
        return bool(self.branches) and all(branch.is_cache_cold(now_s) for branch in self.branches.values())

    def find_or_open_branch(self, contents: BodyContents, sub_agent: str = "") -> Branch:
        """The branch that the request continues; else a new branch.

        A `sub_agent` named by the headers needs no guess: the branch has the name of the transcript.
        """
        segments = [segment for segment in contents.window.segments if segment.kind is not Kind.SYSTEM]
        call_digests = frozenset((s.id, contents.digests[s.id]) for s in segments if s.kind is Kind.TOOL_CALL)
        if sub_agent:
            name = f"{self.identity.session}/{sub_agent}"
            named = self.branches.get(name) or self._open_branch(name)
            named.tools, named.call_digests = contents.tools, call_digests
            return named
        fingerprint = (contents.tools, _first_prompt_id(segments))
        twins = self._by_fingerprint.get(fingerprint, ())
        branch = _match_twin_branch(twins, call_digests) or self._find_continued_branch(contents, segments)
        if branch is None:
            name = self._new_branch_name(contents, segments, fingerprint, len(twins))
            # A child with a new fingerprint may have a known name: the same tools and prompt, told apart before.
            branch = self.branches.get(name) or self._open_branch(name)
        self._by_fingerprint[fingerprint] = (*(twin for twin in twins if twin is not branch), branch)
        drop_oldest_entries(self._by_fingerprint, 4 * BRANCHES_MAX)
        branch.tools, branch.call_digests = contents.tools, call_digests
        return branch

    def _open_branch(self, name: str) -> Branch:
        identity = self.identity
        if name == identity.session:
            branch = Branch(identity.agent, name, last_request_s=self.last_sync_s)
        else:
            branch = Branch(identity.agent, name, parent=identity.session)
        branch.cache.is_barred = self.bars_breakpoints
        self.branches[name] = branch
        for gone in drop_oldest_entries(self.branches, BRANCHES_MAX):
            kept = {at: tuple(t for t in twins if t.name != gone) for at, twins in self._by_fingerprint.items()}
            self._by_fingerprint = {fingerprint: twins for fingerprint, twins in kept.items() if twins}
        return branch

    def _find_continued_branch(self, contents: BodyContents, segments: Sequence[Segment]) -> Branch | None:
        """The branch with tool calls of this window; after a host's compaction, the branch with the same tools."""
        # Texts recur in every branch, and some hosts number the calls of each branch from 0: only id and content
        # together identify a tool call.
        ours = [(s.id, contents.digests[s.id]) for s in segments if s.kind is Kind.TOOL_CALL]
        best, most = None, SHARED_MIN - 1
        for branch in self.branches.values():
            shared = sum(branch.known_digests.get(id_) == content for id_, content in ours)
            if shared > most:
                best, most = branch, shared
        if best is None and any(segment.kind is Kind.SUMMARY for segment in segments):
            alike = [branch for branch in self.branches.values() if branch.tools == contents.tools and contents.tools]
            best = max(alike, key=lambda branch: branch.last_request_s, default=None)
        return best

    def _new_branch_name(
        self, contents: BodyContents, segments: Sequence[Segment], fingerprint: tuple[bytes, str], twins: int
    ) -> str:
        own = self.identity.session
        if own not in self.branches and self._may_be_main_branch(contents, segments):
            return own
        told_apart = fingerprint[0] + fingerprint[1].encode() + (b"~%d" % (twins + 1) if twins else b"")
        return f"{own}/{blake2b(told_apart, digest_size=4).hexdigest()}"

    def _may_be_main_branch(self, contents: BodyContents, segments: Sequence[Segment]) -> bool:
        # Requests for titles carry no tools. A client that names its session by our header may have no tools either.
        if not contents.tools and self.identity.agent not in TOOLLESS:
            return False
        is_summary = any(segment.kind is Kind.SUMMARY for segment in segments)
        if not self.known_ids or is_summary or _first_prompt_id(segments) in self.known_ids:
            return True
        return sum(s.id in self.known_ids for s in segments if s.kind is Kind.TOOL_CALL) >= SHARED_MIN


def is_side_call(contents: BodyContents, identity: Identity) -> bool:
    """Whether a request is no part of a conversation: titles, safety monitors and pings have no tools and no reply.

    A client that names its session by our header may ask without tools.
    """
    return identity.agent not in TOOLLESS and not contents.tools and not contents.has_replies


def _match_twin_branch(twins: Sequence[Branch], call_digests: frozenset[tuple[str, bytes]]) -> Branch | None:
    """The branch with these calls, of branches that begin alike.

    A main branch has no twin, against any host's edit of its window. Children that began with the same words, at once
    or in turn, have calls of their own, or no calls yet.
    """
    for branch in reversed(twins):
        if not branch.parent or branch.call_digests & call_digests or not branch.call_digests:
            return branch
    return None


def _first_prompt_id(segments: Iterable[Segment]) -> str:
    """The id of the first prompt or summary of the user; empty without any."""
    prompts = (s.id for s in segments if s.role is Role.USER and s.kind in (Kind.USER, Kind.SUMMARY))
    return next(prompts, "")
