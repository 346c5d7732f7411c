"""The one way to make segments, for transcripts, lists of a model API, plain JSON and clients: names, calls, results.

    draft_text_or_opaque()  ─────────────────────────────▶ Draft ──segment()──▶ Segment
    open_call()  ──▶ open ──join_result()──────▶ Draft (call and result together, I3)

The same conversation gets the same ids, pieces and digests on every way. Differences stand beside: a log has a window
that the host rewinds, and calls that end (`transcripts/session_builder.py`), a list has spans (`wire/`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from ctxgc.adapters.contract import RESULT_PIECE
from ctxgc.adapters.facts.background_commands import BackgroundCommands
from ctxgc.adapters.facts.tool_facts import NO_CALL_FACTS, Facts, facts_of_call
from ctxgc.adapters.json_values import block_text, canonical_json, clean_name, content_blocks
from ctxgc.adapters.skeletons import split_input, split_result
from ctxgc.core.redaction.redact import redact_base_id
from ctxgc.core.segment import NO_FACTS, Kind, Piece, Role, Segment, Status, text_id, tool_call_id

ROLES = {
    Kind.SYSTEM: Role.SYSTEM,
    Kind.ASSISTANT: Role.ASSISTANT,
    Kind.THINKING: Role.ASSISTANT,
    Kind.TOOL_CALL: Role.ASSISTANT,
}
"""The role of a kind of segment where no host names the role; every other kind is the user's."""

_SAID_BY_RESULT = frozenset({"result_blocks", "opaque", "is_error"})


class Birth(NamedTuple):
    """Where a segment enters its session."""

    turn: int
    """Assistant replies before it."""
    wall_s: float = 0.0
    reply: str = ""
    """The host's id of the reply that the segment belongs to."""
    place: int | None = None
    """A place kept free for the segment; `None` takes the next place of the window."""


class PlainSegment(NamedTuple):
    """A segment in the words of a client: a text, or a call with its result as text."""

    kind: Kind
    role: Role
    text: bytes
    tool: str = ""
    input: object = None
    status: Status = Status.OK
    id: str = ""
    """Empty: named by its content."""


class IdAllocator:
    """The ids of a session's segments, each id once, in the order of the window: the law of names.

    A call has its call id, a text its digest; the second of an id is `ID~2`. Counting is by session, so a log read in
    pieces and a request read whole name alike.
    """

    def __init__(self, is_taken: Callable[[str], bool] | None = None) -> None:
        self._uses: dict[str, int] = {}
        self._is_taken = is_taken

    def allocate_id_for_call(self, call_id: str) -> str:
        """The next id of a call."""
        return self._allocate_id(sanitize_call_id(call_id))

    def allocate_id_for_content(self, role: Role, kind: Kind, text: bytes) -> str:
        """The next id of a text, or of any other content."""
        return self._allocate_id(text_id(role, kind, text, 1))

    def newest_id_of_call(self, call_id: str) -> str | None:
        """The id of the last call with this call id, if there was one."""
        base = sanitize_call_id(call_id)
        return tool_call_id(base, self._uses[base]) if base in self._uses else None

    def use_count(self, base: str) -> int:
        """How many segments were named after this first id."""
        return self._uses.get(base, 0)

    def _allocate_id(self, base: str) -> str:
        while True:
            ordinal = self._uses[base] = self._uses.get(base, 0) + 1
            segment_id = tool_call_id(base, ordinal)
            if self._is_taken is None or not self._is_taken(segment_id):
                return segment_id


def sanitize_call_id(call_id: str) -> str:
    """A host's call id made fit for a segment's id: no name made of it has a credential, or reads as one."""
    return redact_base_id(clean_name(call_id)) or "call"


@dataclass(slots=True)
class Draft:
    """A segment in the making."""

    id: str
    kind: Kind
    role: Role
    place: int
    birth: Birth
    skeleton: dict[str, object]
    body: tuple[Piece, ...]
    facts: Facts = NO_CALL_FACTS
    status: Status = Status.OK
    is_late: bool = False
    """A user text came before the result: the call is kept a little longer for one."""
    is_shown: bool = False
    """The open call is admitted as pending."""

    def build_segment(self) -> Segment:
        """The segment in its present state."""
        facts, is_call = self.facts, self.kind is Kind.TOOL_CALL
        return Segment(
            id=self.id,
            kind=self.kind,
            role=self.role,
            place=self.place,
            born_turn=self.birth.turn,
            wall_s=self.birth.wall_s,
            skeleton=canonical_json(self.skeleton) if self.skeleton else b"{}",
            body=self.body,
            tool=clean_name(str(self.skeleton.get("name", "") if is_call else facts.tool)),
            status=self.status,
            paths=facts.paths,
            edit_sources=facts.edit_sources,
            command=clean_name(facts.command) if facts.command else "",
            facts=facts.call if is_call else NO_FACTS,
            reply=self.birth.reply,
            has_opaque="opaque" in self.skeleton,
        )

    def join_result(self, content: object, is_error: bool | None) -> None:
        """Join the call with its result: a string, a list of blocks, or `None`."""
        extra, text = split_result(content)
        self.skeleton |= extra
        if is_error is not None:
            self.skeleton["is_error"] = is_error
        self.body = (*self.body, Piece(RESULT_PIECE, text))
        self.status = Status.ERROR if is_error else Status.OK
        if self.facts.call.attempt:
            self.facts = self.facts.with_result(text)


