"""Carving: bodies straight from the pages of a file whose roots or schema are gone.

    page of type 0x0d ──▶ cells ──▶ records (NULL, blob) whose blob is a zstd frame ──▶ (rid, frame)

A leaf page needs nothing but itself, and its overflow pages, to be read. Freed pages were zeroed (`secure_delete`),
so nothing that was forgotten comes back this way. Source: SQLite's file format, sqlite.org/fileformat2.html §1.6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

_LEAF = 0x0D
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_PAGE_BYTES_DEFAULT = 4096


def carve(path: Path) -> Iterator[tuple[int, bytes]]:
    """(rid, frame) of every whole body in the file, in page order. What is broken is passed over."""
    with path.open("rb") as file:
        head = file.read(100)
        size = int.from_bytes(head[16:18], "big")
        size = 65536 if size == 1 else size
        if size < 512 or size & (size - 1):
            size = _PAGE_BYTES_DEFAULT

        def page(number: int) -> bytes:
            file.seek((number - 1) * size)
            return file.read(size)

        pages = path.stat().st_size // size
        for number in range(2, pages + 1):
            data = page(number)
            if not data or data[0] != _LEAF:
                continue
            for n in range(int.from_bytes(data[3:5], "big")):
                try:
                    at = int.from_bytes(data[8 + 2 * n : 10 + 2 * n], "big")
                    rid, payload = _cell(data, at, page, pages)
                    blob = _blob(payload)
                except (IndexError, ValueError):
                    continue
                if blob.startswith(_ZSTD_MAGIC):
                    yield rid, blob


def _cell(data: bytes, at: int, page: Callable[[int], bytes], pages: int) -> tuple[int, bytes]:
    """Rowid and payload of a leaf's cell, overflow pages included."""
    length, at = _varint(data, at)
    rid, at = _varint(data, at)
    usable = len(data)
    if length <= usable - 35:
        return rid, data[at : at + length]
    least = (usable - 12) * 32 // 255 - 23
    local = least + (length - least) % (usable - 4)
    if local > usable - 35:
        local = least
    payload = bytearray(data[at : at + local])
    following = int.from_bytes(data[at + local : at + local + 4], "big")
    while len(payload) < length:
        if not 1 < following <= pages:
            raise ValueError("the chain of overflow pages is broken")
        more = page(following)
        following = int.from_bytes(more[:4], "big")
        payload += more[4 : 4 + min(length - len(payload), usable - 4)]
    return rid, bytes(payload)


def _blob(payload: bytes) -> bytes:
    """The blob of a record (NULL, blob); the rid's column is NULL because the rowid stands for it."""
    header_bytes, at = _varint(payload, 0)
    first, at = _varint(payload, at)
    second, at = _varint(payload, at)
    if first != 0 or second < 12 or second % 2 or at != header_bytes:
        raise ValueError("not a record of a body")
    return payload[header_bytes : header_bytes + (second - 12) // 2]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A big-endian integer of 7 bits a byte, at most nine bytes; and where it ends."""
    value = 0
    for n in range(9):
        byte = data[at + n]
        if n == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + n + 1
    raise AssertionError("nine bytes end every varint")
