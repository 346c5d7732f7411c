"""A reply of a model with the calls of the recall tool taken out. Sans-I/O: bytes in, bytes for the agent out.

    opening ──held until it shows what the reply begins with──▶ anything else ──▶ passes, and what follows
                                                            └─▶ ours ──▶ kept out; the reply's end is held too

One message of the agent may be made of several replies: after the first, parts are numbered on, and nothing opens a
second message. An event in which nothing need change passes as the bytes that it was. What the APIs have in common is
here; each has a module of its own for the rest (`wires.py`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import msgspec

from ctxgc.adapters.wire.json_spans import Extent, JsonText, read_json, spliced
from ctxgc.core.errors import BadTranscript
from ctxgc.gateway.billing.sse import EventStream, event_data, event_name, split_events

TOOL_NAME = "ctxgc_recall"
EVENT_BYTES_MAX = 8 * 2**20
NO_MORE = "[ctxgc: no more content can be brought back in this turn.]"
"""What the agent reads where the model goes on recalling, and would say nothing else."""

_log = logging.getLogger("ctxgc.gateway")

Edits = list[tuple[Extent, bytes]]
Fields = Mapping[str, Extent]


class ToolCall(NamedTuple):
    """A call of the recall tool."""

    id: str
    input: Any


class ReplyBroken(ConnectionError):
    """A fault of our own in the middle of a message that cannot be shown as it came: the agent has to try again."""


@dataclass(slots=True)
class Shown:
    """What the agent has of its message so far. Mutable; shared by the replies that make it."""

    is_begun: bool = False
    count: int = 0
    """Parts that are numbered: blocks, calls, items."""
    parts: list[bytes] = field(default_factory=list)
    """The parts themselves, where the API says them once more at the end, or is no stream."""
    texts: dict[str, str] = field(default_factory=dict)
    """What was said, by the member that said it, where the API has no parts for that."""
    id: bytes = b""
    """The message's id, as JSON has it."""
    next_number: int | None = None
    """Of the next event, where the API numbers them."""


class FilteredReply(Protocol):
    """A reply that has been read to its end."""

    has_others: bool
    """Other calls are in it, which the agent runs."""

    def calls(self) -> list[ToolCall]:
        """The calls of the tool that are to be answered; none if the reply was cut short."""

    def said(self) -> bytes:
        """All of it, as entries of a request's list."""

    def end(self) -> bytes:
        """What of it the agent has not got, for a reply after which nothing more is asked."""

    def end_early(self) -> bytes:
        """As `end`, of a message that would go on with a call of ours, had it not been the last one allowed."""


class Stream(FilteredReply, Protocol):
    """A reply that comes as events."""

    def feed(self, data: bytes) -> bytes:
        """What of it the agent gets now. Raises `ReplyBroken`, and nothing else."""


class EventFilter:
    """Reads one streamed reply, event by event. What it cannot read passes as it came.

    A fault of our own lets the rest pass as it comes while nothing is kept out yet; else the reply is `ReplyBroken`.
    """

    def __init__(self, shown: Shown) -> None:
        self.has_others = False
        self._shown = shown
        self._is_first = not shown.is_begun
        self._is_pristine = self._is_first
        self._is_lost = False
        self._events = EventStream(EVENT_BYTES_MAX)
        self._opening: list[bytes] = []
        self._tail: list[bytes] = []
        self._numbers: dict[int, int] = {}

    def feed(self, data: bytes) -> bytes:
        """See `Stream.feed`."""
        if self._is_lost:
            return data
        out: list[bytes] = []
        for event in split_events(self._events.feed(data)):
            try:
                out.append(event if self._is_lost else self._take(event))
            except Exception:
                _log.exception("an event of a reply could not be read")
                out.append(self._lost(event))
        if self._events.is_too_long and not self._is_lost:
            out.append(self._lost(b""))
        if self._is_lost:
            out.append(self._events.take_rest())
        return b"".join(out)

    def end(self) -> bytes:
        """See `FilteredReply.end`."""
        return self._release() + self._closing() + self._events.take_rest()

    def _take(self, raw: bytes) -> bytes:
        raise NotImplementedError

    def _release(self) -> bytes:
        """What opens the message, now that it has begun."""
        held, self._opening = b"".join(self._opening), []
        self._shown.is_begun = self._shown.is_begun or bool(held)
        return held

    def _closing(self, edits: Callable[[JsonText], Edits] | None = None) -> bytes:
        """What closes the message, which was held back with these calls of ours."""
        held, self._tail = self._tail, []
        return b"".join(edit_event(raw, edits) if edits else raw for raw in held)

    def _number(self, index: int) -> int:
        """Map this reply's `index` of a part to the index that the agent sees."""
        if index not in self._numbers:
            self._numbers[index] = self._shown.count
            self._shown.count += 1
        return self._numbers[index]

    def _lost(self, event: bytes) -> bytes:
        if not self._is_pristine:
            raise ReplyBroken("a reply could not be read, and a part of it is kept out")
        self._is_lost = True
        held, self._opening = b"".join(self._opening), []
        return held + event


