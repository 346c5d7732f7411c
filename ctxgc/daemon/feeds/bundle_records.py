"""The lines of a session's file as values: bounded by the columns of the heap, and without credentials.

    header      ──bounds, redaction──▶ SessionRow
    lines       ──bounds, redaction──▶ SegmentRecord, Collection

A checksum says that a file is whole, and not that a daemon wrote the file: a number beyond a column would fail every
later command on the session. A refused value is an error that names the field, before the stash has any of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from ctxgc.adapters.json_values import clean_name
from ctxgc.adapters.transcripts.jsonl import parse_json_object
from ctxgc.adapters.transcripts.segments_json import (
    END_KEY,
    FORGOTTEN_KEY,
    JOURNAL_KEY,
    SOURCE_NAME,
    parse_segments,
    redact_id,
)
from ctxgc.core.errors import BadTranscript, CtxgcError
from ctxgc.core.redaction.redact import redact_json_value, redact_text, redact_texts
from ctxgc.core.segment import Departure, Kind, Renderer, Role, Segment, SessionKey, State
from ctxgc.daemon.sessions.pacing_state import is_readable_pacing
from ctxgc.protocol.params import NAME_CHARS_MAX
from ctxgc.stash.contract import Collection, SessionRow
from ctxgc.tokens.calibration import RATIO_MAX, RATIO_MIN

TURN_MAX = 2**30
"""Half of what a column of turns holds: a session goes on after its import."""
TEXT_CHARS_MAX = 2**16
NUMBERS_DRAWN = range(10**8, 10**9)
EXPORT_AGAIN = "export the session again"

Turn = Annotated[int, Meta(ge=-1, lt=TURN_MAX)]
Seq = Annotated[int, Meta(ge=-1, lt=2**31)]
Count = Annotated[int, Meta(ge=0, lt=2**31)]
Tokens = Annotated[int, Meta(ge=0, lt=2**40)]
Seconds = Annotated[float, Meta(ge=0, lt=2**40)]
Text = Annotated[str, Meta(max_length=TEXT_CHARS_MAX)]


class RowFields(msgspec.Struct, omit_defaults=True):
    """The columns of a segment's row that no transcript has."""

    seq: Count
    place: Annotated[int, Meta(gt=-(2**53), lt=2**53)] = 0
    born_turn: Annotated[int, Meta(ge=0, lt=TURN_MAX)] = 0
    """Of a forgotten segment; any other says its turn itself."""
    state: State = State.RESIDENT
    departure: Departure | None = None
    touched_turn: Turn = 0
    touches: Annotated[int, Meta(ge=0, lt=TURN_MAX)] = 0
    recalled_turn: Turn = -1
    is_pinned: bool = False
    garbage: Annotated[str, Meta(max_length=64)] = ""
    garbage_by: Seq = -1
    redactions: Count = 0
    collection: Count = 0
    edges: tuple[tuple[Count, Annotated[int, Meta(ge=0, lt=256)]], ...] = ()


class _SessionFields(msgspec.Struct):
    """A session's row in its bounds. `ratio` and `pacing` are checked apart: a session learns both again."""

    key: SessionKey
    project: Text = ""
    parent: Text = ""
    parent_segment: Text = ""
    model: Text = ""
    title: Text = ""
    rendered_by: Renderer = Renderer.AGENT
    budget_tokens: Tokens = 0
    window_max_tokens: Tokens = 0
    task: Text = ""
    turn: Annotated[int, Meta(ge=0, lt=TURN_MAX)] = 0
    created_s: Seconds = 0.0
    updated_s: Seconds = 0.0
    hidden_tokens: Tokens = 0
    ratio: float = 0.0
    skipped_records: Tokens = 0
    number: int = 0
    faults: Count = 0
    pacing: Text = ""
    closed: bool = False
    forgotten: bool = False


class SegmentRecord(NamedTuple):
    """A line of a segment."""

    segment: Segment
    row: RowFields
    is_forgotten: bool


