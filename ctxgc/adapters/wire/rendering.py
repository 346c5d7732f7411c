"""The shared part of the wire formats: stored segments as lines to be said, and tombstones where bodies were.

    slots ──lines──▶ SpokenText · Thought · Opaque · Call ──replies──▶ groups of one reply ──(a format)──▶ messages

Lines carry final text: tombstones and large inputs are in place, call ids are unique and names fit every API, so that a
format only arranges the lines.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from ctxgc.adapters.contract import (
    INPUT_SPAN,
    RESULT_HEAD_SPAN,
    RESULT_PIECE,
    RESULT_REST_SPAN,
    ElidedResult,
    Slot,
    Span,
    StandIn,
    Tombstone,
    WireWindow,
)
from ctxgc.adapters.json_spans import Extent, JsonText, encode_json_string, splice_bytes
from ctxgc.adapters.skeletons import join_input
from ctxgc.core.segment import Kind, Piece, Role, Segment, Status

NO_RESULT = "(no result yet)"
"""The result of a pending call, where the API demands one."""

SESSION_START = "(start of the session)"
"""The user's message before a window that starts with the assistant."""

CALL_ID_CHARS_MAX = 40
TOOL_NAME_CHARS_MAX = 64

_ORDINAL_CHARS_MAX = 8
_UNFIT = re.compile(r"[^a-zA-Z0-9_-]")


@dataclass(frozen=True, slots=True)
class SpokenText:
    """A text that someone says; never blank."""

    role: Role
    text: str
    reply: str


@dataclass(frozen=True, slots=True)
class Thought:
    """Resident thinking."""

    text: str
    signature: str
    reply: str
    role: Role = Role.ASSISTANT


@dataclass(frozen=True, slots=True)
class Opaque:
    """A block that is not text, verbatim from the API it came from."""

    role: Role
    block: Any
    reply: str


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call with its result; `result` is `None` while the call is pending."""

    call_id: str
    name: str
    value: Any
    result: str | None
    is_error: bool | None
    """`None` where neither the host said nor the status tells."""
    opaque: tuple[Any, ...]
    reply: str
    role: Role = Role.ASSISTANT


Line = SpokenText | Thought | Opaque | Call


def lines_of_slots(slots: Iterable[Slot]) -> Iterator[Line]:
    """Every slot as a line to be said, in order. Evicted thinking and blank text give no line.

    Raises `ValueError` for a tombstone on a pending tool call: its call is still open.
    """
    ids = _CallIds()
    for segment, tombstone in slots:
        _refuse_pending_call(segment, tombstone)
        skeleton = json.loads(segment.skeleton)
        texts = _piece_texts(segment.body, tombstone)
        if segment.kind is Kind.TOOL_CALL or "call_id" in skeleton:
            yield _call_line(segment, skeleton, texts, ids)
            continue
        text = tombstone.text if tombstone and segment.body else "".join(texts.values())
        if segment.kind is Kind.THINKING:
            if tombstone is None and segment.body:
                yield Thought(text, str(skeleton.get("signature", "")), segment.reply)
        elif text and not text.isspace():
            yield SpokenText(segment.role, text, segment.reply)
        for block in skeleton.get("opaque", ()):
            yield Opaque(segment.role, block, segment.reply)


def group_lines_by_reply(said: Iterable[Line]) -> Iterator[list[Line]]:
    """Runs of the assistant's lines of the same reply; every other line alone."""
    group: list[Line] = []
    for line in said:
        if group and not _is_same_reply(group[-1], line):
            yield group
            group = []
        group.append(line)
    if group:
        yield group


def _is_same_reply(line: Line, following: Line) -> bool:
    is_assistants = line.role is Role.ASSISTANT and following.role is Role.ASSISTANT
    return is_assistants and bool(line.reply) and line.reply == following.reply


def calls_among_lines(group: Iterable[Line]) -> list[Call]:
    """The calls among these lines."""
    return [line for line in group if isinstance(line, Call)]


def input_as_object(value: Any) -> dict[str, Any]:
    """A tool's input as the object that APIs want: any other value stands under the key `input`."""
    return value if isinstance(value, dict) else {"input": value}


EditInput = Callable[[JsonText, Mapping[str, str]], bytes]
"""(a JSON string that holds all large inputs of a call, what stands for each piece) → the JSON string to put there."""


