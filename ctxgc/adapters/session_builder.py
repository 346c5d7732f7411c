"""From records to segments: what every transcript does alike, whatever its host writes.

    Chain   one session while it is read: names, places, replies, open calls, the window so far
              text()  ─────────────────────────────▶ Admitted
              open_call() ──▶ open ──close_call()──▶ Admitted (call and result together, I3)
                               └─ a user text ends it ▶ Admitted (pending: a late result still completes it)
                                      └─ the next reply ▶ Admitted (error, empty result)

A chain keeps ids, places and open calls, never the text of what it has admitted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from ctxgc.adapters.contract import INPUT_PIECE_CHARS_MIN, Admitted, Cleared, Event, Opened, Rewindowed
from ctxgc.adapters.facts.tool_facts import Facts
from ctxgc.adapters.skeletons import is_piece_name
from ctxgc.core.segment import (
    Departure,
    Kind,
    Piece,
    Role,
    Segment,
    Status,
    exchange_id,
    text_bytes,
    text_id,
)

OPEN_CALLS_MAX = 4096
"""More open calls than that in one session: the oldest is ended."""

NAME_CHARS_MAX = 512
"""Of a call id, a tool, a title, a path: what comes from a host and ends up as a key."""

_ENCODER = msgspec.json.Encoder(order="sorted")
NO_FACTS = Facts()


def canonical(value: object) -> bytes:
    """JSON with sorted keys and no spaces. What is not UTF-8 (lone surrogates) comes out as escapes."""
    try:
        return _ENCODER.encode(value)
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError):
        return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()


def cut_input(value: object) -> tuple[object, tuple[Piece, ...]]:
    """Move long strings of a tool's input to the body: (what stays, pieces).

    A piece is named by its path, `input.KEY` or `input.edits.0.old_string`; an input that is one string, `input.text`.
    An input that itself holds a `$piece` key stays whole: the mark would be ambiguous.
    """
    pieces: dict[str, Piece] = {}
    if isinstance(value, str):
        if len(value) < INPUT_PIECE_CHARS_MIN:
            return value, ()
        return {"$piece": "input.text"}, (Piece("input.text", text_bytes(value)),)
    try:
        kept = _cut(value, "input", pieces)
    except (_Ambiguous, RecursionError):
        return value, ()
    if not all(is_piece_name(name) for name in pieces):
        return value, ()
    return kept, tuple(pieces.values())


def clean_name(name: str) -> str:
    """A host's name made fit for a key: it has a UTF-8 form, no NUL, and an end."""
    return name.encode("utf-8", "backslashreplace").decode().replace("\0", "")[:NAME_CHARS_MAX]


class _Ambiguous(Exception):
    """The input holds our own mark."""


def _cut(value: object, name: str, pieces: dict[str, Piece]) -> object:
    if isinstance(value, str):
        if len(value) < INPUT_PIECE_CHARS_MIN or name in pieces:
            return value
        pieces[name] = Piece(name, text_bytes(value))
        return {"$piece": name}
    if isinstance(value, dict):
        if "$piece" in value:
            raise _Ambiguous
        return {key: _cut(item, f"{name}.{key}", pieces) for key, item in value.items()}
    if isinstance(value, list):
        return [_cut(item, f"{name}.{at}", pieces) for at, item in enumerate(value)]
    return value


def block_text(block: object) -> str | None:
    """The text of a text block (`text`, `input_text`, `output_text`), None for any other block."""
    if isinstance(block, dict) and block.get("type") in ("text", "input_text", "output_text"):
        text = block.get("text")
        return text if isinstance(text, str) else None
    return None


def cut_result(content: object) -> tuple[dict[str, object], bytes]:
    """A tool's result as (what it adds to the skeleton, the piece `result`).

    A list of blocks joins its texts; `result_blocks` then holds, in order, the byte length of each text and null
    for each block of `opaque`, so that the list can be built again.
    """
    if content is None:
        return {}, b""
    if isinstance(content, str):
        return {}, text_bytes(content)
    if not isinstance(content, list):
        return {"opaque": [content], "result_blocks": [None]}, b""
    texts: list[bytes] = []
    opaque: list[object] = []
    lengths: list[int | None] = []
    for block in content:
        text = block_text(block)
        if text is None:
            opaque.append(block)
            lengths.append(None)
        else:
            texts.append(text_bytes(text))
            lengths.append(len(texts[-1]))
    extra: dict[str, object] = {"result_blocks": lengths}
    if opaque:
        extra["opaque"] = opaque
    return extra, b"".join(texts)