class SegmentBuilder:
    """Makes the segments of a session or a list, in window order. Mutable; belongs to a single reader."""

    def __init__(self, names: IdAllocator | None = None) -> None:
        self.names = names or IdAllocator()
        self.next_place = 0
        self._open: dict[str, list[Draft]] = {}
        """Calls without a result, by the host's call id; of equal ids the first is answered first."""
        self._background = BackgroundCommands()

    def draft_text_or_opaque(
        self,
        kind: Kind,
        role: Role,
        text: bytes,
        birth: Birth,
        skeleton: dict[str, object],
        facts: Facts = NO_CALL_FACTS,
    ) -> Draft:
        """A text; or, with `opaque` in the skeleton and no text, an opaque block, named by its digest."""
        draft = _draft_of_text(kind, text, birth)
        draft.id = self.names.allocate_id_for_content(role, kind, text or canonical_json(skeleton))
        draft.role, draft.skeleton, draft.facts = role, skeleton, facts
        return self._place_draft(draft)

    def open_call(
        self, call_id: str, tool: str, value: object, birth: Birth, *, is_text: bool = False, cwd: str | None = None
    ) -> Draft:
        """A call begins: pending until its result. Without a `cwd` no facts are derived yet."""
        draft = self._place_draft(_draft_of_call(self.names.allocate_id_for_call(call_id), call_id, tool, value, birth))
        if is_text:
            draft.skeleton["is_text_input"] = True
        if cwd is not None:
            draft.facts = self._background.facts_with_polled_command(tool, value, facts_of_call(tool, value, cwd))
        self._open.setdefault(call_id, []).append(draft)
        return draft

    def join_result(self, call_id: str, content: object, is_error: bool | None) -> Draft | None:
        """A result arrives: the draft of the answered call, whole; `None` without an open call of this id."""
        waiting = self._open.get(call_id)
        if not waiting:
            return None
        draft = waiting.pop(0)
        if not waiting:
            del self._open[call_id]
        draft.join_result(content, is_error)
        if draft.facts.command:
            self._background.note_running_commands(
                draft.facts.command, filter(None, map(block_text, content_blocks(content)))
            )
        return draft

    def draft_plain_segment(self, plain: PlainSegment, birth: Birth, cwd: str) -> Draft:
        """A segment in the words of a client; the client's id, or an id by the content."""
        is_call = plain.kind is Kind.TOOL_CALL
        draft = _draft_of_plain_call(plain, birth, cwd) if is_call else _draft_of_text(plain.kind, plain.text, birth)
        draft.role = plain.role
        draft.id = plain.id
        if not draft.id:
            content = b"".join(piece.data for piece in draft.body)
            content = canonical_json(draft.skeleton) + content if is_call else content
            draft.id = self.names.allocate_id_for_content(plain.role, plain.kind, content)
        if is_call:
            draft.skeleton["call_id"] = draft.id
        return self._place_draft(draft)

    def _place_draft(self, draft: Draft) -> Draft:
        draft.place = self.claim_place() if draft.birth.place is None else draft.birth.place
        return draft

    def claim_place(self) -> int:
        """The next place of the window."""
        self.next_place += 1
        return self.next_place - 1


def _draft_of_text(kind: Kind, text: bytes, birth: Birth) -> Draft:
    name = "thinking" if kind is Kind.THINKING else "text"
    body = (Piece(name, text),) if text else ()
    return Draft(id="", kind=kind, role=ROLES.get(kind, Role.USER), place=-1, birth=birth, skeleton={}, body=body)


def _draft_of_call(segment_id: str, call_id: str, tool: str, value: object, birth: Birth) -> Draft:
    kept, pieces = split_input(value)
    return Draft(
        id=segment_id,
        kind=Kind.TOOL_CALL,
        role=Role.ASSISTANT,
        place=-1,
        birth=birth,
        skeleton={"call_id": call_id, "name": tool, "input": kept},
        body=pieces,
        status=Status.PENDING,
    )


def _draft_of_plain_call(plain: PlainSegment, birth: Birth, cwd: str) -> Draft:
    value = plain.input or {}
    draft = _draft_of_call("", "", plain.tool or "tool", value, birth)
    draft.facts = facts_of_call(plain.tool, value, cwd)
    if plain.status is not Status.PENDING:
        draft.join_result(plain.text.decode("utf-8", "surrogatepass"), True if plain.status is Status.ERROR else None)
    return draft


def call_before_result(tool_call: Segment) -> Segment:
    """A tool call in the state before its result came: pending."""
    skeleton = {key: part for key, part in json.loads(tool_call.skeleton).items() if key not in _SAID_BY_RESULT}
    body = tuple(piece for piece in tool_call.body if piece.name != RESULT_PIECE)
    return replace(tool_call, skeleton=canonical_json(skeleton), body=body, status=Status.PENDING)
