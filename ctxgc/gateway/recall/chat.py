"""The recall tool over Chat Completions. A reply is one message with a text and calls; results are messages behind it.

    said with a hidden call     assistant "x" [call] │ tool │ assistant "y" [other] │ tool
    as the agent has it         assistant "xy" [other] │ tool

The texts of several replies are one text to the agent, so that to weave is to cut it where the first one ended. Only
requests with one choice (`n`) are served.
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
    Fields,
    Shown,
    ToolCall,
    edit_event,
    event,
    json_list,
    parse_arguments,
    parse_event,
    remove_member,
    renumber,
    to_json,
)
from ctxgc.gateway.recall.tool import DESCRIPTION, SCHEMA, Exchange, Lists, ReplyPart, Wire, insert_hidden, match_parts

_TEXTS = ("content", "reasoning_content", "reasoning")
"""Members that hold what the model said; the last two are those of servers that show what it thought."""
_CUT = frozenset({"length", "content_filter"})


class ChatTool(Wire):
    """The `Wire` of Chat Completions."""

    tool = (
        b'{"type":"function","function":{"name":"ctxgc_recall","description":'
        + DESCRIPTION
        + b',"parameters":'
        + SCHEMA
        + b"}}"
    )
    list_name = "messages"

    def takes(self, text: JsonText, fields: Fields) -> bool:
        """See `Wire.takes`."""
        return "n" not in fields or text.value(fields["n"]) in (None, 1)

    def reinsert(self, lists: Lists, exchanges: Sequence[Exchange]) -> Edits:
        """See `Wire.reinsert`."""
        at, text = exchanges[0].at, lists.text
        message = lists.entries[at]
        own, fields = lists.own_text.value(lists.own[at]), text.members(message)
        if not isinstance(own, dict) or own.get("role") != "assistant":
            return []
        edits: Edits = []
        ahead = b""
        left = {name: _text(own.get(name)) for name in _TEXTS}
        for one in exchanges:
            said = json.loads(one.said)
            if one.is_beside:
                edits = _beside(text, fields, own, said)
                if not edits:
                    return []
                edits.append((Extent(message.end, message.end), b"," + one.results))
                break
            for name in _TEXTS:
                rest = _rest(left[name], str(said.get(name) or ""))
                if rest is None:
                    return []
                left[name] = rest
            ahead += one.said + b"," + self.turn(one.results) + b","
        if not own.get("tool_calls") and not any(left.values()) and ahead:
            return [(message, ahead[:-1])]  # All of it went up before.
        for name, rest in left.items():
            if rest != _text(own.get(name)):
                if text.value(fields[name]) != own[name]:
                    continue  # A tombstone: nothing of it is there to be cut.
                edits.append((fields[name], json_string(rest) if rest else b"null"))
        return [(Extent(message.start, message.start), ahead), *edits] if ahead else edits

    def result(self, call_id: str, text: str, *, is_error: bool) -> bytes:
        """See `Wire.result`: that it failed shows in its text."""
        head = b'{"role":"tool","tool_call_id":' + json_string(call_id)
        return head + b',"content":' + json_string(text) + b"}"

    def stream(self, shown: Shown) -> ChatFilter:
        """See `Wire.stream`."""
        return ChatFilter(shown)

    def whole(self, shown: Shown, data: bytes) -> ChatWhole:
        """See `Wire.whole`."""
        return ChatWhole(shown, data)


def _is_ours(call: Any) -> bool:
    function = call.get("function") if isinstance(call, dict) else None
    return isinstance(function, dict) and function.get("name") == TOOL_NAME


def _call(call: dict[str, Any]) -> ToolCall:
    return ToolCall(str(call.get("id", "")), parse_arguments(call["function"].get("arguments")))


def _part(raw: bytes, call: Any) -> ReplyPart:
    return ReplyPart(raw, to_json(call.get("id")) if isinstance(call, dict) else b"", _is_ours(call))


def _text(content: Any) -> str:
    """A text, or the first of a list of parts with one; another part is nothing that we could cut."""
    return content if isinstance(content, str) else ""


def _rest(text: str, begin: str) -> str | None:
    """The text after this beginning. An agent may leave blanks out at its end, and thoughts altogether."""
    if text.startswith(begin):
        return text[len(begin) :]
    return "" if text == begin.rstrip() else None


def _beside(text: JsonText, fields: Fields, own: dict[str, Any], said: dict[str, Any]) -> Edits:
    """The hidden calls, back among the agent's."""
    calls = fields.get("tool_calls")
    if calls is None or text.first(calls) != b"[":
        return []
    parts = [_part(to_json(call), call) for call in said["tool_calls"]]
    found = match_parts(parts, [_part(b"", call).mark for call in own["tool_calls"]])
    if found is None:
        return []
    raws = map(text.raw, text.elements(calls))
    return [(calls, json_list(insert_hidden(list(raws), parts, found)))]


