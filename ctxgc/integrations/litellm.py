"""LiteLLM: a callback that edits the messages of each completion of a named session.

    litellm.callbacks = [CtxgcLogger()]
    await litellm.acompletion(model="…", messages=messages, metadata={"session_id": "my-agent"})

The proxy takes the same callback in its configuration. A call without a session's name passes as it came. LiteLLM asks
no callback before a synchronous `litellm.completion`: there, `ctxgc.Client` collects the list by hand.
"""

from __future__ import annotations

from typing import Any

from litellm.integrations.custom_logger import CustomLogger

from ctxgc.client.async_client import AsyncClient, AsyncClientSession
from ctxgc.client.lists import CHAT
from ctxgc.client.recall_tool import recall_tool
from ctxgc.integrations.named_sessions import NamedSessions
from ctxgc.integrations.result_edits import UNREADABLE, keep_unreadable_list

COMPLETIONS = frozenset({"completion", "acompletion"})
COLLECTED = "ctxgc_collected"
"""Marks the metadata of a call whose list is collected: the proxy asks twice."""


class CtxgcLogger(CustomLogger):  # type: ignore[misc, unused-ignore]  # Where LiteLLM is not installed.
    """Makes the messages of each completion fit. `budget`: tokens of each list; without, the pacer decides."""

    def __init__(self, client: AsyncClient | None = None, *, budget: int | None = None) -> None:
        super().__init__()
        self.client = client or AsyncClient()
        self._budget = budget
        self._sessions = NamedSessions[AsyncClientSession]()

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: Any
    ) -> Any:
        """Asked by the proxy before a call."""
        return await self._edit_call(data, call_type)

    async def async_pre_call_deployment_hook(self, kwargs: dict[str, Any], call_type: Any) -> dict[str, Any] | None:
        """Asked by the library before an asynchronous call."""
        return await self._edit_call(kwargs, call_type)

    async def _edit_call(self, call: dict[str, Any], call_type: Any) -> dict[str, Any]:
        session = self.session_of_call(call)
        metadata = call.get("metadata") or {}
        is_completion = getattr(call_type, "value", call_type) in COMPLETIONS
        if (
            session is None
            or not is_completion
            or metadata.get(COLLECTED)
            or not isinstance(call.get("messages"), list)
        ):
            return call
        try:
            messages = (await session.collect(call["messages"], budget=self._budget, tools=call.get("tools"))).messages
        except UNREADABLE as error:
            messages = keep_unreadable_list(call["messages"], error)
        return call | {"messages": list(messages), "metadata": metadata | {COLLECTED: True}}

    def session_of_call(self, call: dict[str, Any]) -> AsyncClientSession | None:
        """The session that a call names by `metadata.session_id` or `litellm_session_id`; `None` without a name."""
        named = (call.get("metadata") or {}).get("session_id") or call.get("litellm_session_id") or ""

        def open_session(name: str) -> AsyncClientSession:
            return self.client.session(name, model=str(call.get("model") or ""), format=CHAT, own_breakpoint=False)

        return self._sessions.get_or_open(str(named), open_session)

    def tool(self) -> dict[str, Any]:
        """The recall tool for a call's `tools`; `session_of_call(call).answer(tool_call)` answers the model."""
        return recall_tool(CHAT)

    async def async_log_success_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """Learn from the bill of a completion."""
        params = kwargs.get("litellm_params") or {}
        named = kwargs.get("litellm_session_id") or params.get("litellm_session_id") or params.get("litellm_trace_id")
        session = self.session_of_call({"metadata": params.get("metadata"), "litellm_session_id": named})
        usage = getattr(response_obj, "usage", None)
        if session is not None and usage is not None:
            await session.usage(usage)
