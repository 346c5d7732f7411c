"""From bytes to lines: unpacks (`inflater`), splits at newlines, never holds more than a single record.

    bytes ──Inflater──▶ plain bytes ──JsonLines──▶ whole lines ──LineTranscript──▶ events
                                        └─ a line beyond LINE_BYTES_MAX is dropped as it arrives, and counted

Sans-I/O: the caller reads the file. `LineTranscript` is the shared part of all line formats; a format only reads a
line. Work is linear in the bytes, in any cuts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from ctxgc.adapters.contract import LINE_BYTES_MAX, Event
from ctxgc.adapters.foreign_blocks import foreign_block_names_of_events
from ctxgc.adapters.transcripts.inflater import Inflater
from ctxgc.adapters.transcripts.resync import (
    Nesting,
    Salvage,
    decode_stretch,
    incomplete_utf8_tail,
    is_blank_stretch,
    salvage_records,
)

OPEN_CHARS_MAX = LINE_BYTES_MAX
"""Of an object that goes on over lines; a longer one is taken for torn."""

MENDS_MAX = 64
"""Attempts to read one open object: each costs a reading of all its lines."""

HEAD_LINES_MAX = 10_000
"""Of a file's beginning, for telling its format."""

SKIPPED_KINDS_MAX = 64
SKIPPED_KIND_CHARS_MAX = 48


def inflate_head(data: bytes, size: int = 2**16) -> bytes:
    """The first `size` plain bytes of a file's first bytes, for detecting its format."""
    head = bytearray()
    for plain in Inflater().feed(data):
        head += plain
        if len(head) >= size:
            break
    return bytes(head[:size])


