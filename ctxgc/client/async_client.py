"""The client for asyncio: the words of the blocking client, awaited. A cancelled call leaves the client usable."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Literal, TypeVar

from ctxgc.client.client import DEADLINE_S
from ctxgc.client.collected_list import CollectedList
from ctxgc.client.engine import Engine, Running, wait_until_synced
from ctxgc.client.recall_tool import read_call
from ctxgc.client.session_lists import SessionLists, SessionOptions
from ctxgc.client.session_work import search
from ctxgc.protocol.replies.stash import HitReply

T = TypeVar("T")


async def _run(engine: Engine, work: Callable[[Running], Coroutine[Any, Any, T]]) -> T:
    # In a thread: the first call loads the engine's modules, and opens the engine.
    future = engine.run(work) if engine.is_open else await asyncio.to_thread(engine.run, work)
    return await asyncio.wrap_future(future)


class AsyncClient:
    """See `ctxgc.Client`. Belongs to no loop: a client serves any number of loops, one after another or at once."""

    def __init__(self, socket: str = "", *, start_daemon: bool = True, deadline_s: float = DEADLINE_S) -> None:
        self._engine = Engine(socket, can_start=start_daemon, deadline_s=deadline_s)
        self._deadline_s = deadline_s
        self._failures = Counter[str]()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    def session(
        self, name: str, *, model: str = "", project: str = "", format: str = "", own_breakpoint: bool = True
    ) -> AsyncClientSession:
        """See `Client.session`."""
        lists = SessionLists(
            name, SessionOptions(model, project, format, own_breakpoint), self._deadline_s, self._failures
        )
        return AsyncClientSession(self._engine, lists)

    async def search(self, query: str, *, session: str = "", limit: int = 10) -> list[HitReply]:
        """See `Client.search`."""
        return await _run(self._engine, lambda running: search(running, query, session, limit, self._deadline_s))

    @property
    def failures(self) -> Counter[str]:
        """See `Client.failures`."""
        return self._failures

    async def flush(self) -> None:
        """See `Client.flush`."""
        await _run(self._engine, wait_until_synced)

    async def close(self) -> None:
        """See `Client.close`."""
        await asyncio.to_thread(self._engine.close)


class AsyncClientSession:
    """See `ctxgc.client.client.ClientSession`."""

    def __init__(self, engine: Engine, lists: SessionLists) -> None:
        self._engine = engine
        self._lists = lists

    @property
    def name(self) -> str:
        """The session's full name: `client:my-agent`."""
        return self._lists.work.name

    async def collect(
        self,
        messages: Sequence[Any],
        *,
        budget: int | None = None,
        system: Any = None,
        tools: Any = None,
        unit: Literal["billed", "raw"] = "billed",
    ) -> CollectedList:
        """See `ClientSession.collect`."""
        request = self._lists.prepare_list(messages, system, tools)
        return await _run(self._engine, lambda running: self._lists.work.collect(running, request, budget, unit))

    async def usage(self, usage: Any) -> None:
        """See `ClientSession.usage`."""
        await _run(self._engine, lambda running: self._lists.work.note_usage(running, usage))

    async def recall(self, id: str) -> str:
        """See `ClientSession.recall`."""
        return await _run(self._engine, lambda running: self._lists.work.recall(running, id))

    async def pin(self, *ids: str) -> list[str]:
        """See `ClientSession.pin`."""
        return await _run(self._engine, lambda running: self._lists.work.set_pins(running, ids, "segment.pin"))

    async def unpin(self, *ids: str) -> list[str]:
        """See `ClientSession.unpin`."""
        return await _run(self._engine, lambda running: self._lists.work.set_pins(running, ids, "segment.unpin"))

    def tool(self, format: str = "") -> dict[str, Any]:
        """See `ClientSession.tool`."""
        return self._lists.recall_tool(format)

    async def answer(self, call: Any) -> dict[str, Any] | None:
        """See `ClientSession.answer`."""
        recall = read_call(call)
        return None if recall is None else await _run(self._engine, lambda run: self._lists.work.answer(run, recall))
