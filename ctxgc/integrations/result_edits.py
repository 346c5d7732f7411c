"""Between a framework's messages and a list of a model API: results by call id, and those that a collection changed.

framework ──chat list──▶ collect ──edited_results──▶ call id → text ──▶ the framework's own result messages, replaced
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_log = logging.getLogger("ctxgc")

UNREADABLE = (TypeError, ValueError)
"""What a collection raises for a list that ctxgc cannot read, though the framework may."""
EPHEMERAL = {"cache_control": {"type": "ephemeral"}}


def keep_unreadable_list(messages: Sequence[Any], error: Exception) -> Sequence[Any]:
    """The list as it is: a hook never stops its framework's call. A program that collects by hand gets the error."""
    _log.warning("a list goes to the model as it is: %s", error)
    return messages


def edited_results(before: Sequence[Any], after: Sequence[Any]) -> dict[str, Any]:
    """The content of each result that a collection changed, by the call's id."""
    if before is after:
        return {}
    whole = dict(results_of(before))
    return {id_: content for id_, content in results_of(after) if content != whole.get(id_)}


def results_of(messages: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """(call id, content) of each result in a list of any model API."""
    for message in messages:
        if message.get("role") == "tool":
            yield message["tool_call_id"], message["content"]
        elif message.get("type") == "function_call_output":
            yield message["call_id"], message["output"]
        content = message.get("content")
        for block in content if isinstance(content, list) else ():
            if isinstance(block, dict) and block.get("type") == "tool_result":
                yield block["tool_use_id"], block["content"]


def anthropic_list(chat: Sequence[Mapping[str, Any]], *, is_cached: bool) -> list[dict[str, Any]]:
    """A chat list in the shape of Anthropic's API: results as blocks of a user's message; no system prompt.

    `is_cached`: whether the provider is asked to cache the prompt; then the last block has the breakpoint.
    """
    messages: list[dict[str, Any]] = []
    for message in chat:
        role = message["role"]
        blocks = [] if role == "tool" else _text_blocks(message.get("content"))
        if role == "tool":
            blocks = [{"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": message["content"]}]
        blocks += [_tool_use(call["id"], call["function"]) for call in message.get("tool_calls") or ()]
        side = "assistant" if role == "assistant" else "user"
        if not blocks:
            continue
        if messages and messages[-1]["role"] == side:
            messages[-1]["content"] += blocks
        else:
            messages.append({"role": side, "content": blocks})
    if is_cached and messages:
        messages[-1]["content"][-1] |= EPHEMERAL
    return messages


def _text_blocks(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return [dict(block) for block in content or () if isinstance(block, dict)]


def _tool_use(call_id: str, function: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": function["name"], "input": json.loads(function["arguments"])}
