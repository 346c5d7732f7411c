"""The recall tool in a request of Anthropic's API: its entry in `tools`, and what of its use only the gateway knows.

    the agent's    tools [a]                user │ assistant [x, y]                                     │ user …
    as it goes     tools [a, ctxgc_recall]  user │ assistant [x, call] │ user [result] │ assistant [y]  │ user …

Bytes in, bytes out: blocks are moved as they came, never re-serialised, and everything else is copied.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from ctxgc.adapters.spans import Extent, JsonText, json_string, read_json, spliced
from ctxgc.core.errors import BadTranscript

WIRE = "anthropic_messages"
"""The wire format whose requests can carry the tool."""
TOOL_NAME = "ctxgc_recall"
TOOL = (
    b'{"name":"ctxgc_recall","description":"Brings back content of this conversation that was evicted by ctxgc. '
    b"Where a result reads [evicted by ctxgc: ...; get it back: ctxgc_recall 123456789-12], call this with id "
    b'\\"123456789-12\\". A long one comes in pages.","input_schema":{"type":"object","properties":{"id":'
    b'{"type":"string","description":"As the mark names it, such as 123456789-12"},"page":{"type":"integer",'
    b'"description":"1 if left out"}},"required":["id"]}}'
)
"""The same bytes for ever: a cache holds the tools before everything else."""

COLLECTIONS_MAX = 2
EVICTED_AGAIN = "[ctxgc: this was read here, and evicted again; the same call brings it back]"


class Exchange(NamedTuple):
    """One reply's calls of the tool with their results, which the agent never saw."""

    at: int
    """The message of the agent's list that the reply became, or became a part of."""
    anchor: bytes
    """What the list has to be like for that, as `anchor_of` says it."""
    calls: tuple[tuple[int, bytes], ...]
    """Each call's block, after so many of the message's blocks."""
    results: bytes
    """Their result blocks, with commas."""
    end: int
    """How many blocks of the message came in this reply or before."""
    is_beside: bool
    """The agent ran other calls of the same reply: the results go next to theirs."""
    thread: str = ""
    """Whose it is."""
    out: frozenset[str] = frozenset()
    """What was evicted there when this was made, or when a collection passed it over."""
    collections: int = 0
    """That this was there for."""

    def aged(self, out: frozenset[str]) -> Exchange:
        """The exchange in a request with these ids evicted. The second collection after it takes the texts out again.

        Each collection rewrites the cache, so that is the moment; the first one is passed over, because what was just
        asked for is in use.
        """
        if not self.out < out:
            return self
        older = self._replace(out=out, collections=self.collections + 1)
        if older.collections != COLLECTIONS_MAX:
            return older
        names = [str(json.loads(block)["id"]) for _, block in self.calls]
        return older._replace(results=b",".join(result_block(name, EVICTED_AGAIN, is_error=False) for name in names))


class Dressed(NamedTuple):
    """A request that carries the tool."""

    body: bytes
    at: int
    """The message that the reply will be."""
    anchor: bytes
    """Of that message."""


def dressed(body: bytes, original: bytes, known: Sequence[Exchange]) -> Dressed | None:
    """The body with the tool and with every exchange that belongs into it; None if it has no tools to add to.

    `original` is what the agent sent: tombstones, which come later than an exchange, must not hide its place.
    Raises `BadTranscript` for what is not a request of this format.
    """
    return read_json(body, lambda text: _dressed(text, original, known))


def _dressed(text: JsonText, original: bytes, known: Sequence[Exchange]) -> Dressed | None:
    fields = text.members(text.extent)
    tools, listed = fields.get("tools"), fields.get("messages")
    if tools is None or listed is None or text.first(tools) != b"[":
        return None
    own = text.elements(tools)
    if not own or any(text.string(text.members(one).get("name")) == TOOL_NAME for one in own):
        return None
    messages = text.elements(listed)
    if not messages:
        return None
    anchors = read_json(original, lambda first: _anchors(first, {*(one.at for one in known), len(messages)}))
    edits = [(Extent(own[-1].end, own[-1].end), b"," + TOOL)]
    here = [one for one in known if one.at < len(messages) and anchors.get(one.at) == one.anchor]
    for at in sorted({one.at for one in here}):
        after = messages[at + 1] if at + 1 < len(messages) else None
        edits += _woven(text, messages[at], after, [one for one in here if one.at == at])
    return Dressed(spliced(text.data, edits), len(messages), anchors[len(messages)])


