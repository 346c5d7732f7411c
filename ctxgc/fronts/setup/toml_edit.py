"""One top-level key of a TOML text set or taken out, or one table added, and every other byte kept.

The key's line stands before all other lines in the file, where a TOML text is always at its top level. The outcome,
read again, differs from before in that key alone, or `Uneditable` is raised.
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

from ctxgc.fronts.setup.json_edit import Uneditable

_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029]")


def toml_value(value: str | list[str]) -> str:
    """The value as TOML, on a single line: JSON, but for the two halves by which JSON escapes an emoji."""
    text = json.dumps(value, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def parse_top_level(text: str) -> dict[str, Any]:
    """The values of a TOML text. Raises `Uneditable`."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Uneditable(f"it is not TOML: {error}") from None


def line_of(text: str, key: str) -> str | None:
    """The line that sets a top-level key, its end included; None where no line does."""
    lines = [line for line in text.splitlines(keepends=True) if re.match(rf"\s*{re.escape(key)}\s*=", line)]
    before = parse_top_level(text)
    for line in lines if key in before else ():
        try:
            if tomllib.loads(text.replace(line, "", 1)) == {k: v for k, v in before.items() if k != key}:
                return line
        except tomllib.TOMLDecodeError:
            continue
    return None


def set_key(text: str, key: str, value: str) -> str:
    """The text with this top-level key set to a text value. Raises `Uneditable`."""
    before = parse_top_level(text)
    newline = "\r\n" if "\r\n" in text else "\n"
    own = f"{key} = {toml_value(value)}{newline}"
    if key in before:
        line = line_of(text, key)
        if line is None:
            raise Uneditable(f"`{key}` is not set by a line of its own")
        fresh = text.replace(line, own, 1)
    else:
        fresh = own + text
    return _require_value(fresh, before | {key: value})


def restore_line(text: str, key: str, line: str | None) -> str:
    """The text with an earlier line of a top-level key in the place of the present line, or without any."""
    before = parse_top_level(text)
    present = line_of(text, key)
    if present is None:
        raise Uneditable(f"`{key}` is not set by a line of its own")
    expected = {name: value for name, value in before.items() if name != key} | tomllib.loads(line or "")
    return _require_value(text.replace(present, line or "", 1), expected)


def add_table(text: str, path: tuple[str, ...], block: str) -> str:
    """The text with a table of its own behind everything else. Raises `Uneditable` where there is such a table."""
    present: Any = parse_top_level(text)
    for key in path:
        present = present.get(key) if isinstance(present, dict) else None
    if present is not None:
        raise Uneditable(f"[{'.'.join(path)}] stands in it")
    fresh = text + ("" if not text or text.endswith("\n") else "\n") + _parting(text) + block
    return _require_value(fresh, _merged(parse_top_level(text), parse_top_level(block)))


def drop_table(text: str, block: str) -> str | None:
    """The text without a table that stands as it was added; None where it does not."""
    before, found, after = text.partition(block)
    if not found:
        return None
    fresh = before.removesuffix(_parting(before)) + after
    return fresh if _merged(parse_top_level(fresh), parse_top_level(block)) == parse_top_level(text) else None


def _parting(text: str) -> str:
    return "\n" if text.strip() else ""


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    merged = dict(one)
    for key, value in other.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _require_value(fresh: str, expected: dict[str, Any]) -> str:
    if parse_top_level(fresh) != expected:
        raise Uneditable("it is not laid out so that one key in it can be changed alone")
    return fresh
