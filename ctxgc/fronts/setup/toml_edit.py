"""One top-level key of a TOML text set or taken out, one table added, or one line of a section set, and every other
byte kept.

A new key's line stands before all other lines in the file, where a TOML text is always at its top level; of a line that
is there, the value alone changes. Line ends are those of the file, and a byte order mark stays the first. The outcome,
read again, differs from before in that key alone, or `Uneditable` is raised. Edits of our own configuration give `None`
instead.
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

from ctxgc.fronts.setup.json_edit import Uneditable

BOM = "\ufeff"
MODES_HEAD, WATCH_HEAD = "[gateway.modes]", "[watch]"
"""The sections of our own configuration that commands write into."""
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_WATCH_PATHS = re.compile(r"\s*paths\s*=")
_TEXT_VALUE = re.compile(r"""=[ \t]*(?P<value>"(?!"")(?:[^"\\\n]|\\.)*"|'(?!'')[^'\n]*')""")
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029]")


def encode_toml_value(value: str | list[str]) -> str:
    """The value as TOML, on a single line: JSON, but for the two halves by which JSON escapes an emoji."""
    text = json.dumps(value, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def parse_toml(text: str) -> dict[str, Any]:
    """The values of a TOML text. Raises `Uneditable`."""
    try:
        return tomllib.loads(text.removeprefix(BOM))
    except tomllib.TOMLDecodeError as error:
        raise Uneditable(f"it is not TOML: {error}") from None


def line_of_key(text: str, key: str) -> str | None:
    """The line that sets a top-level key, with the line's end; `None` without such a line."""
    named = re.compile(rf"[ \t]*{re.escape(key)}[ \t]*=")
    lines = [line for line in _split_toml_lines(text.removeprefix(BOM)) if named.match(line)]
    before = parse_toml(text)
    for line in lines if key in before else ():
        try:
            if parse_toml(text.replace(line, "", 1)) == {k: v for k, v in before.items() if k != key}:
                return line
        except Uneditable:
            continue
    return None


def _split_toml_lines(text: str) -> list[str]:
    """The lines as TOML has them: other signs that end a line elsewhere may stand in a comment."""
    return [line for line in re.split(r"(?<=\n)", text) if line]


def set_key(text: str, key: str, value: str) -> str:
    """The text with this top-level key set to a text value. Raises `Uneditable`."""
    before = parse_toml(text)
    if key in before:
        line = line_of_key(text, key)
        if line is None:
            raise Uneditable(f"`{key}` is not set by a line of its own")
        fresh = text.replace(line, _replace_line_value(line, key, encode_toml_value(value)), 1)
    else:
        bom = BOM if text.startswith(BOM) else ""
        fresh = f"{bom}{key} = {encode_toml_value(value)}{_newline_of(text)}{text.removeprefix(BOM)}"
    return _require_parsed_value(fresh, before | {key: value})


def _replace_line_value(line: str, key: str, value: str) -> str:
    """The line with another value: spaces, comment and line end stay."""
    found = _TEXT_VALUE.search(line)
    if found is None:
        return f"{key} = {value}{line[len(line.rstrip()) :]}"
    return line[: found.start("value")] + value + line[found.end("value") :]


def _newline_of(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def restore_key(text: str, key: str, line: str | None) -> str:
    """The text with the value of an earlier line of a top-level key, or without the key. Raises `Uneditable`."""
    before = parse_toml(text)
    present = line_of_key(text, key)
    if present is None:
        raise Uneditable(f"`{key}` is not set by a line of its own")
    expected = {name: value for name, value in before.items() if name != key} | tomllib.loads(line or "")
    earlier = _TEXT_VALUE.search(line or "")
    fresh = _replace_line_value(present, key, earlier["value"]) if earlier else line or ""
    return _require_parsed_value(text.replace(present, fresh, 1), expected)


def add_table(text: str, path: tuple[str, ...], block: str) -> str:
    """The text with a table of its own behind everything else. Raises `Uneditable` where there is such a table."""
    present: Any = parse_toml(text)
    for key in path:
        present = present.get(key) if isinstance(present, dict) else None
    if present is not None:
        raise Uneditable(f"[{'.'.join(path)}] stands in it")
    newline, is_blank = _newline_of(text), not text.removeprefix(BOM)
    head = text + ("" if is_blank or text.endswith("\n") else newline) + _separator(text)
    fresh = head + block.replace("\n", newline)
    expected = _merge_tables(parse_toml(text), parse_toml(block))
    try:
        return _require_parsed_value(fresh, expected)
    except Uneditable:
        raise Uneditable(f"it is not laid out so that [{'.'.join(path)}] can stand behind everything else") from None


def drop_table(text: str, block: str) -> str | None:
    """The text without an added table; `None` where the table was edited since."""
    before, found, after = text.partition(block)
    if not found:
        before, found, after = text.partition(block.replace("\n", "\r\n"))
    if not found:
        return None
    fresh = before.removesuffix(_separator(before)) + after
    return fresh if _merge_tables(parse_toml(fresh), parse_toml(block)) == parse_toml(text) else None


def _separator(text: str) -> str:
    return _newline_of(text) if text.strip(f"{BOM} \t\r\n") else ""


def _merge_tables(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    merged = dict(one)
    for key, value in other.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge_tables(merged[key], value) if both else value
    return merged


def _require_parsed_value(fresh: str, expected: dict[str, Any]) -> str:
    if parse_toml(fresh) != expected:
        raise Uneditable("it is not laid out so that one key in it can be changed alone")
    return fresh


def edit_mode(text: str, name: str, wanted: str) -> str | None:
    """Our configuration with that mode set, or taken out; `None` where no line of its own can set the mode."""
    try:
        expected = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
    gateway = expected.setdefault("gateway", {})
    modes = gateway.setdefault("modes", {}) if isinstance(gateway, dict) else None
    if not isinstance(modes, dict):
        return None
    if modes.get(name, "") == wanted:
        return text
    if wanted:
        modes[name] = wanted
    else:
        modes.pop(name, None)
    spellings = (json.dumps(name), encode_toml_value(name), f"'{name}'", name)
    own = re.compile(rf"\s*(?:{'|'.join(map(re.escape, spellings))})\s*=")
    return _set_section_line(text, MODES_HEAD, own, mode_line(name, wanted) if wanted else "", expected)


def mode_line(name: str, wanted: str) -> str:
    """The line of our configuration that sets a mode."""
    key = name if _BARE_KEY.fullmatch(name) else encode_toml_value(name)
    return f'{key} = "{wanted}"'


def edit_watch_paths(text: str, path: str, *, is_kept: bool) -> str | None:
    """Our configuration with that path followed, or not; `None` where no line of its own can say so."""
    try:
        expected = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
    watch = expected.setdefault("watch", {})
    paths = watch.get("paths", []) if isinstance(watch, dict) else None
    if not isinstance(paths, list):
        return None
    if (path in paths) == is_kept:
        return text
    watch["paths"] = [*paths, path] if is_kept else [other for other in paths if other != path]
    return _set_section_line(text, WATCH_HEAD, _WATCH_PATHS, f"paths = {encode_toml_value(watch['paths'])}", expected)


def _set_section_line(text: str, head: str, own: re.Pattern[str], line: str, expected: dict[str, Any]) -> str | None:
    """The text with the line at the top of the section, in place of the lines that match `own`; an empty line is none.

    A missing section is added at the end. `None` where the outcome, read again, is another than the expected values.
    """
    lines, newline = _split_toml_lines(text), _newline_of(text)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += newline
    heads = [at for at, present in enumerate(lines) if present.split("#")[0].strip() == head]
    if not heads:
        lines += [newline] * bool(lines) + [head + newline]
        heads = [len(lines) - 1]
    start = heads[0] + 1
    end = next((at for at in range(start, len(lines)) if lines[at].lstrip().startswith("[")), len(lines))
    kept = [present for present in lines[start:end] if not own.match(present)]
    fresh = "".join([*lines[:start], line + newline if line else "", *kept, *lines[end:]])
    try:
        return fresh if tomllib.loads(fresh) == expected else None
    except tomllib.TOMLDecodeError:
        return None