def decode_session_row(header: Mapping[str, Any]) -> SessionRow:
    """The row in a header, redacted as a transcript's facts are. Raises `BadTranscript`."""
    try:
        fields = msgspec.convert(header["row"], _SessionFields)
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        raise BadTranscript(f"the settings of its session: {error}", hint=EXPORT_AGAIN) from None
    key = SessionKey(fields.key.source, redact_text(clean_name(fields.key.session)))
    if len(str(key)) > NAME_CHARS_MAX or not SOURCE_NAME.fullmatch(key.source) or not key.session:
        raise BadTranscript("the name of its session is none, or too long", hint=EXPORT_AGAIN)
    names = ("project", "parent", "parent_segment", "model", "title", "task")
    texts = redact_texts(_escape_surrogates(getattr(fields, name)) for name in names)
    is_kept = is_readable_pacing(fields.pacing) and redact_text(fields.pacing) == fields.pacing
    row = SessionRow(**{name: getattr(fields, name) for name in fields.__struct_fields__})
    clean: dict[str, Any] = dict(zip(names, texts, strict=True))
    return replace(
        row,
        **clean,
        key=key,
        created_s=row.created_s or 1.0,
        ratio=row.ratio if RATIO_MIN <= row.ratio <= RATIO_MAX else 0.0,
        number=row.number if row.number in NUMBERS_DRAWN else 0,
        pacing=fields.pacing if is_kept else "",
    )


class BundleRecords:
    """Reads the lines behind a header, one after another: each id, seq and number of the journal is there once."""

    def __init__(self, project: str, seqs: int) -> None:
        self._project = project
        self._seqs = seqs
        self._ids: set[str] = set()
        self._known_seqs: set[int] = set()
        self._collections: set[int] = set()

    def decode_line(self, line: bytes) -> SegmentRecord | Collection | None:
        """The value of a line; `None` for the checksum. Raises `BadTranscript`."""
        fields = parse_json_object(line) or {}
        try:
            if JOURNAL_KEY in fields:
                return self._decode_collection(fields[JOURNAL_KEY])
            return None if END_KEY in fields else self._decode_segment_record(fields)
        except (msgspec.ValidationError, TypeError, ValueError, RecursionError) as error:
            raise BadTranscript(f"a malformed line: {error}", hint=EXPORT_AGAIN) from None
        except CtxgcError as error:
            raise BadTranscript(str(error), hint=EXPORT_AGAIN) from None

    def _decode_segment_record(self, fields: Mapping[str, Any]) -> SegmentRecord:
        row = msgspec.convert(fields.get("row"), RowFields)
        if row.seq in self._known_seqs:
            raise ValueError(f"a second segment of seq {row.seq}")
        self._known_seqs.add(row.seq)
        if max(row.seq, row.garbage_by, *(target for target, _ in row.edges)) >= self._seqs:
            raise ValueError(f"a seq of segment {row.seq} is beyond the {self._seqs} seqs of the session")
        row.garbage = redact_text(_escape_surrogates(row.garbage))
        is_forgotten = FORGOTTEN_KEY in fields
        if is_forgotten:
            segment = self._decode_forgotten_segment(fields[FORGOTTEN_KEY], row)
        else:
            [segment] = parse_segments([fields], self._project, self._ids)
        if segment.born_turn >= TURN_MAX:
            raise ValueError(f"born_turn {segment.born_turn} of segment {row.seq} is no turn")
        return SegmentRecord(replace(segment, place=row.place), row, is_forgotten)

    def _decode_forgotten_segment(self, id_: object, row: RowFields) -> Segment:
        if not isinstance(id_, str):
            raise ValueError("the id of a forgotten segment is a text")
        id_ = redact_id(id_, self._ids)
        if id_ in self._ids:
            raise ValueError(f"a second segment {id_!r}")
        self._ids.add(id_)
        return Segment(id=id_, kind=Kind.OTHER, role=Role.USER, place=row.place, born_turn=row.born_turn)

    def _decode_collection(self, value: object) -> Collection:
        line = msgspec.convert(redact_json_value(value)[0], Collection)
        numbers: list[float] = [line.wall_s, line.predicted_cost, line.actual_cost or 0.0]
        numbers += [line.turn, line.target_tokens, line.before_tokens, line.after_tokens, line.undoes, line.undone_by]
        numbers += [number for _, number in line.protected_by]
        numbers += [number for eviction in line.evictions for number in (eviction.freed_tokens, eviction.score)]
        if not 0 < line.id < 2**31 or not all(-(2**53) < number < 2**53 for number in numbers):
            raise ValueError("a number of the journal is out of its bounds")
        if line.id in self._collections:
            raise ValueError(f"a second collection {line.id}")
        self._collections.add(line.id)
        # A repair may have lost the newest segments, and the journal names them still.
        known = [eviction for eviction in line.evictions if 0 <= eviction.seq < self._seqs]
        bounded = [each if -1 <= each.by < self._seqs else replace(each, by=-1) for each in known]
        return replace(line, evictions=tuple(bounded))


def _escape_surrogates(text: str) -> str:
    """The text without lone surrogates, which no row holds."""
    return text.encode("utf-8", "backslashreplace").decode()
