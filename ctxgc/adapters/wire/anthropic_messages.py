"""Anthropic Messages as a wire format: `{"system": …, "messages": […]}`, or a bare list of messages.

    assistant  [text] [thinking] [tool_use a] [tool_use b]          a, b ─┐  one tool call each: the call, and the
    user       [tool_result a] [tool_result b] [text] ◀───────────────────┘  result in the next user message

Blocks of a run of assistant messages with signed thinking are never edited, because the API joins the run to a turn and
the signature covers the turn; results lie in the user's message and may go. Unknown blocks are kept verbatim and never
edited.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from ctxgc.adapters.contract import Slot, StandIn, WireWindow
from ctxgc.adapters.host_texts.dialects import make_host_texts
from ctxgc.adapters.host_texts.wrappers import interjected_words
from ctxgc.adapters.json_spans import Extent, JsonText, read_json
from ctxgc.adapters.json_values import encode_json
from ctxgc.adapters.skeletons import locate_input_pieces
from ctxgc.adapters.wire.folded_results import read_folded_result
from ctxgc.adapters.wire.list_builder import ListBuilder
from ctxgc.adapters.wire.rendering import (
    NO_RESULT,
    SESSION_START,
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
from ctxgc.core.pacing.own_breakpoint import BREAKPOINT_BLOCKS
from ctxgc.core.pacing.provider_cache import LONG_LIFE_S, SHORT_LIFE_S
from ctxgc.core.segment import Kind, Role

NO_OUTPUT = "(no output)"
"""The rendered result of a failed call with an empty result: the API takes no empty error."""

BILLING_LINE = "x-anthropic-billing-header:"
"""The first block of a system prompt of Claude Code's. Its words are others in each request, and its maker's API takes
it off before the model and the cache see the prompt."""

_OPAQUE_OF_USER = frozenset({"image", "document", "search_result", "container_upload"})
_OPAQUE_OF_RESULT = frozenset({"image", "document", "search_result", "tool_reference"})
_OPAQUE_OF_ASSISTANT = frozenset({"redacted_thinking"})
_SIGNABLE = frozenset({"text", "thinking", "redacted_thinking", "tool_use"})
"""Blocks of the model itself; other blocks hold what servers returned, sealed or not."""
_CACHE_CONTROL = b'"cache_control"'
_BLANK = b'" \\nrt'
"""Characters of a JSON string of white space. A word of these letters alone is taken for blank: no harm is done."""


class AnthropicMessages:
    """The `WireFormat` of Anthropic Messages."""

    name = "anthropic_messages"

    def parse(self, request: bytes, agent: str = "") -> WireWindow:
        """See `WireFormat.parse`. Strings are decoded once; other blocks are only skipped."""
        return read_json(request, lambda text: _parse_request(text, ListBuilder(make_host_texts(agent))))

    def splice(self, request: bytes, window: WireWindow, stand_ins: Mapping[str, StandIn]) -> bytes:
        """See `WireFormat.splice`."""
        return splice_stand_ins(request, window, stand_ins)

    def render(self, slots: Iterable[Slot]) -> bytes:
        """See `WireFormat.render`: an object with `system` (if there is any) and `messages`.

        System text after the first message renders as the user's: the API takes system text only in front, and a move
        to the front would edit the prefix (I14). Thinking without a signature is left out, since the API refuses such
        thinking, and so is evicted thinking, blank text, and blocks of other APIs. A window that starts with the
        assistant gets a user message in front, because the API wants one.
        """
        shown = [line for line in lines_of_slots(slots) if _can_render(line)]
        front = next((i for i, line in enumerate(shown) if not _is_system_text(line)), len(shown))
        system = [{"type": "text", "text": line.text} for line in shown[:front] if isinstance(line, SpokenText)]
        messages = _render_messages(shown[front:])
        return encode_json({"system": system, "messages": messages} if system else {"messages": messages})


def _parse_request(text: JsonText, builder: ListBuilder) -> WireWindow:
    messages = text.extent
    if text.first_byte(text.extent) == b"{":
        fields = text.members(text.extent)
        if "messages" not in fields:
            raise BadTranscript("no `messages` in this request")
        messages = fields["messages"]
        if "system" in fields:
            _parse_user_or_system_content(text, fields["system"], builder, Kind.SYSTEM, Role.SYSTEM)
    if text.first_byte(messages) != b"[":
        raise BadTranscript("`messages` is not a list")
    for index, extent in enumerate(text.elements(messages)):
        _parse_message(text, extent, builder, index)
    return builder.build_window()


def _parse_message(text: JsonText, extent: Extent, builder: ListBuilder, index: int) -> None:
    if text.first_byte(extent) != b"{":
        builder.skipped["message"] += 1
        return
    fields = text.members(extent)
    role = text.string(fields.get("role"))
    content = fields.get("content")
    builder.begin_message(index, role == "assistant", is_aside=role == "system")
    if content is None or role not in ("user", "assistant", "system"):
        builder.skipped[f"role {role}"[:40]] += 1
    elif role == "assistant":
        _parse_assistant_content(text, content, builder)
    elif role == "user":
        _parse_user_or_system_content(text, content, builder, Kind.USER, Role.USER)
    else:
        _parse_user_or_system_content(text, content, builder, Kind.SYSTEM, Role.SYSTEM)


def _typed_blocks(text: JsonText, content: Extent, builder: ListBuilder) -> list[tuple[str, Extent, dict[str, Extent]]]:
    """(type, extent, members) of each block of a list."""
    found = []
    for extent in text.elements(content) if text.first_byte(content) == b"[" else ():
        if text.first_byte(extent) == b"{":
            fields = text.members(extent)
            found.append((text.string(fields.get("type")), extent, fields))
        else:
            builder.skipped["block"] += 1
    return found


def _parse_user_or_system_content(text: JsonText, said: Extent, builder: ListBuilder, kind: Kind, role: Role) -> None:
    """The user's or the system's content: texts, results of calls, and blocks that are not text."""
    if text.first_byte(said) == b'"':
        _add_text_by_speaker(text, kind, role, said, builder)
        builder.end_block(said)
    for block, extent, fields in _typed_blocks(text, said, builder):
        if block == "text":
            if kind is Kind.SYSTEM and text.string(fields.get("text")).startswith(BILLING_LINE):
                continue
            _add_text_by_speaker(text, kind, role, fields.get("text"), builder)
        elif block == "tool_result" and "tool_use_id" in fields:
            is_error = text.value(fields["is_error"]) is True if "is_error" in fields else None
            result = read_folded_result(text, fields.get("content"), can_fold=builder.can_fold)
            builder.join_folded_result(text.string(fields.get("tool_use_id")), result, is_error)
        else:
            builder.add_opaque_block(kind, role, text.value(extent))
        _end_block_with_breakpoints(text, block, extent, fields, builder)


def _add_text_by_speaker(text: JsonText, kind: Kind, role: Role, extent: Extent | None, builder: ListBuilder) -> None:
    said = text.string(extent)
    if kind is Kind.USER:
        builder.add_user_text(said, extent)
    elif role is Role.SYSTEM and (words := interjected_words(said)) is not None:
        builder.add_text(Kind.USER, Role.USER, words, None)  # Some models get what the user typed as a system message.
    else:
        builder.add_text(kind, role, said, extent)


def _parse_assistant_content(text: JsonText, content: Extent, builder: ListBuilder) -> None:
    if text.first_byte(content) == b'"':
        builder.add_text(Kind.ASSISTANT, Role.ASSISTANT, text.string(content), content)
        builder.end_block(content)
    blocks = _typed_blocks(text, content, builder)
    if any(block in _SIGNABLE and is_signed(text, fields) for block, _, fields in blocks):
        builder.note_signature()
    for block, extent, fields in blocks:
        if block == "text":
            builder.add_text(Kind.ASSISTANT, Role.ASSISTANT, text.string(fields.get("text")), fields.get("text"))
        elif block == "thinking":
            thought = fields.get("thinking")
            builder.add_thinking(text.string(thought), text.string(fields.get("signature")), thought)
        elif block == "tool_use":
            value = text.value(fields["input"]) if "input" in fields else {}
            places = partial(locate_input_pieces, text, fields["input"]) if "input" in fields else None
            builder.add_call(text.string(fields.get("id")), text.string(fields.get("name")), value, places)
        else:
            builder.add_opaque_block(Kind.ASSISTANT, Role.ASSISTANT, text.value(extent))
        _end_block_with_breakpoints(text, block, extent, fields, builder)


def _end_block_with_breakpoints(
    text: JsonText, block: str, extent: Extent, fields: dict[str, Extent], builder: ListBuilder
) -> None:
    """Note the block with its cache breakpoints: a breakpoint on a part of a result counts as a breakpoint on the
    result."""
    lives_s = breakpoint_life_s(text, fields.get("cache_control"))
    content = fields.get("content")
    is_list = block == "tool_result" and content is not None and text.first_byte(content) == b"["
    if is_list and content is not None and _CACHE_CONTROL in text.raw_bytes(content):
        parts = [text.members(part) for part in text.elements(content) if text.first_byte(part) == b"{"]
        lives_s += tuple(life_s for part in parts for life_s in breakpoint_life_s(text, part.get("cache_control")))
    is_blank = block == "text" and ("text" not in fields or not text.raw_bytes(fields["text"]).strip(_BLANK))
    has_room = "cache_control" not in fields or bool(lives_s)  # A null in its place leaves no room for a breakpoint.
    builder.end_block(extent, lives_s, may_carry=block in BREAKPOINT_BLOCKS and has_room and not is_blank)


def breakpoint_life_s(text: JsonText, cache_control: Extent | None) -> tuple[float, ...]:
    """The life of a `cache_control`; empty without one: only an object is a breakpoint."""
    if cache_control is None or text.first_byte(cache_control) != b"{":
        return ()
    return (LONG_LIFE_S if text.string(text.members(cache_control).get("ttl")) == "1h" else SHORT_LIFE_S,)


def _is_system_text(line: Line) -> bool:
    return isinstance(line, SpokenText) and line.role in (Role.SYSTEM, Role.DEVELOPER)


def _can_render(line: Line) -> bool:
    if isinstance(line, Thought):
        return bool(line.signature)
    if isinstance(line, Opaque):
        known = _OPAQUE_OF_ASSISTANT if line.role is Role.ASSISTANT else _OPAQUE_OF_USER
        return _block_type(line.block) in known
    return True


def _block_type(block: Any) -> str:
    return str(block.get("type", "")) if isinstance(block, dict) else ""


def _render_messages(shown: list[Line]) -> list[dict[str, Any]]:
    """Alternating messages: every group of calls is followed at once by all its results."""
    messages: list[dict[str, Any]] = []
    left = len(shown)
    for group in group_lines_by_reply(shown):
        left -= len(group)
        is_assistant = group[0].role is Role.ASSISTANT
        _add_blocks(messages, "assistant" if is_assistant else "user", [_render_block(line) for line in group])
        calls = calls_among_lines(group)
        if left or any(call.result is not None for call in calls):
            _add_blocks(messages, "user", [_render_result(call) for call in calls])
    if messages and messages[0]["role"] == "assistant":
        messages.insert(0, {"role": "user", "content": [{"type": "text", "text": SESSION_START}]})
    return messages


def _add_blocks(messages: list[dict[str, Any]], role: str, blocks: list[dict[str, Any]]) -> None:
    """Add blocks: to the last message of this role, else as a new message."""
    # The API takes no assistant message that ends in thinking.
    while role == "assistant" and blocks and blocks[-1]["type"] in ("thinking", "redacted_thinking"):
        blocks.pop()
    if not blocks:
        return
    if messages and messages[-1]["role"] == role:
        messages[-1]["content"] += blocks
    else:
        messages.append({"role": role, "content": blocks})


def _render_block(line: Line) -> dict[str, Any]:
    match line:
        case SpokenText():
            return {"type": "text", "text": line.text}
        case Thought():
            return {"type": "thinking", "thinking": line.text, "signature": line.signature}
        case Call():
            return {"type": "tool_use", "id": line.call_id, "name": line.name, "input": input_as_object(line.value)}
        case Opaque():
            return dict(line.block)


def _render_result(call: Call) -> dict[str, Any]:
    text = NO_RESULT if call.result is None else call.result
    if call.is_error and not text.strip():
        text = NO_OUTPUT
    opaque = [block for block in call.opaque if _block_type(block) in _OPAQUE_OF_RESULT]
    blocks = [{"type": "text", "text": text}] if text.strip() else []
    content = [*blocks, *opaque] if opaque else text
    error = {} if call.is_error is None else {"is_error": bool(call.is_error)}
    return {"type": "tool_result", "tool_use_id": call.call_id, "content": content, **error}