@dataclass(slots=True)
class OpenCall:
    """A call that waits for its result."""

    id: str
    place: int
    born_turn: int
    wall_s: float
    reply: str
    tool: str
    skeleton: dict[str, object]
    pieces: tuple[Piece, ...]
    facts: Facts
    is_ended: bool = False
    """A user text came first: kept a little for a late result."""
    is_shown: bool = False
    """Told as pending."""

    def segment(self, status: Status, wall_s: float = 0.0, result: tuple[Piece, ...] = ()) -> Segment:
        """The exchange as it stands."""
        return Segment(
            id=self.id,
            kind=Kind.EXCHANGE,
            role=Role.ASSISTANT,
            place=self.place,
            born_turn=self.born_turn,
            wall_s=wall_s or self.wall_s,
            skeleton=canonical(self.skeleton),
            body=self.pieces + result,
            tool=self.tool,
            status=status,
            paths=self.facts.paths,
            edit_sources=self.facts.edit_sources,
            command=clean_name(self.facts.command),
            reply=self.reply,
            has_opaque="opaque" in self.skeleton,
        )


Slots = list[tuple[str, int]]


@dataclass(slots=True)
class Chain:
    """One session while it is read. `events` is where its events go; the transcript empties it."""

    session: str
    events: list[Event]
    turn: int = 0
    """Assistant replies seen so far."""
    next_place: int = 0
    window: Slots = field(default_factory=list)
    calls: dict[str, OpenCall] = field(default_factory=dict)
    ordinals: dict[str, int] = field(default_factory=dict)
    cleared: set[str] = field(default_factory=set)
    known: dict[str, str] = field(default_factory=dict)
    """Last value told of `project`, `model`, `title`: each is told when it changes."""

    def tell(self, *, project: str = "", model: str = "", title: str = "") -> None:
        """Say what is known of the session, where it is new. Empty values add nothing."""
        said = {"project": clean_name(project), "model": clean_name(model), "title": clean_name(title)}
        news = {key: value for key, value in said.items() if value and self.known.get(key) != value}
        if news:
            self.known.update(news)
            opened = Opened(
                self.session, news.get("project", ""), model=news.get("model", ""), title=news.get("title", "")
            )
            self.events.append(opened)

    def take_place(self, segment_id: str) -> int:
        """The next place of the window, now held by this segment."""
        place = self.next_place
        self.next_place += 1
        self.window.append((segment_id, place))
        return place

    def name_text(self, role: Role, kind: Kind, text: bytes) -> str:
        """A fresh id for a text: equal texts of a session are told apart by their ordinal."""
        first = text_id(role, kind, text, 1)
        ordinal = self.ordinals[first] = self.ordinals.get(first, 0) + 1
        return first if ordinal == 1 else text_id(role, kind, text, ordinal)

    def text(
        self,
        kind: Kind,
        role: Role,
        text: str,
        *,
        wall_s: float = 0.0,
        born_turn: int | None = None,
        reply: str = "",
        piece: str = "text",
        skeleton: dict[str, object] | None = None,
        facts: Facts = NO_FACTS,
        front_place: int | None = None,
    ) -> str:
        """Admit a text (or, with `opaque` in its skeleton and no text, a block that is none); its id.

        `front_place` is a place kept free for it before all others.
        """
        data = text_bytes(text)
        frame = canonical(skeleton) if skeleton else b"{}"
        segment_id = self.name_text(role, kind, data or frame)
        segment = Segment(
            id=segment_id,
            kind=kind,
            role=role,
            place=self.take_place(segment_id) if front_place is None else front_place,
            born_turn=self.turn if born_turn is None else born_turn,
            wall_s=wall_s,
            skeleton=frame,
            body=(Piece(piece, data),) if data else (),
            paths=facts.paths,
            tool=facts.tool,
            command=clean_name(facts.command),
            reply=reply,
            has_opaque=bool(skeleton) and "opaque" in (skeleton or ()),
        )
        if front_place is not None:
            self.window.insert(0, (segment_id, front_place))
        self.events.append(Admitted(self.session, segment))
        return segment_id

    def open_call(
        self,
        call_id: str,
        tool: str,
        value: object,
        facts: Facts,
        *,
        wall_s: float = 0.0,
        born_turn: int | None = None,
        reply: str = "",
        is_text_input: bool = False,
    ) -> str:
        """A call begins; nothing is told until its result, a user text, or the end of the input. Its id."""
        if call_id in self.calls:
            self._end(self.calls.pop(call_id))
        elif len(self.calls) >= OPEN_CALLS_MAX:
            self._end(self.calls.pop(next(iter(self.calls))))
        name = clean_name(call_id) or "call"
        ordinal = self.ordinals[name] = self.ordinals.get(name, 0) + 1
        segment_id = exchange_id(name, ordinal)
        kept, pieces = cut_input(value)
        skeleton: dict[str, object] = {"call_id": call_id, "name": tool, "input": kept}
        if is_text_input:
            skeleton["is_text_input"] = True
        self.calls[call_id] = OpenCall(
            id=segment_id,
            place=self.take_place(segment_id),
            born_turn=self.turn if born_turn is None else born_turn,
            wall_s=wall_s,
            reply=reply,
            tool=clean_name(tool),
            skeleton=skeleton,
            pieces=pieces,
            facts=facts,
        )
        return segment_id

    def close_call(self, call_id: str, content: object, is_error: bool | None, wall_s: float = 0.0) -> Segment | None:
        """A result arrives: the exchange is admitted whole. None if no such call is open."""
        call = self.calls.pop(call_id, None)
        if call is None:
            return None
        extra, result = cut_result(content)
        call.skeleton.update(extra)
        if is_error is not None:
            call.skeleton["is_error"] = is_error
        call.facts = call.facts.answered(result)
        status = Status.ERROR if is_error else Status.OK
        segment = call.segment(status, wall_s, (Piece("result", result),))
        self.events.append(Admitted(self.session, segment))
        return segment

    def end_calls(self) -> None:
        """A user text arrives: what is open will hardly get a result."""
        for call in self.calls.values():
            call.is_ended = True
        self.show_pending()

    def forget_ended_calls(self) -> None:
        """The next reply begins: the late results have had their chance."""
        for key in [key for key, call in self.calls.items() if call.is_ended]:
            self._end(self.calls.pop(key))

    def drop_calls(self) -> None:
        """The window is another: no result is waited for any more."""
        self.forget_ended_calls()
        self.calls.clear()

    def show_pending(self) -> None:
        """Tell the open calls as pending, each once."""
        for call in self.calls.values():
            if not call.is_shown:
                call.is_shown = True
                self.events.append(Admitted(self.session, call.segment(Status.PENDING)))

    def rewindow(self, slots: Slots, reason: Departure) -> None:
        """From now on the window is exactly `slots`."""
        self.window = [slot for slot in slots if slot[0] not in self.cleared]
        self.events.append(Rewindowed(self.session, tuple(self.window), reason))

    def replace(self, ids: Iterable[str], reason: Departure) -> None:
        """From now on the window is these segments, at fresh places, in this order."""
        slots = [(segment_id, self.next_place + at) for at, segment_id in enumerate(ids)]
        self.next_place += len(slots)
        self.rewindow(slots, reason)

    def clear(self, ids: Sequence[str], reason: Departure) -> None:
        """The host dropped the bodies of these; they do not come back with a branch."""
        self.cleared.update(ids)
        self.window = [slot for slot in self.window if slot[0] not in self.cleared]
        self.events.append(Cleared(self.session, tuple(ids), reason))

    def newest(self, call_id: str) -> str | None:
        """The id of the last exchange with this call id."""
        name = clean_name(call_id) or "call"
        ordinal = self.ordinals.get(name)
        return None if ordinal is None else exchange_id(name, ordinal)

    def _end(self, call: OpenCall) -> None:
        self.events.append(Admitted(self.session, call.segment(Status.ERROR, result=(Piece("result", b""),))))


def blocks(content: object) -> Iterator[object]:
    """The blocks of a message's content: a bare string is one text block."""
    if isinstance(content, str):
        yield {"type": "text", "text": content}
    elif isinstance(content, list):
        yield from content


def as_dict(value: object) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_text(value: object) -> str:
    """The value if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def unix_s(value: object) -> float:
    """Unix time of an ISO 8601 stamp, 0.0 if it is none. Without a zone it is UTC, wherever this runs."""
    if not isinstance(value, str):
        return 0.0
    try:
        stamp = datetime.fromisoformat(value)
        return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def as_count(value: object) -> int:
    """The value if it is a count that fits a row, else 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else 0
