"""The segments that must be in the stash after an import, worked out apart: the front parses the transcript itself.

    bytes ─▶ adapter ─▶ segments ─▶ redact ─▶ digests by session and id
      └──▶ demo_scan ─▶ texts of damaged lines that no segment holds

Only digests are kept, so that memory stays flat however large the transcripts are: 128 bits of blake2b over lengths,
names and bytes stand for the bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from zstandard import ZstdError

from ctxgc.adapters.contract import SegmentAdmitted, Transcript
from ctxgc.adapters.transcripts.formats import HEAD_BYTES, detect_format, make_transcript_parser
from ctxgc.adapters.transcripts.jsonl import LineTranscript
from ctxgc.adapters.transcripts.opencode_store import is_sqlite_file, list_sessions, session_document
from ctxgc.core.errors import CtxgcError
from ctxgc.core.redaction.redact_segment import redact_segment
from ctxgc.core.segment import Piece, Segment, Status, content_digest
from ctxgc.fronts.cli.demo_scan import DamageScan, open_decompressed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CHUNK_BYTES = 2**20


class SegmentDigests(NamedTuple):
    """The digests of a segment that must be stored."""

    whole: str
    """Its content digest in hexadecimal, as `segment.list` gives it."""
    body: bytes
    """A digest of the pieces alone, to hold a recall against."""
    is_pending: bool


class ExpectedDigests:
    """The digests of all sessions, over all files read."""

    def __init__(self) -> None:
        self._sessions: dict[str, dict[str, SegmentDigests]] = {}

    def add_digests(self, key: str, segments: Mapping[str, SegmentDigests]) -> None:
        """Add a file's segments. A segment that an earlier file has in full stays: a second admission changes
        nothing."""
        digests = self._sessions.setdefault(key, {})
        for segment_id, digest in segments.items():
            if segment_id not in digests or digests[segment_id].is_pending:
                digests[segment_id] = digest

    def digests_of(self, key: str) -> Mapping[str, SegmentDigests]:
        """The digests of a session by segment id."""
        return self._sessions.get(key, {})

    def count_missing(self, key: str, stored: Mapping[str, str]) -> int:
        """How many segments of a session are not stored, or stored with another digest."""
        return sum(stored.get(segment_id) != digest.whole for segment_id, digest in self.digests_of(key).items())

    def is_exact_recall(self, key: str, segment_id: str, pieces: Iterable[tuple[str, bytes]]) -> bool:
        """Whether the pieces equal the second parse's: same names, same order, same bytes."""
        digest = self.digests_of(key).get(segment_id)
        return digest is not None and digest.body == content_digest(b"", (Piece(name, data) for name, data in pieces))


class ParsedFile(NamedTuple):
    """The outcome of a second parse of a file."""

    sessions: dict[str, dict[str, SegmentDigests]]
    """The digests by session key and segment id."""
    unread_texts: int = 0
    """Texts of damaged lines that are in no segment."""


def digest_transcript(path: str) -> ParsedFile:
    """The digests of a transcript; none of a file that cannot be read.

    Of segments admitted twice the last counts: the first was pending.
    """
    digests: dict[str, dict[str, SegmentDigests]] = {}
    scan: DamageScan | None = None
    try:
        with open_decompressed(path) as stream:
            data = stream.read(HEAD_BYTES) or b""
            if is_sqlite_file(data):
                _add_store_digests(digests, path)
                return ParsedFile(digests)
            transcript = make_transcript_parser(detect_format(data) or "")
            scan = DamageScan(path) if isinstance(transcript, LineTranscript) else None
            while data:
                _add_event_digests(digests, transcript, transcript.feed(data), scan)
                data = stream.read(CHUNK_BYTES)
            _add_event_digests(digests, transcript, transcript.finish(), scan)
    except (OSError, EOFError, CtxgcError, ZstdError):
        pass  # The daemon reads the same file and says what is wrong with it.
    return ParsedFile(digests, scan.unread_count if scan else 0)


def _add_store_digests(digests: dict[str, dict[str, SegmentDigests]], path: str) -> None:
    """Note the sessions of OpenCode's store, the newest last, as an import reads them."""
    for stored in reversed(list_sessions(path)):
        transcript = make_transcript_parser("opencode")
        _add_event_digests(digests, transcript, transcript.feed(session_document(path, stored.id)), None)
        _add_event_digests(digests, transcript, transcript.finish(), None)


def _add_event_digests(
    found: dict[str, dict[str, SegmentDigests]],
    transcript: Transcript,
    events: Iterable[object],
    scan: DamageScan | None,
) -> None:
    for event in events:
        if isinstance(event, SegmentAdmitted):
            if scan:
                scan.remove_found_probes([event.segment.skeleton, *(piece.data for piece in event.segment.body)])
            segment = redact_segment(event.segment)[0]
            found.setdefault(f"{transcript.source}:{event.session}", {})[segment.id] = _digest_segment(segment)


def _digest_segment(segment: Segment) -> SegmentDigests:
    return SegmentDigests(
        content_digest(segment.skeleton, segment.body).hex(),
        content_digest(b"", segment.body),
        segment.status is Status.PENDING,
    )
