"""The recall tool over OpenAI Responses. A reply is a run of items in the list; results are items behind it.

    said with a hidden call     reasoning, call │ output │ reasoning, message, other │ its output
    as the agent has it                                    reasoning, message, other │ its output

Only where the client keeps the whole window itself (`"store": false`): then what the server knows is what the request
says. Reasoning is sealed to what follows it, so that what the model thought before a call of ours is kept out with the
call, and goes up again in front of it; it waits, therefore, until the next item begins. Events and items are numbered
on over all replies of a message, and the last event's `output` is that of all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ctxgc.adapters.wire.json_spans import Extent, JsonText, json_string, read_json, spliced
from ctxgc.gateway.recall.reply_filter import (
    NO_MORE,
    TOOL_NAME,
    Edits,
    EventFilter,
    Fields,
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
from ctxgc.gateway.recall.tool import (
    DESCRIPTION,
    SCHEMA,
    Exchange,
    Lists,
    ReplyPart,
    Wire,
    hidden_by_place,
    match_parts,
)

_OPENING = frozenset({"response.created", "response.queued", "response.in_progress"})
_DONE = "response.completed"
_CLOSING = frozenset({_DONE, "response.incomplete", "response.failed"})
_SERVERS_OWN = frozenset(
    {"web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call", "mcp_call"}
)
"""Calls that the server answers itself, in the same reply."""
_SAID = frozenset({"message", "reasoning"}) | _SERVERS_OWN
"""Items after which the model goes on. Of any other it is the agent's turn."""
_ELSEWHERE = ("previous_response_id", "conversation", "prompt", "background")
"""Members by which a part of the window, or the reply itself, is kept by the server."""


class ResponsesTool(Wire):
    """The `Wire` of OpenAI Responses."""

    tool = (
        b'{"type":"function","name":"ctxgc_recall","description":'
        + DESCRIPTION
        + b',"strict":false,"parameters":'
        + SCHEMA
        + b"}"
    )
    list_name = "input"

    def takes(self, text: JsonText, fields: Fields) -> bool:
        """See `Wire.takes`: not where a server keeps the window, nor where tools are items of the list."""
        if "store" not in fields or text.value(fields["store"]) is not False:
            return False
        if any(name in fields and text.value(fields[name]) not in (None, False) for name in _ELSEWHERE):
            return False
        first = next(iter(text.elements(fields["input"])), None)
        return first is None or _type(text, first) != "additional_tools"

    def is_reply(self, entry: Any) -> bool:
        """See `Wire.is_reply`."""
        kind = entry.get("type", "message") if isinstance(entry, dict) else ""
        return bool(entry.get("role") == "assistant" if kind == "message" else kind == "reasoning" or "_call" in kind)

    def reinsert(self, lists: Lists, exchanges: Sequence[Exchange]) -> Edits:
        """See `Wire.reinsert`. The agent's items stay as they are; ours go between them."""
        at = exchanges[0].at
        own = [_part(b"", lists.own_text.value(one)) for one in lists.own[at:]]
        marks = [part.mark for part in own]
        into: dict[int, list[bytes]] = {}
        used = 0
        for one in exchanges:
            said = read_json(json_list([one.said]), _parts)
            found = match_parts(said, marks[used:])
            if found is None:
                return []
            for before, raws in hidden_by_place(said, found).items():
                into.setdefault(used + before, []).extend(raws)
            used += found[-1]
            if one.is_beside:
                rest = lists.own[at + used :]
                ends = (used + n for n, item in enumerate(rest) if _type(lists.own_text, item).endswith("_output"))
                place = next(ends, None)
                if place is None:
                    return []
                into.setdefault(place, []).append(one.results)
                break
            into.setdefault(used, []).append(one.results)
        edits: Edits = []
        for index, raws in into.items():
            if at + index < len(lists.entries):
                start = lists.entries[at + index].start
                edits.append((Extent(start, start), b",".join(raws) + b","))
            else:
                end = lists.entries[-1].end
                edits.append((Extent(end, end), b"," + b",".join(raws)))
        return edits

    def result(self, call_id: str, text: str, *, is_error: bool) -> bytes:
        """See `Wire.result`: that it failed shows in its text."""
        head = b'{"type":"function_call_output","call_id":' + json_string(call_id)
        return head + b',"output":' + json_string(text) + b"}"

    def stream(self, shown: Shown) -> ResponsesFilter:
        """See `Wire.stream`."""
        return ResponsesFilter(shown)

    def whole(self, shown: Shown, data: bytes) -> ResponsesWhole:
        """See `Wire.whole`."""
        return ResponsesWhole(shown, data)


def _is_ours(item: dict[str, Any]) -> bool:
    return item.get("type") == "function_call" and item.get("name") == TOOL_NAME


def _call(item: dict[str, Any]) -> ToolCall:
    return ToolCall(str(item.get("call_id", "")), parse_arguments(item.get("arguments")))


