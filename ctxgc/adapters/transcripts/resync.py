"""Resynchronisation: the whole records in a damaged stretch of a log.

    NULs, then a record         an append after a crash        ─┐
    half a record, then a whole one    a torn write            ─┤
    {…}{…}                      two writers, or a lost newline ─┼──salvage──▶ records, places that no reader can read,
    a record over several lines    raw newlines in a string    ─┤             and where an object is still open
    a character cut in two      a write cut by bytes           ─┘

A record is never lost for its neighbour. An object behind a tear counts as a record only if the format knows its
keys: a torn record's inner objects are no records of their own. Work is linear in the stretch.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

NO_TEXT = "\0\x1e\ufeff, \t\r\n"
"""Characters between records that hold nothing of a record."""

EFFORT_MAX = 32
"""Characters decoded in vain, by characters of the stretch: deep nests that never close must not cost a square."""

CHARACTER_BYTES_MAX = 4
"""Of UTF-8."""

END_CHARS = 8
"""A decoder that stops so near the end met a cut literal or escape, not a tear."""

FAILURE_CHARS = 64
"""An attempt that fails costs at least as much as decoding this; a nest too deep, that many times this."""

_START = re.compile(r'\{\s*"(?:[^"\\]|\\.){0,200}"\s*:')
_BRACKET = re.compile(r'[{}\[\]"]')
_IN_STRING = re.compile(r'["\\]')
_DECODER = json.JSONDecoder(strict=False)


@dataclass(slots=True)
class Salvage:
    """The records of a stretch, and its rest."""

    records: list[dict[str, Any]] = field(default_factory=list)
    torn: int = 0
    """Places before the last record with something that is no part of a whole one."""
    open_at: int = -1
    """Where an object begins that the stretch does not close; -1 if there is none."""
    end: int = 0
    """The end of the last record."""


def decode_stretch(stretch: bytes) -> str:
    """The text of a stretch: NULs are no JSON anywhere, a character cut in two becomes U+FFFD."""
    return stretch.replace(b"\0", b"").decode("utf-8", "replace")


def incomplete_utf8_tail(stretch: bytes) -> bytes:
    """The beginning of a character in which the stretch ends, for the next bytes to complete; empty without such a
    beginning.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(stretch[-CHARACTER_BYTES_MAX:])
    return decoder.getstate()[0]


def salvage_records(
    text: str, is_record: Callable[[dict[str, Any]], bool], *, is_final: bool, nest: str = "", is_cut: bool = False
) -> Salvage:
    """The records of a stretch. If more bytes may follow (not final), an open object hides the records inside.

    Records in a torn record that begins with `nest` are copies: only one at the very end may be a record of its own,
    unless the stretch is cut there.
    """
    found = Salvage()
    effort, at, torn_from, open_at, is_nested = 0, 0, 0, -1, False
    while (start := _START.search(text, at)) is not None and effort <= EFFORT_MAX * len(text):
        value, end, is_open = _decode_object_at(text, start.start())
        if value is None:
            # The decoder counts the lines before a failure: bytes that are only counted cost a fraction.
            effort += max(end - start.start(), FAILURE_CHARS) + start.start() // FAILURE_CHARS
            is_nested |= bool(nest) and text.startswith(nest, start.start())
            if is_open and open_at < 0:
                open_at = start.start()
                if not is_final:
                    break
            at = start.start() + 1
            continue
        if is_nested and _is_nested_copy(text, start.start(), end, is_cut=is_cut):
            at = end
            continue
        gap = text[torn_from : start.start()]
        is_whole_line = is_blank_stretch(gap) or text[start.start() - 1] == "\n"
        if is_whole_line or is_record(value):
            found.torn += not is_blank_stretch(gap)
            found.records.append(value)
            found.end = torn_from = end
            open_at, is_nested = -1, False
        at = end
    found.open_at = open_at
    return found


def _is_nested_copy(text: str, start: int, end: int, *, is_cut: bool) -> bool:
    """Whether this object is an element of a list in a torn record."""
    return text[max(start - END_CHARS, 0) : start].rstrip()[-1:] in ("[", ",") and (
        is_cut or not is_blank_stretch(text[end:])
    )


def is_blank_stretch(text: str) -> bool:
    """Whether the stretch holds no part of a record."""
    return not text.strip(NO_TEXT)


def _decode_object_at(text: str, at: int) -> tuple[dict[str, Any] | None, int, bool]:
    """(The object that begins here, its end) or (`None`, the place where the decoder stopped, whether the text ends
    inside the object).
    """
    try:
        value, end = _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        is_string_open = error.msg.startswith("Unterminated string")
        stop = len(text) if is_string_open else error.pos
        return None, stop, is_string_open or error.pos >= len(text) - END_CHARS
    except (ValueError, RecursionError):
        return None, at + FAILURE_CHARS**2, False
    return value, end, False


class Nesting:
    """Follows brackets and strings over the lines of an open object, each character once."""

    def __init__(self) -> None:
        self.depth = 0
        self._is_in_string = False

    def scan_brackets(self, text: str) -> bool:
        """Go on over `text`; whether the object may be closed now."""
        at, is_closed = 0, False
        while (found := (_IN_STRING if self._is_in_string else _BRACKET).search(text, at)) is not None:
            at, char = found.end(), found[0]
            if char == "\\":
                at += 1
            elif char == '"':
                self._is_in_string = not self._is_in_string
            else:
                self.depth += 1 if char in "{[" else -1
                is_closed |= self.depth <= 0
        return is_closed