class ChatFilter(EventFilter):
    """See `Stream`."""

    def __init__(self, shown: Shown) -> None:
        super().__init__(shown)
        self._head: dict[str, Any] = {}
        self._message: dict[str, Any] = {"role": "assistant", "content": None}
        self._found: dict[int, dict[str, Any]] = {}
        self._finish: Any = None

    def calls(self) -> list[ToolCall]:
        """See `Reply.calls`."""
        return [] if self._finish in _CUT else [_call(call) for call in self._found.values() if _is_ours(call)]

    def said(self) -> bytes:
        """See `Reply.said`."""
        return to_json(self._message | {"tool_calls": [self._found[index] for index in sorted(self._found)]})

    def end_early(self) -> bytes:
        """See `Reply.end_early`."""
        choice = {"index": 0, "delta": {"content": NO_MORE}, "finish_reason": None}
        begun = self._release() + edit_event(event("", self._head | {"choices": [choice]}), self._same_id)
        return begun + self._closing(_ending)

    def _take(self, raw: bytes) -> bytes:
        if self._tail:
            self._tail.append(edit_event(raw, self._same_id))
            return b""
        _, chunk = parse_event(raw)
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict) or choice.get("index", 0) != 0:
            return self._release() + edit_event(raw, self._same_id)
        self._head = {name: value for name, value in chunk.items() if name not in ("choices", "usage")}
        delta = choice.get("delta")
        return self._chunk(raw, delta if isinstance(delta, dict) else {}, choice.get("finish_reason"))

    def _chunk(self, raw: bytes, delta: dict[str, Any], finish: Any) -> bytes:
        kept = self._note(delta)
        had_ours = kept is not None
        has_more = bool(kept) or (not had_ours and bool(delta.get("tool_calls")))
        is_bare = not has_more and not any(value for name, value in delta.items() if name not in ("role", "tool_calls"))
        edited = edit_event(raw, lambda text: self._edits(text, kept))
        ours = any(map(_is_ours, self._found.values()))
        self._finish = finish or self._finish
        if finish and ours and not self.has_others:
            if is_bare:
                self._tail.append(edited)
                return b""
            self._tail.append(edit_event(edited, lambda text: [(_choice(text)["delta"], b"{}")]))
            edited = edit_event(edited, lambda text: [(_choice(text)["finish_reason"], b"null")])
        elif is_bare and not finish:
            if not self._shown.is_begun:
                self._opening += [edited] if delta.get("role") or not had_ours else []
                return b""
            if had_ours or not self._is_first:
                return b""
        held = self._release()
        self._shown.is_begun = True  # With no opening of its own, as where a server says the role with the first words.
        return held + edited

    def _release(self) -> bytes:
        held = super()._release()
        if not self._shown.id:
            self._shown.id = to_json(self._head["id"]) if "id" in self._head else b""
        return held

    def _note(self, delta: dict[str, Any]) -> list[int] | None:
        """Take what it adds to the message. If calls of ours are in it: which of its calls are not."""
        for name, value in delta.items():
            if name not in ("role", "tool_calls") and value is not None:
                known = self._message.get(name)
                adds = isinstance(value, str | list) and isinstance(known, type(value))
                self._message[name] = known + value if adds else value
        calls = delta.get("tool_calls")
        if not isinstance(calls, list):
            return None
        kept: list[int] = []
        for place, piece in enumerate(calls):
            if not isinstance(piece, dict):
                continue
            index = piece.get("index")
            if not isinstance(index, int):  # Some servers do not number the only call.
                index = len(self._found) - (not piece.get("id"))
            call = self._found.setdefault(index, {"type": "function"})
            _merge(call, {name: value for name, value in piece.items() if name != "index"})
            if _is_ours(call):
                self._is_pristine = False
                continue
            self._number(index)
            self.has_others = True
            kept.append(place)
        return None if len(kept) == len(calls) else kept

    def _same_id(self, text: JsonText) -> Edits:
        """The id of the message that this goes on with."""
        if self._is_first or not self._shown.id:
            return []
        fields = text.members(text.extent)
        return [(fields["id"], self._shown.id)] if "id" in fields else []

    def _edits(self, text: JsonText, kept: list[int] | None) -> Edits:
        edits = self._same_id(text)
        choice = _choice(text)
        delta = choice.get("delta")
        said = text.members(delta) if delta is not None and text.first(delta) == b"{" else {}
        if delta is not None and "role" in said and not self._is_first and kept != []:
            edits += remove_member(text, delta, "role")
        calls = said.get("tool_calls")
        if delta is None or calls is None or text.first(calls) != b"[":
            return edits
        if kept == []:
            return edits + remove_member(text, delta, "tool_calls")
        raws = text.elements(calls)
        shown = raws if kept is None else [raws[place] for place in kept]
        named = [text.members(one) if text.first(one) == b"{" else {} for one in shown]
        numbered = [renumber(text, fields, "index", self._numbers) for fields in named]
        if kept is None:
            return edits + [edit for each in numbered for edit in each]
        moved = [
            spliced(text.data, each)[one.start : one.end + _growth(each)]
            for one, each in zip(shown, numbered, strict=True)
        ]
        return [*edits, (calls, json_list(moved))]


