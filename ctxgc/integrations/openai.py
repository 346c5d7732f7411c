"""OpenAI's library: a client whose lists are collected, and whose bills are handed back.

    client = wrap(openai.OpenAI(), session="my-agent")
    reply = client.responses.create(model="…", input=items, …)             # the whole list, every time
    reply = client.chat.completions.create(model="…", messages=messages)   # or this API: one of them in a session
    answer = client.ctxgc.answer(call)                                     # for a call of the recall tool

`client.ctxgc` is the session. The bill of a reply is handed over, of `stream=True` at the end of its events if these
tell of one (Chat Completions: `stream_options={"include_usage": True}`). Not collected: `with_options`, `parse`, and a
call of `responses` with `previous_response_id`, whose list the server holds.
"""

from __future__ import annotations

from typing import Any, TypeVar

from openai import AsyncOpenAI

from ctxgc.client.async_client import AsyncClient
from ctxgc.client.client import Client
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
    """The same client, with `chat.completions.create` and `responses.create` collected, and the session at
    `client.ctxgc`.

    `recall_tool`: whether every call offers the model the recall tool, whose calls the program answers.
    """
    refuse_wrapped_client(client)
    is_async = isinstance(client, AsyncOpenAI)
    session_client = ctxgc_client or (AsyncClient() if is_async else Client())
    session_of_client: Any = session_client.session(session, model=model)
    wrapped: Any = client
    resources = ((wrapped.chat.completions, "messages", ""), (wrapped.responses, "input", "instructions"))
    for resource, list_key, system_key in resources:
        calls = CollectedCalls(session_of_client, budget, list_key, system_key, recall_tool=recall_tool)
        resource.create = (wrap_async_call if is_async else wrap_call)(resource.create, calls)
    wrapped.ctxgc = session_of_client
    return client
