"""The socket server: listens, keeps connections, and stops without dropping an accepted request.

    start(socket) ──▶ Connection per client ──▶ Dispatch
    stop: close the listeners ─▶ new requests get ShuttingDown ─▶ wait for what is in flight ─▶ close

`server/single_instance.py` (or systemd) makes the socket, and the server never unlinks it; the `Dispatch` gives each
request its meaning.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from socket import socket
from typing import Any, TypeVar, cast

from ctxgc.daemon.events import Events
from ctxgc.daemon.rpc import Dispatch, Limits, SlowCall, Traffic
from ctxgc.daemon.server.connection import Connection
from ctxgc.daemon.server.hub import Hub
from ctxgc.daemon.server.single_instance import BACKLOG
from ctxgc.protocol.peer import peer_uid

T = TypeVar("T")


class Server:
    """Serves a `Dispatch` on any number of listening Unix sockets."""

    def __init__(
        self,
        dispatch: Dispatch | None = None,
        *,
        limits: Limits | None = None,
        events: Events | None = None,
        credentials: Callable[[socket], int] = peer_uid,
    ) -> None:
        self.events = events or Events()
        self.limits = limits or Limits()
        self._hub = Hub(cast(Dispatch, dispatch), self.limits, self.events, os.geteuid(), credentials)
        self._listeners: list[asyncio.Server] = []

    def set_dispatch(self, dispatch: Dispatch) -> None:
        """Give the requests their meaning, before `start`: some verbs look at the server itself."""
        self._hub.dispatch = dispatch

    @property
    def traffic(self) -> Traffic:
        """Counts of connections, requests and errors."""
        return self._hub.traffic

    def slowest_calls(self) -> list[SlowCall]:
        """The slowest requests since the start, slowest first."""
        return self._hub.slowlog.slowest_calls()

    async def start(self, listener: socket) -> None:
        """Accept connections on a bound socket; may be called once for each of several."""
        # Python 3.13 unlinks the path when it closes the server; a socket of systemd must outlive us.
        keep: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(self._create_connection, sock=listener, backlog=BACKLOG, **keep)
        self._listeners.append(server)

    def run_task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """As `Hub.run`: a mutation whose caller does not wait ends before the stash closes."""
        return self._hub.run_task(work)

    async def stop(self) -> None:
        """Accept no new connection, answer the requests in flight (up to `stop_s`), close every connection.

        No verb may await `stop`: the verb would wait for itself.
        """
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self._hub.is_stopping = True
        if self._hub.tasks:
            await asyncio.wait(self._hub.tasks, timeout=self.limits.stop_s)
        for task in tuple(self._hub.tasks):
            task.cancel()
        if self._hub.tasks:
            await asyncio.wait(self._hub.tasks, timeout=self.limits.linger_s)
        for connection in tuple(self._hub.connections):
            connection.close()
        if self._hub.connections:
            # Each connection aborts itself after `linger_s`.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hub.all_closed.wait(), self.limits.linger_s * 2)

    def _create_connection(self) -> Connection:
        return Connection(self._hub)
