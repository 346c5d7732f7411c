"""Replies of the verbs on sessions: their names and settings, and the kinds in their windows."""

from __future__ import annotations

from typing import Any

from ctxgc.protocol.replies.heap import CollectionReply, PlanReply, PriceReply
from ctxgc.protocol.replies.reply import Reply


class SessionReply(Reply, frozen=True, kw_only=True):
    """A session, in the form of `session.list`; `session.open`, `set`, `close` too."""

    session: str
    """`source:session`."""
    project: str
    parent: str
    model: str
    title: str
    rendered_by: str
    """Who renders the session's window: `agent` (ctxgc only plans), `client`, `gateway`."""
    mode: str
    """Deprecated: `rendered_by`, by its older names `observe`, `client`, `wire`."""
    task: str
    turn: int
    budget_tokens: int
    window_max_tokens: int
    created_s: float
    updated_s: float
    """The moment of the session's last record or request; reads and pins do not count."""
    skipped_records: int
    closed: bool
    changed: str | None = None
    next: str | None = None


class SessionsReply(Reply, frozen=True):
    """`session.list`."""

    sessions: list[SessionReply]
    next_offset: int


class KindTokens(Reply, frozen=True):
    """The tokens of a kind of segment in the window."""

    kind: str
    segments: int
    resident_tokens: int
    evicted_segments: int


class NextCollectionReply(Reply, frozen=True):
    """The condition of a session's next collection."""

    state: str
    """Never collected unasked: `watched`, `off`, `asked`. Else `limit`; `growing`: the pacer waits for `due_tokens`;
    `looking`: the pacer looks at each request; `cold`: the next request collects, because the cache is gone;
    `paused`: bills contradict what is known of the provider's cache, and a warm cut must pay for the whole prompt."""
    words: str
    """The condition as a sentence."""
    grown_tokens: int
    """Evictable tokens that have come since the pacer last looked."""
    due_tokens: int
    cold_in_s: float | None
    """Seconds until the prompt cache counts as cold."""
    limit_tokens: int
    """The hard limit on the window, in billed tokens; 0: no limit."""


class ShorteningReply(Reply, frozen=True):
    """What shortening would have done to the session's new results. Tokens are raw."""

    results: int
    saved_tokens: int
    """Of the lines left out, less their notes."""
    parts: int
    """Pages of some forty lines that would have been left out."""
    asked_back: int
    """Pages of which a later reply used words or lines that the model would not have seen."""
    asked_back_tokens: int


class ShowReply(SessionReply, frozen=True, kw_only=True):
    """`session.show`."""

    segments: int
    """Ever admitted; `resident`, `evicted`, `departed`, `forgotten` split them."""
    resident: int
    evicted: int
    departed: int
    departed_tokens: int
    """Tokens that the host dropped: compacted, cleared or rewound. All of them can be recalled."""
    offer: str
    """A sentence for the agent: the departed segments, and the command that brings them back. Empty without any."""
    forgotten: int
    pinned: int
    resident_tokens: int
    evictable_tokens: int
    garbage_tokens: int
    """Tokens that the eviction of all proven garbage would free."""
    billed_tokens: int
    """`resident_tokens` in the model's own tokens, system prompt and tools included."""
    system_and_tools_tokens: int
    """Billed tokens of the system prompt and the tools, which every request carries beside the window."""
    hidden_tokens: int
    """Deprecated: `system_and_tools_tokens`."""
    ratio: float
    pressure: float
    """billed_tokens over the budget, 0.0 without one."""
    kinds: list[KindTokens]
    children: list[str]
    faults: int
    collections: int
    gateway: str
    """`shadow`, `on` or `off`, as the gateway last served the session; empty before its first request."""
    freed_tokens: int
    """Raw tokens that collections took out of the window; in shadow, would have taken."""
    cache_hit_rate: float | None
    """Part of the prompt tokens billed since the session woke that was read from the cache; none without a bill."""
    saved_usd: float | None
    """What the session's newest hundred collections saved in US dollars, less their cost: by the bill, else as
    predicted; in shadow, would have saved. Null for a model without a known price."""
    price: PriceReply | None
    """The price behind the dollars."""
    last_collection: CollectionReply | None
    next_collection: NextCollectionReply
    shortening: ShorteningReply | None = None
    """What `entry.shorten = "shadow"` has counted; null without a count."""


class RenderReply(Reply, frozen=True):
    """`session.render`, `messages.collect`."""

    session: str
    format: str
    messages: Any
    """The caller's own list, shorter; or a rendered session: an object with `messages`, and `system` if it has any."""
    tokens: int
    billed_tokens: int
    evicted: int
    plan: PlanReply | None = None
    changed: str | None = None