def _growth(edits: Edits) -> int:
    return sum(len(new) - (old.end - old.start) for old, new in edits)


def _merge(call: dict[str, Any], piece: dict[str, Any]) -> None:
    """Add a piece of a call: its arguments grow, all else is said once."""
    for name, value in piece.items():
        if isinstance(value, dict) and name == "function":
            function = call.setdefault("function", {})
            for key, part in value.items():
                grows = key == "arguments" and isinstance(part, str)
                if grows:
                    function[key] = str(function.get(key) or "") + part
                elif part or key not in function:
                    function[key] = part
        elif value or name not in call:
            call[name] = value


def _choice(text: JsonText) -> dict[str, Extent]:
    """The members of the first choice."""
    choices = text.members(text.extent).get("choices")
    found = text.elements(choices) if choices is not None and text.first(choices) == b"[" else []
    return text.members(found[0]) if found and text.first(found[0]) == b"{" else {}


def _ending(text: JsonText) -> Edits:
    """The end of a message in which nothing more is called."""
    finish = _choice(text).get("finish_reason")
    return [] if finish is None or text.first(finish) != b'"' else [(finish, b'"stop"')]


class ChatWhole:
    """See `Reply`. Raises `BadTranscript` for what has no message."""

    def __init__(self, shown: Shown, data: bytes) -> None:
        self._data = data
        self._shown = shown
        self._has_earlier = shown.is_begun
        self._message, self._finish = read_json(data, _message)
        calls = self._message.get("tool_calls") or []
        self._ours = [call for call in calls if _is_ours(call)]
        self.has_others = len(self._ours) != len(calls)
        for name in _TEXTS:
            if said := _text(self._message.get(name)):
                shown.texts[name] = shown.texts.get(name, "") + said
                shown.is_begun = True

    def calls(self) -> list[ToolCall]:
        """See `Reply.calls`."""
        return [] if self._finish in _CUT else [_call(call) for call in self._ours]

    def said(self) -> bytes:
        """See `Reply.said`."""
        return to_json(self._message)

    def end(self) -> bytes:
        """See `Reply.end`."""
        if not self._has_earlier and not self._ours:
            return self._data
        return read_json(self._data, lambda text: spliced(text.data, self._edits(text, "")))

    def end_early(self) -> bytes:
        """See `Reply.end_early`."""
        ended = read_json(self._data, lambda text: spliced(text.data, self._edits(text, NO_MORE)))
        return read_json(ended, lambda text: spliced(text.data, _ending(text)))

    def _edits(self, text: JsonText, more: str) -> Edits:
        message = _choice(text)["message"]
        fields = text.members(message)
        edits: Edits = []
        added = b""
        for name in _TEXTS:
            said = self._shown.texts.get(name, "") + (more if name == "content" else "")
            if said != _text(self._message.get(name)):
                if name in fields:
                    edits.append((fields[name], json_string(said)))
                else:
                    added += b"," + json_string(name) + b":" + json_string(said)
        if self._ours and not self.has_others:
            edits += remove_member(text, message, "tool_calls")
        elif self._ours:
            shown = [text.raw(one) for one in text.elements(fields["tool_calls"]) if not _is_ours(text.value(one))]
            edits.append((fields["tool_calls"], json_list(shown)))
        return [*edits, (Extent(message.end - 1, message.end - 1), added)] if added else edits


def _message(text: JsonText) -> tuple[dict[str, Any], Any]:
    """The message of a reply, and why it ended."""
    choice = _choice(text)
    message = text.value(choice["message"]) if "message" in choice else None
    if not isinstance(message, dict):
        raise BadTranscript("a reply without a message")
    return message, text.value(choice["finish_reason"]) if "finish_reason" in choice else None
