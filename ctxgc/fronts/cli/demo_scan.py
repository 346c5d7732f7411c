"""Texts of damaged lines of a log, found in the raw bytes: no reader of records is asked.

    bytes ─▶ lines ─▶ those that are no JSON ─▶ the runs between their quotes ─▶ probes
    segments of the second parse ───────────────────────────── those that hold a probe ─▶ what is left was not read

A reader that is blind to a kind of damage is blind in both parses of a demonstration. A probe is a part of a text, so a
copy of the text under another key does not count as unread.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from typing import TYPE_CHECKING, BinaryIO, cast

import zstandard

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LINE_BYTES_MAX = 64 * 2**20
PROBES_MAX = 10_000
PROBE_CHARS_MIN = 24
PROBE_CHARS_MAX = 80

_RUN = re.compile(rf'(?:[^"\\]|\\.){{{PROBE_CHARS_MIN},}}', re.DOTALL)
_WORDS = re.compile(r"\w\s+\w")


class DamageScan:
    """The probes of one file; `note` each text that the second parse found."""

    def __init__(self, path: str) -> None:
        self._probes = dict.fromkeys(_scan_probes(path))

    def __bool__(self) -> bool:
        """Whether a probe is not found yet."""
        return bool(self._probes)

    def remove_found_probes(self, parts: Iterable[bytes]) -> None:
        """Cross off the probes in the bytes."""
        for data in parts:
            text = data.decode("utf-8", "replace")
            for probe in [probe for probe in self._probes if probe in text]:
                del self._probes[probe]

    @property
    def unread_count(self) -> int:
        """How many texts of damaged lines are in no segment."""
        return len(self._probes)


def open_decompressed(path: str) -> BinaryIO:
    """The plain bytes of a file that may be packed. A device that has nothing to read is not waited for."""
    with open(path, "rb", opener=_open_nonblocking) as file:
        magic = file.read(4) or b""
    if magic.startswith(b"\x1f\x8b"):
        return cast(BinaryIO, gzip.open(path, "rb"))
    if magic == b"\x28\xb5\x2f\xfd":
        return cast(BinaryIO, zstandard.open(path, "rb"))
    return open(path, "rb", opener=_open_nonblocking)


def _open_nonblocking(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _scan_probes(path: str) -> Iterator[str]:
    count = 0
    with open_decompressed(path) as stream:
        while line := stream.readline(LINE_BYTES_MAX):
            if line.isspace() or _is_json(line):
                continue
            for probe in filter(
                None, map(_probe_of_run, _RUN.findall(line.replace(b"\0", b"").decode("utf-8", "replace")))
            ):
                yield probe
                count += 1
                if count >= PROBES_MAX:
                    return


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _probe_of_run(run: str) -> str:
    """A part of the text that a run between quotes may be; empty for a run without words."""
    try:
        text = json.loads(f'"{run}"', strict=False)
    except ValueError:
        text = run
    parts = (part[:PROBE_CHARS_MAX] for line in text.splitlines() for part in line.split("\ufffd"))
    longest = max((part.strip() for part in parts), key=len, default="")
    return longest if len(longest) >= PROBE_CHARS_MIN and _WORDS.search(longest) else ""
