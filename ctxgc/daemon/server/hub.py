"""What the connections of one server share: verbs, bounds and counts, and who must go where a bound of all is met."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from socket import socket
from typing import Any, Protocol, TypeVar

from ctxgc.core.errors import CtxgcError
from ctxgc.daemon.events import Events
from ctxgc.daemon.rpc import Dispatch, Limits, Slowlog, Traffic

T = TypeVar("T")

LONG_TURNS_MAX = 8
"""Long replies of all clients that are made at the same time."""
ROOM_LOOK_S = 0.1
"""Interval of looks at what clients have read, while a long reply waits for room."""


class HubConnection(Protocol):
    """A connection, as far as all connections together are concerned."""

    choked_s: float
    """Since when the client leaves more unread than it may; infinite while it does not."""

    @property
    def is_idle(self) -> bool:
        """Whether no request waits for its answer."""

    @property
    def unsent_bytes(self) -> int:
        """Bytes of answers that the client has not read."""

    def refuse(self, error: CtxgcError) -> None:
        """Send the reason and close, after the answers to the requests in flight."""

    def close(self) -> None:
        """Close as soon as the client has read its last answers, or at the end of the client's time."""

    def abort(self) -> None:
        """Hang up at once, and drop the answers that the client has not read."""


@dataclass(slots=True)
class Hub:
    """The verbs, bounds, counts and tasks that the connections of a server share."""

    dispatch: Dispatch
    limits: Limits
    events: Events
    serves_uid: int
    credentials: Callable[[socket], int]
    traffic: Traffic = field(default_factory=Traffic)
    slowlog: Slowlog = field(default_factory=Slowlog)
    connections: set[HubConnection] = field(default_factory=set)
    operators: deque[HubConnection] = field(default_factory=deque)
    """Connections beyond `connections_max`, the oldest first."""
    all_closed: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    long_turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LONG_TURNS_MAX))
    is_stopping: bool = False

    @property
    def is_full(self) -> bool:
        """Whether there are more connections than clients may have."""
        return self.traffic.connections > self.limits.connections_max

    def run_task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work`, which raises no error, as a task that `Server.stop` waits for; the caller keeps the bound."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def add_operator(self, connection: HubConnection) -> HubConnection | None:
        """Take in a connection beyond the bound; the idle connection that must go instead."""
        self.operators.append(connection)
        if len(self.operators) <= self.limits.operators_max:
            return None
        return next((other for other in self.operators if other.is_idle), connection)

    async def await_reply(self, method: str, answer: Awaitable[T]) -> T:
        """The verb's reply. Of long ones a few are made at the same time, and none while all unread answers are too
        much.
        """
        if not self.dispatch.has_long_reply(method):
            return await answer
        async with self.long_turns:
            while self._total_unsent_bytes() > self.limits.all_unsent_bytes_max:
                self.cut_off_stalled_clients()
                await asyncio.sleep(ROOM_LOOK_S)
            return await answer

    def _total_unsent_bytes(self) -> int:
        return sum(connection.unsent_bytes for connection in self.connections)

    def cut_off_stalled_clients(self) -> None:
        """Cut off clients without a read for a while, as long as all unread answers are beyond the bound."""
        total = self._total_unsent_bytes()
        if total <= self.limits.all_unsent_bytes_max:
            return
        until_s = time.monotonic() - self.limits.unread_s_max
        stalled = [connection for connection in self.connections if connection.choked_s < until_s]
        for connection in sorted(stalled, key=lambda stalled: -stalled.unsent_bytes):
            if total <= self.limits.all_unsent_bytes_max:
                return
            total -= connection.unsent_bytes
            connection.abort()
