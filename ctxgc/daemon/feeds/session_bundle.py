"""A session as a file, and back: every row, the journal and the settings, so that an empty stash gets the same session.

    stash ──rows, bodies by slices──▶ lines of a file
    file ──once, for its checksum──▶ ──again, line by line──▶ rows ──▶ stash

    {"format":"ctxgc-segments","version":2,"session":…,"row":{settings}}      the header
    {"kind":…,"pieces":…,"row":{state, pin, references…}}                     a segment a line, in window order
    {"forgotten":"ID","row":{…}}                                              the bare id of a forgotten one
    {"collection":{…}}                                                        a line of the journal
    {"end":{"segments":…,"seqs":…,"digest":…}}                                the checksum of all bytes before

A session that the stash has already takes the segments of the file as those of any transcript: its own states stay.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from hashlib import blake2b
from typing import IO, Any

import msgspec

from ctxgc.adapters.contract import SessionOpened
from ctxgc.adapters.json_values import encode_json
from ctxgc.adapters.transcripts.inflater import Inflater
from ctxgc.adapters.transcripts.jsonl import JsonLines, parse_json_object
from ctxgc.adapters.transcripts.segments_json import (
    BUNDLE_VERSION,
    END_KEY,
    FORGOTTEN_KEY,
    FORMAT,
    JOURNAL_KEY,
    VERSION,
    header_fields,
    segment_fields,
)
from ctxgc.core.errors import BadTranscript
from ctxgc.core.segment import SessionKey, State, legacy_session_number
from ctxgc.daemon.feeds.bundle_records import EXPORT_AGAIN, BundleRecords, RowFields, SegmentRecord, decode_session_row
from ctxgc.daemon.services import Services, run_on_worker
from ctxgc.daemon.sessions.intake import PreparedSegment, tombstone_tokens_at
from ctxgc.daemon.sessions.registry import draw_session_number
from ctxgc.daemon.sessions.session import Session
from ctxgc.protocol.replies.daemon import ImportedReply
from ctxgc.stash.contract import (
    Collection,
    Edge,
    Forget,
    Mutation,
    Put,
    PutCollection,
    PutSession,
    SegmentRow,
    SessionRow,
)

SLICE_SEGMENTS = 256
SLICE_BYTES = 4 * 2**20
"""Segments and bytes of text in memory at once, of either direction; a larger segment stands alone."""
LINE_BYTES_MAX = 2**30
"""The largest segment is one file of a client, escaped."""
READ_BYTES = 2**18
JOURNAL_MAX = 1_000_000
FORGET_FIRST = "an import of another file of this session was stopped: import that file, or remove the session first"
GAPS_MAX = 1000
"""Seqs without a segment that any session may have, beyond one for each segment: a repair leaves few."""

_COPIED = ("seq", "state", "departure", "touched_turn", "touches", "recalled_turn", "is_pinned", "garbage",
           "garbage_by", "redactions", "collection")  # fmt: skip


async def encode_bundle(services: Services, session: Session) -> AsyncIterator[bytes]:
    """The lines of a session's file. Hold the session meanwhile: a slice of rows and its bodies belong together."""
    checksum = blake2b(digest_size=32)
    key, rows = session.key, await services.stash.rows(session.key)
    ordered = sorted(rows, key=lambda row: (row.segment.place, row.seq))
    opened = SessionOpened(
        key.session,
        project=session.row.project,
        parent=session.row.parent,
        parent_segment=session.row.parent_segment,
        model=session.row.model,
        title=session.row.title,
    )
    header = header_fields(key.source, opened, BUNDLE_VERSION) | {"row": msgspec.to_builtins(session.row)}
    parts = [encode_json(header) + b"\n"]
    for some in _slices_of_rows(ordered):
        contents = await services.stash.contents(key, [row.seq for row in some])
        block = b"".join(parts) + await asyncio.to_thread(_encode_rows, some, contents)
        checksum.update(block)
        parts = []
        yield block
    journal = await services.stash.collections(key, limit=JOURNAL_MAX)
    parts += [encode_json({JOURNAL_KEY: msgspec.to_builtins(line)}) + b"\n" for line in reversed(journal)]
    block = b"".join(parts)
    checksum.update(block)
    seqs = max((row.seq for row in rows), default=-1) + 1
    end = {"segments": len(rows), "seqs": seqs, "digest": checksum.hexdigest()}
    yield block + encode_json({END_KEY: end}) + b"\n"


