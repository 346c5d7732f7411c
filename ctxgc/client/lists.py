"""Lists of messages as a program has them: dicts, or objects of the providers' libraries.

messages ──encode_json_value──▶ JSON ──detect_format──▶ a wire format ──request_body──▶ the body of a request
edited body ──merge_edited──▶ a list: the caller's own object in each place that no edit changed
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from ctxgc.adapters.transcripts.wire_documents import is_openai_chat

ANTHROPIC, CHAT, RESPONSES = "anthropic_messages", "openai_chat", "openai_responses"
FORMATS = (ANTHROPIC, CHAT, RESPONSES)
LIST_KEYS = {ANTHROPIC: "messages", CHAT: "messages", RESPONSES: "input"}
"""The member of a request that holds the list."""
SYSTEM_KEYS = {ANTHROPIC: "system", CHAT: "", RESPONSES: "instructions"}
"""The member of a request that holds the system prompt; empty where the list holds it."""
HEAD_BYTES = 2**16
"""Bytes of a list of plain words that are looked at."""


def require_list(messages: Any) -> Sequence[Any]:
    """The list itself. Raises `TypeError` for what is no list of messages."""
    if isinstance(messages, list | tuple):
        return messages
    raise TypeError(f"messages is a list of messages, not {type(messages).__name__}")


def encode_json_value(value: Any) -> bytes:
    """A value as JSON; objects of the providers' libraries as these libraries would send the objects.

    Raises `TypeError` for a value that has no JSON. Linear in the value.
    """
    try:
        return _ENCODER.encode(value)
    except UnicodeEncodeError:  # Half a character, which JSON can only escape.
        return json.dumps(value, default=plain_value, separators=(",", ":")).encode()


def plain_value(value: Any) -> Any:
    """An object of a provider's library as plain values: members that the object was never given are left out."""
    if isinstance(value, str):  # A library's own kind of text.
        return str.__str__(value)
    dump = getattr(value, "model_dump", None)  # pydantic, on which these libraries are built.
    if callable(dump):
        return dump(mode="json", by_alias=True, exclude_unset=True)
    raise TypeError(f"a message holds {type(value).__name__}, which has no JSON")


_ENCODER = msgspec.json.Encoder(enc_hook=plain_value)


def detect_format(list_json: bytes, model: str = "", *, has_system: bool = False) -> str:
    """The wire format of a list, told by its calls and blocks; of plain words by the model's name. Raises `ValueError`.

    `has_system`: the program gives the system prompt beside the list, as Anthropic's API wants it.
    """
    for format, signs in _SIGNS.items():
        if any(sign in list_json for sign in signs):
            return format
    if has_system or "claude" in model.lower():
        return ANTHROPIC
    if is_openai_chat(list_json[:HEAD_BYTES]) or list_json == b"[]":
        return CHAT
    raise ValueError(f"no model API is known by this list; name one by `format`: {', '.join(FORMATS)}")


_TYPES = {
    RESPONSES: ("function_call", "function_call_output", "input_text", "output_text", "reasoning", "custom_tool_call"),
    ANTHROPIC: ("tool_use", "tool_result", "thinking"),
}
_SIGNS = {format: [b'"type":"%b"' % name.encode() for name in names] for format, names in _TYPES.items()} | {
    CHAT: [b'"tool_calls":', b'"tool_call_id":']
}
"""Members in the encoder's own spelling: in a text of a message each quotation mark has a backslash before it."""


def request_body(format: str, list_json: bytes, *, model: str = "", system: Any = None, tools: Any = None) -> bytes:
    """The body of a request with this list at its end, so that a longer list begins with the same bytes."""
    members: dict[str, Any] = {"model": model} if model else {}
    if system is not None and SYSTEM_KEYS[format]:
        members[SYSTEM_KEYS[format]] = system
    if tools:
        members["tools"] = tools
    head = encode_json_value(members)[:-1] + (b"," if members else b"")
    return b'%b"%b":%b}' % (head, LIST_KEYS[format].encode(), list_json)


def changed_positions(before: Sequence[Any], edited: Sequence[Any]) -> list[int]:
    """Where an edited list differs from the list as it was, both as JSON has them and of equal length."""
    return [at for at, (old, new) in enumerate(zip(before, edited, strict=True)) if old != new]


def merge_edited(messages: Sequence[Any], edited: Sequence[Any], changed: Sequence[int]) -> list[Any]:
    """The caller's own messages, with the edited ones at the changed positions."""
    merged = list(messages)
    for at in changed:
        merged[at] = edited[at]
    return merged


def decode_list(body: bytes, format: str) -> list[Any]:
    """The list of a request's body."""
    decoded: list[Any] = msgspec.json.decode(body)[LIST_KEYS[format]]
    return decoded
