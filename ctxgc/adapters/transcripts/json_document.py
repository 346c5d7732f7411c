"""A transcript that is a single JSON document: held until the document is whole, then read at once.

    bytes ──feed──▶ held (gunzipped, at most DOCUMENT_BYTES_MAX) ──finish──▶ value ──_events──▶ events

Such a file cannot be streamed, and a host that still writes rewrites the whole file. A document that is cut short is
counted as `malformed` and stays held: `finish` may be tried again after more was fed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Any

from ctxgc.adapters.contract import DOCUMENT_BYTES_MAX, Event
from ctxgc.adapters.foreign_blocks import foreign_block_names_of_events
from ctxgc.adapters.transcripts.inflater import Inflater
from ctxgc.adapters.transcripts.resync import NO_TEXT, decode_stretch
from ctxgc.core.errors import BadTranscript


class DocumentTranscript:
    """The shared part of all document formats; a format's `_events_of_document` reads its document."""

    source = ""
    is_growing = False
    """Whether what was read is of records a line: more may follow, and the next `finish` reads all of them."""

    def __init__(self, document_bytes_max: int = DOCUMENT_BYTES_MAX) -> None:
        self.records = 0
        self.skipped: Counter[str] = Counter()
        self._bytes_max = document_bytes_max
        self._inflater = Inflater()
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Event]:
        """Hold more of the document; events come with `finish`. Raises `BadTranscript` for a document that is too
        large.
        """
        for plain in self._inflater.feed(data):
            self._size += len(plain)
            if self._size > self._bytes_max:
                self._parts = []
                raise BadTranscript(
                    f"a {self.source} document is read whole and may have {self._bytes_max} bytes; this one has more",
                    hint="convert it to JSON lines of ctxgc-segments",
                )
            self._parts.append(plain)
        return []

    def finish(self) -> list[Event]:
        """Read the document, if the document is whole. Afterwards the document is dropped."""
        data = b"".join(self._parts)
        self._parts = [data]
        if not data or data.isspace():
            return []
        self.skipped.pop("malformed", None)
        try:
            events = list(self._events_of_document(self._decode_document(data), document_digest(data)))
        except (ValueError, RecursionError, BadTranscript):
            self.skipped["malformed"] = 1
            return []
        self._count_foreign_blocks(events)
        if not self.is_growing:
            self._parts = []
            self._size = 0
        return events

    def _count_foreign_blocks(self, events: list[Event]) -> None:
        """Count the foreign blocks of what was read."""
        self.skipped.update(foreign_block_names_of_events(events))

    def _decode_document(self, data: bytes) -> Any:
        """The document; several records a file for a format that says so. Raises `ValueError`."""
        return decode_document(data)

    def is_bookkeeping(self, kinds: Iterable[str]) -> bool:
        """A document is a session or none."""
        return False

    def _events_of_document(self, document: Any, digest: str) -> Iterator[Event]:
        """The events of a document. Raises `BadTranscript` or `ValueError` for another format."""
        raise NotImplementedError


def decode_document(data: bytes) -> Any:
    """The JSON value of a document. NULs, raw newlines in a string and a cut character are no reason to lose the rest.

    Raises `ValueError` for what is no single value.
    """
    try:
        return json.loads(data)
    except ValueError:
        return json.loads(decode_stretch(data).strip(NO_TEXT), strict=False)


def document_digest(data: bytes) -> str:
    """Names a document, or a record, that has no id of its own: the same bytes, the same name."""
    return blake2b(data, digest_size=8, person=b"ctxgc-document").hexdigest()
