"""Pages of a stash file, read without SQLite: where its tables' rows lie, and bodies that no table leads to.

    root ──▶ interior pages of type 0x05 ──▶ leaves ──▶ the rowids of each: where to go on behind a broken page
    page of type 0x0d ──▶ cells ──▶ records (NULL, blob) whose blob is a zstd frame ──▶ (rid, content)

A leaf page is readable with its overflow pages alone. Freed pages were zeroed (`secure_delete`), so no forgotten text
comes back this way. Source: SQLite's file format, sqlite.org/fileformat2.html §1.6.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ctxgc.stash import files

_LEAF = 0x0D
_INTERIOR = 0x05
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_PAGE_BYTES_DEFAULT = 4096
VISITS_MAX = 8
"""Cells that one overflow page may be read for: in a sound file there is one, and in a ruin chains may be circles."""
_ROWID_MIN, _ROWID_MAX = -(2**63), 2**63 - 1


class Leaf(NamedTuple):
    """The rowids that may lie below a page of a table, and the rowids that the page names if the page can be read."""

    first: int
    last: int
    rowids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Pages:
    file: BinaryIO
    size: int
    count: int

    def __call__(self, number: int) -> bytes:
        self.file.seek((number - 1) * self.size)
        return self.file.read(self.size)


def _page_reader(file: BinaryIO, path: Path) -> _Pages:
    size = int.from_bytes(file.read(100)[16:18], "big")
    size = 65536 if size == 1 else size
    if size < 512 or size & (size - 1):
        size = _PAGE_BYTES_DEFAULT
    return _Pages(file, size, path.stat().st_size // size)


def table_leaves(path: Path, root: int) -> Iterator[Leaf]:
    """The leaves below a table's root page, in order of rowids. Together the leaves cover every possible rowid.

    An interior page that cannot be read is a leaf without rowids. O(pages of the table).
    """
    with path.open("rb") as file:
        page = _page_reader(file, path)
        visited: set[int] = set()
        todo = [(root, _ROWID_MIN, _ROWID_MAX)]
        while todo:
            number, first, last = todo.pop()
            data = page(number) if 1 < number <= page.count and number not in visited else b""
            visited.add(number)
            children = _child_pages(data, first, last)
            if children:
                todo += reversed(children)
            else:
                yield Leaf(first, last, _leaf_rowids(data))


def _child_pages(data: bytes, first: int, last: int) -> list[tuple[int, int, int]]:
    """(page, first rowid, last rowid) of an interior page's children; none for a damaged page."""
    children: list[tuple[int, int, int]] = []
    try:
        if data[0] != _INTERIOR:
            return []
        for n in range(int.from_bytes(data[3:5], "big")):
            at = int.from_bytes(data[12 + 2 * n : 14 + 2 * n], "big")
            key, _ = _decode_varint(data, at + 4)
            if not first <= key <= last:
                return []
            children.append((int.from_bytes(data[at : at + 4], "big"), first, key))
            first = key + 1
    except IndexError:
        return []
    return [*children, (int.from_bytes(data[8:12], "big"), first, last)]


def _leaf_rowids(data: bytes) -> tuple[int, ...]:
    """The rowids of a leaf page's cells, as far as the cells can be read."""
    rowids: set[int] = set()
    if data and data[0] == _LEAF:
        for n in range(int.from_bytes(data[3:5], "big")):
            try:
                at = int.from_bytes(data[8 + 2 * n : 10 + 2 * n], "big")
                _, at = _decode_varint(data, at)
                rowids.add(_decode_varint(data, at)[0])
            except IndexError:
                continue
    return tuple(sorted(rowids))


def carve_bodies(path: Path) -> Iterator[tuple[int, bytes]]:
    """(rid, content) of every whole body in the file, in page order; broken cells are left out.

    O(pages with data): holes are passed over, and no page is an overflow page of more than a few cells.
    """
    with path.open("rb") as file:
        page = _page_reader(file, path)
        visits: Counter[int] = Counter()
        for number in _data_page_numbers(file, page):
            data = page(number)
            if not data or data[0] != _LEAF:
                continue
            for n in range(int.from_bytes(data[3:5], "big")):
                try:
                    at = int.from_bytes(data[8 + 2 * n : 10 + 2 * n], "big")
                    rid, payload = _read_cell(data, at, page, visits)
                    blob = _record_blob(payload)
                except (IndexError, ValueError):
                    continue
                if blob.startswith(_ZSTD_MAGIC):
                    yield rid, blob


def _data_page_numbers(file: BinaryIO, page: _Pages) -> Iterator[int]:
    """The numbers of the pages behind the first that are not holes."""
    last = 1
    for start, end in list(files.data_extents(file.fileno())):
        first = max(last, start // page.size) + 1
        last = min(page.count, -(-end // page.size))
        yield from range(first, last + 1)


def _read_cell(data: bytes, at: int, page: _Pages, visits: Counter[int]) -> tuple[int, bytes]:
    """Rowid and payload of a leaf's cell, overflow pages included."""
    length, at = _decode_varint(data, at)
    rid, at = _decode_varint(data, at)
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
        visits[following] += 1
        if not 1 < following <= page.count or visits[following] > VISITS_MAX:
            raise ValueError("the chain of overflow pages is broken")
        more = page(following)
        following = int.from_bytes(more[:4], "big")
        payload += more[4 : 4 + min(length - len(payload), usable - 4)]
    return rid, bytes(payload)


def _record_blob(payload: bytes) -> bytes:
    """The blob of a record (NULL, blob); the rid's column is NULL because the rowid is the rid."""
    header_bytes, at = _decode_varint(payload, 0)
    first, at = _decode_varint(payload, at)
    second, at = _decode_varint(payload, at)
    if first != 0 or second < 12 or second % 2 or at != header_bytes:
        raise ValueError("not a record of a body")
    return payload[header_bytes : header_bytes + (second - 12) // 2]


def _decode_varint(data: bytes, at: int) -> tuple[int, int]:
    """A big-endian integer of 7 bits a byte, at most nine bytes; and its end."""
    value = 0
    for n in range(9):
        byte = data[at + n]
        if n == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + n + 1
    raise AssertionError("nine bytes end every varint")
