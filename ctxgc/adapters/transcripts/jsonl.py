"""From bytes to lines: gunzips by magic bytes, splits at newlines, never holds more than one record.

    bytes ──Inflater──▶ plain bytes ──JsonLines──▶ whole lines ──LineTranscript──▶ events
                                        └─ a line beyond LINE_BYTES_MAX is dropped as it arrives, and counted

Sans-I/O: the caller reads the file. `LineTranscript` is what every line format shares; a format only reads a line. Work
is linear in the bytes, however finely they are cut.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ctxgc.adapters.contract import LINE_BYTES_MAX, Event

GZIP_MAGIC = b"\x1f\x8b"
INFLATE_BYTES = 2**20
"""Inflated bytes held at once: a small gzip that unpacks to gigabytes must not."""

SKIPPED_KINDS_MAX = 64
SKIPPED_KIND_CHARS_MAX = 48


class Inflater:
    """Passes plain bytes through and unpacks gzip (several members too). Damage ends the stream, it never raises."""

    def __init__(self) -> None:
        self.is_damaged = False
        self._head: bytes | None = b""
        self._member: zlib._Decompress | None = None

    @property
    def is_cut(self) -> bool:
        """Whether a packed member has no end yet: if the file ends here, something of it is missing."""
        return self._member is not None and not self._member.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The plain bytes in `data`, in pieces of at most `INFLATE_BYTES` when they were packed."""
        if self._head is not None:
            data = self._head + data
            if len(data) < len(GZIP_MAGIC) and GZIP_MAGIC.startswith(data):
                self._head = data
                return
            self._head = None
            if data.startswith(GZIP_MAGIC):
                self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        if self._member is None:
            yield data
        else:
            yield from self._inflate(data)

    def _inflate(self, data: bytes) -> Iterator[bytes]:
        while data and not self.is_damaged:
            assert self._member is not None
            if self._member.eof:
                data = data.lstrip(b"\0")  # Some writers pad a member with zeros.
                if not data:
                    return
                self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
            try:
                plain = self._member.decompress(data, INFLATE_BYTES)
            except zlib.error:
                self.is_damaged = True
                return
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            if plain:
                yield plain


def inflated_head(data: bytes, size: int = 2**16) -> bytes:
    """The first `size` plain bytes of a file's first bytes, for detecting its format."""
    head = bytearray()
    for plain in Inflater().feed(data):
        head += plain
        if len(head) >= size:
            break
    return bytes(head[:size])


class JsonLines:
    """Splits any cuts of a stream into its lines, without the newline."""

    def __init__(self, line_bytes_max: int = LINE_BYTES_MAX) -> None:
        self.too_long = 0
        self._max = line_bytes_max
        self._parts: list[bytes] = []
        self._size = 0
        self._is_skipping = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that `data` completes, in order."""
        first, *rest = data.split(b"\n")
        self._hold(first)
        for part in rest:
            if not self._is_skipping:
                yield b"".join(self._parts)
            self._reset()
            self._hold(part)

    def tail(self) -> bytes:
        """What follows the last newline, still held."""
        return b"".join(self._parts)

    def drop_tail(self) -> None:
        """Forget the tail: its record was taken without waiting for a newline."""
        self._reset()

    def _hold(self, part: bytes) -> None:
        """Parts are joined once, at the newline: joining at each feed would be quadratic in a long line."""
        if self._is_skipping or not part:
            return
        self._size += len(part)
        if self._size > self._max:
            self.too_long += 1
            self._is_skipping = True
            self._parts = []
        else:
            self._parts.append(part)

    def _reset(self) -> None:
        self._parts = []
        self._size = 0
        self._is_skipping = False


class LineTranscript:
    """A `Transcript` of one record a line; a format says what a line means in `_read` and what is open in `_rest`."""

    source = ""

    def __init__(self) -> None:
        self.records = 0
        self.skipped: Counter[str] = Counter()
        self._events: list[Event] = []
        self._inflater = Inflater()
        self._lines = JsonLines()

    def feed(self, data: bytes) -> list[Event]:
        """Events of the records that `data` completes."""
        # A finish in the middle of a record had counted its first half as truncated; now it goes on.
        self.skipped.pop("truncated", None)
        for plain in self._inflater.feed(data):
            for line in self._lines.feed(plain):
                self._take(line)
        if self._lines.too_long:
            self.skipped["too_long"] = self._lines.too_long
        if self._inflater.is_damaged:
            self.skipped["damaged_gzip"] = 1
        return self._drain()

    def finish(self) -> list[Event]:
        """Take a last record that has no newline, if it is whole, and bring out what is still open."""
        tail = self._lines.tail()
        if tail.strip():
            # No proper prefix of a JSON object is one, so a half-written record is never taken for a whole one.
            if self._read(tail):
                self.records += 1
                self._lines.drop_tail()
            else:
                self.skipped["truncated"] = 1
        self._flush()
        return self._drain()

    def _take(self, line: bytes) -> None:
        if not line or line.isspace():
            return
        self.records += 1
        if not self._read(line):
            self._skip("malformed")

    def _read(self, line: bytes) -> bool:
        """Take one record; False, with nothing changed, if the line is no JSON object."""
        raise NotImplementedError

    def _flush(self) -> None:
        """Bring out what waits for more input."""

    def _skip(self, kind: object) -> None:
        """Count a record that is not understood, under a name of bounded length, among boundedly many."""
        name = kind[:SKIPPED_KIND_CHARS_MAX] if isinstance(kind, str) and kind else "untyped"
        if name not in self.skipped and len(self.skipped) >= SKIPPED_KINDS_MAX:
            name = "other"
        self.skipped[name] += 1

    def _drain(self) -> list[Event]:
        # The same list stays: chains write to it.
        events = list(self._events)
        self._events.clear()
        return events


def lenient_object(line: bytes) -> dict[str, Any] | None:
    """A JSON object by the standard library, which takes lone surrogates and NaN; None without a match."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
