"""A member or a list item of a JSON text set or taken out, and every other byte kept: comments, order, trailing commas.

    text ──▶ tree of places ──▶ set_member / drop_member / append_item / map_items ──▶ text

Settings are JSON with `//` and `/* */` comments and trailing commas, as agents read them. Any other text, or a text
that names a key of the path twice, raises `Uneditable`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

DEPTH_MAX = 200
_SPACE = re.compile(r"(?:[ \t\r\n\ufeff]|//[^\n]*|/\*.*?\*/)*", re.S)
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_PLAIN = re.compile(r"[-+.\w]+")


class Uneditable(Exception):
    """A text cannot be edited without a risk to its other members; the message says why."""


@dataclass(slots=True)
class JsonMember:
    """A member of an object: the start of the key, and the value."""

    key: str
    start: int
    value: JsonNode


@dataclass(slots=True)
class JsonNode:
    """A value and its place."""

    start: int
    end: int = 0
    members: list[JsonMember] | None = None
    """The members of an object; `None` for any other value."""
    items: list[JsonNode] | None = None
    """The items of a list; `None` for any other value."""
    commas: list[int] = field(default_factory=list)
    """Places of the commas between the members of an object or the items of a list."""

    def element_spans(self) -> list[tuple[int, int]]:
        """Where each member or item begins and ends."""
        members = [(member.start, member.value.end) for member in self.members or ()]
        return members + [(item.start, item.end) for item in self.items or ()]


class DeepestObject(NamedTuple):
    """The deepest object on a path that exists, and the missing keys of the path."""

    node: JsonNode
    missing: tuple[str, ...]
    depth: int


def is_blank(text: str) -> bool:
    """Whether a text has nothing but spaces, or a byte order mark."""
    return not text.strip().strip("\ufeff").strip()


def parse_nodes(text: str) -> JsonNode:
    """The tree of places of a text. Raises `Uneditable`."""
    node = _JsonParser(text).parse_value(_skip_space(text, 0), 0)
    if _skip_space(text, node.end) != len(text):
        raise Uneditable("the file holds more than one value")
    if node.members is None:
        raise Uneditable("it is no object")
    return node


def value_text_at(text: str, path: tuple[str, ...]) -> str | None:
    """The text of the value at a path; `None` where the path leads nowhere."""
    node = parse_nodes(text)
    for key in path:
        if (found := _find_member(node, key)) is None:
            return None
        node = found.value
    return text[node.start : node.end]


def decode_json(text: str) -> Any:
    """The value of a text without its comments and trailing commas. Raises `Uneditable`."""
    plain = re.sub(r'("(?:[^"\\]|\\.)*")|//[^\n]*|/\*.*?\*/|\ufeff', lambda found: found[1] or " ", text, flags=re.S)
    plain = re.sub(r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])', lambda found: found[1] or "", plain, flags=re.S)
    try:
        return json.loads(plain)
    except (ValueError, RecursionError) as error:
        raise Uneditable(f"it is not JSON: {error}") from None


def set_member(text: str, path: tuple[str, ...], value: str) -> str:
    """The text with this value, itself JSON, at the path; missing objects of the path are made."""
    placed = _deepest_object(parse_nodes(text), path)
    if not placed.missing:
        return text[: placed.node.start] + value + text[placed.node.end :]
    if placed.node.members is None:
        raise Uneditable(f"`{'.'.join(path[: placed.depth])}` is no object")
    key, *rest = placed.missing
    for inner in reversed(rest):
        value = f"{{ {json.dumps(inner)}: {value} }}"
    return _append_element(text, placed.node, placed.depth, f"{json.dumps(key)}: {value}")


def append_item(text: str, path: tuple[str, ...], value: str) -> str:
    """The text with this value, itself JSON, behind the items of the list at the path. Raises `Uneditable`."""
    return _append_element(text, _list_at(text, path), len(path), value)


def map_items(text: str, path: tuple[str, ...], edit: Callable[[str], str | None]) -> str:
    """The text with each item of the list at the path edited; an item for which `edit` is `None` is taken out."""
    count = len(_list_at(text, path).items or ())
    for index in reversed(range(count)):
        node = _list_at(text, path)
        start, end = node.element_spans()[index]
        fresh = edit(text[start:end])
        text = _drop_element(text, node, index) if fresh is None else text[:start] + fresh + text[end:]
    return text


def _list_at(text: str, path: tuple[str, ...]) -> JsonNode:
    placed = _deepest_object(parse_nodes(text), path)
    if placed.missing or placed.node.items is None:
        raise Uneditable(f"`{'.'.join(path)}` is no list")
    return placed.node


def _append_element(text: str, node: JsonNode, depth: int, element: str) -> str:
    """The text with a member or an item behind all others of its object or list."""
    unit, newline = _indent_unit(text), "\r\n" if "\r\n" in text else "\n"
    indent, close, spans = unit * (depth + 1), node.end - 1, node.element_spans()
    if not spans:
        tail = text[node.start + 1 : close]
        if tail.strip():  # A comment: the element stands before it.
            return text[: node.start + 1] + f"{newline}{indent}{element}" + text[node.start + 1 :]
        return text[: node.start + 1] + f"{newline}{indent}{element}{newline}{unit * depth}" + text[close:]
    first, last = spans[0][0], spans[-1][1]
    if newline in text[node.start : first]:
        joint, indent = newline, _indent_at(text, first)
    else:
        joint, indent = "", " "
    if len(node.commas) == len(spans):  # A trailing comma.
        at = node.commas[-1] + 1
        return text[:at] + f"{joint}{indent}{element}," + text[at:]
    return text[:last] + f",{joint}{indent}{element}" + text[last:]


def drop_member(text: str, path: tuple[str, ...]) -> str:
    """The text without the member at the path: `set_member` undone."""
    parent = _deepest_object(parse_nodes(text), path[:-1])
    found = None if parent.missing else _find_member(parent.node, path[-1])
    if found is None:
        return text
    assert parent.node.members is not None
    return _drop_element(text, parent.node, parent.node.members.index(found))


def _drop_element(text: str, node: JsonNode, index: int) -> str:
    """The text without a member of an object or an item of a list."""
    spans = node.element_spans()
    start, end = spans[index]
    if len(spans) == 1:
        end = node.commas[0] + 1 if node.commas else end
        inner_end = node.end - 1
        is_bare = not text[node.start + 1 : start].strip() and not text[end:inner_end].strip()
        return text[: node.start + 1] + text[inner_end if is_bare else end :]
    if index == 0:
        return text[:start] + text[spans[1][0] :]
    before = node.commas[index - 1]
    if index < len(node.commas):  # The comma before it goes on to part its neighbours.
        return text[: before + 1] + text[node.commas[index] + 1 :]
    return text[:before] + text[end:]


def _deepest_object(node: JsonNode, path: tuple[str, ...]) -> DeepestObject:
    for depth, key in enumerate(path):
        found = _find_member(node, key) if node.members is not None else None
        if found is None:
            return DeepestObject(node, path[depth:], depth)
        node = found.value
    return DeepestObject(node, (), len(path))


def _find_member(node: JsonNode, key: str) -> JsonMember | None:
    matches = [member for member in node.members or () if member.key == key]
    if len(matches) > 1:
        raise Uneditable(f"`{key}` stands in it twice")
    return matches[0] if matches else None


def _indent_at(text: str, at: int) -> str:
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line if not line.strip() else " "


def _indent_unit(text: str) -> str:
    match = re.search(r'\n([ \t]+)"', text)
    return match[1] if match else "  "


def _skip_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


class _JsonParser:
    """Reads values of a text into nodes."""

    def __init__(self, text: str) -> None:
        self._text = text

    def parse_value(self, at: int, depth: int) -> JsonNode:
        """The value that begins here."""
        text = self._text
        if depth > DEPTH_MAX:
            raise Uneditable("it is nested too deeply")
        if text[at : at + 1] == "{":
            return self._parse_object(at, depth)
        if text[at : at + 1] == "[":
            return self._parse_array(at, depth)
        found = _STRING.match(text, at) or _PLAIN.match(text, at)
        if not found:
            raise Uneditable(f"it is not JSON in line {text.count(chr(10), 0, at) + 1}")
        return JsonNode(at, found.end())

    def _parse_object(self, at: int, depth: int) -> JsonNode:
        node, text = JsonNode(at, members=[]), self._text
        assert node.members is not None
        at = _skip_space(text, at + 1)
        while text[at : at + 1] != "}":
            key = _STRING.match(text, at)
            if not key:
                raise Uneditable(f"it is not JSON in line {text.count(chr(10), 0, at) + 1}")
            colon = _skip_space(text, key.end())
            if text[colon : colon + 1] != ":":
                raise Uneditable(f"it is not JSON in line {text.count(chr(10), 0, colon) + 1}")
            value = self.parse_value(_skip_space(text, colon + 1), depth + 1)
            node.members.append(JsonMember(json.loads(key[0], strict=False), at, value))
            at = self._skip_comma(value.end, "}", node.commas)
        node.end = at + 1
        return node

    def _parse_array(self, at: int, depth: int) -> JsonNode:
        node, text = JsonNode(at, items=[]), self._text
        assert node.items is not None
        at = _skip_space(text, at + 1)
        while text[at : at + 1] != "]":
            node.items.append(self.parse_value(at, depth + 1))
            at = self._skip_comma(node.items[-1].end, "]", node.commas)
        node.end = at + 1
        return node

    def _skip_comma(self, at: int, close: str, commas: list[int]) -> int:
        """The place of the next element or of the end."""
        at = _skip_space(self._text, at)
        if self._text[at : at + 1] == ",":
            commas.append(at)
            return _skip_space(self._text, at + 1)
        if self._text[at : at + 1] != close:
            raise Uneditable(f"it is not JSON in line {self._text.count(chr(10), 0, at) + 1}")
        return at
