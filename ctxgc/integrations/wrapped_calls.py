"""A provider's call with its list collected first, and the bill of its reply handed back."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

from ctxgc.client.lists import ANTHROPIC, CHAT, RESPONSES
from ctxgc.client.recall_tool import RECALL_TOOL, recall_tool
from ctxgc.client.usage import StreamUsage
from ctxgc.integrations.result_edits import UNREADABLE, keep_unreadable_list

EVENTS = "_iterator"
"""Where a stream of either library has its events; a library without gives no bill."""


class CollectedCalls:
    """How the calls of a resource are collected: the session, and where the list and the system prompt stand."""

    def __init__(self, session: Any, budget: int | None, list_key: str, system_key: str, *, recall_tool: bool) -> None:
        self.session = session
        self._budget = budget
        self._list_key = list_key
        self._system_key = system_key
        self._offers_recall = recall_tool

    def prepare_call(self, call: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """(the call with the recall tool where asked for, the arguments of `collect`); `None`: the call passes."""
        messages = call.get(self._list_key)
        if not isinstance(messages, list | tuple) or call.get("previous_response_id"):
            return None
        if self._offers_recall:
            tools = call.get("tools")
            listed = list(tools) if isinstance(tools, list | tuple) else []
            if not any(RECALL_TOOL in str(tool) for tool in listed):
                call = call | {"tools": [*listed, recall_tool(self._format)]}
        plain = {
            name: _member_or_none(call.get(key))
            for name, key in (("system", self._system_key), ("tools", "tools"))
            if key
        }
        return call, {"messages": messages, "budget": self._budget, **plain}

    @property
    def _format(self) -> str:
        if self._system_key == "system":
            return ANTHROPIC
        return RESPONSES if self._list_key == "input" else CHAT

    def with_list(self, call: dict[str, Any], messages: Any) -> dict[str, Any]:
        """The call with the collected list."""
        return call | {self._list_key: messages}

    def wrap_async_stream(self, stream: Callable[..., Any]) -> Callable[..., Any]:
        """An asynchronous `stream`, which is a context: the list is collected as it is entered."""

        @asynccontextmanager
        async def collected_stream(**call: Any) -> Any:
            call = await _collect_async(self, call)
            async with stream(**call) as events:
                yield events

        return collected_stream


def wrap_call(create: Callable[..., Any], calls: CollectedCalls) -> Callable[..., Any]:
    """A blocking call, collected."""

    @functools.wraps(create)
    def collected_create(**call: Any) -> Any:
        prepared = calls.prepare_call(call)
        if prepared is None:
            return create(**call)
        call, arguments = prepared
        try:
            messages = calls.session.collect(**arguments).messages
        except UNREADABLE as error:
            messages = keep_unreadable_list(arguments["messages"], error)
        reply = create(**calls.with_list(call, messages))
        if (usage := getattr(reply, "usage", None)) is not None:
            calls.session.usage(usage)
        elif call.get("stream") is True and hasattr(reply, EVENTS):
            setattr(reply, EVENTS, _watched_events(getattr(reply, EVENTS), calls.session))
        return reply

    return collected_create


def wrap_async_call(create: Callable[..., Awaitable[Any]], calls: CollectedCalls) -> Callable[..., Awaitable[Any]]:
    """An asynchronous call, collected."""

    @functools.wraps(create)
    async def collected_create(**call: Any) -> Any:
        reply = await create(**await _collect_async(calls, call))
        if (usage := getattr(reply, "usage", None)) is not None:
            await calls.session.usage(usage)
        elif call.get("stream") is True and hasattr(reply, EVENTS):
            setattr(reply, EVENTS, _watched_async_events(getattr(reply, EVENTS), calls.session))
        return reply

    return collected_create


async def _collect_async(calls: CollectedCalls, call: dict[str, Any]) -> dict[str, Any]:
    prepared = calls.prepare_call(call)
    if prepared is None:
        return call
    call, arguments = prepared
    try:
        messages = (await calls.session.collect(**arguments)).messages
    except UNREADABLE as error:
        messages = keep_unreadable_list(arguments["messages"], error)
    return calls.with_list(call, messages)


def _watched_events(events: Iterator[Any], session: Any) -> Iterator[Any]:
    """The events of a streamed reply; its bill is handed over at its end."""
    usage = StreamUsage()
    for event in events:
        usage.feed(event)
        yield event
    if (bill := usage.take_usage()) is not None:
        session.usage(bill)


async def _watched_async_events(events: AsyncIterator[Any], session: Any) -> AsyncIterator[Any]:
    usage = StreamUsage()
    async for event in events:
        usage.feed(event)
        yield event
    if (bill := usage.take_usage()) is not None:
        await session.usage(bill)


def refuse_wrapped_client(client: Any) -> None:
    """Raise `ValueError` for a client that a session has already: each of its calls would be collected twice."""
    if hasattr(client, "ctxgc"):
        raise ValueError("this client is wrapped already: one client for each session")


def _member_or_none(value: Any) -> Any:
    """A member as the program gave it; `None` for the libraries' words for nothing."""
    return None if type(value).__name__ in ("NotGiven", "Omit") else value
