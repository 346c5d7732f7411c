"""`window.sync`: the gateway's request as segments, and the daemon's tombstones for its bodies.

request ──parse──▶ ids in order, new content, the last bill ──────────────▶ daemon
request ◀──splice── a tombstone for each body that is out              ◀── daemon
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ctxgc.protocol.params import Name, Params, Tokens, WireFormatName
from ctxgc.protocol.replies.reply import Reply

WINDOW_SEGMENTS_MAX = 100_000

DIGEST_CHARS_MAX = 64

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


class WindowSync(Params):
    """Make a session's window exactly that of a request, learn from the last bill, and say which bodies are to be out.

    A repeated sync changes nothing. Where `unknown` comes back the window is as it was: send those segments in `new`.
    """

    session: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}:.+$", max_length=512)]
    """`source:session`, in full: a gateway never guesses. A new session is created."""
    format: WireFormatName
    project: Annotated[str, Field(max_length=4096)] = ""
    model: Name = ""
    parent: Name = ""
    """The session of the same source that this one is a sub-agent of."""
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
    and `digest` is as in `digests`, for a client that makes its own. An exchange's `facts` and `paths` are kept as they
    come; for an exchange without `facts` the daemon derives both from the call.

    A segment that was pending before comes again, and so does a segment with new content under an old id.
    """
    fixed: Annotated[list[Name], Field(max_length=WINDOW_SEGMENTS_MAX)] = []
    """Ids of the request that cannot be edited at all: signed, opaque, pending."""
    edited: list[Name] | None = None
    """Ids whose tombstones stood in the forwarded request; absent: every tombstone in force, in shadow none."""
    usage: Usage | None = None
    is_cold: bool = False
    """The prompt cache is gone, and the request waits for this answer: a collection applies to the request already."""
    mode: GatewayMode | None = None
    """The session's mode from now on; absent: the mode stays, and a new session is in shadow."""
    can_recall: bool = True
    """The agent can run `ctxgc recall`; else tombstones say to make the call again. Constant for a session."""
    profile: Literal["cache_5m", "cache_1h", "openai", "subscription", "uncached", "flat"] | None = None
    """How the provider bills this session's prompts, as the request says; a configured profile wins over it."""
    window_max_tokens: Tokens = 0
    """The hard limit of this run on the window, in billed tokens; 0: none. The session's own limit comes before it."""


class EvictedReply(Reply, frozen=True):
    """A tombstone in place of a body: `text` for its result (else its first piece), `marker` for each other piece."""

    text: str
    marker: str


class SyncPlanReply(Reply, frozen=True):
    """A collection decided now; in shadow one that would have run. Tokens are raw."""

    collection: int
    """Its number in the journal."""
    trigger: str
    """`value`, `hard_limit`; the journal of a shadow session says `shadow`."""
    evicted: int
    freed_tokens: int
    predicted_cost: float
    cache_rewrite_tokens: int


class WindowReply(Reply, frozen=True):
    """The window as the next request would send it."""

    segments: int
    resident_tokens: int
    """Raw, tombstones in force counted as such."""
    billed_tokens: int
    """In the model's own tokens, hidden prefix included."""
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
    next: str | None = None
