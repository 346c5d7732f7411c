"""The recall tool over Anthropic Messages. A reply is one message of blocks; results stand in the user's next one.

    said with a hidden call     assistant [x, call] │ user [result] │ assistant [y, other] │ user [its result]
    as the agent has it         assistant [x, y, other] │ user [its result]

Blocks of several replies are numbered as one message's. `message_start` waits for the first block that is not ours.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ctxgc.adapters.wire.json_spans import Extent, JsonText, json_string, read_json, spliced
from ctxgc.core.errors import BadTranscript
from ctxgc.gateway.recall.reply_filter import (
    NO_MORE,
    TOOL_NAME,
    Edits,
    EventFilter,
    Shown,
    ToolCall,
    edit_event,
    event,
    json_list,
    list_reply,
    parse_arguments,
    parse_event,
    renumber,
    to_json,
)
from ctxgc.gateway.recall.tool import DESCRIPTION, SCHEMA, Exchange, Lists, ReplyPart, Wire, insert_hidden, match_parts

_PIECES = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}
_THOUGHTS = ("thinking", "redacted_thinking")
_CUT = frozenset({"max_tokens", "refusal", "model_context_window_exceeded"})
"""Reasons to stop in the middle of a call."""


class AnthropicTool(Wire):
    """The `Wire` of Anthropic Messages."""

    tool = b'{"name":"ctxgc_recall","description":' + DESCRIPTION + b',"input_schema":' + SCHEMA + b"}"
    list_name = "messages"

    def reinsert(self, lists: Lists, exchanges: Sequence[Exchange]) -> Edits:
        """See `Wire.reinsert`. The message's own blocks stay as the agent sent them, but those that went up already."""
        at, text = exchanges[0].at, lists.text
        marks = [part.mark for part in _content(lists.own_text, lists.own[at])]
        own = [part.raw for part in _content(text, lists.entries[at])]
        if len(marks) != len(own):
            return []
        edits: Edits = []
        ahead: list[bytes] = []
        used = 0
        for one in exchanges:
            said = read_json(one.said, lambda said: _content(said, said.extent))
            found = match_parts(said, marks[used:])
            if found is None:
                return []
            if one.is_beside:
                beside = _first_block(text, next(iter(lists.entries[at + 1 : at + 2]), None))
                if beside is None:
                    return []
                edits.append((Extent(beside, beside), one.results + b","))
                own = [*own[:used], *insert_hidden(own[used:], said, found)]
                break
            ahead += [one.said, self.turn(one.results)]
            used += found[-1]
        message = lists.entries[at]
        if used or edits:
            content = text.members(message)["content"]
            head, tail = text.data[message.start : content.start], text.data[content.end : message.end]
            ahead += [head + json_list(own[used:]) + tail] if own[used:] else []
            return [*edits, (message, b",".join(ahead))]
        # All came before it: the message itself stays as it is.
        return [(Extent(message.start, message.start), b",".join(ahead) + b",")]

    def result(self, call_id: str, text: str, *, is_error: bool) -> bytes:
        """See `Wire.result`."""
        fault = b',"is_error":true' if is_error else b""
        head = b'{"type":"tool_result","tool_use_id":' + json_string(call_id)
        return head + b',"content":' + json_string(text) + fault + b"}"

    def turn(self, results: bytes) -> bytes:
        """See `Wire.turn`."""
        return b'{"role":"user","content":[' + results + b"]}"

    def stream(self, shown: Shown) -> AnthropicFilter:
        """See `Wire.stream`."""
        return AnthropicFilter(shown)

    def whole(self, shown: Shown, data: bytes) -> AnthropicWhole:
        """See `Wire.whole`."""
        return AnthropicWhole(shown, data)


def _is_ours(block: dict[str, Any]) -> bool:
    return block.get("type") == "tool_use" and block.get("name") == TOOL_NAME


def _call(block: dict[str, Any]) -> ToolCall:
    return ToolCall(str(block.get("id", "")), block.get("input"))


def _part(raw: bytes, block: Any) -> ReplyPart:
    block = block if isinstance(block, dict) else {}
    mark = [block.get(name) for name in ("type", "id", "text", "thinking", "data")]
    return ReplyPart(raw, json.dumps(mark).encode(), _is_ours(block), block.get("type") in _THOUGHTS)


def _content(text: JsonText, message: Extent) -> list[ReplyPart]:
    """The blocks of what the model said; none if it did not say this."""
    fields = text.members(message)
    content = fields.get("content")
    if content is None or text.string(fields.get("role")) != "assistant":
        return []
    if text.first(content) == b'"':
        raw = b'{"type":"text","text":' + text.raw(content) + b"}"
        return [_part(raw, {"type": "text", "text": text.string(content)})]
    if text.first(content) != b"[":
        raise BadTranscript("the content of a message is neither text nor a list")
    return [_part(text.raw(one), text.value(one)) for one in text.elements(content)]


def _first_block(text: JsonText, message: Extent | None) -> int | None:
    """Where a user's message begins its results."""
    if message is None:
        return None
    fields = text.members(message)
    content = fields.get("content")
    if content is None or text.string(fields.get("role")) != "user" or text.first(content) != b"[":
        return None
    found = text.elements(content)
    return found[0].start if found else None


