"""The recall tool in a request: its entry in `tools`, and what of its use only the gateway knows.

    the agent's    tools [a]                user │ assistant [x, y]                                     │ user …
    as it goes     tools [a, ctxgc_recall]  user │ assistant [x, call] │ user [result] │ assistant [y]  │ user …

Bytes in, bytes out: what the model said goes up as it came, the agent's own is moved or cut, never re-serialised, and
everything else is copied. What differs between the APIs is behind `Wire`: one module each, listed in `wires.py`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

from ctxgc.adapters.wire.json_spans import Extent, JsonText, read_json, spliced
from ctxgc.gateway.recall.reply_filter import TOOL_NAME, Edits, Fields, FilteredReply, Shown, Stream

DESCRIPTION = (
    b'"Brings back content of this conversation that was evicted by ctxgc. '
    b"Where a result reads [evicted by ctxgc: ...; get it back: ctxgc_recall 123456789-12], call this with id "
    b'\\"123456789-12\\". '
    b'A long one comes in pages."'
)
SCHEMA = (
    b'{"type":"object","properties":{"id":{"type":"string","description":'
    b'"As the mark names it, such as 123456789-12"},"page":{"type":"integer","description":"1 if left out"}},'
    b'"required":["id"]}'
)
"""The same bytes for ever: a cache holds the tools before everything else."""

COLLECTIONS_MAX = 2
EVICTED_AGAIN = "[ctxgc: this was read here, and evicted again; the same call brings it back]"

_CONTENT = frozenset(
    {
        "role",
        "content",
        "type",
        "call_id",
        "tool_call_id",
        "name",
        "arguments",
        "input",
        "output",
        "tool_calls",
        "encrypted_content",
    }
)
"""What an entry says. The rest (ids, marks of where to cache) an agent may change from request to request."""


class Exchange(NamedTuple):
    """One reply's calls of the tool with their results, which the agent never saw."""

    at: int
    """The entry of the agent's list that the reply became, or became a part of, or began at."""
    anchor: bytes
    """What the list has to be like for that, as `_anchors` says it."""
    said: bytes
    """The reply, as it went up with the results: what the agent was shown, and what it was not."""
    ids: tuple[str, ...]
    """Of the calls."""
    results: bytes
    """Their results, with commas."""
    is_beside: bool
    """The agent ran other calls of the same reply: the results go next to theirs."""
    branch: str = ""
    """Whose it is."""
    out: frozenset[str] = frozenset()
    """What was evicted there when this was made, or when a collection passed it over."""
    collections: int = 0
    """That this was there for."""

    def age(self, wire: Wire, out: frozenset[str]) -> Exchange:
        """The exchange in a request with these ids evicted. The second collection after it takes the texts out again.

        Each collection rewrites the cache, so that is the moment; the first one is passed over, because what was just
        asked for is in use.
        """
        if not self.out < out:
            return self
        older = self._replace(out=out, collections=self.collections + 1)
        if older.collections != COLLECTIONS_MAX:
            return older
        return older._replace(results=b",".join(wire.result(name, EVICTED_AGAIN, is_error=False) for name in self.ids))


class ReplyPart(NamedTuple):
    """One part of a reply: a block, a call, an item."""

    raw: bytes
    mark: bytes
    """What it is known by in the agent's list."""
    is_hidden: bool
    """A call of ours, or what belongs to one: the agent was not shown it."""
    is_thought: bool = False
    """The agent need not send it again."""


class Lists(NamedTuple):
    """A request's entries as it is, and as the agent sent it: tombstones must not hide a place."""

    text: JsonText
    entries: list[Extent]
    own_text: JsonText
    own: list[Extent]


class Wire(Protocol):
    """What the recall tool needs to know of one API. Defaults are what most of them have in common."""

    tool: bytes
    """Its entry in `tools`."""
    list_name: str
    """The member that is the list."""

    def takes(self, text: JsonText, fields: Fields) -> bool:
        """Whether a request is of a kind that the tool may be added to."""
        return True

    def is_reply(self, entry: Any) -> bool:
        """Whether the model said this entry of the list."""
        return isinstance(entry, dict) and entry.get("role") == "assistant"

    def reinsert(self, lists: Lists, exchanges: Sequence[Exchange]) -> Edits:
        """Edits that put these exchanges, all of one place, where they stood; none if it is not like that any more."""

    def result(self, call_id: str, text: str, *, is_error: bool) -> bytes:
        """The result of a call."""

    def turn(self, results: bytes) -> bytes:
        """The entries that give these results, with commas between them."""
        return results

    def stream(self, shown: Shown) -> Stream:
        """Reads a streamed reply."""

    def whole(self, shown: Shown, data: bytes) -> FilteredReply:
        """Reads a reply that is no stream. Raises `BadTranscript` for what is none."""


