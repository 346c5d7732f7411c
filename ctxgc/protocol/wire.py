"""`window.sync`: the gateway's request as segments, and the daemon's tombstones for its bodies.

request ──parse──▶ ids in order, new content, the last bill ──────────────▶ daemon
request ◀──splice── a tombstone for each body that is out              ◀── daemon
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ctxgc.protocol.params import FolderPath, Name, Params, Tokens, WireFormatName
from ctxgc.protocol.replies.reply import Reply

WINDOW_SEGMENTS_MAX = 100_000

DIGEST_CHARS_MAX = 64
BREAKPOINTS_MAX = 64
"""Cache breakpoints of a request. Providers take fewer, and refuse what is more."""

Digest = Annotated[str, Field(max_length=DIGEST_CHARS_MAX)]
GatewayMode = Literal["shadow", "on", "off"]


class Usage(Params):
    """The provider's bill for a request and its reply, in billed tokens."""

    input_tokens: Tokens = 0
    """Input tokens that were neither read from the cache nor written to the cache."""
    cache_read_tokens: Tokens = 0
    cache_creation_tokens: Tokens = 0
    output_tokens: Tokens = 0
    is_of_this: bool = False
    """Whether the bill is of this request; else it is of the session's last `window.sync`."""


class SentMark(Params):
    """A cache breakpoint of a request as sent."""

    segments: Annotated[int, Field(ge=0, le=WINDOW_SEGMENTS_MAX)]
    """Segments of `ids` that are whole in front of the breakpoint; 0: the breakpoint stands on the hidden prefix."""
    life_s: Annotated[float, Field(ge=0, le=86_400)]


class SentCache(Params):
    """A request in the view of the provider's cache, with the edits and breakpoints of its sending."""

    settings: Annotated[list[Digest], Field(min_length=2, max_length=2)]
    """Digests of the settings (model, tools) that end every entry on a change, and of the settings that end the entries
    of the messages only."""
    hidden_blocks: Annotated[int, Field(ge=0, le=WINDOW_SEGMENTS_MAX)] = 0
    """Blocks in front of the first segment: tools."""
    blocks: Annotated[list[Annotated[int, Field(ge=0, le=WINDOW_SEGMENTS_MAX)]], Field(max_length=WINDOW_SEGMENTS_MAX)]
    """For each of `ids` the blocks that it consists of."""
    marks: Annotated[list[SentMark], Field(max_length=BREAKPOINTS_MAX)]
    """In the order of the prompt, a breakpoint of the gateway's own among them."""
    system_segments: Annotated[int, Field(ge=0, le=WINDOW_SEGMENTS_MAX)] = 0
    """Segments of the system prompt: breakpoints up to there stand still."""
    own_mark: Annotated[int, Field(ge=-1, le=BREAKPOINTS_MAX)] = -1
    """Index of the gateway's own breakpoint among `marks`; -1: no own breakpoint."""
    can_mark: bool = False
    """Whether the gateway can put a breakpoint of its own into the next request."""


class SentBefore(Params):
    """The edits and breakpoints of a request whose `window.sync` came too early."""

    edited: Annotated[list[Name], Field(max_length=WINDOW_SEGMENTS_MAX)]
    """Ids whose tombstones stood in the request."""
    marks: Annotated[list[SentMark], Field(max_length=BREAKPOINTS_MAX)]
    """Breakpoints that the upstream took, in the order of the prompt; segments are counted in that request's `ids`."""


