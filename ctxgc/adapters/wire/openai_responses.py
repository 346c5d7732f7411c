"""OpenAI Responses as a wire format: `{"instructions": …, "input": […]}`, or a bare list of items.

    reasoning, message assistant, function_call a, function_call b     a, b ─┐  one tool call each: the call, and the
    function_call_output a, function_call_output b  ◀────────────────────────┘  output item that follows

A reply is a run of the model's items. Reasoning is never edited, nor a signed item or the later items of its reply:
only outputs are evictable. An item of any other type is an opaque member of its turn and stays unchanged, be
it OpenAI's own tool or an unknown item: the items around mean the same with and without the item. A `compaction` item
is a summary that only the server reads. A request whose beginning the server keeps (`previous_response_id`) is left
alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ctxgc.adapters.contract import Slot, StandIn, WireWindow
from ctxgc.adapters.facts.codex_results import is_failed_codex_output
from ctxgc.adapters.facts.tool_facts import NO_CALL_FACTS, Facts
from ctxgc.adapters.host_texts.codex import ResponsesTexts, kind_and_facts_of_agent_message
from ctxgc.adapters.host_texts.dialects import make_host_texts
from ctxgc.adapters.host_texts.folds import FoldedResult
from ctxgc.adapters.json_spans import Extent, JsonText, read_json
from ctxgc.adapters.json_values import block_text, encode_json
from ctxgc.adapters.skeletons import TEXT_INPUT_PIECE
from ctxgc.adapters.wire.folded_results import read_folded_result
from ctxgc.adapters.wire.list_builder import ListBuilder
from ctxgc.adapters.wire.openai_calls import edit_arguments, parse_function_call
from ctxgc.adapters.wire.rendering import (
    NO_RESULT,
    Call,
    Line,
    Opaque,
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

_KEPT_BY_THE_SERVER = ("previous_response_id", "conversation", "prompt")
"""Members that add text to the prompt outside of the request."""


class _ItemSpeaker(NamedTuple):
    """The speaker of an item's texts, and the facts."""

    kind: Kind
    role: Role
    facts: Facts = NO_CALL_FACTS


_THE_USER = _ItemSpeaker(Kind.USER, Role.USER)
"""The host writes in the user's name too: each text is read for itself."""
_SPEAKERS = {
    "system": _ItemSpeaker(Kind.SYSTEM, Role.SYSTEM),
    "developer": _ItemSpeaker(Kind.SYSTEM, Role.DEVELOPER),
    "assistant": _ItemSpeaker(Kind.ASSISTANT, Role.ASSISTANT),
}
_CALLS = {
    "function_call": "function_call_output",
    "custom_tool_call": "custom_tool_call_output",
    "local_shell_call": "local_shell_call_output",
    "tool_search_call": "tool_search_output",
    "web_search_call": "",
}
"""Each kind of call, and the item that answers it; a search on the web has no answer in the request."""
_OUTPUTS = frozenset(filter(None, _CALLS.values()))
_SETTINGS = frozenset({"additional_tools", "configuration_update"})
"""Items that change the model's tools or permissions; no speaker said such items, and they stay."""
_COMPACTIONS = frozenset({"compaction", "context_compaction", "compaction_summary"})
"""Items in which the server has summed the session up."""
_TRIGGER = "compaction_trigger"
"""The item that asks the server to sum the session up."""
_REFERENCE = "item_reference"
"""An item that the server keeps: the item belongs to the turn in which it stands."""
_ANSWERS = ("_output", "_response")
"""Endings of the types of items with which the host, not the model, goes on."""
_OPAQUE_OF_USER = frozenset({"input_image", "input_file", "input_audio"})
_OPAQUE_OF_RESULT = frozenset({"input_image", "input_file"})

Members = Mapping[str, Extent]


class OpenAiResponses:
    """The `WireFormat` of OpenAI Responses."""

    name = "openai_responses"

    def parse(self, request: bytes, agent: str = "") -> WireWindow:
        """See `WireFormat.parse`. Raises `BadTranscript` too for JSON that must be left alone."""
        return read_json(
            request, lambda text: _parse_request(text, ListBuilder(make_host_texts(agent) or ResponsesTexts()))
        )

    def splice(self, request: bytes, window: WireWindow, stand_ins: Mapping[str, StandIn]) -> bytes:
        """See `WireFormat.splice`."""
        return splice_stand_ins(request, window, stand_ins, edit_arguments)

    def render(self, slots: Iterable[Slot]) -> bytes:
        """See `WireFormat.render`: an object with `input`.

        Reasoning is left out, since only the server's encrypted reasoning may be sent back, and so is blank text and
        blocks of other APIs. Inputs that are free text render as calls of a custom tool. A failed call shows in its
        text.
        """
        shown = [line for line in lines_of_slots(slots) if _can_render(line)]
        items: list[dict[str, Any]] = []
        left = len(shown)
        for group in group_lines_by_reply(shown):
            left -= len(group)
            items += [_render_item(line) for line in group]
            calls = calls_among_lines(group)
            if left or any(call.result is not None for call in calls):
                items += [_render_output(call) for call in calls]
        return encode_json({"input": items})


