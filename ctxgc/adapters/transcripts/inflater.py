"""Plain UTF-8 bytes of a file: gzip, zstd and UTF-16 are known by their first bytes.

    bytes ──gzip, zstd members──▶ plain bytes ──UTF-16──▶ UTF-8

Bounded: a small packed file unpacks in pieces. Damage ends the stream, and raises nothing.
"""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Iterator
from typing import Protocol

import zstandard

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZSTD_MAGICS = (ZSTD_MAGIC, *(bytes([number]) + b"\x2a\x4d\x18" for number in range(0x50, 0x60)))
"""A frame, or one of sixteen kinds of frames to pass over, with which parallel packers begin a file."""
MAGIC_BYTES = 4

INFLATE_BYTES = 2**20
"""Inflated bytes held at once: a small packed file that unpacks to gigabytes must not."""

ZSTD_STEP_BYTES = 64
"""Packed bytes given to zstd at once: a block of four bytes may unpack to 128 KiB, and comes out whole."""
ZSTD_WINDOW_BYTES_MAX = 2**27

_UTF_16 = re.compile(rb"\xff\xfe(?!\0\0)|\xfe\xff|[\[{]\0[\"{\s]\0|\0[\[{]\0[\"{\s]", re.DOTALL)
"""A byte order mark, or the beginning of a JSON text in two bytes a character."""


class _CompressedMember(Protocol):
    """A packed member."""

    @property
    def eof(self) -> bool:
        """Whether the member has ended."""

    def decompress_part(self, data: memoryview) -> tuple[bytes, memoryview]:
        """(Some plain bytes, the packed bytes that are left)."""


class _GzipMember:
    def __init__(self) -> None:
        self._object = zlib.decompressobj(zlib.MAX_WBITS | 16)

    @property
    def eof(self) -> bool:
        return self._object.eof

    def decompress_part(self, data: memoryview) -> tuple[bytes, memoryview]:
        plain = self._object.decompress(data, INFLATE_BYTES)
        return plain, memoryview(self._object.unused_data if self.eof else self._object.unconsumed_tail)


class _ZstdMember:
    def __init__(self) -> None:
        self._object = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES_MAX).decompressobj()

    @property
    def eof(self) -> bool:
        return self._object.eof

    def decompress_part(self, data: memoryview) -> tuple[bytes, memoryview]:
        plain = self._object.decompress(data[:ZSTD_STEP_BYTES])
        taken = min(len(data), ZSTD_STEP_BYTES) - (len(self._object.unused_data) if self.eof else 0)
        return plain, data[taken:]


class Inflater:
    """Passes plain bytes through and unpacks gzip and zstd (several members too), from UTF-16 as well."""

    def __init__(self) -> None:
        self.damage = ""
        """The kind of damage that ended the stream, empty if there is none."""
        self._head: bytes | None = b""
        self._packing = ""
        self._member: _CompressedMember | None = None
        self._utf16: codecs.IncrementalDecoder | None = None
        self._is_looked_at = False

    @property
    def is_damaged(self) -> bool:
        """Whether the rest of the stream could not be unpacked."""
        return bool(self.damage)

    @property
    def compression(self) -> str:
        """`gzip`, `zstd`, or empty for plain bytes."""
        return self._packing

    @property
    def is_truncated(self) -> bool:
        """Whether a packed member has no end yet: a file that ends here is cut."""
        return self._member is not None and not self._member.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The plain bytes in `data`; of packed data in parts of at most `INFLATE_BYTES`."""
        if self._head is not None:
            data = self._head + data
            if len(data) < MAGIC_BYTES and _may_begin_with_magic(data):
                self._head = data
                return
            self._head = None
            self._packing = "gzip" if data.startswith(GZIP_MAGIC) else "zstd" if data.startswith(ZSTD_MAGICS) else ""
            self._member = self._open_member() if self._packing else None
        for plain in self._inflate(data) if self._packing else (data,):
            yield self._convert_to_utf8(plain)

    def _open_member(self) -> _CompressedMember:
        return _GzipMember() if self._packing == "gzip" else _ZstdMember()

    def _inflate(self, data: bytes) -> Iterator[bytes]:
        left = memoryview(data)
        while left and not self.damage:
            if self._member is None or self._member.eof:
                left = memoryview(bytes(left).lstrip(b"\0"))  # Some writers pad a member with zeros.
                if not left:
                    return
                self._member = self._open_member()
            try:
                plain, left = self._member.decompress_part(left)
            except (zlib.error, zstandard.ZstdError):
                self.damage = f"damaged_{self._packing}"
                return
            if plain:
                yield from (plain[at : at + INFLATE_BYTES] for at in range(0, len(plain), INFLATE_BYTES))

    def _convert_to_utf8(self, plain: bytes) -> bytes:
        if not self._is_looked_at and plain:
            self._is_looked_at = True
            if found := _UTF_16.match(plain):
                bom = found[0]
                is_little = bom == codecs.BOM_UTF16_LE or bom[:1] in b"[{"
                name = "utf-16" if bom in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-16-le"
                name = name if name == "utf-16" or is_little else "utf-16-be"
                self._utf16 = codecs.getincrementaldecoder(name)("replace")
        if self._utf16 is None:
            return plain
        return self._utf16.decode(plain).encode("utf-8", "replace")


def _may_begin_with_magic(head: bytes) -> bool:
    magics = (GZIP_MAGIC, *ZSTD_MAGICS, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return any(magic.startswith(head) or head.startswith(magic) for magic in magics)
