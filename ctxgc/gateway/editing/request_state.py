"""A call to a model with an identity, from its arrival until the daemon knows of the call.

    arrives ──▶ is_read ──▶ is_placed ──▶ is_synced    by the syncer: its contents, its branch, the tombstones in force
       └─────▶ is_sent ──▶ reply                       by the editor, the tombstones in it; by the server, its bill

Each state is entered once, by its only owner, and holds a value from then on; a failure ends the upper row with its
reason. No other code writes to a call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from ctxgc.core.pacing.provider_cache import CacheBreakpoint
from ctxgc.gateway.body.content_coding import decode_body
from ctxgc.gateway.body.request_body import EDITED_BYTES_MAX, BodyContents
from ctxgc.gateway.body.splice_memo import OwnBreakpoint
from ctxgc.gateway.identity.agent_session import AgentSession, Branch, ReplyProgress
from ctxgc.gateway.metrics import Reason

T = TypeVar("T")


class Latch(Generic[T]):
    """A state that is entered once, with a value for every waiting task. Belongs to a single loop."""

    def __init__(self) -> None:
        self._is_set = asyncio.Event()
        self._value: T | None = None

    def set(self, value: T) -> None:
        """Enter the state; a second value has no effect."""
        if not self._is_set.is_set():
            self._value = value
            self._is_set.set()

    async def wait(self) -> T:
        """The value, as soon as the state is entered."""
        await self._is_set.wait()
        return self._value  # type: ignore[return-value]  # Set before the event.

    @property
    def value(self) -> T | None:
        """The value; None before the state is entered."""
        return self._value


class Placement(NamedTuple):
    """The branch of a request, and the consequences of the branch."""

    branch: Branch
    mode: str
    """`on`, or `shadow`: this request must not be edited, whatever the settings say."""
    is_cold: bool
    """The pause before the request was longer than the provider keeps its cache."""
    waits: bool
    """The request is held back for the daemon's answer, which applies to this very request."""


class ForwardedEdit(NamedTuple):
    """The edit with which a request went upstream."""

    ids: frozenset[str] = frozenset()
    """Segments whose tombstones stand in the request."""
    branch: Branch | None = None
    """The branch of those segments."""
    own: OwnBreakpoint | None = None
    """The breakpoint of our own in the request."""
    elided: frozenset[str] = frozenset()
    """Results that stand in the request with pointers."""


@dataclass(slots=True, eq=False)
class ModelCall:
    """A request and its reply. Belongs to a single loop."""

    session: AgentSession
    wire: str
    parts: Sequence[bytes]
    """The body, in the pieces that were read."""
    mode: str
    coding: str = ""
    """The content coding of `parts`; empty once they are decoded."""
    sub_agent: str = ""
    """The sub-agent that asks, if the headers name one."""
    is_untouched: bool = False
    """The call is counted as one with nothing to edit, which its contents may still belie."""
    is_held_back: bool = False
    """The request itself waits until its branch is known."""
    has_entered: bool = False
    """The request continues the last list of its branch, and its new results are looked at."""
    arrived_s: float = field(default_factory=time.monotonic)
    reply: ReplyProgress = field(default_factory=ReplyProgress)
    is_read: Latch[BodyContents | Reason] = field(default_factory=Latch)
    is_placed: Latch[Placement | Reason] = field(default_factory=Latch)
    is_synced: Latch[Reason | None] = field(default_factory=Latch)
    """Holds None after the daemon's answer, or when a newer call of the branch takes this one's place."""
    is_sent: Latch[ForwardedEdit] = field(default_factory=Latch)

    @property
    def body(self) -> bytes:
        """The plain body in a single piece. Raises `BadCoding` and `BodyTooLong`.

        The worker joins and decodes the pieces: on the loop a megabyte would be felt.
        """
        if len(self.parts) != 1 or self.coding:
            self.parts = [decode_body(b"".join(self.parts), self.coding, EDITED_BYTES_MAX)]
            self.coding = ""
        return self.parts[0]

    @property
    def size(self) -> int:
        """Bytes of the body as kept now: compressed, until the body is read."""
        return sum(map(len, self.parts))

    def drop_body(self) -> None:
        """Keep the body no longer: a streamed call lives until its reply ends."""
        self.parts = ()

    @property
    def contents(self) -> BodyContents | None:
        """The contents of the body, once read."""
        return contents if isinstance(contents := self.is_read.value, BodyContents) else None

    @property
    def branch(self) -> Branch | None:
        """The branch of the call, once known."""
        if isinstance(placement := self.is_placed.value, Placement):
            return placement.branch
        return edit.branch if (edit := self.is_sent.value) else None

    @property
    def edited_ids(self) -> frozenset[str]:
        """Ids whose tombstones stood in the request that went upstream; none before."""
        return edit.ids if (edit := self.is_sent.value) else frozenset()

    @property
    def elided_ids(self) -> frozenset[str]:
        """Results that stood in the request that went upstream with pointers; none before."""
        return edit.elided if (edit := self.is_sent.value) else frozenset()

    async def wait_for_edited_ids(self, timeout_s: float) -> frozenset[str]:
        """Ids whose tombstones stand in the request as sent; none, if the editor does not decide in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.is_sent.wait()
        return self.edited_ids

    @property
    def own_breakpoint(self) -> CacheBreakpoint | None:
        """The breakpoint of our own in the request that the upstream took."""
        edit = self.is_sent.value
        return (
            edit.own.breakpoint
            if edit is not None and edit.own is not None and not self.is_breakpoint_refused
            else None
        )

    @property
    def is_breakpoint_refused(self) -> bool:
        """Whether the upstream refused the request with our breakpoint, and took the request without."""
        return self.reply.is_breakpoint_refused

    @is_breakpoint_refused.setter
    def is_breakpoint_refused(self, is_refused: bool) -> None:
        self.reply.is_breakpoint_refused = is_refused

    def fail(self, reason: Reason) -> None:
        """End the upper row: the daemon does not get this call, or did not answer."""
        self.is_read.set(reason)
        self.is_placed.set(reason)
        self.is_synced.set(reason)