def appended(body: bytes, blocks: Sequence[bytes], results: bytes) -> bytes:
    """The body, asked again: with the reply's blocks and the results behind its last message."""
    said = b',{"role":"assistant","content":[' + b",".join(blocks) + b"]}" + _user(results)

    def end(text: JsonText) -> int:
        return text.elements(text.members(text.extent)["messages"])[-1].end

    at = read_json(body, end)
    return body[:at] + said + body[at:]


def result_block(call_id: str, text: str, *, is_error: bool) -> bytes:
    """A tool's result."""
    fault = b',"is_error":true' if is_error else b""
    return (
        b'{"type":"tool_result","tool_use_id":'
        + json_string(call_id)
        + b',"content":'
        + json_string(text)
        + fault
        + b"}"
    )


def _anchors(text: JsonText, places: set[int]) -> dict[int, bytes]:
    """By place: the first message of the list, and the last one before that place."""
    messages = text.elements(text.members(text.extent)["messages"])
    first = _print(text.value(messages[0]))
    return {
        at: blake2b(first + _print(text.value(messages[at - 1])), digest_size=16).digest()
        for at in places
        if 0 < at <= len(messages)
    }


def _print(message: Any) -> bytes:
    """A message without what an agent changes about it from request to request: marks of where to cache."""
    content = message.get("content") if isinstance(message, dict) else message
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return json.dumps(_plain(blocks)).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items() if key != "cache_control"}
    return [_plain(part) for part in value] if isinstance(value, list) else value


def _woven(
    text: JsonText, message: Extent, after: Extent | None, exchanges: Sequence[Exchange]
) -> list[tuple[Extent, bytes]]:
    """Edits that put these exchanges into the message that they stood in; none if it is not like that any more."""
    fields = text.members(message)
    content = fields.get("content")
    if content is None or text.string(fields.get("role")) != "assistant":
        return []
    blocks = _blocks(text, content)
    if exchanges[-1].end > len(blocks):
        return []
    edits: list[tuple[Extent, bytes]] = []
    parts, start = [], 0
    for one in exchanges:
        if one.is_beside:
            place = _first_block(text, after)
            if place is None:
                return []
            edits.append((Extent(place, place), one.results + b","))
            blocks = [*blocks[:start], *_with_calls(blocks, start, len(blocks), one)]
            break
        said = b",".join(_with_calls(blocks, start, one.end, one))
        parts.append(b'{"role":"assistant","content":[' + said + b"]}" + _user(one.results))
        start = one.end
    if start or edits:
        head, tail = text.data[message.start : content.start], text.data[content.end : message.end]
        last = [head + b"[" + b",".join(blocks[start:]) + b"]" + tail] if blocks[start:] else []
        edits.append((message, b",".join([*parts, *last])))
    else:  # All came before it: the message itself stays as it is.
        edits.append((Extent(message.start, message.start), b",".join(parts) + b","))
    return edits


def _with_calls(blocks: Sequence[bytes], start: int, end: int, exchange: Exchange) -> list[bytes]:
    woven: list[bytes] = []
    for index in range(start, end + 1):
        woven += [call for at, call in exchange.calls if at == index]
        woven += [blocks[index]] if index < end else []
    return woven


def _blocks(text: JsonText, content: Extent) -> list[bytes]:
    if text.first(content) == b'"':
        return [b'{"type":"text","text":' + text.data[content.start : content.end] + b"}"]
    if text.first(content) != b"[":
        raise BadTranscript("the content of a message is neither text nor a list")
    return [text.data[one.start : one.end] for one in text.elements(content)]


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


def _user(results: bytes) -> bytes:
    return b',{"role":"user","content":[' + results + b"]}"
