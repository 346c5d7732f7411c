"""Replies of the verbs on the heap: plans, reasons, references, the journal."""

from __future__ import annotations

from ctxgc.protocol.replies.reply import Reply


class VictimReply(Reply, frozen=True):
    """A segment that a plan would evict, or a collection evicted."""

    id: str
    kind: str
    tool: str
    label: str
    """The segment in a few words: tool, path and range, or command; never text of the body."""
    reason: str
    by: str
    """The segment that proves this segment garbage, or empty."""
    freed_tokens: int
    score: float
    age_turns: int
    asked_back_after_turns: int | None = None
    """Turns from the collection to the last recall of the segment, or to a read of what its body shows; null where
    nobody asked, and in a plan."""


class ReasonReply(Reply, frozen=True):
    """The segments that a plan evicts for the same reason."""

    segments: int
    freed_tokens: int


class PlanReply(Reply, frozen=True):
    """`heap.plan`, `heap.collect`, `segment.evict`, `heap.undo`."""

    session: str
    unit: str
    """`billed` or `raw`: the unit of every number of tokens in the reply."""
    collection: int
    """0 for a plan or when nothing had to go."""
    trigger: str
    before_tokens: int
    after_tokens: int
    target_tokens: int
    freed_tokens: int
    evicted: int
    """Victims in all; `victims` lists the largest first, up to the limit asked."""
    victims: list[VictimReply]
    by_reason: dict[str, ReasonReply]
    protected_by: dict[str, int]
    """Tokens by their protection, where the target was not reached; else empty. The parts add up to `after_tokens`;
    `system_and_tools`, in billed tokens, is what the host sends before the window."""
    held_by: dict[str, int]
    """Deprecated: `protected_by`, with `hidden` for `system_and_tools`."""
    predicted_cost: float
    """Input-token equivalents over the pacer's horizon; negative is a saving."""
    cache_rewrite_tokens: int
    """Tokens behind the first edited place, which the next request pays again where a prompt cache was warm."""
    rendered_by: str
    """Who renders the session's window: `agent`, `client`, `gateway`."""
    mode: str
    """Deprecated: `rendered_by`, by its older names `observe`, `client`, `wire`."""
    effect: str
    """The effect on the agent's window, in a sentence (`planned: your agent's window is unchanged`, …)."""
    changed: str
    next: str | None = None


class StepReply(Reply, frozen=True):
    """A step of a retaining path."""

    id: str
    label: str
    edge: str
    """The reference from the step before; empty for the root."""


class KeyTermReply(Reply, frozen=True):
    """A term of the key that bodies are ranked by."""

    name: str
    log_odds: float
    """The lower the sum of the terms, the sooner the body goes."""


class WhyReply(Reply, frozen=True):
    """`heap.why`."""

    session: str
    id: str
    label: str
    state: str
    verdict: str
    """In the window: `root`, `protected`, `garbage`, `live`, `named`, `current`, `cold`; else `evicted`, `departed`,
    `forgotten`."""
    root: str
    """Of a root its kind: `system`, `pinned`, `recent`, …"""
    path: list[StepReply]
    """From the segment that speaks for this segment, if there is one."""
    reason: str
    by: str
    collection: int
    wall_s: float
    rank: int
    """The place in the order of eviction, from 1; 0 for a segment that no collection takes now."""
    ranked: int
    """How many bodies are evictable now."""
    terms: list[KeyTermReply]
    """The terms of the segment's key, largest bodies and longest unused ones lowest."""
    explanation: str
    """The whole answer in a sentence or two."""
    next: str | None = None


class RefReply(Reply, frozen=True):
    """A reference."""

    id: str
    edge: str
    label: str


class RefsReply(Reply, frozen=True):
    """`heap.refs`."""

    session: str
    id: str
    refers_to: list[RefReply]
    referred_by: list[RefReply]


class PathReply(Reply, frozen=True):
    """`heap.path`; an empty path means there is none."""

    session: str
    path: list[StepReply]


class CollectionReply(Reply, frozen=True):
    """A line of `heap.log`; with `collection` asked for, `victims` too."""

    collection: int
    wall_s: float
    turn: int
    trigger: str
    """`asked`, `evicted_by_hand`, `value`, `hard_limit`, `undo`; `shadow`: a collection without evictions."""
    target_tokens: int
    before_tokens: int
    after_tokens: int
    evicted: int
    """The number of victims; in a `shadow` entry, of segments that would have been victims."""
    asked_back: int
    """The number of victims that were asked back since; 0 for a collection that was undone."""
    protected_by: dict[str, int]
    held_by: dict[str, int]
    """Deprecated: `protected_by`."""
    predicted_cost: float
    """Input-token equivalents over the pacer's horizon; negative is a saving."""
    actual_cost: float | None
    """The cost by the bill; null where no bill showed the cost."""
    undoes: int
    predicted_usd: float | None
    """`predicted_cost` in US dollars at the price of the session's model; null for a model without a known price."""
    actual_usd: float | None
    victims: list[VictimReply] | None = None


class PriceReply(Reply, frozen=True):
    """The list price of a model, in US dollars for a million tokens."""

    model: str
    input_usd: float
    output_usd: float
    as_of: str
    """The month in which the price was looked up; empty for a price of the user's configuration."""


class LogReply(Reply, frozen=True):
    """`heap.log`. Tokens are raw: a journal entry never changes, while the ratio is still being learnt."""

    session: str
    collections: list[CollectionReply]
    ratio: float
    """Billed tokens for each raw one, now."""
    system_and_tools_tokens: int
    """Billed tokens of a window beside those: the system prompt and the tools."""
    hidden_tokens: int
    """Deprecated: `system_and_tools_tokens`."""
    price: PriceReply | None = None
    """The price behind the dollars; null for a model without a known price."""
    pause: str | None = None
    """Why the pacer stands back now, and for how many turns; null where the pacer is at work."""
