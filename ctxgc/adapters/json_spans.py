"""JSON with places: the place of each value in the bytes of its text, without re-serialising any value.

    JsonText(data) ──members(extent)──▶ {key: extent}      of an object
                   ──elements(extent)─▶ [extent]           of an array
                   ──value(extent)────▶ the Python value

msgspec skips and checks values at memory speed but gives no places. msgspec gives each value's raw bytes, and so its
length: walking the separators between values in order yields the offsets.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn, TypeVar

import msgspec

from ctxgc.core.errors import BadTranscript

_T = TypeVar("_T")

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_OBJECTS = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_ANY = msgspec.json.Decoder()

_SPACE = b" \t\n\r"
"""White space of JSON; Python's has two signs more."""
_KEY = re.compile(rb'[ \t\n\r]*[{,][ \t\n\r]*"[^"\\]*(?:\\.[^"\\]*)*"[ \t\n\r]*:[ \t\n\r]*', re.DOTALL)
_BEFORE_ELEMENT = re.compile(rb"[ \t\n\r]*[\[,][ \t\n\r]*")
_CLOSING = re.compile(rb"(?:[ \t\n\r]*\{)?[ \t\n\r]*\}")
_UNIT = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)|[^\\]+", re.DOTALL
)
"""An escape of a JSON string, which is one character, or text without escapes."""
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89aAbB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


class Extent(NamedTuple):
    """Half-open byte offsets of a JSON value, without the white space around."""

    start: int
    end: int


class JsonText:
    """A JSON value as bytes. Reading raises `BadTranscript` for text that is no JSON, and nothing else.

    Only fields in use are checked: an unknown field may hold text that is not UTF-8, and passes untouched.
    """

    __slots__ = ("_scanned", "data", "extent")

    def __init__(self, data: bytes, scanned: bytes | None = None) -> None:
        self.data = data
        self._scanned = data if scanned is None else scanned
        self.extent = Extent(len(data) - len(data.lstrip(_SPACE)), len(data.rstrip(_SPACE)))

    def first_byte(self, extent: Extent) -> bytes:
        """The value's first byte, which tells its type: `{`, `[`, `"`, or a byte of a number or word."""
        return self.data[extent.start : extent.start + 1]

    def raw_bytes(self, extent: Extent) -> bytes:
        """The value's own bytes."""
        return self.data[extent.start : extent.end]

    def members(self, extent: Extent) -> dict[str, Extent]:
        """An object's members in order. An object with a key twice is refused: no rule says which value counts."""
        fields = _decode_or_raise_bad_transcript(_OBJECT.decode, memoryview(self._scanned)[extent.start : extent.end])
        found, end = self._locate_members(fields, extent.start)
        if end != extent.end:
            raise _duplicate_key_error()
        return found

    def _locate_members(self, fields: dict[str, msgspec.Raw], position: int) -> tuple[dict[str, Extent], int]:
        """Where the members of the object that begins here lie, and where the object ends."""
        scanned = self._scanned
        found: dict[str, Extent] = {}
        # Members whose names all differ come in the order of the text, and then the last one stands before the brace.
        for name, member in fields.items():
            key = _KEY.match(scanned, position)
            raw = bytes(member)
            # No JSON value starts with another one and a comma, so equal bytes are the same value, not a lookalike.
            if key is None or not scanned.startswith(raw, key.end()):
                raise _duplicate_key_error()
            position = key.end() + len(raw)
            found[name] = Extent(key.end(), position)
        closing = _CLOSING.match(scanned, position)
        if closing is None:
            raise _duplicate_key_error()
        return found, closing.end()

    def elements(self, extent: Extent) -> list[Extent]:
        """An array's elements in order."""
        scanned = self._scanned
        found: list[Extent] = []
        position = extent.start
        for raw in _decode_or_raise_bad_transcript(_ARRAY.decode, memoryview(scanned)[extent.start : extent.end]):
            before = _BEFORE_ELEMENT.match(scanned, position)
            assert before is not None  # The decoder has seen it.
            position = before.end() + len(memoryview(raw))
            found.append(Extent(before.end(), position))
        return found

    def objects(self, extent: Extent) -> list[dict[str, Extent]]:
        """The members of each object of an array of objects: `elements` and `members` in a single scan."""
        scanned = self._scanned
        found: list[dict[str, Extent]] = []
        position = extent.start
        for fields in _decode_or_raise_bad_transcript(_OBJECTS.decode, memoryview(scanned)[extent.start : extent.end]):
            before = _BEFORE_ELEMENT.match(scanned, position)
            assert before is not None  # The decoder has seen it.
            placed, position = self._locate_members(fields, before.end())
            found.append(placed)
        return found

    def value(self, extent: Extent) -> Any:
        """The value itself. Lone surrogates survive; numbers that Python cannot hold are refused."""
        if self._scanned is self.data:
            return _decode_or_raise_bad_transcript(_ANY.decode, memoryview(self.data)[extent.start : extent.end])
        return _decode_or_raise_bad_transcript(_decode_with_lone_surrogates, self.data[extent.start : extent.end])

    def string(self, extent: Extent | None) -> str:
        """The value, or an empty string for any other value."""
        if extent is None or self.first_byte(extent) != b'"':
            return ""
        text: str = self.value(extent)
        return text

    def head_extent(self, extent: Extent, chars: int) -> Extent:
        """The extent of the first characters of a string, the quote included."""
        position = extent.start + 1
        for unit in _UNIT.finditer(self.data, position, extent.end - 1):
            if chars <= 0:
                break
            position = unit.end()
            if unit[0][:1] == b"\\":
                chars -= 1
                continue
            said = unit[0].decode()
            if len(said) > chars:
                position = unit.start() + len(said[:chars].encode())
            chars -= len(said)
        return Extent(extent.start, position)


