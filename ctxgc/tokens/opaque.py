"""Opaque content and its cost: base64 is never tokenized.

    skeleton ──apart──▶ (what is left, as text to count; the tokens of what was taken out)

An image is billed by its patches, not by its file's weight: counted as text, a screenshot would seem to fill a window.
A document is billed by its pages. Other binary content (encrypted reasoning, a signature) counts as the text that it
may hold.
"""

from __future__ import annotations

import re
import struct
from base64 import b64decode, urlsafe_b64decode
from binascii import Error
from math import ceil

BASE64_CHARS_MIN = 1024
"""A shorter run may be a path, a digest or a key, and costs little as text."""

HEAD_CHARS = 2**16
"""So much of an image is decoded to find its size."""

IMAGE_PATCH_PX = 28
IMAGE_EDGE_PX_MAX = 1568
"""A longer edge is scaled down to this before an image is read."""
IMAGE_TOKENS_UNKNOWN = 1600
"""Of an image whose size cannot be read."""

CHARS_PER_TOKEN = 16 / 3
"""Of base64 that is no image: three bytes in four characters, four bytes of text a token."""

PAGE_TOKENS = 3000
"""Of a page of a document: its text, and the image that it is read as."""
BYTES_PER_PAGE_TOKEN = 50
"""Of a document whose pages cannot be counted: scans take much more, pages of text a little less."""

_PAGE = re.compile(rb"/Type\s*/Page(?![a-zA-Z])")
_DOCUMENT_MAGICS = (b"%PDF", b"PK\x03\x04", b"\xd0\xcf\x11\xe0")

_RUN = re.compile(rb"[A-Za-z0-9+/_-]{%d,}={0,2}" % BASE64_CHARS_MIN)
_MAGICS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF")
_JPEG_SIZED = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""Markers of the segments that say how large a JPEG is."""


def strip_base64(data: bytes) -> tuple[bytes, int]:
    """`data` without long runs of base64, and the billed tokens of the runs. Linear; raises no error."""
    runs = _RUN.findall(data)
    if not runs:
        return data, 0
    return _RUN.sub(b"", data), sum(map(_base64_tokens, runs))


def image_tokens(width_px: int, height_px: int) -> int:
    """Claude's bill for an image of this size."""
    scale = min(1.0, IMAGE_EDGE_PX_MAX / max(width_px, height_px, 1))
    return ceil(width_px * scale / IMAGE_PATCH_PX) * ceil(height_px * scale / IMAGE_PATCH_PX)


def image_size_px(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of a PNG, GIF, JPEG or WebP, from its first bytes; `None` for unknown sizes."""
    try:
        if data.startswith(b"\x89PNG"):
            width, height = struct.unpack_from(">II", data, 16)
        elif data.startswith(b"GIF8"):
            width, height = struct.unpack_from("<HH", data, 6)
        elif data.startswith(b"\xff\xd8\xff"):
            return _jpeg_size_px(data)
        elif data[12:16] == b"VP8X":
            width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        elif data[12:16] == b"VP8 ":
            width, height = (edge & 0x3FFF for edge in struct.unpack_from("<HH", data, 26))
        else:
            return None
    except struct.error:
        return None
    return width, height


def _jpeg_size_px(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = struct.unpack_from(">BH", data, at + 1)
        if marker in _JPEG_SIZED:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 2 + length
    return None


def _base64_tokens(run: bytes) -> int:
    head = _decode_base64(run[:HEAD_CHARS])
    if head.startswith(_DOCUMENT_MAGICS):
        return _document_tokens(run)
    if not head.startswith(_MAGICS):
        return ceil(len(run) / CHARS_PER_TOKEN)
    size = image_size_px(head)
    return image_tokens(*size) if size else IMAGE_TOKENS_UNKNOWN


def _document_tokens(run: bytes) -> int:
    """By pages, where the document says how many; by a share of its bytes, where its pages are packed."""
    data = _decode_base64(run)
    pages = len(_PAGE.findall(data))
    return pages * PAGE_TOKENS if pages else max(PAGE_TOKENS, len(data) // BYTES_PER_PAGE_TOKEN)


def _decode_base64(run: bytes) -> bytes:
    whole = run.rstrip(b"=")
    whole = whole[: len(whole) - len(whole) % 4]
    try:
        return urlsafe_b64decode(whole) if b"-" in whole or b"_" in whole else b64decode(whole)
    except Error:
        return b""
