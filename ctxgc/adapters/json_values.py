"""Values of a host's JSON, read leniently: a value of an unexpected type counts as empty."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

NAME_CHARS_MAX = 512
"""Of a tool, a title, a path: what comes from a host and ends up as a key."""

DATE_CHARS = 8
"""Of a date in digits: a longer number counts seconds or milliseconds."""
NUMBER_CHARS_MAX = 18
"""Of a stamp that is a number in a text."""

MILLISECONDS_FROM = 10**11
"""A stamp from here on counts milliseconds: as seconds it would be in the year 5138."""

_ENCODER = msgspec.json.Encoder(order="sorted")


def canonical_json(value: object) -> bytes:
    """JSON with sorted keys and no spaces. Lone surrogates, which have no UTF-8, come out as escapes."""
    try:
        return _ENCODER.encode(value)
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError):
        return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()


def encode_json(value: Any) -> bytes:
    """JSON in key order: UTF-8, or ASCII escapes throughout where some text has no UTF-8."""
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def clean_name(name: str) -> str:
    """A host's name made fit for a key: in UTF-8, without NUL, of bounded length."""
    return name.encode("utf-8", "backslashreplace").decode().replace("\0", "")[:NAME_CHARS_MAX]


def block_text(block: object) -> str | None:
    """The text of a text block (`text`, `input_text`, `output_text`), `None` for any other block."""
    if isinstance(block, dict) and block.get("type") in ("text", "input_text", "output_text"):
        text = block.get("text")
        return text if isinstance(text, str) else None
    return None


def content_blocks(content: object) -> Iterator[object]:
    """The blocks of a message's content: a bare string is a single text block."""
    if isinstance(content, str):
        yield {"type": "text", "text": content}
    elif isinstance(content, list):
        yield from content


def as_dict(value: object) -> dict[str, Any]:
    """The value, or an empty object for any other value."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """The value, or an empty list for any other value."""
    return value if isinstance(value, list) else []


def as_text(value: object) -> str:
    """The value, or an empty string for any other value."""
    return value if isinstance(value, str) else ""


def as_count(value: object) -> int:
    """The value if the value is a count that fits a row, else 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else 0


def parse_unix_s(value: object) -> float:
    """Unix time of an ISO 8601 stamp, or of a number of seconds or milliseconds; 0.0 for any other value.

    A stamp without a zone is UTC; a number may come as a text.
    """
    if isinstance(value, str) and len(value) > DATE_CHARS and value.isascii() and value.isdigit():
        value = int(value[:NUMBER_CHARS_MAX])
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < MILLISECONDS_FROM * 1000:
        return value / 1000 if value >= MILLISECONDS_FROM else float(value)
    if not isinstance(value, str):
        return 0.0
    try:
        stamp = datetime.fromisoformat(value)
        return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0
