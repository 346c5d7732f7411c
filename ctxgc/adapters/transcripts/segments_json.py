"""Plain JSON segments: what `export` writes, and the form for whatever no other adapter reads.

    {"format":"ctxgc-segments","version":1,"session":"s"}          a line each: first the header,
    {"kind":"user","text":"hello"}                                 then segments in window order
    {"format":"ctxgc-segments","version":1,"session":"s","segments":[…]}     or all in one document

A segment written by hand has `kind` and `text`, a call `tool`, `input` and its result as `text`: the fields of
`segment.add`. An exported one has `skeleton` and `pieces` instead, and reads back exactly (I9), but for
`edit_sources`, which is never stored. Unknown fields are passed over.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, TypeVar

from ctxgc.adapters.contract import Admitted, Cleared, Event, Opened
from ctxgc.adapters.facts.tool_facts import facts_of
from ctxgc.adapters.session_builder import as_count, as_dict, as_text, canonical, cut_input
from ctxgc.adapters.skeletons import SKELETON_DEPTH_MAX, is_deeper, is_piece_name
from ctxgc.adapters.transcripts.json_document import DocumentTranscript
from ctxgc.adapters.transcripts.jsonl import LineTranscript, lenient_object
from ctxgc.adapters.window_builder import clean_name
from ctxgc.adapters.wire.rendering import RESULT_PIECE, encode_json
from ctxgc.core.errors import BadTranscript
from ctxgc.core.segment import (
    LINE_MAX,
    Access,
    Departure,
    Kind,
    PathUse,
    Piece,
    Role,
    Segment,
    Status,
    text_bytes,
    text_id,
)

FORMAT = "ctxgc-segments"
NONE_DEPARTED: Mapping[str, Departure] = MappingProxyType({})
VERSION = 1

SOURCE_DEFAULT = "client"

_SOURCE = re.compile(r"[a-z][a-z0-9_]{0,31}")
_E = TypeVar("_E", bound=StrEnum)
_ROLES = {
    Kind.SYSTEM: Role.SYSTEM,
    Kind.ASSISTANT: Role.ASSISTANT,
    Kind.THINKING: Role.ASSISTANT,
    Kind.EXCHANGE: Role.ASSISTANT,
}


_NAMED = re.compile(rb'\s*\{\s*(?:"\w+"\s*:\s*(?:"[^"\\]*"|\d+)\s*,\s*)*?"format"\s*:\s*"ctxgc-segments"')


def is_segment_lines(head: bytes) -> bool:
    """A header alone on the first line."""
    record = lenient_object(head.split(b"\n", 1)[0]) if _NAMED.match(head) else None
    return record is not None and "segments" not in record


def is_segment_document(head: bytes) -> bool:
    """One object that names the format and is no header line."""
    return _NAMED.match(head) is not None and not is_segment_lines(head)


def encode(
    source: str, opened: Opened, segments: Iterable[Segment], departed: Mapping[str, Departure] = NONE_DEPARTED
) -> Iterator[bytes]:
    """A session as JSON lines, header first; give segments in window order. Streams a session of any size.

    `departed` says which of them left the window by the host's hand, and why: reading the file keeps them out.
    """
    header = {"format": FORMAT, "version": VERSION, "source": source, "session": opened.session}
    known = {key: getattr(opened, key) for key in ("project", "parent", "parent_segment", "model", "title")}
    yield encode_json(header | {key: value for key, value in known.items() if value}) + b"\n"
    for segment in segments:
        reason = departed.get(segment.id)
        yield encode_json(segment_fields(segment) | ({"departed": reason.value} if reason else {})) + b"\n"


def segment_fields(segment: Segment) -> dict[str, Any]:
    """Everything a segment is as plain JSON, without fields that say nothing; `edit_sources` is left out."""
    fields: dict[str, Any] = {
        "id": segment.id,
        "kind": segment.kind.value,
        "role": segment.role.value,
        "place": segment.place,
        "born_turn": segment.born_turn,
        "skeleton": _said(segment.skeleton),
        "pieces": [{"name": piece.name, **_said(piece.data)} for piece in segment.body],
    }
    others = {
        "wall_s": segment.wall_s,
        "tool": segment.tool,
        "status": "" if segment.status is Status.OK else segment.status.value,
        "paths": [use._asdict() for use in segment.paths],
        "command": segment.command,
        "refs": list(segment.refs),
        "reply": segment.reply,
        "has_opaque": segment.has_opaque,
        "task": segment.task,
        "tags": list(segment.tags),
    }
    if segment.importance != 0.5:
        fields["importance"] = segment.importance
    return fields | {key: value for key, value in others.items() if value}


def _said(data: bytes) -> dict[str, str]:
    """Bytes as `text`, or as `data_b64` where they are not UTF-8 (lone surrogates)."""
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"data_b64": b64encode(data).decode()}


def segments_of(records: Iterable[object]) -> list[Segment]:
    """Segments from what `segment_fields` made of them. Raises `BadTranscript` if one is not as it should be."""
    reader = _Reader({"format": FORMAT, "version": VERSION, "session": FORMAT})
    try:
        return [reader.admitted(record).segment for record in records]
    except (ValueError, RecursionError) as error:
        raise BadTranscript(f"a malformed segment: {error}") from None


class SegmentLines(LineTranscript):
    """JSON lines: a header, then a segment each. `source` is known once the header was read."""

    source = SOURCE_DEFAULT

    def __init__(self) -> None:
        super().__init__()
        self._reader: _Reader | None = None

    def _read(self, line: bytes) -> bool:
        record = lenient_object(line)
        if record is None:
            return False
        try:
            if self._reader is None:
                self._reader = _Reader(record)
                self.source = self._reader.source
                self._events.append(self._reader.opened)
            elif "kind" in record:
                self._events += self._reader.events(record)
            else:
                self._skip(record.get("type"))
        except BadTranscript:
            self._skip("unknown_version")
        except (ValueError, RecursionError):
            self._skip("malformed")
        return True


class SegmentDocument(DocumentTranscript):
    """One document with a list of `segments`. `source` is known once it was read."""

    source = SOURCE_DEFAULT

    def _events(self, document: Any, digest: str) -> Iterator[Event]:
        reader = _Reader(document)
        self.source = reader.source
        yield reader.opened
        for record in _items(document.get("segments")):
            self.records += 1
            try:
                yield from reader.events(record)
            except (ValueError, RecursionError):
                self.skipped["malformed_segment"] += 1


class _Reader:
    """Reads the segments of one session. Whatever is not as it should be raises `ValueError`."""

    def __init__(self, header: object) -> None:
        """Raises `BadTranscript` for a version that this build does not know."""
        fields = as_dict(header)
        session = clean_name(as_text(fields.get("session")))
        if fields.get("format") != FORMAT or not session:
            raise ValueError(f"no header of {FORMAT} with a session")
        if fields.get("version") != VERSION:
            raise BadTranscript(f"{FORMAT} version {fields.get('version')!r} is not known here", hint="upgrade ctxgc")
        source = as_text(fields.get("source"))
        self.source = source if _SOURCE.fullmatch(source) else SOURCE_DEFAULT
        told = {key: as_text(fields.get(key)) for key in ("project", "parent", "parent_segment", "model", "title")}
        self.opened = Opened(session, **told)  # type: ignore[arg-type]  # All of them are strings.
        self._ids: set[str] = set()
        self._next_place = 0
        self._turn = 0
        self._reply = ""

    def events(self, record: object) -> list[Event]:
        """The segment, and that it left the window if it did."""
        event = self.admitted(record)
        reason = as_text(as_dict(record).get("departed"))
        gone = [Cleared(event.session, (event.segment.id,), _member(Departure, reason))] if reason else []
        return [event, *gone]

    def admitted(self, record: object) -> Admitted:
        """One segment. An id that was there before is refused: a session names each of its segments once."""
        fields = as_dict(record)
        kind = _member(Kind, fields.get("kind"))
        role = _member(Role, fields.get("role", _ROLES.get(kind, Role.USER).value))
        skeleton, body = _exact(fields) if "pieces" in fields else _by_hand(fields, kind)
        segment_id = self._fresh_id(clean_name(as_text(fields.get("id"))), role, kind, body)
        if kind is Kind.EXCHANGE and "pieces" not in fields:
            skeleton = canonical(json.loads(skeleton) | {"call_id": segment_id})
        status = _member(Status, fields.get("status", "ok"))
        is_answered = any(piece.name == RESULT_PIECE for piece in body)
        if kind is Kind.EXCHANGE and is_answered == (status is Status.PENDING):
            raise ValueError("an exchange has a result unless it is pending (I3)")
        tool = clean_name(as_text(fields.get("tool")))
        facts = facts_of(tool, fields.get("input"), self.opened.project)
        segment = Segment(
            id=segment_id,
            kind=kind,
            role=role,
            place=self._place(fields),
            born_turn=self._born_turn(fields, kind, role),
            wall_s=_number(fields.get("wall_s"), 0.0),
            skeleton=skeleton,
            body=body,
            tool=tool,
            status=status,
            paths=_paths(fields["paths"]) if "paths" in fields else facts.paths,
            edit_sources=facts.edit_sources,
            command=clean_name(as_text(fields.get("command"))) or facts.command,
            refs=_strings(fields.get("refs")),
            reply=clean_name(as_text(fields.get("reply"))),
            has_opaque=fields.get("has_opaque") is True or b'"opaque":' in skeleton,
            importance=min(max(_number(fields.get("importance"), 0.5), 0.0), 1.0),
            task=as_text(fields.get("task")),
            tags=_strings(fields.get("tags")),
        )
        return Admitted(self.opened.session, segment)

    def _fresh_id(self, given: str, role: Role, kind: Kind, body: tuple[Piece, ...]) -> str:
        text = body[-1].data if body else b""
        segment_id, ordinal = given or text_id(role, kind, text, 1), 1
        while not given and segment_id in self._ids:
            ordinal += 1
            segment_id = text_id(role, kind, text, ordinal)
        if segment_id in self._ids:
            raise ValueError(f"a second segment {segment_id!r}")
        self._ids.add(segment_id)
        return segment_id

    def _place(self, fields: Mapping[str, Any]) -> int:
        """As told, as long as places grow."""
        place = max(as_count(fields.get("place")), self._next_place)
        self._next_place = place + 1
        return place

    def _born_turn(self, fields: Mapping[str, Any], kind: Kind, role: Role) -> int:
        """As told, else by counting: what the assistant says is a turn each, unless a `reply` joins it to the last."""
        reply = as_text(fields.get("reply"))
        if role is Role.ASSISTANT and kind is not Kind.THINKING and not (reply and reply == self._reply):
            self._turn += 1
        self._reply = reply
        counted = self._turn - 1 if role is Role.ASSISTANT and kind is not Kind.THINKING else self._turn
        return as_count(fields["born_turn"]) if "born_turn" in fields else counted


def _exact(fields: Mapping[str, Any]) -> tuple[bytes, tuple[Piece, ...]]:
    """Skeleton and body as they were exported."""
    skeleton = _data(as_dict(fields.get("skeleton", {"text": "{}"})))
    pieces = tuple(Piece(as_text(as_dict(item).get("name")), _data(as_dict(item))) for item in _items(fields["pieces"]))
    names = {piece.name for piece in pieces if is_piece_name(piece.name)}
    value = json.loads(skeleton)
    if (
        not isinstance(fields["pieces"], list)
        or not isinstance(value, dict)
        or is_deeper(value, SKELETON_DEPTH_MAX)
        or len(names) != len(pieces)
    ):
        raise ValueError("a skeleton is an object, and a body has one piece of a name")
    return skeleton, pieces


def _by_hand(fields: Mapping[str, Any], kind: Kind) -> tuple[bytes, tuple[Piece, ...]]:
    """Skeleton and body from `text`, and `input` where there is one."""
    data = text_bytes(as_text(fields.get("text")))
    if kind is not Kind.EXCHANGE:
        name = "thinking" if kind is Kind.THINKING else "text"
        return b"{}", (Piece(name, data),) if data else ()
    value = fields.get("input") or {}
    if is_deeper(value, SKELETON_DEPTH_MAX):
        raise ValueError("an input nested too deep")
    kept, pieces = cut_input(value)
    skeleton = {"name": clean_name(as_text(fields.get("tool"))), "input": kept}
    is_pending = fields.get("status") == Status.PENDING.value
    return canonical(skeleton), pieces if is_pending else (*pieces, Piece(RESULT_PIECE, data))


def _data(said: Mapping[str, Any]) -> bytes:
    if "data_b64" in said:
        return b64decode(as_text(said["data_b64"]), validate=True)
    return text_bytes(as_text(said.get("text")))


def _paths(value: object) -> tuple[PathUse, ...]:
    """Paths with their lines, or bare names of files that were mentioned."""
    found: list[PathUse] = []
    for item in _items(value):
        use = {"path": item} if isinstance(item, str) else as_dict(item)
        access = _member(Access, use.get("access", Access.MENTION.value))
        first, last = as_count(use.get("first_line")) or 1, as_count(use.get("last_line")) or LINE_MAX
        found.append(PathUse(as_text(use.get("path")), access, min(first, LINE_MAX), min(last, LINE_MAX)))
    return tuple(found)


def _member(enum: type[_E], value: object) -> _E:
    """The member of this value. Raises `ValueError`."""
    return enum(as_text(value))


def _strings(value: object) -> tuple[str, ...]:
    return tuple(item for item in _items(value) if isinstance(item, str))


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: object, default: float) -> float:
    return float(value) if isinstance(value, int | float) and -(2**53) < value < 2**53 else default