def _part(raw: bytes, item: Any) -> ReplyPart:
    item = item if isinstance(item, dict) else {}
    kind, content = item.get("type", "message"), item.get("content")
    texts = [part.get("text") for part in content if isinstance(part, dict)] if isinstance(content, list) else content
    mark = [kind, item.get("call_id"), item.get("encrypted_content"), texts if kind == "message" else None]
    return ReplyPart(raw, to_json(mark), _is_ours(item), _is_thought(item))


def _type(text: JsonText, item: Extent) -> str:
    return text.string(text.members(item).get("type")) if text.first(item) == b"{" else ""


def _parts(text: JsonText) -> list[ReplyPart]:
    """The items of what the model said."""
    items = text.elements(text.extent)
    values = [text.value(one) for one in items]
    parts = [_part(text.raw(one), value) for one, value in zip(items, values, strict=True)]
    hidden = _hidden(values)
    return [part._replace(is_hidden=index in hidden) for index, part in enumerate(parts)]


def _hidden(items: Sequence[dict[str, Any]]) -> set[int]:
    """Which items of a reply the agent is not shown: calls of ours, and thoughts with nothing of its own behind."""
    found: set[int] = set()
    thoughts: list[int] = []
    for index, item in enumerate(items):
        if _is_ours(item):
            found |= {index, *thoughts}
        thoughts = [*thoughts, index] if _is_thought(item) else []
    return found | set(thoughts) if found and not any(map(_is_others, items)) else found


def _is_thought(item: dict[str, Any]) -> bool:
    return item.get("type") == "reasoning" or item.get("type") in _SERVERS_OWN


def _is_others(item: dict[str, Any]) -> bool:
    return not _is_ours(item) and item.get("type") not in _SAID


def _is_lost_thought(item: dict[str, Any]) -> bool:
    """Whether the server would look for it where it keeps nothing."""
    return item.get("type") == "reasoning" and not item.get("encrypted_content")


def _tools(text: JsonText, fields: Fields) -> Edits:
    """The echo of the request's tools, without ours."""
    tools = fields.get("tools")
    if tools is None or text.first(tools) != b"[":
        return []
    named = [(one, text.string(text.members(one).get("name"))) for one in text.elements(tools)]
    kept = [text.raw(one) for one, name in named if name != TOOL_NAME]
    return [(tools, json_list(kept))] if len(kept) != len(named) else []


def _no_more() -> dict[str, Any]:
    said = {"type": "output_text", "text": NO_MORE, "annotations": []}
    return {"type": "message", "id": "msg_ctxgc", "status": "completed", "role": "assistant", "content": [said]}


