"""The bill of a reply, read on the side while the reply streams past. Sans-I/O: bytes in, numbers out.

    SSE   data: {… "usage": {…} …}      every event with usage; later numbers replace earlier ones
    JSON  {… "usage": {…} …}            at the end of the body

A scanner never delays a byte, keeps at most one event (or one body) and gives up beyond its bound, for good: a reply
without known usage teaches nothing, and does no harm.
"""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

import msgspec

from ctxgc.gateway.billing.sse import EventStream, event_data, split_events

EVENT_BYTES_MAX = 2**20
BODY_BYTES_MAX = 8 * 2**20
PLAIN_BYTES_MAX = 64 * 2**20
"""Decompressed bytes of a reply; beyond them the scanner gives up."""

READABLE = frozenset({"identity", "gzip", "deflate"})
"""Codings in which a reply's bill can be read."""

_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


class Usage(NamedTuple):
    """Billed tokens of one reply."""

    input_tokens: int
    """Input tokens that were neither read from the cache nor written to it."""
    cache_read_tokens: int
    cache_creation_tokens: int
    output_tokens: int


class UsageScanner:
    """Reads one reply: `feed` takes the body in any cuts, `usage` gives the bill at its end. Never raises."""

    def __init__(self, content_type: str, encoding: str = "") -> None:
        self._events = EventStream(EVENT_BYTES_MAX) if "event-stream" in content_type.lower() else None
        self._inflater = zlib.decompressobj(_GZIP_OR_ZLIB) if encoding.lower() in ("gzip", "deflate") else None
        self._is_lost = bool(encoding) and encoding.lower() not in READABLE
        self._body = b""
        self._plain_bytes = 0
        self._counts: dict[str, Any] = {}
        self.calls = 0
        """Tool calls of an Anthropic reply seen so far; the reason to stop counts as another."""

    def feed(self, data: bytes) -> None:
        """The next bytes of the body, as they came."""
        if self._is_lost:
            return
        if self._inflater is not None:
            try:
                data = self._inflater.decompress(data, PLAIN_BYTES_MAX)
            except zlib.error:
                self._is_lost = True
                return
        self._plain_bytes += len(data)
        self.calls += data.count(b'"tool_use"')
        if self._events is not None:
            self._feed_events(self._events, data)
        else:
            self._body += data
            self._is_lost = len(self._body) > BODY_BYTES_MAX
        if self._is_lost or self._plain_bytes > PLAIN_BYTES_MAX:
            self._is_lost, self._body = True, b""

    def usage(self) -> Usage | None:
        """The bill as far as it is known; ask at the end of the body."""
        if not self._is_lost:
            self._take(event_data(self._events.take_rest()) if self._events is not None else self._body)
            self._body = b""
        return _normal(self._counts) if self._counts else None

    def _feed_events(self, stream: EventStream, data: bytes) -> None:
        events = stream.feed(data)
        if b'"usage"' in events:  # Most reads hold no usage, and are not even split.
            for event in split_events(events):
                if b'"usage"' in event:
                    self._take(event_data(event))
        if stream.is_too_long:
            self._is_lost = True
            stream.take_rest()

    def _take(self, data: bytes) -> None:
        try:
            event = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        if not isinstance(event, dict):
            return
        # Usage stands at the top, or one level down: in Anthropic's `message_start` and in OpenAI's Responses.
        for holder in (event, event.get("message"), event.get("response")):
            usage = holder.get("usage") if isinstance(holder, dict) else None
            if isinstance(usage, dict):
                self._counts |= {key: value for key, value in usage.items() if value is not None}


def _normal(counts: dict[str, Any]) -> Usage | None:
    """The bill under common names. OpenAI counts tokens read from the cache as input too; Anthropic does not."""
    if "prompt_tokens" in counts:
        read = _nested(counts.get("prompt_tokens_details"), "cached_tokens")
        return Usage(max(_count(counts["prompt_tokens"]) - read, 0), read, 0, _count(counts.get("completion_tokens")))
    if "input_tokens_details" in counts:
        read = _nested(counts["input_tokens_details"], "cached_tokens")
        return Usage(max(_count(counts.get("input_tokens")) - read, 0), read, 0, _count(counts.get("output_tokens")))
    if "input_tokens" not in counts:
        return None
    return Usage(
        _count(counts["input_tokens"]),
        _count(counts.get("cache_read_input_tokens")),
        _count(counts.get("cache_creation_input_tokens")),
        _count(counts.get("output_tokens")),
    )


def _nested(details: Any, key: str) -> int:
    return _count(details.get(key)) if isinstance(details, dict) else 0


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else 0