def read_json(data: bytes, read: Callable[[JsonText], _T]) -> _T:
    """The outcome of `read` on the data. Escaped lone surrogates, which hosts do send, cost a second attempt.

    msgspec refuses lone surrogates, so the attempt scans a copy of the same length without surrogates. Raises
    `BadTranscript`.
    """
    try:
        return read(JsonText(data))
    except BadTranscript:
        masked = _ESCAPE.sub(_mask_lone_surrogate, data)
        if masked == data:
            raise
        return read(JsonText(data, masked))


def splice_bytes(data: bytes, edits: list[tuple[Extent, bytes]]) -> bytes:
    """`data` with each extent replaced, all other bytes copied; the same object without edits (I5)."""
    if not edits:
        return data
    parts: list[bytes] = []
    position = 0
    for extent, replacement in sorted(edits):
        if extent.start < position:
            raise ValueError("two edits overlap")
        parts += (data[position : extent.start], replacement)
        position = extent.end
    parts.append(data[position:])
    return b"".join(parts)


def encode_json_string(text: str) -> bytes:
    """A JSON string in UTF-8, or in ASCII escapes where the text has no UTF-8 (lone surrogates)."""
    try:
        return json.dumps(text, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(text).encode()


def _decode_or_raise_bad_transcript(read: Callable[[Any], _T], data: Any) -> _T:
    try:
        return read(data)
    except RecursionError:
        raise BadTranscript("JSON nested too deep to be read") from None
    except (msgspec.DecodeError, ValueError) as error:  # Not UTF-8 is a ValueError too.
        raise BadTranscript(f"not JSON: {error}") from None


def _decode_with_lone_surrogates(data: bytes) -> Any:
    return json.loads(data.decode(), parse_constant=_refuse_constant, parse_float=_finite_float)


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _finite_float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits} is out of range")
    return number


def _mask_lone_surrogate(escape: re.Match[bytes]) -> bytes:
    return b"\\ufffd" if escape[1] else escape[0]


def _duplicate_key_error() -> BadTranscript:
    return BadTranscript("an object names a key twice")
