"""Compressed replies, inflated in parts: gzip of any number of members, zlib, and deflate without a container.

bytes in any cuts ──Inflater──▶ plain bytes
"""

from __future__ import annotations

import zlib

_HEAD_BYTES_MAX = 2**16
"""Headers of gzip hold a name and a comment at most: bytes without any plain byte by then are no reply."""
_GZIP_OR_ZLIB, _RAW = zlib.MAX_WBITS | 32, -zlib.MAX_WBITS


class BadData(Exception):
    """Bytes in no known coding."""


class ReplyInflater:
    """Inflates a reply. Mutable."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._head = b""
        """The first bytes, kept while they may turn out to have no container."""
        self._is_known = False

    def feed(self, data: bytes, bytes_max: int) -> bytes:
        """The plain bytes of the next part. Raises `BadData`, and for a part of more than `bytes_max` plain bytes."""
        try:
            return self._inflate(data, bytes_max)
        except zlib.error as fault:
            if self._is_known:
                raise BadData(str(fault)) from fault
        # Servers that say `deflate` and send no container are common enough for every browser to take them.
        self._member, self._is_known = zlib.decompressobj(_RAW), True
        try:
            return self._inflate(self._head + data, bytes_max)
        except zlib.error as fault:
            raise BadData(str(fault)) from fault

    def _inflate(self, data: bytes, bytes_max: int) -> bytes:
        parts: list[bytes] = []
        fed, left = data, bytes_max
        while data:
            if self._member.eof:
                self._member = zlib.decompressobj(_GZIP_OR_ZLIB)
            plain = self._member.decompress(data, left + 1)
            left -= len(plain)
            if left < 0:
                raise BadData("a part of the reply is longer than its bound")
            parts.append(plain)
            data = self._member.unused_data
        if not self._is_known:
            self._head += fed
            self._is_known = any(parts) or len(self._head) > _HEAD_BYTES_MAX
            self._head = b"" if self._is_known else self._head
        return b"".join(parts)