@dataclass(slots=True)
class _ItemReader:
    """The speaker of the next items: the model, in a reply, or another speaker; and whether the reply is sealed so
    far."""

    builder: ListBuilder
    index: int = -1
    is_assistant: bool = False
    is_sealed: bool = False

    def begin_item(self, is_assistant: bool) -> None:
        """The next item is the model's or not."""
        self.index += 1
        if not self.index or is_assistant != self.is_assistant:
            self.builder.begin_message(self.index, is_assistant)
            self.is_assistant, self.is_sealed = is_assistant, False


def _parse_request(text: JsonText, builder: ListBuilder) -> WireWindow:
    items = text.extent
    if text.first_byte(text.extent) == b"{":
        fields = text.members(text.extent)
        for name in _KEPT_BY_THE_SERVER:
            if name in fields and text.first_byte(fields[name]) not in (b"n", b"f"):
                raise BadTranscript(f"`{name}`: the server keeps a part of this prompt")
        if "input" not in fields:
            raise BadTranscript("no `input` in this request")
        items = fields["input"]
        if "instructions" in fields:
            said = fields["instructions"]
            builder.add_text(Kind.SYSTEM, Role.SYSTEM, text.string(said), said)
        if text.first_byte(items) == b'"':
            builder.add_user_text(text.string(items), items)
            return builder.build_window()
    if text.first_byte(items) != b"[":
        raise BadTranscript("`input` is neither a list nor a text")
    run = _ItemReader(builder)
    for extent in text.elements(items):
        if text.first_byte(extent) != b"{":
            raise BadTranscript("an item of `input` is no object")
        _parse_item(text, extent, text.members(extent), run)
    return builder.build_window()


def _parse_item(text: JsonText, extent: Extent, fields: Members, run: _ItemReader) -> None:
    kind = text.string(fields.get("type")) or _type_of_untyped_item(fields)
    if kind == "message":
        _parse_message(text, fields, run)
    elif kind == "agent_message":
        run.begin_item(False)
        kind, facts = kind_and_facts_of_agent_message(
            text.string(fields.get("author")), text.string(fields.get("recipient"))
        )
        _parse_content(text, fields, run, _ItemSpeaker(kind, Role.USER, facts))
    elif kind == "reasoning":
        run.begin_item(True)
        _parse_reasoning(text, fields, run)
    elif kind in _CALLS:
        run.begin_item(True)
        run.is_sealed |= is_signed(text, fields)
        _parse_call_item(text, extent, fields, kind, run)
    elif kind in _OUTPUTS:
        run.begin_item(False)
        output = fields.get("output", fields.get("tools"))
        result = read_folded_result(text, output, can_fold=run.builder.can_fold)
        is_error = True if is_failed_codex_output(result.content) else None
        run.builder.join_folded_result(text.string(fields.get("call_id")), result, is_error)
    elif kind in _SETTINGS or kind == _TRIGGER:
        run.builder.skipped[kind] += 1
    elif kind in _COMPACTIONS:
        run.begin_item(False)
        run.builder.add_opaque_block(Kind.SUMMARY, Role.USER, text.value(extent))
    elif kind:
        _parse_opaque_item(text, extent, fields, kind, run)
    else:
        raise BadTranscript("an item of `input` has no type")


def _type_of_untyped_item(fields: Members) -> str:
    """The API takes a message without a type, and the bare id of an item that the server keeps."""
    return "message" if "role" in fields else _REFERENCE if "id" in fields else ""


def _parse_opaque_item(text: JsonText, extent: Extent, fields: Members, kind: str, run: _ItemReader) -> None:
    """An item that is not edited: the model's, or the host's answer to the model."""
    is_models = run.is_assistant if kind == _REFERENCE else not kind.endswith(_ANSWERS)
    run.begin_item(is_models)
    run.is_sealed |= is_models and "encrypted_content" in fields
    speaker = (Kind.ASSISTANT, Role.ASSISTANT) if is_models else (Kind.ATTACHMENT, Role.USER)
    run.builder.add_opaque_block(*speaker, text.value(extent))


