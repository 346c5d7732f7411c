"""What must be in the stash after an import, worked out without it: the front parses the transcript itself.

    bytes ─▶ adapter ─▶ segments ─▶ redact ─▶ digests by session and id

Only digests are kept, so that memory stays flat however large the transcripts are: 128 bits of blake2b over lengths,
names and bytes stand for the bytes.
"""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

from ctxgc.adapters.contract import Admitted
from ctxgc.adapters.transcripts.formats import detect, open_transcript
from ctxgc.core.errors import CtxgcError
from ctxgc.core.redact import redact_segment
from ctxgc.core.segment import Piece, Segment, Status, digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CHUNK_BYTES = 2**20
GZIP_MAGIC = b"\x1f\x8b"


class ContentStamp(NamedTuple):
    """A segment as it must be stored."""

    whole: str
    """Its content digest in hexadecimal, as `segment.list` gives it."""
    body: bytes
    """A digest of the pieces alone, to hold a recall against."""
    is_pending: bool


class Expected:
    """The stamps of all sessions, over all files read."""

    def __init__(self) -> None:
        self._sessions: dict[str, dict[str, ContentStamp]] = {}

    def note(self, key: str, segments: Mapping[str, ContentStamp]) -> None:
        """Add a file's segments. A segment that an earlier file has in full stays: admitting again changes nothing."""
        stamps = self._sessions.setdefault(key, {})
        for segment_id, stamp in segments.items():
            if segment_id not in stamps or stamps[segment_id].is_pending:
                stamps[segment_id] = stamp

    def of(self, key: str) -> Mapping[str, ContentStamp]:
        """The stamps of one session by segment id."""
        return self._sessions.get(key, {})

    def missing(self, key: str, stored: Mapping[str, str]) -> int:
        """How many segments of a session are not stored, or stored with another digest."""
        return sum(stored.get(segment_id) != stamp.whole for segment_id, stamp in self.of(key).items())

    def is_exact(self, key: str, segment_id: str, pieces: Iterable[tuple[str, bytes]]) -> bool:
        """Whether the pieces equal the second parse's: same names, same order, same bytes."""
        stamp = self.of(key).get(segment_id)
        return stamp is not None and stamp.body == digest(b"", (Piece(name, data) for name, data in pieces))


def parse(path: str) -> dict[str, dict[str, ContentStamp]]:
    """The stamps of a transcript by session key and segment id; nothing for an unreadable file.

    Of segments admitted twice the last counts: the first was pending.
    """
    stamps: dict[str, dict[str, ContentStamp]] = {}
    try:
        with _open(path) as stream:
            data = stream.read(CHUNK_BYTES)
            transcript = open_transcript(detect(data) or "")
            while data:
                _note(stamps, transcript.source, transcript.feed(data))
                data = stream.read(CHUNK_BYTES)
            _note(stamps, transcript.source, transcript.finish())
    except (OSError, EOFError, CtxgcError):
        return stamps  # The daemon reads the same file and says what is wrong with it.
    return stamps


def _open(path: str) -> BinaryIO:
    with open(path, "rb") as file:
        is_gzip = file.read(2) == GZIP_MAGIC
    return cast(BinaryIO, gzip.open(path, "rb")) if is_gzip else open(path, "rb")


def _note(found: dict[str, dict[str, ContentStamp]], source: str, events: Iterable[object]) -> None:
    for event in events:
        if isinstance(event, Admitted):
            segment = redact_segment(event.segment)[0]
            found.setdefault(f"{source}:{event.session}", {})[segment.id] = _stamp(segment)


def _stamp(segment: Segment) -> ContentStamp:
    return ContentStamp(
        digest(segment.skeleton, segment.body).hex(),
        digest(b"", segment.body),
        segment.status is Status.PENDING,
    )