def splice_stand_ins(
    request: bytes, window: WireWindow, stand_ins: Mapping[str, StandIn], edit_input: EditInput | None = None
) -> bytes:
    """Put stand-ins into the spans of these segments; the same object without evictions (I5).

    Ids outside of this window are passed over: a host may have dropped evicted segments. Raises `ValueError` for a
    segment of the window that has no spans, such as a pending tool call.
    """
    if not stand_ins:
        return request
    edits: list[tuple[Extent, bytes]] = []
    for segment in window.segments:
        tombstone = stand_ins.get(segment.id)
        if tombstone is None:
            continue
        _refuse_pending_call(segment, tombstone)
        if segment.id not in window.spans:
            raise ValueError(f"segment {segment.id!r} cannot be evicted on the wire")
        if isinstance(tombstone, ElidedResult):
            edits += elision_edits(window, segment.id, tombstone)
            continue
        texts = _piece_texts(segment.body, tombstone) | {RESULT_REST_SPAN: tombstone.marker}
        for span in window.spans[segment.id]:
            edits.append((Extent(span.start, span.end), _span_replacement(request, span, texts, edit_input)))
    return splice_bytes(request, edits)


def elision_edits(window: WireWindow, id_: str, result: ElidedResult) -> list[tuple[Extent, bytes]]:
    """The place of each text of an elided result, and the JSON string that stands there, or the beginning of one."""
    edits = []
    for span, text in zip(window.result_spans(id_), result.texts, strict=True):
        string = encode_json_string(text)
        edits.append((Extent(span.start, span.end), string[:-1] if span.piece == RESULT_HEAD_SPAN else string))
    return edits


def _span_replacement(request: bytes, span: Span, texts: Mapping[str, str], edit_input: EditInput | None) -> bytes:
    """The JSON string, or the beginning of one, that stands in the place of a span."""
    if span.piece == RESULT_HEAD_SPAN:
        return encode_json_string(texts[RESULT_PIECE])[:-1]
    if span.piece == INPUT_SPAN and edit_input:
        return edit_input(JsonText(request[span.start : span.end]), texts)
    return encode_json_string(texts[span.piece])


def _refuse_pending_call(segment: Segment, tombstone: StandIn | None) -> None:
    if tombstone is not None and segment.status is Status.PENDING:
        raise ValueError(f"segment {segment.id!r} is pending and cannot be evicted")


def _piece_texts(body: tuple[Piece, ...], tombstone: Tombstone | None) -> dict[str, str]:
    """The text said for each piece: the piece's own text, or the tombstone's for the result (else the first piece) and
    markers.
    """
    if tombstone is None:
        return {piece.name: piece.text for piece in body}
    names = [piece.name for piece in body]
    first = RESULT_PIECE if RESULT_PIECE in names else names[0] if names else ""
    return {name: tombstone.text if name == first else tombstone.marker for name in names}


def _call_line(segment: Segment, skeleton: dict[str, Any], texts: dict[str, str], ids: _CallIds) -> Call:
    is_pending = segment.status is Status.PENDING
    return Call(
        call_id=ids.claim_call_id(str(skeleton.get("call_id") or segment.id)),
        name=_UNFIT.sub("_", str(skeleton.get("name") or segment.tool))[:TOOL_NAME_CHARS_MAX] or "tool",
        value=join_input(skeleton.get("input", {}), texts),
        result=None if is_pending else texts.get(RESULT_PIECE, ""),
        is_error=True if segment.status is Status.ERROR else skeleton.get("is_error"),
        opaque=tuple(skeleton.get("opaque", ())),
        reply=segment.reply,
    )


class _CallIds:
    """Call ids of a list: hosts reuse ids, APIs want unique, short, plain ids.

    An id depends on the slots before alone, so that a longer window keeps the ids of a shorter window (I14).
    """

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._tries: Counter[str] = Counter()

    def claim_call_id(self, call_id: str) -> str:
        """The id, or a made id where the API refuses the id."""
        base = fit = _UNFIT.sub("_", call_id)
        if len(base) > CALL_ID_CHARS_MAX:
            base = fit = "call_" + blake2b(call_id.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        while fit in self._used:
            self._tries[base] += 1
            fit = f"{base[: CALL_ID_CHARS_MAX - _ORDINAL_CHARS_MAX]}_{self._tries[base] + 1}"
        self._used.add(fit)
        return fit
