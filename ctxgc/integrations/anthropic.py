"""Anthropic's library: a client whose lists are collected, and whose bills are handed back.

    client = wrap(anthropic.Anthropic(), session="my-agent")
    reply = client.messages.create(model="…", messages=messages, …)      # the whole list, every time
    answer = client.ctxgc.answer(block)                                  # for a call of the recall tool

`client.ctxgc` is the session. The bill of a reply is handed over, of `create(stream=True)` at the end of its events;
after `messages.stream` call `client.ctxgc.usage(stream.get_final_message().usage)`. Batches and `with_options` are not
collected.
"""

from __future__ import annotations

from typing import Any, TypeVar

from anthropic import AsyncAnthropic

from ctxgc.client.async_client import AsyncClient
from ctxgc.client.client import Client
from ctxgc.client.lists import ANTHROPIC
from ctxgc.integrations.wrapped_calls import CollectedCalls, refuse_wrapped_client, wrap_async_call, wrap_call

T = TypeVar("T")


def wrap(
    client: T,
    *,
    session: str,
    model: str = "",
    budget: int | None = None,
    recall_tool: bool = False,
    ctxgc_client: Client | AsyncClient | None = None,
) -> T:
    """The same client, with `messages.create` and `messages.stream` collected, and the session at `client.ctxgc`.

    `recall_tool`: whether every call offers the model the recall tool, whose calls the program answers.
    """
    refuse_wrapped_client(client)
    is_async = isinstance(client, AsyncAnthropic)
    session_client = ctxgc_client or (AsyncClient() if is_async else Client())
    session_of_client: Any = session_client.session(session, model=model, format=ANTHROPIC)
    calls = CollectedCalls(session_of_client, budget, "messages", "system", recall_tool=recall_tool)
    wrapped: Any = client
    for resource in (wrapped.messages, wrapped.beta.messages):
        resource.create = (wrap_async_call if is_async else wrap_call)(resource.create, calls)
        if is_async:
            resource.stream = calls.wrap_async_stream(resource.stream)
        else:
            resource.stream = wrap_call(resource.stream, calls)
    wrapped.ctxgc = session_of_client
    return client
