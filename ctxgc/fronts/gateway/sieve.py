"""A reply of Anthropic's API with the calls of the recall tool taken out. Sans-I/O: bytes in, bytes for the agent out.

    message_start ──held until the first block shows what it is──▶ any other block ──▶ passes, and what follows
                                                               └─▶ ours ──▶ kept out; the reply's end is held too

One message of the agent may be made of several replies: after the first, blocks are numbered on, and no second
message begins. An event whose number need not change passes as the bytes that it was.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from ctxgc.adapters.spans import Extent, JsonText, read_json, spliced
from ctxgc.core.errors import BadTranscript
from ctxgc.fronts.gateway.recall_tool import TOOL_NAME

EVENT_BYTES_MAX = 8 * 2**20
NO_MORE = "[ctxgc: no more content can be brought back in this turn.]"
"""What the agent reads where the model goes on recalling, and would say nothing else."""
_END = re.compile(rb"\r?\n\r?\n")
_PIECES = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}


class ToolCall(NamedTuple):
    """A call of the recall tool."""

    id: str
    input: Any
    after: int
    """So many blocks of the agent's message came before it."""
    block: bytes


@dataclass(slots=True)
class Shown:
    """What the agent has of its message so far. Mutable; shared by the replies that make it."""

    is_begun: bool = False
    blocks: int = 0
    parts: list[bytes] = field(default_factory=list)
    """The blocks themselves, of replies that are no streams."""


class Sieve:
    """Reads one streamed reply. Never raises: what it cannot read passes as it came."""

    def __init__(self, shown: Shown) -> None:
        self._shown = shown
        self._left = b""
        self._held = b""
        self._tail: list[bytes] = []
        self._is_lost = False
        self._ours: set[int] = set()
        self._numbers: dict[int, int] = {}
        self._after: dict[int, int] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._inputs: dict[int, str] = {}
        self.has_others = False
        """Other calls are in it, which the agent runs."""

    def feed(self, data: bytes) -> bytes:
        """What of it the agent gets now."""
        if self._is_lost:
            return data
        self._left += data
        out = []
        while (end := _END.search(self._left)) is not None:
            event, self._left = self._left[: end.end()], self._left[end.end() :]
            out.append(self._take(event))
        if len(self._left) > EVENT_BYTES_MAX:
            self._is_lost = True
            out.append(self._release() + self._left)
        return b"".join(out)

    def end(self) -> bytes:
        """The rest, for a reply after which nothing more is asked."""
        rest = self._release() + b"".join(self._tail) + self._left
        self._tail, self._left = [], b""
        return rest

    def end_early(self) -> bytes:
        """The end of a message that would go on with a call of ours, had it not been the last one allowed."""
        index, begun = self._shown.blocks, self._release()
        block = {"index": index, "content_block": {"type": "text", "text": ""}}
        said = {"index": index, "delta": {"type": "text_delta", "text": NO_MORE}}
        events = (
            ("content_block_start", block),
            ("content_block_delta", said),
            ("content_block_stop", {"index": index}),
        )
        text = b"".join(_event(name, {"type": name} | value) for name, value in events)
        tail = b"".join(self._tail).replace(b'"tool_use"', b'"end_turn"')
        self._tail = []
        return begun + text + tail

    def calls(self) -> list[ToolCall]:
        """The calls of the tool, once the reply has ended."""
        return [self._call(index) for index in sorted(self._ours)]

    def blocks(self) -> list[bytes]:
        """The reply's blocks, all of them."""
        return [_encoded(self._whole(index)) for index in sorted(self._blocks)]

    def _call(self, index: int) -> ToolCall:
        block = self._whole(index)
        return ToolCall(str(block.get("id", "")), block["input"], self._after[index], _encoded(block))

    def _whole(self, index: int) -> dict[str, Any]:
        block = self._blocks[index]
        if index not in self._inputs:
            return block
        try:
            given = json.loads(self._inputs[index] or "{}")
        except ValueError:  # It was cut short.
            given = {}
        return block | {"input": given}

    def _release(self) -> bytes:
        held, self._held = self._held, b""
        self._shown.is_begun = self._shown.is_begun or bool(held)
        return held

    def _take(self, raw: bytes) -> bytes:
        name, event = _read(raw)
        if name == "message_start":
            self._held += b"" if self._shown.is_begun else raw
            return b""
        index = event.get("index")
        if not isinstance(index, int):
            index = -1
        if name == "content_block_start" and index >= 0 and isinstance(event.get("content_block"), dict):
            return self._begin(raw, event)
        if name.startswith("content_block_") and index in self._blocks:
            self._add(index, event.get("delta"))
            return b"" if index in self._ours else self._numbered(raw, event)
        if name in ("message_delta", "message_stop") and self._ours:
            self._tail.append(raw)
            return b""
        if name == "ping" and not self._shown.is_begun:
            self._held += raw
            return b""
        return self._release() + raw

    def _begin(self, raw: bytes, event: dict[str, Any]) -> bytes:
        index, block = event["index"], event["content_block"]
        self._blocks[index] = block
        self._after[index] = self._shown.blocks
        if block.get("type") == "tool_use" and block.get("name") == TOOL_NAME:
            self._ours.add(index)
            return b""
        self.has_others = self.has_others or block.get("type") == "tool_use"
        self._numbers[index] = self._shown.blocks
        self._shown.blocks += 1
        return self._release() + self._numbered(raw, event)

    def _numbered(self, raw: bytes, event: dict[str, Any]) -> bytes:
        number = self._numbers[event["index"]]
        if number == event["index"]:
            return raw
        at = raw.index(b"{")

        def renumbered(text: JsonText) -> bytes:
            return spliced(text.data, [(text.members(text.extent)["index"], str(number).encode())])

        try:
            return raw[:at] + read_json(raw[at:], renumbered)
        except BadTranscript:  # Cut into several lines, which this API does not do.
            return _event(str(event.get("type")), event | {"index": number})

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