def _encode_rows(rows: list[SegmentRow], contents: Mapping[int, tuple[bytes, Any]]) -> bytes:
    return b"".join(encode_json(_segment_line_fields(row, contents.get(row.seq))) + b"\n" for row in rows)


def _slices_of_rows(rows: list[SegmentRow]) -> Iterator[list[SegmentRow]]:
    some: list[SegmentRow] = []
    size = 0
    for row in rows:
        row_bytes = sum(length for _, length, _ in row.pieces)
        if some and (len(some) >= SLICE_SEGMENTS or size + row_bytes > SLICE_BYTES):
            yield some
            some, size = [], 0
        some.append(row)
        size += row_bytes
    if some:
        yield some


def _segment_line_fields(row: SegmentRow, content: tuple[bytes, Any] | None) -> dict[str, Any]:
    edges = tuple((edge.target, edge.kind) for edge in row.edges)
    fields = RowFields(place=row.segment.place, edges=edges, **{name: getattr(row, name) for name in _COPIED})
    if content is None:
        fields.born_turn = row.segment.born_turn
        return {FORGOTTEN_KEY: row.segment.id, "row": msgspec.to_builtins(fields)}
    segment = replace(row.segment, skeleton=content[0], body=content[1])
    # A program that knows no rows is told of a departure as before.
    departed = {"departed": row.departure.value} if row.departure else {}
    return segment_fields(segment) | departed | {"row": msgspec.to_builtins(fields)}


async def import_bundle(services: Services, file: IO[bytes], path: str) -> ImportedReply | None:
    """The exported session of this file; `None` for another file, or for a session already in the stash.

    Raises `BadTranscript` for a file that is cut, was changed, or that a later version wrote.
    """
    header = await asyncio.to_thread(_read_header, file)
    if header is None:
        return None
    row = await asyncio.to_thread(decode_session_row, header)
    # Also where the session is known: a damaged file is said to be damaged.
    segments, seqs = await asyncio.to_thread(_validate_bundle, file, row)
    async with services.registry.keep_asleep(row.key) as is_asleep:
        known = await services.stash.session(row.key)
        # A bare row is what an import leaves that was stopped: the row comes last.
        if not is_asleep or (known is not None and known.created_s):
            return None
        added = await _store_bundle(services, file, row, seqs)
        if added != segments:
            raise BadTranscript(f"the stash has {added} of its {segments} segments", hint=FORGET_FIRST)
        await services.stash.apply([PutSession(replace(row, number=await _unused_session_number(services, row)))])
    session = await services.registry.get(row.key)
    return ImportedReply(
        session=str(row.key),
        path=path,
        source=row.key.source,
        segments=len(session.heap),
        added=added,
        records=segments,
        skipped_records=0,
        skipped={},
        resident_tokens=session.heap.resident_tokens,
        parent=f"{row.key.source}:{row.parent}" if row.parent else "",
    )


def _read_header(file: IO[bytes]) -> dict[str, Any] | None:
    """The header of a bundle; `None` for any other file."""
    first = next(_read_lines(file), b"")
    fields = parse_json_object(first) if b'"ctxgc-segments"' in first[:READ_BYTES] else None
    if fields is None or fields.get("format") != FORMAT:
        return None
    if fields.get("version") not in (VERSION, BUNDLE_VERSION):
        raise BadTranscript(f"{FORMAT} version {fields.get('version')!r} is not known here", hint="upgrade ctxgc")
    return fields if fields["version"] == BUNDLE_VERSION and "row" in fields else None


