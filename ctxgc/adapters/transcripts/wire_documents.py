"""Logged requests of the model APIs that the gateway reads: whole documents, or one request or message a line.

    [messages] │ {messages, system} │ {input, instructions}          one document, one session
    a message a line                                                 the lines are one list
    a request a line                                                 the last one is the window

Which API a list belongs to is told by its content: a tool's call and result are spelled differently in each. Cline and
Roo keep their lists (`api_conversation_history.json`) in the shape of Anthropic's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ctxgc.adapters.contract import Admitted, Event, Opened
from ctxgc.adapters.facts.segment_facts import with_facts
from ctxgc.adapters.json_values import as_dict, as_text, clean_name
from ctxgc.adapters.transcripts.json_document import DocumentTranscript, digest_of
from ctxgc.adapters.transcripts.resync import is_blank, readable, salvage
from ctxgc.adapters.wire.anthropic_messages import AnthropicMessages
from ctxgc.adapters.wire.openai_responses import OpenAiResponses
from ctxgc.adapters.wire.rendering import encode_json
from ctxgc.core.errors import BadTranscript

HEAD_CHARS = 2**20
"""Of a file's beginning, for telling which API it belongs to."""

ANTHROPIC_BLOCKS = frozenset(
    {"tool_use", "tool_result", "thinking", "redacted_thinking", "server_tool_use", "mcp_tool_use"}
)
RESPONSES_ITEMS = frozenset({"function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output"})
LIST_KEYS = ("messages", "input")


def is_anthropic(head: bytes) -> bool:
    """A message of Anthropic's shape with a block that no other API has, in a list, a request or a line of its own."""
    return any(_blocks_of(value) & ANTHROPIC_BLOCKS for value in _messages_in(head))


def is_responses(head: bytes) -> bool:
    """An item of a Responses list, in a request or a bare list."""
    return any(value.get("type") in RESPONSES_ITEMS and "call_id" in value for value in _messages_in(head))


def _messages_in(head: bytes) -> Iterator[dict[str, Any]]:
    """The messages and items on the first bytes of a document or of lines, the last of them perhaps cut."""
    text = readable(head[:HEAD_CHARS])
    start = text.lstrip("\ufeff \t\r\n")
    if not start.startswith(("[", "{")) or '"type"' not in text:
        return
    for record in salvage(start, _is_message, is_final=True).records:
        values = [record, *(item for key in LIST_KEYS for item in _list(record.get(key)))]
        yield from (value for value in values if isinstance(value, dict) and not _is_of_a_host(value))


def _is_message(value: dict[str, Any]) -> bool:
    return "role" in value or "call_id" in value


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_of_a_host(value: dict[str, Any]) -> bool:
    """Whether a record wraps its message, as the logs of hosts do."""
    return "message" in value or "payload" in value or "sessionId" in value


def _blocks_of(message: dict[str, Any]) -> set[str]:
    if message.get("role") not in ("user", "assistant"):
        return set()
    return {as_text(as_dict(block).get("type")) for block in _list(message.get("content"))}


class _WireDocument(DocumentTranscript):
    """What the readers of both APIs share."""

    wire: AnthropicMessages | OpenAiResponses
    list_key = ""

    def _value(self, data: bytes) -> Any:
        try:
            return json.loads(data)
        except ValueError:
            text = readable(data)
        found = salvage(text, lambda value: "role" in value, is_final=True)
        if not found.records or found.torn or not is_blank(text[found.end :]):
            raise BadTranscript("neither a document nor whole lines")
        # A log of lines grows: its first line names it.
        name = {"session": digest_of(encode_json(found.records[0]))}
        requests = [record for record in found.records if isinstance(record.get(self.list_key), list)]
        return (requests[-1] if requests else {self.list_key: found.records}) | name

    def _events(self, document: Any, digest: str) -> Iterator[Event]:
        holder = {self.list_key: document} if isinstance(document, list) else as_dict(document)
        messages = holder.get(self.list_key)
        if not isinstance(messages, list):
            raise BadTranscript(f"no list `{self.list_key}` in this document")
        self.records = len(messages)
        names = (as_text(holder.get(key)) for key in ("session", "session_id", "conversation_id", "id"))
        session = clean_name(next(filter(None, names), "")) or digest
        window = self.wire.parse(encode_json(holder))
        self.skipped.update(window.skipped)
        yield Opened(session, model=clean_name(as_text(holder.get("model"))))
        for segment in with_facts(window.segments, ""):
            yield Admitted(session, segment)


class AnthropicDocument(_WireDocument):
    """Logged requests to Anthropic's Messages API, and lists in its shape."""

    source = "anthropic"
    wire = AnthropicMessages()
    list_key = "messages"


class ResponsesDocument(_WireDocument):
    """Logged requests to OpenAI's Responses API, and bare lists of its items."""

    source = "openai_responses"
    wire = OpenAiResponses()
    list_key = "input"
