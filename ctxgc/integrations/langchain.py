"""LangChain and LangGraph: a middleware for `create_agent`.

    agent = create_agent(model, tools, middleware=[CtxgcMiddleware()])

The graph's state keeps every message whole: the middleware replaces the content of results in what the model is sent,
by the thread's own session, and adds the recall tool. A thread is a session; a run without a thread passes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from langchain.agents.middleware.types import AgentMiddleware
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.config import get_config

from ctxgc.client.client import Client, ClientSession
from ctxgc.client.lists import ANTHROPIC, CHAT
from ctxgc.client.recall_tool import RECALL_TOOL, recall_tool
from ctxgc.integrations.named_sessions import NamedSessions, recall_call, recall_text
from ctxgc.integrations.result_edits import UNREADABLE, anthropic_list, edited_results, keep_unreadable_list

ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool"}


class CtxgcMiddleware(AgentMiddleware):  # type: ignore[misc, unused-ignore]  # Where LangChain is not installed.
    """Makes the messages of each model call fit: by the pacer, or under a budget in tokens.

    `session`: the session's name; by default the run's `thread_id`. `recall`: whether the model gets the recall tool.
    """

    def __init__(
        self, client: Client | None = None, *, session: str = "", budget: int | None = None, recall: bool = True
    ) -> None:
        super().__init__()
        self.client = client or Client()
        self._session = session
        self._budget = budget
        self._sessions = NamedSessions[ClientSession]()
        self.tools: Sequence[BaseTool] = [_recall_tool_of(self)] if recall else []

    def wrap_model_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        """Send the model the messages that fit, and learn from the reply's bill."""
        session = self.session_of_run(get_config(), request.model)
        if session is None:
            return handler(request)
        reply = handler(request.override(messages=self._collect(session, request)))
        _note_usage(session, reply)
        return reply

    async def awrap_model_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """The same in an asynchronous run."""
        session = self.session_of_run(get_config(), request.model)
        if session is None:
            return await handler(request)
        reply = await handler(request.override(messages=await asyncio.to_thread(self._collect, session, request)))
        await asyncio.to_thread(_note_usage, session, reply)
        return reply

    def session_of_run(self, config: RunnableConfig, model: Any = None) -> ClientSession | None:
        """The session of a run, by its thread; `None` for a run without a thread."""
        configurable = config.get("configurable") or {}

        def open_session(name: str) -> ClientSession:
            format = ANTHROPIC if _is_anthropic(model) else CHAT
            return self.client.session(name, model=_model_name(model), format=format, own_breakpoint=False)

        return self._sessions.get_or_open(self._session or str(configurable.get("thread_id") or ""), open_session)

    def _collect(self, session: ClientSession, request: Any) -> list[Any]:
        """The messages to send: the graph's own, and a copy in place of each result that is out."""
        system = None if request.system_message is None else request.system_message.text
        chat_list = [_chat_message(message) for message in request.messages]
        if _is_anthropic(request.model):
            chat_list = anthropic_list(chat_list, is_cached="cache_control" in request.model_settings)
        elif system is not None:
            chat_list = [{"role": "system", "content": system}, *chat_list]
        tools = [recall_tool(CHAT)] if self.tools else None
        try:
            sent_list = session.collect(chat_list, budget=self._budget, system=system, tools=tools).messages
        except UNREADABLE as error:
            sent_list = keep_unreadable_list(chat_list, error)
        edits = edited_results(chat_list, sent_list)
        return [_with_content(message, edits) for message in request.messages]


def _with_content(message: Any, edits: dict[str, Any]) -> Any:
    if isinstance(message, ToolMessage) and message.tool_call_id in edits:
        return message.model_copy(update={"content": edits[message.tool_call_id]})
    return message


def _chat_message(message: Any) -> dict[str, Any]:
    """A message as Chat Completions has it. Blocks that are no text stay as they are."""
    chat_message: dict[str, Any] = {"role": ROLES.get(message.type, "user"), "content": message.content}
    if isinstance(message, ToolMessage):
        chat_message["tool_call_id"] = message.tool_call_id
    elif isinstance(message, AIMessage):
        chat_message["content"] = message.text  # Its blocks repeat the calls.
        if message.tool_calls:
            chat_message["tool_calls"] = [_chat_call(call) for call in message.tool_calls]
    return chat_message


def _chat_call(call: Any) -> dict[str, Any]:
    function = {"name": call["name"], "arguments": json.dumps(call["args"])}
    return {"id": call["id"], "type": "function", "function": function}


def _model_name(model: Any) -> str:
    return str(getattr(model, "model_name", None) or getattr(model, "model", None) or "")


def _is_anthropic(model: Any) -> bool:
    return "anthropic" in type(model).__name__.lower() or "claude" in _model_name(model).lower()


def _note_usage(session: ClientSession, reply: Any) -> None:
    """Hand the bill of a reply to the session, in the shape of Chat Completions, which counts cached tokens too."""
    usage = next(
        (u for message in getattr(reply, "result", ()) if (u := getattr(message, "usage_metadata", None))), None
    )
    if usage is not None:
        details = usage.get("input_token_details") or {}
        bill = {"prompt_tokens": usage["input_tokens"], "completion_tokens": usage["output_tokens"]}
        cached = {"cached_tokens": details.get("cache_read", 0), "cache_write_tokens": details.get("cache_creation", 0)}
        session.usage(bill | {"prompt_tokens_details": cached})


def _recall_tool_of(middleware: CtxgcMiddleware) -> BaseTool:
    """The recall tool, which answers in the run's own session."""
    function = recall_tool(CHAT)["function"]

    def recall(config: RunnableConfig, **arguments: Any) -> str:
        session = middleware.session_of_run(config)
        return recall_text(None if session is None else session.answer(recall_call(arguments)))

    return StructuredTool.from_function(
        func=recall, name=RECALL_TOOL, description=function["description"], args_schema=function["parameters"]
    )
