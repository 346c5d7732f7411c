"""The shape of every reply of `ctxgc/1`, as typed dictionaries: what fronts may rely on.

Token counts are raw o200k unless the field says `billed`. `unit` in a reply names what its `*_tokens` are counted in.
Every reply to a mutation also carries `changed` (a sentence) and, where there is one, `next` (the next step).
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class SessionReply(TypedDict):
    """One session, as `session.list` gives it; `session.open`, `set`, `close` too."""

    session: str
    """`source:session`."""
    project: str
    parent: str
    model: str
    title: str
    mode: str
    task: str
    turn: int
    budget_tokens: int
    window_max_tokens: int
    created_s: float
    updated_s: float
    """When something was last said in it: its transcript's last record, or a request; no reading or pinning."""
    skipped_records: int
    closed: bool
    changed: NotRequired[str]
    next: NotRequired[str]


class SessionsReply(TypedDict):
    """`session.list`."""

    sessions: list[SessionReply]
    next_offset: int


class KindTokens(TypedDict):
    """What one kind of segment holds in the window."""

    kind: str
    segments: int
    resident_tokens: int
    evicted_segments: int


class NextCollectionReply(TypedDict):
    """What a session's next collection waits for."""

    state: str
    """Nobody collects it unasked: `watched`, `off`, `asked`. Else `limit`; `growing`: not looked at before
    `due_tokens` have come; `looking`: at each request; `cold`: with the next one, because the cache is gone."""
    words: str
    """All of it as a sentence."""
    grown_tokens: int
    """Evictable tokens that have come since the pacer last looked."""
    due_tokens: int
    cold_in_s: float | None
    """Seconds until the prompt cache counts as cold."""
    limit_tokens: int
    """The hard limit on the window, in billed tokens; 0: none."""


class ShowReply(SessionReply):
    """`session.show`."""

    segments: int
    """Ever admitted; `resident`, `evicted`, `departed`, `forgotten` split them."""
    resident: int
    evicted: int
    departed: int
    forgotten: int
    pinned: int
    resident_tokens: int
    evictable_tokens: int
    garbage_tokens: int
    """Freed by evicting what is proven garbage."""
    billed_tokens: int
    """`resident_tokens` in the model's own tokens, hidden prefix included."""
    hidden_tokens: int
    ratio: float
    pressure: float
    """billed_tokens over the budget, 0.0 without one."""
    kinds: list[KindTokens]
    children: list[str]
    faults: int
    collections: int
    gateway: str
    """`shadow`, `on` or `off`, as the gateway last served it; empty where it has not since the session woke."""
    freed_tokens: int
    """Raw tokens that are out of the window; in shadow, that would be out."""
    cache_hit_rate: float | None
    """Part of the prompt tokens billed since the session woke that was read from the cache; none without a bill."""
    last_collection: CollectionReply | None
    next_collection: NextCollectionReply


class SegmentReply(TypedDict):
    """A segment without content, as `segment.list` gives it."""

    id: str
    seq: int
    kind: str
    role: str
    state: str
    departure: str
    """`rewound`, `host_compacted`, `host_cleared` or empty."""
    place: int
    born_turn: int
    touched_turn: int
    touches: int
    tokens: int
    """Skeleton and body; what it costs in the window when resident."""
    body_tokens: int
    tombstone_tokens: int
    tool: str
    status: str
    command: str
    paths: list[dict[str, Any]]
    """`{path, access, first_line, last_line}`; a whole file has `last_line` 0."""
    digest: str
    """Hexadecimal content digest."""
    is_pinned: bool
    has_opaque: bool
    garbage: str
    garbage_by: str
    """Id of the segment that proves it."""
    redactions: int
    task: str
    tags: list[str]
    importance: float
    wall_s: float
    collection: int


class PieceReply(TypedDict):
    """One piece of content: `text`, or `data_b64` where the bytes are not valid UTF-8."""

    name: str
    bytes: int
    tokens: int
    text: NotRequired[str]
    data_b64: NotRequired[str]
    next_offset: int
    """Where to go on, -1 at the end."""


class ContentReply(SegmentReply):
    """`segment.get`."""

    session: str
    skeleton: str
    """JSON text."""
    pieces: list[PieceReply]


class SegmentsReply(TypedDict):
    """`segment.list`."""

    session: str
    segments: list[SegmentReply]
    total: int
    next_offset: int


class AddReply(TypedDict):
    """`segment.add`, `add_many`, `add_file`."""

    session: str
    ids: list[str]
    added: int
    """How many were new; the rest were known already."""
    resident_tokens: int
    billed_tokens: int
    changed: str
    next: NotRequired[str]


class SegmentsChangedReply(TypedDict):
    """`pin`, `unpin`, `touch`, `tag`, `ref`."""

    session: str
    ids: list[str]
    resident_tokens: int
    billed_tokens: int
    changed: str
    next: NotRequired[str]


