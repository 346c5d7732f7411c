"""The tool with which a model brings back by itself what left its list: its schema, and the answers to its calls.

    recall_tool(format) ──▶ the request's tools          the model's call ──read_call──▶ arguments ──▶ the daemon
                                                         the message to append ◀──answer_message──── text

A call of another tool is none of ours. A failed recall is a text that says so: the model can read the text and go on.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from ctxgc.client.lists import ANTHROPIC, CHAT, RESPONSES, encode_json_value

RECALL_TOOL = "ctxgc_recall"
"""The tool's name; tombstones name the tool where a request has it."""
BUDGET_TOKENS = 8000
"""Tokens of excerpts, where the model names no number."""
BUDGET_TOKENS_MAX = 40_000
WHOLE_BYTES_MAX = 400_000
"""Bytes of a body that comes back whole; of a longer body the reply names the lines to go on with."""
_DESCRIPTION = (
    "Bring back content that left this conversation. Where a result reads [evicted by ctxgc: …], call with its id: the "
    "last word of that line. With `lines` only these lines come back; with `query` instead of an id, excerpts that "
    "match the words."
)
_PROPERTIES: dict[str, Any] = {
    "id": {"type": "string", "description": "The address in the tombstone, such as 957326986-1"},
    "lines": {"type": "string", "description": "With an id: 40-80, 40- or 40"},
    "query": {"type": "string", "description": "Instead of an id: words, names, paths or error texts"},
    "budget_tokens": {"type": "integer", "description": f"Tokens to bring back at most; default {BUDGET_TOKENS}"},
}


class RecallCall(NamedTuple):
    """A model's call of the recall tool."""

    format: str
    call_id: str
    arguments: dict[str, Any]


def recall_tool(format: str) -> dict[str, Any]:
    """The tool's entry in a request's `tools`, the same for ever: tools stand at the head of the prompt cache."""
    schema = {"type": "object", "properties": _PROPERTIES, "additionalProperties": False}
    if format == ANTHROPIC:
        return {"name": RECALL_TOOL, "description": _DESCRIPTION, "input_schema": schema}
    function = {"name": RECALL_TOOL, "description": _DESCRIPTION, "parameters": schema}
    if format == RESPONSES:
        return {"type": "function", **function, "strict": False}
    return {"type": "function", "function": function}


def read_call(call: Any) -> RecallCall | None:
    """The arguments of a call, of any API's shape, dict or object; `None` for a call of another tool."""
    plain = msgspec.json.decode(encode_json_value(call))
    if not isinstance(plain, dict):
        raise TypeError(f"a tool call is an object, not {type(call).__name__}")
    function = plain.get("function")
    if isinstance(function, dict):
        format, call_id, holder, arguments = CHAT, plain.get("id"), function, function.get("arguments")
    elif plain.get("type") == "tool_use" or "input" in plain:
        format, call_id, holder, arguments = ANTHROPIC, plain.get("id"), plain, plain.get("input")
    else:
        format, call_id, holder, arguments = RESPONSES, plain.get("call_id"), plain, plain.get("arguments")
    if holder.get("name") != RECALL_TOOL:
        return None
    return RecallCall(format, str(call_id or ""), _arguments_of(arguments))


def _arguments_of(arguments: Any) -> dict[str, Any]:
    """The arguments as an object; an empty object for what a model garbled."""
    if isinstance(arguments, str):
        try:
            arguments = msgspec.json.decode(arguments)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return {}
    return arguments if isinstance(arguments, dict) else {}


def recall_params(call: RecallCall, session: str) -> dict[str, Any] | str:
    """The params of `stash.recall` for a call, held to its session; a sentence for the model where they are unsound."""
    id_, query, lines = (str(call.arguments.get(name) or "").strip() for name in ("id", "query", "lines"))
    tokens = call.arguments.get("budget_tokens")
    if bool(id_) == bool(query):
        return "Give an `id`, the last word of a tombstone, or a `query`; one of them."
    budget = min(max(tokens, 1), BUDGET_TOKENS_MAX) if type(tokens) is int else BUDGET_TOKENS
    params: dict[str, Any] = {"session": session, "scope": "session"}
    if query:
        return params | {"query": query, "budget_tokens": budget}
    # A model copies the tombstone's words now and then.
    params["id"] = id_.rstrip("]").rpartition(" ")[2]
    if lines or type(tokens) is int:
        return params | {"lines": lines or "1-", "budget_tokens": budget}
    return params | {"limit_bytes": WHOLE_BYTES_MAX}


def recalled_text(reply: dict[str, Any]) -> str:
    """The text of a `stash.recall` reply for a model: the frame, or the body's own text, exactly."""
    if reply["text"]:
        return str(reply["text"])
    pieces = [piece for content in reply["recalled"] for piece in content["pieces"]]
    results = [piece for piece in pieces if piece["name"] == "result"] or pieces
    text = "\n".join(piece["text"] or "" for piece in results)
    if all(piece["next_offset"] < 0 for piece in results):
        return text
    return f"{text}\n[there is more: call with lines {text.count(chr(10)) + 1}-]"


def answer_message(call: RecallCall, text: str) -> dict[str, Any]:
    """The answer in the API's shape: a content block for Anthropic, a message for Chat, an item for Responses."""
    if call.format == ANTHROPIC:
        return {"type": "tool_result", "tool_use_id": call.call_id, "content": text}
    if call.format == RESPONSES:
        return {"type": "function_call_output", "call_id": call.call_id, "output": text}
    return {"role": "tool", "tool_call_id": call.call_id, "content": text}
