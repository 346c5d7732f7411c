"""Plain JSON segments: the form for whatever no other adapter reads, and the segments of what `export` writes.

    {"format":"ctxgc-segments","version":1,"session":"s"}          a line each: first the header,
    {"kind":"user","text":"hello"}                                 then segments in window order
    {"format":"ctxgc-segments","version":1,"session":"s","segments":[…]}     or all in one document

A segment written by hand has `kind` and `text`, a call `tool`, `input` and its result as `text`: the fields of
`segment.add`. An exported segment has `skeleton` and `pieces` instead, and reads back exactly (I9), but for
`edit_sources`, which is never stored. Unknown fields are passed over. Rows, journal and checksum of version 2 are for
`daemon/feeds/session_bundle.py`, where the session is new.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any, TypeVar

from ctxgc.adapters.builder import ROLES, Birth, IdAllocator, PlainSegment, SegmentBuilder, sanitize_call_id
from ctxgc.adapters.contract import RESULT_PIECE, BodiesCleared, Event, SegmentAdmitted, SessionOpened
from ctxgc.adapters.facts.segment_facts import add_facts
from ctxgc.adapters.facts.shell_paths import resolve_path
from ctxgc.adapters.facts.tool_facts import EDIT_SOURCES_MAX, add_client_facts
from ctxgc.adapters.json_values import as_count, as_dict, as_list, as_text, clean_name
from ctxgc.adapters.skeletons import SKELETON_DEPTH_MAX, exceeds_depth, is_valid_piece_name
from ctxgc.adapters.transcripts.json_document import DocumentTranscript
from ctxgc.adapters.transcripts.jsonl import LineTranscript, parse_json_object
from ctxgc.core.errors import BadTranscript
from ctxgc.core.redaction.redact import REDACTION_START, redact_text, redact_texts
from ctxgc.core.segment import (
    COMMAND_CHARS_MAX,
    LINE_MAX,
    Access,
    CallFacts,
    Departure,
    Kind,
    PathUse,
    Piece,
    Role,
    Segment,
    Status,
    text_bytes,
    tool_call_id,
)

FORMAT = "ctxgc-segments"
VERSION = 1
BUNDLE_VERSION = 2
"""A session whole, as `export` writes it: each line has its `row` too, and the last line a checksum."""
FORGOTTEN_KEY, JOURNAL_KEY, END_KEY = "forgotten", "collection", "end"
"""Keys of the lines of a bundle that are no segments."""

SOURCE_DEFAULT = "client"

SOURCE_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_E = TypeVar("_E", bound=StrEnum)

_NAMED = re.compile(rb'\s*\{\s*(?:"\w+"\s*:\s*(?:"[^"\\]*"|\d+)\s*,\s*)*?"format"\s*:\s*"ctxgc-segments"')
_SEGMENTS = re.compile(rb'"segments"\s*:\s*\[')


def is_segment_lines(head: bytes) -> bool:
    """A header alone on the first line."""
    record = parse_json_object(head.split(b"\n", 1)[0]) if _NAMED.match(head) else None
    return record is not None and "segments" not in record


def is_segment_document(head: bytes) -> bool:
    """A single object that names the format, without a header line."""
    return _NAMED.match(head) is not None and _SEGMENTS.search(head) is not None and not is_segment_lines(head)


def header_fields(source: str, opened: SessionOpened, version: int = VERSION) -> dict[str, Any]:
    """The header of a session, without empty fields."""
    header = {"format": FORMAT, "version": version, "source": source, "session": opened.session}
    known = {key: getattr(opened, key) for key in ("project", "parent", "parent_segment", "model", "title")}
    return header | {key: value for key, value in known.items() if value}


def segment_fields(segment: Segment) -> dict[str, Any]:
    """A segment as plain JSON, without empty fields."""
    fields: dict[str, Any] = {
        "id": segment.id,
        "kind": segment.kind.value,
        "role": segment.role.value,
        "place": segment.place,
        "born_turn": segment.born_turn,
        "skeleton": _encode_bytes(segment.skeleton),
        "pieces": [{"name": piece.name, **_encode_bytes(piece.data)} for piece in segment.body],
    }
    others = {
        "wall_s": segment.wall_s,
        "tool": segment.tool,
        "status": "" if segment.status is Status.OK else segment.status.value,
        "paths": [use._asdict() for use in segment.paths],
        "edit_sources": list(segment.edit_sources),
        "command": segment.command,
        "facts": {name: value for name, value in segment.facts._asdict().items() if value},
        "refs": list(segment.refs),
        "reply": segment.reply,
        "has_opaque": segment.has_opaque,
        "task": segment.task,
        "tags": list(segment.tags),
    }
    if segment.importance != 0.5:
        fields["importance"] = segment.importance
    return fields | {key: value for key, value in others.items() if value}


def _encode_bytes(data: bytes) -> dict[str, str]:
    """Bytes as `text`, or as `data_b64` where the bytes are not UTF-8 (lone surrogates)."""
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"data_b64": b64encode(data).decode()}


def redact_id(id_: str, ids: Container[str]) -> str:
    """An id without a credential: of two ids that a redaction makes equal, the second gets an ordinal.

    An id with a redaction counts too: an older segment of the same stash may have been stored before the pattern was
    known.
    """
    given = clean_name(id_)
    bare = redact_text(given)
    bare = sanitize_call_id(bare) if bare != given else bare
    is_redacted = bare != given or REDACTION_START in given
    number, unused = 1, bare
    while is_redacted and unused in ids:
        number += 1
        unused = tool_call_id(bare, number)
    return unused


def parse_segments(records: Iterable[object], project: str = "", ids: set[str] | None = None) -> list[Segment]:
    """Segments from records of `segment_fields`. Raises `BadTranscript` for a malformed record.

    `project` resolves relative paths in records of an older version, which have no facts. `ids` are the ids of earlier
    records of the same session; the set takes the new ids in.
    """
    reader = _SegmentReader({"format": FORMAT, "version": VERSION, "session": FORMAT, "project": project}, ids)
    try:
        return [reader.read_segment(record).segment for record in records]
    except (ValueError, RecursionError) as error:
        raise BadTranscript(f"a malformed segment: {error}") from None


class SegmentLines(LineTranscript):
    """JSON lines: a header, then a segment each. `source` is known once the header was read."""

    source = SOURCE_DEFAULT

    def __init__(self) -> None:
        super().__init__()
        self._reader: _SegmentReader | None = None

    @property
    def is_handwritten(self) -> bool:
        """Whether the file is no export: whoever wrote the file may have made the segments up."""
        return self._reader is not None and not self._reader.is_bundle

    def _read_record(self, line: bytes) -> bool:
        record = parse_json_object(line)
        if record is None:
            return False
        try:
            if self._reader is None:
                self._reader = _SegmentReader(record)
                self.source = self._reader.source
                self._events.append(self._reader.opened)
            elif "kind" in record:
                self._events += self._reader.read_segment_and_departure(record)
                for _ in range(self._reader.pop_lost_ref_count()):
                    self._skip_record("lost_ref")
            elif not {FORGOTTEN_KEY, JOURNAL_KEY, END_KEY} & record.keys():
                self._skip_record(record.get("type"))
        except BadTranscript:
            self._skip_record("unknown_version")
        except (ValueError, RecursionError):
            self._skip_record("malformed")
        return True

    def _is_record(self, value: dict[str, Any]) -> bool:
        return "kind" in value or value.get("format") == FORMAT


class SegmentDocument(DocumentTranscript):
    """A document with a list of `segments`. `source` is known after the reading."""

    source = SOURCE_DEFAULT
    is_handwritten = True
    """No export is a document."""

    def _events_of_document(self, document: Any, digest: str) -> Iterator[Event]:
        reader = _SegmentReader(document)
        self.source = reader.source
        yield reader.opened
        for record in as_list(document.get("segments")):
            self.records += 1
            try:
                yield from reader.read_segment_and_departure(record)
            except (ValueError, RecursionError):
                self.skipped["malformed_segment"] += 1


class _SegmentReader:
    """Reads the segments of a session. A malformed record raises `ValueError`."""

    def __init__(self, header: object, ids: set[str] | None = None) -> None:
        """Raises `BadTranscript` for an unknown version."""
        fields = as_dict(header)
        session = clean_name(as_text(fields.get("session")))
        if fields.get("format") != FORMAT or not session:
            raise ValueError(f"no header of {FORMAT} with a session")
        if fields.get("version") not in (VERSION, BUNDLE_VERSION):
            raise BadTranscript(f"{FORMAT} version {fields.get('version')!r} is not known here", hint="upgrade ctxgc")
        source = as_text(fields.get("source"))
        self.source = source if SOURCE_NAME.fullmatch(source) else SOURCE_DEFAULT
        told = {key: as_text(fields.get(key)) for key in ("project", "parent", "parent_segment", "model", "title")}
        self.opened = SessionOpened(session, **told)  # type: ignore[arg-type]  # All of them are strings.
        self._ids: set[str] = set() if ids is None else ids
        self._builder = SegmentBuilder(IdAllocator(self._ids.__contains__))
        self.is_bundle = fields.get("version") == BUNDLE_VERSION
        """An export: read as segments because of damage, where a reference may have lost its segment."""
        self._lost_refs = 0
        self._turn = 0
        self._reply = ""

    def pop_lost_ref_count(self) -> int:
        """References since the last call whose segment was not read."""
        lost, self._lost_refs = self._lost_refs, 0
        return lost

    def read_segment_and_departure(self, record: object) -> list[Event]:
        """The segment, and the departure if the segment left the window."""
        event = self.read_segment(record)
        reason = as_text(as_dict(record).get("departed"))
        gone = [BodiesCleared(event.session, (event.segment.id,), _enum_member(Departure, reason))] if reason else []
        return [event, *gone]

    def read_segment(self, record: object) -> SegmentAdmitted:
        """A segment. A repeated id is refused: a session names each of its segments once."""
        fields = as_dict(record)
        kind = _enum_member(Kind, fields.get("kind"))
        role = _enum_member(Role, fields.get("role", ROLES.get(kind, Role.USER).value))
        reply = clean_name(as_text(fields.get("reply")))
        birth = Birth(self._advance_born_turn(fields, kind, role), _number_or_default(fields.get("wall_s"), 0.0), reply)
        birth = birth._replace(place=self._claim_place_of_record(fields))
        make = self._exported_segment if "pieces" in fields else self._plain_segment
        segment = make(
            fields, PlainSegment(kind, role, b"", status=_enum_member(Status, fields.get("status", "ok"))), birth
        )
        is_answered = any(piece.name == RESULT_PIECE for piece in segment.body)
        if kind is Kind.TOOL_CALL and is_answered == (segment.status is Status.PENDING):
            raise ValueError("a tool call has a result unless it is pending (I3)")
        if segment.id in self._ids:
            raise ValueError(f"a second segment {segment.id!r}")
        refs = tuple(redact_texts(_strings_of_list(fields.get("refs"))))
        if self.is_bundle:
            known = tuple(ref for ref in refs if ref in self._ids)
            self._lost_refs += len(refs) - len(known)
            refs = known
        self._ids.add(segment.id)
        segment = replace(
            self._add_record_facts(segment, fields),
            refs=refs,
            importance=min(max(_number_or_default(fields.get("importance"), 0.5), 0.0), 1.0),
            task=as_text(fields.get("task")),
            tags=_strings_of_list(fields.get("tags")),
        )
        return SegmentAdmitted(self.opened.session, segment)

    def _add_record_facts(self, segment: Segment, fields: Mapping[str, Any]) -> Segment:
        """The segment with the fields of its record; fields that a record of an older version lacks are derived."""
        paths, command = _decode_paths(fields.get("paths")), clean_name(as_text(fields.get("command")))
        if "facts" in fields:
            return replace(segment, paths=paths, command=command, facts=_decode_facts(fields["facts"]))
        if segment.kind is not Kind.TOOL_CALL:
            return replace(segment, paths=paths, command=command)
        if "pieces" in fields:
            # An older gateway did not know the folder that its paths lie in.
            paths = tuple(use._replace(path=resolve_path(use.path, self.opened.project)) for use in paths)
        [known] = add_facts([segment], self.opened.project)
        return add_client_facts(known, paths, command)

    def _exported_segment(self, fields: Mapping[str, Any], plain: PlainSegment, birth: Birth) -> Segment:
        """An exported segment, with its facts."""
        skeleton, body = _exported_content(fields)
        segment_id = self._record_id(fields)
        return Segment(
            id=segment_id
            or self._builder.names.allocate_id_for_content(plain.role, plain.kind, body[-1].data if body else b""),
            kind=plain.kind,
            role=plain.role,
            place=birth.place or 0,
            born_turn=birth.turn,
            wall_s=birth.wall_s,
            skeleton=skeleton,
            body=body,
            tool=clean_name(as_text(fields.get("tool"))),
            status=plain.status,
            edit_sources=_strings_of_list(fields.get("edit_sources"))[:EDIT_SOURCES_MAX],
            reply=birth.reply,
            has_opaque=fields.get("has_opaque") is True or b'"opaque":' in skeleton,
        )

    def _plain_segment(self, fields: Mapping[str, Any], plain: PlainSegment, birth: Birth) -> Segment:
        """A segment written by hand: `text`, with `input` if the record has an input."""
        tool = clean_name(as_text(fields.get("tool")))
        value = fields.get("input") or {}
        if exceeds_depth(value, SKELETON_DEPTH_MAX):
            raise ValueError("an input nested too deep")
        text = text_bytes(as_text(fields.get("text")))
        segment_id = self._record_id(fields)
        plain = plain._replace(text=text, tool=tool, input=value, id=segment_id)
        draft = self._builder.draft_plain_segment(plain, birth, self.opened.project)
        return replace(draft.build_segment(), status=plain.status, tool=tool)

    def _record_id(self, fields: Mapping[str, Any]) -> str:
        return redact_id(as_text(fields.get("id")), self._ids)

    def _claim_place_of_record(self, fields: Mapping[str, Any]) -> int:
        """The place of the record, as long as places grow."""
        builder = self._builder
        builder.next_place = max(as_count(fields.get("place")), builder.next_place)
        return builder.claim_place()

    def _advance_born_turn(self, fields: Mapping[str, Any], kind: Kind, role: Role) -> int:
        """The turn of the record, else a count: an assistant record is a turn, unless its `reply` is the last one's."""
        reply = as_text(fields.get("reply"))
        if role is Role.ASSISTANT and kind is not Kind.THINKING and not (reply and reply == self._reply):
            self._turn += 1
        self._reply = reply
        counted = self._turn - 1 if role is Role.ASSISTANT and kind is not Kind.THINKING else self._turn
        return as_count(fields["born_turn"]) if "born_turn" in fields else counted


