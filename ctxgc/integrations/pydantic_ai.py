"""Pydantic AI: a capability that makes each request of an agent fit, and gives the model the recall tool.

    agent = Agent(model, capabilities=[Ctxgc(session="my-agent")])

The run's own history stays whole: the capability edits what one request sends, where `ProcessHistory` would write the
edits into the history. Without a session's name, Pydantic AI's conversation is the session.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.messages import (
    ModelMessage,
    ModelResponse,
    RetryPromptPart,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.tools import RunContext, Tool
from pydantic_ai.toolsets import FunctionToolset

from ctxgc.client.async_client import AsyncClient, AsyncClientSession
from ctxgc.client.lists import ANTHROPIC, CHAT
from ctxgc.client.recall_tool import RECALL_TOOL, recall_tool
from ctxgc.integrations.named_sessions import NamedSessions, recall_call, recall_text
from ctxgc.integrations.result_edits import UNREADABLE, anthropic_list, edited_results, keep_unreadable_list


class Ctxgc(AbstractCapability[Any]):  # type: ignore[misc, unused-ignore]  # Where Pydantic AI is not installed.
    """Collects the messages of each request: by the pacer, or under a budget in tokens.

    `session`: the session's name; by default the conversation's id. `recall`: whether the model gets the recall tool.
    """

    def __init__(
        self, client: AsyncClient | None = None, *, session: str = "", budget: int | None = None, recall: bool = True
    ) -> None:
        self.client = client or AsyncClient()
        self._session = session
        self._budget = budget
        self._recall = recall
        self._sessions = NamedSessions[AsyncClientSession]()

    async def prepare_model_request(self, ctx: RunContext[Any], request_context: Any) -> Any:
        """Send the model the messages that fit."""
        model = request_context.model
        session = self._session_of(ctx, model)
        if session is None:
            return request_context
        chat_list = [message for each in request_context.messages for message in _chat_messages(each)]
        is_anthropic = _is_anthropic(model)
        if is_anthropic:
            settings = {**(model.settings or {}), **(request_context.model_settings or {})}
            is_cached = any(settings.get(name) for name in ("anthropic_cache", "anthropic_cache_messages"))
            chat_list = anthropic_list([each for each in chat_list if each["role"] != "system"], is_cached=is_cached)
        tools = [recall_tool(CHAT)] if self._recall else None
        try:
            sent_list = (await session.collect(chat_list, budget=self._budget, tools=tools)).messages
        except UNREADABLE as error:
            sent_list = keep_unreadable_list(chat_list, error)
        edits = edited_results(chat_list, sent_list)
        if not edits:
            return request_context
        return dataclasses.replace(
            request_context, messages=[_with_content(message, edits) for message in request_context.messages]
        )

    async def after_model_request(self, ctx: RunContext[Any], *, request_context: Any, response: ModelResponse) -> Any:
        """Learn from the bill of a reply."""
        session = self._session_of(ctx, request_context.model)
        if session is not None and response.usage.input_tokens:
            usage = response.usage
            cached = {"cached_tokens": usage.cache_read_tokens, "cache_write_tokens": usage.cache_write_tokens}
            bill = {"prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens}
            await session.usage(bill | {"prompt_tokens_details": cached})
        return response

    def get_toolset(self) -> Any:
        """The recall tool."""
        return FunctionToolset([_recall_tool_of(self)]) if self._recall else None

    def _session_of(self, ctx: RunContext[Any], model: Any = None) -> AsyncClientSession | None:
        def open_session(name: str) -> AsyncClientSession:
            format = ANTHROPIC if _is_anthropic(model) else CHAT
            named = str(getattr(model, "model_name", "") or "")
            return self.client.session(name, model=named, format=format, own_breakpoint=False)

        return self._sessions.get_or_open(self._session or ctx.conversation_id or "", open_session)

    async def answer_recall(self, ctx: RunContext[Any], arguments: dict[str, Any]) -> str:
        """The text for a model's recall in the run's own session."""
        session = self._session_of(ctx)
        return recall_text(None if session is None else await session.answer(recall_call(arguments)))


def _recall_tool_of(capability: Ctxgc) -> Any:
    function = recall_tool(CHAT)["function"]

    async def recall(ctx: RunContext[Any], **arguments: Any) -> str:
        return await capability.answer_recall(ctx, arguments)

    return Tool.from_schema(
        recall,
        name=RECALL_TOOL,
        description=function["description"],
        json_schema=function["parameters"],
        takes_ctx=True,
    )


def _is_anthropic(model: Any) -> bool:
    return getattr(model, "system", "") == "anthropic"


def _chat_messages(message: ModelMessage) -> list[dict[str, Any]]:
    """A message as messages of Chat Completions."""
    if isinstance(message, ModelResponse):
        calls = [_chat_call(part) for part in message.parts if isinstance(part, ToolCallPart)]
        text = "\n".join(part.content for part in message.parts if isinstance(part, TextPart))
        return [{"role": "assistant", "content": text} | ({"tool_calls": calls} if calls else {})]
    return [listed for part in message.parts for listed in _request_messages(part)]


def _request_messages(part: Any) -> Sequence[dict[str, Any]]:
    if isinstance(part, SystemPromptPart):
        return [{"role": "system", "content": part.content}]
    if isinstance(part, UserPromptPart):
        texts = (
            [part.content]
            if isinstance(part.content, str)
            else [text for text in part.content if isinstance(text, str)]
        )
        return [{"role": "user", "content": "\n".join(texts)}]
    if isinstance(part, ToolReturnPart):
        return [{"role": "tool", "tool_call_id": part.tool_call_id, "content": part.model_response_str()}]
    if isinstance(part, RetryPromptPart):
        if part.tool_name is None:
            return [{"role": "user", "content": part.model_response()}]
        return [{"role": "tool", "tool_call_id": part.tool_call_id, "content": part.model_response()}]
    return []


def _chat_call(part: ToolCallPart) -> dict[str, Any]:
    function = {"name": part.tool_name, "arguments": part.args_as_json_str()}
    return {"id": part.tool_call_id, "type": "function", "function": function}


def _with_content(message: ModelMessage, edits: dict[str, Any]) -> ModelMessage:
    if isinstance(message, ModelResponse):
        return message
    parts = [
        dataclasses.replace(part, content=edits[part.tool_call_id])
        if isinstance(part, ToolReturnPart) and part.tool_call_id in edits
        else part
        for part in message.parts
    ]
    return dataclasses.replace(message, parts=parts)
