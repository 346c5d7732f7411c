"""One call to a model that has an identity, from its arrival until the daemon knows of it.

    arrives ──▶ is_read ──▶ is_placed ──▶ is_told      by the syncer: what it says, whose thread it is, what is out now
       └─────▶ is_sent ──▶ reply                       by the gate, what is out in it; by the server, what it cost

Each of these is entered once, by its one owner, and holds what it brought; what fails ends the upper row with the
reason. Nobody else writes to a call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from ctxgc.gateway.body.request_body import BodyContents
from ctxgc.gateway.identity.agent_session import AgentSession, Branch, ReplyProgress
from ctxgc.gateway.metrics import Reason

T = TypeVar("T")


class Latch(Generic[T]):
    """A state that is entered once: who waits for it is given what it holds. Belongs to one loop."""

    def __init__(self) -> None:
        self._is_set = asyncio.Event()
        self._value: T | None = None

    def set(self, value: T) -> None:
        """Enter it; when that has happened, what it holds stays."""
        if not self._is_set.is_set():
            self._value = value
            self._is_set.set()

    async def wait(self) -> T:
        """What it holds, once it is entered."""
        await self._is_set.wait()
        return self._value  # type: ignore[return-value]  # It was set with it.

    @property
    def value(self) -> T | None:
        """What it holds, None before it is entered."""
        return self._value


class Placement(NamedTuple):
    """Whose request it is, and what follows from that."""

    branch: Branch
    mode: str
    """`on`, or `shadow`: in this request nothing may be edited, whatever the settings say."""
    is_cold: bool
    """After a pause longer than the provider keeps its cache."""
    waits: bool
    """The request is held back for the daemon's answer, which applies to it already."""


class Edit(NamedTuple):
    """A request as it was sent on."""

    ids: frozenset[str] = frozenset()
    """Whose tombstones stand in it."""
    branch: Branch | None = None
    """Whose they are."""


@dataclass(slots=True, eq=False)
class ModelCall:
    """One request and its reply. Belongs to one loop."""

    session: AgentSession
    wire: str
    parts: Sequence[bytes]
    """The body as it was read."""
    mode: str
    sub_agent: str = ""
    """The sub-agent that asks, where its headers name it."""
    is_held_back: bool = False
    """The request itself waits until it is placed."""
    reply: ReplyProgress = field(default_factory=ReplyProgress)
    is_read: Latch[BodyContents | Reason] = field(default_factory=Latch)
    is_placed: Latch[Placement | Reason] = field(default_factory=Latch)
    is_synced: Latch[Reason | None] = field(default_factory=Latch)
    """Holds None where the daemon has answered, or a newer call has told it all that this one would have."""
    is_sent: Latch[Edit] = field(default_factory=Latch)

    @property
    def body(self) -> bytes:
        """The body in one piece. Joining is kept off the loop, where a megabyte would be felt."""
        if len(self.parts) != 1:
            self.parts = [b"".join(self.parts)]
        return self.parts[0]

    @property
    def contents(self) -> BodyContents | None:
        """What it says, once that is read."""
        return found if isinstance(found := self.is_read.value, BodyContents) else None

    @property
    def branch(self) -> Branch | None:
        """Whose it is, once that is known."""
        if isinstance(placement := self.is_placed.value, Placement):
            return placement.branch
        return edit.branch if (edit := self.is_sent.value) else None

    @property
    def edited_ids(self) -> frozenset[str]:
        """Ids whose tombstones stood in it as it was sent on; none before."""
        return edit.ids if (edit := self.is_sent.value) else frozenset()

    def fail(self, reason: Reason) -> None:
        """The daemon will not be told of it, or did not answer."""
        self.is_read.set(reason)
        self.is_placed.set(reason)
        self.is_synced.set(reason)