class Whole:
    """Reads one reply that is no stream. Raises `BadTranscript` for what is none."""

    def __init__(self, shown: Shown, data: bytes) -> None:
        self._data = data
        self._shown = shown
        self._raw: list[bytes] = []
        self._calls: list[ToolCall] = []
        self._has_earlier = bool(shown.parts)
        self.has_others = False
        self._places, found = read_json(data, _content)
        for raw, block in found:
            self._take(raw, block if isinstance(block, dict) else {})

    def calls(self) -> list[ToolCall]:
        """The calls of the tool."""
        return self._calls

    def blocks(self) -> list[bytes]:
        """The reply's blocks, all of them, as they came."""
        return self._raw

    def end(self) -> bytes:
        """The message for the agent: this reply, with what earlier ones said before it and without our calls."""
        if not self._calls and not self._has_earlier:
            return self._data
        return spliced(self._data, [(self._places["content"], _listed(self._shown.parts))])

    def end_early(self) -> bytes:
        """As `end`, where a call of ours would go on but may not."""
        said = _encoded({"type": "text", "text": NO_MORE})
        edits = [(self._places["content"], _listed([*self._shown.parts, said]))]
        if "stop_reason" in self._places:
            edits.append((self._places["stop_reason"], b'"end_turn"'))
        return spliced(self._data, edits)

    def _take(self, raw: bytes, block: dict[str, Any]) -> None:
        self._raw.append(raw)
        if block.get("type") == "tool_use" and block.get("name") == TOOL_NAME:
            self._calls.append(ToolCall(str(block.get("id", "")), block.get("input"), self._shown.blocks, raw))
            return
        self.has_others = self.has_others or block.get("type") == "tool_use"
        self._shown.blocks += 1
        self._shown.parts.append(raw)


def _content(text: JsonText) -> tuple[dict[str, Extent], list[tuple[bytes, Any]]]:
    """Where a reply has what, and its blocks."""
    fields = text.members(text.extent)
    content = fields.get("content")
    if content is None or text.first(content) != b"[":
        raise BadTranscript("a reply without content")
    return fields, [(text.data[one.start : one.end], text.value(one)) for one in text.elements(content)]


def _listed(blocks: list[bytes]) -> bytes:
    return b"[" + b",".join(blocks) + b"]"


def _read(raw: bytes) -> tuple[str, dict[str, Any]]:
    """An event's name and data; nothing for what is none of this API's."""
    data = b"".join(line[5:].strip() for line in raw.splitlines() if line.startswith(b"data:"))
    named = next((line[6:].strip() for line in raw.splitlines() if line.startswith(b"event:")), b"")
    try:
        event = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "", {}
    if not isinstance(event, dict):
        return "", {}
    return str(event.get("type") or named.decode("latin-1")), event


def _event(name: str, value: Any) -> bytes:
    return f"event: {name}\ndata: ".encode() + _encoded(value) + b"\n\n"


def _encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