class ResponsesFilter(EventFilter):
    """See `Stream`. Reasoning is held, as the opening is, until the next item shows whose it is."""

    def __init__(self, shown: Shown) -> None:
        super().__init__(shown)
        self._earlier = tuple(shown.parts)
        self._thoughts: list[tuple[int, bytes]] = []
        self._items: dict[int, dict[str, Any]] = {}
        self._raws: dict[int, bytes] = {}
        self._hidden: set[int] = set()
        self._is_done = False

    def calls(self) -> list[ToolCall]:
        """See `Reply.calls`."""
        if not self._is_done:
            return []
        return [_call(self._items[index]) for index in sorted(self._items) if _is_ours(self._items[index])]

    def said(self) -> bytes:
        """See `Reply.said`."""
        kept = [index for index in sorted(self._items) if not _is_lost_thought(self._items[index])]
        return b",".join(self._raws[index] for index in kept)

    def end_early(self) -> bytes:
        """See `Reply.end_early`."""
        item, index = _no_more(), self._shown.count
        at = {"item_id": item["id"], "output_index": index, "content_index": 0}
        (said,) = item["content"]
        begun = item | {"status": "in_progress", "content": []}
        parts: list[tuple[str, dict[str, Any]]] = [
            ("response.output_item.added", {"output_index": index, "item": begun}),
            ("response.content_part.added", at | {"part": said | {"text": ""}}),
            ("response.output_text.delta", at | {"delta": NO_MORE}),
            ("response.output_text.done", at | {"text": NO_MORE}),
            ("response.content_part.done", at | {"part": said}),
            ("response.output_item.done", {"output_index": index, "item": item}),
        ]
        out = self._release()
        for name, value in parts:
            numbered = {} if self._shown.next_number is None else {"sequence_number": self._shown.next_number}
            out += event(name, {"type": name} | numbered | value)
            if self._shown.next_number is not None:
                self._shown.next_number += 1
        return out + self._closing(lambda text: self._edits(text, (to_json(item),)))

    def _take(self, raw: bytes) -> bytes:
        name, said = parse_event(raw)
        if self._tail:
            self._tail.append(raw)
            return b""
        if name in _OPENING:
            if not self._shown.is_begun:
                self._opening.append(raw)
            return b""
        if name in _CLOSING:
            self._is_done = name == _DONE
            if self.calls() and not self.has_others:
                self._tail.append(raw)
                self._hidden |= {held for held, _ in self._thoughts}
                self._thoughts = []
                self._shown.parts += [self._raws[index] for index in sorted(self._numbers)]
                return b""
            return self._release() + self._edited(raw)
        index = said.get("output_index")
        if not isinstance(index, int) or isinstance(index, bool):
            return self._release() + self._edited(raw)
        if name.startswith("response.output_item.") and isinstance(said.get("item"), dict):
            return self._item(raw, name, index, said["item"])
        return self._passed(raw, index)

    def _item(self, raw: bytes, name: str, index: int, item: dict[str, Any]) -> bytes:
        is_new = index not in self._items
        self._items[index] = item
        self._raws[index] = read_json(raw[raw.index(b"{") :], _item_of)
        if is_new and _is_ours(item):
            self._hidden |= {index, *(held for held, _ in self._thoughts)}
            self._thoughts = []
            self._is_pristine = False
        elif is_new and not _is_thought(item):
            self.has_others = self.has_others or _is_others(item)
            return self._release() + self._passed(raw, index)
        elif is_new:
            self._thoughts.append((index, raw))
            return b""
        return self._passed(raw, index)

    def _passed(self, raw: bytes, index: int) -> bytes:
        """An event of an item, if the agent is shown that."""
        if index in self._hidden:
            return b""
        if any(held == index for held, _ in self._thoughts):
            self._thoughts.append((index, raw))
            return b""
        self._number(index)
        return self._edited(raw)

    def _release(self) -> bytes:
        opening, self._opening = self._opening, []
        thoughts, self._thoughts = self._thoughts, []
        self._shown.is_begun = self._shown.is_begun or bool(opening)
        out = b"".join(map(self._edited, opening))
        return out + b"".join(self._passed(raw, index) for index, raw in thoughts)

    def _lost(self, event: bytes) -> bytes:
        self._opening += [raw for _, raw in self._thoughts]
        return super()._lost(event)

    def _closing(self, edits: Callable[[JsonText], Edits] | None = None) -> bytes:
        return super()._closing(edits or self._edits)

    def _edited(self, raw: bytes) -> bytes:
        """An event with its numbers as the agent has to read them, and nothing of ours in it."""
        return edit_event(raw, self._edits)

    def _edits(self, text: JsonText, more: Sequence[bytes] = ()) -> Edits:
        fields = text.members(text.extent)
        edits: Edits = []
        number = text.value(fields["sequence_number"]) if "sequence_number" in fields else None
        if isinstance(number, int):
            following = self._shown.next_number
            shown = number if self._is_pristine or following is None else following
            if shown != number:
                edits.append((fields["sequence_number"], str(shown).encode()))
            self._shown.next_number = shown + 1
        edits += renumber(text, fields, "output_index", self._numbers)
        if "response" in fields and text.first(fields["response"]) == b"{":
            edits += self._of_response(text, text.members(fields["response"]), more)
        return edits

    def _of_response(self, text: JsonText, fields: Fields, more: Sequence[bytes]) -> Edits:
        edits = _tools(text, fields)
        own = fields.get("id")
        if own is not None and not self._shown.id:
            self._shown.id = text.raw(own)
        elif own is not None and text.raw(own) != self._shown.id:
            edits.append((own, self._shown.id))
        output = fields.get("output")
        if output is None or text.first(output) != b"[":
            return edits
        raws = [text.raw(one) for one in text.elements(output)]
        kept = [raw for index, raw in enumerate(raws) if index not in self._hidden]
        if raws and (self._earlier or more or len(kept) != len(raws)):  # Some servers say it in events alone.
            edits.append((output, json_list([*self._earlier, *kept, *more])))
        return edits


def _item_of(text: JsonText) -> bytes:
    return text.raw(text.members(text.extent)["item"])


class ResponsesWhole:
    """See `Reply`. Raises `BadTranscript` for what has no output."""

    def __init__(self, shown: Shown, data: bytes) -> None:
        self._data = data
        self._shown = shown
        self._has_earlier = shown.is_begun
        self._fields, self._status, self._parts = read_json(data, lambda text: list_reply(text, "output", "status"))
        self._tools = read_json(data, lambda text: _tools(text, self._fields))
        items = [item for _, item in self._parts]
        hidden = _hidden(items)
        self._ours = [item for item in items if _is_ours(item)]
        self.has_others = any(map(_is_others, items))
        kept = [raw for index, (raw, _) in enumerate(self._parts) if index not in hidden]
        shown.parts += kept
        shown.is_begun = shown.is_begun or bool(kept)

    def calls(self) -> list[ToolCall]:
        """See `Reply.calls`."""
        return [_call(item) for item in self._ours] if self._status in ("completed", "") else []

    def said(self) -> bytes:
        """See `Reply.said`."""
        return b",".join(raw for raw, item in self._parts if not _is_lost_thought(item))

    def end(self) -> bytes:
        """See `Reply.end`."""
        output: Edits = []
        if self._has_earlier or self._ours:
            output = [(self._fields["output"], json_list(self._shown.parts))]
        return spliced(self._data, [*self._tools, *output])

    def end_early(self) -> bytes:
        """See `Reply.end_early`."""
        output = json_list([*self._shown.parts, to_json(_no_more())])
        return spliced(self._data, [*self._tools, (self._fields["output"], output)])