def head_objects(head: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects on the first lines, those of a damaged line too; the last one may be cut and is left out."""
    lines = head.split(b"\n")[:HEAD_LINES_MAX]
    for number, line in enumerate(lines, 1):
        value = parse_json_object(line)
        if value is not None:
            yield value
        elif b"{" in line:
            yield from salvage_records(decode_stretch(line), bool, is_final=number < len(lines)).records


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
        self._hold_part(first)
        for part in rest:
            if not self._is_skipping:
                yield b"".join(self._parts)
            self._reset_pending_line()
            self._hold_part(part)

    def tail(self) -> bytes:
        """The bytes behind the last newline, still held."""
        return b"".join(self._parts)

    def drop_tail(self) -> None:
        """Forget the tail: its record was taken without waiting for a newline."""
        self._reset_pending_line()

    def _hold_part(self, part: bytes) -> None:
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

    def _reset_pending_line(self) -> None:
        self._parts = []
        self._size = 0
        self._is_skipping = False


class LineTranscript:
    """A `Transcript` with a record a line; a format takes a line in `_read_record`, and brings open records out in
    `_flush`.

    A line that is no record may hold several records, or the beginning of a record with raw newlines: `resync` finds
    these.
    """

    source = ""
    bookkeeping: frozenset[str] = frozenset()
    """Kinds of records that a host writes into a log of nothing."""
    nest = ""
    """The beginning of a record that holds records of the format, if there is such a one."""

    def __init__(self) -> None:
        self.records = 0
        self.skipped: Counter[str] = Counter()
        self._events: list[Event] = []
        self._inflater = Inflater()
        self._lines = JsonLines()
        self._open_lines: list[str] = []
        """Lines from the beginning of an object that no line has closed yet."""
        self._open_chars = 0
        self._nesting = Nesting()
        self._mends = 0
        """Attempts to close the open object."""

    def feed(self, data: bytes) -> list[Event]:
        """Events of the records that `data` completes."""
        # A finish in the middle of a record had counted its first half as truncated; now it goes on.
        self.skipped.pop("truncated", None)
        for plain in self._inflater.feed(data):
            for line in self._lines.feed(plain):
                self._take_line(line)
        if self._lines.too_long:
            self.skipped["too_long"] = self._lines.too_long
        if self._inflater.is_damaged:
            self.skipped[self._inflater.damage] = 1
        return self._drain_events()

    def finish(self) -> list[Event]:
        """Take a last record without a newline, if the record is whole, and bring out open records."""
        tail = self._lines.tail()
        if self._open_lines or tail.strip():
            # No proper prefix of a JSON object is one, so a half-written record is never taken for a whole one.
            if not self._open_lines and self._read_record(tail):
                self.records += 1
                self._lines.drop_tail()
            else:
                self._take_cut_tail(tail)
        self._flush()
        return self._drain_events()

    def _take_line(self, line: bytes) -> None:
        """Read a line. Only a line that is no record costs more than its reading."""
        if self._open_lines:
            self._continue_open_object(line)
        elif line and not line.isspace():
            if self._read_record(line):
                self.records += 1
            else:
                self._mends = 0
                self._mend_line(decode_stretch(line))

    def _mend_line(self, text: str) -> None:
        """Take the whole records of a damaged line, and keep the beginning of a record that may go on."""
        found = salvage_records(text, self._is_record, is_final=False, nest=self.nest)
        is_open = found.open_at >= 0 and self._mends < MENDS_MAX
        rest = text[found.end : found.open_at] if is_open else text[found.end :]
        if not found.records and is_blank_stretch(text):
            self.records += 1
            self._skip_record("malformed")  # NULs alone: something stood there.
        self._take_salvaged_records(found, rest)
        if is_open:
            self._nesting = Nesting()
            self._hold_open_line(text[found.open_at :])

    def _hold_open_line(self, text: str) -> bool:
        """Keep a line of an open object; whether that object may be whole now."""
        self._open_lines.append(text)
        self._open_chars += len(text) + 1
        return self._nesting.scan_brackets(text)

    def _continue_open_object(self, line: bytes) -> None:
        """A line after the beginning of an object: its continuation, unless the line is a record of its own."""
        record = parse_json_object(line.replace(b"\0", b"").strip())
        if record is not None and self._is_record(record):
            self._salvage_open_object()
            self._take_line(line)
        elif self._hold_open_line(decode_stretch(line)):
            self._mends += 1
            self._mend_line(self._pop_open_lines())
        elif self._open_chars > OPEN_CHARS_MAX:
            self._salvage_open_object()

    def _pop_open_lines(self) -> str:
        text = "\n".join(self._open_lines)
        self._open_lines, self._open_chars = [], 0
        return text

    def _salvage_open_object(self) -> None:
        """The open object never closes: take the whole records inside, and count the torn rest."""
        text = self._pop_open_lines()
        found = salvage_records(text, self._is_record, is_final=True, nest=self.nest)
        self._take_salvaged_records(found, text[found.end :])

    def _take_salvaged_records(self, found: Salvage, rest: str) -> None:
        for record in found.records:
            self.records += 1
            if not self._read_record(json.dumps(record).encode()):
                self._skip_record("malformed")
        torn = found.torn + (not is_blank_stretch(rest))
        self.records += torn
        for _ in range(torn):
            self._skip_record("malformed")

    def _take_cut_tail(self, tail: bytes) -> None:
        """The input ends in a damaged line: its whole records count, and the rest may still go on."""
        cut = incomplete_utf8_tail(tail)
        text = "\n".join([*self._open_lines, decode_stretch(tail.removesuffix(cut))])
        found = salvage_records(text, self._is_record, is_final=True, nest=self.nest, is_cut=bool(tail))
        rest = text[found.end :]
        if found.records:
            self._pop_open_lines()
            self._lines.drop_tail()
            self._take_salvaged_records(found, "")
            for line in self._lines.feed(rest.encode() + cut):
                self._take_line(line)
        if not (found.records and is_blank_stretch(rest) and not cut):
            self.skipped["truncated"] = 1

    def _is_record(self, value: dict[str, Any]) -> bool:
        """Whether an object behind a tear is a record of this format, and no inner part of a torn record."""
        return True

    def _read_record(self, line: bytes) -> bool:
        """Take a record; False, with no change, if the line is no JSON object."""
        raise NotImplementedError

    def _flush(self) -> None:
        """Bring out records that wait for more input."""

    def is_bookkeeping(self, kinds: Iterable[str]) -> bool:
        """Whether all these kinds of skipped records are the host's notes to itself."""
        return self.bookkeeping.issuperset(kinds)

    def _skip_record(self, kind: object) -> None:
        """Count a record that is not understood, under a name of bounded length, among boundedly many."""
        name = kind[:SKIPPED_KIND_CHARS_MAX] if isinstance(kind, str) and kind else "untyped"
        if name not in self.skipped and len(self.skipped) >= SKIPPED_KINDS_MAX:
            name = "other"
        self.skipped[name] += 1

    def _drain_events(self) -> list[Event]:
        # The same list stays: builders write to it.
        events = list(self._events)
        self._events.clear()
        for kind in foreign_block_names_of_events(events):
            self._skip_record(kind)
        return events


def parse_json_object(line: bytes) -> dict[str, Any] | None:
    """A JSON object by the standard library, which takes lone surrogates and NaN; `None` without a match."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