def _message(blocks: Sequence[bytes]) -> bytes:
    return b'{"role":"assistant","content":' + json_list(blocks) + b"}"


class AnthropicFilter(EventFilter):
    """See `Stream`."""

    def __init__(self, shown: Shown) -> None:
        super().__init__(shown)
        self._ours: set[int] = set()
        self._blocks: dict[int, dict[str, Any]] = {}
        self._inputs: dict[int, str] = {}
        self._is_cut = False

    def calls(self) -> list[ToolCall]:
        """See `Reply.calls`."""
        return [] if self._is_cut else [_call(self._whole(index)) for index in sorted(self._ours)]

    def said(self) -> bytes:
        """See `Reply.said`."""
        return _message([to_json(self._whole(index)) for index in sorted(self._blocks)])

    def end_early(self) -> bytes:
        """See `Reply.end_early`."""
        index, begun = self._shown.count, self._release()
        parts = {
            "content_block_start": {"content_block": {"type": "text", "text": ""}},
            "content_block_delta": {"delta": {"type": "text_delta", "text": NO_MORE}},
            "content_block_stop": {},
        }
        text = b"".join(event(name, {"type": name, "index": index} | value) for name, value in parts.items())
        return begun + text + self._closing(_ending)

    def _whole(self, index: int) -> dict[str, Any]:
        block = self._blocks[index]
        return block | {"input": parse_arguments(self._inputs[index])} if index in self._inputs else block

    def _take(self, raw: bytes) -> bytes:
        name, said = parse_event(raw)
        if name == "message_start":
            if not self._shown.is_begun:
                self._opening.append(raw)
            return b""
        index = said.get("index")
        if not isinstance(index, int):
            index = -1
        if name == "content_block_start" and index >= 0 and isinstance(said.get("content_block"), dict):
            return self._begin(raw, index, said["content_block"])
        if name.startswith("content_block_") and index in self._blocks:
            self._add(index, said.get("delta"))
            return b"" if index in self._ours else self._numbered(raw, index)
        if name in ("message_delta", "message_stop") and self._ours:
            delta = said.get("delta")
            self._is_cut = self._is_cut or (isinstance(delta, dict) and delta.get("stop_reason") in _CUT)
            self._tail.append(raw)
            return b""
        if name == "ping" and not self._shown.is_begun:
            self._opening.append(raw)
            return b""
        return self._release() + raw

    def _begin(self, raw: bytes, index: int, block: dict[str, Any]) -> bytes:
        self._blocks[index] = block
        if _is_ours(block):
            self._ours.add(index)
            self._is_pristine = False
            return b""
        self.has_others = self.has_others or block.get("type") == "tool_use"
        return self._release() + self._numbered(raw, index)

    def _numbered(self, raw: bytes, index: int) -> bytes:
        if self._number(index) == index:
            return raw
        return edit_event(raw, lambda text: renumber(text, text.members(text.extent), "index", self._numbers))

    def _add(self, index: int, delta: Any) -> None:
        if not isinstance(delta, dict):
            return
        block, kind = self._blocks[index], delta.get("type")
        if kind == "input_json_delta":
            self._inputs[index] = self._inputs.get(index, "") + str(delta.get("partial_json", ""))
        elif kind == "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta.get("citation")]
        elif (name := _PIECES.get(str(kind))) is not None:
            block[name] = str(block.get(name, "")) + str(delta.get(name, ""))


def _ending(text: JsonText) -> Edits:
    """The end of a message in which nothing more is called."""
    delta = text.members(text.extent).get("delta")
    if delta is None or text.first(delta) != b"{" or "stop_reason" not in (fields := text.members(delta)):
        return []
    return [(fields["stop_reason"], b'"end_turn"')]


class AnthropicWhole:
    """See `Reply`. Raises `BadTranscript` for what is no message."""

    def __init__(self, shown: Shown, data: bytes) -> None:
        self._data = data
        self._shown = shown
        self._has_earlier = bool(shown.parts)
        self._fields, self._stop, self._parts = read_json(data, lambda text: list_reply(text, "content", "stop_reason"))
        self._ours = [block for _, block in self._parts if _is_ours(block)]
        self.has_others = any(block.get("type") == "tool_use" and not _is_ours(block) for _, block in self._parts)
        shown.parts += [raw for raw, block in self._parts if not _is_ours(block)]

    def calls(self) -> list[ToolCall]:
        """See `Reply.calls`."""
        return [] if self._stop in _CUT else [_call(block) for block in self._ours]

    def said(self) -> bytes:
        """See `Reply.said`."""
        return _message([raw for raw, _ in self._parts])

    def end(self) -> bytes:
        """See `Reply.end`: this reply, with what earlier ones said before it and without our calls."""
        if not self._has_earlier and not self._ours:
            return self._data
        return spliced(self._data, [(self._fields["content"], json_list(self._shown.parts))])

    def end_early(self) -> bytes:
        """See `Reply.end_early`."""
        said = to_json({"type": "text", "text": NO_MORE})
        edits = [(self._fields["content"], json_list([*self._shown.parts, said]))]
        if "stop_reason" in self._fields:
            edits.append((self._fields["stop_reason"], b'"end_turn"'))
        return spliced(self._data, edits)
