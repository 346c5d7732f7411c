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
from typing import IO, Annotated, Any

import msgspec
from msgspec import Meta

from ctxgc.adapters.contract import SessionOpened
from ctxgc.adapters.transcripts.inflating import Inflater
from ctxgc.adapters.transcripts.jsonl import JsonLines, lenient_object
from ctxgc.adapters.transcripts.segments_json import (
    BUNDLE_VERSION,
    END_KEY,
    FORGOTTEN_KEY,
    FORMAT,
    JOURNAL_KEY,
    VERSION,
    header_fields,
    segment_fields,
    segments_of,
)
from ctxgc.adapters.wire.rendering import encode_json
from ctxgc.core.errors import BadTranscript, CtxgcError
from ctxgc.core.segment import Departure, Kind, Role, Segment, SessionKey, State
from ctxgc.daemon.services import Services
from ctxgc.daemon.sessions.intake import PreparedSegment, tombstone_tokens_at
from ctxgc.daemon.sessions.session import Session
from ctxgc.protocol.params import NAME_CHARS_MAX
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
GAPS_MAX = 1000
"""Seqs without a segment that any session may have, beyond one for each segment: a repair leaves few."""

Count = Annotated[int, Meta(ge=-1, lt=2**53)]


class _RowFields(msgspec.Struct, omit_defaults=True):
    """The columns of a segment's row that no transcript has."""

    seq: Annotated[int, Meta(ge=0, lt=2**31)]
    place: Annotated[int, Meta(gt=-(2**53), lt=2**53)] = 0
    state: State = State.RESIDENT
    departure: Departure | None = None
    touched_turn: Count = 0
    touches: Count = 0
    recalled_turn: Count = -1
    is_pinned: bool = False
    garbage: Annotated[str, Meta(max_length=64)] = ""
    garbage_by: Count = -1
    redactions: Count = 0
    collection: Count = 0
    edges: tuple[tuple[Count, Count], ...] = ()


_COPIED = ("seq", "state", "departure", "touched_turn", "touches", "recalled_turn", "is_pinned", "garbage",
           "garbage_by", "redactions", "collection")  # fmt: skip


async def bundle_lines(services: Services, session: Session) -> AsyncIterator[bytes]:
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
    for some in _slices(ordered):
        contents = await services.stash.bodies(key, [row.seq for row in some])
        block = b"".join(parts) + await asyncio.to_thread(_block, some, contents)
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


def _block(rows: list[SegmentRow], contents: Mapping[int, tuple[bytes, Any]]) -> bytes:
    return b"".join(encode_json(_line(row, contents.get(row.seq))) + b"\n" for row in rows)


def _slices(rows: list[SegmentRow]) -> Iterator[list[SegmentRow]]:
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


def _line(row: SegmentRow, content: tuple[bytes, Any] | None) -> dict[str, Any]:
    edges = tuple((edge.target, edge.kind) for edge in row.edges)
    fields = _RowFields(place=row.segment.place, edges=edges, **{name: getattr(row, name) for name in _COPIED})
    if content is None:
        return {FORGOTTEN_KEY: row.segment.id, "row": msgspec.to_builtins(fields)}
    segment = replace(row.segment, skeleton=content[0], body=content[1])
    # A program that knows no rows is told of a departure as before.
    departed = {"departed": row.departure.value} if row.departure else {}
    return segment_fields(segment) | departed | {"row": msgspec.to_builtins(fields)}


async def import_bundle(services: Services, file: IO[bytes], path: str) -> ImportedReply | None:
    """The session of this file as it was exported; None for another file, or a session that the stash has already.

    Raises `BadTranscript` for a file that is cut, was changed, or that a later version wrote.
    """
    header = await asyncio.to_thread(_header, file)
    if header is None:
        return None
    row = _session_row(header)
    async with services.registry.asleep(row.key) as is_asleep:
        known = await services.stash.session(row.key)
        # A bare row is what an import leaves that was stopped: the row comes last.
        if not is_asleep or (known is not None and known.created_s):
            return None
        segments, seqs = await asyncio.to_thread(_verify, file)
        if seqs > 2 * segments + GAPS_MAX:
            raise BadTranscript(f"{seqs} seqs for {segments} segments", hint="export the session again")
        added = await _put_all(services, file, row, seqs)
        await services.stash.apply([PutSession(row)])
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


