"""What a reply cost, read on the side while it streams past. Sans-I/O: bytes in, numbers out.

    SSE   data: {… "usage": {…} …}      every event that holds one; later numbers replace earlier ones
    JSON  {… "usage": {…} …}            when the body has ended

A scanner never delays a byte, keeps at most one line (or one body) and gives up beyond its bound, for good: a reply
without known usage teaches nothing, and that is all.
"""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

import msgspec

LINE_BYTES_MAX = 2**20
BODY_BYTES_MAX = 8 * 2**20
PLAIN_BYTES_MAX = 64 * 2**20
"""Of a compressed reply; beyond it we look no further."""

READABLE = frozenset({"identity", "gzip", "deflate"})
"""Codings of a reply that can be read on the side."""

_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


class Usage(NamedTuple):
    """Billed tokens of one reply."""

    input_tokens: int
    """Input that was neither read from the cache nor written to it."""
    cache_read_tokens: int
    cache_creation_tokens: int
    output_tokens: int


class UsageScanner:
    """Reads one reply. `feed` it the body in any cuts, then ask `usage`. Never raises."""

    def __init__(self, content_type: str, encoding: str = "") -> None:
        self._is_stream = "event-stream" in content_type.lower()
        self._limit = LINE_BYTES_MAX if self._is_stream else BODY_BYTES_MAX
        self._inflater = zlib.decompressobj(_GZIP_OR_ZLIB) if encoding.lower() in ("gzip", "deflate") else None
        self._is_lost = bool(encoding) and encoding.lower() not in READABLE
        self._left = b""
        self._plain_bytes = 0
        self._found: dict[str, Any] = {}

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
        self._left += data
        if self._is_stream:
            self._take_lines()
        if len(self._left) > self._limit or self._plain_bytes > PLAIN_BYTES_MAX:
            self._is_lost, self._left = True, b""

    def usage(self) -> Usage | None:
        """What is known now; ask when the body has ended."""
        if self._left and not self._is_lost:
            self._take(self._left.removeprefix(b"data:") if self._is_stream else self._left)
            self._left = b""
        return _normal(self._found) if self._found else None

    def _take_lines(self) -> None:
        lines, newline, rest = self._left.rpartition(b"\n")
        if not newline:
            return
        self._left = rest
        if b'"usage"' in lines:  # Most reads hold none, and are not even split.
            for line in lines.split(b"\n"):
                if line.startswith(b"data:") and b'"usage"' in line:
                    self._take(line[5:])

    def _take(self, data: bytes) -> None:
        try:
            event = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        if not isinstance(event, dict):
            return
        # At the top; or one level down, in Anthropic's `message_start` and in OpenAI's Responses.
        for holder in (event, event.get("message"), event.get("response")):
            usage = holder.get("usage") if isinstance(holder, dict) else None
            if isinstance(usage, dict):
                self._found |= {key: value for key, value in usage.items() if value is not None}


def _normal(found: dict[str, Any]) -> Usage | None:
    """The numbers under one name each. OpenAI counts what it read from its cache as input too; Anthropic does not."""
    if "prompt_tokens" in found:
        read = _nested(found.get("prompt_tokens_details"), "cached_tokens")
        return Usage(max(_count(found["prompt_tokens"]) - read, 0), read, 0, _count(found.get("completion_tokens")))
    if "input_tokens_details" in found:
        read = _nested(found["input_tokens_details"], "cached_tokens")
        return Usage(max(_count(found.get("input_tokens")) - read, 0), read, 0, _count(found.get("output_tokens")))
    if "input_tokens" not in found:
        return None
    return Usage(
        _count(found["input_tokens"]),
        _count(found.get("cache_read_input_tokens")),
        _count(found.get("cache_creation_input_tokens")),
        _count(found.get("output_tokens")),
    )


def _nested(details: Any, key: str) -> int:
    return _count(details.get(key)) if isinstance(details, dict) else 0


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else 0
