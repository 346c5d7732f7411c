"""`window.sync`: what the gateway tells of a session's request, and what the daemon answers.

request ──parse──▶ ids in order, content of what is new, the last bill ──▶ daemon
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
    """What the provider billed for a request, in billed tokens, and the reply to it."""

    input_tokens: Tokens = 0
    """Neither read from the cache nor written to it."""
    cache_read_tokens: Tokens = 0
    cache_creation_tokens: Tokens = 0
    output_tokens: Tokens = 0
    is_of_this: bool = False
    """Of the request told of here; else of the one that the last `window.sync` of the session told of."""


class WindowSync(Params):
    """Make a session's window exactly that of a request, learn from the last bill, and say which bodies are to be out.

    Repeating it changes nothing. Where `unknown` comes back the window is as it was: send those segments in `new`.
    """

    session: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}:.+$", max_length=512)]
    """`source:session`, in full: a gateway never guesses. It is created when it is new."""
    format: WireFormatName
    project: Annotated[str, Field(max_length=4096)] = ""
    model: Name = ""
    parent: Name = ""
    """The session of the same source that this one is a sub-agent of."""
    parent_segment: Name = ""
    ids: Annotated[list[Name], Field(max_length=WINDOW_SEGMENTS_MAX)] = []
    """The request's segments in order. Empty: only admit `new`, ahead of a window that does not fit in one line."""
    digests: Annotated[list[Digest], Field(max_length=WINDOW_SEGMENTS_MAX)] = []
    """What each of `ids` stands for in this request, as hex; absent: what it stood for when it was told.

    Hosts use ids again: a body is out only while its id stands for what the stash holds. Where the daemon cannot tell,
    the id comes back in `unknown`. A digest is what the client makes of a segment, and equal for equal ones.
    """
    new: Annotated[list[dict[str, Any]], Field(max_length=WINDOW_SEGMENTS_MAX)] = []
    """Segments that the daemon may not know, as `export` writes them; `fixed` names pieces without a span of their own,
    and `digest` is as in `digests`, for a client that makes its own.

    Again what was pending before, and what has another content than an id stood for before.
    """
    fixed: Annotated[list[Name], Field(max_length=WINDOW_SEGMENTS_MAX)] = []
    """Ids of the request that cannot be edited at all: signed, opaque, pending."""
    edited: list[Name] | None = None
    """Ids whose tombstones stood in the request as it was forwarded; absent: all those in force, in shadow none."""
    usage: Usage | None = None
    is_cold: bool = False
    """The prompt cache is gone, and the request waits for this answer: what is decided applies to it already."""
    mode: GatewayMode | None = None
    """Puts the session into this mode; absent: it stays as it is, and a new one is in shadow."""
    can_recall: bool = True
    """The agent can run `ctxgc recall`; else tombstones say to make the call again. The same in all of a session."""
    profile: Literal["cache_5m", "cache_1h", "uncached", "flat"] | None = None
    """How the provider bills this session's prompts; absent: as configured."""


class EvictedReply(Reply, frozen=True):
    """What stands where a body was: `text` for its result (else its first piece), `marker` for each other piece."""

    text: str
    marker: str


class SyncPlanReply(Reply, frozen=True):
    """A collection decided now; in shadow one that would have run. Tokens are raw."""

    collection: int
    """Its number in the journal."""
    trigger: str
    """`value`, `hard_limit`; in the journal of a shadow session it is `shadow`."""
    evicted: int
    freed_tokens: int
    predicted_cost: float
    cache_rewrite_tokens: int


class WindowReply(Reply, frozen=True):
    """The window as it would be sent next."""

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
    """`shadow`, `on` or `off`: what is in force now."""
    evicted: dict[str, EvictedReply]
    """Every body of the window that is out, by id; empty unless the mode is `on`. Stays as it is until a collection."""
    unknown: list[str]
    """Ids to be sent in `new`; while there are any, the window stays as it was."""
    conflicts: list[str]
    """Ids that stand for another content here than the stash holds under them: not evicted while they do.

    That other content is stored too, once it was told, under a name of its own and as departed.
    """
    plan: SyncPlanReply | None
    window: WindowReply
    changed: str
    next: str | None = None