def _parse_message(text: JsonText, fields: Members, run: _ItemReader) -> None:
    role = text.string(fields.get("role"))
    if role != "user" and role not in _SPEAKERS:
        raise BadTranscript(f"a message of role {role[:40]!r} is not understood")
    run.begin_item(role == "assistant")
    run.is_sealed |= role == "assistant" and is_signed(text, fields)
    _parse_content(text, fields, run, _SPEAKERS.get(role, _THE_USER))


def _parse_content(text: JsonText, fields: Members, run: _ItemReader, speaker: _ItemSpeaker) -> None:
    """A text, or parts that are a segment each."""
    content = fields.get("content")
    if content is None:
        return
    if text.first_byte(content) == b'"':
        _add_text_by_speaker(text, content, run, speaker)
        return
    for extent in text.elements(content) if text.first_byte(content) == b"[" else ():
        part = text.members(extent) if text.first_byte(extent) == b"{" else {}
        if block_text({"type": text.string(part.get("type")), "text": ""}) is not None and "text" in part:
            _add_text_by_speaker(text, part["text"], run, speaker)
        else:
            run.builder.add_opaque_block(speaker.kind, speaker.role, text.value(extent))


def _add_text_by_speaker(text: JsonText, extent: Extent, run: _ItemReader, speaker: _ItemSpeaker) -> None:
    said, editable = text.string(extent), None if run.is_sealed else extent
    if speaker is _THE_USER:
        run.builder.add_user_text(said, editable)
    else:
        run.builder.add_text(speaker.kind, speaker.role, said, editable, speaker.facts)


def _parse_reasoning(text: JsonText, fields: Members, run: _ItemReader) -> None:
    """The readable part; the rest is the server's, and seals the items behind it in the reply."""
    run.is_sealed |= is_signed(text, fields)
    parts = [text.value(fields[name]) for name in ("summary", "content") if name in fields]
    items = [part.get("text") for each in parts if isinstance(each, list) for part in each if isinstance(part, dict)]
    said = "\n\n".join(item for item in items if isinstance(item, str) and item.strip())
    if said:
        run.builder.add_thinking(said, "", None)
    else:
        run.builder.skipped["reasoning_encrypted"] += 1


def _parse_call_item(text: JsonText, extent: Extent, fields: Members, kind: str, run: _ItemReader) -> None:
    call_id = text.string(fields.get("call_id")) or text.string(fields.get("id")) or ("" if _CALLS[kind] else kind)
    name = text.string(fields.get("name")) or kind.removesuffix("_call")
    if kind == "function_call":
        parse_function_call(text, extent, call_id, run.builder, is_editable=not run.is_sealed)
    elif kind == "custom_tool_call":
        said = fields.get("input")
        places = {} if said is None or run.is_sealed else {TEXT_INPUT_PIECE: said}
        run.builder.add_call(call_id, name, text.string(said), lambda: places, is_text=True)
    else:
        place = fields.get("arguments", fields.get("action"))
        run.builder.add_call(call_id, name, {} if place is None else text.value(place), None)
    if not _CALLS[kind]:
        run.builder.join_folded_result(call_id, FoldedResult())


def _can_render(line: Line) -> bool:
    if isinstance(line, Opaque):
        return line.role is Role.USER and _block_type(line.block) in _OPAQUE_OF_USER
    return not isinstance(line, Thought)


def _block_type(block: Any) -> str:
    return str(block.get("type", "")) if isinstance(block, dict) else ""


def _render_item(line: Line) -> dict[str, Any]:
    match line:
        case Call():
            return _render_call(line)
        case Opaque():
            return {"type": "message", "role": line.role.value, "content": [line.block]}
        case _:
            kind = "output_text" if line.role is Role.ASSISTANT else "input_text"
            content = [{"type": kind, "text": line.text}]
            return {"type": "message", "role": line.role.value, "content": content}


def _render_call(call: Call) -> dict[str, Any]:
    named = {"call_id": call.call_id, "name": call.name}
    if isinstance(call.value, str):
        return {"type": "custom_tool_call", **named, "input": call.value}
    return {"type": "function_call", **named, "arguments": encode_json(input_as_object(call.value)).decode()}


def _render_output(call: Call) -> dict[str, Any]:
    text = NO_RESULT if call.result is None else call.result
    opaque = [block for block in call.opaque if _block_type(block) in _OPAQUE_OF_RESULT]
    parts = [{"type": "input_text", "text": text}] if text.strip() else []
    kind = "custom_tool_call_output" if isinstance(call.value, str) else "function_call_output"
    return {"type": kind, "call_id": call.call_id, "output": [*parts, *opaque] if opaque else text}
