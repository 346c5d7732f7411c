"""One top-level key of a TOML text set or taken out, and every other byte kept.

The key's line stands before everything else in the file, where a TOML text is at its top level whatever follows. The
outcome, read again, differs from before in that key alone, or `Uneditable` is raised.
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

from ctxgc.fronts.setup.json_edit import Uneditable


def top_level(text: str) -> dict[str, Any]:
    """The values of a TOML text. Raises `Uneditable`."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Uneditable(f"it is not TOML: {error}") from None


def line_of(text: str, key: str) -> str | None:
    """The line that sets a top-level key, its end included; None where no line does."""
    lines = [line for line in text.splitlines(keepends=True) if re.match(rf"\s*{re.escape(key)}\s*=", line)]
    before = top_level(text)
    for line in lines if key in before else ():
        try:
            if tomllib.loads(text.replace(line, "", 1)) == {k: v for k, v in before.items() if k != key}:
                return line
        except tomllib.TOMLDecodeError:
            continue
    return None


def set_key(text: str, key: str, value: str) -> str:
    """The text with this top-level key set to a text value. Raises `Uneditable`."""
    before = top_level(text)
    newline = "\r\n" if "\r\n" in text else "\n"
    own = f"{key} = {json.dumps(value)}{newline}"
    if key in before:
        line = line_of(text, key)
        if line is None:
            raise Uneditable(f"`{key}` is not set by a line of its own")
        fresh = text.replace(line, own, 1)
    else:
        fresh = own + text
    return _checked(fresh, before | {key: value})


def put_back(text: str, key: str, line: str | None) -> str:
    """The text with an earlier line of a top-level key in the place of the present line, or without any."""
    before = top_level(text)
    present = line_of(text, key)
    if present is None:
        raise Uneditable(f"`{key}` is not set by a line of its own")
    expected = {name: value for name, value in before.items() if name != key} | tomllib.loads(line or "")
    return _checked(text.replace(present, line or "", 1), expected)


def _checked(fresh: str, expected: dict[str, Any]) -> str:
    if top_level(fresh) != expected:
        raise Uneditable("it is not laid out so that one key in it can be changed alone")
    return fresh
