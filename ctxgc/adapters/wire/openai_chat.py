"""OpenAI Chat Completions as a wire format: `{"messages": […]}`, or a bare list of messages.

    assistant  content, tool_calls [a, b]          a, b ─┐  one tool call each: the call, and the result
    tool       tool_call_id a                            │  in the `tool` message that follows
    tool       tool_call_id b  ◀─────────────────────────┘

A call's `arguments` are JSON inside a JSON string: its large inputs share a span, the whole string, and splicing edits
the inner JSON in place before the string is quoted again. The legacy `function_call` and role `function` are read as a
call and its result under the id `function_call`.

The API itself signs nothing, but servers that speak it for another API do. A run of assistant messages with a signature
or a copy of signed thinking is never edited; the results of its calls may go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ctxgc.adapters.contract import Slot, StandIn, WireWindow
from ctxgc.adapters.host_texts.dialects import make_host_texts
from ctxgc.adapters.json_spans import Extent, JsonText, read_json
from ctxgc.adapters.json_values import as_dict, as_text, encode_json
from ctxgc.adapters.skeletons import TEXT_INPUT_PIECE
from ctxgc.adapters.wire.folded_results import read_folded_result
from ctxgc.adapters.wire.list_builder import ListBuilder
from ctxgc.adapters.wire.openai_calls import edit_arguments, parse_function_call
from ctxgc.adapters.wire.rendering import (
    NO_RESULT,
    Call,
    Line,
    Opaque,
    SpokenText,
    Thought,
    calls_among_lines,
    group_lines_by_reply,
    input_as_object,
    lines_of_slots,
    splice_stand_ins,
)
from ctxgc.adapters.wire.signatures import is_signed
from ctxgc.core.errors import BadTranscript
from ctxgc.core.segment import Kind, Role

NO_KINDS: Mapping[int, Kind] = MappingProxyType({})

LEGACY_CALL_ID = "function_call"

_KINDS = {
    "system": (Kind.SYSTEM, Role.SYSTEM),
    "developer": (Kind.SYSTEM, Role.DEVELOPER),
    "user": (Kind.USER, Role.USER),
    "assistant": (Kind.ASSISTANT, Role.ASSISTANT),
}
_THINKING_FIELDS = ("reasoning_content", "reasoning")
_OPAQUE_OF_USER = frozenset({"image_url", "input_audio", "file"})


class OpenAiChat:
    """The `WireFormat` of OpenAI Chat Completions."""

    name = "openai_chat"

    def parse(self, request: bytes, agent: str = "") -> WireWindow:
        """See `WireFormat.parse`. Strings are decoded once; other blocks are only skipped."""
        return read_json(request, lambda text: _parse_request(text, ListBuilder(make_host_texts(agent)), NO_KINDS))[0]

    def splice(self, request: bytes, window: WireWindow, stand_ins: Mapping[str, StandIn]) -> bytes:
        """See `WireFormat.splice`."""
        return splice_stand_ins(request, window, stand_ins, edit_arguments)

    def render(self, slots: Iterable[Slot]) -> bytes:
        """See `WireFormat.render`: an object with `messages`.

        Thinking is left out, since the API has no place for thinking, and so is blank text and blocks of other APIs. A
        reply that speaks again after a call renders as two messages, so that order is kept. A failed call shows in its
        text only.
        """
        shown = [line for line in lines_of_slots(slots) if _can_render(line)]
        messages: list[dict[str, Any]] = []
        left = len(shown)
        for group in _group_lines_by_message(shown):
            left -= len(group)
            messages.append(_render_message(group))
            calls = calls_among_lines(group)
            if left or any(call.result is not None for call in calls):
                messages += [_render_result(call) for call in calls]
        return encode_json({"messages": messages})


def parse_request_with_message_indexes(
    request: bytes, kinds: Mapping[int, Kind] = NO_KINDS
) -> tuple[WireWindow, Sequence[int]]:
    """A parsed request, and for each segment the index of its message.

    `kinds` gives, by index, the kind of messages whose role misleads. Raises `BadTranscript`.
    """
    return read_json(request, lambda text: _parse_request(text, ListBuilder(), kinds))


def _parse_request(text: JsonText, builder: ListBuilder, kinds: Mapping[int, Kind]) -> tuple[WireWindow, Sequence[int]]:
    messages = text.extent
    if text.first_byte(text.extent) == b"{":
        fields = text.members(text.extent)
        if "messages" not in fields:
            raise BadTranscript("no `messages` in this request")
        messages = fields["messages"]
    if text.first_byte(messages) != b"[":
        raise BadTranscript("`messages` is not a list")
    for index, extent in enumerate(text.elements(messages)):
        if text.first_byte(extent) == b"{":
            _parse_message(text, text.members(extent), builder, index, kinds)
        else:
            builder.skipped["message"] += 1
    return builder.build_window(), builder.messages


def _parse_message(
    text: JsonText, fields: dict[str, Extent], builder: ListBuilder, index: int, kinds: Mapping[int, Kind]
) -> None:
    role = text.string(fields.get("role"))
    builder.begin_message(index, role == "assistant", is_aside=role in ("system", "developer"))
    if role in ("tool", "function"):
        content = fields.get("content")
        call_id = text.string(fields.get("tool_call_id")) if role == "tool" else LEGACY_CALL_ID
        builder.join_folded_result(call_id, read_folded_result(text, content, can_fold=builder.can_fold))
    elif role in _KINDS:
        if role == "assistant":
            if is_signed(text, fields):
                builder.note_signature()
            _parse_thinking(text, fields, builder)
        kind, speaker = _KINDS[role]
        if "content" in fields:
            _parse_content(text, fields["content"], builder, kinds.get(index, kind), speaker)
        if role == "assistant":
            _parse_calls(text, fields, builder)
    else:
        builder.skipped[f"role {role}"[:40]] += 1


def _parse_content(text: JsonText, content: Extent, builder: ListBuilder, kind: Kind, role: Role) -> None:
    if text.first_byte(content) == b'"':
        _add_text_by_speaker(text, content, builder, kind, role)
    for extent in text.elements(content) if text.first_byte(content) == b"[" else ():
        fields = text.members(extent) if text.first_byte(extent) == b"{" else {}
        if text.string(fields.get("type")) == "text":
            _add_text_by_speaker(text, fields.get("text"), builder, kind, role)
        else:
            builder.add_opaque_block(kind, role, text.value(extent))


def _add_text_by_speaker(text: JsonText, extent: Extent | None, builder: ListBuilder, kind: Kind, role: Role) -> None:
    if kind is Kind.USER:
        builder.add_user_text(text.string(extent), extent)
    else:
        builder.add_text(kind, role, text.string(extent), extent)


def _parse_thinking(text: JsonText, fields: dict[str, Extent], builder: ListBuilder) -> None:
    """Thinking as some servers of this API send thinking; the first field with text counts."""
    for name in _THINKING_FIELDS:
        thought = text.string(fields.get(name))
        if thought:
            builder.add_thinking(thought, "", fields[name])
            return


def _parse_calls(text: JsonText, fields: dict[str, Extent], builder: ListBuilder) -> None:
    calls = fields.get("tool_calls")
    for extent in text.elements(calls) if calls and text.first_byte(calls) == b"[" else ():
        call = text.members(extent) if text.first_byte(extent) == b"{" else {}
        if "custom" in call:
            _parse_custom_call(text, call["custom"], text.string(call.get("id")), builder)
        else:
            parse_function_call(text, call.get("function", extent), text.string(call.get("id")), builder)
    if "function_call" in fields:
        parse_function_call(text, fields["function_call"], LEGACY_CALL_ID, builder)


def _parse_custom_call(text: JsonText, custom: Extent, call_id: str, builder: ListBuilder) -> None:
    """A call of a custom tool, whose input is free text."""
    fields = text.members(custom) if text.first_byte(custom) == b"{" else {}
    said = fields.get("input")
    places = {} if said is None else {TEXT_INPUT_PIECE: said}
    builder.add_call(call_id, text.string(fields.get("name")), text.string(said), lambda: places, is_text=True)


def _can_render(line: Line) -> bool:
    if isinstance(line, Opaque):
        return line.role is Role.USER and as_text(as_dict(line.block).get("type")) in _OPAQUE_OF_USER
    return not isinstance(line, Thought)


def _group_lines_by_message(shown: list[Line]) -> Iterable[list[Line]]:
    """A list per assistant message: texts, then calls. A text after a call begins another message."""
    for group in group_lines_by_reply(shown):
        start = 0
        for at in range(1, len(group)):
            if isinstance(group[at - 1], Call) and not isinstance(group[at], Call):
                yield group[start:at]
                start = at
        yield group[start:]


def _render_message(group: list[Line]) -> dict[str, Any]:
    first = group[0]
    if isinstance(first, Opaque):
        return {"role": first.role.value, "content": [first.block]}
    texts = [line.text for line in group if isinstance(line, SpokenText)]
    parts = [{"type": "text", "text": text} for text in texts]
    message: dict[str, Any] = {"role": first.role.value, "content": parts if len(texts) > 1 else "".join(texts) or None}
    calls = calls_among_lines(group)
    if calls:
        message["tool_calls"] = [_render_call(call) for call in calls]
    return message


def _render_call(call: Call) -> dict[str, Any]:
    arguments = encode_json(input_as_object(call.value)).decode()
    return {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _render_result(call: Call) -> dict[str, Any]:
    text = NO_RESULT if call.result is None else call.result
    return {"role": "tool", "tool_call_id": call.call_id, "content": text}