def parse_event(raw: bytes) -> tuple[str, dict[str, Any]]:
    """An event's name and data; nothing for what is none of these APIs'."""
    try:
        event = msgspec.json.decode(event_data(raw))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "", {}
    if not isinstance(event, dict):
        return "", {}
    return str(event.get("type") or event_name(raw)), event


class ReplyList(NamedTuple):
    """A reply that is no stream, and says its parts in a list."""

    fields: Fields
    """Where it has what."""
    status: str
    """How it ended, as the member says that tells."""
    parts: list[tuple[bytes, dict[str, Any]]]
    """Blocks, items: each as it came, and read."""


def list_reply(text: JsonText, name: str, status: str) -> ReplyList:
    """A reply with its parts in the member `name`. Raises `BadTranscript` for one without."""
    fields = text.members(text.extent)
    found = fields.get(name)
    if found is None or text.first(found) != b"[":
        raise BadTranscript(f"a reply without {name}")
    values = [(text.raw(one), text.value(one)) for one in text.elements(found)]
    parts = [(raw, part if isinstance(part, dict) else {}) for raw, part in values]
    return ReplyList(fields, text.string(fields.get(status)), parts)


def json_list(texts: Sequence[bytes]) -> bytes:
    """A list of these values."""
    return b"[" + b",".join(texts) + b"]"


def renumber(text: JsonText, fields: Fields, name: str, numbers: Mapping[int, int]) -> Edits:
    """The edit by which a member says what the agent counts this part as; none if that is what it says."""
    index = text.value(fields[name]) if name in fields else None
    number = numbers.get(index) if isinstance(index, int) else None
    return [] if number is None or number == index else [(fields[name], str(number).encode())]


def edit_event(raw: bytes, edits: Callable[[JsonText], Edits]) -> bytes:
    """An event with these edits of its data; the same object if there are none."""
    lines = raw.splitlines()
    data = [line[5:].strip() for line in lines if line.startswith(b"data:")]
    if not data or data[0][:1] != b"{":
        return raw
    if len(data) == 1:
        at = raw.index(data[0])
        head, tail = raw[:at], raw[at + len(data[0]) :]
    else:  # One value may be cut into several lines; a line break in it is white space.
        head = b"".join(line + b"\n" for line in lines if line and not line.startswith(b"data:")) + b"data: "
        tail = b"\n\n"
    whole = b" ".join(data)
    changed = read_json(whole, lambda text: spliced(text.data, edits(text)))
    return raw if changed is whole or changed == whole else head + changed + tail


def event(name: str, value: Any) -> bytes:
    """An event of our own."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: ".encode() + to_json(value) + b"\n\n"


def to_json(value: Any) -> bytes:
    """A value as JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def parse_arguments(arguments: Any) -> Any:
    """What a call was given, where the API says it as JSON in a text; nothing if that was cut short."""
    try:
        return json.loads(arguments or "{}")
    except (TypeError, ValueError):
        return {}


def remove_member(text: JsonText, holder: Extent, name: str) -> Edits:
    """The edit that takes a member out of an object, comma and all."""
    fields = text.members(holder)
    if name not in fields:
        return []
    names = list(fields)
    at = names.index(name)
    if at:
        return [(Extent(fields[names[at - 1]].end, fields[name].end), b"")]
    end = text.data.index(b",", fields[name].end) + 1 if len(names) > 1 else holder.end - 1
    return [(Extent(holder.start + 1, end), b"")]