def _read_lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file from its start, unpacked, without the newline."""
    file.seek(0)
    inflater, lines = Inflater(), JsonLines(LINE_BYTES_MAX)
    while data := file.read(READ_BYTES):
        for plain in inflater.feed(data):
            yield from lines.feed(plain)


def _read_verified_counts(file: IO[bytes]) -> tuple[int, int]:
    """(Segments, seqs) of a file whose checksum is right. Raises `BadTranscript`."""
    checksum, last = blake2b(digest_size=32), b""
    for line in _read_lines(file):
        if last:
            checksum.update(last + b"\n")
        last = line
    end = (parse_json_object(last) or {}).get(END_KEY)
    if not isinstance(end, dict):
        raise BadTranscript("the file ends early: its last line is missing", hint=EXPORT_AGAIN)
    if end.get("digest") != checksum.hexdigest():
        hint = "export the session again; `--format segments` reads what is whole in it"
        raise BadTranscript("its checksum is wrong: the file was changed or is damaged", hint=hint)
    segments, seqs = end.get("segments"), end.get("seqs")
    if not (isinstance(segments, int) and isinstance(seqs, int)):
        raise BadTranscript("its last line has no counts", hint=EXPORT_AGAIN)
    return segments, seqs


def _validate_bundle(file: IO[bytes], row: SessionRow) -> tuple[int, int]:
    """(Segments, seqs) of a file that is whole, and of which each line can be stored. Raises `BadTranscript`."""
    segments, seqs = _read_verified_counts(file)
    if seqs > 2 * segments + GAPS_MAX:
        raise BadTranscript(f"{seqs} seqs for {segments} segments", hint=EXPORT_AGAIN)
    records, lines = BundleRecords(row.project, seqs), _read_lines(file)
    next(lines)
    count = sum(isinstance(records.decode_line(line), SegmentRecord) for line in lines)
    if count != segments:
        raise BadTranscript(f"{count} segments, and its last line says {segments}", hint=EXPORT_AGAIN)
    return segments, seqs


async def _store_bundle(services: Services, file: IO[bytes], row: SessionRow, seqs: int) -> int:
    """Write the segments and the journal, slice by slice; segments that the stash then has."""
    records, lines = BundleRecords(row.project, seqs), _read_lines(file)
    next(lines)
    while slice_ := await asyncio.to_thread(_read_slice, lines):
        mutations = await run_on_worker(services, _mutations_of_lines, services, slice_, row.key, records)
        await services.stash.apply(mutations)
    return len(await services.stash.rows(row.key))


def _read_slice(lines: Iterator[bytes]) -> list[bytes]:
    some: list[bytes] = []
    size = 0
    for line in lines:
        some.append(line)
        size += len(line)
        if len(some) >= SLICE_SEGMENTS or size >= SLICE_BYTES:
            break
    return some


def _mutations_of_lines(
    services: Services, lines: list[bytes], key: SessionKey, records: BundleRecords
) -> list[Mutation]:
    """The mutations by which the lines enter the stash. Raises `BadTranscript`."""
    found: list[Mutation] = []
    for line in lines:
        record = records.decode_line(line)
        if isinstance(record, Collection):
            # The states of the segments stand in their own lines.
            found.append(PutCollection(key, record, is_carried_out=False))
        elif record is not None:
            found.append(Put(_segment_row(key, services.intake.prepare(record.segment), record.row)))
            if record.is_forgotten:
                found.append(Forget(key, [record.row.seq]))
    return found


async def _unused_session_number(services: Services, row: SessionRow) -> int:
    """The session's number, or a drawn number where another session of the stash has the number already."""
    number, drawn = row.number, row.number or legacy_session_number(row.key)
    while any(key != row.key for key in await services.stash.sessions_numbered(drawn)):
        number = drawn = draw_session_number()
    return number


def _segment_row(key: SessionKey, prepared: PreparedSegment, known: RowFields) -> SegmentRow:
    is_forgotten = known.state is State.FORGOTTEN
    copied = {name: getattr(known, name) for name in _COPIED} | ({"state": State.RESIDENT} if is_forgotten else {})
    return SegmentRow(
        key=key,
        segment=prepared.segment,
        digest=prepared.digest,
        skeleton_tokens=prepared.skeleton_tokens,
        pieces=prepared.pieces,
        tombstone_tokens=tombstone_tokens_at(prepared, known.seq),
        edges=tuple(Edge(target, kind) for target, kind in known.edges),
        **copied | {"redactions": max(known.redactions, prepared.redactions)},
    )
