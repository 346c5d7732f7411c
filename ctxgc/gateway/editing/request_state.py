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

from ctxgc.gateway.body.request_body import Asked
from ctxgc.gateway.identity.agent_session import Family, Reply, Thread
from ctxgc.gateway.metrics import Reason

T = TypeVar("T")


class Once(Generic[T]):
    """A state that is entered once: who waits for it is given what it holds. Belongs to one loop."""

    def __init__(self) -> None:
        self._entered = asyncio.Event()
        self._held: T | None = None

    def set(self, held: T) -> None:
        """Enter it; when that has happened, what it holds stays."""
        if not self._entered.is_set():
            self._held = held
            self._entered.set()

    async def wait(self) -> T:
        """What it holds, once it is entered."""
        await self._entered.wait()
        return self._held  # type: ignore[return-value]  # It was set with it.

    @property
    def now(self) -> T | None:
        """What it holds, None before it is entered."""
        return self._held


class Placed(NamedTuple):
    """Whose request it is, and what follows from that."""

    thread: Thread
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
    thread: Thread | None = None
    """Whose they are."""


@dataclass(slots=True, eq=False)
class Call:
    """One request and its reply. Belongs to one loop."""

    family: Family
    wire: str
    parts: Sequence[bytes]
    """The body as it was read."""
    mode: str
    side: str = ""
    """The sub-agent that asks, where its headers name it."""
    is_held: bool = False
    """The request itself waits until it is placed."""
    reply: Reply = field(default_factory=Reply)
    is_read: Once[Asked | Reason] = field(default_factory=Once)
    is_placed: Once[Placed | Reason] = field(default_factory=Once)
    is_told: Once[Reason | None] = field(default_factory=Once)
    """Holds None where the daemon has answered, or a newer call has told it all that this one would have."""
    is_sent: Once[Edit] = field(default_factory=Once)

    @property
    def body(self) -> bytes:
        """The body in one piece. Joining is kept off the loop, where a megabyte would be felt."""
        if len(self.parts) != 1:
            self.parts = [b"".join(self.parts)]
        return self.parts[0]

    @property
    def asked(self) -> Asked | None:
        """What it says, once that is read."""
        return found if isinstance(found := self.is_read.now, Asked) else None

    @property
    def thread(self) -> Thread | None:
        """Whose it is, once that is known."""
        if isinstance(placed := self.is_placed.now, Placed):
            return placed.thread
        return edit.thread if (edit := self.is_sent.now) else None

    @property
    def edited(self) -> frozenset[str]:
        """Ids whose tombstones stood in it as it was sent on; none before."""
        return edit.ids if (edit := self.is_sent.now) else frozenset()

    def fail(self, reason: Reason) -> None:
        """The daemon will not be told of it, or did not answer."""
        self.is_read.set(reason)
        self.is_placed.set(reason)
        self.is_told.set(reason)