def _header(file: IO[bytes]) -> dict[str, Any] | None:
    """The header of a bundle; None for any other file."""
    first = next(_lines(file), b"")
    fields = lenient_object(first) if b'"ctxgc-segments"' in first[:READ_BYTES] else None
    if fields is None or fields.get("format") != FORMAT:
        return None
    if fields.get("version") not in (VERSION, BUNDLE_VERSION):
        raise BadTranscript(f"{FORMAT} version {fields.get('version')!r} is not known here", hint="upgrade ctxgc")
    return fields if fields["version"] == BUNDLE_VERSION and "row" in fields else None


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file from its start, unpacked, without the newline."""
    file.seek(0)
    inflater, lines = Inflater(), JsonLines(LINE_BYTES_MAX)
    while data := file.read(READ_BYTES):
        for plain in inflater.feed(data):
            yield from lines.feed(plain)


def _session_row(header: Mapping[str, Any]) -> SessionRow:
    try:
        row = msgspec.convert(header["row"], SessionRow)
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        raise BadTranscript(f"the settings of its session: {error}", hint="export the session again") from None
    if len(str(row.key)) > NAME_CHARS_MAX or not row.key.source or not row.key.session:
        raise BadTranscript("the name of its session is none, or too long", hint="export the session again")
    return row if row.created_s > 0 else replace(row, created_s=1.0)


def _verify(file: IO[bytes]) -> tuple[int, int]:
    """(Segments, seqs) of a file whose checksum is right. Raises `BadTranscript`."""
    checksum, last = blake2b(digest_size=32), b""
    for line in _lines(file):
        if last:
            checksum.update(last + b"\n")
        last = line
    end = (lenient_object(last) or {}).get(END_KEY)
    if not isinstance(end, dict):
        raise BadTranscript("the file ends early: its last line is missing", hint="export the session again")
    if end.get("digest") != checksum.hexdigest():
        hint = "export the session again; `--format segments` reads what is whole in it"
        raise BadTranscript("its checksum is wrong: the file was changed or is damaged", hint=hint)
    segments, seqs = end.get("segments"), end.get("seqs")
    if not (isinstance(segments, int) and isinstance(seqs, int)):
        raise BadTranscript("its last line has no counts", hint="export the session again")
    return segments, seqs


async def _put_all(services: Services, file: IO[bytes], row: SessionRow, seqs: int) -> int:
    """Write the segments and the journal, slice by slice; segments written."""
    count = 0
    lines = _lines(file)
    next(lines)
    while slice_ := await asyncio.to_thread(_next_slice, lines):
        mutations = await asyncio.get_running_loop().run_in_executor(
            services.worker, _mutations, services, slice_, row, seqs
        )
        count += sum(isinstance(mutation, Put) for mutation in mutations)
        await services.stash.apply(mutations)
    return count


def _next_slice(lines: Iterator[bytes]) -> list[bytes]:
    some: list[bytes] = []
    size = 0
    for line in lines:
        some.append(line)
        size += len(line)
        if len(some) >= SLICE_SEGMENTS or size >= SLICE_BYTES:
            break
    return some


def _mutations(services: Services, lines: list[bytes], row: SessionRow, seqs: int) -> list[Mutation]:
    """What these lines change in the stash. Raises `BadTranscript`."""
    found: list[Mutation] = []
    for line in lines:
        fields = lenient_object(line) or {}
        try:
            if JOURNAL_KEY in fields:
                collection = msgspec.convert(fields[JOURNAL_KEY], Collection)
                # The states of the segments stand in their own lines.
                found.append(PutCollection(row.key, collection, is_carried_out=False))
            elif FORGOTTEN_KEY in fields:
                known = _row_fields(fields, seqs)
                bare = Segment(
                    id=str(fields[FORGOTTEN_KEY]), kind=Kind.OTHER, role=Role.USER, place=known.place, born_turn=0
                )
                found.append(Put(_segment_row(row.key, services.intake.prepare(bare), known)))
                found.append(Forget(row.key, [known.seq]))
            elif END_KEY not in fields:
                known = _row_fields(fields, seqs)
                [segment] = segments_of([fields], row.project)
                prepared = services.intake.prepare(replace(segment, place=known.place))
                found.append(Put(_segment_row(row.key, prepared, known)))
        except (msgspec.ValidationError, TypeError, ValueError) as error:
            raise BadTranscript(f"a malformed line: {error}", hint="export the session again") from None
        except CtxgcError as error:
            raise BadTranscript(str(error), hint="export the session again") from None
    return found


def _row_fields(fields: Mapping[str, Any], seqs: int) -> _RowFields:
    known = msgspec.convert(fields.get("row"), _RowFields)
    if known.seq >= seqs:
        raise ValueError(f"seq {known.seq} of {seqs}")
    return known


def _segment_row(key: SessionKey, prepared: PreparedSegment, known: _RowFields) -> SegmentRow:
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