def _exported_content(fields: Mapping[str, Any]) -> tuple[bytes, tuple[Piece, ...]]:
    """Skeleton and body of an exported segment."""
    skeleton = _decode_bytes(as_dict(fields.get("skeleton", {"text": "{}"})))
    pieces = tuple(
        Piece(as_text(as_dict(item).get("name")), _decode_bytes(as_dict(item))) for item in as_list(fields["pieces"])
    )
    names = {piece.name for piece in pieces if is_valid_piece_name(piece.name)}
    value = json.loads(skeleton)
    if (
        not isinstance(fields["pieces"], list)
        or not isinstance(value, dict)
        or exceeds_depth(value, SKELETON_DEPTH_MAX)
        or len(names) != len(pieces)
    ):
        raise ValueError("a skeleton is an object, and a body has one piece of a name")
    return skeleton, pieces


def _decode_bytes(said: Mapping[str, Any]) -> bytes:
    if "data_b64" in said:
        return b64decode(as_text(said["data_b64"]), validate=True)
    return text_bytes(as_text(said.get("text")))


def _decode_paths(value: object) -> tuple[PathUse, ...]:
    """Paths with their lines, or bare names of files that were mentioned."""
    found: list[PathUse] = []
    for item in as_list(value):
        use = {"path": item} if isinstance(item, str) else as_dict(item)
        access = _enum_member(Access, use.get("access", Access.MENTION.value))
        first, last = as_count(use.get("first_line")) or 1, as_count(use.get("last_line")) or LINE_MAX
        found.append(PathUse(as_text(use.get("path")), access, min(first, LINE_MAX), min(last, LINE_MAX)))
    return tuple(found)


def _decode_facts(value: object) -> CallFacts:
    """Facts as `segment_fields` writes them. Raises `ValueError` for any other."""
    fields = as_dict(value)
    attempt, recalls = fields.get("attempt"), fields.get("recalls", "")
    flags = {name: fields[name] for name in CallFacts._fields[2:] if name in fields}
    if not (isinstance(attempt, str) and attempt and isinstance(recalls, str)):
        raise ValueError("facts say what a call attempts, and what it recalls")
    if any(flag is not True for flag in flags.values()):
        raise ValueError("a fact that holds is true; one that does not is left out")
    return CallFacts(clean_name(attempt)[:COMMAND_CHARS_MAX], clean_name(recalls)[:COMMAND_CHARS_MAX], **flags)


def _enum_member(enum: type[_E], value: object) -> _E:
    """The member of this value. Raises `ValueError`."""
    return enum(as_text(value))


def _strings_of_list(value: object) -> tuple[str, ...]:
    return tuple(item for item in as_list(value) if isinstance(item, str))


def _number_or_default(value: object, default: float) -> float:
    return float(value) if isinstance(value, int | float) and -(2**53) < value < 2**53 else default
