"""The connections of agents: the owner of each, the time for a head, and the bound of their number.

    accept ─▶ uid of the peer ─┬─ the gateway's user ─▶ served, up to `owned`
                               └─ anybody else ──────▶ waits for its secret, up to `unproven`: the oldest makes room
    no whole head within `HEAD_S`, or more than `HEAD_BYTES_MAX` of one ─▶ closed

So a stranger of this machine, whatever he opens and leaves half said, takes none of the places of the gateway's user.
The HTTP library has no time for a head, and no bound of connections: this protocol stands before the library's own.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable
from typing import NamedTuple, cast

from aiohttp import web

from ctxgc.gateway.peer import Address, is_own_peer

HEAD_S = 10.0
"""Seconds within which a whole head must come, from the connection's beginning or the first byte after idling."""
HEAD_BYTES_MAX = 2 * 2**20
"""Bytes that may come before the library has found a head in them: a head, and what was read of the body behind it."""
OWNED_MAX = 1024
UNPROVEN_MAX = 64
FILES_SPARED = 64
"""Descriptors that are no connections: the library's, the log, the daemon's socket."""


class Bounds(NamedTuple):
    """How many connections there may be at once."""

    owned: int
    unproven: int


def connection_bounds(files: int) -> Bounds:
    """Bounds for a process with so many open files: a served connection takes two files, one of them upstream."""
    spare = max(files - FILES_SPARED, 8)
    unproven = min(UNPROVEN_MAX, spare // 4)
    return Bounds(min(OWNED_MAX, (spare - unproven) // 2), unproven)


def raise_open_files_limit() -> int:
    """The number of files that this process may have open, raised to the system's limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # macOS has a limit of its own below an infinite one.
        return soft
    return hard if hard != resource.RLIM_INFINITY else 2**20


class Connections:
    """All connections. Belongs to a single loop."""

    def __init__(self, bounds: Bounds, is_owner: Callable[[Address, Address], bool] = is_own_peer) -> None:
        self.bounds = bounds
        self.is_owner = is_owner
        self.owned: set[GuardedConnection] = set()
        self.unproven: dict[GuardedConnection, None] = {}
        """Connections of peers that have not shown whose they are, the oldest first."""

    def guarded_protocol_factory(self, server: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """The server's protocol behind a guard."""
        return lambda: GuardedConnection(self, server)

    def add(self, connection: GuardedConnection, *, is_owned: bool) -> bool:
        """Take a connection in; False where its kind has no place left."""
        if is_owned:
            if len(self.owned) >= self.bounds.owned:
                return False
            self.owned.add(connection)
            return True
        self.unproven[connection] = None
        if len(self.unproven) > self.bounds.unproven:
            next(iter(self.unproven)).abort()
        return True

    def move_to_owned(self, connection: GuardedConnection) -> None:
        """Count a connection, whose request brought the secret, among the user's own."""
        if connection in self.unproven and len(self.owned) < self.bounds.owned:
            del self.unproven[connection]
            self.owned.add(connection)

    def remove(self, connection: GuardedConnection) -> None:
        """Give a connection's place back."""
        self.owned.discard(connection)
        self.unproven.pop(connection, None)


class GuardedConnection(asyncio.Protocol):
    """A connection of an agent, before the HTTP library's protocol. Mutable."""

    def __init__(self, connections: Connections, server: Callable[[], asyncio.Protocol]) -> None:
        self._connections = connections
        self._server = server
        self._inner: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._is_serving = False
        self.is_owner = False
        """Whether the kernel says that the peer runs as this gateway's user."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Find out whose the connection is, and take the connection in if there is a place."""
        self._transport = cast(asyncio.Transport, transport)
        own, peer = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        self.is_owner = bool(own and peer) and self._connections.is_owner(own[:2], peer[:2])
        if not self._connections.add(self, is_owned=self.is_owner):
            self._transport.abort()
            return
        self._inner = self._server()
        self._inner.connection_made(transport)
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        """Pass bytes on; between requests the bytes are a head, with its time and its length."""
        if self._inner is None:
            return
        if not self._is_serving:
            self._start_timer()
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX and self in self._connections.unproven:
                self.abort()
                return
        self._inner.data_received(data)

    def begin_request(self) -> None:
        """A head has come whole."""
        self._is_serving = True
        self._stop_timer()

    def end_request(self) -> None:
        """The reply is complete: the next bytes are another head."""
        self._is_serving, self._head_bytes = False, 0

    def prove_owner(self) -> None:
        """The request brought the secret."""
        self._connections.move_to_owned(self)

    def abort(self) -> None:
        """End the connection at once."""
        self._connections.remove(self)
        if self._transport is not None:
            self._transport.abort()

    def eof_received(self) -> bool | None:  # noqa: D102
        return self._inner.eof_received() if self._inner is not None else None

    def pause_writing(self) -> None:  # noqa: D102
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:  # noqa: D102
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: D102
        self._stop_timer()
        self._connections.remove(self)
        if self._inner is not None:
            self._inner.connection_lost(error)

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(HEAD_S, self.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def connection_of_request(request: web.BaseRequest) -> GuardedConnection | None:
    """The guard of a request's connection; `None` where the connection is gone, or stands behind no guard."""
    protocol = request.transport.get_protocol() if request.transport is not None else None
    return protocol if isinstance(protocol, GuardedConnection) else None