class WindowSync(Params):
    """Make a session's window exactly that of a request, learn from the last bill, and name the bodies that are to be
    out.

    A repeated sync changes no state. Where `unknown` comes back the window is unchanged: send those segments in `new`.
    """

    session: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}:.+$", max_length=512)]
    """`source:session`, in full: a gateway never guesses. A new session is created."""
    format: WireFormatName
    project: FolderPath = ""
    model: Name = ""
    parent: Name = ""
    """The parent of a sub-agent's session, of the same source."""
    parent_segment: Name = ""
    ids: Annotated[list[Name], Field(max_length=WINDOW_SEGMENTS_MAX)] = []
    """The request's segments in order. Empty: only admit `new`, ahead of a window that does not fit in one line."""
    digests: Annotated[list[Digest], Field(max_length=WINDOW_SEGMENTS_MAX)] = []
    """The content digest of each of `ids` in this request, as hex; absent: the digest of the last sync with the id.

    Hosts use ids again: a body is out only while its id stands for the stored content. Where the daemon cannot tell,
    the id comes back in `unknown`. A client may make digests in any way that is equal for equal segments.
    """
    new: Annotated[list[dict[str, Any]], Field(max_length=WINDOW_SEGMENTS_MAX)] = []
    """Segments that the daemon may not know, as `export` writes them; `fixed` names pieces without a span of their own,
    `digest` is as in `digests`, for a client that makes its own, and `elisions` are the pointers of `window.enter` that
    the request went out with. A tool call's `facts` and `paths` are kept as they
    come; for a tool call without `facts` the daemon derives both from the call.

    A segment that was pending before comes again, and so does a segment with new content under an old id.
    """
    fixed: Annotated[list[Name], Field(max_length=WINDOW_SEGMENTS_MAX)] = []
    """Ids of the request that cannot be edited at all: signed, opaque, pending."""
    held: Annotated[list[Name], Field(max_length=WINDOW_SEGMENTS_MAX)] = []
    """Ids of the request whose bodies must not leave now: another hand edits them. A body that is out stays out."""
    edited: list[Name] | None = None
    """Ids whose tombstones stood in the forwarded request; absent: every tombstone in force, in shadow none."""
    usage: Usage | None = None
    cache: SentCache | None = None
    """How the provider's cache sees this request; absent: the daemon assumes that the request's prefix is cached."""
    was_answered: bool = True
    """Whether the request of the session's last `window.sync` was answered with 200. Another leaves nothing cached."""
    was_sent: SentBefore | None = None
    """How the request of the session's last `window.sync` went upstream; absent: as that sync said."""
    is_cold: bool = False
    """The prompt cache is gone, and the request waits for this answer: a collection applies to the request already."""
    mode: GatewayMode | None = None
    """The session's mode from now on; absent: the mode stays, and a new session is in shadow."""
    can_recall: bool = True
    """The agent can run `ctxgc recall`; else tombstones say to make the call again. Constant for a session."""
    profile: (
        Literal["cache_5m", "cache_1h", "openai", "openai_5_6", "openai_6_1", "subscription", "uncached", "flat"] | None
    ) = None
    """How the provider bills this session's prompts, as the request says; a configured profile wins over it."""
    window_max_tokens: Tokens = 0
    """The hard limit of this run on the window, in billed tokens; 0: none. The session's own limit comes before it."""


class WindowEnter(Params):
    """Ask for the pointers of results that no request has carried yet, before their request goes upstream.

    A result shows by a pointer the lines that the window shows already; the client puts the pointers in, and sends
    them with the segment in the next `window.sync`. Nothing changes.
    """

    session: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}:.+$", max_length=512)]
    project: FolderPath = ""
    new: Annotated[list[dict[str, Any]], Field(max_length=WINDOW_SEGMENTS_MAX)]
    """The new tool calls in the order of the request, as in `window.sync`. A result has a single text."""
    after: Name | None = None
    """The last tool call of the window before these calls; absent: not known, and pointers count no calls."""


class EnterReply(Reply, frozen=True):
    """The elisions of each result with pointers, by id: `[first line, lines, target's id, target's first line, shift of
    the line numbers, saved tokens, note]`, lines counted from 0. The note stands in the place of the lines.
    """

    session: str
    elisions: dict[str, list[list[Any]]]


class EvictedReply(Reply, frozen=True):
    """A tombstone in place of a body: `text` for its result (else its first piece), `marker` for each other piece."""

    text: str
    marker: str


class SyncVictimReply(Reply, frozen=True):
    """A body that left in a collection, and why."""

    id: str
    reason: str
    freed_tokens: int


class SyncPlanReply(Reply, frozen=True):
    """A collection decided now; in shadow a collection that would have run. Tokens are raw."""

    collection: int
    """Its number in the journal."""
    trigger: str
    """`value`, `hard_limit`; the journal of a shadow session says `shadow`."""
    evicted: int
    freed_tokens: int
    predicted_cost: float
    cache_rewrite_tokens: int
    victims: list[SyncVictimReply]
    predicted_read_tokens: int
    """Billed tokens that the request in which the collection takes hold is predicted to read from the cache."""


class WindowReply(Reply, frozen=True):
    """The window in the form of the next request."""

    segments: int
    resident_tokens: int
    """Raw, tombstones in force counted as such."""
    billed_tokens: int
    """In the model's own tokens, system prompt and tools included."""
    freed_tokens: int
    """Raw tokens that are out; in shadow, that would be out."""
    ratio: float
    cache_hit_rate: float
    """Part of all prompt tokens billed since the session woke that was read from the cache."""


class SyncReply(Reply, frozen=True):
    """`window.sync`."""

    session: str
    mode: str
    """The mode in force now: `shadow`, `on` or `off`."""
    evicted: dict[str, EvictedReply]
    """Every body of the window that is out, by id; empty unless the mode is `on`. Constant between collections."""
    unknown: list[str]
    """Ids to be sent in `new`; a non-empty list leaves the window as it was."""
    conflicts: list[str]
    """Ids whose content in this request differs from the stored content: not evicted while it differs.

    The differing content is stored too, once the client sent it, under a name of its own and as departed.
    """
    plan: SyncPlanReply | None
    window: WindowReply
    changed: str
    elided: dict[str, list[list[Any]]] | None = None
    """The runs of lines that each resident result does not show itself, by id: `[first line, lines, note, target]`,
    lines counted from 0. The note is a pointer, or a tombstone of lines once the pointer's target left the window."""
    next: str | None = None