class ToolRequest(NamedTuple):
    """A request that carries the tool."""

    body: bytes
    end: int
    """Where the last entry of its list ends."""
    at: int
    """The entry that the reply will be."""
    anchor: bytes
    """Of that entry."""

    def append(self, said: bytes, turn: bytes) -> ToolRequest:
        """Asked again: with the reply and the results behind the last entry."""
        more = b",".join((b"", said, turn))
        return self._replace(body=self.body[: self.end] + more + self.body[self.end :], end=self.end + len(more))


def inject_tool(
    wire: Wire, body: bytes, original: bytes, known: Sequence[Exchange], *, is_first: bool = False
) -> ToolRequest | None:
    """The body with the tool and with every exchange that belongs into it; None if it has no tools to add to.

    `original` is what the agent sent. `is_first`: only if it begins a session. Raises `BadTranscript` for what is not a
    request of this format.
    """

    def both(text: JsonText) -> ToolRequest | None:
        if original is body:
            return _inject_tool(wire, text, text, known, is_first)
        return read_json(original, lambda own: _inject_tool(wire, text, own, known, is_first))

    return read_json(body, both)


def _inject_tool(
    wire: Wire, text: JsonText, own_text: JsonText, known: Sequence[Exchange], is_first: bool
) -> ToolRequest | None:
    fields = text.members(text.extent)
    tools, entry_list = fields.get("tools"), fields.get(wire.list_name)
    if tools is None or entry_list is None or text.first(tools) != b"[" or text.first(entry_list) != b"[":
        return None
    named = text.elements(tools)
    if not named or text.data.count(TOOL_NAME.encode(), *tools) or not wire.takes(text, fields):
        return None
    entries = text.elements(entry_list)
    own = entries if own_text is text else own_text.elements(own_text.members(own_text.extent)[wire.list_name])
    if not entries or len(entries) != len(own):
        return None
    if is_first and any(wire.is_reply(own_text.value(entry)) for entry in own):
        return None
    anchors = _anchors(own_text, own, {*(one.at for one in known), len(own)})
    edits: Edits = [(Extent(named[-1].end, named[-1].end), b"," + wire.tool)]
    here = [one for one in known if one.at < len(own) and anchors.get(one.at) == one.anchor]
    for at in sorted({one.at for one in here}):
        edits += wire.reinsert(Lists(text, entries, own_text, own), [one for one in here if one.at == at])
    end = entries[-1].end + sum(len(new) - (old.end - old.start) for old, new in edits if old.end <= entries[-1].end)
    return ToolRequest(spliced(text.data, edits), end, len(own), anchors[len(own)])


def match_parts(said: Sequence[ReplyPart], marks: Sequence[bytes]) -> list[int] | None:
    """By how many of the shown parts came before: how many parts of the agent's did, if they begin alike."""
    found = [0]
    for part in said:
        if part.is_hidden:
            continue
        at = found[-1]
        if at < len(marks) and marks[at] == part.mark:
            found.append(at + 1)
        elif part.is_thought:
            found.append(at)
        else:
            return None
    return found


def hidden_by_place(said: Sequence[ReplyPart], at: Sequence[int]) -> dict[int, list[bytes]]:
    """The hidden parts, by how many of the agent's come before them, which `places` found."""
    hidden: dict[int, list[bytes]] = {}
    count = 0
    for part in said:
        if part.is_hidden:
            hidden.setdefault(at[count], []).append(part.raw)
        else:
            count += 1
    return hidden


def insert_hidden(own: Sequence[bytes], said: Sequence[ReplyPart], at: Sequence[int]) -> list[bytes]:
    """The agent's parts with the hidden ones at their places, which `places` found."""
    hidden = hidden_by_place(said, at)
    reinsert: list[bytes] = []
    for index in range(len(own) + 1):
        reinsert += hidden.get(index, ())
        reinsert += own[index : index + 1]
    return reinsert


def strip_cache_marks(value: Any) -> Any:
    """A value without marks of where to cache."""
    if isinstance(value, dict):
        return {key: strip_cache_marks(part) for key, part in value.items() if key != "cache_control"}
    return [strip_cache_marks(part) for part in value] if isinstance(value, list) else value


def _anchors(text: JsonText, entries: Sequence[Extent], wanted: set[int]) -> dict[int, bytes]:
    """By place: the first entry of the list, and the last one before that place."""
    first = _print(text.value(entries[0]))
    return {
        at: blake2b(first + _print(text.value(entries[at - 1])), digest_size=16).digest()
        for at in wanted
        if 0 < at <= len(entries)
    }


def _print(entry: Any) -> bytes:
    if not isinstance(entry, dict):
        return json.dumps(entry).encode()
    said = {key: strip_cache_marks(part) for key, part in entry.items() if key in _CONTENT}
    if isinstance(said.get("content"), str):
        said["content"] = [{"type": "text", "text": said["content"]}]
    return json.dumps(said).encode()
