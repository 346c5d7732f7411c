"""Server-sent events as bytes: a stream is cut into whole events, and an event gives its data. Sans-I/O.

    bytes in any cuts ──EventStream──▶ whole events ──split_events──▶ event ──event_data──▶ JSON
                            └──▶ the rest, at most `event_bytes_max`

An event ends with an empty line; lines end with LF, CRLF, or, of a few servers, with CR alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_END = re.compile(rb"\r?\n\r?\n|\r\r")
_END_BYTES = 4


class EventStream:
    """Keeps the start of an event that has not ended. Beyond the bound `is_too_long` is set."""

    def __init__(self, event_bytes_max: int) -> None:
        self._event_bytes_max = event_bytes_max
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """The whole events completed by the bytes, in order."""
        unseen = max(len(self._rest) - _END_BYTES, 0)
        self._rest += data
        # Two searches from the end: most reads hold many small events, and their data is not looked at here.
        lf_at, crlf_at = self._rest.rfind(b"\n\n", unseen), self._rest.rfind(b"\n\r\n", unseen)
        cr_at = self._rest.rfind(b"\r\r", unseen)
        if lf_at < 0 and crlf_at < 0 and cr_at < 0:
            return b""
        end = max(lf_at + 2, crlf_at + 3, cr_at + 2)
        events, self._rest = self._rest[:end], self._rest[end:]
        return events

    @property
    def is_too_long(self) -> bool:
        """Whether an unfinished event is longer than the bound."""
        return len(self._rest) > self._event_bytes_max

    def take_lines(self) -> bytes:
        """The whole lines of the unfinished event, for streams without empty lines; the last line stays."""
        end = max(self._rest.rfind(b"\n"), self._rest.rfind(b"\r")) + 1
        lines, self._rest = self._rest[:end], self._rest[end:]
        return lines

    def take_rest(self) -> bytes:
        """The bytes of the unfinished event, which are dropped here."""
        rest, self._rest = self._rest, b""
        return rest


def split_events(events: bytes) -> Iterator[bytes]:
    """Each event of a run of whole events, with its empty line."""
    start = 0
    for end in _END.finditer(events):
        yield events[start : end.end()]
        start = end.end()
    if start < len(events):  # A third line end in a row.
        yield events[start:]


def event_data(event: bytes) -> bytes:
    """An event's data, its lines joined: a line break within a value of JSON is white space."""
    return b"".join(data_lines(event))


def data_lines(event: bytes) -> list[bytes]:
    """The data of each line of an event."""
    return [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