class VictimReply(TypedDict):
    """A segment that a plan would evict, or a collection evicted."""

    id: str
    kind: str
    tool: str
    label: str
    """What it is in a few words: tool, path and range, or command; never text of the body."""
    reason: str
    by: str
    """The segment that proves it garbage, or empty."""
    freed_tokens: int
    score: float
    age_turns: int


class PlanReply(TypedDict):
    """`heap.plan`, `heap.collect`, `segment.evict`, `heap.undo`."""

    session: str
    unit: str
    """`billed` or `raw`: of all numbers of tokens in here."""
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
    by_reason: dict[str, dict[str, int]]
    """`{reason: {"segments", "freed_tokens"}}`."""
    held_by: dict[str, int]
    """Tokens by what holds them, where the target was not reached; else empty. They add up to `after_tokens`;
    `hidden`, where that is billed, is what the host sends before the window."""
    predicted_cost: float
    """Input-token equivalents over the pacer's horizon; negative is a saving."""
    cache_rewrite_tokens: int
    """Tokens behind the first edited place: what the next request pays again where a prompt cache was warm."""
    mode: str
    effect: str
    """What it means for the agent's window, in a sentence (`planned: your agent's window is unchanged`, …)."""
    changed: str
    next: NotRequired[str]


class StepReply(TypedDict):
    """One step of a retaining path."""

    id: str
    label: str
    edge: str
    """How the step before refers to this one; empty for the root."""


class WhyReply(TypedDict):
    """`heap.why`."""

    session: str
    id: str
    label: str
    state: str
    verdict: str
    """`root`, `reached`, `unreached`, `garbage`, `evicted`, `departed`, `forgotten`."""
    root: str
    """The kind of root at the start of the path: `system`, `pinned`, `recent`, …"""
    path: list[StepReply]
    reason: str
    by: str
    collection: int
    wall_s: float
    explanation: str
    """The whole answer in a sentence or two."""
    next: NotRequired[str]


class RefReply(TypedDict):
    """One reference."""

    id: str
    edge: str
    label: str


class RefsReply(TypedDict):
    """`heap.refs`."""

    session: str
    id: str
    refers_to: list[RefReply]
    referred_by: list[RefReply]


class PathReply(TypedDict):
    """`heap.path`; an empty path means there is none."""

    session: str
    path: list[StepReply]


class CollectionReply(TypedDict):
    """One line of `heap.log`; with `collection` asked for, `victims` too."""

    collection: int
    wall_s: float
    turn: int
    trigger: str
    """`asked`, `evicted_by_hand`, `value`, `hard_limit`, `undo`; `shadow`: it would have run, and nothing left."""
    target_tokens: int
    before_tokens: int
    after_tokens: int
    evicted: int
    """Victims; of a `shadow` entry those that would have left."""
    held_by: dict[str, int]
    predicted_cost: float
    """Input-token equivalents over the pacer's horizon; negative is a saving."""
    actual_cost: float | None
    """The same, as the bill had it; none where no bill told."""
    undoes: int
    victims: NotRequired[list[VictimReply]]


class LogReply(TypedDict):
    """`heap.log`. Tokens are raw: what the journal holds stays what it was, while the ratio is still being learnt."""

    session: str
    collections: list[CollectionReply]
    ratio: float
    """Billed tokens for each raw one, now."""
    hidden_tokens: int
    """Billed tokens of a window beside those."""


class HitReply(TypedDict):
    """One hit of a search. `snippet` marks matches with U+0002 and U+0003."""

    session: str
    id: str
    kind: str
    tool: str
    label: str
    state: str
    tokens: int
    wall_s: float
    project: str
    score: float
    match: str
    snippet: str


class SearchReply(TypedDict):
    """`stash.search`."""

    hits: list[HitReply]
    notes: list[str]
    next_offset: int
    partial: bool


class RecallReply(TypedDict):
    """`stash.recall`. The text is data from a past session, never an instruction."""

    session: str
    recalled: list[ContentReply]
    tokens: int
    faults: int
    """Recalls of the session so far."""
    notes: list[str]
    resident_tokens: int
    billed_tokens: int
    changed: str
    next: NotRequired[str]


class ForgetReply(TypedDict):
    """`stash.forget`."""

    session: str
    forgotten: int
    erasures_pending: int
    resident_tokens: int
    billed_tokens: int
    changed: str


class RenderReply(TypedDict):
    """`session.render`, `messages.collect`."""

    session: str
    format: str
    messages: list[Any] | dict[str, Any]
    """The caller's own list, shorter; or a rendered session: an object with `messages`, and `system` if it has any."""
    tokens: int
    billed_tokens: int
    evicted: int
    plan: NotRequired[PlanReply]
    changed: NotRequired[str]
